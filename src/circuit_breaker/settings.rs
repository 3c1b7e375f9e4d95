//! What a breaker is told when it is made: plain data. Pure.

use std::time::Duration;

use super::window::Window;

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// When a breaker opens, for how long, and what closes it.
///
/// What is out of range is taken to the nearest that is not: times to between 1 ms and a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Over which calls the rates are taken.
    pub(crate) window: Window,
    /// It opens at this share of failures.
    pub(crate) failures: Option<Rate>,
    /// It opens at this share of slow calls.
    pub(crate) slow: Option<Slow>,
    /// It opens at so many failures without a success between them.
    pub(crate) in_a_row: Option<InARow>,
    /// What becomes of a call whose caller left.
    pub(crate) abandoned: Abandoned,
    /// How long it is open the first time; each further time is twice as long.
    pub(crate) open_for: Duration,
    /// The longest of these times, and the longest that the origin's `Retry-After` is heeded.
    pub(crate) longest: Duration,
    /// By which share these times are longer or shorter at random; from 0 to 0.9.
    pub(crate) jitter: f64,
    /// Once it has been closed for so long, the next time is a first time again.
    pub(crate) settled_after: Duration,
    /// So many good probes close it, and no more are under way at once; from 1 to 1,024.
    pub(crate) probes: u32,
    /// How long a probe holds its place: the deadline of a call, or somewhat more.
    pub(crate) lease: Duration,
    /// How it takes up its calls again once it has closed.
    pub(crate) ramp: Option<Ramp>,
}

/// A share of at least so many calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// From a millionth to 1, in whole millionths.
    pub(crate) share: f64,
    /// Of fewer calls no share is taken. A window of fewer calls is its own minimum.
    pub(crate) of_at_least: u64,
}

/// Which calls are slow, and how many of them are too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slow {
    /// A call is slow that took longer.
    pub(crate) after: Duration,
    /// It opens at this share of them.
    pub(crate) rate: Rate,
}

/// Failures without a success between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InARow {
    /// So many; from 1 to 1,024.
    pub(crate) failures: usize,
    /// The last of them no later than so long after the first.
    pub(crate) within: Duration,
}

/// What becomes of a call whose caller left before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abandoned {
    /// It says nothing of the origin.
    Ignored,
    /// It is a failure if it had lasted so long, at least a millisecond: the caller's patience was
    /// the deadline.
    FailureAfter(Duration),
}

/// How a breaker takes up its calls again once it has closed: a share of them at first, then more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ramp {
    /// How long until all calls are admitted.
    pub(crate) over: Duration,
    /// The share of the calls that is admitted at once; from 0.01 to 1.
    pub(crate) from: f64,
}

impl Default for Settings {
    /// For an origin: it opens at half of at least 20 calls within 10 s, and three probes close it.
    fn default() -> Self {
        Self {
            window: Window::Time(Duration::from_secs(10)),
            failures: Some(Rate { share: 0.5, of_at_least: 20 }),
            slow: None,
            in_a_row: None,
            abandoned: Abandoned::Ignored,
            open_for: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            jitter: 0.2,
            settled_after: Duration::from_secs(10),
            probes: 3,
            lease: Duration::from_secs(10),
            ramp: None,
        }
    }
}

impl Settings {
    /// For a store, whose calls are short and alike: five failures in a row within 10 s open it as
    /// well, and one probe closes it.
    pub(crate) fn store() -> Self {
        Self {
            in_a_row: Some(InARow { failures: 5, within: Duration::from_secs(10) }),
            probes: 1,
            lease: Duration::from_secs(1),
            ..Self::default()
        }
    }

    pub(super) fn clamped(self) -> Self {
        let time = |time: Duration| time.clamp(SHORTEST, LONGEST);
        let window = self.window.clamped();
        let rate = |rate: Rate| rate.clamped(window);
        let open_for = time(self.open_for);
        Self {
            window,
            failures: self.failures.map(rate),
            slow: self.slow.map(|slow| Slow { rate: rate(slow.rate), ..slow }),
            in_a_row: self
                .in_a_row
                .map(|row| InARow { failures: row.failures.clamp(1, 1024), ..row }),
            abandoned: match self.abandoned {
                Abandoned::Ignored => Abandoned::Ignored,
                Abandoned::FailureAfter(lasted) => Abandoned::FailureAfter(lasted.max(SHORTEST)),
            },
            open_for,
            longest: time(self.longest).max(open_for),
            jitter: within(self.jitter, 0.0, 0.9),
            settled_after: time(self.settled_after).max(match window {
                // What it takes to open it again is no sign that it was well meanwhile.
                Window::Time(span) => span,
                Window::Calls(_) => Duration::ZERO,
            }),
            probes: self.probes.clamp(1, 1024),
            lease: time(self.lease),
            ramp: self
                .ramp
                .filter(|ramp| !ramp.over.is_zero())
                .map(|ramp| Ramp { over: time(ramp.over), from: within(ramp.from, 0.01, 1.0) }),
        }
    }

