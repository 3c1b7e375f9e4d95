//! What tells requests apart.

use std::fmt;

use http::{
    Extensions, HeaderMap, HeaderName, Request, Uri,
    header::{self, HOST},
    uri::Scheme,
};
use http_body::Body;

use super::unary::Unary;
use crate::store::KeyWriter;

/// The request has no key: it passes to the inner service, and nothing of it is kept or shared.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, CacheLayer, NoKey, store::{KeyWriter, Memory}};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Response::builder().header("cache-control", "max-age=60").body(Full::<Bytes>::from("once"))
/// # });
/// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
/// let by_tenant = |request: &Request<Empty<Bytes>>, key: &mut KeyWriter| {
///     let tenant = request.headers().get("x-tenant").ok_or(NoKey)?;
///     key.part(tenant.as_bytes());
///     key.part(request.uri().path().as_bytes());
///     Ok::<_, NoKey>(())
/// };
/// let service = CacheLayer::new(Memory::default()).key(by_tenant).layer(origin);
/// let response = service.oneshot(request).await?; // it names no tenant
/// assert_eq!(response.headers()["cache-status"], "seawall; fwd=bypass; fwd-status=200");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKey;

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request has no key")
    }
}

impl std::error::Error for NoKey {}

/// Writes the key of a request: two requests with one key get one answer.
///
/// [`UriKey`] is the default. A closure is a key, too:
///
/// ```
/// use seawall::{CacheLayer, NoKey, store::{KeyWriter, Memory}};
///
/// let by_path = |request: &http::Request<()>, key: &mut KeyWriter| {
///     key.part(request.uri().path().as_bytes());
///     Ok::<_, NoKey>(())
/// };
/// let layer = CacheLayer::new(Memory::default()).key(by_path);
/// # let _ = layer;
/// ```
///
/// # Panics
/// A key that panics fails its own call, before anything was shared.
pub trait RequestKey<B>: Clone + Send + Sync + 'static {
    /// Writes the parts that identify the answer.
    ///
    /// # Errors
    /// [`NoKey`] lets the request pass.
    fn write(&self, request: &Request<B>, key: &mut KeyWriter) -> Result<(), NoKey>;

    /// Whether the key tells callers with different credentials apart.
    fn has_credentials(&self) -> bool {
        false
    }

    /// How the message in the body of `request` is read, where it belongs to the key; only of a
    /// [`GrpcKey`](crate::GrpcKey) it does.
    #[doc(hidden)]
    fn unary(&self, request: &Request<B>) -> Option<Unary<B>> {
        let _ = request;
        None
    }

    /// Writes the key of a GET of this request's target, whatever its own method and body are: what a
    /// response to POST is stored under, where [a profile says so](crate::Profile::store_post).
    ///
    /// # Errors
    /// [`NoKey`] unless the key knows better: then nothing of a POST is stored.
    fn write_target(&self, request: &Request<B>, key: &mut KeyWriter) -> Result<(), NoKey> {
        let _ = (request, key);
        Err(NoKey)
    }

    /// The body of a GET, to ask the origin a second time on one request: see [`Again`](crate::cache::Again). `None`: it is
    /// asked once.
    fn empty(&self) -> Option<B> {
        None
    }

    /// The URI that its answer is invalidated by: the request's own unless the key knows a better.
    fn uri<'r>(&self, request: &'r Request<B>) -> &'r Uri {
        request.uri()
    }
}

impl<F, B> RequestKey<B> for F
where
    F: Fn(&Request<B>, &mut KeyWriter) -> Result<(), NoKey> + Clone + Send + Sync + 'static,
{
    fn write(&self, request: &Request<B>, key: &mut KeyWriter) -> Result<(), NoKey> {
        self(request, key)
    }
}

/// The key of RFC 9111 §2: scheme, authority, path and query, and any fields that you add.
///
/// The authority comes from the URI or from `Host`; a request that has neither, or two that
/// disagree, has no key. Letter case and a default port make no difference in the authority. Path
/// and query are opaque: nothing is decoded, sorted or dropped. Targets other than a path, user
/// information and requests with a body have no key.
///
/// ```
/// use seawall::{CacheLayer, UriKey, store::Memory};
///
/// // One answer per tenant.
/// let key = UriKey::new().field(http::HeaderName::from_static("x-tenant"));
/// let layer = CacheLayer::new(Memory::default()).key(key);
/// # let _ = layer;
/// ```
///
/// # Nested routers
/// Some routers take a prefix off the URI before a nested service sees it. Under such a layer
/// `/one/x` and `/two/x` would look alike: tell the key where the URI is that the client sent.
///
/// ```
/// use axum::extract::OriginalUri;
/// use seawall::UriKey;
///
/// let key = UriKey::new().uri(|extensions| Some(&extensions.get::<OriginalUri>()?.0));
/// # let _ = key;
/// ```
#[derive(Clone, Debug, Default)]
pub struct UriKey {
    fields: Vec<HeaderName>,
    original: Option<fn(&Extensions) -> Option<&Uri>>,
}

