//! The layers in the order that works, as one layer.
//!
//! ```text
//! RespondLayer                 errors become responses: nothing above needs to know any
//!   └─ cache                   answers what it has, fresh or stale; one call for all that ask alike
//!        └─ LoadShedLayer      only what goes to the origin counts; the least important goes first
//!             └─ CircuitBreakerLayer    sees every failure, timeouts included
//!                  └─ Timeout           bounds one call, to its head, and the wait to make it
//!                       └─ origin
//! ```
//!
//! # What another order means
//! Every order compiles under [`RespondLayer`], and every one keeps its promises;
//! they promise different things. Outermost first:
//!
//! | order | means |
//! |---|---|
//! | cache, breaker | an open breaker is answered from the cache where that is allowed |
//! | breaker, cache | an open breaker refuses what the cache could answer, hits included; what is answered from storage is no success, so that only misses close it again |
//! | cache, shedder | hits cost no place; what is shed is answered stale where that is allowed |
//! | shedder, cache | hits take places, for as long as their clients read; use it to bound the whole service |
//! | coalesce, breaker or shedder | one call of many callers is one call to them, and one refusal for all of a class |
//! | breaker or shedder, coalesce | each caller is counted, a hundred callers of one failed call as a hundred failures |
//! | shedder, breaker | what the breaker refuses held a place for no time, and is no sample |
//! | breaker, shedder | what was shed says nothing to the breaker; while it is open no place is taken |
//! | stale-while-revalidate, cache (over one [`Cache`]) | one cache: the wider of their windows holds |
//! | cache, coalesce | one flight for each key either way: the inner one finds nothing to join |
//! | breaker, timeout | a timeout is a failure |
//! | timeout, breaker | a timeout drops the call, which says nothing unless [`abandoned_after`] is set |
//! | timeout, cache | the caller leaves and its fetch goes on: the next one may find its answer |
//!
//! [`abandoned_after`]: crate::CircuitBreakerLayer::abandoned_after

use std::time::Duration;

use tower::timeout::TimeoutLayer;
use tower_layer::Layer;

use crate::{
    Cache, CircuitBreaker, CircuitBreakerLayer, LoadShedLayer, RespondLayer,
    StaleWhileRevalidateLayer,
    admission::{Admission, ByError, Everyone},
    circuit_breaker::One,
    load_shed::Gauge,
    respond::Respond,
};

/// How long an origin may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The whole stack as one layer. Each part can be replaced, and taken out by tower's `Identity`.
///
/// | part | unless replaced |
/// |---|---|
/// | errors | [`RespondLayer::new`] |
/// | cache | [`StaleWhileRevalidateLayer::new`] with no window but those that answers name |
/// | limit | [`LoadShedLayer::default`]: 1,024 calls in flight |
/// | breaker | [`CircuitBreakerLayer::new`] |
/// | timeout | 10 s to the head, the wait for an origin that is not ready included |
///
/// Observers are set on the parts. So is how long a probe may take: a breaker's
/// [`lease`](CircuitBreakerLayer::lease) of 10 s does not follow another timeout.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::BoxError;
/// # use tower::{Layer, ServiceExt, service_fn};
/// use seawall::{Cache, LoadShedLayer, OriginShield, StaleWhileRevalidateLayer, store::Memory};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("a page")))
/// # });
/// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
/// let cache = Cache::new(Memory::bytes(64 << 20));
/// let stale = StaleWhileRevalidateLayer::new(cache.clone(), Duration::from_secs(60))
///     .stale_if_error(Duration::from_secs(3600));
/// let shield = OriginShield::new(cache)
///     .cache(stale)
///     .load_shed(LoadShedLayer::within(Duration::from_millis(100)))
///     .timeout(Duration::from_secs(2));
/// let breaker = shield.breaker(); // for the operator
/// let Ok(response) = shield.layer(origin).oneshot(request).await; // there is no `Err`
/// assert_eq!(response.status(), 200);
/// # let _ = breaker;
/// # Ok(()) }
/// ```
///
/// # Errors
/// None: what goes wrong is a response, as [`RespondLayer`] has it.
#[derive(Clone, Debug)]
pub struct OriginShield<
    C = StaleWhileRevalidateLayer,
    L = LoadShedLayer,
    B = CircuitBreakerLayer,
    T = TimeoutLayer,
