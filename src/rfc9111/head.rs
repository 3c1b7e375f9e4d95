//! What the response to a HEAD tells of a stored response to GET (RFC 9111 §4.3.5).

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, ETAG, LAST_MODIFIED},
};

/// What a 200 to a HEAD makes of a stored 200 to a GET.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ETAG};
/// use seawall::rfc9111::head::{Told, told};
///
/// let tagged = |tag| HeaderMap::from_iter([(ETAG, HeaderValue::from_static(tag))]);
/// let stored = tagged("\"v1\"");
/// assert_eq!(told(&stored, 10, &tagged("\"v1\"")), Told::Same);
/// assert_eq!(told(&stored, 10, &tagged("\"v2\"")), Told::Other);
/// assert_eq!(told(&stored, 10, &HeaderMap::new()), Told::Nothing);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is the same: the fields of the HEAD update it.
    Same,
    /// It is another: the stored one is stale.
    Other,
    /// It has no validator, and at most a length that is the same. The law would have the stored
    /// response updated; but nothing says that its content is still that of the resource.
    Nothing,
}

/// Compares a stored response of `length` bytes with the 200 to a HEAD: by each validator that came, and
/// by the length.
#[must_use]
pub fn told(stored: &HeaderMap, length: u64, head: &HeaderMap) -> Told {
    let said = |name| head.get(name).map(|value| stored.get(name) == Some(value));
    let is_length = |value: &HeaderValue| value.as_bytes() == length.to_string().as_bytes();
    match [said(&ETAG), said(&LAST_MODIFIED), head.get(CONTENT_LENGTH).map(is_length)] {
        all if all.contains(&Some(false)) => Told::Other,
        [None, None, _] => Told::Nothing,
        _ => Told::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::named as fields;
    use super::*;

    #[test]
    fn section_4_3_5_every_validator_that_came_has_to_be_that_of_the_stored_response() {
        const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const LATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
        let stored = fields(&[(ETAG, "\"a\""), (LAST_MODIFIED, EARLY)]);
        for (head, expected) in [
            (&[(ETAG, "\"a\"")][..], Told::Same),
            (&[(ETAG, "\"a\""), (LAST_MODIFIED, EARLY), (CONTENT_LENGTH, "10")], Told::Same),
            (&[(CONTENT_LENGTH, "10")], Told::Nothing),
            (&[(LAST_MODIFIED, EARLY)], Told::Same),
            (&[(ETAG, "\"b\"")], Told::Other),
            (&[(ETAG, "W/\"a\"")], Told::Other),
            (&[(ETAG, "\"a\""), (LAST_MODIFIED, LATE)], Told::Other),
            (&[(ETAG, "\"a\""), (CONTENT_LENGTH, "11")], Told::Other),
            (&[(CONTENT_LENGTH, "010")], Told::Other),
            (&[], Told::Nothing),
        ] {
            assert_eq!(told(&stored, 10, &fields(head)), expected, "{head:?}");
        }
        // A validator that the stored response has not is another.
        assert_eq!(told(&fields(&[]), 10, &fields(&[(ETAG, "\"a\"")])), Told::Other);
    }
}
