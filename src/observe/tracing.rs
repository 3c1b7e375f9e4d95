//! Events through `tracing`.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tracing::{Span, debug, trace, warn};

use super::{Event, Observer};

/// Reports events through [`tracing`](::tracing): what concerns one call at `TRACE`, what changes how
/// later calls are treated at `DEBUG`, failures at `WARN`. The target is `seawall`.
///
/// ```
/// use seawall::{Cache, observe::Tracing, store::Memory};
///
/// let cache = Cache::builder(Memory::default()).observer(Tracing).build();
/// # let _ = cache;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

impl Observer for Tracing {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::OriginFailed(error) => {
                warn!(target: "seawall", %error, "the origin failed");
            }
            Event::StoreFailed { operation, error } => {
                warn!(target: "seawall", ?operation, %error, "a store failed");
            }
            Event::UnreadableEntry(why) => {
                warn!(target: "seawall", %why, "what came back from a store is of no use");
            }
            Event::WriteDropped => warn!(target: "seawall", "too many writes wait for a store"),
            Event::ForeignEntry => warn!(target: "seawall", "an entry lies under another's key"),
            Event::CircuitChanged { change, of } => {
                warn!(target: "seawall", ?change, of, "a circuit breaker changed its state");
            }
            Event::Remembered(_)
            | Event::BackedOff { .. }
            | Event::Invalidated { .. }
            | Event::RefreshSkipped
            | Event::Outgrown
            | Event::HandedOver
            | Event::OrphanCancelled
            | Event::NotStored(_) => debug!(target: "seawall", ?event),
            _ => trace!(target: "seawall", ?event),
        }
    }
}

/// Polls spawned work in the span that is current now.
pub(super) fn in_callers_span<F: Future>(future: F) -> impl Future<Output = F::Output> {
    InSpan { future, span: Span::current() }
}

pin_project! {
    struct InSpan<F> {
        #[pin]
        future: F,
        span: Span,
    }
}

impl<F: Future> Future for InSpan<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        this.future.poll(cx)
    }
}
