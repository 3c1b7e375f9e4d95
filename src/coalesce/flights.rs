//! The table of fetches under way: at most one leader a key, everyone else joins.
//!
//! A flight stays in the table until a look-up can answer, so that no caller comes between the two.
//! A flight without progress is joined by no one new: a second one may start beside it, and then no
//! third. Whoever leads holds a [`Lead`]; however it is dropped, the key is free and those who wait
//! have an answer.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    mem,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::{
    budget::Budgets,
    recording::{End, Place, Reader, Recording},
};
use crate::{
    error::{FetchError, SharedError},
    journal::Fence,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        guarded, lock,
    },
};

#[cfg(not(seawall_loom))]
const SHARDS: usize = 64;
#[cfg(seawall_loom)]
const SHARDS: usize = 1;

/// All fetches under way, by key.
pub(crate) struct Flights<K, H> {
    shards: Box<[Mutex<Shard<K, H>>]>,
    hasher: RandomState,
    flying: AtomicUsize,
    limit: usize,
    stalled_after: Duration,
    budgets: Arc<Budgets>,
}

type Shard<K, H> = HashMap<K, Slot<H>, RandomState>;

struct Slot<H> {
    current: Arc<Recording<H>>,
    /// The flight without progress that `current` was started beside.
    previous: Option<Arc<Recording<H>>>,
}

/// What came of joining.
#[derive(Debug)]
pub(crate) enum Joined<K: Hash + Eq + Clone, H: Clone> {
    /// Nobody is fetching it: fetch it.
    Leader(Lead<K, H>, Reader<H>),
    /// Someone is.
    Follower(Reader<H>),
    /// Two are, and both began too early: join again once this one has ended.
    Behind(Reader<H>),
    /// No place is left in the table, or among those who wait.
    Full,
}

/// What came of following one flight.
enum Followed<H: Clone> {
    By(Reader<H>),
    Full,
    /// It has ended, and not with an answer for all.
    Gone,
}

/// Who may be joined; by default any flight that makes progress.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Join {
    /// One that began no earlier than this: the caller wants nothing older than itself.
    pub(crate) since: Option<Instant>,
    /// One that began behind no earlier fence than this; two that did are enough.
    pub(crate) seen: Fence,
    /// The last invalidation that names the key: a flight from before it is replaced at once.
    pub(crate) dead: Fence,
}

/// Whether a fetch may begin.
enum Begun<K: Hash + Eq + Clone, H: Clone> {
    Now(Lead<K, H>),
    /// One is under way.
    Already,
    /// The table is full.
    Full,
}

