//! Which variants a key has.

use std::{fmt, mem};

use tokio::time::Instant;

use super::Key;
use crate::rfc9111::vary::Names;

/// How the answers of one key vary.
///
/// What is kept under the key itself is which fields tell variants apart, and the list of those that
/// are kept under keys of their own. To a store it is a record like any other.
///
/// ```
/// use seawall::store::Record;
///
/// fn kind(record: &Record) -> &'static str {
///     match record {
///         Record::Entry(_) => "an answer",
///         Record::Variants(_) => "where its variants are",
///         _ => "something newer",
///     }
/// }
/// # let _ = kind;
/// ```
pub struct Variants {
    sets: Vec<Names>,
    /// The keys of the variants in the order in which they came: the oldest goes first.
    known: Vec<Key>,
    /// How long the last of them is of any use, and some more.
    until: Instant,
}

/// The most sets of names that are told apart; an older one is forgotten.
pub(crate) const MOST_SETS: usize = 4;

impl Variants {
    pub(crate) fn sets(&self) -> &[Names] {
        &self.sets
    }

    pub(crate) fn known(&self) -> &[Key] {
        &self.known
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    #[cfg(feature = "remote")]
    pub(crate) fn of(sets: Vec<Names>, known: Vec<Key>, until: Instant) -> Self {
        Self { sets, known, until }
    }

    /// With the variant `key`, which `names` tells apart from others, beside those known before; and
    /// the oldest one, where there are more than `most`. `None`: it is known.
    ///
    /// A record is never changed once it is stored: of two writers at once, one may lose its line in
    /// the list of the known, and nothing else.
    pub(crate) fn and(
        before: Option<&Self>,
        names: &Names,
        key: &Key,
        most: usize,
        until: Instant,
    ) -> Option<(Self, Option<Key>)> {
        let (sets, known) = before.map_or((&[][..], &[][..]), |b| (&b.sets[..], &b.known[..]));
        let lasts = before.is_some_and(|before| until <= before.until);
        if lasts && sets.first() == Some(names) && known.contains(key) {
            return None;
        }
        // Not each time that one of them lives a little longer is it written again.
        let more = until.saturating_duration_since(Instant::now()) / 4;
        let until = before.map_or(until + more, |before| before.until.max(until + more));
        let others = sets.iter().filter(|set| *set != names).cloned();
        let sets = std::iter::once(names.clone()).chain(others).take(MOST_SETS).collect();
        let mut known: Vec<_> = known.iter().filter(|other| *other != key).cloned().collect();
        known.push(key.clone());
        let oldest = (known.len() > most).then(|| known.remove(0));
        Some((Self { sets, known, until }, oldest))
    }

    pub(super) fn weight(&self) -> u64 {
        let keys: usize = self.known.iter().map(|key| key.as_bytes().len() + 48).sum();
        (mem::size_of::<Self>() + self.sets.len() * 64 + keys) as u64
    }
}

impl fmt::Debug for Variants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variants").field("sets", &self.sets).finish_non_exhaustive()
    }
}
