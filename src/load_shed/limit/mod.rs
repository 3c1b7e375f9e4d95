//! How many calls an origin can take at once: algorithms that are told, or that find out. Pure.
//!
//! | limit | what it needs to know | holds when the origin becomes slow | |
//! |---|---|---|---|
//! | [`Fixed`] | how many calls the origin can take | as well as the number was chosen | the simplest |
//! | [`Target`] | which latency is good enough | yes: half of what went well is kept | the one to start with |
//! | [`Aimd`] | the latency that is too long, and the fewest calls to allow | as well as that number was chosen | known from TCP |
//!
//! None of them derives its idea of a good latency from the latencies it sees. Those that do take a
//! slight overload that lasts for the new normal, and let the limit drift up with it.
//!
//! # What counts
//!
//! A limit learns from what the *origin* did. So only calls that reached it are samples: no hit, no
//! stale answer, no refusal of ours. Latency is taken at the head of the answer, since the end of
//! the body comes as slowly as the client reads.
//!
//! | outcome | may raise a limit | may lower it |
//! |---|---|---|
//! | success | if it was quick, and the limit was needed | if it was slow |
//! | failure | never: an origin that fails at once is not one with room | if it was slow |
//! | overload | never | always |
//! | abandoned | never | if it had lasted too long already when it was |

mod aimd;
mod fixed;
mod latencies;
mod target;

use std::{fmt::Debug, time::Duration};

use tokio::time::Instant;

pub use self::{aimd::Aimd, fixed::Fixed, target::Target};

/// An algorithm that says how many calls may be in flight.
///
/// ```
/// use seawall::load_shed::limit::{Limit, Sample};
/// use tokio::time::Instant;
///
/// /// Half as many calls by night.
/// #[derive(Debug)]
/// struct ByNight(usize, fn(Instant) -> bool);
///
/// impl Limit for ByNight {
///     fn limit(&self) -> usize {
///         self.0
///     }
///
///     fn sample(&mut self, _: &Sample, now: Instant) {
///         self.0 = if (self.1)(now) { 50 } else { 100 };
///     }
/// }
/// assert_eq!(ByNight(100, |_| true).limit(), 100);
/// ```
pub trait Limit: Debug + Send + 'static {
    /// How many calls may be in flight now. At least one: a limit of zero would never learn again.
    fn limit(&self) -> usize;

    /// Learns from a call that has ended, or whose answer has begun.
    fn sample(&mut self, sample: &Sample, now: Instant);

    /// Whether samples make a difference: where not, none are taken.
    fn learns(&self) -> bool {
        true
    }
}

/// What one call says about the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// From the call to the head of its answer; where there was none, until it was given up.
    pub latency: Duration,
    /// How many calls were in flight when it began, itself included: the load that it met.
    pub in_flight: usize,
    /// How it went.
    pub outcome: Outcome,
}

/// How a call went, as far as a limit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The origin did its work.
    Success,
    /// The origin failed, for whatever reason but too many calls.
    Failure,
    /// The origin said that it has too much to do, or a deadline of ours has passed.
    Overload,
    /// The caller left before the origin had answered. It would have taken longer than it lasted;
    /// nobody knows how much.
    Abandoned,
}

/// The calls that a limit allows: half a call is none, but one is always allowed.
fn whole(limit: f64) -> usize {
    (limit as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples `count` calls, one a millisecond.
    pub(super) fn samples(
        limit: &mut impl Limit,
        now: &mut Instant,
        count: usize,
        latency: u64,
        in_flight: usize,
        outcome: Outcome,
    ) {
        let latency = Duration::from_millis(latency);
        for _ in 0..count {
            *now += Duration::from_millis(1);
            limit.sample(&Sample { latency, in_flight, outcome }, *now);
        }
    }

    #[test]
    fn failures_and_abandoned_calls_never_raise_a_limit() {
        for outcome in [Outcome::Failure, Outcome::Overload, Outcome::Abandoned] {
            let mut aimd = Aimd::default();
            let mut target = Target::default();
            for latency in [0, 1, 100, 249] {
                let mut now = Instant::now();
                for _ in 0..100 {
                    let (aimd_before, target_before) = (aimd.limit(), target.limit());
                    samples(&mut aimd, &mut now, 100, latency, aimd_before, outcome);
                    samples(&mut target, &mut now, 100, latency, target_before, outcome);
                    assert!(aimd.limit() <= aimd_before, "{outcome:?} {latency} {aimd:?}");
                    assert!(target.limit() <= target_before, "{outcome:?} {latency} {target:?}");
                }
            }
        }
    }

    #[test]
    fn calls_one_after_the_other_do_not_raise_a_limit() {
        let (mut aimd, mut target) = (Aimd::default(), Target::default());
        let mut now = Instant::now();
        samples(&mut aimd, &mut now, 10_000, 1, 1, Outcome::Success);
        samples(&mut target, &mut now, 10_000, 1, 1, Outcome::Success);
        assert_eq!((aimd.limit(), target.limit()), (20, 20));
    }
}
