//! Errors become responses: the outermost layer.
//!
//! | error | HTTP | gRPC |
//! |---|---|---|
//! | [`Rejected`] | 503, `Retry-After` in whole seconds, rounded up, at least 1 | 14, `grpc-retry-pushback-ms` |
//! | [`Rejected`] for a quota | 429, `Retry-After` | 8, `grpc-retry-pushback-ms` |
//! | [`Rejected`] for `only-if-cached` | 504 | 14 |
//! | a timeout: [`FetchError::Deadline`], tower's or tokio's `Elapsed` | 504 | 4 |
//! | [`FetchError::Status`] of 500 and above | that status | 14, for 504 4 |
//! | a body over its limit (`LengthLimitError`) | 413 | 8 |
//! | anything else | 502 | 14 |
//!
//! Every 503 and 429 has a `Retry-After`, of one second where nothing better is known. A gRPC request is
//! one whose `Content-Type` is gRPC's; it is answered with 200 and trailers alone.
//! What an error says stays inside: a client sees the status and its name. What stands above this
//! layer finds a [`Rejected`] in the extensions of the response.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::LengthLimitError;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    error::{BoxError, FetchError, Reason, Rejected},
    grpc,
};

/// Turns every error of the inner service into a response: its own error is [`Infallible`].
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use seawall::{BoxError, RespondLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let broken = service_fn(|_: Request<()>| async {
///     Err::<Response<String>, BoxError>("connection refused".into())
/// });
/// let service = ServiceBuilder::new().layer(RespondLayer::new()).service(broken);
/// let response = service.oneshot(Request::new(())).await.unwrap();
/// assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
/// # }
/// ```
#[derive(Clone, Default)]
pub struct RespondLayer {
    status: Option<Arc<Statuses>>,
}

/// The status that a caller of ours knows an error by.
type Statuses = dyn Fn(&(dyn Error + 'static)) -> Option<StatusCode> + Send + Sync;

impl RespondLayer {
    /// A layer with the table of this [module](self).
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the status of errors of your own. Each error along the chain of sources is asked about;
    /// the table decides where none has an answer.
    #[must_use]
    pub fn status(
        mut self,
        status: impl Fn(&(dyn Error + 'static)) -> Option<StatusCode> + Send + Sync + 'static,
    ) -> Self {
        self.status = Some(Arc::new(status));
        self
    }
}

impl fmt::Debug for RespondLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RespondLayer").field("own", &self.status.is_some()).finish()
    }
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Respond<S> {
        Respond { inner, layer: self.clone(), failed: None }
    }
}

/// The service of [`RespondLayer`]. What the inner service fails with while it is polled for readiness
/// is answered by the next call.
///
/// ```
/// # use http::{Request, Response, StatusCode};
/// # use seawall::{BoxError, FetchError, RespondLayer};
/// # use tower::{Layer, ServiceExt, service_fn};
/// use seawall::respond::Respond;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let slow = service_fn(|_: Request<()>| async {
///     Err::<Response<String>, BoxError>(FetchError::Deadline.into())
/// });
/// let service: Respond<_> = RespondLayer::new().layer(slow);
/// let Ok(response) = service.oneshot(Request::new(())).await; // there is no `Err`
/// assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
/// # }
/// ```
pub struct Respond<S> {
    inner: S,
    layer: RespondLayer,
    /// The inner service failed while it was polled for readiness: the next call answers for it.
    failed: Option<BoxError>,
}

impl<S, B, R> Service<Request<B>> for Respond<S>
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>>,
    R: Body<Data = Bytes>,
{
    type Response = Response<RespondBody<R>>;
    type Error = Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.failed.is_none()
            && let Err(error) = ready!(self.inner.poll_ready(cx))
        {
            self.failed = Some(error.into());
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let layer = self.layer.clone();
        let grpc = grpc::is_grpc(request.headers());
        match self.failed.take() {
            Some(error) => {
                RespondFuture { answer: Answer::Failed { error: Some(error) }, layer, grpc }
            }
            None => {
                let future = self.inner.call(request);
                RespondFuture { answer: Answer::Called { future }, layer, grpc }
            }
        }
    }
}

/// What the inner service failed with belongs to the instance that it failed on.
impl<S: Clone> Clone for Respond<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone(), failed: None }
    }
}

impl<S: fmt::Debug> fmt::Debug for Respond<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond").field("inner", &self.inner).finish_non_exhaustive()
    }
}

