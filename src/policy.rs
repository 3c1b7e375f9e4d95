//! What may be kept, and when it may be reused: the law, or one of your own.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use crate::rfc9111::{
    Exchange,
    freshness::{self, Ask, Demand, Lifetime, Reuse},
    profile::Profile,
    storing::{self, Keep, Refusal},
};

/// An answer of the origin, and what was asked.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// The fields of the request.
    pub request: &'a HeaderMap,
    /// The status of the answer.
    pub status: StatusCode,
    /// The fields of the answer.
    pub response: &'a HeaderMap,
    /// When the request left, and when the answer's head arrived.
    pub exchange: Exchange,
}

/// Decides what is kept and when it is reused. It is asked, and never asks: no clock, no I/O.
///
/// [`Profile`] is the policy by RFC 9111, in its two profiles; [`FixedTtl`] adds a lifetime where the
/// origin names none.
pub trait Policy: Send + Sync + 'static {
    /// Whether an answer is kept, and what later decisions need of it.
    fn keep(&self, answered: &Answered<'_>) -> Keep;

    /// Whether an answer that is kept may answer this request, after `resident` in storage.
    ///
    /// It is called on every hit, and should neither allocate nor parse.
    fn reuse(&self, lifetime: &Lifetime, resident: Duration, ask: &Ask) -> Reuse {
        freshness::reuse(lifetime, resident, ask)
    }

    /// The settings that say which fields of an answer are kept with it.
    fn profile(&self) -> &Profile;
}

impl Policy for Profile {
    fn keep(&self, answered: &Answered<'_>) -> Keep {
        storing::keep(
            self,
            answered.method,
            answered.request,
            answered.status,
            answered.response,
            answered.exchange,
        )
    }

    fn profile(&self) -> &Profile {
        self
    }
}

/// The safe profile, with a lifetime for answers that name none.
///
/// Everything that forbids storing forbids it here too; an explicit lifetime is kept to. Only a 200
/// that says nothing about its freshness is kept for `ttl`.
///
/// ```
/// use seawall::{CacheLayer, FixedTtl, store::Memory};
/// use std::time::Duration;
///
/// let layer = CacheLayer::new(Memory::default()).policy(FixedTtl::new(Duration::from_secs(60)));
/// # let _ = layer;
/// ```
#[derive(Clone, Debug)]
pub struct FixedTtl {
    ttl: Duration,
    profile: Profile,
}

impl FixedTtl {
    /// Keeps what names no lifetime for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, profile: Profile::safe() }
    }
}

impl Policy for FixedTtl {
    fn keep(&self, answered: &Answered<'_>) -> Keep {
        let lifetime = |initial_age, for_authorization, for_cookies| Lifetime {
            initial_age,
            fresh_for: self.ttl,
            explicit: false,
            demand: Demand::None,
            stale_while_revalidate: None,
            stale_if_error: None,
            for_authorization,
            for_cookies,
        };
        let kept = self.profile.keep(answered);
        if answered.status != StatusCode::OK {
            return kept;
        }
        match kept {
            Keep::For(found) if !found.explicit && found.demand == Demand::None => {
                Keep::For(lifetime(found.initial_age, found.for_authorization, found.for_cookies))
            }
            Keep::No(Refusal::NoFreshnessNoValidator) => {
                Keep::For(lifetime(Duration::ZERO, false, false))
            }
            kept => kept,
        }
    }
    fn profile(&self) -> &Profile {
        &self.profile
    }
}
