//! A latency to keep, and a floor for when it cannot be kept.

use std::time::Duration;

use tokio::time::Instant;

use super::{Limit, Outcome, Sample, latencies::Latencies, whole};

/// The limit is judged when so much time has passed, and so many calls have been seen.
const WINDOW: Duration = Duration::from_millis(250);
const ENOUGH: usize = 20;

/// What is left of the limit after the deepest cut.
const DEEPEST: f64 = 0.7;

/// How much the limit grows in a window as long as it has never been cut.
const SEARCH: f64 = 0.5;

/// How far the healthy peak moves, window by window, towards the use of a window that was good.
const LEARN: f64 = 0.1;

/// What is left of the healthy peak after a window in use: half in an hour of the shortest.
const FADE: f64 = 0.999_952;

/// What is left of it after a window in which no call succeeded: half in 17 s.
const REFUTED: f64 = 0.99;

/// Below this share of the target there is room for more.
const ROOM: f64 = 0.8;

/// A caller that leaves within this share of the target has changed its mind, not lost its patience.
const PATIENCE: f64 = 0.1;

/// A limit that keeps the latency of nine calls in ten at a target.
///
/// It is judged each 250 ms, or later where that takes 20 calls. Where the 90th percentile of their
/// latencies is over the target, it is cut in proportion, by 30 % at most. Where it is below 0.8 of
/// the target, and at least half of the limit was in use, it grows: by half until the first cut,
/// since a process that has just started knows nothing, and by its logarithm from then on.
///
/// The target may be out of reach: an origin that has become five times slower does not get faster
/// by being asked less, and a limit that knew only the target would take all calls away from it. So
/// it never goes below a *floor*: half of what was in flight, at the peaks, while latencies were
/// good. What was good once fades, by half in an hour of use, or in 17 s while nothing succeeds.
///
/// A call that its caller gave up would have taken longer than it lasted, and is counted so. Where
/// so many are given up that nobody saw nine in ten end, they are taken for far too slow: else a
/// limit would learn from those calls alone that were quick enough for an answer. A failure counts as
/// no quicker than the target: where more than a tenth of the calls fail, the limit does not grow. A
/// call that was refused below for overload, or ran into a deadline, counts as far over the target.
///
/// The target is a latency that callers still find good, not the best that the origin can do: twice
/// of what nine calls in ten take on a busy day, say.
///
/// ```
/// use seawall::load_shed::limit::{Limit, Target};
/// use std::time::Duration;
///
/// let limit = Target::new(Duration::from_millis(100)).initial(50).largest(500);
/// assert_eq!(limit.limit(), 50);
/// ```
#[derive(Clone, Debug)]
pub struct Target {
    limit: f64,
    target: Duration,
    smallest: usize,
    largest: usize,
    floor: f64,
    pace: Pace,
    /// How many calls are in flight at the peaks of windows that are good.
    healthy_peak: f64,
    window: Option<Window>,
}

#[derive(Clone, Debug)]
struct Window {
    began: Instant,
    latencies: Latencies,
    successes: usize,
    /// The most calls that were in flight when one of them began.
    in_flight: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    /// It was never cut: how much the origin can take is unknown.
    Search,
    Track,
}

impl Target {
    /// A limit that keeps nine calls in ten within `target`, which is at least a millisecond.
    pub fn new(target: Duration) -> Self {
        Self {
            limit: 20.0,
            target: target.max(Duration::from_millis(1)),
            smallest: 1,
            largest: 1024,
            floor: 0.5,
            pace: Pace::Search,
            healthy_peak: 0.0,
            window: None,
        }
    }

    /// Where it begins: at 20, or the nearest that its bounds allow.
    #[must_use]
    pub fn initial(mut self, calls: usize) -> Self {
        self.limit = calls as f64;
        self.bound();
        self
    }

    /// The fewest calls that it goes down to, whatever was seen: 1. At least one, and no more than
    /// the largest.
    #[must_use]
    pub fn smallest(mut self, calls: usize) -> Self {
        self.smallest = calls.max(1);
        self.bound();
        self
    }

    /// The most calls that it goes up to: 1024. At least one.
    #[must_use]
    pub fn largest(mut self, calls: usize) -> Self {
        self.largest = calls.max(1);
        self.bound();
        self
    }

