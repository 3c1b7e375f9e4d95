//! One caller's way through a recording.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;

use super::{End, Open, Recording, State, wakers::Seat};
use crate::{
    error::{FetchError, SharedError},
    observe::Event,
    sync::{guarded, lock},
};

/// What a caller that waited for a head gets.
#[derive(Debug)]
pub(crate) enum Answer<H> {
    /// The head; the reader it waited with reads the body.
    Head(H),
    /// Go your own way.
    Aside,
    /// Go your own way, or join once more if there is nothing personal about the request.
    Personal,
    /// The fetch failed.
    Failed(SharedError),
    /// The fetch failed, maybe for what its leader is or asked with.
    Own(SharedError),
}

/// One step through a body.
#[derive(Debug)]
pub(crate) enum Read {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// The rest comes from the origin's own body, which the leader has been sent.
    Rest,
    Failed(SharedError),
}

/// Whose place a reader has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It started the fetch: it gets the head as soon as it is there, and the rest if it is handed
    /// over.
    Leader,
    /// It joined: it gets the head once the recording is open to it.
    Follower,
    /// It joined for the head alone, and gets that as soon as it is there.
    ToHead,
}

/// One caller's way through a recording.
pub(crate) struct Reader<H> {
    recording: Arc<Recording<H>>,
    place: Place,
    seat: Option<Seat>,
    /// How many bytes of the body it has been given.
    position: usize,
    streaming: bool,
    trailers_read: bool,
}

impl<H: Clone> Reader<H> {
    pub(super) fn new(recording: Arc<Recording<H>>, place: Place) -> Self {
        Self { recording, place, seat: None, position: 0, streaming: false, trailers_read: false }
    }

    /// Waits for the head, or for how the fetch ended without one.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Answer<H>> {
        let mut state = lock(&self.recording.state);
        let open = self.place != Place::Follower || state.open == Open::AtHead;
        match (&state.head, &state.end) {
            (Some(head), Some(End::Complete)) => Poll::Ready(Answer::Head(head.clone())),
            (Some(head), None) if open => {
                let head = head.clone();
                if self.place == Place::Follower && !mem::replace(&mut self.streaming, true) {
                    state.streaming += 1;
                }
                Poll::Ready(Answer::Head(head))
            }
            (Some(head), Some(End::HandedOver)) if self.place != Place::Follower => {
                Poll::Ready(Answer::Head(head.clone()))
            }
            (_, Some(End::Failed(error))) => Poll::Ready(Answer::Failed(error.clone())),
            (_, Some(End::Own(error))) => Poll::Ready(Answer::Own(error.clone())),
            (_, Some(End::Personal)) => Poll::Ready(Answer::Personal),
            (_, Some(_)) => Poll::Ready(Answer::Aside),
            (_, None) => {
                state.register(self.place, &mut self.seat, cx.waker());
                Poll::Pending
            }
        }
    }

    /// The fetch goes on although this caller, and maybe every other, does not wait for it.
    pub(crate) fn leave_it_going(self) {
        self.recording.goes_on();
    }

    /// Whether it was stored when this began: nobody fetched it.
    pub(crate) fn is_from_storage(&self) -> bool {
        lock(&self.recording.state).from_storage
    }

    /// Waits until it has ended, however.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.recording.state);
        if state.end.is_some() {
            return Poll::Ready(());
        }
        state.register(self.place, &mut self.seat, cx.waker());
        Poll::Pending
    }

    /// The next part of the body.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        let mut state = lock(&self.recording.state);
        let handed_over = matches!(state.end, Some(End::HandedOver));
        if handed_over && self.place != Place::Leader {
            return Poll::Ready(Read::Failed(SharedError::new(FetchError::Aborted.into())));
        }
        if self.position < state.length {
            let data = match &state.body {
                Some(body) => body.slice(self.position..),
                None => self.piece(&mut state),
            };
            self.position += data.len();
            return Poll::Ready(Read::Data(data));
        }
        match &state.end {
            None => {
                state.register(self.place, &mut self.seat, cx.waker());
                Poll::Pending
            }
            Some(End::Complete) => match &state.trailers {
                Some(trailers) if !mem::replace(&mut self.trailers_read, true) => {
                    Poll::Ready(Read::Trailers(trailers.clone()))
                }
                _ => Poll::Ready(Read::End),
            },
            Some(End::HandedOver) => Poll::Ready(Read::Rest),
            Some(End::Failed(error) | End::Own(error)) => Poll::Ready(Read::Failed(error.clone())),
            Some(End::Aside | End::Personal) => {
                Poll::Ready(Read::Failed(SharedError::new(FetchError::Aborted.into())))
            }
        }
    }

    /// What comes next, as far as it lies in one piece.
    fn piece(&self, state: &mut State<H>) -> Bytes {
        let after = state.pieces.partition_point(|piece| piece.start <= self.position);
        let Some(piece) = after.checked_sub(1).and_then(|index| state.pieces.get_mut(index)) else {
            return Bytes::new();
        };
        let from = self.position - piece.start;
        if !matches!(state.end, Some(End::HandedOver)) {
            return piece.data.slice(from..);
        }
        // Nobody else reads it: what has been sent on is not held any longer.
        let data = mem::take(&mut piece.data);
        let held = data.len().min(state.charged);
        state.charged -= held;
        self.recording.budgets.fill.give_back(held);
        data.slice(from..)
    }

    /// Whether all of it has been read: honest, so `false` while trailers are still to come.
    pub(crate) fn is_at_end(&self) -> bool {
        let state = lock(&self.recording.state);
        matches!(state.end, Some(End::Complete))
            && self.position == state.length
            && (self.trailers_read || state.trailers.is_none())
    }
}

impl<H> State<H> {
    fn register(&mut self, place: Place, seat: &mut Option<Seat>, waker: &Waker) {
        match place {
            Place::Leader => match &mut self.leader {
                Some(registered) => registered.clone_from(waker),
                none => *none = Some(waker.clone()),
            },
            Place::Follower => self.followers.register(seat, waker),
            Place::ToHead => self.to_head.register(seat, waker),
        }
    }
}

impl<H> Drop for Reader<H> {
    fn drop(&mut self) {
        let budgets = &self.recording.budgets;
        if self.place != Place::Leader {
            budgets.followers.give_back(1);
        }
        let mut state = lock(&self.recording.state);
        if let Some(seat) = self.seat.take() {
            match self.place {
                Place::ToHead => state.to_head.leave(seat),
                _ => state.followers.leave(seat),
            }
        }
        if self.streaming {
            state.streaming -= 1;
        }
        state.readers -= 1;
        if state.readers > 0 || state.end.is_some() || state.goes_on {
            return;
        }
        // The last one left. The fetch goes on without a reader as long as few do so.
        if guarded("orphans are bounded") && !budgets.orphans.take(1) {
            let task = state.task.take();
            let woken =
                state.finish(End::Failed(SharedError::new(FetchError::Cancelled.into())), budgets);
            drop(state);
            if let Some(task) = task {
                task.abort();
            }
            woken.wake();
            budgets.listener.tell(&Event::OrphanCancelled);
        } else {
            state.orphan = true;
        }
    }
}

impl<H> fmt::Debug for Reader<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("place", &self.place)
            .field("position", &self.position)
            .field("recording", &self.recording)
            .finish_non_exhaustive()
    }
}
