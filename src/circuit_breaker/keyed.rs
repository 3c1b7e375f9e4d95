//! A breaker for each host, route, or whatever a key tells apart; in a bounded table.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque, hash_map::RandomState},
    fmt,
    hash::{BuildHasher, Hash},
    sync::Arc,
    time::Duration,
};

use http::{Request, header::HOST, uri::Authority};
use tokio::time::Instant;

use super::{
    Call, CircuitBreaker, State,
    layer::{Made, Which},
    settings::Settings,
    shared::Shared,
};
use crate::{
    admission::Admit,
    error::Rejected,
    observe::Listener,
    sync::{Mutex, lock},
};

const SHARDS: usize = 16;
const MOST_KEYS: usize = 1024;

/// What was not used for so long may go with what it knows, unless it still refuses calls.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// A new key looks at so many of those that might make room for it, and no more.
const LOOKS: usize = 8;

/// About a kilobyte each.
const MOST: usize = 1 << 16;

/// Tells apart what has breakers of its own. A closure is one.
///
/// ```
/// use seawall::circuit_breaker::BreakerKey;
///
/// #[derive(Clone)]
/// struct ByShard(u64);
///
/// impl BreakerKey<u64> for ByShard {
///     type Key = u64;
///
///     fn key(&self, user: &u64) -> u64 {
///         user % self.0
///     }
/// }
/// let layer = seawall::CircuitBreakerLayer::new().by(ByShard(16));
/// # let _ = layer;
/// ```
pub trait BreakerKey<Req>: Clone {
    /// The name of a breaker; events have it as it is written for debugging.
    type Key: Clone + Eq + Hash + fmt::Debug;

    /// The breaker that is asked about this call.
    fn key(&self, request: &Req) -> Self::Key;
}

impl<F, Req, K> BreakerKey<Req> for F
where
    F: Fn(&Req) -> K + Clone,
    K: Clone + Eq + Hash + fmt::Debug,
{
    type Key = K;

    fn key(&self, request: &Req) -> K {
        self(request)
    }
}

/// The authority of a request: see [`by_host`](crate::CircuitBreakerLayer::by_host).
#[derive(Clone, Copy, Debug)]
pub struct ByHost;

impl<B> BreakerKey<Request<B>> for ByHost {
    type Key = Option<Authority>;

    fn key(&self, request: &Request<B>) -> Option<Authority> {
        let host = || Authority::try_from(request.headers().get(HOST)?.as_bytes()).ok();
        request.uri().authority().cloned().or_else(host)
    }
}

/// A breaker for each key.
pub struct Each<F, K> {
    key: F,
    table: Arc<Table<K>>,
}

struct Table<K> {
    shards: [Mutex<Shard<K>>; SHARDS],
    hasher: RandomState,
    /// In each shard.
    most: usize,
    settings: Settings,
    listener: Listener,
    /// Of all keys that do not fit.
    rest: Arc<Shared>,
}

struct Shard<K> {
    entries: HashMap<K, Entry>,
    /// All keys, those first that are looked at next when there is no room.
    line: VecDeque<K>,
}

struct Entry {
    breaker: Arc<Shared>,
    used: Instant,
    /// It was used since it was last looked at.
    again: bool,
}

impl<F, K> Each<F, K> {
    pub(super) fn new(key: F, made: Made<'_>) -> Self {
        Self { key, table: Arc::new(Table::new(MOST_KEYS / SHARDS, made)) }
    }

    pub(super) fn most(self, keys: usize) -> Self {
        let Self { key, table } = self;
        let made = Made { settings: &table.settings, listener: &table.listener };
        Self { key, table: Arc::new(Table::new(keys.clamp(SHARDS, MOST) / SHARDS, made)) }
    }

    pub(super) fn breakers(&self) -> Breakers<K> {
        Breakers { table: Arc::clone(&self.table) }
    }
}

impl<F, K> Which for Each<F, K> {
    fn remade(self, made: Made<'_>) -> Self {
        let Self { key, table } = self;
        Self { key, table: Arc::new(Table::new(table.most, made)) }
    }
}

impl<F, Req> Admit<Req> for Each<F, F::Key>
where
    F: BreakerKey<Req>,
{
    type Ticket = Call;

    fn admit(&self, request: &Req) -> Result<Call, Rejected> {
        Call::admitted(&self.table.breaker(self.key.key(request), Instant::now()))
    }
}

