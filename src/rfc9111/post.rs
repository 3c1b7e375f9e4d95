//! Responses to POST that answer a later GET (RFC 9110 §9.3.3).

use http::{
    HeaderMap, StatusCode, Uri,
    header::{CONTENT_LOCATION, SET_COOKIE},
};

use super::invalidation::resolved;

/// Whether the response to a POST is a representation of the POST's own target, for whoever gets it: a 200
/// whose `Content-Location` names that URI, and which sets no cookie.
///
/// Whether it is stored [`keep`](super::keep) says, asked as for a GET, if its lifetime is explicit.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, Uri, header::CONTENT_LOCATION};
/// use seawall::rfc9111::post::is_of_target;
///
/// let says = |value| HeaderMap::from_iter([(CONTENT_LOCATION, HeaderValue::from_static(value))]);
/// let target = Uri::from_static("/cart?of=1");
/// let is = |value| is_of_target(StatusCode::OK, &says(value), b"example.com", &target);
/// assert!(is("/cart?of=1") && is("http://example.com/cart?of=1"));
/// assert!(!is("/cart") && !is("http://example.org/cart?of=1"));
/// ```
#[must_use]
pub fn is_of_target(
    status: StatusCode,
    response: &HeaderMap,
    authority: &[u8],
    target: &Uri,
) -> bool {
    let mut lines = response.get_all(CONTENT_LOCATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let named = line.to_str().ok().and_then(|line| resolved(line, authority, target));
    let path_and_query = |uri: &Uri| uri.path_and_query().map(|all| all.as_str().to_owned());
    // RFC 9110 §9.3.3, §8.7: it is the content of a 200 that is the representation. One that sets a cookie
    // is about who posted.
    status == StatusCode::OK
        && !response.contains_key(SET_COOKIE)
        && named.is_some_and(|named| path_and_query(&named) == path_and_query(target))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn rfc9110_9_3_3_content_location_names_the_target_itself() {
        let target = Uri::from_static("http://example.com/a/b?q");
        let is = |status: u16, lines: &[&'static str]| {
            let mut response = HeaderMap::new();
            for line in lines {
                response.append(CONTENT_LOCATION, HeaderValue::from_static(line));
            }
            let status = StatusCode::from_u16(status).unwrap();
            is_of_target(status, &response, b"example.com", &target)
        };
        for (lines, expected) in [
            (&["/a/b?q"][..], true),
            (&["b?q"], true),
            (&["?q"], true),
            (&["//example.com/a/b?q"], true),
            (&["http://example.com:80/a/b?q"], true),
            (&["/a/b?q#part"], true),
            (&["/a/b"], false),
            (&["/a/b?q&r"], false),
            (&["/A/b?q"], false),
            (&["http://example.org/a/b?q"], false),
            (&["/a/b?q", "/a/b?q"], false),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(is(200, lines), expected, "{lines:?}");
        }
        for (status, expected) in
            [(201, false), (202, false), (204, false), (206, false), (303, false), (500, false)]
        {
            assert_eq!(is(status, &["/a/b?q"]), expected, "{status}");
        }
    }
}
