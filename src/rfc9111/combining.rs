//! Combining parts (RFC 9111 §3.4): those that share a strong validator and touch make a longer one, and in
//! the end the whole.

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_RANGE, RANGE, TRANSFER_ENCODING},
};

use super::cache_status::CACHE_STATUS;
use super::entity_tag::EntityTag;
use super::incomplete::Part;
use super::profile::Profile;
use super::updating::{self, NotThisOne};

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

    use super::super::rows::named as fields;
    use super::*;

    fn part(first: u64, last: u64, total: u64) -> Part {
        Part { first, last, total }
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
}
