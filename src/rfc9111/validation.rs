//! Asking whether a stored response is still good, and answering who asks (RFC 9111 §4.3).
//!
//! [`Validators`] are what a cache asks its origin with, [`freshen`] is what it makes of a 304, and
//! [`not_modified`] tells whether its own client is owed one.

use std::{error::Error, fmt};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, DATE, ETAG, EXPIRES, IF_MATCH,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
        VARY,
    },
};

use super::{cache_status::CACHE_STATUS, date};

/// What tells one state of a resource from the next: an entity tag, a date, both or neither.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{ETAG, IF_NONE_MATCH}};
/// use seawall::rfc9111::validation::Validators;
///
/// let mut stored = HeaderMap::new();
/// stored.insert(ETAG, HeaderValue::from_static("\"v1\""));
///
/// let mut request = HeaderMap::new();
/// Validators::of(&stored).apply(&mut request);
/// assert_eq!(request[IF_NONE_MATCH], "\"v1\"");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// The `ETag`, as it was received.
    pub etag: Option<HeaderValue>,
    /// The `Last-Modified`, as it was received.
    pub last_modified: Option<HeaderValue>,
}

impl Validators {
    /// The validators of a response.
    ///
    /// An `ETag` that cannot stand in an `If-None-Match` is none: `*` would match whatever the
    /// origin has.
    #[must_use]
    pub fn of(response: &HeaderMap) -> Self {
        let etag = response.get(ETAG).filter(|value| EntityTag::parse(value.as_bytes()).is_some());
        let last_modified = response.get(LAST_MODIFIED).filter(|value| !value.is_empty());
        Self { etag: etag.cloned(), last_modified: last_modified.cloned() }
    }

    /// Whether there is nothing to ask with.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    /// Makes of a request one that asks for this state or a newer one (§4.3.1).
    ///
    /// The client's own conditions and its range go: the answer is to freshen or replace what is
    /// stored, in full.
    pub fn apply(&self, request: &mut HeaderMap) {
        strip(request);
        request.remove(IF_MATCH);
        request.remove(IF_UNMODIFIED_SINCE);
        for (name, value) in [(IF_NONE_MATCH, &self.etag), (IF_MODIFIED_SINCE, &self.last_modified)]
        {
            if let Some(value) = value {
                // A map that is full asks without condition, and gets the whole.
                let _ = request.try_insert(name, value.clone());
            }
        }
    }
}

/// Takes from a request the conditions that a cache answers itself, and the range.
///
/// `If-Match` and `If-Unmodified-Since` stay: they are the origin's to judge (§4.3.2).
pub fn strip(request: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
        request.remove(name);
    }
}

/// Whether the client already has what is stored, and is owed a 304 (§4.3.2, RFC 9110 §13.2.2).
///
/// For GET and HEAD, and a stored 200.
#[must_use]
pub fn not_modified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    // RFC 9110 §13.1.3: with If-None-Match, the date is not looked at.
    if request.contains_key(IF_NONE_MATCH) {
        return none_match_fails(request, stored);
    }
    let mut dates = request.get_all(IF_MODIFIED_SINCE).iter();
    let (Some(since), None) = (dates.next(), dates.next()) else { return false };
    // Without Last-Modified, Date stands in for it (§4.3.2).
    let modified = stored.get(LAST_MODIFIED).or_else(|| stored.get(DATE));
    match (date::parse(since.as_bytes()), modified.and_then(|at| date::parse(at.as_bytes()))) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

fn none_match_fails(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let lines = || request.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes);
    // `*` stands alone, and says: whatever you have.
    if lines().any(|line| line.trim_ascii() == b"*") {
        return true;
    }
    let stored = stored.get(ETAG).and_then(|value| EntityTag::parse(value.as_bytes()));
    stored.is_some_and(|stored| lines().flat_map(tags).any(|tag| tag.matches_weakly(stored)))
}

