//! Updating a stored head with a 304 (RFC 9111 §3.2), if the 304 is about it (§4.3.4).

use std::{error::Error, fmt};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AGE, CONTENT_LENGTH, ETAG, LAST_MODIFIED},
};

use super::{date, entity_tag::EntityTag};

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
        (_, None) if has_another_date(stored, update) => return Err(NotThisOne),
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

/// A 304 that is about another response than the one stored: this one must not be updated.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ETAG};
/// use seawall::rfc9111::updating::{NotThisOne, freshen};
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ETagAfter {
    AsStored,
    Updated,
}

/// §4.3.4: where `Last-Modified` is its only validator, it has to be that of the stored response.
fn has_another_date(stored: &HeaderMap, update: &HeaderMap) -> bool {
    let [stored, update] = [stored, update]
        .map(|fields| fields.get(LAST_MODIFIED).and_then(|value| date::parse(value.as_bytes())));
    matches!((stored, update), (Some(stored), Some(update)) if stored != update)
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
            Ok(if stored.is_weak() { ETagAfter::AsStored } else { ETagAfter::Updated })
        }
        (None, Some(update)) if update.is_weak() => Ok(ETagAfter::Updated),
        _ => Err(NotThisOne),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::{field, fields};
    use super::*;

    #[test]
    fn section_3_2_a_304_replaces_what_it_names_and_leaves_the_rest() {
        let stored = fields(&[
            "a: old",
            "a: older",
            "b: stays",
            "age: 50",
            "content-length: 3",
            "set-cookie: stays",
        ]);
        let update = fields(&[
            "a: new",
            "a: newer",
            "c: comes",
            "content-length: 0",
            "content-type: text/html",
            "set-cookie: goes",
        ]);
        let fresh = freshen(&stored, &update, |name| *name != "set-cookie").unwrap();
        let expected = fields(&[
            "a: new",
            "a: newer",
            "b: stays",
            "c: comes",
            "content-length: 3",
            "content-type: text/html",
            "set-cookie: stays",
        ]);
        assert_eq!(fresh, expected);
    }

    #[test]
    fn section_4_3_4_a_304_about_another_state_updates_nothing() {
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
                Some(etag) => field("etag", &[etag]),
                None => fields(&[]),
            };
            let fresh = freshen(&head(stored), &head(update), |_| true);
            assert_eq!(fresh, after.map(head), "{stored:?} {update:?}");
        }
    }

    #[test]
    fn section_3_2_an_update_that_does_not_fit_is_refused() {
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
