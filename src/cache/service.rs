//! The service of every layer over the cache engine, and what it asks of the inner one.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tower_service::Service;

use super::{
    body::Body,
    engine::Engine,
    request_key::{RequestKey, UriKey},
};
use crate::error::BoxError;

/// All that the engine asks of the inner service.
///
/// It is no trait to implement: every cloneable service from `Request<B>` to a response with a body of
/// [`Bytes`] is one. Name it in what is generic over the inner service.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, CacheLayer, store::Memory};
/// # use tower::{Layer, ServiceExt, service_fn};
/// use seawall::cache::{CacheService, Origin};
///
/// fn cached<S: Origin<Empty<Bytes>>>(origin: S) -> CacheService<S> {
///     CacheLayer::new(Memory::default()).layer(origin)
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
///
/// let origin = service_fn(|_: Request<Empty<Bytes>>| async {
///     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("a page")))
/// });
/// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
/// assert_eq!(cached(origin).oneshot(request).await?.status(), 200);
/// # Ok(()) }
/// ```
pub trait Origin<B>: Clone + Send + 'static {
    /// The body of its answers.
    type Body: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Makes one call, once the service is ready for it.
    fn send(
        self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Self::Body>, BoxError>> + Send;
}

impl<S, B, R> Origin<B> for S
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    B: Send + 'static,
{
    type Body = R;

    async fn send(mut self, request: Request<B>) -> Result<Response<R>, BoxError> {
        poll_fn(|cx| self.poll_ready(cx)).await.map_err(Into::into)?;
        self.call(request).await.map_err(Into::into)
    }
}

/// The service of [`CacheLayer`](crate::CacheLayer) and [`CoalesceLayer`](crate::CoalesceLayer).
///
/// It is always ready: a hit owes the inner service nothing. A call that does need it polls a clone
/// until that is ready, and calls that clone.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, CacheLayer, cache::CacheService, store::Memory};
/// # use tower::{Layer, ServiceExt, limit::ConcurrencyLimit, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("a page")))
/// # });
/// let busy = ConcurrencyLimit::new(origin, 0); // never ready
/// let mut service: CacheService<_> = CacheLayer::new(Memory::default()).layer(busy);
/// ServiceExt::<Request<Empty<Bytes>>>::ready(&mut service).await?;
/// # Ok(()) }
/// ```
pub struct CacheService<S, K = UriKey> {
    inner: S,
    engine: Arc<Engine<K>>,
}

impl<S, K> CacheService<S, K> {
    pub(crate) fn new(inner: S, engine: Engine<K>) -> Self {
        Self { inner, engine: Arc::new(engine) }
    }
}

impl<S, K, B> Service<Request<B>> for CacheService<S, K>
where
    S: Origin<B>,
    K: RequestKey<B>,
    B: Send + 'static,
{
    type Response = Response<Body<S::Body>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Body>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture(self.engine.call(&self.inner, request, None))
    }
}

/// A clone carries no readiness: there is none to carry.
impl<S: Clone, K> Clone for CacheService<S, K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), engine: Arc::clone(&self.engine) }
    }
}

impl<S: fmt::Debug, K: fmt::Debug> fmt::Debug for CacheService<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheService")
            .field("inner", &self.inner)
            .field("engine", &self.engine)
            .finish()
    }
}

/// The answer of a [`CacheService`]: there already, or fetched.
///
/// Dropping it, even the first, harms no other caller.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, CacheLayer, store::Memory};
/// # use tower::{Layer, Service, service_fn};
/// use seawall::cache::ResponseFuture;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("a page")))
/// # });
/// # let mut service = CacheLayer::new(Memory::default()).layer(origin);
/// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
/// let answer: ResponseFuture<Full<Bytes>> = service.call(request);
/// assert_eq!(answer.await?.status(), 200);
/// # Ok(()) }
/// ```
pub struct ResponseFuture<B>(pub(super) Answering<B>);

/// A hit is there when `call` returns; all else is boxed once.
pub(super) enum Answering<B> {
    Ready(Option<Result<Response<Body<B>>, BoxError>>),
    Fetching(Fetching<B>),
}

type Fetching<B> = Pin<Box<dyn Future<Output = Result<Response<Body<B>>, BoxError>> + Send>>;

// Nothing in it is pinned in place: the box is, wherever it lies.
impl<B> Unpin for ResponseFuture<B> {}

impl<B> Future for ResponseFuture<B> {
    type Output = Result<Response<Body<B>>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Answering::Ready(answer) => {
                Poll::Ready(answer.take().expect("polled after completion"))
            }
            Answering::Fetching(future) => future.as_mut().poll(cx),
        }
    }
}

impl<B> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Answering::Ready(_) => "ResponseFuture(ready)",
            Answering::Fetching(_) => "ResponseFuture(fetching)",
        })
    }
}
