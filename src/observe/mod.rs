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

use crate::rfc9111::storing::Refusal;

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
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// A caller was answered from storage.
    Hit,
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
    /// A store failed, or was too slow; the call went on without it.
    StoreFailed {
        /// What was asked of the store.
        operation: Operation,
        /// What it answered.
        error: &'e (dyn Error + 'static),
    },
    /// An entry came back from a store under a key that is not its own; it counts as a miss.
    ForeignEntry,
}

/// Why a caller was sent to the origin alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pass {
    /// The request is not of a kind that is cached or coalesced.
    Request,
    /// The request has no key: too long, or ambiguous about whom it is for.
    Key,
    /// The key is remembered as uncacheable or outgrown.
    Remembered,
    /// The flight that it joined turned out not to be for it.
    NotShared,
    /// The table of flights, or a limit on those that wait, is full.
    Full,
    /// The cache is being drained.
    Draining,
}

/// What is remembered of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aside {
    /// Its answers may not be kept.
    Uncacheable,
    /// Its answers are larger than what is kept.
    Outgrown,
}

/// What was asked of a store.
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
