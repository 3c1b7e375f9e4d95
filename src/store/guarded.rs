//! A store that cannot hold anyone up: a deadline for each of its operations, and a breaker.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{
    Declined, Figures, Key, Record, Store, Unreadable,
    late::Late,
    status::{Status, Tally},
};
use crate::{
    admission::{Outcome, Settle},
    circuit_breaker::{Call, CircuitBreaker, Guard},
    error::BoxError,
    observe::{Listener, Observer},
};

const READ: Duration = Duration::from_millis(50);
const WRITE: Duration = Duration::from_millis(250);

/// More writes than this are not under way at once.
const MOST_WRITES: usize = 1024;

/// How often a store that is out is asked whether it is back, give or take a fifth.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Any store, with a deadline for each of its operations and a breaker in front of it.
///
/// Put it around a store of your own that is on the network. [`Redis`](super::Redis) and
/// [`Memcached`](super::Memcached) have it in them.
///
/// | what | default |
/// |---|---|
/// | deadline of a read; of a write | 50 ms; 250 ms |
/// | the breaker opens | at 5 failures in a row within 10 s, or at half of at least 20 calls in 10 s |
/// | it stays open | 1 s, and twice as long each further time, 30 s at the most, give or take a fifth |
/// | it closes | when a probe has found the store well |
///
/// While it is open every operation fails at once, with [`Rejected`](crate::Rejected). No caller is its probe:
/// a task asks the store once a second whether it is back ([`Store::ping`]), and ends when it is.
/// A store that fails with [`Declined`] is well. Where a write fails, what was stored before is removed, if
/// that is possible: a miss is better than the older answer.
///
/// ```
/// # use seawall::{BoxError, store::{Key, Record, Store}};
/// # struct Far;
/// # impl Store for Far {
/// #     async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> { Ok(None) }
/// #     async fn put(&self, _: Key, _: Record) -> Result<(), BoxError> { Ok(()) }
/// #     async fn remove(&self, _: &Key) -> Result<(), BoxError> { Ok(()) }
/// # }
/// use seawall::{Cache, circuit_breaker::State, store::{Guarded, Memory, Tiered}};
/// use std::time::Duration;
///
/// let far = Guarded::builder(Far).name("far").read_deadline(Duration::from_millis(20)).build();
/// let cache = Cache::new(Tiered::new(Memory::default(), far.clone()));
/// assert_eq!(far.status().state, State::Closed);
/// # let _ = cache;
/// ```
///
/// # Cancellation
/// That of the store itself. What is given up before its deadline is not held against the store.
///
/// # Panics
/// Outside of a tokio runtime.
pub struct Guarded<S> {
    core: Arc<Core<S>>,
}

/// Sets the deadlines of a [`Guarded`] store before it is made.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use seawall::store::{Guarded, Memory};
/// use std::time::Duration;
///
/// let guarded = Guarded::builder(Memory::default()).write_deadline(Duration::from_secs(1)).build();
/// assert_eq!(&*guarded.status().name, "store");
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct GuardedBuilder<S> {
    store: S,
    name: Box<str>,
    read: Duration,
    write: Duration,
}