pin_project! {
    /// The response of a [`Respond`].
    ///
    /// ```
    /// # use http::{Request, Response};
    /// # use seawall::{BoxError, FetchError, RespondLayer};
    /// # use tower::{Layer, Service, service_fn};
    /// use seawall::respond::RespondFuture;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// # let slow = service_fn(|_: Request<()>| async {
    /// #     Err::<Response<String>, BoxError>(FetchError::Deadline.into())
    /// # });
    /// # let mut service = RespondLayer::new().layer(slow);
    /// let request = Request::post("/").header("content-type", "application/grpc").body(())?;
    /// let response: RespondFuture<_> = service.call(request);
    /// let Ok(response) = response.await;
    /// assert_eq!(response.headers()["grpc-status"], "4"); // deadline exceeded
    /// # Ok(()) }
    /// ```
    #[derive(Debug)]
    pub struct RespondFuture<F> {
        #[pin]
        answer: Answer<F>,
        layer: RespondLayer,
        grpc: bool,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = AnswerOf]
    enum Answer<F> {
        Called { #[pin] future: F },
        Failed { error: Option<BoxError> },
    }
}

impl<F, R, E> Future for RespondFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<RespondBody<R>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let error = match this.answer.project() {
            AnswerOf::Called { future } => match ready!(future.poll(cx)) {
                Ok(response) => {
                    return Poll::Ready(Ok(response.map(RespondBody::inner)));
                }
                Err(error) => error.into(),
            },
            AnswerOf::Failed { error } => error.take().expect("polled after completion"),
        };
        Poll::Ready(Ok(this.layer.respond(&*error, *this.grpc)))
    }
}

