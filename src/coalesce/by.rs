//! Coalescing of any service whose response is `Clone`, by a key of the caller's choice.

use std::{
    fmt,
    future::{Future, poll_fn},
    hash::Hash,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    CoalesceLayer,
    budget::{Budget, Budgets},
    flights::{Flights, Join, Joined, Lead},
    recording::{Answer, End, Reader},
};
use crate::{
    error::{BoxError, FetchError, SharedError},
    observe::Listener,
};

const DEADLINE: Duration = Duration::from_secs(30);
const STALLED_AFTER: Duration = Duration::from_secs(10);

impl CoalesceLayer {
    /// A layer that shares each response among the concurrent requests of one key.
    ///
    /// Requests with equal keys are one request: whatever the response depends on must be in the key.
    /// It knows nothing of [invalidations](crate::journal): beneath a cache, use
    /// [`CoalesceLayer::new`]. The bounds are those of [`CacheBuilder`](crate::cache::CacheBuilder) at their defaults.
    pub fn by<F, R, K, T>(key: F) -> CoalesceByLayer<F, K, T>
    where
        F: Fn(&R) -> K + Clone,
        K: Hash + Eq + Clone,
        T: Clone,
    {
        let budgets = Budgets {
            fill: Budget::new(0),
            orphans: Budget::new(64),
            refreshes: Budget::new(0),
            followers: Budget::new(65_536),
            followers_a_flight: 16_384,
            listener: Listener::default(),
        };
        CoalesceByLayer { flights: Flights::new(32_768, STALLED_AFTER, Arc::new(budgets)), key }
    }
}

/// The layer of [`CoalesceLayer::by`].
///
/// The services that it makes, and its clones, share their calls.
///
/// ```
/// # use seawall::{BoxError, CoalesceLayer};
/// # use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
/// # use tower::{Layer, Service, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let calls = Arc::new(AtomicU32::new(0));
/// # let counted = Arc::clone(&calls);
/// # let square = service_fn(move |n: u64| {
/// #     counted.fetch_add(1, Ordering::Relaxed);
/// #     async move { Ok::<_, BoxError>(n * n) }
/// # });
/// let layer = CoalesceLayer::by(|n: &u64| *n);
/// let (mut here, mut there) = (layer.layer(square.clone()), layer.layer(square));
/// let (one, other) = (here.call(12), there.call(12));
/// assert_eq!(layer.flights(), 1);
/// assert_eq!((one.await?, other.await?), (144, 144));
/// assert_eq!(calls.load(Ordering::Relaxed), 1);
/// # Ok(()) }
/// ```
pub struct CoalesceByLayer<F, K, T> {
    flights: Arc<Flights<K, Shared<T>>>,
    key: F,
}

impl<F, K, T> CoalesceByLayer<F, K, T>
where
    K: Hash + Eq + Clone,
    T: Clone,
{
    /// How many calls others may join at this moment.
    pub fn flights(&self) -> usize {
        self.flights.len()
    }
}

impl<S, F: Clone, K, T> Layer<S> for CoalesceByLayer<F, K, T> {
    type Service = CoalesceBy<S, F, K, T>;

    fn layer(&self, inner: S) -> Self::Service {
        CoalesceBy { inner, flights: Arc::clone(&self.flights), key: self.key.clone() }
    }
}

impl<F: Clone, K, T> Clone for CoalesceByLayer<F, K, T> {
    fn clone(&self) -> Self {
        Self { flights: Arc::clone(&self.flights), key: self.key.clone() }
    }
}

impl<F, K, T> fmt::Debug for CoalesceByLayer<F, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoalesceByLayer").field("flights", &self.flights).finish_non_exhaustive()
    }
}

/// The service of [`CoalesceLayer::by`]. Always ready: a follower needs nothing of the inner service.
///
/// What is not in the key is the first caller's, whoever asks:
///
/// ```
/// # use seawall::{BoxError, CoalesceLayer};
/// # use tower::{Layer, Service, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// let greet = service_fn(|(id, name): (u32, &'static str)| async move {
///     Ok::<_, BoxError>(format!("{id} for {name}"))
/// });
/// let mut service = CoalesceLayer::by(|asked: &(u32, &'static str)| asked.0).layer(greet);
/// let (first, second) = (service.call((7, "ann")), service.call((7, "bob")));
/// assert_eq!((first.await?, second.await?), ("7 for ann".into(), "7 for ann".into()));
/// # Ok(()) }
/// ```
pub struct CoalesceBy<S, F, K, T> {
    inner: S,
    flights: Arc<Flights<K, Shared<T>>>,
    key: F,
}

