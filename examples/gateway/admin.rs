//! What the operator can ask: `/status`, `/ready`, `/metrics`; and who may.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tower::Service;

use crate::{plain::plain, proxy::authority, stats::Stats};

/// The operator's service.
#[derive(Clone)]
pub(crate) struct Admin {
    token: Option<Token>,
    stats: Arc<Stats>,
}

impl Admin {
    /// Without a token only what comes from this machine and from no web page is served: the
    /// caller sees to it that the address is loopback.
    pub(crate) fn new(token: Option<Token>, stats: Arc<Stats>) -> Self {
        Self { token, stats }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if let Err(refused) = self.may(request) {
            return *refused;
        }
        let found = match request.uri().path() {
            "/status" => Some(json_text(&status(&self.stats))),
            "/ready" => Some(readiness(&self.stats)),
            "/metrics" => metrics(&self.stats),
            _ => None,
        };
        let Some(found) = found else {
            return plain(StatusCode::NOT_FOUND, "no such path");
        };
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return found;
        }
        let mut wrong = plain(StatusCode::METHOD_NOT_ALLOWED, "this path answers GET");
        wrong.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        wrong
    }

    fn may<B>(&self, request: &Request<B>) -> Result<(), Box<Response<Full<Bytes>>>> {
        let Some(token) = &self.token else {
            // A web page in the operator's browser can send requests here, but not without an
            // `Origin`, or else by a name of its own that resolves to this machine.
            let foreign =
                request.headers().contains_key(header::ORIGIN) || !names_loopback(request);
            return match foreign {
                true => Err(Box::new(plain(StatusCode::FORBIDDEN, "only for this machine itself"))),
                false => Ok(()),
            };
        };
        if token.is_in(request.headers()) {
            return Ok(());
        }
        let mut refused = plain(StatusCode::UNAUTHORIZED, "the admin token is missing or wrong");
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Err(Box::new(refused))
    }
}

impl Service<Request<Incoming>> for Admin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}

/// Every host that the request names is this machine, and it names one.
fn names_loopback<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let target = request.uri().authority().map(|named| named.as_str().as_bytes());
    let mut named = hosts.chain(target).peekable();
    named.peek().is_some() && named.all(is_loopback)
}

fn is_loopback(host: &[u8]) -> bool {
    let Some(named) = authority(host) else {
        return false;
    };
    let host = named.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|addr| addr.to_canonical().is_loopback())
}

/// What the operator must send.
#[derive(Clone)]
pub(crate) struct Token(Arc<[u8]>);

impl Token {
    /// Reads the token from a file, without the white space around it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let content =
            std::fs::read(path).map_err(|error| format!("--admin-token-file {shown}: {error}"))?;
        match content.trim_ascii() {
            [] => Err(format!("--admin-token-file {shown}: the file is empty")),
            token if token.iter().all(u8::is_ascii_graphic) => Ok(Self(token.into())),
            _ => Err(format!("--admin-token-file {shown}: a token is printable ASCII, one word")),
        }
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let value = value.as_bytes();
        let Some((scheme, sent)) = value.split_at_checked(b"bearer ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer ") && self.is(sent.trim_ascii())
    }

    /// Takes as long for a wrong token as for the right one, whatever they have in common.
    fn is(&self, sent: &[u8]) -> bool {
        let mut differ = u8::from(sent.len() != self.0.len());
        for (index, byte) in self.0.iter().enumerate() {
            differ = black_box(differ | (byte ^ sent.get(index).copied().unwrap_or(0)));
        }
        differ == 0
    }
}

fn status(stats: &Stats) -> serde_json::Value {
    let read = |counter: &AtomicU64| counter.load(Relaxed);
    let kept = stats.kept();
    json!({
        "uptime_ms": u64::try_from(stats.uptime().as_millis()).unwrap_or(u64::MAX),
        "requests": read(&stats.requests),
        "hits": read(&stats.hits),
        "misses": read(&stats.misses),
        "passes": read(&stats.passes),
        "followers": read(&stats.followers),
        "origin_calls": read(&stats.origin_calls),
        "origin_in_flight": read(&stats.origin_in_flight),
        "origin_failures": read(&stats.origin_failures),
        "uncacheable_remembered": kept.uncacheable_remembered,
        "entries": kept.entries,
        "bytes": kept.bytes,
        "flights": kept.flights,
        "draining": stats.draining.load(Relaxed),
    })
}

fn json_text(value: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::OK, &value.to_string());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn readiness(stats: &Stats) -> Response<Full<Bytes>> {
    match stats.draining.load(Relaxed) {
        true => plain(StatusCode::SERVICE_UNAVAILABLE, "draining"),
        false => plain(StatusCode::OK, "ready"),
    }
}

/// The one place that depends on the feature `metrics`: Prometheus text, or no such path.
fn metrics(stats: &Stats) -> Option<Response<Full<Bytes>>> {
    cfg!(feature = "metrics").then(|| {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let text = format!(
            "# TYPE seawall_gateway_requests_total counter\n\
             seawall_gateway_requests_total {}\n\
             # TYPE seawall_gateway_origin_calls_total counter\n\
             seawall_gateway_origin_calls_total {}\n\
             # TYPE seawall_gateway_origin_failures_total counter\n\
             seawall_gateway_origin_failures_total {}\n\
             # TYPE seawall_gateway_origin_in_flight gauge\n\
             seawall_gateway_origin_in_flight {}\n{}",
            read(&stats.requests),
            read(&stats.origin_calls),
            read(&stats.origin_failures),
            read(&stats.origin_in_flight),
            stats.exported(),
        );
        let mut response = plain(StatusCode::OK, &text);
        let kind = HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = Token(b"secret".as_slice().into());
        assert!(token.is(b"secret"));
        for wrong in ["", "s", "secre", "secrets", "Secret", "secret\0"] {
            assert!(!token.is(wrong.as_bytes()), "{wrong:?}");
        }
    }

    #[test]
    fn loopback_has_several_names() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8081", "127.9.9.9", "[::1]:8081"] {
            assert!(is_loopback(host.as_bytes()), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil", "10.0.0.1"] {
            assert!(!is_loopback(host.as_bytes()), "{host}");
        }
    }
}