/// The fields of the 304 that a stored response becomes (RFC 9110 §15.4.5).
#[must_use]
pub fn not_modified_fields(stored: &HeaderMap) -> HeaderMap {
    let listed = [AGE, CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY, CACHE_STATUS];
    // A date tells the client nothing that the tag does not.
    let date = (!stored.contains_key(ETAG)).then_some(LAST_MODIFIED);
    let mut fields = HeaderMap::with_capacity(8);
    for name in listed.into_iter().chain(date) {
        for value in stored.get_all(&name) {
            let _ = fields.try_append(name.clone(), value.clone());
        }
    }
    fields
}

/// A stored head with the fields of the 304 that validated it (§3.2, §4.3.4).
///
/// `kept` says which fields are stored at all; `Content-Length` never changes. `Age` told of the
/// old response's way here and goes, if the 304 has none. `Date` stays, if the 304 has none: a
/// cache that wants the time of receipt adds that to the 304 first (RFC 9110 §6.6.1).
///
/// # Errors
///
/// [`NotThisOne`] if the 304 is about another state of the resource.
pub fn freshen(
    stored: &HeaderMap,
    update: &HeaderMap,
    kept: impl Fn(&HeaderName) -> bool,
) -> Result<HeaderMap, NotThisOne> {
    let tag = match (stored.get(ETAG), update.get(ETAG)) {
        (stored, Some(update)) => tag_after(stored, update)?,
        _ => ETagAfter::AsStored,
    };
    let mut fresh = stored.clone();
    fresh.remove(AGE);
    for name in update.keys() {
        let is_fixed = *name == CONTENT_LENGTH || (*name == ETAG && tag == ETagAfter::AsStored);
        if is_fixed || !kept(name) {
            continue;
        }
        fresh.remove(name);
        for value in update.get_all(name) {
            // Too many fields for one map: half an update would be wrong.
            fresh.try_append(name.clone(), value.clone()).map_err(|_| NotThisOne)?;
        }
    }
    Ok(fresh)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ETagAfter {
    AsStored,
    Updated,
}

/// Whether the tag of a 304 is that of the stored response, and which of the two to keep.
fn tag_after(stored: Option<&HeaderValue>, update: &HeaderValue) -> Result<ETagAfter, NotThisOne> {
    if stored.is_some_and(|stored| stored == update) {
        return Ok(ETagAfter::AsStored);
    }
    let stored = stored.map(|value| EntityTag::parse(value.as_bytes()));
    match (stored, EntityTag::parse(update.as_bytes())) {
        // An origin that compresses on the fly weakens the tag of its 200, not that of its 304.
        // The tag is the one that was asked about; the stored bytes do not become the strong ones.
        (Some(Some(stored)), Some(update)) if stored.matches_weakly(update) => {
            Ok(if stored.is_weak { ETagAfter::AsStored } else { ETagAfter::Updated })
        }
        (None, Some(update)) if update.is_weak => Ok(ETagAfter::Updated),
        _ => Err(NotThisOne),
    }
}

/// A 304 that is about another response than the one stored: this one must not be updated.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ETAG};
/// use seawall::rfc9111::validation::{NotThisOne, freshen};
///
/// let tagged = |tag| HeaderMap::from_iter([(ETAG, HeaderValue::from_static(tag))]);
/// let (stored, same, other) = (tagged("\"v1\""), tagged("\"v1\""), tagged("\"v2\""));
/// assert!(freshen(&stored, &same, |_| true).is_ok());
/// assert_eq!(freshen(&stored, &other, |_| true), Err(NotThisOne));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotThisOne;

impl fmt::Display for NotThisOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the 304 is about another response")
    }
}

impl Error for NotThisOne {}

