//! A bound that many share: so much may be out at once, and no more.

use crate::{
    observe::Listener,
    sync::atomic::{AtomicUsize, Ordering},
};

/// A number of units of which at most `limit` are out at once.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit }
    }

    /// Takes `units`, or none of them.
    pub(crate) fn take(&self, units: usize) -> bool {
        let before = self.used.fetch_add(units, Ordering::Relaxed);
        let fits = before.checked_add(units).is_some_and(|after| after <= self.limit);
        if !fits {
            self.used.fetch_sub(units, Ordering::Relaxed);
        }
        fits
    }

    pub(crate) fn give_back(&self, units: usize) {
        self.used.fetch_sub(units, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// The bounds on what flights hold, one set for a whole [`Cache`](crate::Cache).
#[derive(Debug)]
pub(crate) struct Budgets {
    /// Bytes recorded and not stored yet.
    pub(crate) fill: Budget,
    /// Fetches that go on although their last caller has left.
    pub(crate) orphans: Budget,
    /// Fetches behind an answer that was given already.
    pub(crate) refreshes: Budget,
    /// Callers that wait for another caller's fetch.
    pub(crate) followers: Budget,
    /// Callers that wait for one fetch.
    pub(crate) followers_a_flight: usize,
    /// Who is told of what went over them.
    pub(crate) listener: Listener,
}