impl<S, F, K, T, R> Service<R> for CoalesceBy<S, F, K, T>
where
    S: Service<R, Response = T, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    F: Fn(&R) -> K,
    K: Hash + Eq + Clone + Send + 'static,
    T: Clone + Send + 'static,
    R: Send + 'static,
{
    type Response = T;
    type Error = BoxError;
    type Future = CoalesceByFuture<T>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let key = (self.key)(&request);
        let now = Instant::now();
        CoalesceByFuture {
            waiting: match self.flights.join(&key, Join::default(), now) {
                Joined::Follower(reader) => Waiting::For(reader),
                Joined::Leader(lead, reader) => {
                    let recording = Arc::clone(lead.recording());
                    let fetch = fetch(self.inner.clone(), request, lead, now + DEADLINE);
                    let task = tokio::spawn(crate::observe::in_callers_span(fetch));
                    recording.written_by(task.abort_handle());
                    Waiting::For(reader)
                }
                Joined::Behind(_) | Joined::Full => {
                    Waiting::Alone(Box::pin(send(self.inner.clone(), request)))
                }
            },
        }
    }
}

async fn fetch<S, R, K, T>(inner: S, request: R, lead: Lead<K, Shared<T>>, deadline: Instant)
where
    S: Service<R, Response = T, Error: Into<BoxError>>,
    K: Hash + Eq + Clone,
    T: Clone,
{
    match timeout_at(deadline, send(inner, request)).await {
        Ok(Ok(response)) => lead.answer(Shared::new(response)),
        Ok(Err(error)) => lead.end(End::Failed(SharedError::new(error))),
        Err(_) => lead.end(End::Failed(SharedError::new(FetchError::Deadline.into()))),
    }
}

async fn send<S, R>(mut inner: S, request: R) -> Result<S::Response, BoxError>
where
    S: Service<R, Error: Into<BoxError>>,
{
    poll_fn(|cx| inner.poll_ready(cx)).await.map_err(Into::into)?;
    inner.call(request).await.map_err(Into::into)
}

impl<S: Clone, F: Clone, K, T> Clone for CoalesceBy<S, F, K, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            flights: Arc::clone(&self.flights),
            key: self.key.clone(),
        }
    }
}

impl<S: fmt::Debug, F, K, T> fmt::Debug for CoalesceBy<S, F, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoalesceBy")
            .field("inner", &self.inner)
            .field("flights", &self.flights)
            .finish_non_exhaustive()
    }
}

/// A response for all who wait. Each copies it under a lock of its own: what a `clone` does is not
/// ours to know, and must not hold up the flight.
struct Shared<T>(Arc<Mutex<T>>);

impl<T: Clone> Shared<T> {
    fn new(response: T) -> Self {
        Self(Arc::new(Mutex::new(response)))
    }

    fn copy(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// The response of a [`CoalesceBy`]. Dropping it, even the first, harms no other caller.
///
/// ```
/// # use seawall::{BoxError, CoalesceLayer};
/// # use tower::{Layer, Service, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let square = service_fn(|n: u64| async move { Ok::<_, BoxError>(n * n) });
/// let mut service = CoalesceLayer::by(|n: &u64| *n).layer(square);
/// let (first, second) = (service.call(12), service.call(12));
/// drop(first);
/// assert_eq!(second.await?, 144);
/// # Ok(()) }
/// ```
pub struct CoalesceByFuture<T> {
    waiting: Waiting<T>,
}

enum Waiting<T> {
    For(Reader<Shared<T>>),
    /// There is no place left to wait in.
    Alone(Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>),
}

// Nothing in it is pinned in place.
impl<T> Unpin for CoalesceByFuture<T> {}

impl<T: Clone> Future for CoalesceByFuture<T> {
    type Output = Result<T, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.waiting {
            Waiting::Alone(call) => call.as_mut().poll(cx),
            Waiting::For(reader) => Poll::Ready(match ready!(reader.poll_head(cx)) {
                Answer::Head(response) => Ok(response.copy()),
                Answer::Failed(error) | Answer::Own(error) => Err(error.into()),
                Answer::Aside | Answer::Personal => Err(FetchError::Aborted.into()),
            }),
        }
    }
}

impl<T> fmt::Debug for CoalesceByFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.waiting {
            Waiting::For(_) => "CoalesceByFuture(waiting)",
            Waiting::Alone(_) => "CoalesceByFuture(alone)",
        })
    }
}
