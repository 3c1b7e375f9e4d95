//! Incomplete responses (RFC 9111 §3.3).
//!
//! A [`Part`] is what a 206 carries: some bytes of a representation whose length is known. It answers
//! requests for what it holds.

use std::ops::RangeInclusive;

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_RANGE},
};

use super::profile::Profile;
use super::range::{self, Asked};
use super::state::State;

/// Which bytes of a representation a 206 carries: `first` to `last`, both included, of `total`.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CONTENT_RANGE};
/// use seawall::rfc9111::incomplete::Part;
///
/// let said = |range| HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_static(range))]);
/// let part = Part::from_fields(&said("bytes 4-9/10")).unwrap();
/// assert_eq!((part.first, part.last, part.total, part.length()), (4, 9, 10, 6));
/// assert_eq!(Part::from_fields(&said("bytes 4-10/10")), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The position of its first byte.
    pub first: u64,
    /// The position of its last byte.
    pub last: u64,
    /// How long the whole is.
    pub total: u64,
}

impl Part {
    /// Reads the `Content-Range` of a 206 (RFC 9110 §14.4).
    ///
    /// None where it is absent, there twice, not of bytes, impossible, or silent on the length of the
    /// whole; nor has a 206 of several parts one.
    #[must_use]
    pub fn from_fields(response: &HeaderMap) -> Option<Self> {
        let mut lines = response.get_all(CONTENT_RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let (unit, rest) = line.as_bytes().trim_ascii().split_at_checked(6)?;
        if !unit.eq_ignore_ascii_case(b"bytes ") {
            return None;
        }
        let slash = rest.iter().position(|&byte| byte == b'/')?;
        let (positions, total) = (&rest[..slash], range::number(&rest[slash + 1..])?);
        let dash = positions.iter().position(|&byte| byte == b'-')?;
        let first = range::number(&positions[..dash])?;
        let last = range::number(&positions[dash + 1..])?;
        (first <= last && last < total).then_some(Self { first, last, total })
    }

    /// How many bytes it should have.
    #[must_use]
    pub fn length(&self) -> u64 {
        // Not `u64::MAX - 0 + 1`: `last` is less than `total`.
        self.last - self.first + 1
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.first == 0 && self.last + 1 == self.total
    }

    /// Its `Content-Range`.
    #[must_use]
    pub fn content_range(&self) -> HeaderValue {
        range::content_range(&(self.first..=self.last), self.total)
    }

    /// Both as one, where they lie beside or over each other.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let touch = self.first <= other.last + 1 && other.first <= self.last + 1;
        (self.total == other.total && touch).then(|| Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            total: self.total,
        })
    }
}

/// Whether a 206 is one that can be kept (§3.3): its part is known, and its length is that of its part.
#[must_use]
pub(super) fn is_storable(profile: &Profile, response: &HeaderMap) -> bool {
    let Some(part) = Part::from_fields(response) else { return false };
    let length = response.get(CONTENT_LENGTH).map(|value| range::number(value.as_bytes()));
    profile.store_partial
        && length.is_none_or(|length| agrees(profile, part, length.unwrap_or_default()))
}

/// Whether a body of so many bytes is the one that `Content-Range` speaks of.
#[must_use]
pub fn agrees(profile: &Profile, part: Part, held: u64) -> bool {
    held == part.length() || (profile.lenient_content_range && held > 0)
}

/// What of a stored part answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// How much of the stored body comes before it.
    pub skip: u64,
    /// Which bytes of the whole it is, as its `Content-Range` says.
    pub range: RangeInclusive<u64>,
}

