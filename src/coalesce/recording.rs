//! One answer, written once and read by many while it arrives.
//!
//! The fetch is the only writer. Every caller, the one that started the fetch included, is a
//! [`Reader`]: dropping any of them harms no other. A caller that waits has one waker registered,
//! and is woken outside the lock when there is something for it.

mod reader;
mod wakers;

use std::{fmt, mem, sync::Arc, task::Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tokio::{task::AbortHandle, time::Instant};

pub(crate) use self::reader::{Answer, Place, Read, Reader};
use self::wakers::{Wakers, Woken};
use super::budget::Budgets;
use crate::{
    error::{FetchError, SharedError},
    journal::Fence,
    sync::{Mutex, guarded, lock},
};

/// Smaller frames are copied together: each would pin a parser's buffer, and cost more than it holds.
const SMALL: usize = 1024;

/// When followers may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// From the head on, along with the leader: the body's length is known, and it will be kept.
    AtHead,
    /// Once all is there: until then the body may still outgrow what is kept.
    AtEnd,
}

/// How a recording ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// All of it is here.
    Complete,
    /// What is not here yet goes to the leader alone; followers go their own way.
    HandedOver,
    /// The answer is the leader's alone; followers go their own way.
    Aside,
    /// The answer is the leader's alone because of what the leader asked with: others may find one
    /// to share.
    Personal,
    /// The same failure for all.
    Failed(SharedError),
    /// A failure that may be of the leader's own making.
    Own(SharedError),
}

/// An answer on its way, of which the head is an `H`.
pub(crate) struct Recording<H> {
    began: Instant,
    /// How far the journal had come when it began.
    fence: Fence,
    budgets: Arc<Budgets>,
    state: Mutex<State<H>>,
}

struct State<H> {
    head: Option<H>,
    open: Open,
    pieces: Vec<Piece>,
    /// Of the body's bytes, how many were pushed.
    length: usize,
    /// What this recording holds of the fill budget.
    charged: usize,
    /// The whole body, once it is complete and in one piece.
    body: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// It was stored when this began: nobody fetched it.
    from_storage: bool,
    end: Option<End>,
    /// When the head or a frame last arrived.
    progress: Instant,
    readers: usize,
    /// Whether a reader has been given the head before the end.
    streaming: usize,
    orphan: bool,
    /// It goes on whoever leaves.
    goes_on: bool,
    /// Others have waited for it than the caller that began it.
    joined: bool,
    leader: Option<Waker>,
    followers: Wakers,
    to_head: Wakers,
    task: Option<AbortHandle>,
}

/// A part of a body, and where in it it starts.
#[derive(Clone)]
struct Piece {
    start: usize,
    data: Bytes,
}

