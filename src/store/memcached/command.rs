//! What a server is asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{error::BoxError, store::server::WireKey};

const DAY: u64 = 24 * 60 * 60;
/// A larger number is taken for a date.
const LONGEST_RELATIVE: u64 = 30 * DAY;
const LONGEST: u64 = 365 * DAY;
/// Servers read dates into 32 bits.
const LAST_DATE: u64 = i32::MAX as u64;

/// One operation.
pub(super) enum What {
    /// `mg`.
    Get(WireKey),
    /// `ms`.
    Set {
        /// Under which key.
        key: WireKey,
        /// What it shall hold.
        value: Bytes,
        /// Until when: see [`expires`].
        expires: u64,
    },
    /// `md`.
    Delete(WireKey),
    /// `mn`.
    Ping,
}

/// What came of an operation: what the key held, where that was asked.
pub(super) type Answer = Result<Option<Bytes>, BoxError>;

/// One operation, and who waits for its answer.
pub(super) struct Command {
    pub(super) what: What,
    pub(super) reply: oneshot::Sender<Answer>,
}

impl Command {
    /// Whether nobody would be served by sending it.
    ///
    /// Who gives a deletion up wants the key forgotten none the less.
    pub(super) fn is_moot(&self) -> bool {
        self.reply.is_closed() && !matches!(self.what, What::Delete(_))
    }
}

/// `ttl` as a server is told it: in whole seconds, at least one and never less than asked; beyond 30
/// days as a date; 365 days at the most.
pub(super) fn expires(ttl: Duration, now: SystemTime) -> u64 {
    let ttl = ttl.clamp(Duration::from_secs(1), Duration::from_secs(LONGEST));
    let seconds = whole(ttl);
    if seconds <= LONGEST_RELATIVE {
        return seconds;
    }
    match whole(now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(ttl)) {
        date @ ..=LAST_DATE if date > LONGEST + LONGEST_RELATIVE => date,
        // A clock before 1971 or a date after 2038: what is forgotten early does no harm.
        _ => LONGEST_RELATIVE,
    }
}

fn whole(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}
