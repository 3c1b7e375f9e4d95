//! What the operator can ask: `/status`, `/ready`, `/metrics`, `/invalidate`; and who may.

use std::{
    convert::Infallible,
    hint::black_box,
    net::IpAddr,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::Full;
use hyper::body::Incoming;
use seawall::store::Status;
use serde_json::json;
use tower::Service;

use crate::{
    invalidate::Invalidate,
    plain::{json_text, plain},
    proxy::authority,
    stats::{Stats, word},
};

/// The operator's service.
#[derive(Clone)]
pub(crate) struct Admin {
    token: Option<Token>,
    stats: Arc<Stats>,
    invalidate: Invalidate,
}

impl Admin {
    /// Without a token only what comes from this machine and from no web page is served: the
    /// caller sees to it that the address is loopback.
    pub(crate) fn new(token: Option<Token>, stats: Arc<Stats>, invalidate: Invalidate) -> Self {
        Self { token, stats, invalidate }
    }

    async fn answer(&self, asked: &request::Parts) -> Response<Full<Bytes>> {
        if let Err(refused) = self.may(asked) {
            return *refused;
        }
        let found = match asked.uri.path() {
            "/invalidate" if asked.method != Method::POST => {
                return wrong_method("this path answers POST", "POST");
            }
            "/invalidate" => {
                let query = asked.uri.query().unwrap_or_default();
                return self.invalidate.answer(query).await;
            }
            "/status" => Some(json_text(&status(&self.stats))),
            "/ready" => Some(readiness(&self.stats)),
            "/metrics" => metrics(&self.stats),
            _ => None,
        };
        let Some(found) = found else {
            return plain(StatusCode::NOT_FOUND, "no such path");
        };
        match asked.method {
            Method::GET | Method::HEAD => found,
            _ => wrong_method("this path answers GET", "GET, HEAD"),
        }
    }

    fn may(&self, asked: &request::Parts) -> Result<(), Box<Response<Full<Bytes>>>> {
        let Some(token) = &self.token else {
            // A web page in the operator's browser can send requests here, but not without an
            // `Origin`, or else by a name of its own that resolves to this machine.
            let foreign = asked.headers.contains_key(header::ORIGIN) || !names_loopback(asked);
            return match foreign {
                true => Err(Box::new(plain(StatusCode::FORBIDDEN, "only for this machine itself"))),
                false => Ok(()),
            };
        };
        if token.is_in(&asked.headers) {
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
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let admin = self.clone();
        let (asked, _) = request.into_parts();
        Box::pin(async move { Ok(admin.answer(&asked).await) })
    }
}

/// Every host that the request names is this machine, and it names one.
fn names_loopback(asked: &request::Parts) -> bool {
    let hosts = asked.headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let target = asked.uri.authority().map(|named| named.as_str().as_bytes());
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
        "stale_hits": read(&stats.stale_hits),
        "misses": read(&stats.misses),
        "passes": read(&stats.passes),
        "followers": read(&stats.followers),
        "origin_calls": read(&stats.origin_calls),
        "origin_in_flight": read(&stats.origin_in_flight),
        "origin_failures": read(&stats.origin_failures),
        "refreshes": read(&stats.refreshes),
        "shed": read(&stats.shed),
        "failures_remembered": kept.failures_remembered,
        "uncacheable_remembered": kept.uncacheable_remembered,
        "entries": kept.entries,
        "bytes": kept.bytes,
        "flights": kept.flights,
        "draining": stats.draining.load(Relaxed),
        "journal": { "position": kept.position },
        "breaker": stats.guarded().map(|guarded| {
            let calls = guarded.calls;
            let rate = if calls == 0 { 0.0 } else { guarded.failures as f64 / calls as f64 };
            json!({
                "state": word(guarded.circuit),
                "failure_rate": rate,
                "calls": calls,
                "refused": read(&stats.circuit_refused),
            })
        }),
        "limit": stats.guarded().map(|guarded| {
            json!({ "limit": guarded.limit, "in_flight": guarded.in_flight })
        }),
        "stores": stats.stores().iter().map(store).collect::<Vec<_>>(),
    })
}

/// A store that is not in this process.
fn store(status: &Status) -> serde_json::Value {
    json!({
        "name": status.name,
        "state": word(status.state),
        "writes": status.writes,
        "hits": status.hits,
        "misses": status.misses,
        "failures": status.failures,
        "latency_us": u64::try_from(status.latency.as_micros()).unwrap_or(u64::MAX),
    })
}

fn wrong_method(text: &str, allowed: &'static str) -> Response<Full<Bytes>> {
    let mut wrong = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    wrong.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    wrong
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
