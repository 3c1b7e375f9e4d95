//! All that was ever invalidated, in a table of fixed size.
//!
//! Two rows of slots, indexed by two hashes of a name; each slot has the number of the last record
//! that named anything in it. What is known of a name is the smaller of its two slots (a count-min
//! sketch with maxima for counts: Cormode and Muthukrishnan, *An improved data stream summary*,
//! 2005). It never forgets, and two names that meet in both rows cost each other a miss, never a
//! stale answer.

use std::sync::atomic::Ordering::Relaxed;

use crate::sync::atomic::AtomicU64;

/// Where a name is looked up: its slot in either row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slots([u32; 2]);

impl Slots {
    /// The two halves of a seeded hash are two hashes.
    pub(crate) fn of(hash: u64) -> Self {
        Self([(hash >> 32) as u32, hash as u32])
    }

    /// One of its hashes.
    pub(super) fn first(self) -> u32 {
        self.0[0]
    }
}

/// The number of the last record that named a slot: of any kind, and of the hard kind.
#[derive(Debug, Default)]
struct Slot {
    any: AtomicU64,
    hard: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Fold {
    rows: [Box<[Slot]>; 2],
    everything: Slot,
    mask: u32,
}

impl Fold {
    /// With `2^bits` slots a row, 32 bytes for each index.
    pub(crate) fn new(bits: u32) -> Self {
        let row = || (0..1_usize << bits).map(|_| Slot::default()).collect();
        Self { rows: [row(), row()], everything: Slot::default(), mask: (1 << bits) - 1 }
    }

    pub(crate) fn record(&self, name: Slots, number: u64, hard: bool) {
        for slot in self.slots(name) {
            slot.raise(number, hard);
        }
    }

    pub(crate) fn record_everything(&self, number: u64, hard: bool) {
        self.everything.raise(number, hard);
    }

    /// The last record that may have named one of `names`.
    pub(crate) fn last(&self, names: &[Slots]) -> u64 {
        let last = names.iter().map(|name| self.smaller(*name, |slot| slot.any.load(Relaxed)));
        last.fold(self.everything.any.load(Relaxed), u64::max)
    }

    /// The last hard record that may have named one of `names`.
    pub(crate) fn last_hard(&self, names: &[Slots]) -> u64 {
        let last = names.iter().map(|name| self.smaller(*name, |slot| slot.hard.load(Relaxed)));
        last.fold(self.everything.hard.load(Relaxed), u64::max)
    }

    fn smaller(&self, name: Slots, read: impl Fn(&Slot) -> u64) -> u64 {
        let [one, other] = self.slots(name);
        read(one).min(read(other))
    }

    fn slots(&self, Slots(name): Slots) -> [&Slot; 2] {
        let [one, other] = &self.rows;
        [&one[(name[0] & self.mask) as usize], &other[(name[1] & self.mask) as usize]]
    }
}

impl Slot {
    fn raise(&self, number: u64, hard: bool) {
        self.any.fetch_max(number, Relaxed);
        if hard {
            self.hard.fetch_max(number, Relaxed);
        }
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn a_name_has_the_number_of_its_last_record_and_the_last_hard_one_for_ever() {
        let fold = Fold::new(10);
        let hasher = RandomState::new();
        let [a, b] = ["a", "b"].map(|name| Slots::of(hasher.hash_one(name)));
        assert_eq!((fold.last(&[a, b]), fold.last_hard(&[a, b])), (0, 0));
        fold.record(a, 1, true);
        fold.record(a, 2, false);
        assert_eq!((fold.last(&[a]), fold.last_hard(&[a])), (2, 1));
        fold.record_everything(3, false);
        assert_eq!((fold.last(&[b]), fold.last_hard(&[])), (3, 0));
    }

    /// The share of names that a hundred thousand records of others cost a miss: `(1 - e^(-n/m))²`.
    #[test]
    fn what_other_names_cost_is_what_the_formula_says() {
        for (bits, expected) in [(17, 0.285), (20, 0.0083)] {
            let fold = Fold::new(bits);
            let hasher = RandomState::new();
            for name in 0..100_000_u64 {
                fold.record(Slots::of(hasher.hash_one(name)), 1, true);
            }
            let others = 100_000..200_000_u64;
            let missed = others.filter(|n| fold.last(&[Slots::of(hasher.hash_one(n))]) > 0).count();
            let share = missed as f64 / 100_000.0;
            println!("2^{bits} slots: {:.2} % needless misses", share * 100.0);
            assert!((share / expected - 1.0).abs() < 0.15, "{share} for {expected}");
        }
    }
}
