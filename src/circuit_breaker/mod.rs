//! A breaker stops calling an origin that fails, and finds out when it no longer does.
//!
//! Use it wherever a call that fails costs its caller a wait: around a client, or below a cache, which
//! then answers at once with what it has. Do not use it for a single origin without anything to give
//! instead, if every answer it still gives is better than none.
//!
//! | state | admits | becomes |
//! |---|---|---|
//! | closed | all calls | open, when too many of them fail or are slow |
//! | open | none | half-open, after a second the first time, twice as long each further time |
//! | half-open | three probes at once | closed after three good ones, open for longer after a bad one |
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use seawall::{BoxError, CircuitBreakerLayer, Rejected, circuit_breaker::State};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
//! let layer = CircuitBreakerLayer::new();
//! let service = layer.layer(service_fn(|_: Request<()>| async {
//!     let mut failure = Response::new(String::new());
//!     *failure.status_mut() = StatusCode::BAD_GATEWAY;
//!     Ok::<_, BoxError>(failure)
//! }));
//! for _ in 0..20 {
//!     service.clone().oneshot(Request::new(())).await?;
//! }
//! assert_eq!(layer.breaker().state(), State::Open);
//! let error = service.oneshot(Request::new(())).await.unwrap_err();
//! let wait = Rejected::find(&*error).and_then(Rejected::wait); // about a second
//! # assert!(wait.is_some_and(|wait| wait.as_millis() > 700 && wait.as_millis() < 1300));
//! # Ok(()) }
//! ```
//!
//! What counts, and when, is said at [`admission`](crate::admission); what an answer is taken for, at
//! [`ByStatus`](crate::admission::ByStatus).
//!
//! # Errors
//! [`Rejected`] with [`Reason::CircuitOpen`], and when
//! another try makes sense. Errors of the inner service pass untouched.
//!
//! # Where the rules come from
//! States, half-open and the windows: Nygard, *Release It!*, and resilience4j. Epochs, by which a call
//! that was admitted before a change says nothing after it: the generations of gobreaker.

mod breaker;
mod guard;
mod half_open;
mod keyed;
mod layer;
mod row;
mod settings;
mod shared;
mod state;
mod successes;
mod ticket;
mod window;

#[cfg(all(test, not(seawall_loom)))]
mod behaviour;
#[cfg(all(test, seawall_loom))]
mod models;

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

pub(crate) use self::guard::Guard;
pub use self::{
    keyed::{BreakerKey, Breakers, ByHost, Each},
    layer::CircuitBreakerLayer,
    state::{Cause, Mode, State, Transition},
    window::{Counts, Window},
};
use self::{shared::Shared, ticket::Ticket};
use crate::{
    admission::{Admit, Outcome, Settle},
    error::{Reason, Rejected},
    load_shed::Criticality,
};

/// One breaker, as its operator sees it: where it stands, and to take it over.
///
/// ```
/// use seawall::{CircuitBreakerLayer, circuit_breaker::{Mode, State}};
///
/// let layer = CircuitBreakerLayer::new();
/// let breaker = layer.breaker();
/// breaker.force_open(); // the origin is being repaired
/// assert_eq!((breaker.state(), breaker.mode()), (State::Open, Mode::ForcedOpen));
/// breaker.reset();
/// assert_eq!((breaker.state(), breaker.mode()), (State::Closed, Mode::Automatic));
/// ```
#[derive(Clone)]
pub struct CircuitBreaker {
    shared: Arc<Shared>,
}

impl CircuitBreaker {
    /// What a call would meet now.
    pub fn state(&self) -> State {
        self.shared.state(Instant::now())
    }

    /// Who decides.
    pub fn mode(&self) -> Mode {
        self.shared.mode()
    }

    /// The calls of the window since it was closed; while it is open or half-open, those that opened it.
    pub fn counts(&self) -> Counts {
        self.shared.counts(Instant::now())
    }

    /// How many probes are under way.
    pub fn probes(&self) -> usize {
        self.shared.probes(Instant::now())
    }

    /// Refuses all calls, until told otherwise.
    pub fn force_open(&self) {
        let now = Instant::now();
        self.shared.change(now, |breaker| breaker.force_open(now));
    }