impl UriKey {
    /// The key without additional fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request field: requests that differ in it get different answers.
    #[must_use]
    pub fn field(mut self, name: HeaderName) -> Self {
        if !self.fields.contains(&name) {
            self.fields.push(name);
        }
        self
    }

    /// Where the URI is that the client sent, if the request's own is not it any more. Where the
    /// function finds none, the request's own is used.
    #[must_use]
    pub fn uri(mut self, original: fn(&Extensions) -> Option<&Uri>) -> Self {
        self.original = Some(original);
        self
    }

    /// Writes all that the key has of a request, whatever its body.
    pub(super) fn write_uri<B>(
        &self,
        request: &Request<B>,
        key: &mut KeyWriter,
    ) -> Result<(), NoKey> {
        let uri = self.uri_of(request);
        if !uri.path().starts_with('/') {
            return Err(NoKey);
        }
        key.optional(uri.scheme().map(|scheme| scheme.as_str().as_bytes()));
        key.part_ignoring_case(authority(uri, Some(request.headers()))?);
        key.part(uri.path().as_bytes());
        key.optional(uri.query().map(str::as_bytes));
        for name in &self.fields {
            write_all(request.headers(), name, key);
        }
        Ok(())
    }

    pub(super) fn uri_of<'r, B>(&self, request: &'r Request<B>) -> &'r Uri {
        let original = self.original.and_then(|original| original(request.extensions()));
        original.unwrap_or(request.uri())
    }
}

impl<B: Body> RequestKey<B> for UriKey {
    fn write(&self, request: &Request<B>, key: &mut KeyWriter) -> Result<(), NoKey> {
        if !request.body().is_end_stream() {
            return Err(NoKey);
        }
        self.write_uri(request, key)
    }

    fn write_target(&self, request: &Request<B>, key: &mut KeyWriter) -> Result<(), NoKey> {
        self.write_uri(request, key)
    }

    fn has_credentials(&self) -> bool {
        self.fields.contains(&header::AUTHORIZATION) && self.fields.contains(&header::COOKIE)
    }

    fn uri<'r>(&self, request: &'r Request<B>) -> &'r Uri {
        self.uri_of(request)
    }
}

/// Writes all values of a field: none is not an empty one.
pub(super) fn write_all(fields: &HeaderMap, name: &HeaderName, key: &mut KeyWriter) {
    for value in fields.get_all(name) {
        key.part(value.as_bytes());
    }
    key.absent();
}

/// The authority of `uri` alone, without a default port of any scheme: what URIs are invalidated by.
pub(crate) fn authority_of(uri: &Uri) -> Result<&[u8], NoKey> {
    Ok(without_port(authority(uri, None)?))
}

/// The authority that a request is for, without the default port of its scheme; of any, where that is not
/// known.
pub(super) fn authority_asked<'a>(uri: &'a Uri, fields: &'a HeaderMap) -> Option<&'a [u8]> {
    let authority = authority(uri, Some(fields)).ok()?;
    Some(if uri.scheme().is_some() { authority } else { without_port(authority) })
}

/// Where a request goes (RFC 9110 §4.3.1): a scheme, as far as it is known, and an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site(Box<[u8]>);

impl Site {
    pub(super) fn asked(uri: &Uri, fields: &HeaderMap) -> Option<Self> {
        let authority = authority(uri, Some(fields)).ok()?;
        Some(Self::of(uri.scheme_str(), authority))
    }

    fn of(scheme: Option<&str>, authority: &[u8]) -> Self {
        let authority = match scheme {
            Some("http") => without(b":80", authority),
            Some("https") => without(b":443", authority),
            _ => without_port(authority),
        };
        let mut name = [scheme.unwrap_or_default().as_bytes(), b"//", authority].concat();
        name.make_ascii_lowercase();
        Self(name.into())
    }

    /// Its name: what has another one is of another origin.
    pub(super) fn name(&self) -> &[u8] {
        &self.0
    }

    /// The names of all that may be the same: who knows no scheme may mean either.
    pub(super) fn same(uri: &Uri, fields: &HeaderMap) -> Vec<Self> {
        let Ok(authority) = authority(uri, Some(fields)) else { return Vec::new() };
        let schemes = match uri.scheme_str() {
            Some(scheme) => vec![Some(scheme), None],
            None => vec![None, Some("http"), Some("https")],
        };
        schemes.into_iter().map(|scheme| Self::of(scheme, authority)).collect()
    }
}

