//! Decides whether a call goes to the origin: the engine of [`CircuitBreakerLayer`] and
//! [`LoadShedLayer`].
//!
//! ```text
//! call ── admit? ──┬─ no ──▶ a refusal, or a fallback: the inner service is not even polled
//!                  └─ a permit ──▶ ready? ──▶ the inner call ──▶ head ──▶ body ──▶ settled, once
//! ```
//!
//! A layer over this engine is always ready, and takes its permit in `call`: a clone that lies idle,
//! or was polled and dropped, holds no place, neither here nor in a limit below. A call that was
//! admitted waits for the inner service in its own future, with its permit; so those who wait count.
//!
//! # How a call is settled
//! A [`Classify`] says how a call went. [`ByStatus`] holds the permit to the end of the body, since an
//! answer that breaks off is none; [`ByGrpcStatus`] reads the trailers there; [`ByError`] is for
//! services that are not HTTP, and settles by the result. Latency is that of the head: the end of a
//! body comes as slowly as its client reads. A failure that the head tells of is one at once, whether
//! or not anyone reads its body. Event streams and upgrades are settled at the head.
//!
//! Only what the origin did counts. What a cache below answered from storage, what was refused below,
//! and the fallback of a breaker, say nothing of it. To be told, a request is marked on its way where a
//! cache may be below: that costs two allocations where no cache above has marked it already.
//!
//! # Readiness
//! The inner service is polled in `call`, and the instance that was polled is the one that is called.
//! Where that is not ready, it goes with the call, and a fresh clone takes its place. So an inner service
//! should share what is dear to make between its clones, as pooled clients do, and those behind a
//! [`Buffer`](https://docs.rs/tower/0.5/tower/buffer/): one that connects anew for each clone would
//! connect anew for each call. Among the endpoints of a balancer, a breaker that is open looks like the
//! least loaded one: put it around the balancer.
//!
//! tower's `Timeout` bounds a call of a service that is ready, and not the wait for it to be. Above an
//! origin that has its callers wait for readiness, put [`Everyone`] between the two, as
//! [`OriginShield`](crate::OriginShield) does.
//!
//! # Cancellation
//! A permit that is dropped comes back at once. A call that is dropped before its head is
//! [abandoned](Outcome::Abandoned): neither success nor failure, unless a setting says otherwise. One
//! whose body is dropped unread is what its head told; dropped midway, it is nothing.
//!
//! # Panics
//! A panic of the inner service is its failure; the permit comes back as the panic passes by.
//!
//! [`CircuitBreakerLayer`]: crate::CircuitBreakerLayer
//! [`LoadShedLayer`]: crate::LoadShedLayer

mod body;
mod classify;
pub(crate) mod grpc_status;
mod permit;
mod rules;
mod service;

use std::time::Duration;

pub use self::{
    body::PermitBody,
    classify::{ByError, ByStatus, Classify},
    grpc_status::ByGrpcStatus,
    permit::Permit,
    service::{Admission, AdmissionFuture},
};
use crate::error::Rejected;

/// Decides about calls. A breaker does, and a limit; so can anything of your own, in an [`Admission`].
///
/// ```
/// use seawall::{Reason, Rejected, admission::{Admission, Admit, ByError, Outcome, Settle}};
/// use std::{sync::{Arc, atomic::{AtomicBool, Ordering::Relaxed}}};
/// use tower::{Service, ServiceExt, service_fn};
///
/// /// Lets calls through while a door is open.
/// #[derive(Clone)]
/// struct Door(Arc<AtomicBool>);
/// struct Through;
///
/// impl<Req> Admit<Req> for Door {
///     type Ticket = Through;
///
///     fn admit(&self, _: &Req) -> Result<Through, Rejected> {
///         self.0.load(Relaxed).then_some(Through).ok_or(Rejected::new(Reason::Shed))
///     }
/// }
///
/// impl Settle for Through {
///     fn settle(self, _: Outcome) {}
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let door = Door(Arc::new(AtomicBool::new(true)));
/// let twice = service_fn(|number: u32| async move { Ok::<_, seawall::BoxError>(number * 2) });
/// let mut service = Admission::new(twice, door.clone(), ByError::new());
/// assert_eq!(service.call(21).await.unwrap(), 42);
/// door.0.store(false, Relaxed);
/// assert!(Rejected::find(&*service.oneshot(21).await.unwrap_err()).is_some());
/// # }
/// ```
pub trait Admit<Req>: Clone {
    /// What is held while the call is under way.
    type Ticket: Settle;