/// An entity tag (RFC 9110 §8.8.3), or what a careless origin sends as one: without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntityTag<'a> {
    is_weak: bool,
    /// With its quotes, if it has them: `a` is not `"a"`.
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::first_of(value.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    /// Whether both are this very tag, and promise the same bytes (RFC 9110 §8.8.3.2).
    pub(super) fn matches_strongly(self, other: Self) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// Whether it promises the same bytes wherever it stands.
    pub(super) fn is_strong(self) -> bool {
        !self.is_weak && self.is_quoted()
    }

    fn matches_weakly(self, other: Self) -> bool {
        self.opaque == other.opaque
    }

    fn is_quoted(self) -> bool {
        self.opaque.first() == Some(&b'"')
    }

    /// The tag that `bytes` begin with, and what follows it: nothing, a comma or a space.
    fn first_of(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (is_weak, bytes) = match bytes.strip_prefix(b"W/") {
            Some(rest) if rest.first() == Some(&b'"') => (true, rest),
            _ => (false, bytes),
        };
        let is_end = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
        let end = match bytes {
            [b'"', inner @ ..] => inner.iter().position(|&byte| byte == b'"')? + 2,
            _ => bytes.iter().position(is_end).unwrap_or(bytes.len()),
        };
        let (opaque, rest) = bytes.split_at(end);
        let tag = Self { is_weak, opaque };
        let is_bare = !opaque.is_empty() && opaque != b"*" && !opaque.contains(&b'"');
        let is_tag = (tag.is_quoted() || is_bare) && rest.first().is_none_or(is_end);
        is_tag.then_some((tag, rest))
    }
}

