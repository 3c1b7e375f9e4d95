//! What of a response's head is stored (RFC 9111 §3.1).

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::cache_control::ResponseDirectives;
use super::profile::Profile;

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

/// The fields of a response that are stored, in their order, with their repeats.
///
/// Left out are the fields of one connection, among them those that Connection names, those
/// between proxies, those that a qualified `no-cache` or `private` names, and Set-Cookie where
/// the profile does not store it. Allocates nothing.
pub fn kept<'a>(
    headers: &'a HeaderMap,
    directives: &'a ResponseDirectives,
    profile: &Profile,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> + use<'a> {
    let store_set_cookie = profile.store_set_cookie;
    headers.iter().filter(move |(name, _)| {
        !is_hop_by_hop(name)
            && !is_between_proxies(name)
            && !directives.left_out.contains(name)
            && !connection_names(headers, name)
            && (store_set_cookie || **name != SET_COOKIE)
    })
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
