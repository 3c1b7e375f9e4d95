//! The layer, and what it can be told.

use std::{hash::Hash, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, uri::Authority};
use tokio::time::Instant;
use tower_layer::Layer;

use super::{
    BreakerKey, Breakers, ByHost, CircuitBreaker, Each, One,
    settings::{Abandoned, InARow, Ramp, Rate, Settings, Slow},
    shared::Shared,
    successes::CELLS,
    window::Window,
};
use crate::{
    admission::{Admission, ByStatus, grpc_status::FallsBack},
    fallback::Failed,
    observe::{Listener, Observer},
};

/// Stops calling an origin that fails, for a while. See the [module](super) for an example.
///
/// All services that one layer makes share one breaker. A setting makes a new one: take the
/// [handle](Self::breaker) last.
///
/// | | unless set |
/// |---|---|
/// | opens | at half of at least 20 calls within 10 s |
/// | is open for | 1 s, doubled each further time up to 30 s, ±20 % |
/// | closes | after three good probes; a probe holds its place for 10 s at most |
/// | a call whose caller leaves | says nothing |
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<A = One, C = ByStatus> {
    settings: Settings,
    listener: Listener,
    admit: A,
    classify: C,
}

/// Which breaker is asked about a call: made anew where a setting changes. Sealed.
#[allow(unreachable_pub, reason = "it bounds what is public, and is nobody else's to implement")]
pub trait Which: Sized {
    fn remade(self, made: Made<'_>) -> Self;
}

/// What breakers are made with.
#[derive(Clone, Copy, Debug)]
#[allow(unreachable_pub, reason = "a sealed trait speaks of it")]
pub struct Made<'a> {
    pub(super) settings: &'a Settings,
    pub(super) listener: &'a Listener,
}

impl Made<'_> {
    /// The one breaker, or the one of this name.
    pub(super) fn breaker(self, name: Option<Box<str>>) -> Arc<Shared> {
        // Where there are many, each has few callers at once.
        let cells = if name.is_some() { 1 } else { CELLS };
        let listener = self.listener.clone();
        Arc::new(Shared::new(*self.settings, name, cells, listener, Instant::now()))
    }
}

impl Which for One {
    fn remade(self, made: Made<'_>) -> Self {
        Self { shared: made.breaker(None) }
    }
}

