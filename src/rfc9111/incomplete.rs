//! Incomplete responses (RFC 9111 §3.3) and putting them together (§3.4).
//!
//! A [`Part`] is what a 206 carries: some bytes of a representation whose length is known. It answers
//! requests for what it holds; parts that share a strong validator and touch make a longer one.

use std::ops::RangeInclusive;

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_RANGE, RANGE, TRANSFER_ENCODING},
};

use super::cache_status::CACHE_STATUS;
use super::entity_tag::EntityTag;
use super::profile::Profile;
use super::range::{self, Asked};
use super::state::State;
use super::updating::{self, NotThisOne};

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
    fn and(self, other: Self) -> Option<Self> {
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

/// How the rest of a stored part is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// `Range`: from the first byte that is missing.
    pub range: HeaderValue,
    /// `If-Range`: without it, what comes cannot be combined.
    pub if_range: Option<HeaderValue>,
}

impl Tail {
    /// Asks for it.
    pub fn apply(self, request: &mut HeaderMap) {
        request.insert(RANGE, self.range);
        if let Some(tag) = self.if_range {
            request.insert(IF_RANGE, tag);
        }
    }
}

/// How the rest of a stored part is asked for, of which `held` bytes are there: only of one that begins
/// with the first byte and has a strong entity tag (§3.4, RFC 9110 §13.1.5).
#[must_use]
pub fn tail(profile: &Profile, stored: &HeaderMap, part: Part, held: u64) -> Option<Tail> {
    if part.first > 0 || part.is_all() || held != part.length() {
        return None;
    }
    let if_range = strong_tag(stored).cloned();
    if if_range.is_none() && !profile.tail_without_validator {
        return None;
    }
    let range = HeaderValue::try_from(format!("bytes={}-", part.last + 1)).ok()?;
    Some(Tail { range, if_range })
}

/// The part that a stored one and a new one make together; none where they may not be combined.
///
/// They have to be of one representation, by the same strong entity tag (RFC 9110 §15.3.7.3), and to
/// leave no gap.
#[must_use]
pub fn combined(stored: &HeaderMap, new: &HeaderMap) -> Option<Part> {
    let same = strong_tag(stored).is_some_and(|tag| strong_tag(new) == Some(tag));
    let parts = (Part::from_fields(stored), Part::from_fields(new));
    match parts {
        (Some(stored), Some(new)) if same => stored.and(new),
        _ => None,
    }
}

/// The only `ETag`, if it is a strong one in quotes.
fn strong_tag(fields: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = fields.get_all(ETAG).iter();
    let (Some(tag), None) = (lines.next(), lines.next()) else { return None };
    EntityTag::parse(tag.as_bytes()).is_some_and(EntityTag::is_strong).then_some(tag)
}

/// The fields of the part, or of the whole, that a stored part and a new one make: the stored ones, updated
/// by the new ones (§3.4, §3.2).
///
/// # Errors
///
/// [`NotThisOne`] if the new part is of another state of the resource.
pub fn head_of_both(
    stored: &HeaderMap,
    new: &HeaderMap,
    part: Part,
) -> Result<HeaderMap, NotThisOne> {
    let mut fields = updating::freshen(stored, new, |_| true)?;
    for name in [DATE, CACHE_STATUS] {
        if !new.contains_key(&name) {
            fields.remove(name);
        }
    }
    // RFC 9112 §6.2: what has a length is not chunked.
    fields.remove(TRANSFER_ENCODING);
    without_digest(&mut fields);
    if part.is_all() {
        fields.remove(CONTENT_RANGE);
    } else {
        fields.insert(CONTENT_RANGE, part.content_range());
    }
    fields.insert(CONTENT_LENGTH, HeaderValue::from(part.length()));
    Ok(fields)
}