/// The entity tags of one line, up to the first thing that is none.
fn tags(line: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        let (tag, after) = EntityTag::first_of(rest)?;
        rest = after;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(HeaderName::from_static(name), value);
        }
        map
    }

    #[test]
    fn a_tag_that_would_match_anything_is_no_validator() {
        for (etag, is_validator) in [
            (r#""a""#, true),
            (r#"W/"a""#, true),
            (r#""""#, true),
            (r#""a, b""#, true),
            (r#""ü""#, true),
            ("unquoted", true),
            ("*", false),
            ("", false),
            (r#""a", "b""#, false),
            (r#""open"#, false),
            ("a, b", false),
            (r#"w/"a""#, false),
        ] {
            let validators = Validators::of(&fields(&[("etag", etag)]));
            assert_eq!(validators.etag.is_some(), is_validator, "{etag}");
            assert_eq!(validators.is_empty(), !is_validator, "{etag}");
        }
    }

    #[test]
    fn validators_take_the_place_of_the_clients_own_conditions() {
        let mut request = fields(&[
            ("if-none-match", r#""client""#),
            ("if-none-match", r#""another""#),
            ("if-modified-since", LATE),
            ("if-match", r#""client""#),
            ("if-unmodified-since", LATE),
            ("if-range", r#""client""#),
            ("range", "bytes=0-1"),
            ("accept", "a"),
        ]);
        let stored = fields(&[("etag", r#""v""#), ("last-modified", EARLY)]);
        Validators::of(&stored).apply(&mut request);
        let asked = [("accept", "a"), ("if-none-match", r#""v""#), ("if-modified-since", EARLY)];
        assert_eq!(request, fields(&asked));

        Validators::default().apply(&mut request);
        assert_eq!(request, fields(&[("accept", "a")]));
    }

    #[test]
    fn what_the_origin_has_to_judge_is_not_stripped() {
        let mut request = fields(&[
            ("if-none-match", "*"),
            ("if-modified-since", LATE),
            ("if-match", r#""a""#),
            ("if-unmodified-since", LATE),
            ("if-range", r#""a""#),
            ("range", "bytes=0-1"),
        ]);
        strip(&mut request);
        assert_eq!(request, fields(&[("if-match", r#""a""#), ("if-unmodified-since", LATE)]));
    }

    #[test]
    fn a_client_that_has_the_stored_tag_is_told_so() {
        for (etag, asked, is_304) in [
            (r#""a""#, r#""a""#, true),
            (r#""a""#, r#"W/"a""#, true),
            (r#"W/"a""#, r#""a""#, true),
            (r#"W/"a""#, r#"W/"a""#, true),
            (r#""a""#, r#""b""#, false),
            (r#""a""#, r#""A""#, false),
            (r#""a""#, r#""b", W/"a" , "c""#, true),
            (r#""a""#, r#",, "a""#, true),
            (r#""a, b""#, r#""x","a, b""#, true),
            (r#"", b, ""#, r#""a", b, "c""#, false),
            (r#""ü""#, r#""ü""#, true),
            (r#""a""#, "*", true),
            (r#""a""#, "a", false),
            ("a", "a", true),
            (r#""a""#, "", false),
            (r#""a""#, r#""a"#, false),
            (r#""a""#, r#"x"a""#, false),
            (r#""b""#, r#""a""b""#, false),
            ("*", r#""*""#, false),
            ("", r#""""#, false),
        ] {
            let request = fields(&[("if-none-match", asked)]);
            let stored = fields(&[("etag", etag)]);
            assert_eq!(not_modified(&request, &stored), is_304, "{etag} {asked}");
        }
    }

    #[test]
    fn tags_are_looked_for_on_every_line() {
        let request = fields(&[("if-none-match", r#""x""#), ("if-none-match", r#""a""#)]);
        assert!(not_modified(&request, &fields(&[("etag", r#""a""#)])));
        assert!(!not_modified(&request, &fields(&[])));
    }

    #[test]
    fn a_star_matches_even_what_has_no_tag() {
        assert!(not_modified(&fields(&[("if-none-match", "*")]), &fields(&[])));
    }

    #[test]
    fn a_date_counts_only_without_a_tag() {
        let stored = fields(&[("etag", r#""a""#), ("last-modified", EARLY)]);
        let other = fields(&[("if-none-match", r#""b""#), ("if-modified-since", EARLY)]);
        assert!(!not_modified(&other, &stored));
        assert!(not_modified(&fields(&[("if-modified-since", EARLY)]), &stored));
    }

    #[test]
    fn a_date_is_compared_with_that_of_the_last_change() {
        let rfc850 = "Sunday, 06-Nov-94 08:49:37 GMT";
        let asctime = "Sun Nov  6 08:49:37 1994";
        for (stored, since, is_304) in [
            (&[("last-modified", EARLY)][..], EARLY, true),
            (&[("last-modified", EARLY)], LATE, true),
            (&[("last-modified", EARLY)], rfc850, true),
            (&[("last-modified", EARLY)], asctime, true),
            (&[("last-modified", LATE)], EARLY, false),
            (&[("last-modified", LATE)], asctime, false),
            (&[("last-modified", EARLY)], "yesterday", false),
            (&[("last-modified", EARLY), ("date", LATE)], EARLY, true),
            (&[("last-modified", "yesterday"), ("date", EARLY)], LATE, false),
            (&[("date", EARLY)], EARLY, true),
            (&[("date", LATE)], EARLY, false),
            (&[], LATE, false),
        ] {
            let request = fields(&[("if-modified-since", since)]);
            assert_eq!(not_modified(&request, &fields(stored)), is_304, "{stored:?} {since}");
        }
        let twice = fields(&[("if-modified-since", LATE), ("if-modified-since", LATE)]);
        let stored = fields(&[("last-modified", EARLY)]);
        assert!(!not_modified(&twice, &stored), "two dates are none");
        assert!(!not_modified(&fields(&[]), &stored));
    }

    #[test]
    fn a_304_carries_what_guides_a_cache_and_nothing_else() {
        let stored = fields(&[
            ("age", "1"),
            ("cache-control", "max-age=1"),
            ("cache-control", "public"),
            ("cache-status", "seawall; hit"),
            ("content-length", "3"),
            ("content-location", "/a"),
            ("content-type", "text/plain"),
            ("date", LATE),
            ("etag", r#""a""#),
            ("expires", LATE),
            ("last-modified", EARLY),
            ("set-cookie", "a=b"),
            ("vary", "accept"),
        ]);
        let mut expected = stored.clone();
        for name in ["content-length", "content-type", "last-modified", "set-cookie"] {
            expected.remove(name);
        }
        assert_eq!(not_modified_fields(&stored), expected);
    }

    #[test]
    fn a_304_without_a_tag_carries_the_date_of_the_last_change() {
        let stored = fields(&[("last-modified", EARLY), ("content-type", "text/plain")]);
        assert_eq!(not_modified_fields(&stored), fields(&[("last-modified", EARLY)]));
    }

    #[test]
    fn a_304_replaces_what_it_names_and_leaves_the_rest() {
        let stored = fields(&[
            ("a", "old"),
            ("a", "older"),
            ("b", "stays"),
            ("age", "50"),
            ("content-length", "3"),
            ("set-cookie", "stays"),
        ]);
        let update = fields(&[
            ("a", "new"),
            ("a", "newer"),
            ("c", "comes"),
            ("content-length", "0"),
            ("content-type", "text/html"),
            ("set-cookie", "goes"),
        ]);
        let fresh = freshen(&stored, &update, |name| *name != "set-cookie").unwrap();
        let expected = fields(&[
            ("a", "new"),
            ("a", "newer"),
            ("b", "stays"),
            ("c", "comes"),
            ("content-length", "3"),
            ("content-type", "text/html"),
            ("set-cookie", "stays"),
        ]);
        assert_eq!(fresh, expected);
    }

    #[test]
    fn a_304_about_another_state_updates_nothing() {
        for (stored, update, after) in [
            (Some(r#""a""#), None, Ok(Some(r#""a""#))),
            (None, None, Ok(None)),
            (Some(r#""a""#), Some(r#""a""#), Ok(Some(r#""a""#))),
            (Some(r#""a""#), Some(r#""b""#), Err(NotThisOne)),
            (Some(r#""a""#), Some(r#"W/"a""#), Ok(Some(r#"W/"a""#))),
            (Some(r#""a""#), Some(r#"W/"b""#), Err(NotThisOne)),
            (Some(r#"W/"a""#), Some(r#""a""#), Ok(Some(r#"W/"a""#))),
            (Some(r#"W/"a""#), Some(r#""b""#), Err(NotThisOne)),
            (Some(r#"W/"a""#), Some(r#"W/"a""#), Ok(Some(r#"W/"a""#))),
            (Some(r#"W/"a""#), Some(r#"W/"b""#), Err(NotThisOne)),
            (None, Some(r#""a""#), Err(NotThisOne)),
            (None, Some(r#"W/"a""#), Ok(Some(r#"W/"a""#))),
            (Some("bare"), Some("bare"), Ok(Some("bare"))),
            (Some("bare"), Some(r#""bare""#), Err(NotThisOne)),
            (Some("*"), Some("*"), Ok(Some("*"))),
            (Some("*"), Some(r#""a""#), Err(NotThisOne)),
        ] {
            let head = |etag: Option<&'static str>| match etag {
                Some(etag) => fields(&[("etag", etag)]),
                None => fields(&[]),
            };
            let fresh = freshen(&head(stored), &head(update), |_| true);
            assert_eq!(fresh, after.map(head), "{stored:?} {update:?}");
        }
    }

    #[test]
    fn an_update_that_does_not_fit_is_refused() {
        let numbered = |prefix: &str| {
            let mut map = HeaderMap::new();
            for number in 0..20_000 {
                let name = HeaderName::try_from(format!("{prefix}{number}")).unwrap();
                map.insert(name, HeaderValue::from_static(""));
            }
            map
        };
        assert_eq!(freshen(&numbered("a"), &numbered("b"), |_| true), Err(NotThisOne));
    }
}
