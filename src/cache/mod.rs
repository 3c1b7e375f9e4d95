//! The cache engine: what a [`Cache`] shares, and the layer that answers from it.
//!
//! A [`Cache`] is the shared state: a store, the fetches under way, and the bounds on both. It is
//! made once and cloned; every layer over one `Cache` is one engine. A [`CacheLayer`] answers GET and
//! HEAD by RFC 9111 and fetches what it has not, once for all who ask at the same time.
//!
//! Use it in front of whatever is slower than memory: a service of your own, a client, a proxied
//! origin. Do not use it for answers that nobody asks for twice, or where the origin cannot say how
//! long they are good for and you cannot either ([`FixedTtl`](crate::FixedTtl) if you can).
//!
//! ```
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Empty, Full};
//! use bytes::Bytes;
//! use seawall::{BoxError, CacheLayer, store::Memory};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
//! let origin = service_fn(|_: Request<Empty<Bytes>>| async {
//!     let answer = Response::builder().header("cache-control", "max-age=60");
//!     Ok::<_, BoxError>(answer.body(Full::from("made once"))?)
//! });
//! let service = ServiceBuilder::new().layer(CacheLayer::new(Memory::default())).service(origin);
//!
//! for expected in ["seawall; fwd=uri-miss; fwd-status=200; stored", "seawall; hit"] {
//!     let request = Request::get("http://example.com/").body(Empty::new())?;
//!     let response = service.clone().oneshot(request).await?;
//!     assert_eq!(response.headers()["cache-status"], expected);
//!     assert_eq!(response.into_body().collect().await?.to_bytes(), "made once");
//! }
//! # Ok(()) }
//! ```
//!
//! # Errors
//! Those of the inner service, as a [`SharedError`](crate::SharedError);
//! [`FetchError`](crate::FetchError) where a fetch ended without one;
//! [`Rejected`](crate::Rejected) for `only-if-cached` with nothing stored. A store's errors are never
//! a caller's.
//!
//! # Panics
//! Outside of a tokio runtime, on the first miss. A panic of the inner service fails those who wait
//! for that fetch and no one else.
//!
//! # Cancellation
//! A fetch belongs to no caller: dropping a response, even the first, leaves the others unharmed. A
//! fetch whose last caller leaves goes on within a budget, and is cancelled beyond it.

mod again;
mod alone;
mod answer;
pub(crate) mod body;
mod builder;
mod call;
mod changes;
pub(crate) mod engine;
mod failures;
mod fallback;
mod fetch;
mod filling;
mod freshening;
mod grpc_key;
mod languages;
mod message;
mod miss;
mod parts;
mod posting;
mod question;
mod refresh;
pub(crate) mod request_key;
pub(crate) mod service;
mod storage;
mod switch;
mod tasks;
pub(crate) mod unary;
mod verdict;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, Response};
use tokio::time::Instant;
use tower_layer::Layer;

pub use self::{
    again::Again,
    body::Body,
    builder::CacheBuilder,
    grpc_key::{GrpcKey, is_grpc_method},
    message::Message,
    request_key::{NoKey, RequestKey, UriKey},
    service::{CacheService, Origin, ResponseFuture},
    switch::{Asked, Switch},
    tasks::Drained,
};
use self::{builder::Limits, engine::Engine, tasks::Tasks};
use crate::{
    coalesce::{budget::Budgets, flights::Flights, remembered::Remembered, share::Place},
    fallback::Failed,
    journal::{Invalidator, Journal},
    observe::Listener,
    policy::{Answered, Policy},
    rfc9111::profile::Profile,
    staleness::{Ahead, Widest},
    store::{AnyStore, Head, Key, Nothing, Store},
};

/// What layers and handles share: a store, the fetches under way, and the bounds on both.
///
/// Cloning is cheap, and a clone is the same cache. Make it once: layers over two caches know nothing
/// of each other's entries and fetches.
///
/// ```
/// use seawall::{Cache, CacheLayer, store::Memory};
///
/// let cache = Cache::builder(Memory::bytes(256 << 20)).max_body(4 << 20).build();
/// let layer = CacheLayer::new(cache.clone());
/// assert_eq!(cache.figures().flights, 0);
/// # let _ = layer;
/// ```
#[derive(Clone)]
pub struct Cache {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    /// Tells this cache's flight table from others.
    pub(crate) id: u64,
    pub(crate) store: AnyStore,
    pub(crate) flights: Arc<Flights<Key, Arc<Head>>>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) remembered: Remembered,
    pub(crate) limits: Limits,
    pub(crate) listener: Listener,
    pub(crate) tasks: Tasks,
    pub(crate) journal: Journal,
    pub(crate) switch: switch::State,
    pub(crate) posts: Arc<changes::Posts>,
    /// The windows of the layers over it.
    pub(crate) widest: Widest,
}