impl<S: Store> GuardedBuilder<S> {
    /// What it is called in events and figures; `store` unless set.
    pub fn name(mut self, name: impl Into<Box<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// How long a read may take; 50 ms unless set, at least 1 ms.
    pub fn read_deadline(mut self, deadline: Duration) -> Self {
        self.read = deadline.max(Duration::from_millis(1));
        self
    }

    /// How long a write may take, or a removal; 250 ms unless set, at least 1 ms.
    pub fn write_deadline(mut self, deadline: Duration) -> Self {
        self.write = deadline.max(Duration::from_millis(1));
        self
    }

    /// Makes the store.
    pub fn build(self) -> Guarded<S> {
        let Self { store, name, read, write } = self;
        let observer = Arc::new(Late::default());
        let guard = Guard::new(&name, read, Listener::new(Arc::clone(&observer)));
        let core = Core {
            store,
            name,
            guard,
            read,
            write,
            observer,
            probing: AtomicBool::new(false),
            writes: AtomicUsize::new(0),
            base: Instant::now(),
            writes_off_until: AtomicU64::new(0),
            tally: Tally::default(),
        };
        Guarded { core: Arc::new(core) }
    }
}

struct Core<S> {
    store: S,
    name: Box<str>,
    guard: Guard,
    read: Duration,
    write: Duration,
    observer: Arc<Late>,
    /// A task asks whether the store is back.
    probing: AtomicBool,
    writes: AtomicUsize,
    base: Instant,
    /// In milliseconds since the base.
    writes_off_until: AtomicU64,
    tally: Tally,
}

impl<S: Store> Guarded<S> {
    /// With the defaults.
    pub fn new(store: S) -> Self {
        Self::builder(store).build()
    }

    /// With deadlines of your own.
    pub fn builder(store: S) -> GuardedBuilder<S> {
        GuardedBuilder { store, name: "store".into(), read: READ, write: WRITE }
    }

    /// How it is.
    pub fn status(&self) -> Status {
        let Core { name, guard, tally, .. } = &*self.core;
        Status {
            name: name.clone(),
            state: guard.handle().state(),
            writes: self.core.takes_writes(),
            hits: tally.hits.load(Relaxed),
            misses: tally.misses.load(Relaxed),
            failures: tally.failures.load(Relaxed),
            latency: Duration::from_nanos(tally.latency.load(Relaxed)),
        }
    }

    /// Its breaker.
    pub fn breaker(&self) -> CircuitBreaker {
        self.core.guard.handle()
    }

    /// What it guards.
    #[cfg(feature = "redis")]
    pub(crate) fn store(&self) -> &S {
        &self.core.store
    }
}

/// An admitted operation, until it is settled: given up by its caller, if it never is.
struct Admitted<'a, S: Store> {
    core: &'a Arc<Core<S>>,
    call: Option<Call>,
}

impl<S: Store> Admitted<'_, S> {
    /// What came of it, in time or not.
    fn ended<T, L>(mut self, result: Result<Result<T, BoxError>, L>) -> Result<T, BoxError>
    where
        L: Into<BoxError>,
    {
        let result = result.unwrap_or_else(|late| Err(late.into()));
        let well = match &result {
            Ok(_) => true,
            Err(error) => {
                if Unreadable::find(&**error).is_none() {
                    self.core.tally.failures.fetch_add(1, Relaxed);
                }
                self.core.declined(error)
            }
        };
        self.settle(if well { Outcome::Success } else { Outcome::Failure });
        result
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(call) = self.call.take() {
            call.settle(outcome);
            if outcome != Outcome::Success && !self.core.guard.is_closed() {
                Core::watch(self.core);
            }
        }
    }
}

impl<S: Store> Drop for Admitted<'_, S> {
    fn drop(&mut self) {
        self.settle(Outcome::Abandoned);
    }
}