impl<K: Hash + Eq + Clone, H: Clone> Flights<K, H> {
    pub(crate) fn new(limit: usize, stalled_after: Duration, budgets: Arc<Budgets>) -> Arc<Self> {
        let hasher = RandomState::new();
        let shard = || Mutex::new(HashMap::with_hasher(hasher.clone()));
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher,
            flying: AtomicUsize::new(0),
            limit,
            stalled_after,
            budgets,
        })
    }

    /// Joins the flight of `key`, or begins one.
    pub(crate) fn join(self: &Arc<Self>, key: &K, join: Join, now: Instant) -> Joined<K, H> {
        let mut shard = lock(self.shard(key));
        match self.begin_in(&mut shard, key, join, now) {
            Begun::Now(lead) => return Joined::leader(lead),
            Begun::Full => return Joined::Full,
            Begun::Already => {}
        }
        let Some(slot) = shard.get_mut(key) else { return Joined::Full };
        if Self::is_too_old(&slot.current, join) {
            // Two are under way, and no third is begun: its turn is when the older one is gone.
            let older = slot.previous.as_ref().unwrap_or(&slot.current);
            return match self.follow(older, Place::Follower) {
                Followed::By(reader) => Joined::Behind(reader),
                Followed::Full | Followed::Gone => Joined::Full,
            };
        }
        match self.follow(&slot.current, Place::Follower) {
            Followed::By(reader) => Joined::Follower(reader),
            Followed::Full => Joined::Full,
            Followed::Gone => {
                // It was given up, and is not out of the table yet.
                let lead = self.begin(key, now);
                slot.current = Arc::clone(&lead.recording);
                Joined::leader(lead)
            }
        }
    }

    /// Begins a fetch that nobody waits for, unless one is under way.
    pub(crate) fn refresh(
        self: &Arc<Self>,
        key: &K,
        join: Join,
        now: Instant,
    ) -> Option<Lead<K, H>> {
        let mut shard = lock(self.shard(key));
        match self.begin_in(&mut shard, key, join, now) {
            Begun::Now(lead) => {
                lead.recording.goes_on();
                Some(lead)
            }
            Begun::Already | Begun::Full => None,
        }
    }

    /// Begins a fetch where none is under way that may be joined, nor two at all.
    fn begin_in(
        self: &Arc<Self>,
        shard: &mut Shard<K, H>,
        key: &K,
        join: Join,
        now: Instant,
    ) -> Begun<K, H> {
        let Some(slot) = shard.get_mut(key) else {
            if self.flying.fetch_add(1, Ordering::Relaxed) >= self.limit {
                self.flying.fetch_sub(1, Ordering::Relaxed);
                return Begun::Full;
            }
            let lead = self.begin(key, now);
            let current = Arc::clone(&lead.recording);
            shard.insert(key.clone(), Slot { current, previous: None });
            return Begun::Now(lead);
        };
        if slot.current.fence() < join.dead && guarded("a dead flight is replaced") {
            let lead = self.begin(key, now);
            *slot = Slot { current: Arc::clone(&lead.recording), previous: None };
            return Begun::Now(lead);
        }
        let of_no_use =
            Self::is_too_old(&slot.current, join) || self.is_stalled(&slot.current, now);
        if !of_no_use || slot.previous.as_ref().is_some_and(|previous| !previous.is_ended()) {
            return Begun::Already;
        }
        let lead = self.begin(key, now);
        slot.previous = Some(mem::replace(&mut slot.current, Arc::clone(&lead.recording)));
        Begun::Now(lead)
    }

    /// Joins the flight of `key` for its head, if there is one.
    pub(crate) fn join_to_head(&self, key: &K, join: Join, now: Instant) -> Option<Reader<H>> {
        self.follow_under_way(key, join, now, Place::ToHead)
    }

    /// Joins the flight of `key`, if there is one.
    pub(crate) fn join_under_way(&self, key: &K, join: Join, now: Instant) -> Option<Reader<H>> {
        self.follow_under_way(key, join, now, Place::Follower)
    }

    fn follow_under_way(
        &self,
        key: &K,
        join: Join,
        now: Instant,
        place: Place,
    ) -> Option<Reader<H>> {
        let shard = lock(self.shard(key));
        let current = &shard.get(key)?.current;
        if current.fence() < join.dead
            || Self::is_too_old(current, join)
            || self.is_stalled(current, now)
        {
            return None;
        }
        match self.follow(current, place) {
            Followed::By(reader) => Some(reader),
            Followed::Full | Followed::Gone => None,
        }
    }

    /// A fetch outside of the table, that nobody joins.
    pub(crate) fn alone(self: &Arc<Self>, now: Instant) -> (Lead<K, H>, Reader<H>) {
        let recording = Recording::new(now, Fence::now(), Arc::clone(&self.budgets));
        let lead = Lead { flights: Arc::clone(self), key: None, recording, landed: false };
        let reader = lead.reader();
        (lead, reader)
    }

    /// How many fetches are under way.
    pub(crate) fn len(&self) -> usize {
        self.flying.load(Ordering::Relaxed)
    }

    fn begin(self: &Arc<Self>, key: &K, now: Instant) -> Lead<K, H> {
        let recording = Recording::new(now, Fence::now(), Arc::clone(&self.budgets));
        Lead { flights: Arc::clone(self), key: Some(key.clone()), recording, landed: false }
    }

    /// Whether the caller wants something later.
    fn is_too_old(recording: &Recording<H>, join: Join) -> bool {
        recording.fence() < join.seen || join.since.is_some_and(|since| recording.began() < since)
    }

    fn is_stalled(&self, recording: &Recording<H>, now: Instant) -> bool {
        now.saturating_duration_since(recording.progress()) >= self.stalled_after
            && !recording.is_ended()
    }

    fn follow(&self, recording: &Arc<Recording<H>>, place: Place) -> Followed<H> {
        if recording.readers() > self.budgets.followers_a_flight || !self.budgets.followers.take(1)
        {
            return Followed::Full;
        }
        match recording.join(place) {
            Some(reader) => Followed::By(reader),
            None => {
                self.budgets.followers.give_back(1);
                Followed::Gone
            }
        }
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K, H>> {
        let hash = self.hasher.hash_one(key);
        &self.shards[(hash >> 48) as usize % self.shards.len()]
    }

    /// Takes `recording` out of the table; `stored`: with an answer newer than any before it.
    fn leave(&self, key: &K, recording: &Arc<Recording<H>>, stored: bool) {
        let mut shard = lock(self.shard(key));
        let Entry::Occupied(mut slot) = shard.entry(key.clone()) else { return };
        if !guarded("only the own flight is removed") {
            slot.remove();
            self.flying.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let held = slot.get_mut();
        if Arc::ptr_eq(&held.current, recording) {
            match held.previous.take().filter(|previous| !stored && !previous.is_ended()) {
                Some(previous) => held.current = previous,
                None => {
                    slot.remove();
                    self.flying.fetch_sub(1, Ordering::Relaxed);
                }
            }
        } else if held.previous.as_ref().is_some_and(|previous| Arc::ptr_eq(previous, recording)) {
            held.previous = None;
        }
    }

    /// Whether `recording` is still in the table: one that was overtaken may not store.
    fn holds(&self, key: &K, recording: &Arc<Recording<H>>) -> bool {
        lock(self.shard(key)).get(key).is_some_and(|slot| {
            Arc::ptr_eq(&slot.current, recording)
                || slot.previous.as_ref().is_some_and(|previous| Arc::ptr_eq(previous, recording))
        })
    }
}

impl<K, H> fmt::Debug for Flights<K, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights")
            .field("flying", &self.flying)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// The duty to answer: whoever holds it fetches, and everyone who joined waits for it.
///
/// Dropped before it has landed (a panic, an abort), it answers with a failure.
#[derive(Debug)]
pub(crate) struct Lead<K: Hash + Eq + Clone, H: Clone> {
    flights: Arc<Flights<K, H>>,
    /// `None`: outside of the table.
    key: Option<K>,
    recording: Arc<Recording<H>>,
    landed: bool,
}

impl<K: Hash + Eq + Clone, H: Clone> Joined<K, H> {
    fn leader(lead: Lead<K, H>) -> Self {
        let reader = lead.reader();
        Self::Leader(lead, reader)
    }
}

impl<K: Hash + Eq + Clone, H: Clone> Lead<K, H> {
    /// The place of the caller that began it.
    fn reader(&self) -> Reader<H> {
        self.recording.join(Place::Leader).expect("a new recording is open")
    }

    pub(crate) fn recording(&self) -> &Arc<Recording<H>> {
        &self.recording
    }

    /// Whether its answer may be stored: not where a later flight has stored a newer one.
    pub(crate) fn may_store(&self) -> bool {
        self.key.as_ref().is_none_or(|key| self.flights.holds(key, &self.recording))
    }

    /// Answers with what is all there already; the flight stays in the table until it leaves.
    pub(crate) fn found(
        &self,
        head: H,
        body: Bytes,
        trailers: Option<HeaderMap>,
        from_storage: bool,
    ) {
        self.recording.found(head, body, trailers, from_storage);
    }

    /// Answers with what nobody stores: the key is free, then everyone is told.
    pub(crate) fn answer(mut self, head: H) {
        self.detach();
        self.landed = true;
        self.recording.found(head, Bytes::new(), None, false);
    }

    /// Whether no later flight of its key has begun.
    pub(crate) fn is_newest(&self) -> bool {
        let Some(key) = &self.key else { return true };
        let shard = lock(self.flights.shard(key));
        shard.get(key).is_some_and(|slot| Arc::ptr_eq(&slot.current, &self.recording))
    }

    /// Ends with a complete body, which it returns; the flight stays in the table until it leaves.
    pub(crate) fn complete(&self, trailers: Option<HeaderMap>) -> Bytes {
        self.recording.complete(trailers)
    }

    /// Takes a flight that is complete out of the table; `stored`: from now on a look-up answers.
    pub(crate) fn leave(mut self, stored: bool) {
        self.landed = true;
        if let Some(key) = &self.key {
            self.flights.leave(key, &self.recording, stored);
        }
    }

    /// Stops being joined; those who have joined go on.
    pub(crate) fn detach(&mut self) {
        if let Some(key) = self.key.take() {
            self.flights.leave(&key, &self.recording, false);
        }
    }

    /// Ends without anything stored: the key is free before anyone is told.
    pub(crate) fn end(mut self, end: End) {
        self.land(end);
    }

    fn land(&mut self, end: End) {
        if mem::replace(&mut self.landed, true) {
            return;
        }
        self.detach();
        self.recording.end(end);
    }
}

impl<K: Hash + Eq + Clone, H: Clone> Drop for Lead<K, H> {
    fn drop(&mut self) {
        if guarded("a dropped leader answers") {
            self.land(End::Failed(SharedError::new(FetchError::Aborted.into())));
        }
    }
}
