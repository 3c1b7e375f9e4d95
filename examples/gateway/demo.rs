//! The demo origin: a shop with slow pages, and paths that misbehave on request.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, Interval, interval, sleep};
use tower::Service;

use crate::plain::plain;

/// The shop.
#[derive(Clone)]
pub(crate) struct Demo(Arc<Shop>);

struct Shop {
    opened: Instant,
    /// Rises with every write, and with it every page's validator.
    revision: AtomicU64,
    failing_until: Mutex<Option<Instant>>,
}

type Answer = Response<Either<Full<Bytes>, Ticking>>;

impl Demo {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shop {
            opened: Instant::now(),
            revision: AtomicU64::new(1),
            failing_until: Mutex::new(None),
        }))
    }

    async fn answer(self, request: Request<Incoming>) -> Answer {
        let query = query(request.uri().query().unwrap_or_default());
        let path = request.uri().path();
        if path == "/outage" {
            let seconds = number(&query, "seconds", 10).min(3_600);
            *self.failing() = Some(Instant::now() + Duration::from_secs(seconds));
            return text(StatusCode::OK, &format!("everything fails for {seconds} s"));
        }
        let left = self.failing().map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, "outage");
            let seconds = left.as_millis().div_ceil(1_000);
            set(&mut answer, header::RETRY_AFTER, &seconds.to_string());
            return answer;
        }
        let fresh_for = |seconds| number(&query, "max-age", seconds);
        match path.trim_matches('/').split_once('/').unwrap_or((path.trim_matches('/'), "")) {
            ("", "") => text(StatusCode::OK, CONTENTS),
            ("products", id) => self.page("product", id, 120, fresh_for(60), &request).await,
            ("recommendations", id) => {
                self.page("recommendation", id, 350, fresh_for(30), &request).await
            }
            ("promotions", id) => self.page("promotion", id, 80, fresh_for(10), &request).await,
            ("reviews", id) => self.page("review", id, 200, fresh_for(120), &request).await,
            ("price", id) => {
                let cents = 100 + self.0.opened.elapsed().subsec_millis() % 900;
                let price = format!("{{\"id\":\"{}\",\"cents\":{cents}}}", shown(id));
                json(price, "no-store")
            }
            ("me", "") => json("{\"name\":\"you\",\"basket\":3}".to_owned(), "private, max-age=60"),
            ("fail", "") => {
                let status = query.get("status").map_or("503", String::as_str);
                match StatusCode::from_bytes(status.as_bytes()) {
                    // 1xx is no final answer.
                    Ok(status) if status.as_u16() >= 200 => text(status, "failed, as asked"),
                    _ => text(StatusCode::BAD_REQUEST, "status is 200 to 999"),
                }
            }
            ("hang", "") => std::future::pending().await,
            ("drip", "") => {
                let ticks = number(&query, "seconds", 10).min(3_600).saturating_mul(10);
                ticking(
                    "text/plain",
                    "max-age=60",
                    Duration::from_millis(100),
                    Some(ticks),
                    drop_of,
                )
            }
            ("events", "") => {
                ticking("text/event-stream", "no-store", Duration::from_secs(1), None, event)
            }
            _ => text(StatusCode::NOT_FOUND, "no such page; / lists them"),
        }
    }

    /// A page that may be kept. Reading one is slow; any other method changes the shop.
    async fn page(
        &self,
        kind: &str,
        id: &str,
        delay_ms: u64,
        max_age: u64,
        request: &Request<Incoming>,
    ) -> Answer {
        let id = shown(id);
        if id.is_empty() {
            return text(StatusCode::NOT_FOUND, "a page has an id");
        }
        sleep(Duration::from_millis(delay_ms)).await;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let revision = self.0.revision.fetch_add(1, Relaxed) + 1;
            return text(StatusCode::OK, &format!("changed, now at revision {revision}"));
        }
        let revision = self.0.revision.load(Relaxed);
        let etag = format!("\"{kind}-{id}-{revision}\"");
        let mut answer = json(
            format!("{{\"kind\":\"{kind}\",\"id\":\"{id}\",\"revision\":{revision}}}"),
            &format!("max-age={max_age}, stale-while-revalidate={max_age}"),
        );
        if request.headers().get_all(header::IF_NONE_MATCH).iter().any(|list| names(list, &etag)) {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            *answer.body_mut() = Either::Left(Full::default());
            answer.headers_mut().remove(header::CONTENT_TYPE);
        }
        set(&mut answer, header::ETAG, &etag);
        let key = HeaderName::from_static("surrogate-key");
        set(&mut answer, key, &format!("{kind}s {kind}-{id}"));
        answer
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.failing_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const CONTENTS: &str = "\
/products/ID /recommendations/ID /promotions/ID /reviews/ID   slow, may be kept; ?max-age=SECONDS\n\
/price/ID   never kept\n\
/me   private\n\
/fail?status=503   fails\n\
/hang   never answers\n\
/drip?seconds=10   ten drops a second\n\
/events   an event a second, for ever\n\
/outage?seconds=10   everything fails for a while";

impl Service<Request<Incoming>> for Demo {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

/// An id as it may stand in a field, in JSON and in a tag.
fn shown(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).collect()
}

fn query(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn number(query: &HashMap<String, String>, name: &str, default: u64) -> u64 {
    query.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Whether an `If-None-Match` names the validator, by weak comparison.
fn names(list: &HeaderValue, etag: &str) -> bool {
    list.to_str().is_ok_and(|list| {
        list.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
    })
}

fn text(status: StatusCode, text: &str) -> Answer {
    plain(status, text).map(Either::Left)
}

fn json(content: String, cache_control: &str) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(content + "\n")));
    set(&mut answer, header::CONTENT_TYPE, "application/json");
    set(&mut answer, header::CACHE_CONTROL, cache_control);
    answer
}

fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

fn ticking(
    kind: &str,
    cache_control: &str,
    every: Duration,
    left: Option<u64>,
    line: fn(u64) -> String,
) -> Answer {
    let body = Ticking { ticks: interval(every), sent: 0, end: left, line };
    let mut answer = Response::new(Either::Right(body));
    set(&mut answer, header::CONTENT_TYPE, kind);
    set(&mut answer, header::CACHE_CONTROL, cache_control);
    answer
}

fn drop_of(count: u64) -> String {
    format!("drop {count}\n")
}

fn event(count: u64) -> String {
    format!("id: {count}\ndata: {{\"count\":{count}}}\n\n")
}

/// A body that says a line at every tick.
pub(crate) struct Ticking {
    ticks: Interval,
    sent: u64,
    end: Option<u64>,
    line: fn(u64) -> String,
}

impl Body for Ticking {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.end == Some(self.sent) {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(cx));
        self.sent += 1;
        let line = (self.line)(self.sent);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(line)))))
    }
}
