//! Answers that depend on what only the origin is told of a request.

use http::{HeaderName, header};
use seawall::{
    Policy, Profile,
    policy::Answered,
    rfc9111::{Keep, Names, Refusal, Vary},
};

use crate::forwarded;

/// A profile that keeps no answer whose `Vary` names a field that is put on the request below the
/// cache: RFC 9111 §4.1 compares what the origin was asked with, and the cache has not seen that.
/// To the cache it is `Vary: *`; the client is told what the origin has said.
///
/// What `X-Forwarded-Host` and `-Proto` say is in the target, and so in the key.
pub(crate) struct AsSeen(pub(crate) Profile);

const UNSEEN: [HeaderName; 3] = [header::FORWARDED, forwarded::FOR, header::VIA];

impl Policy for AsSeen {
    fn keep(&self, answered: &Answered<'_>) -> Keep {
        match Vary::from_fields(answered.response) {
            Vary::Names(names) if any_unseen(&names) => Keep::No(Refusal::VaryStar),
            _ => self.0.keep(answered),
        }
    }

    fn profile(&self) -> &Profile {
        &self.0
    }
}

fn any_unseen(names: &Names) -> bool {
    names.iter().any(|name| UNSEEN.contains(name))
}
