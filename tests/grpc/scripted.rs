//! Calls and answers byte by byte, in one process and in time that stands still.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use seawall::{BoxError, CacheLayer, GrpcKey, cache::Message};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneService};

use crate::{
    shop::{FIND, MINUTE},
    support::{
        Calls, Read,
        bodies::{Step, Steps},
        boxed, read,
    },
};

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Key = GrpcKey<fn(Message<Body>) -> Body>;

pub(crate) fn key() -> Key {
    let key: Key = GrpcKey::new(boxed);
    key.method(FIND, MINUTE)
}

/// A message as it is sent, not compressed.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

/// A call of `Find` with this body.
pub(crate) fn call_of<B>(body: B) -> Request<Body>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let call = Request::post(format!("http://shop{FIND}"));
    let call = call.header("content-type", "application/grpc").header("te", "trailers");
    call.body(boxed(body)).unwrap()
}

pub(crate) fn call(message: &[u8]) -> Request<Body> {
    call_of(Full::new(framed(message)))
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(format!("http://shop{path}")).body(boxed(Empty::new())).unwrap()
}

pub(crate) fn with<B>(mut request: Request<B>, name: &'static str, value: &str) -> Request<B> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

pub(crate) fn trailers(fields: &[(&'static str, &str)]) -> Step {
    let mut trailers = HeaderMap::new();
    for (name, value) in fields {
        trailers.append(*name, value.parse().unwrap());
    }
    Step::Trailers(trailers)
}

/// What a good answer does.
pub(crate) fn good() -> Vec<Step> {
    vec![Step::Data(framed(b"a shoe")), trailers(&[("grpc-status", "0")])]
}

pub(crate) fn answer(
    fields: &[(&'static str, &str)],
    steps: impl IntoIterator<Item = Step>,
) -> Response<Steps> {
    let mut response = Response::new(Steps::new(steps));
    *response.version_mut() = http::Version::HTTP_2;
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    for (name, value) in fields {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

/// A request as an origin got it, or as far as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) error: Option<String>,
}

/// An origin that reads each request to its end.
#[derive(Clone, Default)]
pub(crate) struct Origin {
    pub(crate) calls: Calls,
    got: Arc<Mutex<Vec<Got>>>,
}

pub(crate) type Answers = BoxCloneService<Request<Body>, Response<Steps>, BoxError>;

impl Origin {
    /// Answers with what `answer` makes, which is told the number of the call.
    pub(crate) fn new(
        answer: impl Fn(usize) -> Response<Steps> + Clone + Send + 'static,
    ) -> (Self, Answers) {
        let this = Self::default();
        let noted = this.clone();
        let service = service_fn(move |request: Request<Body>| {
            let (this, answer) = (noted.clone(), answer.clone());
            async move {
                let call = this.calls.add();
                let (parts, mut body) = request.into_parts();
                let mut got =
                    Got { fields: parts.headers, body: Bytes::new(), trailers: None, error: None };
                while let Some(frame) = body.frame().await {
                    match frame.map(http_body::Frame::into_data) {
                        Ok(Ok(data)) => got.body = [got.body, data].concat().into(),
                        Ok(Err(frame)) => got.trailers = frame.into_trailers().ok(),
                        Err(error) => got.error = Some(error.to_string()),
                    }
                }
                this.got.lock().unwrap().push(got);
                Ok(answer(call))
            }
        });
        (this, BoxCloneService::new(service))
    }

    /// One whose answers are all good.
    pub(crate) fn good() -> (Self, Answers) {
        Self::new(|_| answer(&[], good()))
    }

    pub(crate) fn last(&self) -> Got {
        self.got.lock().unwrap().last().unwrap().clone()
    }
}

/// A service behind a layer with [`key`].
pub(crate) fn behind(
    cache: &seawall::Cache,
    origin: Answers,
) -> seawall::cache::CacheService<Answers, Key> {
    CacheLayer::new(cache.clone()).key(key()).layer(origin)
}

/// Calls, and reads the answer.
pub(crate) async fn ask<S, B>(service: &S, request: Request<Body>) -> Result<Read, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Clone,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    read(service.clone().oneshot(request).await?).await
}