    /// Admits this call, or says why not and when another try makes sense.
    ///
    /// # Errors
    /// The refusal that its caller gets.
    fn admit(&self, request: &Req) -> Result<Self::Ticket, Rejected>;
}

/// Learns how a call went that was admitted. See [`Admit`] for an example.
pub trait Settle {
    /// The head of the answer has come, and tells how the call went, unless its trailers will; or the
    /// call has ended without one. Called once, before [`settle`](Self::settle).
    ///
    /// What the head tells may change once more: a body can break off.
    fn answered(&mut self, known: Option<Outcome>) {
        let _ = known;
    }

    /// The answer asks to be left alone for so long. Called before whatever tells that it is a failure.
    fn heed(&mut self, retry_after: Duration) {
        let _ = retry_after;
    }

    /// The call has ended: its answer to the last byte, or without one. Called once, last.
    fn settle(self, outcome: Outcome);
}

/// How a call went, as far as it speaks for or against the origin.
///
/// | | to a breaker | to a limit that learns |
/// |---|---|---|
/// | `Success` | a success | may raise it |
/// | `Failure` | a failure | never raises it |
/// | `Overload` | a failure | lowers it |
/// | `Throttled` | nothing | lowers it |
/// | `Unrelated` | nothing | nothing |
/// | `Abandoned` | nothing, or a failure where its setting says so | lowers it if it had lasted too long |
///
/// ```
/// use seawall::{CircuitBreakerLayer, admission::{ByStatus, Outcome}};
/// use http::StatusCode;
///
/// // An origin that answers 404 while it starts.
/// let by_status = ByStatus::new().status(|status| {
///     (status == StatusCode::NOT_FOUND).then_some(Outcome::Failure)
/// });
/// let layer = CircuitBreakerLayer::new().classify(by_status);
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The origin did its work; also where its answer is that the caller was wrong.
    Success,
    /// The origin failed.
    Failure,
    /// The origin failed because it has too much to do: it said so, or did not answer in time.
    Overload,
    /// The origin refuses more calls of this kind, and has not failed.
    Throttled,
    /// The origin was not asked, or the fault is not its own.
    Unrelated,
    /// The caller left before the origin had answered.
    Abandoned,
}

/// Admits every call: it makes a service always ready, and has each call wait in its own future.
///
/// ```
/// # use http::{Request, Response};
/// # use seawall::BoxError;
/// # use tower::{ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, service_fn};
/// use seawall::admission::{Admission, ByError, Everyone};
/// use std::time::Duration;
/// use tower::{layer::layer_fn, timeout::TimeoutLayer};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// # let origin = service_fn(|_: Request<String>| async {
/// #     Ok::<_, BoxError>(Response::new(String::new()))
/// # });
/// let busy = ConcurrencyLimit::new(origin, 0); // never ready
/// let service = ServiceBuilder::new()
///     .layer(TimeoutLayer::new(Duration::from_secs(1))) // bounds the wait as well
///     .layer(layer_fn(|inner| Admission::new(inner, Everyone, ByError::new())))
///     .service(busy);
/// assert!(service.oneshot(Request::new(String::new())).await.is_err());
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Everyone;

impl<Req> Admit<Req> for Everyone {
    type Ticket = Nothing;

    fn admit(&self, _: &Req) -> Result<Nothing, Rejected> {
        Ok(Nothing)
    }
}

/// What is held by a call that needs no leave.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Settle for Nothing {
    fn settle(self, _: Outcome) {}
}
