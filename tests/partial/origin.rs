//! An origin that knows ranges and conditions, notes what it was asked, and answers out of turn where
//! it is told to; and a cache before it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{Empty, Full, combinators::UnsyncBoxBody};
use seawall::{
    BoxError, Cache, CacheLayer, Profile, UriKey,
    cache::{Again, CacheBuilder},
};
use tokio::{
    task::yield_now,
    time::{advance, sleep},
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};

use crate::support::{
    BoxedOrigin, Read, Req, answer_status, boxed, cache_builder, call, get, with,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const DIGITS: &str = "0123456789";
pub(crate) const V1: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("etag", "\"v1\"")];
pub(crate) const V2: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("etag", "\"v2\"")];

pub(crate) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Service = BoxCloneService<Req, Response<AnyBody>, BoxError>;
type Answer = Result<Response<AnyBody>, BoxError>;

/// What the origin was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) fields: HeaderMap,
    /// What somebody above has put beside it.
    pub(crate) beside: Option<u32>,
}

impl Asked {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().unwrap())
    }

    /// `Range` and `If-Range`.
    pub(crate) fn range(&self) -> (Option<&str>, Option<&str>) {
        (self.field("range"), self.field("if-range"))
    }
}

pub(crate) struct State {
    pub(crate) content: Bytes,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) asked: Vec<Asked>,
    next: VecDeque<Answer>,
}

#[derive(Clone)]
pub(crate) struct Origin(Arc<Mutex<State>>);

impl Origin {
    fn new() -> Self {
        let (content, fields) = (Bytes::from(DIGITS), Vec::new());
        let state = State { content, fields, asked: Vec::new(), next: VecDeque::new() };
        let this = Self(Arc::new(Mutex::new(state)));
        this.says(V1);
        this
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The fields of its answers from now on.
    pub(crate) fn says(&self, fields: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.state().fields = fields.iter().map(owned).collect();
    }

    /// It has other content from now on.
    pub(crate) fn has(&self, content: impl Into<Bytes>, fields: &[(&str, &str)]) {
        self.state().content = content.into();
        self.says(fields);
    }

    /// What it answers to the next request, whatever that asks.
    pub(crate) fn next(&self, answer: Answer) {
        self.state().next.push_back(answer);
    }

    pub(crate) fn calls(&self) -> usize {
        self.state().asked.len()
    }

    /// What it was asked last.
    pub(crate) fn last(&self) -> Asked {
        self.state().asked.last().unwrap().clone()
    }

    /// Every call takes a second, and is answered with what is there when it begins.
    fn service(&self) -> BoxedOrigin<AnyBody> {
        let this = self.clone();
        BoxCloneService::new(service_fn(move |request: Req| {
            let answer = this.answer(&request);
            async move {
                sleep(SECOND).await;
                answer
            }
        }))
    }

    fn answer(&self, request: &Req) -> Answer {
        let state = &mut *self.state();
        let (method, fields) = (request.method().clone(), request.headers().clone());
        let beside = request.extensions().get().copied();
        let asked = Asked { method, fields, beside };
        state.asked.push(asked.clone());
        state.next.pop_front().unwrap_or_else(|| Ok(state.answer(&asked)))
    }
}

impl State {
    fn answer(&self, asked: &Asked) -> Response<AnyBody> {
        let fields: Vec<_> = self.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let tag = fields.iter().find(|(name, _)| *name == "etag").map(|(_, tag)| *tag);
        let total = self.content.len();
        if asked.method == Method::HEAD {
            return scripted(200, &[&fields[..], &[("content-length", &total.to_string())]], "");
        }
        if tag.is_some() && asked.field("if-none-match") == tag {
            return scripted(304, &[&fields], "");
        }
        let holds = asked.field("if-range").is_none_or(|asked| Some(asked) == tag);
        let Some(range) =
            asked.field("range").filter(|_| holds).and_then(|range| parsed(range, total))
        else {
            return scripted(200, &[&fields], self.content.clone());
        };
        let (first, last) = range;
        if first >= total {
            return scripted(416, &[&[("content-range", &*format!("bytes */{total}"))]], "");
        }
        let said = format!("bytes {first}-{last}/{total}");
        scripted(
            206,
            &[&fields[..], &[("content-range", &*said)]],
            self.content.slice(first..=last),
        )
    }
}

/// The one range that is asked for, as its first and last byte.
fn parsed(range: &str, total: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let length: usize = last.parse().ok()?;
        return Some((total.saturating_sub(length), total - 1));
    }
    let last = if last.is_empty() { total - 1 } else { last.parse().ok()? };
    Some((first.parse().ok()?, last.min(total - 1)))
}