    /// The share of the calls once healthy that it keeps when the target is out of reach: 0.5.
    /// Within 0 and 1.
    #[must_use]
    pub fn floor(mut self, share: f64) -> Self {
        self.floor = share.clamp(0.0, 1.0);
        self
    }

    fn judge(&mut self, window: &Window) {
        let slow = window.latencies.p90();
        let in_use = window.in_flight * 2 >= self.limit();
        if window.successes == 0 {
            self.healthy_peak *= REFUTED;
        } else if in_use {
            self.healthy_peak *= FADE;
        }
        if slow < 1.0 {
            self.healthy_peak += LEARN * (window.in_flight as f64 - self.healthy_peak).max(0.0);
        }
        if slow > 1.0 {
            self.limit *= slow.recip().max(DEEPEST);
            self.pace = Pace::Track;
        } else if slow < ROOM && in_use {
            self.limit += match self.pace {
                Pace::Search => self.limit * SEARCH,
                Pace::Track => self.limit.log10().max(1.0),
            };
        }
        self.bound();
    }

    fn bound(&mut self) {
        let floor = (self.floor * self.healthy_peak).max(self.smallest as f64);
        self.limit = self.limit.max(floor).min(self.largest as f64);
    }
}

impl Default for Target {
    /// A target of 250 ms.
    fn default() -> Self {
        Self::new(Duration::from_millis(250))
    }
}

impl Limit for Target {
    fn limit(&self) -> usize {
        whole(self.limit)
    }

