//! Gives what is stale at once, and fetches it anew behind the answer.

use std::time::Duration;

use http::{HeaderName, Response};
use tower_layer::Layer;

use crate::{
    Cache, CacheLayer, Policy, UriKey, cache::CacheService, fallback::Failed, policy::Answered,
};

/// A [`CacheLayer`] whose callers do not wait for an answer to be fetched anew.
///
/// Within `window` after it was fresh, an answer is given stale, at once, and one fetch a key goes on
/// behind it, within a [budget](crate::cache::CacheBuilder::refreshes). Where the answer itself names
/// a time (`stale-while-revalidate`), that holds; what it forbids (`no-cache`, `must-revalidate`,
/// `proxy-revalidate`, `s-maxage` as the [profile](crate::Profile::strict_s_maxage) has it) is
/// forbidden here too.
///
/// That needs an entry at hand ([`Store::peek`](crate::store::Store::peek)): one that only a remote
/// store has is fetched anew in the foreground. A HEAD is given what is stale as well, and refreshes
/// nothing.
///
/// An answer that is asked for again shortly before it would be stale is refreshed ahead of time:
/// with XFetch ([`beta`](Self::beta)), the more likely the closer it is and the longer its fetch took;
/// at a [`threshold`](Self::refresh_at) of its lifetime, if one is set; and for each entry a little
/// earlier than for others ([`jitter`](Self::jitter)), so that what was stored together does not come
/// back together.
///
/// Everything else is a [`CacheLayer`]'s: [`into_cache_layer`](Self::into_cache_layer) makes one of it.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{BodyExt, Empty, Full};
/// # use seawall::BoxError;
/// # use tower::{Layer, ServiceExt, service_fn};
/// use seawall::{StaleWhileRevalidateLayer, store::Memory};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Response::builder().header("cache-control", "max-age=60").body(Full::<Bytes>::from("once"))
/// # });
/// # let get = || Request::get("http://example.com/").body(Empty::<Bytes>::new());
/// let layer = StaleWhileRevalidateLayer::new(Memory::default(), Duration::from_secs(600));
/// let service = layer.layer(origin); // it says `max-age=60`
/// # service.clone().oneshot(get()?).await?.into_body().collect().await?;
///
/// tokio::time::advance(Duration::from_secs(90)).await;
/// let response = service.clone().oneshot(get()?).await?;
/// assert_eq!(response.headers()["age"], "90");
/// assert_eq!(response.headers()["cache-status"], "seawall; hit; detail=stale-while-revalidate");
///
/// tokio::time::sleep(Duration::from_millis(1)).await; // the refresh is done
/// let response = service.oneshot(get()?).await?;
/// assert_eq!(response.headers()["cache-status"], "seawall; hit");
/// # Ok(()) }
/// ```
///
/// # Cancellation
/// The fetch behind an answer belongs to nobody: it goes on when the caller that it began behind has
/// gone. If it fails, the next stale hit begins another, once the back-off of its key has passed.
#[derive(Clone, Debug)]
pub struct StaleWhileRevalidateLayer<K = UriKey> {
    layer: CacheLayer<K>,
}

impl StaleWhileRevalidateLayer {
    /// A layer over `cache`, or over a store that gets a cache of its own.
    ///
    /// Over a [`Cache`] that another layer has too, the two are one engine, and the wider of their
    /// windows holds.
    pub fn new(cache: impl Into<Cache>, window: Duration) -> Self {
        Self { layer: CacheLayer::new(cache).stale_while_revalidate(window) }
    }
}

impl<K> StaleWhileRevalidateLayer<K> {
    /// How eagerly answers are refreshed ahead of time: the β of XFetch. 1, unless set, is its
    /// authors' choice; more is earlier, and 0, or less, is not at all.
    #[must_use]
    pub fn beta(mut self, beta: f64) -> Self {
        self.layer.ahead(|ahead| ahead.beta = beta.max(0.0));
        self
    }

    /// The share of its lifetime, from 0 to 1, after which the next hit refreshes an answer; off
    /// unless set. Other values are brought into that range.
    #[must_use]
    pub fn refresh_at(mut self, share: f64) -> Self {
        self.layer.ahead(|ahead| ahead.threshold = Some(share.clamp(0.0, 1.0)));
        self
    }

    /// By which share of its lifetime, from 0 to 1, an answer is refreshed earlier at most, drawn
    /// for each entry; 0.1 unless set. Other values are brought into that range.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.layer.ahead(|ahead| ahead.jitter = share.clamp(0.0, 1.0));
        self
    }

    /// See [`CacheLayer::stale_if_error`].
    #[must_use]
    pub fn stale_if_error(self, window: Duration) -> Self {
        Self { layer: self.layer.stale_if_error(window) }
    }

    /// See [`CacheLayer::keep_stale`].
    #[must_use]
    pub fn keep_stale(self, time: Duration) -> Self {
        Self { layer: self.layer.keep_stale(time) }
    }

    /// See [`CacheLayer::soft_timeout`].
    #[must_use]
    pub fn soft_timeout(self, after: Duration) -> Self {
        Self { layer: self.layer.soft_timeout(after) }
    }

    /// See [`CacheLayer::fallback`].
    #[must_use]
    pub fn fallback(
        self,
        fallback: impl Fn(&Failed<'_>) -> Option<Response<bytes::Bytes>> + Send + Sync + 'static,
    ) -> Self {
        Self { layer: self.layer.fallback(fallback) }
    }

    /// See [`CacheLayer::policy`].
    #[must_use]
    pub fn policy(self, policy: impl Policy) -> Self {
        Self { layer: self.layer.policy(policy) }
    }

    /// See [`CacheLayer::key`].
    pub fn key<L>(self, key: L) -> StaleWhileRevalidateLayer<L> {
        StaleWhileRevalidateLayer { layer: self.layer.key(key) }
    }

    /// See [`CacheLayer::tag_field`].
    #[must_use]
    pub fn tag_field(self, field: HeaderName) -> Self {
        Self { layer: self.layer.tag_field(field) }
    }

    /// See [`CacheLayer::tags`].
    #[must_use]
    pub fn tags(self, tags: impl Fn(&Answered<'_>) -> Vec<String> + Send + Sync + 'static) -> Self {
        Self { layer: self.layer.tags(tags) }
    }

    /// The same as a [`CacheLayer`], for the settings that are not here.
    pub fn into_cache_layer(self) -> CacheLayer<K> {
        self.layer
    }
}

impl<S, K: Clone> Layer<S> for StaleWhileRevalidateLayer<K> {
    type Service = CacheService<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        self.layer.layer(inner)
    }
}
