//! What is remembered of a key whose fetch failed: against whom it is held, for how long, and what
//! ends it.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::{
    call::Caller,
    engine::{Engine, HEAD, PERSONAL, in_class},
    storage::Stored,
};
use crate::{
    coalesce::{
        recording::End,
        remembered::{BackOff, Known},
        share::{Ask, Kind, Place},
    },
    error::{BoxError, Rejected, SharedError},
    observe::Event,
    rfc9111::freshness::Lifetime,
    staleness::Trouble,
    store::Entry,
};

/// The longest back-off from a key whose fetch failed: short where callers have nothing meanwhile.
const LONGEST_WITHOUT: Duration = Duration::from_secs(2);
const LONGEST_WITH_STALE: Duration = Duration::from_secs(30);

/// No answer is of use for longer.
const LONGEST_KEPT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Caller {
    /// Against whom a failure is held, if not against all: a HEAD may fail where a GET would not, and
    /// so may what was asked with something of one's own.
    fn failure_class(&self) -> Option<u8> {
        match self.ask.kind {
            Kind::Head => Some(HEAD),
            _ if self.ask.personal => Some(PERSONAL),
            _ => None,
        }
    }
}

impl<K> Engine<K> {
    /// Takes note of a fetch that failed without an answer; what those who wait learn.
    pub(super) fn failed(&self, caller: &Caller, stored: Option<&Stored>, error: BoxError) -> End {
        let error = SharedError::new(error);
        if Rejected::find(&error).is_some() {
            // Refused below, maybe for who asked: neither the origin's failure nor the others'.
            return End::Own(error);
        }
        self.remember_failure(caller, stored, Trouble::Unreachable, None, false);
        End::Failed(error)
    }

    /// The origin has failed for this key: it is not asked again before a while has passed.
    pub(super) fn remember_failure(
        &self,
        caller: &Caller,
        stored: Option<&Stored>,
        trouble: Trouble,
        asked: Option<Duration>,
        alone: bool,
    ) {
        if self.place == Place::Coalesce {
            return;
        }
        let stands_in = stored.is_some_and(|stored| self.stands_in(stored, &caller.ask, trouble));
        let longest = if stands_in { LONGEST_WITH_STALE } else { LONGEST_WITHOUT };
        let unreachable = trouble == Trouble::Unreachable;
        // One caller that has the origin's answer and nothing else may ask again at once: it is no
        // herd, and a next answer may be a good one. A layer above may stand for many.
        let alone = alone && !caller.tells.for_many && !caller.ask.refresh;
        let forbearing = alone && !unreachable && !stands_in && asked.is_none();
        let random = fastrand::f64();
        let back_off = BackOff { longest, unreachable, forbearing, asked, random };
        let class = caller.failure_class().map(|class| in_class(&caller.primary, class));
        let key = class.as_ref().unwrap_or(&caller.primary);
        let now = Instant::now();
        let until = self.cache.remembered.failed(key.as_bytes(), now, &back_off);
        if until > now {
            self.cache.listener.tell(&Event::BackedOff { wait: until - now });
        }
    }

    /// Any good answer of a key ends its back-off.
    pub(super) fn recovered(&self, caller: &Caller) {
        self.cache.remembered.recovered(caller.primary.as_bytes());
        for class in [PERSONAL, HEAD] {
            self.cache.remembered.recovered(in_class(&caller.primary, class).as_bytes());
        }
    }

    /// Whether a stored answer may be given instead of a failure.
    pub(super) fn stands_in(&self, stored: &Stored, ask: &Ask, trouble: Trouble) -> bool {
        let reuse = self.reuse(stored, &ask.validated(), Instant::now());
        self.allows(trouble, &stored.entry.head, ask, reuse)
    }

    /// Whether a stored answer is still of use: it has not been stale for longer than it is kept.
    pub(super) fn keeps(&self, stored: &Stored, now: Instant) -> bool {
        let staleness = self.cache.widest.over(&self.staleness);
        let age = |lifetime: &Lifetime| lifetime.current_age(stored.entry.resident(now));
        stored.entry.head.lifetime().is_some_and(|lifetime| {
            staleness.keeps(lifetime, age(lifetime).saturating_sub(lifetime.fresh_for))
        })
    }

    /// Until when a stored answer is still of use, if nothing happens to it.
    pub(super) fn is_of_use_until(&self, entry: &Entry, now: Instant) -> Instant {
        let staleness = self.cache.widest.over(&self.staleness);
        let kept = entry.head.lifetime().map_or(Duration::ZERO, |lifetime| {
            staleness.keeps_for(lifetime, lifetime.current_age(entry.resident(now)))
        });
        now + kept.min(LONGEST_KEPT)
    }

    /// What is remembered of the key, or of those who ask for it with something of their own.
    pub(super) fn remembered(&self, caller: &Caller, now: Instant) -> Option<Known> {
        let remembered = &self.cache.remembered;
        let of_class = |class| remembered.look(in_class(&caller.primary, class).as_bytes(), now);
        let personal = || caller.ask.personal.then(|| of_class(PERSONAL)).flatten();
        let head = || (caller.ask.kind == Kind::Head).then(|| of_class(HEAD)).flatten();
        remembered.look(caller.primary.as_bytes(), now).or_else(personal).or_else(head)
    }
}

/// The server errors that a stored answer may be given for (RFC 5861 §4).
pub(super) fn is_failing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
