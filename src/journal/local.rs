//! The journal of one process: a number for each invalidation, and the fold of them all.

use std::{
    fmt,
    sync::{LazyLock, Mutex, PoisonError, atomic},
};

use atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use super::{
    Fence,
    fold::{Fold, Slots},
};

pub(crate) const SMALLEST_FOLD: u32 = 10;
pub(crate) const LARGEST_FOLD: u32 = 20;

/// The number of the last invalidation of this process, all of whose slots are written.
static LAST: atomic::AtomicU64 = atomic::AtomicU64::new(0);

/// Held while one is written: numbers appear in order, each with its slots.
static WRITING: Mutex<()> = Mutex::new(());

/// Tells the numbers of this process from those of any other.
#[cfg(feature = "remote")]
pub(super) fn process() -> u128 {
    use std::hash::{BuildHasher, RandomState};

    static ID: LazyLock<u128> = LazyLock::new(|| {
        let random = || u128::from(RandomState::new().hash_one(0));
        random() << 64 | random()
    });
    *ID
}

pub(super) fn last() -> Fence {
    Fence(LAST.load(Acquire))
}

/// What the journal says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing has named it since its fetch began.
    Alive,
    /// It was invalidated softly: it counts as stale.
    Outdated,
    /// It was invalidated hard: it is not there any more.
    Dead,
}

/// What was invalidated in one cache.
pub(crate) struct Journal {
    fold: Fold,
    /// The number of this journal's own last record.
    newest: atomic::AtomicU64,
}

/// A bit for each URI that this process ever fetched, by the hash of its name: 128 KiB.
static FETCHED: LazyLock<Box<[atomic::AtomicU64]>> =
    LazyLock::new(|| (0..FETCHED_BITS / 64).map(|_| atomic::AtomicU64::new(0)).collect());

const FETCHED_BITS: usize = 1 << 20;

impl Journal {
    pub(crate) fn new(slots: usize) -> Self {
        let bits = slots.clamp(1 << SMALLEST_FOLD, 1 << LARGEST_FOLD).next_power_of_two().ilog2();
        Self { fold: Fold::new(bits), newest: atomic::AtomicU64::new(0) }
    }

    // ===== what was fetched =====

    /// Takes note that an answer of this URI is fetched, before it is.
    pub(crate) fn fetching(&self, uri: Slots) {
        let (word, bit) = place(uri);
        if FETCHED[word].load(SeqCst) & bit == 0 {
            FETCHED[word].fetch_or(bit, SeqCst);
        }
    }

    /// Whether an answer of this URI may have been fetched, or may be under way. `false`: what is
    /// fetched from now on is read at the origin from now on.
    pub(crate) fn was_fetched(&self, uri: Slots) -> bool {
        let (word, bit) = place(uri);
        FETCHED[word].load(SeqCst) & bit != 0
    }

    // ===== writing =====

    pub(crate) fn record(&self, names: &[Slots], hard: bool) {
        self.write(|fold, number| {
            for name in names {
                fold.record(*name, number, hard);
            }
        });
    }

    /// Records, and tells the number of that, unless something has named one of `seen` after `since`.
    pub(crate) fn record_after(
        &self,
        names: &[Slots],
        hard: bool,
        seen: &[Slots],
        since: Fence,
    ) -> Option<Fence> {
        let mut own = None;
        self.write(|fold, number| {
            if fold.last(seen) <= since.0 {
                own = Some(Fence(number));
            }
            for name in names {
                fold.record(*name, number, hard);
            }
        });
        own
    }

    pub(crate) fn record_everything(&self, hard: bool) {
        self.write(|fold, number| fold.record_everything(number, hard));
    }

    fn write(&self, into: impl FnOnce(&Fold, u64)) {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let number = LAST.load(Relaxed) + 1;
        into(&self.fold, number);
        self.newest.store(number, Relaxed);
        // A fetch that notes this number sees the slots: what it finds dead it does not validate.
        LAST.store(number, Release);
    }

    // ===== reading =====

    /// What has become of something with these names that was fetched behind this fence: on a hit, a
    /// load where nothing was invalidated since, else a few a name.
    pub(crate) fn condition(&self, names: &[Slots], fence: Fence) -> Condition {
        if self.newest() <= fence {
            return Condition::Alive;
        }
        if self.fold.last(names) <= fence.0 {
            Condition::Alive
        } else if self.fold.last_hard(names) <= fence.0 {
            Condition::Outdated
        } else {
            Condition::Dead
        }
    }

    /// The last record, of any kind, that names one of these.
    pub(crate) fn last(&self, names: &[Slots]) -> Fence {
        Fence(self.fold.last(names))
    }

    /// This journal's last record; zero where it has none.
    pub(crate) fn newest(&self) -> Fence {
        Fence(self.newest.load(Relaxed))
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("newest", &self.newest()).finish_non_exhaustive()
    }
}

fn place(uri: Slots) -> (usize, u64) {
    let at = uri.first() as usize % FETCHED_BITS;
    (at / 64, 1 << (at % 64))
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::{super::Name, *};
    use crate::store::Key;

    #[test]
    fn what_was_fetched_before_a_record_is_dead_or_outdated_and_what_began_later_is_alive() {
        let journal = Journal::new(1 << 17);
        let names = [Name::key(&Key::from(&b"k"[..])).slots(), Name::tag(b"shoes").slots()];
        let before = Fence::now();
        assert_eq!(journal.condition(&names, before), Condition::Alive);
        journal.record(&[Name::tag(b"boots").slots()], true);
        assert_eq!(journal.condition(&names, before), Condition::Alive);
        journal.record(&[Name::tag(b"shoes").slots()], true);
        journal.record(&[Name::tag(b"shoes").slots()], false);
        assert_eq!(journal.condition(&names, before), Condition::Dead);
        let between = Fence::now();
        journal.record_everything(false);
        assert_eq!(journal.condition(&names, between), Condition::Outdated);
        assert_eq!(journal.condition(&names, Fence::now()), Condition::Alive);
    }
}
