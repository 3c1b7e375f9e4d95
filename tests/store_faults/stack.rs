//! A cache over a remote store, with an origin that counts, and an observer that records.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll},
    time::Duration,
};

use seawall::{
    Cache, CacheLayer,
    cache::CacheService,
    circuit_breaker::{Cause, State},
    observe::{Event, Observer},
    store::{Memcached, Redis, Status, Store},
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service};

pub use super::times::{Times, ms, tenfold};
use crate::support::{self, Read, Req, Res, answer, call};

/// A remote store with one server.
pub trait Remote: Store + Clone + fmt::Debug {
    fn health(&self) -> Status;
}

impl Remote for Redis {
    fn health(&self) -> Status {
        self.status()
    }
}

impl Remote for Memcached {
    fn health(&self) -> Status {
        self.status().remove(0)
    }
}

/// What was told.
#[derive(Debug, Default)]
pub struct Seen {
    hits: AtomicU64,
    misses: AtomicU64,
    origin_calls: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    foreign: AtomicU64,
    unreadable: AtomicU64,
    opened: AtomicU64,
    in_a_row: AtomicU64,
    closed: AtomicU64,
    /// The errors of what failed, with their causes.
    errors: Mutex<Vec<String>>,
}

/// How often so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    pub hits: u64,
    pub misses: u64,
    pub origin_calls: u64,
    pub failed: u64,
    pub refused: u64,
    pub dropped: u64,
    pub foreign: u64,
    pub unreadable: u64,
    pub opened: u64,
    /// Of those, by failures in a row.
    pub in_a_row: u64,
    pub closed: u64,
}

impl Seen {
    pub fn told(&self) -> Told {
        let of = |count: &AtomicU64| count.load(SeqCst);
        Told {
            hits: of(&self.hits),
            misses: of(&self.misses),
            origin_calls: of(&self.origin_calls),
            failed: of(&self.failed),
            refused: of(&self.refused),
            dropped: of(&self.dropped),
            foreign: of(&self.foreign),
            unreadable: of(&self.unreadable),
            opened: of(&self.opened),
            in_a_row: of(&self.in_a_row),
            closed: of(&self.closed),
        }
    }
}

impl Seen {
    /// How many operations failed with this in their error.
    pub fn said(&self, what: &str) -> usize {
        self.errors.lock().unwrap().iter().filter(|error| error.contains(what)).count()
    }
}

impl Observer for Seen {
    fn on_event(&self, event: &Event<'_>) {
        let add = |count: &AtomicU64| {
            count.fetch_add(1, SeqCst);
        };
        match event {
            Event::Hit => add(&self.hits),
            Event::Miss => add(&self.misses),
            Event::OriginCalled => add(&self.origin_calls),
            Event::StoreFailed { error, .. } => {
                add(&self.failed);
                let chain = std::iter::successors(Some(*error), |error| error.source());
                let chain: Vec<_> = chain.map(ToString::to_string).collect();
                self.errors.lock().unwrap().push(chain.join(": "));
            }
            Event::StoreRefused { .. } => add(&self.refused),
            Event::WriteDropped => add(&self.dropped),
            Event::ForeignEntry => add(&self.foreign),
            Event::UnreadableEntry(_) => add(&self.unreadable),
            Event::CircuitChanged { change, .. } => {
                match (change.from, change.to) {
                    (State::Closed, State::Open) => add(&self.opened),
                    (_, State::Closed) => add(&self.closed),
                    _ => {}
                }
                if change.cause == Cause::InARow {
                    add(&self.in_a_row);
                }
            }
            _ => {}
        }
    }
}

/// Answers each path with a body that tells which path it was, in this edition.
#[derive(Clone, Debug)]
pub struct Origin {
    edition: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    directives: &'static str,
    padding: usize,
    takes: Duration,
}

pub fn body_of(path: &str, edition: usize, padding: usize) -> String {
    format!("{path} edition {edition} {}", "~".repeat(padding))
}

