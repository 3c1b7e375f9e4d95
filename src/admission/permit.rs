//! Leave to make one call, on its way with that call.

use std::{fmt, time::Duration};

use super::{Outcome, Settle};

/// Leave to make one call, settled once. See [`Classify`](super::Classify) for an example.
///
/// Dropped before it is settled, it tells that its caller has left: before the head that the call was
/// abandoned, before the first byte of the body what the head told, and later nothing.
pub struct Permit<T: Settle> {
    ticket: Option<T>,
    stage: Stage,
    /// The inner service is running: if the permit is dropped now, it has panicked.
    inside: bool,
    /// The request is a HEAD.
    head_only: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    Called,
    /// The head is there, and nobody has asked for the body.
    Answered(Option<Outcome>),
    Reading,
}

impl<T: Settle> Permit<T> {
    pub(crate) fn new(ticket: T) -> Self {
        Self { ticket: Some(ticket), stage: Stage::Called, inside: false, head_only: false }
    }

    /// No body will come.
    pub(super) fn asks_for_head_only(&mut self) {
        self.head_only = true;
    }

    pub(super) fn is_head_only(&self) -> bool {
        self.head_only
    }

    /// Runs the inner service, whose panic is its failure.
    pub(super) fn around<R>(&mut self, inner: impl FnOnce() -> R) -> R {
        self.inside = true;
        let result = inner();
        self.inside = false;
        result
    }

    /// The head of the answer is there, and tells how the call went, unless its trailers will.
    pub fn answered(&mut self, known: Option<Outcome>) {
        if let (Stage::Called, Some(ticket)) = (self.stage, &mut self.ticket) {
            // First: what the ticket does may panic, and is not done twice.
            self.stage = Stage::Answered(known);
            ticket.answered(known);
        }
    }

    /// Somebody asks for the body.
    pub(super) fn read(&mut self) {
        self.stage = Stage::Reading;
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
        self.answered(Some(outcome));
        if let Some(ticket) = self.ticket.take() {
            ticket.settle(outcome);
        }
    }
}

impl<T: Settle> Drop for Permit<T> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.end(match self.stage {
                _ if self.inside => Outcome::Failure,
                Stage::Called => Outcome::Abandoned,
                Stage::Answered(Some(told)) => told,
                // The origin has answered: its caller's patience is not its fault any more.
                Stage::Answered(None) | Stage::Reading => Outcome::Unrelated,
            });
        }
    }
}

impl<T: Settle> fmt::Debug for Permit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("settled", &self.ticket.is_none()).finish_non_exhaustive()
    }
}
