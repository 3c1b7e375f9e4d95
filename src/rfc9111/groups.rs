//! Cache groups (RFC 9875): responses of one origin that are invalidated together.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::dictionary::strings;

/// Names the groups of a response (RFC 9875 §2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

/// Names the groups that an unsafe request has changed (RFC 9875 §3).
pub const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");

/// The groups that a response is in, of its own origin; none where the field is no list of strings.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use seawall::rfc9111::groups::{CACHE_GROUPS, of};
///
/// let says = |value| HeaderMap::from_iter([(CACHE_GROUPS, HeaderValue::from_static(value))]);
/// assert_eq!(of(&says("\"shoes\", \"news\"")), [b"shoes".to_vec(), b"news".to_vec()]);
/// assert!(of(&says("shoes")).is_empty());
/// ```
#[must_use]
pub fn of(response: &HeaderMap) -> Vec<Vec<u8>> {
    read(response, &CACHE_GROUPS)
}

/// The groups of its own origin that the response to an unsafe request invalidates.
#[must_use]
pub fn invalidated(response: &HeaderMap) -> Vec<Vec<u8>> {
    read(response, &CACHE_GROUP_INVALIDATION)
}

fn read(response: &HeaderMap, field: &HeaderName) -> Vec<Vec<u8>> {
    let lines: Vec<_> = response.get_all(field).iter().map(HeaderValue::as_bytes).collect();
    strings(&lines.join(&b',')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::rows::field;
    use super::*;

    #[test]
    fn rfc9875_2_groups_are_a_list_of_strings_or_none_at_all() {
        for (lines, expected) in [
            (&["\"a\""][..], &["a"][..]),
            (&["\"a\", \"b\"", "\"c\""], &["a", "b", "c"]),
            (&["\"a\";p=1;q, \"\""], &["a", ""]),
            (&["\"q\\\"\\\\\""], &["q\"\\"]),
            (&[" \"a\" ,\t\"b\" "], &["a", "b"]),
            (&["a"], &[]),
            (&["\"a\", b"], &[]),
            (&["\"a\", 1"], &[]),
            (&["(\"a\")"], &[]),
            (&["\"a\","], &[]),
            (&["\"a\" \"b\""], &[]),
            (&["\"a"], &[]),
            (&["\"\u{e9}\""], &[]),
            (&[""], &[]),
            (&[], &[]),
        ] {
            assert_eq!(
                of(&field("cache-groups", lines)),
                expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(),
                "{lines:?}"
            );
            let changed = field("cache-group-invalidation", lines);
            assert_eq!(invalidated(&changed).len(), expected.len(), "{lines:?}");
        }
    }
}
