//! How the last calls ended, counted over a number of them or over a time. Pure.
//!
//! A call costs the same however many are counted: by number they stand in a ring, of which each
//! new one replaces the oldest; by time they are counted in ten slices, of which the oldest goes as
//! a whole. So a window by time holds nothing older than it says, and forgets up to a tenth early.

use std::time::Duration;

use tokio::time::Instant;

const SLICES: usize = 10;

/// Over which calls a breaker takes its rates.
///
/// ```
/// use seawall::{CircuitBreakerLayer, circuit_breaker::Window};
///
/// // Half of the last hundred, whenever they were.
/// let layer = CircuitBreakerLayer::new().window(Window::Calls(100)).failure_rate(0.5, 100);
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// The last so many calls, whenever they were: from 1 to 65,536, a byte each.
    Calls(usize),
    /// The calls of so long a time: from 10 ms to a day.
    Time(Duration),
}

impl Window {
    pub(super) fn clamped(self) -> Self {
        match self {
            Self::Calls(calls) => Self::Calls(calls.clamp(1, 1 << 16)),
            Self::Time(span) => {
                Self::Time(span.clamp(Duration::from_millis(10), Duration::from_secs(24 * 60 * 60)))
            }
        }
    }
}

/// How one call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// In time, with an answer.
    Well,
    /// With an answer that was long in coming.
    Slowly,
    /// With a failure.
    Badly,
    /// With a failure that was long in coming.
    BadlyAndSlowly,
}

/// So many calls, and how many of them were what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were slow, failed or not.
    pub slow: u64,
}

impl Counts {
    fn of(calls: u64, ended: Ended) -> Self {
        let (failures, slow) = match ended {
            Ended::Well => (0, 0),
            Ended::Slowly => (0, calls),
            Ended::Badly => (calls, 0),
            Ended::BadlyAndSlowly => (calls, calls),
        };
        Self { calls, failures, slow }
    }

    fn add(&mut self, more: Self) {
        self.calls += more.calls;
        self.failures += more.failures;
        self.slow += more.slow;
    }

    fn take(&mut self, gone: Self) {
        self.calls -= gone.calls;
        self.failures -= gone.failures;
        self.slow -= gone.slow;
    }
}

/// The calls of a window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tally {
    /// The last so many.
    Ring(Ring),
    /// Those of a time.
    Slices(Slices),
}

impl Tally {
    /// An empty one, of a window within its bounds.
    pub(crate) fn new(window: Window, now: Instant) -> Self {
        match window.clamped() {
            Window::Calls(size) => {
                Self::Ring(Ring { size, calls: Vec::new(), oldest: 0, total: Counts::default() })
            }
            Window::Time(span) => Self::Slices(Slices {
                since: now,
                slice: span / SLICES as u32,
                newest: 0,
                slices: Box::default(),
                total: Counts::default(),
            }),
        }
    }

    /// Counts so many calls that ended so, at a time that may lie somewhat back.
    pub(crate) fn record(&mut self, calls: u64, ended: Ended, at: Instant) {
        match self {
            Self::Ring(ring) => {
                for _ in 0..calls.min(ring.size as u64) {
                    ring.push(ended);
                }
            }
            Self::Slices(slices) => slices.add(Counts::of(calls, ended), at),
        }
    }

    /// What is in the window now.
    pub(crate) fn counts(&mut self, now: Instant) -> Counts {
        match self {
            Self::Ring(ring) => ring.total,
            Self::Slices(slices) => {
                slices.turn(now);
                slices.total
            }
        }
    }

    /// Forgets all calls.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Ring(ring) => {
                ring.calls.clear();
                ring.oldest = 0;
                ring.total = Counts::default();
            }
            Self::Slices(slices) => {
                *slices.slices = Default::default();
                slices.total = Counts::default();
            }
        }
    }

    /// How late calls may be recorded, at the time of the first of them, and lose a slice at most.
    pub(crate) fn slice(&self) -> Option<Duration> {
        match self {
            Self::Ring(_) => None,
            Self::Slices(slices) => Some(slices.slice),
        }
    }
}

/// The last calls, one by one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ring {
    size: usize,
    calls: Vec<Ended>,
    oldest: usize,
    total: Counts,
}

