//! Leave to make a call, or the refusal; and the word that gives leave without a lock. Pure.

use std::time::Duration;

use super::state::{State, Transition};

/// No refusal tells its caller to come back at once.
const SOONEST: Duration = Duration::from_millis(1);

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// With an answer that speaks for the origin.
    Success,
    /// With an answer that speaks against it, or with none.
    Failure,
    /// Its caller left before.
    Abandoned,
}

/// A call was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// When to try again; never zero.
    pub(crate) retry_after: Duration,
    /// The change that came before it.
    pub(crate) changed: Option<Transition>,
}

impl Refused {
    pub(super) fn after(time: Duration) -> Self {
        Self { retry_after: time.max(SOONEST), changed: None }
    }
}

/// Leave to make one call; to be settled once.
#[derive(Debug, PartialEq)]
#[must_use = "a probe that is never settled holds its place for its lease"]
pub(crate) struct Ticket {
    pub(super) epoch: u64,
    pub(super) place: Place,
    pub(super) changed: Option<Transition>,
}

/// What a call is to the breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// One of those it counts.
    Call,
    /// The probe of this number.
    Probe(u64),
    /// Admitted only because the breaker was told to admit all.
    Uncounted(Option<Refused>),
}

impl Ticket {
    pub(super) fn new(epoch: u64, place: Place) -> Self {
        Self { epoch, place, changed: None }
    }

    /// Whether this call decides what becomes of the breaker.
    pub(crate) fn is_probe(&self) -> bool {
        matches!(self.place, Place::Probe(_))
    }

    /// The change that this admission brought about.
    pub(crate) fn changed(&self) -> Option<Transition> {
        self.changed
    }

    /// The refusal that this call would have met if the breaker did not only observe.
    pub(crate) fn would_be_refused(&self) -> Option<Refused> {
        match self.place {
            Place::Uncounted(refused) => refused,
            Place::Call | Place::Probe(_) => None,
        }
    }
}

/// All that the steady path needs to know, in one word for an atomic: while every call is admitted,
/// it gives the tickets, and nobody asks the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    const ADMITS_ALL: u64 = 1 << 2;
    const COUNTS: u64 = 1 << 3;

    pub(super) fn new(epoch: u64, state: State, admits_all: bool, counts: bool) -> Self {
        let state = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        let flag = |set: bool, flag| if set { flag } else { 0 };
        Self(epoch << 4 | flag(admits_all, Self::ADMITS_ALL) | flag(counts, Self::COUNTS) | state)
    }

    /// A word from [`bits`](Self::bits).
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// What to keep in the atomic.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The state since the last change; open even if its time is over.
    #[cfg(test)]
    #[cfg_attr(seawall_loom, allow(dead_code, reason = "no model asks for it"))]
    pub(crate) fn state(self) -> State {
        match self.0 & 3 {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    /// Whether calls are admitted, all or a share of them.
    pub(crate) fn is_closed(self) -> bool {
        self.0 & 3 == 0
    }

    /// A ticket, if every call is admitted.
    pub(crate) fn ticket(self) -> Option<Ticket> {
        let place = if self.counts() { Place::Call } else { Place::Uncounted(None) };
        (self.0 & Self::ADMITS_ALL != 0).then(|| Ticket::new(self.epoch(), place))
    }

    /// Whether a call with this ticket, if it ends well and in time, may be counted later together
    /// with others.
    pub(crate) fn batches(self, ticket: &Ticket) -> bool {
        self.counts() && ticket.epoch == self.epoch() && ticket.place == Place::Call
    }

    /// Whether a call with this ticket, if it does not end well, may change anything.
    pub(crate) fn minds(self, ticket: &Ticket) -> bool {
        ticket.epoch == self.epoch() && !matches!(ticket.place, Place::Uncounted(_))
    }

    pub(super) fn counts(self) -> bool {
        self.0 & Self::COUNTS != 0
    }

    pub(super) fn epoch(self) -> u64 {
        self.0 >> 4
    }
}
