//! Failures without a success between them. Pure.
//!
//! A call that says nothing, as an abandoned one, neither makes the row longer nor breaks it.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Failures without a success between them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    length: usize,
    within: Duration,
    /// When the last of them were, as many as are needed.
    failures: VecDeque<Instant>,
}

impl Row {
    /// Of so many failures, the last no later than so long after the first.
    pub(crate) fn new(length: usize, within: Duration) -> Self {
        Self { length: length.max(1), within, failures: VecDeque::new() }
    }

    /// One more: whether the row is complete.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        if self.failures.len() == self.length {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        self.failures.len() == self.length && now.duration_since(self.failures[0]) <= self.within
    }

    /// Whether the last call did not fail.
    pub(crate) fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }

    /// A call succeeded.
    pub(crate) fn broken(&mut self) {
        self.failures.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_is_complete_only_within_its_time() {
        let now = Instant::now();
        let mut row = Row::new(3, millis(100));
        let failed: Vec<bool> =
            [0, 10, 101, 110, 111].map(|at| row.failed(now + millis(at))).into();
        assert_eq!(failed, [false, false, false, true, true]);
        row.broken();
        assert!(!row.failed(now + millis(112)));
    }
}
