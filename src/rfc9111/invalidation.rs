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
/// the target's own authority, as what one origin says of another is not believed.
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

/// The path and query that `reference` leads to (RFC 3986 §5.2), if it stays within `authority`.
pub(super) fn resolved(reference: &str, authority: &[u8], target: &Uri) -> Option<Uri> {
    let reference = reference.trim().split('#').next().unwrap_or_default();
    let scheme = ["http:", "https:"].iter().find_map(|scheme| {
        let start = reference.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &reference[scheme.len()..])
    });
    let relative = scheme.unwrap_or(reference);
    if let Some(rest) = relative.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (named, path) = rest.split_at(end);
        let same = bare(named.as_bytes()).eq_ignore_ascii_case(bare(authority));
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

/// Without a default port.
fn bare(authority: &[u8]) -> &[u8] {
    let port = [&b":80"[..], b":443"].into_iter().find(|port| authority.ends_with(port));
    &authority[..authority.len() - port.map_or(0, <[u8]>::len)]
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
            ("HTTPS://example.com:443", Some("/")),
            ("//example.com?x", Some("/?x")),
            ("http://example.org/x", None),
            ("http://example.com.evil/x", None),
            ("http://me@example.com/x", None),
            ("http:x", None),
            ("mailto:x", None),
            ("", None),
            ("#z", None),
        ] {
            let found = resolved(reference, b"example.com:80", &target);
            assert_eq!(found, expected.map(|uri| uri.parse().unwrap()), "{reference}");
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
