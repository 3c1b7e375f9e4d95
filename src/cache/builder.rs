//! The bounds of a cache, and how they are set.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Cache, Shared, Tasks, switch::State};
use crate::{
    coalesce::{
        budget::{Budget, Budgets},
        flights::Flights,
        remembered::Remembered,
    },
    journal::Journal,
    observe::{Listener, Observer},
    staleness::Widest,
    store::{AnyStore, Store},
};

/// The bounds of a cache that its builder sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_body: usize,
    pub(crate) fill_budget: usize,
    pub(crate) flights: usize,
    pub(crate) followers_a_flight: usize,
    pub(crate) followers: usize,
    pub(crate) orphans: usize,
    pub(crate) fetch_deadline: Duration,
    pub(crate) stalled_after: Duration,
    pub(crate) remember_for: Duration,
    pub(crate) remembered: usize,
    pub(crate) variants: usize,
    pub(crate) put_deadline: Duration,
    pub(crate) get_deadline: Duration,
    pub(crate) refreshes: usize,
    pub(crate) stale_after: Duration,
    pub(crate) fold_slots: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 1 << 20,
            fill_budget: 64 << 20,
            flights: 32_768,
            followers_a_flight: 16_384,
            followers: 65_536,
            orphans: 64,
            fetch_deadline: Duration::from_secs(30),
            stalled_after: Duration::from_secs(10),
            remember_for: Duration::from_secs(120),
            remembered: 65_536,
            variants: 32,
            put_deadline: Duration::from_millis(250),
            get_deadline: Duration::from_millis(50),
            refreshes: 64,
            stale_after: Duration::from_secs(5),
            fold_slots: 1 << 17,
        }
    }
}

/// Sets the bounds of a [`Cache`] before it is made.
///
/// Every setter takes what it is given; none can fail.
///
/// ```
/// use seawall::{Cache, observe::Event, store::Memory};
/// use std::time::Duration;
///
/// let cache = Cache::builder(Memory::bytes(256 << 20))
///     .max_body(4 << 20)
///     .fetch_deadline(Duration::from_secs(10))
///     .observer(|event: &Event<'_>| println!("{event:?}"))
///     .build();
/// assert_eq!(cache.figures().records, 0);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct CacheBuilder {
    store: AnyStore,
    limits: Limits,
    listener: Listener,
}

impl CacheBuilder {
    pub(super) fn over(store: impl Store) -> Self {
        Self {
            store: AnyStore::new(store),
            limits: Limits::default(),
            listener: Listener::default(),
        }
    }

    /// The largest body that is kept, in bytes; 1 MiB unless set. A larger one is streamed to its
    /// caller, and its key is remembered as outgrown for a while.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.limits.max_body = bytes;
        self
    }

    /// How many bytes of bodies may be recorded and not stored yet, in the whole cache; 64 MiB
    /// unless set. Beyond it bodies are streamed to their callers and not kept.
    pub fn fill_budget(mut self, bytes: usize) -> Self {
        self.limits.fill_budget = bytes;
        self
    }

    /// How many fetches others may join at once; 32,768 unless set. Beyond it calls go to the inner
    /// service uncoalesced.
    pub fn flights(mut self, flights: usize) -> Self {
        self.limits.flights = flights;
        self
    }

    /// How many callers may wait for one fetch, and for all; 16,384 and 65,536 unless set. Beyond it
    /// calls go to the inner service uncoalesced.
    pub fn followers(mut self, a_flight: usize, in_all: usize) -> Self {
        self.limits.followers_a_flight = a_flight;
        self.limits.followers = in_all;
        self
    }

    /// How many fetches may go on when their last caller has left; 64 unless set. Beyond it they are
    /// cancelled.
    pub fn orphans(mut self, orphans: usize) -> Self {
        self.limits.orphans = orphans;
        self
    }

    /// How many fetches may run at once behind answers that were given already; 64 unless set. Beyond
    /// it an answer is given stale, or fresh, without one: a later hit begins it.
    pub fn refreshes(mut self, refreshes: usize) -> Self {
        self.limits.refreshes = refreshes;
        self
    }

    /// After how long a caller that waits for another caller's fetch takes a stale answer, where there
    /// is one that it may have; 5 s unless set.
    pub fn stale_after(mut self, after: Duration) -> Self {
        self.limits.stale_after = after;
        self
    }

    /// In how many slots a row invalidations are remembered: 131,072 unless set, a power of two from
    /// 1,024 to 1,048,576 (other values are rounded up into that range). Keys, URIs and tags have two
    /// rows each, made with the first invalidation of their kind: 4 MiB a kind, 32 MiB at the most.
    ///
    /// Two names that meet in both rows cost each other a miss. An entry with one tag that 100,000
    /// invalidations of other tags pass by is fetched anew with a chance of 28 % with 2^17 slots, of
    /// 0.8 % with 2^20; one with more tags has that chance by each of them.
    pub fn invalidation_slots(mut self, slots: usize) -> Self {
        self.limits.fold_slots = slots;
        self
    }

    /// How long a fetch may take, 30 s unless set: until then the head must be there, or the call
    /// fails; a body that is still under way is left to its caller and not kept. One that others read
    /// along with is recorded for them to its end, and not kept either.
    pub fn fetch_deadline(mut self, deadline: Duration) -> Self {
        self.limits.fetch_deadline = deadline;
        self
    }

    /// After how long without a head or a frame a newcomer starts a second fetch; 10 s unless set.
    /// There is never a third.
    pub fn stalled_after(mut self, after: Duration) -> Self {
        self.limits.stalled_after = after;
        self
    }

    /// How long a key is remembered as uncacheable or outgrown, 120 s unless set: its callers are not
    /// coalesced meanwhile. A storable answer ends it at once. Where the answer was refused for what
    /// its request had (`Authorization`, `Cookie`, a field that no key holds), it is remembered for
    /// requests that have one of these, and for no others.
    pub fn remember_for(mut self, time: Duration) -> Self {
        self.limits.remember_for = time;
        self
    }

    /// How many variants (RFC 9111 §4.1) of one key are kept; 32 unless set, at least 1. The oldest
    /// makes room.
    pub fn variants(mut self, variants: usize) -> Self {
        self.limits.variants = variants.max(1);
        self
    }

    /// Who is told of what happens; nobody unless set.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.listener = Listener::new(observer);
        self
    }

    /// Makes the cache.
    pub fn build(self) -> Cache {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let limits = self.limits;
        if let Some(observer) = self.listener.observer() {
            self.store.observed_by(observer);
        }
        let budgets = Arc::new(Budgets {
            fill: Budget::new(limits.fill_budget),
            orphans: Budget::new(limits.orphans),
            refreshes: Budget::new(limits.refreshes),
            followers: Budget::new(limits.followers),
            followers_a_flight: limits.followers_a_flight,
            listener: self.listener.clone(),
        });
        let flights = Flights::new(limits.flights, limits.stalled_after, Arc::clone(&budgets));
        let shared = Shared {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            store: self.store,
            flights,
            budgets,
            remembered: Remembered::new(limits.remembered, limits.remember_for),
            limits,
            listener: self.listener,
            tasks: Tasks::default(),
            journal: Journal::new(limits.fold_slots),
            switch: State::default(),
            widest: Widest::default(),
            posts: Arc::default(),
        };
        Cache { shared: Arc::new(shared) }
    }
}