/// Takes away what is said of the bytes of a message (RFC 9530 §2) that has other bytes now.
pub fn without_digest(fields: &mut HeaderMap) {
    for name in ["content-digest", "content-md5"] {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn fields(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(name, HeaderValue::from_static(value));
        }
        fields
    }

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
    fn section_3_4_the_rest_is_asked_for_under_a_strong_tag_alone() {
        let begins = part(0, 4, 10);
        let strict = Profile::reverse_proxy();
        let lenient = Profile::reverse_proxy().tail_without_validator(true);
        for (tag, by_strict, by_lenient) in [
            (&[(ETAG, "\"a\"")][..], Some(Some("\"a\"")), Some(Some("\"a\""))),
            (&[(ETAG, "W/\"a\"")], None, Some(None)),
            (&[(ETAG, "bare")], None, Some(None)),
            (&[(ETAG, "\"a\""), (ETAG, "\"b\"")], None, Some(None)),
            (&[], None, Some(None)),
        ] {
            for (profile, expected) in [(&strict, by_strict), (&lenient, by_lenient)] {
                let tail = tail(profile, &fields(tag), begins, 5);
                let expected = expected.map(|if_range| Tail {
                    range: HeaderValue::from_static("bytes=5-"),
                    if_range: if_range.map(HeaderValue::from_static),
                });
                assert_eq!(tail, expected, "{tag:?}");
            }
        }
        let tagged = fields(&[(ETAG, "\"a\"")]);
        assert_eq!(tail(&strict, &tagged, part(1, 4, 10), 4), None, "the beginning is missing");
        assert_eq!(tail(&strict, &tagged, part(0, 9, 10), 10), None, "nothing is missing");
        assert_eq!(tail(&strict, &tagged, begins, 6), None, "it is not what it says");
    }

    #[test]
    fn section_3_4_parts_combine_under_one_strong_tag_and_without_a_gap() {
        let stored = [(ETAG, "\"a\""), (CONTENT_RANGE, "bytes 2-4/10")];
        for (tag, range, expected) in [
            ("\"a\"", "bytes 5-9/10", Some(part(2, 9, 10))),
            ("\"a\"", "bytes 5-6/10", Some(part(2, 6, 10))),
            ("\"a\"", "bytes 0-1/10", Some(part(0, 4, 10))),
            ("\"a\"", "bytes 3-6/10", Some(part(2, 6, 10))),
            ("\"a\"", "bytes 0-9/10", Some(part(0, 9, 10))),
            ("\"a\"", "bytes 3-3/10", Some(part(2, 4, 10))),
            ("\"a\"", "bytes 6-9/10", None),
            ("\"a\"", "bytes 0-0/10", None),
            ("\"a\"", "bytes 5-9/11", None),
            ("\"b\"", "bytes 5-9/10", None),
            ("W/\"a\"", "bytes 5-9/10", None),
            ("\"a\"", "bytes */10", None),
        ] {
            let new = fields(&[(ETAG, tag), (CONTENT_RANGE, range)]);
            assert_eq!(combined(&fields(&stored), &new), expected, "{tag} {range}");
        }
        let weak = fields(&[(ETAG, "W/\"a\""), (CONTENT_RANGE, "bytes 2-4/10")]);
        let next = fields(&[(ETAG, "W/\"a\""), (CONTENT_RANGE, "bytes 5-9/10")]);
        assert_eq!(combined(&weak, &next), None, "a weak tag does not promise the same bytes");
    }

    #[test]
    fn section_3_4_the_stored_fields_are_updated_by_the_new_ones() {
        let kind = HeaderName::from_static("content-type");
        let digest = HeaderName::from_static("content-digest");
        let stored = fields(&[
            (ETAG, "\"a\""),
            (CONTENT_RANGE, "bytes 2-4/10"),
            (CONTENT_LENGTH, "3"),
            (kind.clone(), "text/html"),
            (DATE, "then"),
        ]);
        let new = fields(&[
            (ETAG, "\"a\""),
            (CONTENT_RANGE, "bytes 5-9/10"),
            (TRANSFER_ENCODING, "chunked"),
            (digest, "of five bytes"),
        ]);
        let part_of_both = head_of_both(&stored, &new, part(2, 9, 10)).unwrap();
        let tag = (ETAG, "\"a\"");
        let kind = (kind, "text/html");
        let expected =
            [tag.clone(), kind.clone(), (CONTENT_RANGE, "bytes 2-9/10"), (CONTENT_LENGTH, "8")];
        assert_eq!(part_of_both, fields(&expected));
        let whole = head_of_both(&stored, &new, part(0, 9, 10)).unwrap();
        assert_eq!(whole, fields(&[tag, kind, (CONTENT_LENGTH, "10")]));
        let other = fields(&[(ETAG, "\"b\"")]);
        assert!(head_of_both(&stored, &other, part(0, 9, 10)).is_err());
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