impl RespondLayer {
    fn respond<R>(&self, error: &(dyn Error + 'static), grpc: bool) -> Response<RespondBody<R>> {
        let status = self.status_of(error);
        let rejected = Rejected::find(error);
        let wait = rejected.and_then(Rejected::wait);
        let mut response = if grpc { trailers_only(status, wait) } else { plain(status, wait) };
        if let Some(rejected) = rejected {
            response.extensions_mut().insert(rejected.clone());
        }
        response
    }

    fn status_of(&self, error: &(dyn Error + 'static)) -> StatusCode {
        let mut next = Some(error);
        while let Some(error) = next {
            let own = self.status.as_ref().and_then(|own| own(error));
            if let Some(status) = own.or_else(|| known(error)) {
                return status;
            }
            next = error.source();
        }
        StatusCode::BAD_GATEWAY
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<StatusCode> {
    if let Some(rejected) = error.downcast_ref::<Rejected>() {
        return Some(match rejected.reason() {
            Reason::OnlyIfCached => StatusCode::GATEWAY_TIMEOUT,
            Reason::OverQuota => StatusCode::TOO_MANY_REQUESTS,
            Reason::Failing | Reason::CircuitOpen | Reason::Shed => StatusCode::SERVICE_UNAVAILABLE,
        });
    }
    match error.downcast_ref() {
        Some(FetchError::Deadline) => return Some(StatusCode::GATEWAY_TIMEOUT),
        Some(FetchError::Status(status)) if status.is_server_error() => return Some(*status),
        _ => {}
    }
    if error.is::<tower::timeout::error::Elapsed>() || error.is::<tokio::time::error::Elapsed>() {
        return Some(StatusCode::GATEWAY_TIMEOUT);
    }
    error.is::<LengthLimitError>().then_some(StatusCode::PAYLOAD_TOO_LARGE)
}

/// `Retry-After` has whole seconds, and 0 would mean at once.
fn whole_seconds(wait: Option<Duration>) -> u64 {
    let wait = wait.unwrap_or(Duration::from_secs(1));
    let up = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(up).max(1)
}

/// The HTTP way to fail: a status, and its name.
fn plain<R>(status: StatusCode, wait: Option<Duration>) -> Response<RespondBody<R>> {
    let reason = status.canonical_reason().unwrap_or("error");
    let text = Bytes::from(format!("{} {reason}\n", status.as_u16()));
    let mut response = Response::new(RespondBody::words(text));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        fields.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    response
}

/// The gRPC way to fail: no body, the status among the header fields.
fn trailers_only<R>(status: StatusCode, wait: Option<Duration>) -> Response<RespondBody<R>> {
    let (code, message) = match status {
        StatusCode::GATEWAY_TIMEOUT => ("4", "deadline exceeded"),
        StatusCode::PAYLOAD_TOO_LARGE => ("8", "too large"),
        StatusCode::TOO_MANY_REQUESTS => ("8", "too many requests"),
        _ => ("14", "unavailable"),
    };
    let mut response = Response::new(RespondBody::words(Bytes::new()));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert("grpc-status", HeaderValue::from_static(code));
    fields.insert("grpc-message", HeaderValue::from_static(message));
    if let Some(wait) = wait {
        // Rounded up: a pushback of 0 would mean at once.
        let wait = u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        fields.insert("grpc-retry-pushback-ms", HeaderValue::from(wait));
    }
    response
}

pin_project! {
    /// The inner service's body, or the few words of an error.
    ///
    /// ```
    /// # use http::{Request, Response};
    /// # use http_body_util::BodyExt;
    /// # use seawall::{BoxError, RespondLayer};
    /// # use tower::{Layer, ServiceExt, service_fn};
    /// use seawall::respond::RespondBody;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// # let broken = service_fn(|_: Request<()>| async {
    /// #     Err::<Response<String>, BoxError>("10.0.0.7 refused the connection".into())
    /// # });
    /// let Ok(response) = RespondLayer::new().layer(broken).oneshot(Request::new(())).await;
    /// let body: RespondBody<String> = response.into_body();
    /// assert_eq!(body.collect().await?.to_bytes(), "502 Bad Gateway\n"); // and not why
    /// # Ok(()) }
    /// ```
    #[derive(Debug)]
    pub struct RespondBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindOf]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Words { words: Bytes },
    }
}

impl<B> RespondBody<B> {
    fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    fn words(words: Bytes) -> Self {
        Self { kind: Kind::Words { words } }
    }
}

impl<B: Body<Data = Bytes>> Body for RespondBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindOf::Inner { body } => body.poll_frame(cx),
            KindOf::Words { words } if words.is_empty() => Poll::Ready(None),
            KindOf::Words { words } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(words))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Words { words } => words.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Words { words } => SizeHint::with_exact(words.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SharedError;

    #[test]
    fn a_wait_is_rounded_up_and_never_zero() {
        for (millis, seconds) in [(0, 1), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (90_500, 91)] {
            assert_eq!(whole_seconds(Some(Duration::from_millis(millis))), seconds, "{millis}");
        }
        assert_eq!(whole_seconds(None), 1);
        assert_eq!(whole_seconds(Some(Duration::MAX)), u64::MAX);
    }

    #[test]
    fn each_error_has_its_status_however_deep_it_lies() {
        let elapsed = || tower::timeout::error::Elapsed::new();
        let table: [(BoxError, u16); 5] = [
            (Rejected::new(Reason::OnlyIfCached).into(), 504),
            (FetchError::Deadline.into(), 504),
            (elapsed().into(), 504),
            (FetchError::Status(StatusCode::SERVICE_UNAVAILABLE).into(), 503),
            ("refused".into(), 502),
        ];
        for (error, status) in table {
            let shared = SharedError::new(error);
            assert_eq!(RespondLayer::new().status_of(&shared).as_u16(), status, "{shared:?}");
        }
    }

    #[test]
    fn an_own_status_goes_before_the_table() {
        let layer = RespondLayer::new()
            .status(|error| error.is::<FetchError>().then_some(StatusCode::IM_A_TEAPOT));
        let error = SharedError::new(FetchError::Deadline.into());
        assert_eq!(layer.status_of(&error), StatusCode::IM_A_TEAPOT);
    }

    #[test]
    fn grpc_gets_trailers_alone() {
        let response: Response<RespondBody<String>> =
            RespondLayer::new().respond(&FetchError::Deadline, true);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "4");
        assert!(response.body().is_end_stream());
    }
}
