//! How long calls take, beside those of a healthy store.

use std::{fmt, time::Duration};

/// How long several calls took.
#[derive(Clone, Debug)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        assert!(!times.is_empty());
        Self(times)
    }

    /// Of all, in hundredths.
    pub fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    pub fn longest(&self) -> Duration {
        self.0[self.0.len() - 1]
    }

    /// Whether they are more than those of a healthy store by no more than this; of the slowest, beside
    /// what a busy machine adds, which is less than any deadline.
    pub fn assert_near(&self, healthy: &Self, added: Duration, what: &str) {
        assert!(self.at(50) <= healthy.at(50) + added, "{what}: {self} after {healthy}");
        assert!(self.at(90) <= healthy.longest() + added, "{what}: {self} after {healthy}");
        assert!(
            self.at(99) <= healthy.longest() + added + ms(30),
            "{what}: {self} after {healthy}"
        );
    }

    pub fn longer_than(&self, limit: Duration) -> usize {
        self.0.iter().filter(|&&time| time > limit).count()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, most) = (self.at(50), self.at(99), self.longest());
        write!(f, "p50 {p50:.1?} p99 {p99:.1?} max {most:.1?} (n={})", self.0.len())
    }
}

pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Ten times what the table of faults says.
pub const fn tenfold(milliseconds: u64) -> Duration {
    ms(10 * milliseconds)
}