> {
    respond: RespondLayer,
    cache: C,
    load_shed: L,
    circuit_breaker: B,
    timeout: T,
}

impl OriginShield {
    /// The stack over `cache`, or over a store that gets a cache of its own.
    pub fn new(cache: impl Into<Cache>) -> Self {
        Self {
            respond: RespondLayer::new(),
            cache: StaleWhileRevalidateLayer::new(cache, Duration::ZERO),
            load_shed: LoadShedLayer::default(),
            circuit_breaker: CircuitBreakerLayer::new(),
            timeout: TimeoutLayer::new(DEADLINE),
        }
    }
}

impl<C, L, B, T> OriginShield<C, L, B, T> {
    /// What turns errors into responses.
    #[must_use]
    pub fn respond(mut self, respond: RespondLayer) -> Self {
        self.respond = respond;
        self
    }

    /// What answers without the origin.
    pub fn cache<D>(self, cache: D) -> OriginShield<D, L, B, T> {
        let Self { respond, load_shed, circuit_breaker, timeout, .. } = self;
        OriginShield { respond, cache, load_shed, circuit_breaker, timeout }
    }

    /// What bounds the calls in flight.
    pub fn load_shed<D>(self, load_shed: D) -> OriginShield<C, D, B, T> {
        let Self { respond, cache, circuit_breaker, timeout, .. } = self;
        OriginShield { respond, cache, load_shed, circuit_breaker, timeout }
    }

    /// What stops calling an origin that fails.
    pub fn circuit_breaker<D>(self, circuit_breaker: D) -> OriginShield<C, L, D, T> {
        let Self { respond, cache, load_shed, timeout, .. } = self;
        OriginShield { respond, cache, load_shed, circuit_breaker, timeout }
    }

    /// How long the origin may take to the head of its answer.
    pub fn timeout(self, deadline: Duration) -> OriginShield<C, L, B> {
        self.timeout_layer(TimeoutLayer::new(deadline))
    }

    /// What bounds one call, in whatever way.
    pub fn timeout_layer<D>(self, timeout: D) -> OriginShield<C, L, B, D> {
        let Self { respond, cache, load_shed, circuit_breaker, .. } = self;
        OriginShield { respond, cache, load_shed, circuit_breaker, timeout }
    }
}

impl<C, L, D, T> OriginShield<C, L, CircuitBreakerLayer<One, D>, T> {
    /// The breaker of this stack.
    pub fn breaker(&self) -> CircuitBreaker {
        self.circuit_breaker.breaker()
    }
}

impl<C, R, D, Q, B, T> OriginShield<C, LoadShedLayer<R, D, Q>, B, T> {
    /// What the limit of this stack stands at.
    pub fn gauge(&self) -> Gauge {
        self.load_shed.gauge()
    }
}

impl<S, C, L, B, T> Layer<S> for OriginShield<C, L, B, T>
where
    T: Layer<Admission<S, Everyone, ByError>>,
    B: Layer<T::Service>,
    L: Layer<B::Service>,
    C: Layer<L::Service>,
{
    type Service = Respond<C::Service>;

    fn layer(&self, origin: S) -> Self::Service {
        // Or nothing would bound the wait for an origin that is not ready.
        let waits = Admission::new(origin, Everyone, ByError::new());
        let called = self.circuit_breaker.layer(self.timeout.layer(waits));
        self.respond.layer(self.cache.layer(self.load_shed.layer(called)))
    }
}
