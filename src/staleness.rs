//! How long an answer that is not fresh any more may still be given, and when it is refreshed ahead
//! of time. Pure.
//!
//! | given stale | for how long after it was fresh |
//! |---|---|
//! | while it is revalidated | `stale-while-revalidate` of the answer, else the layer's window |
//! | the origin fails | the longer of that and `stale-if-error`, of the answer or the layer |
//! | the origin cannot be reached, or is slow | the same; with [`stale_when_unreachable`][p] as long as it is kept |
//!
//! Where a request itself takes `stale-if-error`, that time counts for it as well.
//! What an answer forbids holds over all of these: such an answer is never `Reuse::Stale`.
//!
//! [p]: crate::Profile::stale_when_unreachable

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::rfc9111::{freshness::Lifetime, reuse::Reuse};

/// Why an answer is given although it is stale.
///
/// ```
/// use seawall::observe::{Event, Stale};
///
/// /// Is it time to look at the origin?
/// fn alarms(event: &Event<'_>) -> bool {
///     matches!(event, Event::StaleHit(Stale::IfError | Stale::SoftTimeout))
/// }
/// assert!(!alarms(&Event::StaleHit(Stale::WhileRevalidate)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stale {
    /// It is within its window, and is revalidated behind the answer (RFC 5861 §3).
    WhileRevalidate,
    /// The origin had not answered within the time that this caller was to wait.
    SoftTimeout,
    /// The origin failed, or could not be asked (RFC 5861 §4).
    IfError,
}

impl Stale {
    /// The word for it in `Cache-Status`.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::WhileRevalidate => "stale-while-revalidate",
            Self::SoftTimeout => "soft-timeout",
            Self::IfError => "stale-if-error",
        }
    }
}

/// What stands between a caller and a fresh answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing but that it takes a fetch.
    Stale,
    /// The origin is slow.
    Slow,
    /// The origin answered with a server error.
    Error,
    /// The origin could not be reached, or was not to be asked.
    Unreachable,
}

/// The settings of one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staleness {
    /// Where the response names no `stale-while-revalidate`.
    pub(crate) while_revalidate: Duration,
    /// Where the response names no `stale-if-error`.
    pub(crate) if_error: Duration,
    /// How long an answer is kept at least once it is stale: to be validated, or as a last resort.
    pub(crate) keep: Duration,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) ahead: Option<Ahead>,
}

impl Default for Staleness {
    fn default() -> Self {
        Self {
            while_revalidate: Duration::ZERO,
            if_error: Duration::ZERO,
            keep: Duration::from_secs(24 * 60 * 60),
            soft_timeout: None,
            ahead: None,
        }
    }
}

impl Staleness {
    /// Whether an answer that may be reused so may be given now; `asked`: the request's own
    /// `stale-if-error`; `when_unreachable`: the profile's setting.
    pub(crate) fn allows(
        &self,
        trouble: Trouble,
        lifetime: &Lifetime,
        reuse: Reuse,
        asked: Option<Duration>,
        when_unreachable: bool,
    ) -> bool {
        let Reuse::Stale(stale_for) = reuse else { return false };
        let window = match trouble {
            Trouble::Stale => self.while_revalidate(lifetime),
            Trouble::Unreachable | Trouble::Slow if when_unreachable => self.kept(lifetime),
            Trouble::Slow | Trouble::Error | Trouble::Unreachable => {
                let granted = self.while_revalidate(lifetime).max(self.if_error(lifetime));
                granted.max(asked.unwrap_or_default().min(self.kept(lifetime)))
            }
        };
        !window.is_zero() && stale_for <= window
    }

    /// Whether an answer that has been stale for so long is still kept.
    pub(crate) fn keeps(&self, lifetime: &Lifetime, stale_for: Duration) -> bool {
        stale_for <= self.kept(lifetime)
    }

    /// For how long an answer of this age is of any use.
    pub(crate) fn keeps_for(&self, lifetime: &Lifetime, age: Duration) -> Duration {
        lifetime.fresh_for.saturating_add(self.kept(lifetime)).saturating_sub(age)
    }

    fn kept(&self, lifetime: &Lifetime) -> Duration {
        self.keep.max(self.while_revalidate(lifetime)).max(self.if_error(lifetime))
    }

    fn while_revalidate(&self, lifetime: &Lifetime) -> Duration {
        // An answer that never said how long it is fresh is not stale within any window.
        let known = lifetime.explicit || !lifetime.fresh_for.is_zero();
        let own = lifetime.stale_while_revalidate;
        own.unwrap_or(if known { self.while_revalidate } else { Duration::ZERO })
    }

    fn if_error(&self, lifetime: &Lifetime) -> Duration {
        lifetime.stale_if_error.unwrap_or(self.if_error)
    }
}

/// When an answer that is still fresh is refreshed behind its back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ahead {
    /// XFetch: how eagerly. Zero: not at all.
    pub(crate) beta: f64,
    /// The share of its lifetime after which it is due.
    pub(crate) threshold: Option<f64>,
    /// The share of its lifetime by which that point is moved ahead at most, for each entry apart.
    pub(crate) jitter: f64,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { beta: 1.0, threshold: None, jitter: 0.1 }
    }
}

impl Ahead {
    /// Whether an answer of this age, which took `cost` to fetch, is due; `spread`, within 0 and 1, is
    /// the entry's own, and `random` is drawn anew from (0, 1] each time.
    ///
    /// XFetch is from Vattani, Chierichetti and Lowenstein, *Optimal Probabilistic Cache Stampede
    /// Prevention*, VLDB 2015: it is due with probability `e^(-left / (β · cost))`.
    pub(crate) fn is_due(
        &self,
        lifetime: &Lifetime,
        age: Duration,
        cost: Duration,
        spread: f32,
        random: impl FnOnce() -> f64,
    ) -> bool {
        let (fresh_for, age) = (lifetime.fresh_for.as_secs_f64(), age.as_secs_f64());
        let share = self.threshold.unwrap_or(1.0) * (1.0 - self.jitter * f64::from(spread));
        if age >= fresh_for * share {
            return true;
        }
        let gap = cost.as_secs_f64() * self.beta;
        // No draw is below 2^-53: so far ahead it cannot be due, and nothing is drawn.
        age + gap * 37.0 >= fresh_for && age - gap * random().ln() >= fresh_for
    }
}

/// The widest windows of all layers over one cache: they are one engine.
#[derive(Debug, Default)]
pub(crate) struct Widest {
    while_revalidate: AtomicU64,
    if_error: AtomicU64,
    keep: AtomicU64,
}

impl Widest {
    pub(crate) fn raise(&self, by: &Staleness) {
        let millis = |window: Duration| u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.while_revalidate.fetch_max(millis(by.while_revalidate), Relaxed);
        self.if_error.fetch_max(millis(by.if_error), Relaxed);
        self.keep.fetch_max(millis(by.keep), Relaxed);
    }

    pub(crate) fn over(&self, own: &Staleness) -> Staleness {
        let widest = |window: &AtomicU64| Duration::from_millis(window.load(Relaxed));
        Staleness {
            while_revalidate: own.while_revalidate.max(widest(&self.while_revalidate)),
            if_error: own.if_error.max(widest(&self.if_error)),
            keep: own.keep.max(widest(&self.keep)),
            ..*own
        }
    }
}
