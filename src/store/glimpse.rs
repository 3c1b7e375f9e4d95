//! What an answer is, by the first bytes of it in a remote store: for operators who look through many.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Key, layout::PREFIX};
use crate::journal::Names;

/// So many bytes are enough for the longest key and the names that come first.
pub(super) const ENOUGH: usize = 24 * 1024;

/// What names an answer. Nothing has checked it: it is good for looking, and for invalidating.
pub(super) struct Glimpse {
    names: Bytes,
}

impl Glimpse {
    /// Of the first bytes of a record: `None` where they are not those of an answer.
    pub(super) fn of(beginning: &Bytes) -> Option<Self> {
        let (length, rest) = beginning.get(PREFIX..)?.split_first_chunk()?;
        let rest = rest.get(u32::from_be_bytes(*length) as usize..)?;
        // An answer, and what it is invalidated by: as much of that as is there.
        let ([0, length @ ..], rest) = rest.split_first_chunk::<5>()? else { return None };
        let length = u32::from_be_bytes(*length) as usize;
        Some(Self { names: beginning.slice_ref(&rest[..length.min(rest.len())]) })
    }

    /// The key that its variants have in common.
    pub(super) fn key(&self) -> Option<Key> {
        Names::keys(&self.names).next().map(Key::from)
    }

    /// Authority, path and query.
    pub(super) fn uri(&self) -> Option<Cow<'_, str>> {
        let uri = Names::uris(&self.names).next()?;
        let at = uri.iter().position(|byte| *byte == b'#')?;
        let uri = [&uri[..at], &uri[at + 1..]].concat();
        Some(Cow::Owned(String::from_utf8_lossy(&uri).into_owned()))
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for anything.
///
/// It takes no longer than the product of both lengths, whatever they are.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((after, from)) = retry else { return false };
                retry = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_every_other_character_for_itself() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "example.com/a?b", true),
            ("example.com/a*", "example.com/a/b?c", true),
            ("example.com/a*", "example.com/b", false),
            ("*/a?b", "example.com/a?b", true),
            ("*/a?b", "example.com/axb", false),
            ("*.png", "h/a.png.png", true),
            ("*.png", "h/a.pngx", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("a**", "a", true),
            ("[a]", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn a_pattern_made_to_take_long_does_not() {
        let (pattern, text) = ("*a".repeat(2_000), "a".repeat(1_999) + "b");
        assert!(!matches(&pattern, &text));
    }
}
