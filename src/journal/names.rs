//! What an answer is invalidated by: its key, its URI, its tags, its groups.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    ops::Deref,
    sync::LazyLock,
};

use http::Uri;

use super::fold::{Kind, Slots};
use crate::store::Key;

/// A name, spelled out.
pub(crate) struct Name {
    kind: Kind,
    said: Vec<u8>,
}

impl Name {
    pub(crate) fn key(key: &Key) -> Self {
        Self { kind: Kind::Key, said: key.as_bytes().to_vec() }
    }

    pub(crate) fn uri(authority: &[u8], uri: &Uri) -> Self {
        let (path, query) = (uri.path(), uri.query());
        let mut said = Vec::with_capacity(authority.len() + path.len() + 2);
        said.extend(authority.iter().map(u8::to_ascii_lowercase));
        // Neither can stand in an authority or in a path.
        said.push(b'#');
        said.extend_from_slice(path.as_bytes());
        if let Some(query) = query {
            said.push(b'?');
            said.extend_from_slice(query.as_bytes());
        }
        Self { kind: Kind::Uri, said }
    }

    pub(crate) fn tag(tag: &[u8]) -> Self {
        Self { kind: Kind::Tag, said: tag.to_vec() }
    }

    /// A group of one origin (RFC 9875 §2.1).
    pub(crate) fn group(site: &[u8], group: &[u8]) -> Self {
        // It stands in no authority.
        Self { kind: Kind::Group, said: [site, b"#", group].concat() }
    }

    pub(crate) fn slots(&self) -> Slots {
        slots(self.kind, &self.said)
    }
}

fn slots(kind: Kind, said: &[u8]) -> Slots {
    // One seed for all caches of a process: two of them may share a store.
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut hasher = SEED.build_hasher();
    hasher.write(said);
    Slots::of(kind, hasher.finish())
}

/// The names of one answer: their slots in the journal, and, for a store that other processes read, how
/// they are spelled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    slots: Vec<Slots>,
    /// For each its kind, its length in four bytes, and its bytes; or nothing at all.
    said: Vec<u8>,
}

/// What precedes a name that is spelled out.
const PREFIX: usize = 5;

impl Names {
    /// Adds a name; and how it is spelled, where that is wanted.
    pub(crate) fn push(&mut self, name: &Name, spelled: bool) {
        self.slots.push(name.slots());
        if spelled {
            self.spell(name.kind, &name.said);
        }
    }