    fn sample(&mut self, sample: &Sample, now: Instant) {
        let shares = sample.latency.as_secs_f64() / self.target.as_secs_f64();
        if sample.outcome == Outcome::Abandoned && shares < PATIENCE {
            return;
        }
        let window = self.window.get_or_insert_with(|| Window::new(now));
        window.add(sample.outcome, shares, sample.in_flight);
        if window.latencies.count() >= ENOUGH && now - window.began >= WINDOW {
            let full = std::mem::replace(window, Window::new(now));
            self.judge(&full);
        }
    }
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, latencies: Latencies::default(), successes: 0, in_flight: 0 }
    }

    /// A call whose latency was `shares` of the target.
    fn add(&mut self, outcome: Outcome, shares: f64, in_flight: usize) {
        match outcome {
            Outcome::Success => self.latencies.ended(shares),
            Outcome::Failure => self.latencies.ended(shares.max(1.0)),
            Outcome::Overload => self.latencies.ended(f64::INFINITY),
            Outcome::Abandoned => self.latencies.abandoned(shares),
        }
        self.successes += usize::from(outcome == Outcome::Success);
        self.in_flight = self.in_flight.max(in_flight);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::samples, Outcome::*, *};

    /// One window of the calls given, the limit being in full use.
    fn window(limit: &mut Target, now: &mut Instant, calls: &[(usize, u64, Outcome)]) {
        let in_flight = limit.limit();
        for (i, &(count, latency, outcome)) in calls.iter().enumerate() {
            if i == calls.len() - 1 {
                samples(limit, now, count - 1, latency, in_flight, outcome);
                *now += WINDOW;
                samples(limit, now, 1, latency, in_flight, outcome);
            } else {
                samples(limit, now, count, latency, in_flight, outcome);
            }
        }
    }

    /// The limit after one window that begins with 100.
    fn from_100(calls: &[(usize, u64, Outcome)]) -> usize {
        let mut limit = Target::default().initial(100);
        window(&mut limit, &mut Instant::now(), calls);
        limit.limit()
    }

    /// A limit of 100, with all of it healthy for long.
    fn healthy_at_100(now: &mut Instant) -> Target {
        let mut limit = Target::default().largest(100);
        for _ in 0..100 {
            window(&mut limit, now, &[(20, 100, Success)]);
        }
        limit
    }

    #[test]
    fn it_grows_by_half_until_its_first_cut_and_slowly_after_it() {
        let (mut now, mut limit) = (Instant::now(), Target::default());
        let limits = [100, 100, 100, 500, 100, 100].map(|latency| {
            window(&mut limit, &mut now, &[(20, latency, Success)]);
            limit.limit()
        });
        assert_eq!(limits, [30, 45, 67, 47, 48, 50]);
    }

    #[test]
    fn a_cut_is_in_proportion_and_never_deeper_than_its_deepest() {
        for (latency, expected) in [(199, 150), (225, 100), (250, 100), (300, 83), (10_000, 70)] {
            assert_eq!(from_100(&[(20, latency, Success)]), expected, "{latency} ms");
        }
    }

    #[test]
    fn a_tenth_of_slow_calls_does_no_harm_and_more_does() {
        assert_eq!(from_100(&[(2, 1000, Success), (18, 10, Success)]), 150);
        assert_eq!(from_100(&[(3, 1000, Success), (17, 10, Success)]), 70);
    }

    #[test]
    fn it_keeps_half_of_what_was_healthy_when_the_target_is_out_of_reach() {
        let mut now = Instant::now();
        let mut limit = healthy_at_100(&mut now);
        let mut without = limit.clone().floor(0.0);
        for _ in 0..100 {
            window(&mut limit, &mut now, &[(20, 5000, Success)]);
            window(&mut without, &mut now, &[(20, 5000, Success)]);
        }
        assert_eq!((limit.limit(), without.limit()), (49, 1));
    }

    #[test]
    fn a_floor_at_which_nothing_succeeds_does_not_last() {
        let mut now = Instant::now();
        let mut limit = healthy_at_100(&mut now).smallest(3);
        for _ in 0..400 {
            window(&mut limit, &mut now, &[(20, 1000, Abandoned)]);
        }
        assert_eq!(limit.limit(), 3);
    }

    #[test]
    fn where_more_than_a_tenth_fails_it_neither_grows_nor_takes_that_for_healthy() {
        let (mut now, mut limit) = (Instant::now(), Target::default().initial(100));
        for _ in 0..20 {
            window(&mut limit, &mut now, &[(17, 10, Success), (3, 10, Failure)]);
        }
        assert_eq!((limit.limit(), limit.healthy_peak as usize), (100, 0));
    }

    #[test]
    fn refusals_below_cut_however_fast_they_came() {
        assert_eq!(from_100(&[(17, 10, Success), (3, 0, Overload)]), 70);
    }

    #[test]
    fn calls_given_up_count_for_as_long_as_they_lasted_and_longer() {
        // Half of the callers leave early: all others are answered, and quickly.
        assert_eq!(from_100(&[(20, 50, Abandoned), (20, 100, Success)]), 150);
        // Those that left would have waited longer than those that were answered.
        assert_eq!(from_100(&[(20, 150, Abandoned), (20, 100, Success)]), 70);
        assert_eq!(from_100(&[(2, 150, Abandoned), (20, 100, Success)]), 150);
        assert_eq!(from_100(&[(20, 150, Abandoned)]), 70);
    }

    #[test]
    fn a_caller_that_leaves_at_once_says_nothing() {
        assert_eq!(from_100(&[(100, 24, Abandoned)]), 100);
        assert_eq!(from_100(&[(100, 24, Abandoned), (20, 100, Success)]), 150);
    }

    #[test]
    fn a_limit_that_is_not_in_use_does_not_grow() {
        for (in_flight, expected) in [(49, 100), (50, 150)] {
            let (mut now, mut limit) = (Instant::now(), Target::default().initial(100));
            samples(&mut limit, &mut now, 300, 10, in_flight, Success);
            assert_eq!(limit.limit(), expected);
        }
    }

    #[test]
    fn it_is_not_judged_by_a_handful_of_calls() {
        let (mut now, mut limit) = (Instant::now(), Target::default());
        for _ in 0..19 {
            now += Duration::from_secs(1);
            samples(&mut limit, &mut now, 1, 5000, 20, Success);
        }
        assert_eq!(limit.limit(), 20);
        samples(&mut limit, &mut now, 1, 5000, 20, Success);
        assert_eq!(limit.limit(), 14);
    }

    #[test]
    fn no_setting_makes_it_zero() {
        let mut now = Instant::now();
        let mut limit = Target::new(Duration::ZERO).initial(0).smallest(0).floor(f64::NAN);
        for _ in 0..10 {
            window(&mut limit, &mut now, &[(20, 5000, Overload)]);
        }
        assert_eq!(limit.limit(), 1);
        assert_eq!(Target::default().largest(0).limit(), 1);
    }
}