/// What of a stored part, of which `held` bytes are there, answers a request; none where that asks for
/// more, or for something else.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::RANGE};
/// use seawall::rfc9111::{State, incomplete::{Part, within}};
///
/// let asks = |range| HeaderMap::from_iter([(RANGE, HeaderValue::from_static(range))]);
/// let (stored, part) = (State::default(), Part { first: 4, last: 7, total: 10 });
/// let slice = within(&asks("bytes=5-6"), &stored, part, 4).unwrap();
/// assert_eq!((slice.skip, slice.range), (1, 5..=6));
/// assert_eq!(within(&asks("bytes=5-8"), &stored, part, 4), None);
/// assert_eq!(within(&asks("bytes=-2"), &stored, part, 4), None);
/// ```
#[must_use]
pub fn within(request: &HeaderMap, stored: &State, part: Part, held: u64) -> Option<Slice> {
    let asked = range::asked(request, stored)?;
    if held == part.length() {
        let range::Selected::Part(range) = asked.of(part.total) else { return None };
        let inside = part.first <= *range.start() && *range.end() <= part.last;
        return inside.then(|| Slice { skip: range.start() - part.first, range });
    }
    // Kept in spite of its `Content-Range`: positions count from the first byte that it says to have,
    // and those of a suffix from the last.
    match asked {
        Asked::From { first, last } => {
            let held = part.first.saturating_add(held.saturating_sub(1)).min(part.total - 1);
            let end = last.min(held);
            let inside = part.first <= first && first <= end;
            inside.then(|| Slice { skip: first - part.first, range: first..=end })
        }
        Asked::Last(length) => {
            let length = length.min(held);
            let ends = part.last + 1 == part.total && length > 0;
            let first = part.total.saturating_sub(length);
            ends.then(|| Slice { skip: held - length, range: first..=part.last })
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ETAG, IF_RANGE, RANGE};

    use super::super::rows::named as fields;
    use super::*;

    fn part(first: u64, last: u64, total: u64) -> Part {
        Part { first, last, total }
    }

    #[test]
    fn rfc9110_14_4_a_content_range_names_what_is_possible() {
        for (said, expected) in [
            ("bytes 0-0/1", Some(part(0, 0, 1))),
            ("bytes 4-9/10", Some(part(4, 9, 10))),
            ("BYTES 4-9/010", Some(part(4, 9, 10))),
            (
                "bytes 0-18446744073709551613/18446744073709551614",
                Some(part(0, u64::MAX - 2, u64::MAX - 1)),
            ),
            ("bytes 0-99999999999999999999/99999999999999999999", None),
            ("bytes 4-9/*", None),
            ("bytes */10", None),
            ("bytes 4-10/10", None),
            ("bytes 9-4/10", None),
            ("bytes 4-9", None),
            ("bytes -9/10", None),
            ("bytes 4-/10", None),
            ("bytes 4-9/", None),
            ("bytes 4 - 9/10", None),
            ("bytes=4-9/10", None),
            ("items 4-9/10", None),
            ("bytes +4-9/10", None),
            ("", None),
        ] {
            let found = Part::from_fields(&fields(&[(CONTENT_RANGE, said)]));
            assert_eq!(found, expected, "{said}");
        }
        let twice = [(CONTENT_RANGE, "bytes 0-1/2"), (CONTENT_RANGE, "bytes 0-1/2")];
        assert_eq!(Part::from_fields(&fields(&twice)), None);
        assert_eq!(Part::from_fields(&fields(&[])), None);
    }

    #[test]
    fn section_3_3_a_part_answers_what_it_holds() {
        let stored = State::of(&fields(&[(ETAG, "\"a\"")]));
        for (range, expected) in [
            ("bytes=4-7", Some((0, 4..=7))),
            ("bytes=5-6", Some((1, 5..=6))),
            ("bytes=7-7", Some((3, 7..=7))),
            ("bytes=3-7", None),
            ("bytes=4-8", None),
            ("bytes=4-", None),
            ("bytes=-3", None),
            ("bytes=0-", None),
            ("bytes=99-", None),
            ("bytes=4-5,6-7", None),
            ("items=4-5", None),
        ] {
            let request = fields(&[(RANGE, range)]);
            let slice = within(&request, &stored, part(4, 7, 10), 4);
            assert_eq!(slice.map(|slice| (slice.skip, slice.range)), expected, "{range}");
        }
        // To the end, where the part has it.
        for (range, expected) in [("bytes=6-", (0, 6..=9)), ("bytes=-2", (2, 8..=9))] {
            let slice = within(&fields(&[(RANGE, range)]), &stored, part(6, 9, 10), 4).unwrap();
            assert_eq!((slice.skip, slice.range), expected, "{range}");
        }
        assert_eq!(within(&fields(&[]), &stored, part(4, 7, 10), 4), None, "the whole");
        for (if_range, holds) in [("\"a\"", true), ("\"b\"", false), ("W/\"a\"", false)] {
            let request = fields(&[(RANGE, "bytes=5-6"), (IF_RANGE, if_range)]);
            assert_eq!(within(&request, &stored, part(4, 7, 10), 4).is_some(), holds, "{if_range}");
        }
    }

    #[test]
    fn section_3_3_a_part_of_another_length_than_it_says_is_counted_from_its_ends() {
        for (range, expected) in [
            ("bytes=6-8", Some((2, 6..=8))),
            ("bytes=6-", Some((2, 6..=8))),
            ("bytes=-1", Some((4, 9..=9))),
            ("bytes=-5", Some((0, 5..=9))),
            ("bytes=-9", Some((0, 5..=9))),
            ("bytes=-0", None),
            ("bytes=3-5", None),
            ("bytes=9-", None),
        ] {
            let request = fields(&[(RANGE, range)]);
            let slice = within(&request, &State::default(), part(4, 9, 10), 5);
            assert_eq!(slice.map(|slice| (slice.skip, slice.range)), expected, "{range}");
        }
        // More than it says to have is no more of the whole.
        let request = fields(&[(RANGE, "bytes=5-20")]);
        let slice = within(&request, &State::default(), part(4, 9, 10), 20).unwrap();
        assert_eq!((slice.skip, slice.range), (1, 5..=9));
    }

    #[test]
    fn section_3_3_a_206_is_kept_where_its_length_is_that_of_its_part() {
        let strict = Profile::reverse_proxy();
        let lenient = Profile::reverse_proxy().lenient_content_range(true);
        for (range, length, by_strict, by_lenient) in [
            ("bytes 4-9/10", Some("6"), true, true),
            ("bytes 4-9/10", None, true, true),
            ("bytes 4-9/10", Some("5"), false, true),
            ("bytes 4-9/10", Some("0"), false, false),
            ("bytes 4-9/10", Some("x"), false, false),
            ("bytes 4-9/*", Some("6"), false, false),
        ] {
            let mut response = fields(&[(CONTENT_RANGE, range)]);
            if let Some(length) = length {
                response.insert(CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            let both = [&strict, &lenient].map(|profile| is_storable(profile, &response));
            assert_eq!(both, [by_strict, by_lenient], "{range} {length:?}");
            assert!(!is_storable(&Profile::safe(), &response));
        }
    }
}
