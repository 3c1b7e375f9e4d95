//! What happens inside, as typed events.
//!
//! An [`Observer`] is told of each event at the moment it happens, on the task that it happens on:
//! it should count or send and return, never wait. A closure is an observer.
//!
//! ```
//! use seawall::{Cache, observe::Event, store::Memory};
//! use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
//!
//! let hits = Arc::new(AtomicU64::new(0));
//! let counted = Arc::clone(&hits);
//! let cache = Cache::builder(Memory::default())
//!     .observer(move |event: &Event<'_>| {
//!         if let Event::Hit = event {
//!             counted.fetch_add(1, Ordering::Relaxed);
//!         }
//!     })
//!     .build();
//! # let _ = cache;
//! ```

use std::{error::Error, fmt, sync::Arc, time::Duration};

use http::StatusCode;

pub use crate::staleness::Stale;
use crate::{
    circuit_breaker::Transition, load_shed::Criticality, rfc9111::refusal::Refusal,
    store::Unreadable,
};

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
#[cfg(feature = "tracing")]
pub use self::tracing::Tracing;

/// Is told of what happens.
///
/// ```
/// use seawall::{Cache, observe::{Event, Observer}, store::Memory};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}};
///
/// #[derive(Default)]
/// struct BytesStored(AtomicU64);
///
/// impl Observer for BytesStored {
///     fn on_event(&self, event: &Event<'_>) {
///         if let Event::Stored { bytes } = event {
///             self.0.fetch_add(*bytes as u64, Relaxed);
///         }
///     }
/// }
///
/// let stored = Arc::new(BytesStored::default());
/// let cache = Cache::builder(Memory::default()).observer(Arc::clone(&stored)).build();
/// # stored.on_event(&Event::Stored { bytes: 7 });
/// # let _ = cache;
/// # assert_eq!(stored.0.load(Relaxed), 7);
/// ```
///
/// # Panics
/// An observer that panics fails the call that it was told of, and no other.
pub trait Observer: Send + Sync + 'static {
    /// Takes note of `event`.
    fn on_event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Observer for F {
    fn on_event(&self, event: &Event<'_>) {
        self(event);
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn on_event(&self, event: &Event<'_>) {
        (**self).on_event(event);
    }
}

/// One thing that happened.
///
/// ```
/// use seawall::observe::Event;
///
/// fn line(event: &Event<'_>) -> Option<String> {
///     match event {
///         Event::OriginAnswered { status, took } => Some(format!("{status} in {took:?}")),
///         Event::OriginFailed(error) => Some(format!("the origin failed: {error}")),
///         _ => None, // there may be more of them one day
///     }
/// }
/// assert_eq!(line(&Event::Hit), None);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// A caller was answered from storage.
    Hit,
    /// A caller was answered from storage, with an answer that is not fresh any more.
    StaleHit(Stale),
    /// A caller was answered by the fallback: there was not even a stale answer.
    FellBack,
    /// A caller became the leader of a flight: nothing stored could answer it.
    Miss,
    /// A caller joined a flight.
    Followed,
    /// A caller was sent to the origin alone.
    Passed(Pass),
    /// A call left for the origin.
    OriginCalled,
    /// The origin answered, and its head took this long.
    OriginAnswered {
        /// The status of the answer.
        status: StatusCode,
        /// From the call to the head.
        took: Duration,
    },
    /// The origin failed without an answer, or within one.
    OriginFailed(&'e (dyn Error + 'static)),
    /// A stored answer was validated: the origin answered 304.
    Freshened,
    /// An answer was stored.
    Stored {
        /// Its body's length in bytes.
        bytes: usize,
    },
    /// An answer was not stored, by this rule.
    NotStored(Refusal),
    /// A body outgrew the largest that is kept, or the budget of all fills.
    Outgrown,
    /// A body was still under way at the fetch deadline, and was left to its caller.
    HandedOver,
    /// A fetch whose last caller had left was cancelled: the budget for such was used up.
    OrphanCancelled,
    /// A key became known as uncacheable, or as outgrown: its callers are not coalesced for a while.
    Remembered(Aside),
    /// The origin failed for a key, and is not asked for it again before this time has passed.
    BackedOff {
        /// From now.
        wait: Duration,
    },
    /// A caller was refused: the origin failed for its key a moment ago, and there is nothing to give
    /// instead.
    Refused,
    /// A circuit breaker changed its state.
    CircuitChanged {
        /// From what to what, and why.
        change: Transition,
        /// The key of the breaker, where a layer has many.
        of: Option<&'e str>,
    },
    /// A circuit breaker refused a call.
    CircuitRefused {
        /// It would have: it was told only to observe, and the call went on.
        observed_only: bool,
    },
    /// A call was refused because too many were in flight.
    Shed(Criticality),
    /// A call was refused because its caller has used up its quota.
    OverQuota,
    /// A call was charged to no quota: as many keys as are known at once have used up some of theirs.
    QuotaTableFull,
    /// A fetch began behind an answer that was given already.
    Refreshing,
    /// An answer was given that is due to be refreshed, and was not: too many are, at once.
    RefreshSkipped,
    /// Something was invalidated.
    Invalidated {
        /// It is unusable from now on, rather than stale.
        hard: bool,
    },
    /// A store failed, or was too slow; the call went on without it.
    StoreFailed {
        /// What was asked of the store.
        operation: Operation,
        /// What it answered.
        error: &'e (dyn Error + 'static),
    },
    /// A store was not asked: its breaker is open. The call went on without it.
    StoreRefused {
        /// What would have been asked of it.
        operation: Operation,
    },
    /// What was to be stored further away was not: too much waited to be.
    WriteDropped,
    /// An entry came back from a store under a key that is not its own; it counts as a miss.
    ForeignEntry,
    /// What came back from a store is not what was stored, or of another layout; it counts as a miss.
    UnreadableEntry(Unreadable),
}

