//! Successes that are not counted yet, in cells that threads do not contend for.
//!
//! Each cell says of which epoch its successes are: those of an earlier one are forgotten, whenever
//! they are found.

use crate::sync::{
    atomic::{AtomicU64, Ordering::Relaxed},
    guarded,
};

/// As many as threads that call at once, or nearly.
pub(super) const CELLS: usize = 16;

/// So many in one cell are worth a look at the breaker.
const MANY: u64 = 1 << 16;

/// The successes of all threads.
#[derive(Debug)]
pub(super) struct Successes {
    cells: Box<[Cell]>,
}

/// A cache line of its own; the epoch's lower half, then how many.
#[derive(Debug)]
#[repr(align(128))]
struct Cell(AtomicU64);

const fn word(epoch: u64, count: u64) -> u64 {
    epoch << 32 | count
}

const fn of(word: u64) -> (u64, u64) {
    (word >> 32, word & u32::MAX as u64)
}

impl Successes {
    pub(super) fn new(cells: usize) -> Self {
        Self { cells: (0..cells).map(|_| Cell(AtomicU64::new(0))).collect() }
    }

    /// Adds one of `epoch`: whether there are so many that they should be counted now.
    pub(super) fn add(&self, epoch: u64) -> bool {
        let epoch = epoch & u64::from(u32::MAX);
        let cell = &self.cells[mine() % self.cells.len()].0;
        let mut count = 0;
        // Only sums are read of it, under a lock that orders everything else.
        let _ = cell.fetch_update(Relaxed, Relaxed, |now| {
            let (of_epoch, so_far) = of(now);
            // An epoch may be half of all numbers behind, and is then long over.
            let behind = of_epoch.wrapping_sub(epoch) & u64::from(u32::MAX);
            if behind != 0 && behind < 1 << 31 {
                return None;
            }
            count = if of_epoch == epoch { so_far + 1 } else { 1 };
            Some(word(epoch, count))
        });
        count >= MANY
    }

    /// Takes all there are, and returns those of `epoch`.
    pub(super) fn take(&self, epoch: u64) -> u64 {
        let epoch = epoch & u64::from(u32::MAX);
        let counts = self.cells.iter().map(|cell| {
            let (of_epoch, count) = of(cell.0.swap(word(epoch, 0), Relaxed));
            if of_epoch == epoch || !guarded("a success is of its epoch") { count } else { 0 }
        });
        counts.sum()
    }
}

/// The cell of this thread.
#[cfg(not(seawall_loom))]
fn mine() -> usize {
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Relaxed);
    }
    MINE.try_with(|mine| *mine).unwrap_or(0)
}

#[cfg(seawall_loom)]
fn mine() -> usize {
    0
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn those_of_another_epoch_are_forgotten() {
        let successes = Successes::new(CELLS);
        successes.add(1);
        successes.add(1);
        assert_eq!(successes.take(1), 2);
        assert_eq!(successes.take(1), 0);
        successes.add(1);
        successes.add(2);
        assert_eq!(successes.take(2), 1);
        successes.add(2);
        assert_eq!(successes.take(3), 0);
    }

    #[test]
    fn one_of_an_earlier_epoch_takes_none_of_a_later_one_along() {
        for later in [2, u64::from(u32::MAX) + 2] {
            let successes = Successes::new(1);
            successes.add(later);
            successes.add(later - 1);
            assert_eq!(successes.take(later), 1);
        }
    }

    #[test]
    fn none_is_lost_between_threads() {
        let successes = Successes::new(CELLS);
        let mut taken = 0;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| _ = successes.add(7)));
            }
            taken = (0..100).map(|_| successes.take(7)).sum();
        });
        assert_eq!(taken + successes.take(7), 40_000);
    }

    #[test]
    fn a_full_cell_asks_to_be_counted() {
        let successes = Successes::new(CELLS);
        assert_eq!((0..MANY).filter(|_| successes.add(1)).count(), 1);
    }
}