/// What a cache holds and does at this moment.
///
/// Good for a status page, or for a test that nothing is left behind. Each number is read by itself:
/// while calls are under way two of them may be of different moments.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{BodyExt, Empty, Full};
/// # use seawall::{BoxError, Cache, CacheLayer, store::Memory};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Response::builder().header("cache-control", "max-age=60").body(Full::<Bytes>::from("once"))
/// # });
/// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
/// let cache = Cache::new(Memory::default());
/// let service = CacheLayer::new(cache.clone()).layer(origin);
/// service.oneshot(request).await?.into_body().collect().await?;
///
/// let figures = cache.figures();
/// assert_eq!(figures.records, 1);
/// assert_eq!((figures.flights, figures.followers, figures.orphans), (0, 0, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Records in the store, as far as they are at hand.
    pub records: u64,
    /// Their weight in bytes.
    pub bytes: u64,
    /// Fetches under way that others may join.
    pub flights: usize,
    /// Callers that wait for another caller's fetch, or read along with it.
    pub followers: usize,
    /// Fetches that go on without a caller.
    pub orphans: usize,
    /// Bytes of bodies that are recorded and not stored yet.
    pub filling: usize,
    /// Keys remembered as uncacheable or outgrown.
    pub remembered: usize,
    /// Keys that failed a moment ago, and are left alone at this moment.
    pub failing: usize,
    /// Fetches under way behind answers that were given already.
    pub refreshes: usize,
    /// The number of the last invalidation of this cache; zero where there was none.
    pub position: u64,
}

impl Cache {
    /// A cache over `store`, with every bound at its default.
    pub fn new(store: impl Store) -> Self {
        Self::builder(store).build()
    }

    /// A cache over `store`, with bounds of your own.
    pub fn builder(store: impl Store) -> CacheBuilder {
        CacheBuilder::over(store)
    }

    /// A cache that keeps nothing: its flights are all that it is for.
    pub(crate) fn nothing() -> Self {
        Self::new(Nothing)
    }

    /// What it holds and does at this moment.
    pub fn figures(&self) -> Figures {
        let shared = &self.shared;
        let held = shared.store.figures();
        let (remembered, failing) = shared.remembered.len(Instant::now());
        Figures {
            records: held.records,
            bytes: held.bytes,
            flights: shared.flights.len(),
            followers: shared.budgets.followers.used(),
            orphans: shared.budgets.orphans.used(),
            filling: shared.budgets.fill.used(),
            remembered,
            failing,
            refreshes: shared.budgets.refreshes.used(),
            position: shared.journal.newest().number(),
        }
    }

    /// A handle that invalidates what this cache holds.
    pub fn invalidator(&self) -> Invalidator {
        Invalidator::new(Arc::clone(&self.shared))
    }

    /// A handle that turns this cache off and on.
    pub fn switch(&self) -> Switch {
        Switch::new(Arc::clone(&self.shared))
    }

    /// Starts no more fetches, waits for those under way, and aborts what is left at the deadline.
    ///
    /// From now on a miss goes straight to the inner service, and hits go on. Call it when the
    /// server has stopped accepting.
    ///
    /// # Cancellation
    /// Dropping the future aborts what it waits for.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.shared.tasks.drain(deadline).await
    }
}

/// A bare store makes a cache of its own.
impl<S: Store> From<S> for Cache {
    fn from(store: S) -> Self {
        Self::new(store)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("store", &self.shared.store)
            .field("limits", &self.shared.limits)
            .field("figures", &self.figures())
            .finish_non_exhaustive()
    }
}

/// Answers GET and HEAD from a [`Cache`] by RFC 9111, and fetches once what it has not. With a
/// [`GrpcKey`] it does the same for unary gRPC calls.
///
/// Its defaults are those of [`Profile::safe`]. See the [module](self) for the contract, and
/// [`UriKey`] where a router takes a prefix off the URI before the layer sees it.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response, header::ACCEPT_LANGUAGE};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, Cache, CacheLayer, Profile, UriKey, store::Memory};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Response::builder().header("cache-control", "max-age=60").body(Full::<Bytes>::from("once"))
/// # });
/// let layer = CacheLayer::new(Cache::new(Memory::default()))
///     .policy(Profile::reverse_proxy())
///     .key(UriKey::new().field(ACCEPT_LANGUAGE)); // an answer a language, without `Vary`
/// let service = layer.layer(origin);
///
/// for language in ["en", "de"] {
///     let request = Request::get("http://example.com/").header(ACCEPT_LANGUAGE, language);
///     let response = service.clone().oneshot(request.body(Empty::<Bytes>::new())?).await?;
///     assert_eq!(
///         response.headers()["cache-status"],
///         "seawall; fwd=uri-miss; fwd-status=200; stored",
///     );
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CacheLayer<K = UriKey> {
    engine: Engine<K>,
}

