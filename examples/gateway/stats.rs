//! The figures behind `/status`, `/metrics` and the live line: counters since start, and gauges.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use seawall::{circuit_breaker::State, store::Status};
use tokio::time::Instant;

use crate::stores::Watch;

/// What the gateway has counted since it started.
pub(crate) struct Stats {
    since: Instant,
    /// Requests that arrived, refused ones included.
    pub(crate) requests: AtomicU64,
    /// Answered from storage, fresh.
    pub(crate) hits: AtomicU64,
    /// Answered from storage, with what is not fresh any more.
    pub(crate) stale_hits: AtomicU64,
    /// Fetched, because storage had no answer.
    pub(crate) misses: AtomicU64,
    /// Handed on without looking.
    pub(crate) passes: AtomicU64,
    /// Answered by a fetch that another request had begun.
    pub(crate) followers: AtomicU64,
    /// Fetches that began behind an answer that was given already.
    pub(crate) refreshes: AtomicU64,
    /// Calls made to the origin.
    pub(crate) origin_calls: AtomicU64,
    /// Calls whose body has not ended yet.
    pub(crate) origin_in_flight: AtomicU64,
    /// Calls that brought no whole answer, or one of 500 and above.
    pub(crate) origin_failures: AtomicU64,
    /// Calls refused by the limit, and requests refused by a quota.
    pub(crate) shed: AtomicU64,
    /// Calls refused by the circuit breaker.
    pub(crate) circuit_refused: AtomicU64,
    /// The gateway is finishing what runs and takes nothing new.
    pub(crate) draining: AtomicBool,
    kept: OnceLock<Box<dyn Fn() -> Kept + Send + Sync>>,
    guarded: OnceLock<Box<dyn Fn() -> Guarded + Send + Sync>>,
    stores: OnceLock<Watch>,
    exported: OnceLock<Box<dyn Fn() -> String + Send + Sync>>,
}

/// What the layers hold at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) flights: u64,
    pub(crate) uncacheable_remembered: u64,
    pub(crate) failures_remembered: u64,
    /// Of the last invalidation.
    pub(crate) position: u64,
}

/// What stands before the origin at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guarded {
    /// `None`: there is no limit.
    pub(crate) limit: Option<usize>,
    pub(crate) in_flight: usize,
    pub(crate) circuit: State,
    /// Of the breaker's window.
    pub(crate) calls: u64,
    pub(crate) failures: u64,
}

impl Stats {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            since: Instant::now(),
            requests: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            stale_hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            passes: AtomicU64::new(0),
            followers: AtomicU64::new(0),
            refreshes: AtomicU64::new(0),
            origin_calls: AtomicU64::new(0),
            origin_in_flight: AtomicU64::new(0),
            origin_failures: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            circuit_refused: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            kept: OnceLock::new(),
            guarded: OnceLock::new(),
            stores: OnceLock::new(),
            exported: OnceLock::new(),
        })
    }

    /// Where the figures of the layers come from; the first to say so is asked.
    pub(crate) fn kept_by(&self, ask: impl Fn() -> Kept + Send + Sync + 'static) {
        let _ = self.kept.set(Box::new(ask));
    }

    pub(crate) fn kept(&self) -> Kept {
        self.kept.get().map_or_else(Kept::default, |ask| ask())
    }

    /// Where the figures of what guards the origin come from; the first to say so is asked.
    pub(crate) fn guarded_by(&self, ask: impl Fn() -> Guarded + Send + Sync + 'static) {
        let _ = self.guarded.set(Box::new(ask));
    }

    pub(crate) fn guarded(&self) -> Option<Guarded> {
        self.guarded.get().map(|ask| ask())
    }

    /// Where the figures of the stores that are shared come from; the first to say so is asked.
    pub(crate) fn stores_by(&self, ask: Watch) {
        let _ = self.stores.set(ask);
    }

    pub(crate) fn stores(&self) -> Vec<Status> {
        self.stores.get().map_or_else(Vec::new, |ask| ask())
    }

    /// Where the text of the layers' own metrics comes from; the first to say so is asked.
    #[cfg(feature = "metrics")]
    pub(crate) fn exported_by(&self, ask: impl Fn() -> String + Send + Sync + 'static) {
        let _ = self.exported.set(Box::new(ask));
    }

    /// The layers' own metrics, in the Prometheus text format.
    pub(crate) fn exported(&self) -> String {
        self.exported.get().map_or_else(String::new, |ask| ask())
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    /// One call to the origin: in flight until the guard is dropped.
    pub(crate) fn origin_call(self: &Arc<Self>) -> Call {
        self.origin_calls.fetch_add(1, Relaxed);
        self.origin_in_flight.fetch_add(1, Relaxed);
        Call { stats: Arc::clone(self), failed: false }
    }
}

/// What a breaker's state is called.
pub(crate) fn word(state: State) -> &'static str {
    match state {
        State::Closed => "closed",
        State::Open => "open",
        State::HalfOpen => "half-open",
    }
}

/// A call to the origin that has not ended.
pub(crate) struct Call {
    stats: Arc<Stats>,
    failed: bool,
}

impl Call {
    /// Counts this call as failed, once.
    pub(crate) fn fail(&mut self) {
        if !std::mem::replace(&mut self.failed, true) {
            self.stats.origin_failures.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.stats.origin_in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_in_flight_until_dropped_and_fails_once() {
        let stats = Stats::new();
        let mut call = stats.origin_call();
        call.fail();
        call.fail();
        assert_eq!(stats.origin_in_flight.load(Relaxed), 1);
        drop(call);
        assert_eq!(stats.origin_in_flight.load(Relaxed), 0);
        assert_eq!(stats.origin_failures.load(Relaxed), 1);
    }
}
