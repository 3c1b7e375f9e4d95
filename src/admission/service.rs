//! The service of every layer over the admission engine, and its future.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{Admit, Classify, Permit};
use crate::error::{BoxError, Rejected};

/// The service of [`CircuitBreakerLayer`](crate::CircuitBreakerLayer) and
/// [`LoadShedLayer`](crate::LoadShedLayer): `A` decides about calls, `C` says how they went.
///
/// It is always ready. A call is admitted or refused at once; one that is admitted waits for the inner
/// service to be ready in its own future.
///
/// ```
/// # use http::{Request, Response};
/// # use seawall::{BoxError, CircuitBreakerLayer, circuit_breaker::One};
/// # use tower::{Layer, ServiceExt, limit::ConcurrencyLimit, service_fn};
/// use seawall::admission::Admission;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<String>| async {
/// #     Ok::<_, BoxError>(Response::new(String::new()))
/// # });
/// let busy = ConcurrencyLimit::new(origin, 0); // never ready
/// let mut service: Admission<_, One, _> = CircuitBreakerLayer::new().layer(busy);
/// service.ready().await?;
/// # Ok(()) }
/// ```
pub struct Admission<S, A, C> {
    inner: S,
    admit: A,
    classify: C,
}

impl<S, A, C> Admission<S, A, C> {
    /// A service that asks `admit` before it calls `inner`.
    pub fn new(inner: S, admit: A, classify: C) -> Self {
        Self { inner, admit, classify }
    }
}

impl<S, A, C, Req> Service<Req> for Admission<S, A, C>
where
    S: Service<Req, Error: Into<BoxError>> + Clone,
    A: Admit<Req>,
    C: Classify<Req, S::Response>,
{
    type Response = C::Answer<A::Ticket>;
    type Error = BoxError;
    type Future = AdmissionFuture<S, Req, A, C>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let ticket = match self.admit.admit(&request) {
            Ok(ticket) => ticket,
            Err(rejected) => {
                let instead = self.classify.instead(&request, &rejected);
                return self.future(None, State::Refused { refused: Some((rejected, instead)) });
            }
        };
        let mut permit = Permit::new(ticket);
        self.classify.mark(&mut request, &mut permit);
        // Whoever is ready is called at once, without a clone. Nobody is woken by this look: one that
        // is not ready is asked again, and waited for, in the future.
        let mut nobody = Context::from_waker(Waker::noop());
        let state = match permit.around(|| self.inner.poll_ready(&mut nobody)) {
            Poll::Ready(Ok(())) => {
                State::Called { future: permit.around(|| self.inner.call(request)) }
            }
            // The instance that was polled goes: it may hold a place, or be of no more use.
            Poll::Pending => State::Waiting { service: self.replaced(), request: Some(request) },
            Poll::Ready(Err(error)) => {
                self.replaced();
                State::Failed { error: Some(error.into()) }
            }
        };
        self.future(Some(permit), state)
    }
}

impl<S: Clone, A, C> Admission<S, A, C> {
    /// The inner service; a fresh clone takes its place.
    fn replaced(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }

    fn future<Req>(
        &self,
        permit: Option<Permit<A::Ticket>>,
        state: State<S, Req, S::Future, C::Answer<A::Ticket>>,
    ) -> AdmissionFuture<S, Req, A, C>
    where
        S: Service<Req>,
        A: Admit<Req>,
        C: Classify<Req, S::Response>,
    {
        AdmissionFuture { state, permit, classify: self.classify.clone() }
    }
}

/// A clone carries no readiness: there is none to carry.
impl<S: Clone, A: Clone, C: Clone> Clone for Admission<S, A, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            admit: self.admit.clone(),
            classify: self.classify.clone(),
        }
    }
}

impl<S: fmt::Debug, A: fmt::Debug, C> fmt::Debug for Admission<S, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("inner", &self.inner)
            .field("admit", &self.admit)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The answer of an [`Admission`]: the inner service's, or a refusal.
    ///
    /// It allocates nothing but the error that it may end with.
    ///
    /// ```
    /// # use http::{Request, Response};
    /// # use seawall::{BoxError, CircuitBreakerLayer, admission::ByStatus, circuit_breaker::One};
    /// # use tower::{Layer, Service, util::{BoxCloneService, ServiceFn}};
    /// use seawall::admission::AdmissionFuture;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// # type Origin = BoxCloneService<Request<String>, Response<String>, BoxError>;
    /// # let origin: Origin = BoxCloneService::new(tower::service_fn(|_| async {
    /// #     Ok(Response::new(String::new()))
    /// # }));
    /// # let mut service = CircuitBreakerLayer::new().layer(origin);
    /// # let request = Request::new(String::new());
    /// let answer: AdmissionFuture<Origin, Request<String>, One, ByStatus> = service.call(request);
    /// assert_eq!(answer.await?.status(), 200);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// Dropped before its answer, it gives its permit back: the call was abandoned.
    pub struct AdmissionFuture<S, Req, A, C>
    where
        S: Service<Req>,
        A: Admit<Req>,
        C: Classify<Req, S::Response>,
    {
        // Dropped before the permit: a place is free only once the call that had it is gone.
        #[pin]
        state: State<S, Req, S::Future, C::Answer<A::Ticket>>,
        permit: Option<Permit<A::Ticket>>,
        classify: C,
    }
}

pin_project! {
    #[project = StateOf]
    enum State<S, Req, F, R> {
        Waiting { service: S, request: Option<Req> },
        Called { #[pin] future: F },
        Failed { error: Option<BoxError> },
        Refused { refused: Option<(Rejected, Option<R>)> },
    }
}

impl<S, Req, A, C> Future for AdmissionFuture<S, Req, A, C>
where
    S: Service<Req, Error: Into<BoxError>>,
    A: Admit<Req>,
    C: Classify<Req, S::Response>,
{
    type Output = Result<C::Answer<A::Ticket>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let error = match this.state.as_mut().project() {
                StateOf::Refused { refused } => {
                    let (rejected, instead) = refused.take().expect("polled after completion");
                    return Poll::Ready(instead.ok_or_else(|| rejected.into()));
                }
                StateOf::Failed { error } => error.take().expect("polled after completion"),
                StateOf::Waiting { service, request } => {
                    let permit = this.permit.as_mut().expect("polled after completion");
                    match ready!(permit.around(|| service.poll_ready(cx))) {
                        Ok(()) => {
                            let request = request.take().expect("it is called once");
                            let future = permit.around(|| service.call(request));
                            this.state.set(State::Called { future });
                            continue;
                        }
                        Err(error) => error.into(),
                    }
                }
                StateOf::Called { future } => {
                    let permit = this.permit.as_mut().expect("polled after completion");
                    match ready!(permit.around(|| future.poll(cx))) {
                        Ok(response) => {
                            let permit = this.permit.take().expect("it was there");
                            return Poll::Ready(Ok(this.classify.answered(response, permit)));
                        }
                        Err(error) => error.into(),
                    }
                }
            };
            if let Some(permit) = this.permit.take() {
                permit.settle(this.classify.failed(&*error));
            }
            return Poll::Ready(Err(error));
        }
    }
}

impl<S, Req, A, C> fmt::Debug for AdmissionFuture<S, Req, A, C>
where
    S: Service<Req>,
    A: Admit<Req>,
    C: Classify<Req, S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionFuture").field("permit", &self.permit).finish_non_exhaustive()
    }
}
