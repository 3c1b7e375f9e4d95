//! How a gRPC call went: its status is in the trailers, or in the head where there is nothing else.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;

use super::{
    Classify, Outcome, Permit, PermitBody, Settle,
    body::AtEnd,
    classify::{held, is_unrelated, mark},
    rules::Rules,
};
use crate::{
    error::{BoxError, Rejected},
    fallback::Fallback,
    grpc,
};

/// By the `grpc-status` of the answer, for services that serve nothing but gRPC: it is read from the
/// trailers, to which the permit is held, or from the head of an answer without a body.
///
/// | status | outcome |
/// |---|---|
/// | 2 unknown, 13 internal, 15 data loss | failure |
/// | 14 unavailable | failure; with `grpc-retry-pushback-ms` overload, and the breaker heeds it |
/// | 4 deadline exceeded | overload |
/// | 8 resource exhausted | throttled |
/// | 1 cancelled | unrelated |
/// | any other | success, also where it is the caller's fault |
/// | none at all, no 200, or no gRPC | failure |
///
/// Of `application/grpc-web`, which has its trailers within the body, only the head is read: where it says
/// nothing, the call says nothing.
/// [`ByStatus`](super::ByStatus) does the same for answers whose `Content-Type` is gRPC's.
///
/// Around a client, put a [`RespondLayer`](crate::RespondLayer) above: it makes a refusal the status
/// `UNAVAILABLE`, where the client's library would know no better than `UNKNOWN`.
///
/// ```
/// use http::{Request, Response};
/// use seawall::{BoxError, CircuitBreakerLayer, admission::ByGrpcStatus, circuit_breaker::State};
/// use tower::{Layer, Service, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// let layer = CircuitBreakerLayer::new().classify(ByGrpcStatus::new());
/// let mut service = layer.layer(service_fn(|_: Request<()>| async {
///     let unavailable = Response::builder().header("content-type", "application/grpc");
///     unavailable.header("grpc-status", "14").body(String::new())
/// }));
/// for _ in 0..20 {
///     service.call(Request::new(())).await?; // a 200, by HTTP
/// }
/// assert_eq!(layer.breaker().state(), State::Open);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ByGrpcStatus {
    rules: Rules,
}

impl ByGrpcStatus {
    /// The table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`ByStatus::error`](super::ByStatus::error).
    #[must_use]
    pub fn error(
        mut self,
        outcome: impl Fn(&(dyn Error + 'static)) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        self.rules.error(outcome);
        self
    }
}

/// What of a gRPC answer is known at its head.
pub(super) fn at_end(fields: &HeaderMap) -> AtEnd {
    match of(fields) {
        Some(outcome) => AtEnd::Known(outcome),
        None if grpc::is_native(fields) => AtEnd::Trailers,
        // For browsers, the trailers are somewhere in the body, where nobody looks.
        None => AtEnd::Known(Outcome::Unrelated),
    }
}

/// What these fields, of a head or of trailers, say of the call.
pub(super) fn of(fields: &HeaderMap) -> Option<Outcome> {
    Some(match grpc::status(fields)? {
        grpc::UNAVAILABLE if grpc::pushback(fields).is_some() => Outcome::Overload,
        grpc::UNKNOWN | grpc::INTERNAL | grpc::UNAVAILABLE | grpc::DATA_LOSS => Outcome::Failure,
        grpc::DEADLINE_EXCEEDED => Outcome::Overload,
        grpc::RESOURCE_EXHAUSTED => Outcome::Throttled,
        grpc::CANCELLED => Outcome::Unrelated,
        _ => Outcome::Success,
    })
}

impl<B, R> Classify<Request<B>, Response<R>> for ByGrpcStatus
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
        } else if answer.status() == StatusCode::OK && grpc::is_grpc(answer.headers()) {
            at_end(answer.headers())
        } else {
            AtEnd::Known(Outcome::Failure)
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

/// A [`Classify`] of HTTP answers, to which a fallback can be given. Sealed.
#[allow(unreachable_pub, reason = "it bounds what is public, and is nobody else's to implement")]
pub trait FallsBack {
    fn fall_back_to(&mut self, fallback: Fallback);
}

impl FallsBack for ByGrpcStatus {
    fn fall_back_to(&mut self, fallback: Fallback) {
        self.rules.fallback(fallback);
    }
}

impl FallsBack for super::ByStatus {
    fn fall_back_to(&mut self, fallback: Fallback) {
        self.rules.fallback(fallback);
    }
}