    /// For how long it opens after it has opened so often; `random` is drawn from [0, 1).
    pub(super) fn open_time(&self, openings: u32, random: f64) -> Duration {
        let doubled = self.open_for.saturating_mul(1_u32.checked_shl(openings).unwrap_or(u32::MAX));
        doubled.min(self.longest).mul_f64(1.0 + self.jitter * (2.0 * random - 1.0))
    }
}

impl Rate {
    /// Whether so many of so many calls are too many.
    pub(super) fn is_reached(self, bad: u64, calls: u64) -> bool {
        // Whole millionths: 0.07 of 100 calls are 7, where the product of the floats is above 7.
        let millionths = (self.share * 1e6).round() as u128;
        calls >= self.of_at_least
            && bad > 0
            && u128::from(bad) * 1_000_000 >= u128::from(calls) * millionths
    }

    fn clamped(self, window: Window) -> Self {
        let of_at_least = match window {
            Window::Calls(calls) => self.of_at_least.min(calls as u64),
            Window::Time(_) => self.of_at_least,
        };
        Self { share: within(self.share, 1e-6, 1.0), of_at_least }
    }
}

/// What is not a number is the least.
fn within(number: f64, least: f64, most: f64) -> f64 {
    number.max(least).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_reached_by_whole_calls_whatever_floats_make_of_it() {
        for (share, calls, needed) in
            [(0.07, 100, 7), (0.3, 10, 3), (0.5, 21, 11), (1.0, 50, 50), (0.01, 10, 1)]
        {
            let rate = Rate { share, of_at_least: 1 };
            assert!(rate.is_reached(needed, calls), "{share} of {calls}");
            assert!(!rate.is_reached(needed - 1, calls), "{share} of {calls}");
        }
        assert!(!Rate { share: 0.5, of_at_least: 20 }.is_reached(19, 19));
    }

    #[test]
    fn open_times_double_to_the_longest_and_are_jittered_both_ways() {
        let settings = Settings::default().clamped();
        let times: Vec<u64> =
            (0..7).map(|openings| settings.open_time(openings, 0.5).as_secs()).collect();
        assert_eq!(times, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(settings.open_time(u32::MAX, 0.0), Duration::from_secs(24));
        assert_eq!(settings.open_time(0, 0.0), Duration::from_millis(800));
        assert!(settings.open_time(0, 0.999) > Duration::from_millis(1_199));
    }

    #[test]
    fn what_is_out_of_range_is_taken_to_the_nearest() {
        let settings = Settings {
            window: Window::Calls(5),
            failures: Some(Rate { share: f64::NAN, of_at_least: 100 }),
            in_a_row: Some(InARow { failures: 0, within: Duration::ZERO }),
            open_for: Duration::MAX,
            longest: Duration::ZERO,
            jitter: 7.0,
            probes: 0,
            ramp: Some(Ramp { over: Duration::MAX, from: -1.0 }),
            ..Settings::default()
        };
        let clamped = settings.clamped();
        assert_eq!(clamped.failures, Some(Rate { share: 1e-6, of_at_least: 5 }));
        assert_eq!(clamped.in_a_row.map(|row| row.failures), Some(1));
        assert_eq!((clamped.open_for, clamped.longest), (LONGEST, LONGEST));
        assert_eq!((clamped.jitter, clamped.probes), (0.9, 1));
        assert_eq!(clamped.ramp, Some(Ramp { over: LONGEST, from: 0.01 }));
        let off = Ramp { over: Duration::ZERO, from: 0.5 };
        assert_eq!(Settings { ramp: Some(off), ..settings }.clamped().ramp, None);
    }
}