/// An answer with these fields.
pub(crate) fn scripted(
    status: u16,
    fields: &[&[(&str, &str)]],
    body: impl Into<Bytes>,
) -> Response<AnyBody> {
    answer_status(status, &fields.concat(), body).map(|body: Full<Bytes>| boxed(body))
}

/// A cache over an origin.
pub(crate) struct World {
    pub(crate) origin: Origin,
    pub(crate) cache: Cache,
    pub(crate) service: Service,
}

impl World {
    /// As a reverse proxy has it, and able to ask a second time.
    pub(crate) fn new() -> Self {
        Self::with(Profile::reverse_proxy())
    }

    pub(crate) fn with(profile: Profile) -> Self {
        Self::over(cache_builder(), profile)
    }

    pub(crate) fn over(builder: CacheBuilder, profile: Profile) -> Self {
        let (origin, cache) = (Origin::new(), builder.build());
        let key = Again::new(UriKey::new(), Empty::<Bytes>::new);
        let layer = CacheLayer::new(cache.clone()).policy(profile).key(key);
        let service = erased(layer.layer(origin.service()));
        Self { origin, cache, service }
    }

    /// One that can ask only once.
    pub(crate) fn once(profile: Profile) -> Self {
        let (origin, cache) = (Origin::new(), cache_builder().build());
        let layer = CacheLayer::new(cache.clone()).policy(profile);
        let service = erased(layer.layer(origin.service()));
        Self { origin, cache, service }
    }

    /// What is answered; what is to be stored has been.
    pub(crate) async fn ask(&mut self, request: Req) -> Read {
        self.try_ask(request).await.unwrap()
    }

    pub(crate) async fn try_ask(&mut self, request: Req) -> Result<Read, BoxError> {
        let read = call(&mut self.service, request).await;
        settled().await;
        read
    }

    pub(crate) async fn get(&mut self) -> Read {
        self.ask(get("/")).await
    }

    /// Asks for bytes, as `0-4`.
    pub(crate) async fn range(&mut self, range: &str) -> Read {
        self.ask(ranged(range)).await
    }

    /// Whether what is stored answers a request for these bytes; nothing of that is stored.
    pub(crate) async fn holds(&mut self, range: &str) -> bool {
        let request = with(ranged(range), "cache-control", "only-if-cached");
        self.try_ask(request).await.is_ok()
    }

    /// Whether what is stored answers a plain GET.
    pub(crate) async fn holds_all(&mut self) -> bool {
        self.try_ask(with(get("/"), "cache-control", "only-if-cached")).await.is_ok()
    }

    pub(crate) fn calls(&self) -> usize {
        self.origin.calls()
    }
}

pub(crate) fn ranged(range: &str) -> Req {
    with(get("/"), "range", &format!("bytes={range}"))
}

/// A request with another method, for `/`.
pub(crate) fn requested(method: &str) -> Req {
    Request::builder().method(method).uri("http://example.com/").body(Empty::new()).unwrap()
}

fn erased<S, B>(service: S) -> Service
where
    S: tower::Service<Req, Response = Response<B>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    BoxCloneService::new(service.map_response(|answer| answer.map(boxed)).map_err(Into::into))
}

/// Until nothing moves by itself any more.
pub(crate) async fn settled() {
    for _ in 0..50 {
        yield_now().await;
    }
}

pub(crate) async fn later(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

/// Status, `Content-Range` and body.
pub(crate) fn part(read: &Read) -> (u16, Option<&str>, &str) {
    (read.status(), read.field("content-range"), read.text())
}

pub(crate) fn assert_whole(read: &Read, body: &str) {
    assert_eq!(part(read), (200, None, body));
    let length = read.field("content-length").map(|length| length.parse().unwrap());
    assert!(length.is_none_or(|length: usize| length == body.len()), "{length:?}");
}
