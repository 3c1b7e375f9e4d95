//! The layer, and what it can be told.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use tower_layer::Layer;

use super::{
    charge::{Charge, NoQuota},
    criticality::Shares,
    limit::{Fixed, Limit, Target},
    rank::{ByMethod, Rank},
    shared::{Call, Gauge, Shared},
};
use crate::{
    admission::{Admission, Admit, ByStatus},
    error::Rejected,
    observe::{Listener, Observer},
    sync::Mutex,
};

/// Refuses calls beyond what the origin can take. See the [module](super) for an example.
///
/// All services that one layer makes share one limit. [`shares`](Self::shares) and
/// [`observer`](Self::observer) begin it anew: set them before the layer is cloned, and take the
/// [gauge](Self::gauge) last.
pub struct LoadShedLayer<R = ByMethod, C = ByStatus, Q = NoQuota> {
    limit: Arc<Mutex<Box<dyn Limit>>>,
    shares: Shares,
    listener: Listener,
    shedder: Shedder<R, Q>,
    classify: C,
}

impl LoadShedLayer {
    /// A layer whose limit is `limit`'s.
    pub fn new(limit: impl Limit) -> Self {
        let limit: Arc<Mutex<Box<dyn Limit>>> = Arc::new(Mutex::new(Box::new(limit)));
        let (shares, listener) = (Shares::default(), Listener::default());
        let shared = Shared::new(&limit, &shares, listener.clone(), Instant::now());
        let shedder = Shedder { rank: ByMethod, charge: NoQuota, shared: Arc::new(shared) };
        Self { limit, shares, listener, shedder, classify: ByStatus::new() }
    }

    /// At most so many calls in flight; at least one.
    pub fn fixed(calls: usize) -> Self {
        Self::new(Fixed::new(calls))
    }

    /// As many calls as keep nine in ten within 250 ms; see [`Target`](super::limit::Target).
    pub fn adaptive() -> Self {
        Self::new(Target::default())
    }

    /// As many calls as keep nine in ten within `latency`.
    pub fn within(latency: Duration) -> Self {
        Self::new(Target::new(latency))
    }
}

impl Default for LoadShedLayer {
    /// 1,024 calls in flight.
    fn default() -> Self {
        Self::new(Fixed::default())
    }
}

impl<R, C, Q> LoadShedLayer<R, C, Q> {
    /// What the limit stands at.
    pub fn gauge(&self) -> Gauge {
        Gauge { shared: Arc::clone(&self.shedder.shared) }
    }

    /// How far each class may fill the limit.
    #[must_use]
    pub fn shares(mut self, shares: Shares) -> Self {
        self.shares = shares;
        self.remade()
    }

    /// Who is told of refusals.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.listener = Listener::new(observer);
        self.remade()
    }

    fn remade(mut self) -> Self {
        let listener = self.listener.clone();
        let shared = Shared::new(&self.limit, &self.shares, listener, Instant::now());
        self.shedder.shared = Arc::new(shared);
        self
    }

    /// How much it matters that a request is answered, by a closure or any [`Rank`].
    ///
    /// ```
    /// use seawall::{LoadShedLayer, load_shed::Criticality};
    ///
    /// let layer = LoadShedLayer::adaptive().criticality(|request: &http::Request<()>| {
    ///     match request.uri().path() {
    ///         "/checkout" => Criticality::Critical,
    ///         "/recommendations" => Criticality::Sheddable,
    ///         _ => Criticality::Normal,
    ///     }
    /// });
    /// # let _ = layer;
    /// ```
    pub fn criticality<N>(self, rank: N) -> LoadShedLayer<N, C, Q> {
        self.deciding(|Shedder { charge, shared, .. }| Shedder { rank, charge, shared })
    }

    /// What says how a call went: [`ByStatus`] unless set.
    pub fn classify<D>(self, classify: D) -> LoadShedLayer<R, D, Q> {
        let Self { limit, shares, listener, shedder, .. } = self;
        LoadShedLayer { limit, shares, listener, shedder, classify }
    }

    #[allow(dead_code, reason = "quotas need it, which are a feature")]
    pub(super) fn map_charge<P>(self, map: impl FnOnce(Q) -> P) -> LoadShedLayer<R, C, P> {
        self.deciding(|Shedder { rank, charge, shared }| {
            let charge = map(charge);
            Shedder { rank, charge, shared }
        })
    }

    fn deciding<N, P>(
        self,
        decide: impl FnOnce(Shedder<R, Q>) -> Shedder<N, P>,
    ) -> LoadShedLayer<N, C, P> {
        let Self { limit, shares, listener, shedder, classify } = self;
        LoadShedLayer { limit, shares, listener, shedder: decide(shedder), classify }
    }
}

impl<S, R: Clone, C: Clone, Q: Clone> Layer<S> for LoadShedLayer<R, C, Q> {
    type Service = Admission<S, Shedder<R, Q>, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Admission::new(inner, self.shedder.clone(), self.classify.clone())
    }
}

impl<R: Clone, C: Clone, Q: Clone> Clone for LoadShedLayer<R, C, Q> {
    fn clone(&self) -> Self {
        Self {
            limit: Arc::clone(&self.limit),
            shares: self.shares,
            listener: self.listener.clone(),
            shedder: self.shedder.clone(),
            classify: self.classify.clone(),
        }
    }
}

impl<R, C, Q> fmt::Debug for LoadShedLayer<R, C, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShedLayer")
            .field("gauge", &self.gauge())
            .field("shares", &self.shares)
            .finish_non_exhaustive()
    }
}

/// What decides for a [`LoadShedLayer`].
pub struct Shedder<R = ByMethod, Q = NoQuota> {
    rank: R,
    charge: Q,
    shared: Arc<Shared>,
}

impl<R, Q, Req> Admit<Req> for Shedder<R, Q>
where
    R: Rank<Req>,
    Q: Charge<Req>,
{
    type Ticket = Call;

    fn admit(&self, request: &Req) -> Result<Call, Rejected> {
        // What there is no room for is charged to nobody.
        let class = self.rank.criticality(request);
        let shown = self.rank.is_shown().then_some(class);
        let call = self.shared.admit(class).map_err(|refused| refused.up_to(shown))?;
        self.shared.charged(self.charge.charge(request))?;
        Ok(call)
    }
}

impl<R: Clone, Q: Clone> Clone for Shedder<R, Q> {
    fn clone(&self) -> Self {
        let (rank, charge) = (self.rank.clone(), self.charge.clone());
        Self { rank, charge, shared: Arc::clone(&self.shared) }
    }
}

impl<R, Q> fmt::Debug for Shedder<R, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shedder").finish_non_exhaustive()
    }
}