impl CacheLayer {
    /// A layer over `cache`, or over a store that gets a cache of its own.
    pub fn new(cache: impl Into<Cache>) -> Self {
        Self { engine: Engine::new(cache.into(), Place::Cache, Arc::new(Profile::safe())) }
    }
}

impl<K> CacheLayer<K> {
    /// What is kept and reused; [`Profile::safe`] unless set.
    #[must_use]
    pub fn policy(mut self, policy: impl Policy) -> Self {
        self.engine.policy = Arc::new(policy);
        self
    }

    /// What tells requests apart; [`UriKey`] unless set.
    pub fn key<L>(self, key: L) -> CacheLayer<L> {
        CacheLayer { engine: self.engine.keyed(key) }
    }

    /// Whether an answer is kept whose body is of unknown length and ends without proof that it is
    /// whole; `false` unless set.
    ///
    /// From the network such a body ends with its connection (HTTP/1, not `chunked`) or with a reset
    /// of its stream (HTTP/2), and one that was cut looks like one that ended. Set it where the inner
    /// service is in this process, and its bodies end when they end.
    #[must_use]
    pub fn store_unframed(mut self, store: bool) -> Self {
        self.engine.store_unframed = store;
        self
    }

    /// For how long after it was fresh an answer is given at once and refreshed behind it (RFC 5861
    /// §3), where the answer itself names no such time; zero unless set.
    ///
    /// Above zero it also refreshes answers ahead of time, as a
    /// [`StaleWhileRevalidateLayer`](crate::StaleWhileRevalidateLayer) does.
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.engine.staleness.while_revalidate = window;
        self.engine.staleness.ahead = (!window.is_zero()).then(Ahead::default);
        self
    }

    /// Changes when answers are refreshed ahead of time, if they are.
    pub(crate) fn ahead(&mut self, change: impl FnOnce(&mut Ahead)) {
        change(self.engine.staleness.ahead.get_or_insert_default());
    }

    /// For how long after it was fresh an answer is given where the origin fails (RFC 5861 §4), where
    /// the answer itself names no such time; zero unless set.
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.engine.staleness.if_error = window;
        self
    }

    /// For how long after it was fresh an answer is kept at least: to be validated, and to be given
    /// [when the origin cannot be reached](Profile::stale_when_unreachable). One day unless set.
    #[must_use]
    pub fn keep_stale(mut self, time: Duration) -> Self {
        self.engine.staleness.keep = time;
        self
    }

    /// After how long a caller takes a stale answer instead of waiting on, where it may have one: as
    /// long as it could have it if the origin failed. The fetch goes on, and its answer is stored. Off
    /// unless set.
    #[must_use]
    pub fn soft_timeout(mut self, after: Duration) -> Self {
        self.engine.staleness.soft_timeout = Some(after);
        self
    }

    /// The last resort before an error: makes an answer where there is none, not even a stale one.
    ///
    /// It is asked on every such call, of a server error of the origin as well; `None` leaves the
    /// failure as it is.
    #[must_use]
    pub fn fallback(
        mut self,
        fallback: impl Fn(&Failed<'_>) -> Option<Response<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        self.engine.fallback = Some(Arc::new(fallback));
        self
    }

    /// The field that names an answer's tags beside `Cache-Tag`; `Surrogate-Key` unless set. Tags are
    /// separated by spaces or commas; an answer with more than 64 is not kept.
    #[must_use]
    pub fn tag_field(mut self, field: HeaderName) -> Self {
        self.engine.tags.in_field(field);
        self
    }

    /// Gives answers tags beside those that their fields name.
    ///
    /// ```
    /// use seawall::{CacheLayer, store::Memory};
    ///
    /// let layer = CacheLayer::new(Memory::default()).tags(|answered| {
    ///     let kind = answered.response.get("content-type").and_then(|kind| kind.to_str().ok());
    ///     kind.map(|kind| format!("type:{kind}")).into_iter().collect()
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn tags(
        mut self,
        tags: impl Fn(&Answered<'_>) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.engine.tags.by(tags);
        self
    }
}

impl<S, K: Clone> Layer<S> for CacheLayer<K> {
    type Service = CacheService<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        // Layers over one cache are one engine: the widest of their windows holds.
        self.engine.cache.widest.raise(&self.engine.staleness);
        CacheService::new(inner, self.engine.clone())
    }
}
