//! Says how a call went, and holds its permit until that is known.

use std::error::Error;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;

use super::{
    Outcome, Permit, Settle,
    body::{AtEnd, PermitBody},
    grpc_status,
    rules::{Rules, asks_to_wait},
};
use crate::{
    error::{BoxError, Rejected},
    grpc,
    marks::{self, Served, Source},
};

/// Says how a call went: `Req` is what was asked, `Res` the inner service's answer.
///
/// [`ByStatus`] is the default of every layer; [`ByGrpcStatus`](super::ByGrpcStatus) and [`ByError`]
/// are the others. One of your own settles the permit, or puts it into the answer: dropped, it says
/// that the caller has left.
///
/// ```
/// use seawall::{CircuitBreakerLayer, admission::{Classify, Outcome, Permit, Settle}};
/// use std::error::Error;
///
/// /// A look-up in which nothing found may mean that the index is gone.
/// #[derive(Clone)]
/// struct ByFound;
///
/// impl<Req> Classify<Req, Vec<u64>> for ByFound {
///     type Answer<T: Settle> = Vec<u64>;
///
///     fn answered<T: Settle>(&self, found: Vec<u64>, permit: Permit<T>) -> Vec<u64> {
///         permit.settle(if found.is_empty() { Outcome::Failure } else { Outcome::Success });
///         found
///     }
///
///     fn failed(&self, _: &(dyn Error + Send + Sync + 'static)) -> Outcome {
///         Outcome::Failure
///     }
/// }
///
/// let layer = CircuitBreakerLayer::new().classify(ByFound);
/// # let _ = layer;
/// ```
pub trait Classify<Req, Res>: Clone {
    /// The answer with its permit, where that is held to the end of the body.
    type Answer<T: Settle>;

    /// Takes the answer, and settles the permit: now, or when its body has ended.
    fn answered<T: Settle>(&self, answer: Res, permit: Permit<T>) -> Self::Answer<T>;

