//! Leave to make one call, on its way with that call.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::{Outcome, Settle};

/// Leave to make one call. It is settled once: dropped unsettled, its call was abandoned, or, once
/// [`answered`](Self::answered), is unrelated to how the origin does. See [`Classify`](super::Classify)
/// for an example.
pub struct Permit<T: Settle> {
    ticket: Option<T>,
    began: Instant,
    /// The head was there, or there will be none.
    answered: bool,
    /// The inner service is running: if the permit is dropped now, it has panicked.
    inside: bool,
}

impl<T: Settle> Permit<T> {
    pub(crate) fn new(ticket: T, began: Instant) -> Self {
        Self { ticket: Some(ticket), began, answered: false, inside: false }
    }

    /// Runs the inner service, whose panic is its failure.
    pub(super) fn around<R>(&mut self, inner: impl FnOnce() -> R) -> R {
        self.inside = true;
        let result = inner();
        self.inside = false;
        result
    }

    /// The head of the answer is there, and tells so much.
    pub fn answered(&mut self, outcome: Outcome) {
        if let Some(ticket) = &mut self.ticket
            && !std::mem::replace(&mut self.answered, true)
        {
            ticket.answered(outcome, self.began);
        }
    }

    /// The answer asks to be left alone for so long.
    pub fn heed(&mut self, retry_after: Duration) {
        if let Some(ticket) = &mut self.ticket {
            ticket.heed(retry_after);
        }
    }

    /// The call has ended.
    pub fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        self.answered(outcome);
        if let Some(ticket) = self.ticket.take() {
            ticket.settle(outcome, self.began);
        }
    }
}

impl<T: Settle> Drop for Permit<T> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.end(match self {
                Self { inside: true, .. } => Outcome::Failure,
                // The origin has answered: its caller's patience is not its fault any more.
                Self { answered: true, .. } => Outcome::Unrelated,
                Self { .. } => Outcome::Abandoned,
            });
        }
    }
}

impl<T: Settle> fmt::Debug for Permit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("settled", &self.ticket.is_none()).finish_non_exhaustive()
    }
}
