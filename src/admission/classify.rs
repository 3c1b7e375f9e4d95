//! Says how a call went, and holds its permit until that is known.

use std::{error::Error, fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::RETRY_AFTER};
use http_body::Body;

use super::{
    Outcome, Permit, Settle,
    body::{AtEnd, PermitBody},
    grpc_status,
};
use crate::{
    error::{BoxError, FetchError, Rejected},
    fallback::{Failed, Fallback},
    grpc,
    marks::{self, Served, Source},
    rfc9111::date,
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
/// | a deadline: [`FetchError::Deadline`], tower's or tokio's `Elapsed` | overload |
/// | [`Rejected`], [`FetchError::Cancelled`], what a cache below has stored | unrelated |
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

/// Where an owner decides otherwise: nowhere, as a rule.
#[derive(Clone, Default)]
pub(super) struct Rules(Option<Arc<Own>>);

#[derive(Clone, Default)]
struct Own {
    status: Option<Arc<OfStatus>>,
    error: Option<Arc<OfError>>,
    fallback: Option<Fallback>,
}

type OfStatus = dyn Fn(StatusCode) -> Option<Outcome> + Send + Sync;
type OfError = dyn Fn(&(dyn Error + 'static)) -> Option<Outcome> + Send + Sync;

impl Rules {
    fn own(&mut self) -> &mut Own {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    pub(super) fn error(
        &mut self,
        outcome: impl Fn(&(dyn Error + 'static)) -> Option<Outcome> + Send + Sync + 'static,
    ) {
        self.own().error = Some(Arc::new(outcome));
    }

    pub(super) fn fallback(&mut self, fallback: Fallback) {
        self.own().fallback = Some(fallback);
    }

    /// How a call went that ended with this error.
    pub(super) fn failed(&self, error: &(dyn Error + 'static)) -> Outcome {
        let own = self.0.as_ref().and_then(|own| own.error.as_ref());
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(outcome) = own.and_then(|own| own(error)).or_else(|| known(error)) {
                return outcome;
            }
            next = error.source();
        }
        Outcome::Failure
    }

    fn status(&self, status: StatusCode, fields: &HeaderMap) -> Outcome {
        let own = self.0.as_ref().and_then(|own| own.status.as_ref());
        own.and_then(|own| own(status)).unwrap_or_else(|| of_status(status, fields))
    }

    pub(super) fn instead<B, R, T: Settle>(
        &self,
        request: &Request<B>,
        rejected: &Rejected,
    ) -> Option<Response<PermitBody<R, T>>> {
        let fallback = self.0.as_ref()?.fallback.as_ref()?;
        if grpc::is_native(request.headers()) {
            // Its answer would need trailers.
            return None;
        }
        let failed = Failed { uri: request.uri(), headers: request.headers(), error: rejected };
        let mut instead = fallback(&failed)?.map(PermitBody::bytes);
        // What is above is not to take it for the origin's.
        instead.extensions_mut().insert(rejected.clone());
        Some(instead)
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "with rules of its own" } else { "as documented" })
    }
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
        self.rules.own().status = Some(Arc::new(outcome));
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

pub(super) fn asks_to_wait(fields: &HeaderMap) -> Option<std::time::Duration> {
    // The time of day is asked for only where a date may be there.
    let http = || date::retry_after(fields.get(RETRY_AFTER)?, SystemTime::now());
    grpc::pushback(fields).or_else(http)
}

fn of_status(status: StatusCode, fields: &HeaderMap) -> Outcome {
    match status {
        StatusCode::SERVICE_UNAVAILABLE if fields.contains_key(RETRY_AFTER) => Outcome::Overload,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Outcome::Success,
        StatusCode::TOO_MANY_REQUESTS => Outcome::Throttled,
        status if status.is_server_error() => Outcome::Failure,
        _ => Outcome::Success,
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<Outcome> {
    if error.is::<Rejected>() {
        return Some(Outcome::Unrelated);
    }
    match error.downcast_ref() {
        Some(FetchError::Deadline) => return Some(Outcome::Overload),
        Some(FetchError::Cancelled) => return Some(Outcome::Unrelated),
        Some(FetchError::Status(status)) => return Some(of_status(*status, &HeaderMap::new())),
        _ => {}
    }
    let elapsed =
        error.is::<tower::timeout::error::Elapsed>() || error.is::<tokio::time::error::Elapsed>();
    elapsed.then_some(Outcome::Overload)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reason, SharedError};

    #[test]
    fn a_status_is_taken_for_what_the_table_says() {
        let of = |status: u16, fields: &[(&'static str, &str)]| {
            let fields = fields.iter().map(|&(name, value)| {
                (http::HeaderName::from_static(name), value.parse().expect("a value"))
            });
            of_status(StatusCode::from_u16(status).expect("a status"), &fields.collect())
        };
        for status in [200, 204, 304, 400, 404, 408, 501, 505] {
            assert_eq!(of(status, &[]), Outcome::Success, "{status}");
        }
        for status in [500, 502, 503, 504, 599] {
            assert_eq!(of(status, &[]), Outcome::Failure, "{status}");
        }
        assert_eq!(of(503, &[("retry-after", "1")]), Outcome::Overload);
        assert_eq!(of(429, &[("retry-after", "1")]), Outcome::Throttled);
    }

    #[test]
    fn an_error_is_known_however_deep_it_lies() {
        let rules = Rules::default();
        let table: [(BoxError, Outcome); 6] = [
            (Rejected::new(Reason::OnlyIfCached).into(), Outcome::Unrelated),
            (FetchError::Deadline.into(), Outcome::Overload),
            (FetchError::Cancelled.into(), Outcome::Unrelated),
            (FetchError::Status(StatusCode::BAD_GATEWAY).into(), Outcome::Failure),
            (tower::timeout::error::Elapsed::new().into(), Outcome::Overload),
            ("refused".into(), Outcome::Failure),
        ];
        for (error, outcome) in table {
            assert_eq!(rules.failed(&SharedError::new(error)), outcome);
        }
    }

    #[test]
    fn what_an_owner_says_goes_before_the_table() {
        let by_status = ByStatus::new()
            .status(|status| (status == StatusCode::NOT_FOUND).then_some(Outcome::Failure))
            .error(|error| error.is::<FetchError>().then_some(Outcome::Unrelated));
        let fields = HeaderMap::new();
        assert_eq!(by_status.rules.status(StatusCode::NOT_FOUND, &fields), Outcome::Failure);
        assert_eq!(by_status.rules.status(StatusCode::BAD_GATEWAY, &fields), Outcome::Failure);
        let error = SharedError::new(FetchError::Deadline.into());
        assert_eq!(by_status.rules.failed(&error), Outcome::Unrelated);
    }
}
