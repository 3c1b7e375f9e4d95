//! Additive increase, multiplicative decrease.

use std::time::Duration;

use tokio::time::Instant;

use super::{Limit, Outcome, Sample, whole};

/// What is left of the limit after a cut.
const CUT: f64 = 0.9;

/// A limit that grows by one call a round trip, and loses a tenth when a call takes too long.
///
/// A call is one too long at 250 ms, or when it was refused below for overload or ran into a
/// deadline, however fast. All the calls that were on their way when the limit was cut say the same
/// thing, so they cut it once. It grows only while at least half of it is in use: what nobody uses
/// proves nothing.
///
/// It has no way to tell an origin with too many calls from one that is slow whatever it is asked.
/// Of the latter it would take the calls away, down to [`smallest`](Self::smallest): 20 unless told
/// otherwise, which should be about what the origin works on at once. [`Target`](super::Target)
/// finds such a number by itself. Nor does it learn anything from callers that leave before a call is
/// too long: it has to be below their patience.
///
/// ```
/// use seawall::load_shed::limit::{Aimd, Limit};
/// use std::time::Duration;
///
/// let limit = Aimd::new(Duration::from_millis(100)).smallest(4).largest(64).initial(8);
/// assert_eq!(limit.limit(), 8);
/// ```
///
/// As in TCP: Chiu and Jain, *Analysis of the Increase and Decrease Algorithms for Congestion
/// Avoidance in Computer Networks*, 1989.
#[derive(Clone, Copy, Debug)]
pub struct Aimd {
    limit: f64,
    too_long: Duration,
    smallest: usize,
    largest: usize,
    cut: Option<Instant>,
}

impl Aimd {
    /// A limit that is cut when a call takes longer than `too_long`.
    pub const fn new(too_long: Duration) -> Self {
        Self { limit: 20.0, too_long, smallest: 20, largest: 1024, cut: None }
    }

    /// Where it begins: at 20, or the nearest that its bounds allow.
    #[must_use]
    pub fn initial(mut self, calls: usize) -> Self {
        self.limit = calls as f64;
        self.bounded()
    }

    /// The fewest calls that it goes down to: 20. At least one, and no more than the largest.
    #[must_use]
    pub fn smallest(mut self, calls: usize) -> Self {
        self.smallest = calls.max(1);
        self.bounded()
    }

    /// The most calls that it goes up to: 1024. At least one.
    #[must_use]
    pub fn largest(mut self, calls: usize) -> Self {
        self.largest = calls.max(1);
        self.bounded()
    }

    fn bounded(mut self) -> Self {
        self.limit = self.limit.max(self.smallest as f64).min(self.largest as f64);
        self
    }
}

impl Default for Aimd {
    fn default() -> Self {
        Self::new(Duration::from_millis(250))
    }
}

impl Limit for Aimd {
    fn limit(&self) -> usize {
        whole(self.limit)
    }

    fn sample(&mut self, sample: &Sample, now: Instant) {
        let too_long = match sample.outcome {
            Outcome::Success | Outcome::Failure => sample.latency > self.too_long,
            // It would have taken longer than it lasted.
            Outcome::Abandoned => sample.latency >= self.too_long,
            Outcome::Overload => true,
        };
        if too_long {
            let began = now.checked_sub(sample.latency);
            if self.cut.is_none_or(|cut| began.is_some_and(|began| began >= cut)) {
                self.limit *= CUT;
                self.cut = Some(now);
            }
        } else if sample.outcome == Outcome::Success && sample.in_flight * 2 >= self.limit() {
            self.limit += 1.0 / self.limit;
        }
        *self = self.bounded();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::samples, *};

    #[test]
    fn it_grows_by_one_call_a_round_trip_and_no_further_than_its_largest() {
        let mut limit = Aimd::default().largest(22);
        let mut now = Instant::now();
        samples(&mut limit, &mut now, 21, 10, 10, Outcome::Success);
        assert_eq!(limit.limit(), 21);
        samples(&mut limit, &mut now, 1000, 10, 11, Outcome::Success);
        assert_eq!(limit.limit(), 22);
    }

    #[test]
    fn all_that_was_on_its_way_cuts_once() {
        let mut limit = Aimd::default().initial(100);
        let mut now = Instant::now();
        samples(&mut limit, &mut now, 100, 300, 100, Outcome::Success);
        assert_eq!(limit.limit(), 90);
        now += Duration::from_millis(300);
        samples(&mut limit, &mut now, 100, 300, 90, Outcome::Abandoned);
        assert_eq!(limit.limit(), 81);
    }

    #[test]
    fn a_refusal_below_cuts_however_fast_it_came() {
        let mut limit = Aimd::default().initial(100);
        samples(&mut limit, &mut Instant::now(), 1, 0, 1, Outcome::Overload);
        assert_eq!(limit.limit(), 90);
    }

    #[test]
    fn it_never_goes_below_its_smallest_and_that_is_never_zero() {
        for (smallest, expected) in [(0, 1), (1, 1), (7, 7)] {
            let mut limit = Aimd::default().smallest(smallest);
            let mut now = Instant::now();
            samples(&mut limit, &mut now, 1000, 0, 1, Outcome::Overload);
            assert_eq!(limit.limit(), expected);
        }
        assert_eq!(Aimd::default().largest(0).limit(), 1);
    }
}