/// Without a default port of any scheme.
pub(super) fn without_port(authority: &[u8]) -> &[u8] {
    without(b":443", without(b":80", authority))
}

/// The one authority that the request is for, without a default port.
fn authority<'a>(uri: &'a Uri, fields: Option<&'a HeaderMap>) -> Result<&'a [u8], NoKey> {
    let default_port: &[u8] = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => b":80",
        Some(scheme) if *scheme == Scheme::HTTPS => b":443",
        _ => b"",
    };
    let mut hosts = fields.into_iter().flat_map(|fields| fields.get_all(HOST));
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(NoKey),
        (host, None) => host.map(|host| without(default_port, host.as_bytes())),
    };
    let named = uri.authority().map(|named| without(default_port, named.as_str().as_bytes()));
    let authority = match (named, host) {
        (Some(named), Some(host)) if named != host && !named.eq_ignore_ascii_case(host) => {
            return Err(NoKey);
        }
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) => return Err(NoKey),
    };
    // User information is not part of an authority that anyone is asked at (RFC 9110 §4.2.4).
    if authority.is_empty() || authority.contains(&b'@') {
        return Err(NoKey);
    }
    Ok(authority)
}

fn without<'a>(default_port: &[u8], authority: &'a [u8]) -> &'a [u8] {
    authority.strip_suffix(default_port).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full};

    use super::*;

    type Nothing = Empty<bytes::Bytes>;

    fn key(request: &Request<Nothing>) -> Option<Vec<u8>> {
        let mut key = KeyWriter::new();
        UriKey::new().write(request, &mut key).ok()?;
        Some(key.as_bytes().to_vec())
    }

    fn get(uri: &str, host: Option<&str>) -> Request<Nothing> {
        let mut request = Request::new(Nothing::new());
        *request.uri_mut() = uri.parse().expect("a uri");
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host.parse().expect("a value"));
        }
        request
    }

    #[test]
    fn an_authority_is_the_same_in_any_letter_case_and_with_its_default_port() {
        let plain = key(&get("http://example.com/a", None));
        assert!(plain.is_some());
        assert_eq!(plain, key(&get("http://EXAMPLE.com:80/a", None)));
        assert_eq!(plain, key(&get("http://example.com/a", Some("Example.com:80"))));
        assert_ne!(plain, key(&get("http://example.com:8080/a", None)));
        assert_ne!(plain, key(&get("https://example.com/a", None)));
    }

    #[test]
    fn who_says_nothing_or_two_things_about_whom_it_is_for_has_no_key() {
        assert_eq!(key(&get("/a", None)), None);
        assert_eq!(key(&get("http://example.com/a", Some("example.org"))), None);
        assert_eq!(key(&get("http://me@example.com/a", None)), None);
        assert_eq!(key(&get("/a", Some(""))), None);
        let mut two = get("/a", Some("example.com"));
        two.headers_mut().append(HOST, "example.com".parse().expect("a value"));
        assert_eq!(key(&two), None);
    }

    #[test]
    fn targets_that_are_no_path_have_no_key() {
        for target in ["*", "example.com:443"] {
            assert_eq!(key(&get(target, Some("example.com"))), None, "{target}");
        }
    }

    #[test]
    fn paths_and_queries_are_opaque() {
        let all =
            ["/a", "/a?", "/a?b", "/a?B", "/A", "/a/", "/a//", "/%61", "/a?x=1&y=2", "/a?y=2&x=1"];
        for (i, one) in all.iter().enumerate() {
            for other in &all[i + 1..] {
                let (one, other) = (get(one, Some("h")), get(other, Some("h")));
                assert_ne!(key(&one), key(&other));
            }
        }
    }

    #[test]
    fn a_request_with_a_body_has_no_key() {
        let body = Full::<bytes::Bytes>::from("x");
        let request = Request::get("http://example.com/").body(body).expect("valid");
        assert_eq!(UriKey::new().write(&request, &mut KeyWriter::new()), Err(NoKey));
    }

    #[test]
    fn fields_that_are_added_tell_requests_apart_and_absent_is_not_empty() {
        let by_tenant = UriKey::new().field(HeaderName::from_static("x-tenant"));
        let of = |tenant: Option<&str>| {
            let mut request = get("/", Some("h"));
            if let Some(tenant) = tenant {
                request.headers_mut().insert("x-tenant", tenant.parse().expect("a value"));
            }
            let mut key = KeyWriter::new();
            by_tenant.write(&request, &mut key).expect("a key");
            key.as_bytes().to_vec()
        };
        assert_ne!(of(Some("a")), of(Some("b")));
        assert_ne!(of(Some("")), of(None));
    }
}