impl Service<Req> for Origin {
    type Response = Res;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Res, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        let body = body_of(request.uri().path(), self.edition.load(SeqCst), self.padding);
        let (directives, takes) = (self.directives, self.takes);
        Box::pin(async move {
            if !takes.is_zero() {
                sleep(takes).await;
            }
            Ok(answer(&[("cache-control", directives)], body))
        })
    }
}

/// All of it.
#[derive(Clone)]
pub struct Stack<S> {
    pub store: S,
    pub cache: Cache,
    pub seen: Arc<Seen>,
    pub origin: Origin,
    pub service: CacheService<Origin>,
}

/// How it is to be set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub directives: &'static str,
    pub padding: usize,
    pub takes: Duration,
}

pub const PLAIN: Setup = Setup { directives: "max-age=600", padding: 100, takes: Duration::ZERO };

impl<S: Remote> Stack<S> {
    /// Once it is connected.
    pub async fn over(store: S) -> Self {
        Self::with(store, PLAIN).await
    }

    pub async fn with(store: S, setup: Setup) -> Self {
        let stack = Self::unconnected(store, setup);
        until("it is connected", async || stack.store.ping().await.is_ok()).await;
        stack
    }

    pub fn unconnected(store: S, setup: Setup) -> Self {
        let Setup { directives, padding, takes } = setup;
        let seen = Arc::<Seen>::default();
        let cache = Cache::builder(store.clone()).observer(Arc::clone(&seen)).build();
        let (edition, calls) = (Arc::default(), Arc::default());
        let origin = Origin { edition, calls, directives, padding, takes };
        let service = CacheLayer::new(cache.clone()).layer(origin.clone());
        Self { store, cache, seen, origin, service }
    }

    /// Asks for `path`, is given its body and no other, and returns how long that took.
    pub async fn ask(&self, path: &str) -> (Read, Duration) {
        let began = Instant::now();
        let read = call(&mut self.service.clone(), support::get(path)).await;
        let took = began.elapsed();
        let read = read.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(read.status(), 200, "{path}");
        assert_eq!(read.text(), self.body(path), "{path}: {}", read.cache_status());
        (read, took)
    }

    pub fn body(&self, path: &str) -> String {
        let Origin { edition, padding, .. } = &self.origin;
        body_of(path, edition.load(Relaxed), *padding)
    }

    /// The times that these paths took, one after the other.
    pub async fn times(&self, paths: impl IntoIterator<Item = String>) -> Times {
        let mut times = Vec::new();
        for path in paths {
            times.push(self.ask(&path).await.1);
        }
        Times::new(times)
    }

    pub fn calls(&self) -> usize {
        self.origin.calls.load(SeqCst)
    }

    pub fn told(&self) -> Told {
        self.seen.told()
    }

    pub fn state(&self) -> State {
        self.store.health().state
    }

    /// What an earlier edition said is a wrong body from now on.
    pub fn new_edition(&self) {
        self.origin.edition.fetch_add(1, SeqCst);
    }

    /// Waits until all that is to be written is.
    pub async fn settled(&self) {
        until("no flight is left", async || self.cache.figures().flights == 0).await;
    }

    /// Asks nothing, and returns how long the breaker took to close.
    pub async fn closes(&self) -> Duration {
        let began = Instant::now();
        until("the breaker closes", async || self.state() == State::Closed).await;
        began.elapsed()
    }

    /// Asks for new paths until the breaker is open, and returns how many.
    pub async fn opens(&self, prefix: &str) -> usize {
        for number in 0..1000 {
            if self.state() == State::Open {
                return number;
            }
            self.ask(&format!("/{prefix}/{number}")).await;
        }
        panic!("it stays {:?}: {:?}", self.state(), self.told());
    }
}

/// Waits half a minute for it.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(30), "in vain until {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// `/prefix/0` to `/prefix/count`.
pub fn paths(prefix: &str, count: usize) -> impl Iterator<Item = String> + Clone + use<'_> {
    (0..count).map(move |number| format!("/{prefix}/{number}"))
}
