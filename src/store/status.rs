//! How a store is.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::circuit_breaker::State;

/// How a store is, and what came of the operations on it so far.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use seawall::store::{Guarded, Memory};
///
/// let status = Guarded::new(Memory::default()).status();
/// assert_eq!((status.hits, status.misses, status.failures), (0, 0, 0));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What it is called.
    pub name: Box<str>,
    /// That of its breaker: closed where it is well.
    pub state: State,
    /// Whether it takes writes.
    pub writes: bool,
    /// Reads that found something.
    pub hits: u64,
    /// Reads that found nothing.
    pub misses: u64,
    /// Operations that failed, were too slow or were declined; not those that the breaker refused.
    pub failures: u64,
    /// How long reads took of late: a moving average of those that did not fail.
    pub latency: Duration,
}

/// What is counted of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) failures: AtomicU64,
    /// In nanoseconds.
    pub(super) latency: AtomicU64,
}

impl Tally {
    /// A moving average over about 64 reads; of two threads at once, one may not count.
    pub(super) fn took(&self, time: Duration) {
        let took = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let average = match self.latency.load(Relaxed) {
            0 => took,
            before => before - before / 64 + took / 64,
        };
        self.latency.store(average, Relaxed);
    }
}