impl CircuitBreakerLayer {
    /// A layer with one closed breaker.
    pub fn new() -> Self {
        let (settings, listener) = (Settings::default(), Listener::default());
        let shared = Made { settings: &settings, listener: &listener }.breaker(None);
        Self { settings, listener, admit: One { shared }, classify: ByStatus::new() }
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> CircuitBreakerLayer<One, C> {
    /// The breaker of this layer.
    pub fn breaker(&self) -> CircuitBreaker {
        CircuitBreaker { shared: Arc::clone(&self.admit.shared) }
    }

    /// A breaker for each authority, from the URI or from `Host`: for a client of many hosts, not for a
    /// server, whose clients name what they like. Requests that name none share one. See
    /// [`by`](Self::by).
    pub fn by_host(self) -> CircuitBreakerLayer<Each<ByHost, Option<Authority>>, C> {
        self.by::<_, http::Request<()>>(ByHost)
    }

    /// A breaker for each of whatever `key` tells apart: routes, tenants, shards.
    ///
    /// At most 1,024 are known at once, unless [told otherwise](CircuitBreakerLayer::most_keys).
    ///
    /// ```
    /// use seawall::CircuitBreakerLayer;
    ///
    /// let by_route = CircuitBreakerLayer::new().by(|request: &http::Request<()>| {
    ///     request.uri().path().split('/').nth(1).map(str::to_owned)
    /// });
    /// # let _ = by_route;
    /// ```
    pub fn by<K, Req>(self, key: K) -> CircuitBreakerLayer<Each<K, K::Key>, C>
    where
        K: BreakerKey<Req>,
    {
        let Self { settings, listener, classify, .. } = self;
        let made = Made { settings: &settings, listener: &listener };
        let admit = Each::new(key, made);
        CircuitBreakerLayer { settings, listener, admit, classify }
    }
}

impl<K, N, C> CircuitBreakerLayer<Each<K, N>, C>
where
    N: Clone + Eq + Hash,
{
    /// The breakers of this layer.
    pub fn breakers(&self) -> Breakers<N> {
        self.admit.breakers()
    }

    /// How many keys have a breaker of their own at once, about a kilobyte each: 1,024 unless set, from
    /// 16 to 65,536, in sixteen parts.
    ///
    /// Beyond it, a new key takes the place of one that was not used lately and has nothing to
    /// remember, or that was not used for ten minutes and refuses nobody. Where there is none among
    /// those it looks at, it shares one breaker with all others of its kind.
    #[must_use]
    pub fn most_keys(mut self, keys: usize) -> Self {
        self.admit = self.admit.most(keys);
        self.remade()
    }
}

impl<A: Which, C> CircuitBreakerLayer<A, C> {
    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(&mut self.settings);
        self.remade()
    }

    fn remade(mut self) -> Self {
        let made = Made { settings: &self.settings, listener: &self.listener };
        self.admit = self.admit.remade(made);
        self
    }

    /// Over which calls the rates are taken: those of the last 10 s unless set.
    #[must_use]
    pub fn window(self, window: Window) -> Self {
        self.set(|settings| settings.window = window)
    }

    /// Opens at this share of failures, of at least so many calls: 0.5 of 20 unless set. The share is
    /// taken to within a millionth and 1; a window of fewer calls is its own minimum.
    #[must_use]
    pub fn failure_rate(self, share: f64, of_at_least: u64) -> Self {
        self.set(|settings| settings.failures = Some(Rate { share, of_at_least }))
    }

    /// No share of failures opens it.
    #[must_use]
    pub fn no_failure_rate(self) -> Self {
        self.set(|settings| settings.failures = None)
    }

    /// Opens at this share of calls whose head came later than `after`, of at least so many calls. Off
    /// unless set.
    #[must_use]
    pub fn slow_calls(self, after: Duration, share: f64, of_at_least: u64) -> Self {
        let slow = Slow { after, rate: Rate { share, of_at_least } };
        self.set(|settings| settings.slow = Some(slow))
    }

    /// Opens at so many failures without a success between them, the last no later than `within` after
    /// the first. Off unless set. From 1 to 1,024.
    ///
    /// To have it open by this alone, turn the rate [off](Self::no_failure_rate).
    #[must_use]
    pub fn in_a_row(self, failures: usize, within: Duration) -> Self {
        self.set(|settings| settings.in_a_row = Some(InARow { failures, within }))
    }

    /// A call whose caller left before its head is a failure if it had lasted so long, which is at
    /// least a millisecond. Unless set, it says nothing.
    ///
    /// Set it where the deadline stands outside of this layer, to somewhat less than that.
    #[must_use]
    pub fn abandoned_after(self, lasted: Duration) -> Self {
        self.set(|settings| settings.abandoned = Abandoned::FailureAfter(lasted))
    }

    /// How long it is open the first time, 1 s, and the longest, 30 s; each further time is twice as
    /// long. It is also the longest that the origin's `Retry-After` is heeded. From a millisecond to a
    /// day.
    #[must_use]
    pub fn open_for(self, first: Duration, longest: Duration) -> Self {
        self.set(|settings| (settings.open_for, settings.longest) = (first, longest))
    }

    /// Once it has been closed for so long, the next time that it opens is a first time again: 10 s unless
    /// set, and no less than its [window](Self::window).
    #[must_use]
    pub fn settled_after(self, closed: Duration) -> Self {
        self.set(|settings| settings.settled_after = closed)
    }

    /// By which share these times are longer or shorter at random: 0.2 unless set, from 0 to 0.9.
    #[must_use]
    pub fn jitter(self, share: f64) -> Self {
        self.set(|settings| settings.jitter = share)
    }

    /// So many good probes close it, and no more are under way at once: 3 unless set, from 1 to 1,024.
    #[must_use]
    pub fn probes(self, probes: u32) -> Self {
        self.set(|settings| settings.probes = probes)
    }

    /// How long a probe that does not end holds its place: 10 s unless set, which should be the
    /// deadline of a call or somewhat more. From a millisecond to a day.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        self.set(|settings| settings.lease = lease)
    }

    /// Once it has closed, it admits this share of the calls at first, and all of them after `over`.
    /// Off unless set. The share is taken to within 0.01 and 1.
    #[must_use]
    pub fn ramp(self, over: Duration, from: f64) -> Self {
        self.set(|settings| settings.ramp = Some(Ramp { over, from }))
    }

    /// Who is told of changes and refusals.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.listener = Listener::new(observer);
        self.remade()
    }

    /// What says how a call went: [`ByStatus`] unless set.
    pub fn classify<D>(self, classify: D) -> CircuitBreakerLayer<A, D> {
        let Self { settings, listener, admit, .. } = self;
        CircuitBreakerLayer { settings, listener, admit, classify }
    }
}

impl<A, C: FallsBack> CircuitBreakerLayer<A, C> {
    /// The answer instead of a refusal; `None` is the refusal. A gRPC call has none. It is marked as no
    /// answer of the origin: a cache above prefers what it has stored, and does not keep it. To be set
    /// after [`classify`](Self::classify).
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Response, uri::Authority};
    /// use seawall::CircuitBreakerLayer;
    ///
    /// let layer = CircuitBreakerLayer::new().fallback(|failed| {
    ///     let is_list = failed.uri.path() == "/recommendations";
    ///     is_list.then(|| Response::new(Bytes::from_static(b"[]")))
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn fallback(
        mut self,
        fallback: impl Fn(&Failed<'_>) -> Option<Response<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        self.classify.fall_back_to(Arc::new(fallback));
        self
    }
}

impl<S, A: Clone, C: Clone> Layer<S> for CircuitBreakerLayer<A, C> {
    type Service = Admission<S, A, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Admission::new(inner, self.admit.clone(), self.classify.clone())
    }
}
