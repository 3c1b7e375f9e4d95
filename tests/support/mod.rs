//! What the tests share: the one place that makes a store, counting origins, requests.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, response::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use seawall::{BoxError, Cache, cache::CacheBuilder, store::Memory};
use tokio::task::JoinHandle;
use tower::{Service, service_fn, util::BoxCloneService};

pub mod bodies;
pub mod fault_proxy;
pub mod servers;
pub mod sockets;

/// The store that the whole suite runs against.
pub fn store() -> Memory {
    Memory::default()
}

/// A cache over [`store`].
pub fn cache() -> Cache {
    Cache::new(store())
}

/// The builder of a cache over [`store`].
pub fn cache_builder() -> CacheBuilder {
    Cache::builder(store())
}

pub type Req = Request<Empty<Bytes>>;
pub type Res = Response<Full<Bytes>>;

/// Counts the calls that an origin got.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<AtomicUsize>);

impl Calls {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

pub type BoxedOrigin<B = Full<Bytes>> = BoxCloneService<Req, Response<B>, BoxError>;

/// An origin that counts its calls; `answer` gets the number of the call, from 0, and the request.
pub fn origin<F, Fut, B>(answer: F) -> (Calls, BoxedOrigin<B>)
where
    F: Fn(usize, Req) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
    B: 'static,
{
    let calls = Calls::default();
    let counted = calls.clone();
    let service = service_fn(move |request: Req| answer(counted.add(), request));
    (calls, BoxCloneService::new(service))
}

pub fn get(path: &str) -> Req {
    Request::get(format!("http://example.com{path}")).body(Empty::new()).unwrap()
}

pub fn with(mut request: Req, name: &'static str, value: &str) -> Req {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

pub fn head(path: &str) -> Req {
    Request::head(format!("http://example.com{path}")).body(Empty::new()).unwrap()
}

/// A 200 with these fields.
pub fn answer(fields: &[(&str, &str)], body: impl Into<Bytes>) -> Res {
    answer_status(200, fields, body)
}

pub fn answer_status(status: u16, fields: &[(&str, &str)], body: impl Into<Bytes>) -> Res {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        let name: http::HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// A 200 with these fields and a body that comes in steps.
pub fn streamed(fields: &[(&str, &str)], body: bodies::Steps) -> Response<bodies::Steps> {
    let (parts, _) = answer(fields, "").into_parts();
    Response::from_parts(parts, body)
}

/// A response read to its end.
#[derive(Debug)]
pub struct Read {
    pub parts: Parts,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Read {
    pub fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The one `Cache-Status`, without the name of the cache.
    pub fn cache_status(&self) -> &str {
        let mut all = self.parts.headers.get_all("cache-status").iter();
        let (one, none) = (all.next(), all.next());
        assert!(none.is_none(), "more than one line");
        one.map_or("", |value| value.to_str().unwrap().strip_prefix("seawall; ").unwrap())
    }
}

pub async fn read<B>(response: Response<B>) -> Result<Read, BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.map_err(Into::into)?;
    let trailers = collected.trailers().cloned();
    Ok(Read { parts, body: collected.to_bytes(), trailers })
}

/// Calls a service that is ready, and reads the answer.
pub async fn call<S, B>(service: &mut S, request: Req) -> Result<Read, BoxError>
where
    S: Service<Req, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    read(service.call(request).await.map_err(Into::into)?).await
}

/// Calls in a task of its own, and reads the answer there.
pub fn asked<S, B>(service: &S, request: Req) -> JoinHandle<Result<Read, BoxError>>
where
    S: Service<Req, Response = Response<B>, Error: Into<BoxError> + Send, Future: Send>,
    S: Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    let mut service = service.clone();
    tokio::spawn(async move { call(&mut service, request).await })
}

/// Makes all calls at once, each in a task of its own, and reads all answers.
pub async fn at_once<S, B>(
    service: &S,
    requests: impl IntoIterator<Item = Req>,
) -> Vec<Result<Read, BoxError>>
where
    S: Service<Req, Response = Response<B>, Error: Into<BoxError> + Send, Future: Send>,
    S: Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    let callers: Vec<_> = requests.into_iter().map(|request| asked(service, request)).collect();
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(caller.await.unwrap());
    }
    answers
}

/// Any body as a boxed one.
pub fn boxed<B>(body: B) -> http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    body.map_err(Into::into).boxed_unsync()
}

pub fn never<T>(never: Result<T, Infallible>) -> T {
    never.unwrap_or_else(|never| match never {})
}