    fn spell(&mut self, kind: Kind, said: &[u8]) {
        self.said.push(kind as u8);
        self.said.extend_from_slice(&u32::try_from(said.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.said.extend_from_slice(said);
    }

    /// With those of `others` that it lacks.
    pub(crate) fn and(&self, others: &Self) -> Self {
        let mut all = self.clone();
        for (slots, said) in others.each() {
            if !all.slots.contains(&slots) {
                all.slots.push(slots);
                all.said.extend_from_slice(said);
            }
        }
        all
    }

    /// Those that `wanted` says yes to.
    pub(crate) fn only(&self, wanted: impl Fn(Slots) -> bool) -> Self {
        let mut some = Self::default();
        for (slots, said) in self.each().filter(|(slots, _)| wanted(*slots)) {
            some.slots.push(slots);
            some.said.extend_from_slice(said);
        }
        some
    }

    /// Each, with all that is spelled of it.
    fn each(&self) -> impl Iterator<Item = (Slots, &[u8])> {
        let mut said = &self.said[..];
        self.slots.iter().map(move |slots| {
            let one = first(said).map_or(&[][..], |(_, name)| &said[..PREFIX + name.len()]);
            said = &said[one.len()..];
            (*slots, one)
        })
    }

    /// Gives back the room that it does not need.
    pub(crate) fn compact(mut self) -> Self {
        self.slots.shrink_to_fit();
        self.said.shrink_to_fit();
        self
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        size_of_val(&self.slots[..]) + self.said.len()
    }

    /// All of them, for another process.
    #[cfg(any(test, feature = "remote"))]
    pub(crate) fn said(&self) -> &[u8] {
        &self.said
    }

    /// What another process said; at most so many. `None`: it is not that.
    #[cfg(any(test, feature = "remote"))]
    pub(crate) fn read(said: &[u8], most: usize) -> Option<Self> {
        let mut rest = said;
        let mut all = Vec::new();
        while !rest.is_empty() {
            let (kind, name) = first(rest)?;
            rest = &rest[PREFIX + name.len()..];
            if all.len() == most {
                return None;
            }
            all.push(slots(kind, name));
        }
        Some(Self { slots: all, said: said.to_vec() })
    }

    /// The keys among what was said, as far as it goes.
    #[cfg(feature = "redis")]
    pub(crate) fn keys(said: &[u8]) -> impl Iterator<Item = &[u8]> {
        all(said).filter_map(|(kind, name)| (kind == Kind::Key).then_some(name))
    }

    /// The URIs among what was said, as far as it goes: authority, `#`, path and query.
    #[cfg(feature = "redis")]
    pub(crate) fn uris(said: &[u8]) -> impl Iterator<Item = &[u8]> {
        all(said).filter_map(|(kind, name)| (kind == Kind::Uri).then_some(name))
    }
}

impl Deref for Names {
    type Target = [Slots];

    fn deref(&self) -> &[Slots] {
        &self.slots
    }
}

/// All names that are spelled out there, up to the first that is not whole.
#[cfg(feature = "redis")]
fn all(mut said: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    std::iter::from_fn(move || {
        let (kind, name) = first(said)?;
        said = &said[PREFIX + name.len()..];
        Some((kind, name))
    })
}

/// The first name that is spelled out there.
fn first(said: &[u8]) -> Option<(Kind, &[u8])> {
    let ([kind, length @ ..], rest) = said.split_first_chunk::<PREFIX>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    Some((Kind::of(*kind)?, rest.get(..length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tags: &[&str], spelled: bool) -> Names {
        let mut names = Names::default();
        names.push(&Name::key(&Key::from(&b"key"[..])), spelled);
        for tag in tags {
            names.push(&Name::tag(tag.as_bytes()), spelled);
        }
        names
    }

    #[test]
    fn a_uri_is_the_same_in_any_letter_case_of_its_authority_and_no_other() {
        let of = |authority: &str, uri: &str| {
            Name::uri(authority.as_bytes(), &uri.parse().expect("a URI")).slots()
        };
        assert_eq!(of("Example.com", "/a?b"), of("example.com", "http://x/a?b"));
        assert_ne!(of("h", "/a"), of("h", "/a?"));
        assert_ne!(of("h", "/a"), of("h", "/A"));
        assert_ne!(of("h", "/a"), of("i", "/a"));
    }

    #[test]
    fn what_is_said_to_another_process_is_read_there_and_nothing_else_is() {
        let all = names(&["shoes", ""], true);
        assert_eq!(Names::read(all.said(), 3), Some(all.clone()));
        assert_eq!(Names::read(all.said(), 2), None);
        for end in 1..all.said().len() {
            let cut = Names::read(&all.said()[..end], 3);
            assert!(cut.is_none_or(|some| some.len() < 3), "{end}");
        }
        assert_eq!(Names::read(&[9, 0, 0, 0, 0], 3), None);
        assert_eq!(Names::read(&[0, 255, 255, 255, 255, 1], 3), None);
    }

    #[test]
    fn names_are_put_together_and_told_apart_whether_they_are_spelled_or_not() {
        for spelled in [false, true] {
            let (one, other) = (names(&["a"], spelled), names(&["b", "a"], spelled));
            let both = one.and(&other);
            assert_eq!(both.len(), 3);
            let b = Name::tag(b"b").slots();
            assert_eq!(both.only(|name| name != b), one);
            let said = if spelled { Names::read(both.said(), 3) } else { None };
            assert_eq!(said.is_some(), spelled);
        }
    }
}
