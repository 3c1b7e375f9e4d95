//! Invalidation (RFC 9111 §4.4): what a successful unsafe request makes unusable.

use http::{
    HeaderMap, Method, StatusCode, Uri,
    header::{CONTENT_LOCATION, LOCATION},
};

/// Whether an exchange invalidates what is stored for its target: its method is not safe (RFC 9110
/// §9.2.1) or not known, and it did not fail.
#[must_use]
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    is_unsafe(method) && (status.is_success() || status.is_redirection())
}

/// Whether a method may change what is at the origin.
#[must_use]
pub fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// The URIs in `Location` and `Content-Location` that such an exchange invalidates as well: those of
/// the target's own origin, as what one says of another is not believed.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Uri, header::LOCATION};
/// use seawall::rfc9111::invalidation::also;
///
/// let fields = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("../b?c"))]);
/// let target = Uri::from_static("/x/a");
/// assert_eq!(also(&fields, b"example.com", &target), [Uri::from_static("/b?c")]);
/// ```
#[must_use]
pub fn also(response: &HeaderMap, authority: &[u8], target: &Uri) -> Vec<Uri> {
    let lines = [LOCATION, CONTENT_LOCATION].map(|name| response.get(name));
    let references = lines.into_iter().flatten().filter_map(|line| line.to_str().ok());
    references.filter_map(|reference| resolved(reference, authority, target)).collect()
}

/// The path and query that `reference` leads to (RFC 3986 §5.2), if it stays at that origin.
pub(super) fn resolved(reference: &str, authority: &[u8], target: &Uri) -> Option<Uri> {
    let reference = reference.trim().split('#').next().unwrap_or_default();
    let scheme = reference
        .split_once(':')
        .and_then(|(scheme, rest)| Scheme::named(scheme).map(|scheme| (scheme, rest)));
    let relative = scheme.map_or(reference, |(_, rest)| rest);
    if let Some(rest) = relative.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (named, path) = rest.split_at(end);
        let of_target = target.scheme_str().and_then(Scheme::named);
        let of_reference = scheme.map(|(scheme, _)| scheme).or(of_target);
        // What is not known of the target is taken from the reference.
        let scheme = of_target.or(of_reference);
        let same = of_reference == scheme
            && bare(named.as_bytes(), scheme).eq_ignore_ascii_case(bare(authority, scheme));
        return if same { parsed(path) } else { None };
    }
    let names_a_scheme = || relative.split(['/', '?']).next().is_some_and(|s| s.contains(':'));
    if scheme.is_some() || names_a_scheme() {
        return None;
    }
    match relative.as_bytes().first() {
        None => None,
        Some(b'/') => parsed(relative),
        Some(b'?') => parsed(&format!("{}{relative}", target.path())),
        Some(_) => {
            let directory = target.path().rsplit_once('/').map_or("", |(directory, _)| directory);
            parsed(&format!("{directory}/{relative}"))
        }
    }
}

/// A path without its dot segments (RFC 3986 §5.2.4), and its query.
fn parsed(path_and_query: &str) -> Option<Uri> {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = rest.next() {
        let last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            segment => segments.push(segment),
        }
    }
    let mut plain = format!("/{}", segments.join("/"));
    if let Some(query) = query {
        plain.push('?');
        plain.push_str(query);
    }
    plain.parse().ok()
}

/// The schemes that HTTP has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn named(name: &str) -> Option<Self> {
        match name {
            _ if name.eq_ignore_ascii_case("http") => Some(Self::Http),
            _ if name.eq_ignore_ascii_case("https") => Some(Self::Https),
            _ => None,
        }
    }
}

/// Without the default port of its scheme; of any, where that is not known.
fn bare(authority: &[u8], scheme: Option<Scheme>) -> &[u8] {
    let defaults: &[&[u8]] = match scheme {
        Some(Scheme::Http) => &[b":80"],
        Some(Scheme::Https) => &[b":443"],
        None => &[b":80", b":443"],
    };
    let port = defaults.iter().find(|port| authority.ends_with(port));
    &authority[..authority.len() - port.map_or(0, |port| port.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_4_4_an_unsafe_method_invalidates_unless_it_failed() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "CONNECT", "M-SEARCH", "get"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for (status, expected) in [
                (103, false),
                (200, true),
                (204, true),
                (299, true),
                (303, true),
                (399, true),
                (404, false),
                (500, false),
                (599, false),
            ] {
                let status = StatusCode::from_u16(status).unwrap();
                assert_eq!(invalidates(&method, status), expected, "{method} {status}");
            }
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
            assert!(!invalidates(&method, StatusCode::OK), "{method}");
        }
    }

    #[test]
    fn section_4_4_a_reference_is_resolved_against_the_target_and_stays_within_its_authority() {
        let target = Uri::from_static("/a/b/c?q");
        for (reference, expected) in [
            ("/x", Some("/x")),
            ("/x?y#z", Some("/x?y")),
            ("x", Some("/a/b/x")),
            ("./x/", Some("/a/b/x/")),
            ("../x", Some("/a/x")),
            ("../../../x", Some("/x")),
            ("..", Some("/a/")),
            ("?r", Some("/a/b/c?r")),
            ("http://Example.com/x", Some("/x")),
            ("HTTPS://example.com:443", None),
            ("//example.com?x", Some("/?x")),
            ("http://example.org/x", None),
            ("http://example.com.evil/x", None),
            ("http://me@example.com/x", None),
            ("http:x", None),
            ("http://example.com:81/x", None),
            ("http://example.com:443/x", None),
            ("mailto:x", None),
            ("", None),
            ("#z", None),
        ] {
            let found = resolved(reference, b"example.com:80", &target);
            assert_eq!(found, expected.map(|uri| uri.parse().unwrap()), "{reference}");
        }
    }

    #[test]
    fn section_4_4_an_origin_is_a_scheme_a_host_and_a_port() {
        let found = |target: &'static str, authority: &str, reference: &str| {
            resolved(reference, authority.as_bytes(), &Uri::from_static(target)).is_some()
        };
        for (target, authority, reference, expected) in [
            ("http://h/a", "h", "http://h:80/x", true),
            ("http://h/a", "h", "https://h/x", false),
            ("http://h:443/a", "h:443", "https://h/x", false),
            ("https://h/a", "h", "https://h:443/x", true),
            ("https://h/a", "h", "https://h:80/x", false),
            ("https://h/a", "h", "//h:443/x", true),
            ("https://h/a", "h", "/x", true),
            // What the target does not say, the reference may.
            ("/a", "h", "https://h/x", true),
            ("/a", "h", "http://h/x", true),
            ("/a", "h:443", "https://h/x", true),
            ("/a", "h:443", "http://h/x", false),
        ] {
            let same = found(target, authority, reference);
            assert_eq!(same, expected, "{target} {authority} {reference}");
        }
    }

    #[test]
    fn section_4_4_both_fields_count() {
        let mut fields = HeaderMap::new();
        fields.insert(LOCATION, "/one".parse().unwrap());
        fields.insert(CONTENT_LOCATION, "two".parse().unwrap());
        let all = also(&fields, b"h", &Uri::from_static("/x"));
        assert_eq!(all, [Uri::from_static("/one"), Uri::from_static("/two")]);
    }
}
