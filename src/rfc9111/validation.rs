//! Validation (RFC 9111 §4.3): asking whether a stored response is still good (§4.3.1), and
//! answering who asks (§4.3.2).
//!
//! [`Validators`] are what a cache asks its origin with, [`freshen`](super::updating::freshen) is
//! what it makes of a 304 (§4.3.3, §4.3.4), and [`not_modified`] tells whether its own client is
//! owed one.

use http::{
    HeaderMap, HeaderValue,
    header::{
        AGE, CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, IF_MATCH, IF_MODIFIED_SINCE,
        IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, VARY,
    },
};

use super::{cache_status::CACHE_STATUS, entity_tag::EntityTag, state::State};

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

/// Whether the client already has what is stored, and is owed a 304: [`State::not_modified`] of a
/// response that is read for this once.
#[must_use]
pub fn not_modified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    State::of(stored).not_modified(request)
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

#[cfg(test)]
mod tests {
    use super::super::rows::{field, fields};
    use super::*;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    #[test]
    fn section_4_3_1_a_tag_that_would_match_anything_is_no_validator() {
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
            let validators = Validators::of(&field("etag", &[etag]));
            assert_eq!(validators.etag.is_some(), is_validator, "{etag}");
            assert_eq!(validators.is_empty(), !is_validator, "{etag}");
        }
    }

    #[test]
    fn section_4_3_1_validators_take_the_place_of_the_clients_own_conditions() {
        let mut request = fields(&[
            r#"if-none-match: "client""#,
            r#"if-none-match: "another""#,
            "if-modified-since: Mon, 07 Nov 1994 08:49:37 GMT",
            r#"if-match: "client""#,
            "if-unmodified-since: Mon, 07 Nov 1994 08:49:37 GMT",
            r#"if-range: "client""#,
            "range: bytes=0-1",
            "accept: a",
        ]);
        let stored = fields(&[r#"etag: "v""#, "last-modified: Sun, 06 Nov 1994 08:49:37 GMT"]);
        Validators::of(&stored).apply(&mut request);
        let asked = [
            "accept: a",
            r#"if-none-match: "v""#,
            "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
        ];
        assert_eq!(request, fields(&asked));

        Validators::default().apply(&mut request);
        assert_eq!(request, fields(&["accept: a"]));
    }

    #[test]
    fn section_4_3_2_what_the_origin_has_to_judge_is_not_stripped() {
        let mut request = fields(&[
            "if-none-match: *",
            "if-modified-since: Mon, 07 Nov 1994 08:49:37 GMT",
            r#"if-match: "a""#,
            "if-unmodified-since: Mon, 07 Nov 1994 08:49:37 GMT",
            r#"if-range: "a""#,
            "range: bytes=0-1",
        ]);
        strip(&mut request);
        assert_eq!(
            request,
            fields(&[r#"if-match: "a""#, "if-unmodified-since: Mon, 07 Nov 1994 08:49:37 GMT"])
        );
    }

    #[test]
    fn section_4_3_2_a_client_that_has_the_stored_tag_is_told_so() {
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
            let request = field("if-none-match", &[asked]);
            let stored = field("etag", &[etag]);
            assert_eq!(not_modified(&request, &stored), is_304, "{etag} {asked}");
        }
    }

    #[test]
    fn section_4_3_2_tags_are_looked_for_on_every_line() {
        let request = fields(&[r#"if-none-match: "x""#, r#"if-none-match: "a""#]);
        assert!(not_modified(&request, &fields(&[r#"etag: "a""#])));
        assert!(!not_modified(&request, &fields(&[])));
    }

    #[test]
    fn section_4_3_2_a_star_matches_even_what_has_no_tag() {
        assert!(not_modified(&fields(&["if-none-match: *"]), &fields(&[])));
    }

    #[test]
    fn rfc9110_13_1_3_a_date_counts_only_without_a_tag() {
        let stored = fields(&[r#"etag: "a""#, "last-modified: Sun, 06 Nov 1994 08:49:37 GMT"]);
        let other =
            fields(&[r#"if-none-match: "b""#, "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT"]);
        assert!(!not_modified(&other, &stored));
        assert!(not_modified(
            &fields(&["if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT"]),
            &stored
        ));
    }

    #[test]
    fn section_4_3_2_a_date_is_compared_with_that_of_the_last_change() {
        let rfc850 = "Sunday, 06-Nov-94 08:49:37 GMT";
        let asctime = "Sun Nov  6 08:49:37 1994";
        for (stored, since, is_304) in [
            (&["last-modified: Sun, 06 Nov 1994 08:49:37 GMT"][..], EARLY, true),
            (&["last-modified: Sun, 06 Nov 1994 08:49:37 GMT"], LATE, true),
            (&["last-modified: Sun, 06 Nov 1994 08:49:37 GMT"], rfc850, true),
            (&["last-modified: Sun, 06 Nov 1994 08:49:37 GMT"], asctime, true),
            (&["last-modified: Mon, 07 Nov 1994 08:49:37 GMT"], EARLY, false),
            (&["last-modified: Mon, 07 Nov 1994 08:49:37 GMT"], asctime, false),
            (&["last-modified: Sun, 06 Nov 1994 08:49:37 GMT"], "yesterday", false),
            (
                &[
                    "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
                    "date: Mon, 07 Nov 1994 08:49:37 GMT",
                ],
                EARLY,
                true,
            ),
            (&["last-modified: yesterday", "date: Sun, 06 Nov 1994 08:49:37 GMT"], LATE, false),
            (&["date: Sun, 06 Nov 1994 08:49:37 GMT"], EARLY, true),
            (&["date: Mon, 07 Nov 1994 08:49:37 GMT"], EARLY, false),
            (&[], LATE, false),
        ] {
            let request = field("if-modified-since", &[since]);
            assert_eq!(not_modified(&request, &fields(stored)), is_304, "{stored:?} {since}");
        }
        let twice = fields(&[
            "if-modified-since: Mon, 07 Nov 1994 08:49:37 GMT",
            "if-modified-since: Mon, 07 Nov 1994 08:49:37 GMT",
        ]);
        let stored = fields(&["last-modified: Sun, 06 Nov 1994 08:49:37 GMT"]);
        assert!(!not_modified(&twice, &stored), "two dates are none");
        assert!(!not_modified(&fields(&[]), &stored));
    }

    #[test]
    fn rfc9110_15_4_5_a_304_carries_what_guides_a_cache_and_nothing_else() {
        let stored = fields(&[
            "age: 1",
            "cache-control: max-age=1",
            "cache-control: public",
            "cache-status: seawall; hit",
            "content-length: 3",
            "content-location: /a",
            "content-type: text/plain",
            "date: Mon, 07 Nov 1994 08:49:37 GMT",
            r#"etag: "a""#,
            "expires: Mon, 07 Nov 1994 08:49:37 GMT",
            "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
            "set-cookie: a=b",
            "vary: accept",
        ]);
        let mut expected = stored.clone();
        for name in ["content-length", "content-type", "last-modified", "set-cookie"] {
            expected.remove(name);
        }
        assert_eq!(not_modified_fields(&stored), expected);
    }

    #[test]
    fn rfc9110_15_4_5_a_304_without_a_tag_carries_the_date_of_the_last_change() {
        let stored =
            fields(&["last-modified: Sun, 06 Nov 1994 08:49:37 GMT", "content-type: text/plain"]);
        assert_eq!(
            not_modified_fields(&stored),
            fields(&["last-modified: Sun, 06 Nov 1994 08:49:37 GMT"])
        );
    }
}