impl Ring {
    fn push(&mut self, ended: Ended) {
        if self.calls.len() < self.size {
            self.calls.push(ended);
        } else {
            let gone = std::mem::replace(&mut self.calls[self.oldest], ended);
            self.total.take(Counts::of(1, gone));
            self.oldest = (self.oldest + 1) % self.size;
        }
        self.total.add(Counts::of(1, ended));
    }
}

/// The calls of a time, by slices of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slices {
    since: Instant,
    slice: Duration,
    newest: u64,
    /// The slice numbered `n` stands at `n % SLICES`.
    slices: Box<[Counts; SLICES]>,
    total: Counts,
}

impl Slices {
    fn number(&self, at: Instant) -> u64 {
        let number = at.duration_since(self.since).as_nanos() / self.slice.as_nanos();
        u64::try_from(number).unwrap_or(u64::MAX)
    }

    fn turn(&mut self, now: Instant) {
        let now = self.number(now);
        let gone = now.saturating_sub(self.newest).min(SLICES as u64);
        for number in now + 1 - gone..=now {
            self.total.take(std::mem::take(&mut self.slices[number as usize % SLICES]));
        }
        self.newest = self.newest.max(now);
    }

    fn add(&mut self, counts: Counts, at: Instant) {
        self.turn(at);
        let number = self.number(at);
        if number + (SLICES as u64) > self.newest {
            self.slices[number as usize % SLICES].add(counts);
            self.total.add(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn counts(calls: u64, failures: u64, slow: u64) -> Counts {
        Counts { calls, failures, slow }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_counts_the_last_calls_and_no_others() {
        let now = Instant::now();
        let mut tally = Tally::new(Window::Calls(3), now);
        for (ended, expected) in [
            (Ended::Badly, counts(1, 1, 0)),
            (Ended::Slowly, counts(2, 1, 1)),
            (Ended::BadlyAndSlowly, counts(3, 2, 2)),
            (Ended::Well, counts(3, 1, 2)),
            (Ended::Well, counts(3, 1, 1)),
            (Ended::Well, counts(3, 0, 0)),
        ] {
            tally.record(1, ended, now);
            assert_eq!(tally.counts(now), expected);
        }
        tally.record(u64::MAX, Ended::Badly, now);
        assert_eq!(tally.counts(now), counts(3, 3, 0));
        tally.clear();
        tally.record(1, Ended::Well, now);
        assert_eq!(tally.counts(now), counts(1, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_forgets_its_calls_slice_by_slice() {
        let since = Instant::now();
        let mut tally = Tally::new(Window::Time(millis(1_000)), since);
        tally.record(1, Ended::Badly, since + millis(99));
        tally.record(2, Ended::Slowly, since + millis(100));
        assert_eq!(tally.counts(since + millis(999)), counts(3, 1, 2));
        assert_eq!(tally.counts(since + millis(1_000)), counts(2, 0, 2));
        assert_eq!(tally.counts(since + millis(1_099)), counts(2, 0, 2));
        assert_eq!(tally.counts(since + millis(1_100)), counts(0, 0, 0));
        tally.record(1, Ended::Well, since + millis(1_150));
        assert_eq!(tally.counts(since + millis(3_600_000)), counts(0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_recorded_late_is_counted_when_it_was() {
        let since = Instant::now();
        let mut tally = Tally::new(Window::Time(millis(1_000)), since);
        assert_eq!(tally.counts(since + millis(950)), counts(0, 0, 0));
        tally.record(5, Ended::Well, since + millis(50));
        assert_eq!(tally.counts(since + millis(999)), counts(5, 0, 0));
        assert_eq!(tally.counts(since + millis(1_000)), counts(0, 0, 0));
        tally.record(5, Ended::Well, since + millis(60));
        assert_eq!(tally.counts(since + millis(1_000)), counts(0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn windows_out_of_bounds_are_taken_to_the_nearest() {
        let now = Instant::now();
        let mut tally = Tally::new(Window::Calls(0), now);
        tally.record(7, Ended::Badly, now);
        assert_eq!(tally.counts(now), counts(1, 1, 0));
        assert_eq!(Tally::new(Window::Time(Duration::ZERO), now).slice(), Some(millis(1)));
        let day = Tally::new(Window::Time(Duration::MAX), now).slice();
        assert_eq!(day, Some(millis(8_640_000)));
    }
}