    /// How a call went that has no answer.
    fn failed(&self, error: &(dyn Error + Send + Sync + 'static)) -> Outcome;

    /// Marks a request on its way to the inner service, and learns what it asks for.
    fn mark<T: Settle>(&self, request: &mut Req, permit: &mut Permit<T>) {
        let _ = (request, permit);
    }

    /// The answer instead of a refusal, if there is one.
    fn instead<T: Settle>(&self, request: &Req, rejected: &Rejected) -> Option<Self::Answer<T>> {
        let _ = (request, rejected);
        None
    }
}

/// By the status of the answer; of a gRPC answer, by its `grpc-status`. The permit is held to the end
/// of the body.
///
/// | answer | outcome |
/// |---|---|
/// | 5xx | failure |
/// | 503 with `Retry-After` | overload, and the breaker heeds it |
/// | 501, 505 | success: they speak of the request |
/// | 429 | throttled |
/// | any other | success, also where it is the caller's fault |
/// | a body that ends with any error, or is shorter than its `Content-Length` | failure |
/// | a deadline: [`FetchError::Deadline`](crate::FetchError::Deadline), tower's or tokio's `Elapsed` | overload |
/// | [`Rejected`], [`FetchError::Cancelled`](crate::FetchError::Cancelled), what a cache below has stored | unrelated |
/// | any other error | failure |
///
/// What a gRPC status is taken for is said at [`ByGrpcStatus`](super::ByGrpcStatus).
///
/// ```
/// use seawall::{LoadShedLayer, admission::{ByStatus, Outcome}};
/// use std::io;
///
/// // An error that is our client's fault says nothing of the origin.
/// let by_status = ByStatus::new().error(|error| {
///     let broken = error.downcast_ref::<io::Error>()?.kind() == io::ErrorKind::UnexpectedEof;
///     broken.then_some(Outcome::Unrelated)
/// });
/// let layer = LoadShedLayer::fixed(64).classify(by_status);
/// # let _ = layer;
/// ```
#[derive(Clone, Debug, Default)]
pub struct ByStatus {
    pub(super) rules: Rules,
}

impl ByStatus {
    /// The table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a status is taken for where it is not what the table says; `None` leaves it to the table.
    /// Not asked for gRPC.
    #[must_use]
    pub fn status(
        mut self,
        outcome: impl Fn(StatusCode) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        self.rules.of_status(outcome);
        self
    }

    /// What an error is taken for where it is not what the table says. Each error along the chain of
    /// sources is asked about, the outermost first; `None` leaves it to the table.
    #[must_use]
    pub fn error(
        mut self,
        outcome: impl Fn(&(dyn Error + 'static)) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        self.rules.error(outcome);
        self
    }
}

impl<B, R> Classify<Request<B>, Response<R>> for ByStatus
where
    R: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Answer<T: Settle> = Response<PermitBody<R, T>>;

    fn answered<T: Settle>(
        &self,
        answer: Response<R>,
        permit: Permit<T>,
    ) -> Response<PermitBody<R, T>> {
        let at_end = if is_unrelated(&answer) {
            AtEnd::Known(Outcome::Unrelated)
        } else if grpc::is_grpc(answer.headers()) && answer.status() == StatusCode::OK {
            grpc_status::at_end(answer.headers())
        } else {
            AtEnd::Known(self.rules.status(answer.status(), answer.headers()))
        };
        held(answer, permit, at_end)
    }

    fn failed(&self, error: &(dyn Error + Send + Sync + 'static)) -> Outcome {
        self.rules.failed(error)
    }

    fn mark<T: Settle>(&self, request: &mut Request<B>, permit: &mut Permit<T>) {
        mark(request, permit);
    }

    fn instead<T: Settle>(
        &self,
        request: &Request<B>,
        rejected: &Rejected,
    ) -> Option<Response<PermitBody<R, T>>> {
        self.rules.instead(request, rejected)
    }
}

pub(super) fn mark<B, T: Settle>(request: &mut Request<B>, permit: &mut Permit<T>) {
    marks::ask_whence(request.extensions_mut());
    if *request.method() == Method::HEAD {
        permit.asks_for_head_only();
    }
}

/// Hands an answer on with its permit, unless that has nothing to wait for.
pub(super) fn held<R, T>(
    answer: Response<R>,
    mut permit: Permit<T>,
    at_end: AtEnd,
) -> Response<PermitBody<R, T>>
where
    R: Body<Data = Bytes>,
    T: Settle,
{
    let known = at_end.known();
    if matches!(known, Some(Outcome::Failure | Outcome::Overload))
        && let Some(wait) = asks_to_wait(answer.headers())
    {
        permit.heed(wait);
    }
    permit.answered(known);
    let (parts, body) = answer.into_parts();
    let body = PermitBody::new(&parts, body, permit, at_end);
    Response::from_parts(parts, body)
}

/// Whether an answer says nothing of the origin.
pub(super) fn is_unrelated<R>(answer: &Response<R>) -> bool {
    let extensions = answer.extensions();
    extensions.get().is_some_and(|served: &Served| served.source() != Source::Origin)
        || extensions.get::<Rejected>().is_some()
}

/// By the result, for services of any kind: an error is what the table of [`ByStatus`] takes it for,
/// anything else a success.
///
/// ```
/// use seawall::{BoxError, CircuitBreakerLayer, admission::ByError, circuit_breaker::State};
/// use tower::{Layer, Service, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let layer = CircuitBreakerLayer::new().in_a_row(3, std::time::Duration::MAX).classify(ByError::new());
/// let mut service = layer.layer(service_fn(|name: &'static str| async move {
///     Err::<(), BoxError>(format!("{name} cannot be found").into())
/// }));
/// for _ in 0..3 {
///     service.call("example.com").await.unwrap_err();
/// }
/// assert_eq!(layer.breaker().state(), State::Open);
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ByError {
    rules: Rules,
}

impl ByError {
    /// Any error but those of the table is a failure.
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`ByStatus::error`].
    #[must_use]
    pub fn error(
        mut self,
        outcome: impl Fn(&(dyn Error + 'static)) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        self.rules.error(outcome);
        self
    }
}

impl<Req, Res> Classify<Req, Res> for ByError {
    type Answer<T: Settle> = Res;

    fn answered<T: Settle>(&self, answer: Res, permit: Permit<T>) -> Res {
        permit.settle(Outcome::Success);
        answer
    }

    fn failed(&self, error: &(dyn Error + Send + Sync + 'static)) -> Outcome {
        self.rules.failed(error)
    }
}