impl<S: Store> Core<S> {
    fn admit(self: &Arc<Self>) -> Result<Admitted<'_, S>, BoxError> {
        match self.guard.admit() {
            Ok(call) => Ok(Admitted { core: self, call: Some(call) }),
            Err(refused) => {
                // It may have been opened by its operator.
                Self::watch(self);
                Err(refused.into())
            }
        }
    }

    /// Whether the store is well, and did not do it all the same.
    fn declined(&self, error: &BoxError) -> bool {
        let Some(declined) = Declined::find(&**error) else { return false };
        if let Some(time) = declined.writes_off() {
            self.writes_off_until.fetch_max(self.millis(Instant::now() + time), Relaxed);
        }
        true
    }

    fn takes_writes(&self) -> bool {
        let until = self.writes_off_until.load(Relaxed);
        until == 0 || self.millis(Instant::now()) >= until
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.base).as_millis()).unwrap_or(u64::MAX)
    }

    /// Has a task ask whether the store is back, until it is.
    fn watch(core: &Arc<Self>) {
        if !core.probing.swap(true, Relaxed) {
            tokio::spawn(Self::probe(Arc::downgrade(core), core.read));
        }
    }

    async fn probe(core: Weak<Self>, deadline: Duration) {
        loop {
            let Some(wait) = core.upgrade().map(|core| core.guard.wait()) else { return };
            sleep(wait.unwrap_or(PROBE_EVERY.mul_f64(0.8 + 0.4 * fastrand::f64()))).await;
            let Some(core) = core.upgrade() else { return };
            if !core.guard.is_closed() {
                // A store that does not answer stays out for no longer than that: only one that was
                // back for a while, and failed again, is left alone for longer.
                let answers = matches!(timeout(deadline, core.store.ping()).await, Ok(Ok(())));
                if let (true, Ok(call)) = (answers, core.guard.probe()) {
                    call.settle(Outcome::Success);
                }
            }
            if core.guard.is_closed() {
                core.probing.store(false, Relaxed);
                // It may have opened again before that was said.
                if core.guard.is_closed() || core.probing.swap(true, Relaxed) {
                    return;
                }
            }
        }
    }

    async fn put(self: &Arc<Self>, key: Key, record: Record) -> Result<(), BoxError> {
        if !self.takes_writes() {
            self.forget(&key).await;
            return Err(Declined::new("it took no writes a moment ago").into());
        }
        let admitted = self.admit()?;
        let put = timeout(self.write, self.store.put(key.clone(), record)).await;
        let put = admitted.ended(put);
        if put.is_err() {
            self.forget(&key).await;
        }
        put
    }

    /// Removes what should have been replaced, if it can.
    async fn forget(self: &Arc<Self>, key: &Key) {
        if let Ok(admitted) = self.admit() {
            let _ = admitted.ended(timeout(self.write, self.store.remove(key)).await);
        }
    }
}

/// A place among the writes under way.
struct Writing<'a>(&'a AtomicUsize);

impl<'a> Writing<'a> {
    fn one_of(writes: &'a AtomicUsize) -> Result<Self, BoxError> {
        let writing = Self(writes);
        if writes.fetch_add(1, Relaxed) < MOST_WRITES {
            Ok(writing)
        } else {
            Err(Declined::new("too many writes are under way").into())
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<S: Store> Store for Guarded<S> {
    fn peek(&self, key: &[u8]) -> Option<Record> {
        self.core.store.peek(key)
    }

    fn is_remote(&self) -> bool {
        self.core.store.is_remote()
    }

    fn has_deadlines(&self) -> bool {
        true
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        let Core { store, read, tally, .. } = &*self.core;
        let admitted = self.core.admit()?;
        let began = Instant::now();
        let found = admitted.ended(timeout(*read, store.get(key)).await)?;
        tally.took(began.elapsed());
        let tally = if found.is_some() { &tally.hits } else { &tally.misses };
        tally.fetch_add(1, Relaxed);
        Ok(found)
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        let _writing = Writing::one_of(&self.core.writes)?;
        self.core.put(key, record).await
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        let _writing = Writing::one_of(&self.core.writes)?;
        let admitted = self.core.admit()?;
        admitted.ended(timeout(self.core.write, self.core.store.remove(key)).await)
    }

    async fn ping(&self) -> Result<(), BoxError> {
        self.core.store.ping().await
    }

    fn figures(&self) -> Figures {
        self.core.store.figures()
    }

    fn observed_by(&self, observer: &Arc<dyn Observer>) {
        self.core.observer.set(observer);
        self.core.store.observed_by(observer);
    }
}

impl<S> Clone for Guarded<S> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<S: Store> fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&self.status()).finish()
    }
}
