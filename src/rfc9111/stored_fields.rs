//! What of a response's head is stored (RFC 9111 §3.1).

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::{profile::Profile, response_directives::ResponseDirectives};

/// Whether a field concerns one connection only (RFC 9110 §7.6.1).
#[must_use]
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Whether a field is between a client and its proxy.
fn is_between_proxies(name: &HeaderName) -> bool {
    [PROXY_AUTHENTICATE, PROXY_AUTHORIZATION].contains(name)
        || name.as_str() == "proxy-authentication-info"
}

/// Whether a field of a response is stored.
///
/// Left out are the fields of one connection, among them those that Connection names, those
/// between proxies, those that a qualified `no-cache` or `private` names, and Set-Cookie where
/// the profile does not store it. `headers` are those of the response, or of the 304, in which
/// the field came.
#[must_use]
pub fn is_kept(
    name: &HeaderName,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    profile: &Profile,
) -> bool {
    !is_hop_by_hop(name)
        && !is_between_proxies(name)
        && !directives.left_out.contains(name)
        && !connection_names(headers, name)
        && (profile.store_set_cookie || *name != SET_COOKIE)
}

/// The fields of a response that [are kept](is_kept), with their repeats; allocates nothing.
pub fn kept<'a>(
    headers: &'a HeaderMap,
    directives: &'a ResponseDirectives,
    profile: &'a Profile,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    headers.iter().filter(move |(name, _)| is_kept(name, headers, directives, profile))
}

/// The head of a response as it is stored: the fields that are [`kept`].
///
/// ```
/// use http::{HeaderMap, HeaderValue, header};
/// use seawall::rfc9111::{Profile, ResponseDirectives, stored_head};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
/// headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
/// let directives = ResponseDirectives::from_fields(&headers);
/// let stored = stored_head(&headers, &directives, &Profile::safe());
/// assert_eq!(stored.keys().collect::<Vec<_>>(), [header::ETAG]);
/// ```
#[must_use]
pub fn stored_head(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    profile: &Profile,
) -> HeaderMap {
    let mut stored = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in kept(headers, directives, profile) {
        stored.append(name.clone(), value.clone());
    }
    stored
}

/// Whether Connection names the field (RFC 9110 §7.6.1).
fn connection_names(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn stored(lines: &[(&'static str, &'static str)], profile: &Profile) -> HeaderMap {
        let headers = fields(lines);
        stored_head(&headers, &ResponseDirectives::from_fields(&headers), profile)
    }

    #[test]
    fn section_3_1_fields_of_one_connection_and_of_proxies_are_not_stored() {
        for name in [
            "connection",
            "proxy-connection",
            "keep-alive",
            "te",
            "transfer-encoding",
            "upgrade",
            "trailer",
            "proxy-authenticate",
            "proxy-authentication-info",
            "proxy-authorization",
        ] {
            let stored = stored(&[(name, "x"), ("etag", "\"a\"")], &Profile::reverse_proxy());
            assert_eq!(stored, fields(&[("etag", "\"a\"")]), "{name}");
        }
    }

    #[test]
    fn rfc9110_7_6_1_what_connection_names_is_not_stored() {
        let lines = [
            ("connection", "close, X-One ,"),
            ("connection", "cache-control"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("cache-control", "max-age=5"),
        ];
        assert_eq!(stored(&lines, &Profile::safe()), fields(&[("x-two", "2")]));
    }

    #[test]
    fn section_5_2_2_4_and_5_2_2_7_what_a_qualified_directive_names_is_not_stored() {
        for (says, is_kept) in [
            ("private=\"x-one\"", false),
            ("no-cache=\"X-One\"", false),
            ("private=\"x-three, x-one\"", false),
            ("private=\"x-three\"", true),
            ("no-cache", true),
        ] {
            let lines = [("cache-control", says), ("x-one", "1"), ("x-two", "2")];
            let mut kept = fields(&lines);
            if !is_kept {
                kept.remove("x-one");
            }
            assert_eq!(stored(&lines, &Profile::safe()), kept, "{says}");
        }
    }

    #[test]
    fn section_7_3_set_cookie_is_stored_as_the_profile_says() {
        let lines = [("set-cookie", "a=1"), ("set-cookie", "b=2")];
        assert_eq!(stored(&lines, &Profile::reverse_proxy()), fields(&lines));
        assert!(stored(&lines, &Profile::safe()).is_empty());
    }

    #[test]
    fn section_3_1_repeats_keep_their_order_and_values_their_bytes() {
        let mut headers = fields(&[("x-one", "2"), ("x-one", "1")]);
        headers.append("etag", HeaderValue::from_bytes(b"\"\xe9\"").unwrap());
        let stored = stored_head(&headers, &ResponseDirectives::default(), &Profile::safe());
        assert_eq!(stored, headers);
    }
}