/// Why a caller was sent to the origin alone.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, Cache, CacheLayer, observe::{Event, Pass}, store::Memory};
/// # use std::sync::{Arc, Mutex};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("a page")))
/// # });
/// let passes = Arc::new(Mutex::new(Vec::new()));
/// let noted = Arc::clone(&passes);
/// let cache = Cache::builder(Memory::default()).observer(move |event: &Event<'_>| {
///     if let Event::Passed(why) = event {
///         noted.lock().unwrap().push(*why);
///     }
/// });
/// # let service = CacheLayer::new(cache.build()).layer(origin);
/// let request = Request::post("http://example.com/").body(Empty::<Bytes>::new())?;
/// service.oneshot(request).await?;
/// assert_eq!(*passes.lock().unwrap(), [Pass::Request]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pass {
    /// The request is not of a kind that is cached or coalesced.
    Request,
    /// The request has no key: too long, or ambiguous about whom it is for; or it is a gRPC call that
    /// is not unary.
    Key,
    /// The key is remembered as uncacheable or outgrown.
    Remembered,
    /// The flight that it joined turned out not to be for it.
    NotShared,
    /// The table of flights, or a limit on those that wait, is full.
    Full,
    /// The cache is being drained.
    Draining,
    /// The cache is switched off, for all or for this request.
    SwitchedOff,
}

/// What is remembered of a key, so that its callers are not made to wait for an answer that none of
/// them may have.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, Cache, CacheLayer, observe::{Aside, Event}, store::Memory};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Response::builder().header("cache-control", "no-store").body(Full::<Bytes>::from("new"))
/// # });
/// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
/// let cache = Cache::builder(Memory::default())
///     .observer(|event: &Event<'_>| {
///         if let Event::Remembered(aside) = event {
///             assert_eq!(*aside, Aside::Uncacheable); // this origin says `no-store`
///         }
///     })
///     .build();
/// CacheLayer::new(cache.clone()).layer(origin).oneshot(request).await?;
/// assert_eq!(cache.figures().remembered, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aside {
    /// Its answers may not be kept.
    Uncacheable,
    /// Its answers are larger than what is kept.
    Outgrown,
}

/// What was asked of a store.
///
/// ```
/// use seawall::observe::{Event, Operation};
///
/// /// A look-up that fails is a miss; a removal that fails leaves behind what should be gone.
/// fn is_urgent(event: &Event<'_>) -> bool {
///     matches!(event, Event::StoreFailed { operation: Operation::Remove, .. })
/// }
/// let error = std::io::Error::other("the connection is gone");
/// assert!(!is_urgent(&Event::StoreFailed { operation: Operation::Get, error: &error }));
/// assert!(is_urgent(&Event::StoreFailed { operation: Operation::Remove, error: &error }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Looking an entry up.
    Get,
    /// Storing an entry.
    Put,
    /// Removing an entry.
    Remove,
}

/// An observer, or none: events are made only where someone listens.
#[derive(Clone, Default)]
pub(crate) struct Listener(Option<Arc<dyn Observer>>);

impl Listener {
    pub(crate) fn new(observer: impl Observer) -> Self {
        Self(Some(Arc::new(observer)))
    }

    pub(crate) fn observer(&self) -> Option<&Arc<dyn Observer>> {
        self.0.as_ref()
    }

    #[inline]
    pub(crate) fn tell(&self, event: &Event<'_>) {
        if let Some(observer) = &self.0 {
            observer.on_event(event);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "an observer" } else { "none" })
    }
}

/// Runs spawned work in the span of whoever asked for it.
#[cfg(feature = "tracing")]
pub(crate) fn in_callers_span<F: Future>(future: F) -> impl Future<Output = F::Output> {
    self::tracing::in_callers_span(future)
}

/// Runs spawned work in the span of whoever asked for it: without `tracing` there are no spans.
#[cfg(not(feature = "tracing"))]
pub(crate) fn in_callers_span<F: Future>(future: F) -> F {
    future
}