impl<H: Clone> Recording<H> {
    pub(crate) fn new(now: Instant, fence: Fence, budgets: Arc<Budgets>) -> Arc<Self> {
        let state = State {
            head: None,
            open: Open::AtEnd,
            pieces: Vec::new(),
            length: 0,
            charged: 0,
            body: None,
            trailers: None,
            from_storage: false,
            end: None,
            progress: now,
            readers: 0,
            streaming: 0,
            orphan: false,
            goes_on: false,
            joined: false,
            leader: None,
            followers: Wakers::default(),
            to_head: Wakers::default(),
            task: None,
        };
        Arc::new(Self { began: now, fence, budgets, state: Mutex::new(state) })
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn fence(&self) -> Fence {
        self.fence
    }

    /// From now on it goes on whoever leaves, and is no orphan.
    pub(crate) fn goes_on(&self) {
        let mut state = lock(&self.state);
        state.goes_on = true;
        if mem::take(&mut state.orphan) {
            self.budgets.orphans.give_back(1);
        }
    }

    /// When the origin last gave a sign of life.
    pub(crate) fn progress(&self) -> Instant {
        lock(&self.state).progress
    }

    pub(crate) fn is_ended(&self) -> bool {
        lock(&self.state).end.is_some()
    }

    /// Names the task that writes, so that it can be cancelled when nobody is left to read.
    pub(crate) fn written_by(&self, task: AbortHandle) {
        let mut state = lock(&self.state);
        if state.is_cancelled() {
            drop(state);
            task.abort();
        } else if state.end.is_none() {
            state.task = Some(task);
        }
    }

    // ===== the writer =====

    /// Gives the head to whoever may have it by now.
    pub(crate) fn head(&self, head: H, open: Open, now: Instant) {
        let mut state = lock(&self.state);
        state.head = Some(head);
        state.open = open;
        state.progress = now;
        let woken = state.woken();
        drop(state);
        woken.wake();
    }

    /// Takes from the fill budget what a body of this length needs, or nothing.
    pub(crate) fn reserve(&self, length: usize) -> bool {
        let room = self.budgets.fill.take(length);
        if room {
            lock(&self.state).charged += length;
        }
        room
    }

    /// Adds a frame. `false`: the fill budget has no room for it, and it was not added.
    pub(crate) fn push(&self, data: &Bytes, now: Instant) -> bool {
        let mut state = lock(&self.state);
        let more = (state.length + data.len()).saturating_sub(state.charged);
        if more > 0 && !self.budgets.fill.take(more) {
            return false;
        }
        state.charged += more;
        state.add(data);
        state.progress = now;
        true
    }

    /// Wakes those who read along. Once for many frames, where many arrive together.
    pub(crate) fn publish(&self) {
        let woken = lock(&self.state).woken();
        woken.wake();
    }

    pub(crate) fn length(&self) -> usize {
        lock(&self.state).length
    }

    /// The first bytes of what has been recorded, once there are so many.
    pub(crate) fn beginning<const N: usize>(&self) -> Option<[u8; N]> {
        let state = lock(&self.state);
        let mut bytes = state.pieces.iter().flat_map(|piece| piece.data.iter().copied());
        let mut first = [0; N];
        for byte in &mut first {
            *byte = bytes.next()?;
        }
        Some(first)
    }

    /// Ends with the rest going to the leader alone, unless a follower reads along and would be cut
    /// short: decided in one step, or one could come between.
    pub(crate) fn hand_over(&self) -> bool {
        let mut state = lock(&self.state);
        if state.streaming > 0 && guarded("a hand-over cuts nobody short") {
            return false;
        }
        let woken = state.finish(End::HandedOver, &self.budgets);
        drop(state);
        woken.wake();
        true
    }

    /// Ends a body that is all there, in one exact allocation, which it returns.
    pub(crate) fn complete(&self, trailers: Option<HeaderMap>) -> Bytes {
        // Only the writer adds pieces, so they are copied without holding the readers up.
        let (pieces, length) = {
            let state = lock(&self.state);
            (state.pieces.clone(), state.length)
        };
        let mut body = BytesMut::with_capacity(length);
        for piece in pieces {
            body.extend_from_slice(&piece.data);
        }
        let body = body.freeze();
        let mut state = lock(&self.state);
        state.body = Some(body.clone());
        state.trailers = trailers;
        state.pieces = Vec::new();
        let charged = mem::take(&mut state.charged);
        let woken = state.finish(End::Complete, &self.budgets);
        drop(state);
        self.budgets.fill.give_back(charged);
        woken.wake();
        body
    }

    /// Ends with an answer that is there already.
    pub(crate) fn found(
        &self,
        head: H,
        body: Bytes,
        trailers: Option<HeaderMap>,
        from_storage: bool,
    ) {
        let mut state = lock(&self.state);
        state.from_storage = from_storage;
        state.head = Some(head);
        state.length = body.len();
        state.body = Some(body);
        state.trailers = trailers;
        let woken = state.finish(End::Complete, &self.budgets);
        drop(state);
        woken.wake();
    }

    /// Ends it; only the first end counts.
    pub(crate) fn end(&self, end: End) {
        let woken = lock(&self.state).finish(end, &self.budgets);
        woken.wake();
    }

    // ===== readers =====

    /// One more reader, or `None` where there is nothing to wait for any more.
    pub(crate) fn join(self: &Arc<Self>, place: Place) -> Option<Reader<H>> {
        let mut state = lock(&self.state);
        let open = matches!(state.end, None | Some(End::Complete));
        if !open && guarded("what was given up is not joined") {
            return None;
        }
        state.readers += 1;
        state.joined |= place != Place::Leader;
        if mem::take(&mut state.orphan) {
            self.budgets.orphans.give_back(1);
        }
        Some(Reader::new(Arc::clone(self), place))
    }

    /// Whether anyone has waited for it but the caller that began it.
    pub(crate) fn was_joined(&self) -> bool {
        lock(&self.state).joined
    }

    pub(crate) fn readers(&self) -> usize {
        lock(&self.state).readers
    }
}

impl<H> State<H> {
    fn add(&mut self, data: &Bytes) {
        let start = self.length;
        self.length += data.len();
        if let Some(last) = self.pieces.last_mut()
            && last.data.len() + data.len() <= SMALL
        {
            last.data = [&last.data[..], data].concat().into();
            return;
        }
        let data = if data.len() < SMALL { Bytes::copy_from_slice(data) } else { data.clone() };
        self.pieces.push(Piece { start, data });
    }

    /// The wakers of those for whom there is something new. The caller unlocks, then wakes.
    fn woken(&mut self) -> Woken {
        let leader = self.leader.take();
        let head = self.end.is_some() || self.head.is_some();
        let open = self.end.is_some() || (head && self.open == Open::AtHead);
        Woken {
            leader,
            followers: if open { self.followers.drain() } else { Vec::new() },
            to_head: if head { self.to_head.drain() } else { Vec::new() },
        }
    }

    fn finish(&mut self, end: End, budgets: &Budgets) -> Woken {
        if self.end.is_some() {
            return Woken::default();
        }
        self.end = Some(end);
        self.task = None;
        if mem::take(&mut self.orphan) {
            budgets.orphans.give_back(1);
        }
        if guarded("an end wakes those who wait") { self.woken() } else { Woken::default() }
    }

    fn is_cancelled(&self) -> bool {
        matches!(&self.end, Some(End::Failed(error)) if matches!(FetchError::find(error), Some(FetchError::Cancelled)))
    }
}

impl<H> Drop for Recording<H> {
    fn drop(&mut self) {
        let charged = mem::take(&mut lock(&self.state).charged);
        self.budgets.fill.give_back(charged);
    }
}

impl<H> fmt::Debug for Recording<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Recording")
            .field("head", &state.head.is_some())
            .field("length", &state.length)
            .field("end", &state.end)
            .field("readers", &state.readers)
            .finish_non_exhaustive()
    }
}