    /// Admits all calls and counts none, until told otherwise.
    pub fn force_closed(&self) {
        let now = Instant::now();
        self.shared.change(now, |breaker| breaker.force_closed(now));
    }

    /// Decides as ever, and refuses nobody; what it would have refused is an
    /// [event](crate::observe::Event::CircuitRefused).
    pub fn observe_only(&self) {
        self.shared.change(Instant::now(), |breaker| {
            breaker.observe_only();
            None
        });
    }

    /// Decides again. One that was forced open lets probes decide; one that was forced closed begins
    /// anew.
    pub fn automatic(&self) {
        self.shared.change(Instant::now(), |breaker| {
            breaker.automatic();
            None
        });
    }

    /// Forgets all it knows, and decides anew, closed.
    pub fn reset(&self) {
        let now = Instant::now();
        self.shared.change(now, |breaker| breaker.reset(now));
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("state", &self.state())
            .field("mode", &self.mode())
            .finish()
    }
}

/// One breaker for all calls: what a [`CircuitBreakerLayer`] has unless it is
/// [told otherwise](CircuitBreakerLayer::by).
#[derive(Clone, Debug)]
pub struct One {
    shared: Arc<Shared>,
}

impl<Req> Admit<Req> for One {
    type Ticket = Call;

    fn admit(&self, _: &Req) -> Result<Call, Rejected> {
        Call::admitted(&self.shared)
    }
}

/// A call that a breaker has admitted.
#[derive(Debug)]
pub struct Call {
    shared: Arc<Shared>,
    /// `None`: the breaker knows how it went.
    ticket: Option<Ticket>,
    /// Where it matters how long it takes: the clock is not asked for nothing.
    began: Option<Instant>,
    latency: Option<Duration>,
    retry_after: Option<Duration>,
}

impl Call {
    fn admitted(shared: &Arc<Shared>) -> Result<Self, Rejected> {
        match shared.admit() {
            Ok(ticket) => {
                // An observer may panic: what it is told of, it is told when nothing can be lost.
                let (changed, refused) = (ticket.changed(), ticket.would_be_refused());
                let call = Self::with(Arc::clone(shared), ticket);
                call.shared.changed(changed);
                if refused.is_some() {
                    call.shared.refused(true);
                }
                Ok(call)
            }
            Err(refused) => {
                shared.changed(refused.changed);
                shared.refused(false);
                let everyone = shared.refuses_all().then_some(Criticality::Critical);
                Err(Rejected::new(Reason::CircuitOpen)
                    .retry_after(refused.retry_after)
                    .up_to(everyone))
            }
        }
    }

    fn with(shared: Arc<Shared>, ticket: Ticket) -> Self {
        let began = shared.minds_time().then(Instant::now);
        Self { shared, ticket: Some(ticket), began, latency: None, retry_after: None }
    }

    fn end(&mut self, outcome: Outcome) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let now = Instant::now();
        let took = self.began.map_or(Duration::ZERO, |began| now.duration_since(began));
        let latency = self.latency.unwrap_or(took);
        let (outcome, took) = match outcome {
            Outcome::Success => (ticket::Outcome::Success, latency),
            Outcome::Failure | Outcome::Overload => (ticket::Outcome::Failure, latency),
            // As if it had been given up at once, which is never held against anyone.
            Outcome::Throttled | Outcome::Unrelated => (ticket::Outcome::Abandoned, Duration::ZERO),
            Outcome::Abandoned => (ticket::Outcome::Abandoned, took),
        };
        self.shared.settle(ticket, outcome, took, self.retry_after, now);
    }
}

impl Settle for Call {
    fn answered(&mut self, known: Option<Outcome>) {
        match known {
            None | Some(Outcome::Success) => {
                let Some(ticket) = &self.ticket else {
                    return;
                };
                self.latency = self.began.map(|began| began.elapsed());
                if ticket.is_probe() {
                    self.shared.answered(ticket, self.latency.unwrap_or_default());
                }
            }
            // Nothing that a body may bring makes it better.
            Some(outcome) => self.end(outcome),
        }
    }

    fn heed(&mut self, retry_after: Duration) {
        self.retry_after = Some(retry_after);
    }

    fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }
}

/// Lost on its way: a probe gives its place back.
impl Drop for Call {
    fn drop(&mut self) {
        self.end(Outcome::Unrelated);
    }
}
