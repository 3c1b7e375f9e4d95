//! All that was ever invalidated, in tables of fixed size.
//!
//! Two rows of slots, indexed by two hashes of a name; each slot has the number of the last record
//! that named anything in it. What is known of a name is the smaller of its two slots (a count-min
//! sketch with maxima for counts: Cormode and Muthukrishnan, *An improved data stream summary*,
//! 2005). It never forgets, and two names that meet in both rows cost each other a miss, never a
//! stale answer.
//!
//! Keys, URIs, tags and groups have a table each, so that what is invalidated by one kind of name costs
//! nothing by the others.

use std::sync::{OnceLock, atomic::Ordering::Relaxed};

use crate::sync::atomic::AtomicU64;

/// What a name names an entry by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Key,
    Uri,
    Tag,
    Group,
}

/// Where a name is looked up: its table, and its slot in either row of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slots {
    kind: Kind,
    hashes: [u32; 2],
}

impl Kind {
    /// The one that is written as this byte.
    pub(super) fn of(byte: u8) -> Option<Self> {
        [Self::Key, Self::Uri, Self::Tag, Self::Group].into_iter().find(|kind| *kind as u8 == byte)
    }
}

impl Slots {
    /// The two halves of a seeded hash are two hashes.
    pub(super) fn of(kind: Kind, hash: u64) -> Self {
        Self { kind, hashes: [(hash >> 32) as u32, hash as u32] }
    }

    /// Whether it is that of a group (RFC 9875).
    pub(crate) fn is_group(self) -> bool {
        self.kind == Kind::Group
    }

    /// One of its hashes.
    pub(super) fn first(self) -> u32 {
        self.hashes[0]
    }
}

/// The number of the last record that named a slot: of any kind, and of the hard kind.
#[derive(Debug, Default)]
struct Slot {
    any: AtomicU64,
    hard: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Fold {
    /// One a kind of name, made with the first record of it: most see one kind, or none.
    tables: [OnceLock<Table>; 4],
    everything: Slot,
    bits: u32,
}

#[derive(Debug)]
struct Table {
    rows: [Box<[Slot]>; 2],
}

impl Fold {
    /// With `2^bits` slots a row, 32 bytes for each index and kind.
    pub(super) fn new(bits: u32) -> Self {
        Self { tables: Default::default(), everything: Slot::default(), bits }
    }

    pub(super) fn record(&self, name: Slots, number: u64, hard: bool) {
        let row = || (0..1_usize << self.bits).map(|_| Slot::default()).collect();
        let table = self.tables[name.kind as usize].get_or_init(|| Table { rows: [row(), row()] });
        for slot in table.slots(name) {
            slot.raise(number, hard);
        }
    }

    pub(super) fn record_everything(&self, number: u64, hard: bool) {
        self.everything.raise(number, hard);
    }

    /// The last record that may have named one of `names`.
    pub(super) fn last(&self, names: &[Slots]) -> u64 {
        self.greatest(names, |slot| slot.any.load(Relaxed))
    }

    /// The last hard record that may have named one of `names`.
    pub(super) fn last_hard(&self, names: &[Slots]) -> u64 {
        self.greatest(names, |slot| slot.hard.load(Relaxed))
    }

    fn greatest(&self, names: &[Slots], read: impl Fn(&Slot) -> u64) -> u64 {
        let last = names.iter().map(|name| {
            let Some(table) = self.tables[name.kind as usize].get() else { return 0 };
            let [one, other] = table.slots(*name);
            read(one).min(read(other))
        });
        last.fold(read(&self.everything), u64::max)
    }
}

impl Table {
    fn slots(&self, name: Slots) -> [&Slot; 2] {
        let [one, other] = &self.rows;
        // A row has a power of two of slots.
        let at = |row: &[Slot], hash: u32| hash as usize & (row.len() - 1);
        [&one[at(one, name.hashes[0])], &other[at(other, name.hashes[1])]]
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
        let [a, b] = ["a", "b"].map(|name| Slots::of(Kind::Tag, hasher.hash_one(name)));
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
                fold.record(Slots::of(Kind::Tag, hasher.hash_one(name)), 1, true);
            }
            let others = 100_000..200_000_u64;
            let missed = others
                .filter(|n| fold.last(&[Slots::of(Kind::Tag, hasher.hash_one(n))]) > 0)
                .count();
            let share = missed as f64 / 100_000.0;
            println!("2^{bits} slots: {:.2} % needless misses", share * 100.0);
            assert!((share / expected - 1.0).abs() < 0.15, "{share} for {expected}");
        }
    }
}