impl<K> Table<K> {
    fn new(most: usize, made: Made<'_>) -> Self {
        let shard = || Mutex::new(Shard { entries: HashMap::new(), line: VecDeque::new() });
        Self {
            shards: std::array::from_fn(|_| shard()),
            hasher: RandomState::new(),
            most,
            settings: *made.settings,
            listener: made.listener.clone(),
            rest: made.breaker(Some("the rest".into())),
        }
    }
}

impl<K: Clone + Eq + Hash + fmt::Debug> Table<K> {
    fn breaker(&self, key: K, now: Instant) -> Arc<Shared> {
        let mut shard = lock(self.shard(&key));
        if let Some(entry) = shard.entries.get_mut(&key) {
            (entry.used, entry.again) = (now, true);
            return Arc::clone(&entry.breaker);
        }
        let gone = match shard.entries.len() < self.most {
            true => None,
            false => match shard.makes_room(now) {
                Some(gone) => Some(gone),
                None => return Arc::clone(&self.rest),
            },
        };
        let made = Made { settings: &self.settings, listener: &self.listener };
        let breaker = made.breaker(Some(format!("{key:?}").into()));
        let entry = Entry { breaker: Arc::clone(&breaker), used: now, again: false };
        shard.line.push_back(key.clone());
        shard.entries.insert(key, entry);
        // Whoever is told of its end may look at the table.
        drop(shard);
        drop(gone);
        breaker
    }
}

impl<K> Table<K> {
    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &Mutex<Shard<K>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

impl<K: Clone + Eq + Hash> Shard<K> {
    /// Takes out one that nobody needs, if there is one among the next in line: the second chance of
    /// a page, in operating systems.
    fn makes_room(&mut self, now: Instant) -> Option<Entry> {
        for _ in 0..LOOKS.min(self.line.len()) {
            let key = self.line.pop_front()?;
            let entry = self.entries.get_mut(&key)?;
            // A handle or a call under way is somebody's interest in it.
            let unused = Arc::strong_count(&entry.breaker) == 1;
            let idle = now.duration_since(entry.used) >= IDLE && entry.breaker.is_dormant(now);
            let again = std::mem::take(&mut entry.again);
            if unused && (idle || !again && entry.breaker.is_as_new(now)) {
                return self.entries.remove(&key);
            }
            self.line.push_back(key);
        }
        None
    }
}

/// The breakers of a layer with a key, as their operator sees them.
///
/// ```
/// # use http::{Request, Response};
/// # use seawall::{BoxError, CircuitBreakerLayer, circuit_breaker::State};
/// # use tower::{Layer, Service, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<()>| async {
/// #     Ok::<_, BoxError>(Response::new(String::new()))
/// # });
/// let layer = CircuitBreakerLayer::new().by_host();
/// layer.layer(origin).call(Request::get("http://example.com/").body(())?).await?;
///
/// let host = Some("example.com".parse()?);
/// let breaker = layer.breakers().of(&host).expect("it was called");
/// breaker.force_open();
/// assert_eq!(layer.breakers().states(), [(host, State::Open)]);
/// # Ok(()) }
/// ```
pub struct Breakers<K> {
    table: Arc<Table<K>>,
}

impl<K: Clone + Eq + Hash> Breakers<K> {
    /// The breaker of `key`, if it has one of its own.
    pub fn of<Q>(&self, key: &Q) -> Option<CircuitBreaker>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let shard = lock(self.table.shard(key));
        let shared = Arc::clone(&shard.entries.get(key)?.breaker);
        Some(CircuitBreaker { shared })
    }

    /// The one breaker of all keys for which there was no room.
    pub fn rest(&self) -> CircuitBreaker {
        CircuitBreaker { shared: Arc::clone(&self.table.rest) }
    }

    /// Where each stands, in no order.
    pub fn states(&self) -> Vec<(K, State)> {
        let now = Instant::now();
        let of_shard = |shard: &Mutex<Shard<K>>| {
            let shard = lock(shard);
            let state = |(key, entry): (&K, &Entry)| (key.clone(), entry.breaker.state(now));
            shard.entries.iter().map(state).collect::<Vec<_>>()
        };
        self.table.shards.iter().flat_map(of_shard).collect()
    }
}

impl<K> Clone for Breakers<K> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table) }
    }
}

impl<K> fmt::Debug for Breakers<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakers").finish_non_exhaustive()
    }
}

impl<F: Clone, K> Clone for Each<F, K> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), table: Arc::clone(&self.table) }
    }
}

impl<F, K> fmt::Debug for Each<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Each").finish_non_exhaustive()
    }
}
