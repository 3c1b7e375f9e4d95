//! Coalescing: identical concurrent calls are answered by one.
//!
//! [`CoalesceLayer::new`] is for HTTP: the engine of [`CacheLayer`](crate::CacheLayer) with nothing to
//! look in. [`CoalesceLayer::by`] is for any service whose response is `Clone`. Use either in front
//! of an inner service that is slow or costly per call. They keep nothing: for that, see
//! [`CacheLayer`](crate::CacheLayer), which coalesces as well.
//!
//! ```
//! use seawall::{BoxError, CoalesceLayer};
//! use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
//! let calls = Arc::new(AtomicU32::new(0));
//! let counted = Arc::clone(&calls);
//! let square = service_fn(move |n: u64| {
//!     counted.fetch_add(1, Ordering::Relaxed);
//!     async move { Ok::<_, BoxError>(n * n) }
//! });
//! let mut service = ServiceBuilder::new().layer(CoalesceLayer::by(|n: &u64| *n)).service(square);
//!
//! let (one, other) = (service.call(12), service.call(12));
//! assert_eq!((one.await?, other.await?), (144, 144));
//! assert_eq!(calls.load(Ordering::Relaxed), 1);
//! # Ok(()) }
//! ```
//!
//! # Errors
//! A failure of the inner service is every waiting caller's, as a
//! [`SharedError`](crate::SharedError).
//!
//! # Panics
//! Outside of a tokio runtime. A panic of the inner service fails those who wait for that call, with
//! [`FetchError::Aborted`](crate::FetchError::Aborted), and no one else.
//!
//! # Cancellation
//! A call belongs to no caller: dropping a response future, even the first, leaves the others
//! unharmed. A call whose last caller leaves goes on within a budget of 64, and is cancelled beyond
//! it.

pub(crate) mod budget;
pub(crate) mod by;
pub(crate) mod flights;
#[cfg(all(test, seawall_loom))]
mod models;
pub(crate) mod recording;
pub(crate) mod remembered;
pub(crate) mod share;

use std::sync::Arc;

use tower_layer::Layer;

pub use self::by::{CoalesceBy, CoalesceByFuture, CoalesceByLayer};
use self::share::Place;
use crate::{
    Cache,
    cache::{CacheBuilder, UriKey, engine::Engine, service::CacheService},
    rfc9111::profile::Profile,
};

/// Answers identical concurrent requests with one call to the inner service, and keeps nothing.
///
/// Which requests and answers are shared follows HTTP: a GET or HEAD without a body, whose answer
/// nothing forbids to reuse. An answer without explicit freshness is shared where neither request has
/// `Authorization` or `Cookie`, unless its status speaks to one client (400 to 499, but for 404, 405, 410 and 414). An event
/// stream that names neither freshness nor a validator is each caller's own: who joins late has missed
/// its beginning. See the [module](self) for the contract.
///
/// ```
/// use seawall::CoalesceLayer;
///
/// let layer = CoalesceLayer::new();
/// assert_eq!(layer.cache().figures().flights, 0);
/// ```
#[derive(Clone, Debug)]
pub struct CoalesceLayer<K = UriKey> {
    engine: Engine<K>,
    cache: Cache,
}

impl CoalesceLayer {
    /// A layer with flights of its own.
    pub fn new() -> Self {
        Self::over(Cache::nothing())
    }

    /// A layer with bounds of your own, and an observer.
    ///
    /// ```
    /// use seawall::CoalesceLayer;
    ///
    /// let layer = CoalesceLayer::bounded(|bounds| bounds.flights(1_000));
    /// # let _ = layer;
    /// ```
    pub fn bounded(bounds: impl FnOnce(CacheBuilder) -> CacheBuilder) -> Self {
        Self::over(bounds(Cache::builder(crate::store::Nothing)).build())
    }

    fn over(cache: Cache) -> Self {
        let policy = Arc::new(Profile::safe());
        Self { engine: Engine::new(cache.clone(), Place::Coalesce, policy), cache }
    }
}

impl Default for CoalesceLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> CoalesceLayer<K> {
    /// What tells requests apart; [`UriKey`] unless set.
    pub fn key<L>(self, key: L) -> CoalesceLayer<L> {
        CoalesceLayer { engine: self.engine.keyed(key), cache: self.cache }
    }

    /// The flights: their figures, and how to drain them.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }
}

impl<S, K: Clone> Layer<S> for CoalesceLayer<K> {
    type Service = CacheService<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        CacheService::new(inner, self.engine.clone())
    }
}
