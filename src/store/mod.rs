//! Where entries are kept.
//!
//! | store | keeps entries | feature |
//! |---|---|---|
//! | [`Memory`] | in this process, weighed in bytes | `memory` (default) |
//! | [`Redis`] | in Redis, and near in memory; guarded | `redis`, `redis-tls` |
//! | [`Memcached`] | in Memcached, and near in memory; guarded | `memcached` |
//! | [`Tiered`] | in two stores, a near one and a far one | – |
//! | [`Guarded`] | in any remote store, with deadlines and a breaker | – |
//!
//! A [`Store`] of your own needs three operations. It may forget anything at any time; it may fail,
//! which counts as a miss and never reaches a client; and it need not understand what it keeps:
//! whether a [`Record`] may be used is decided on every read by who reads it. One that is on the network
//! keeps what `Record::to_bytes` says (feature `remote`), and stands in a [`Guarded`].
#![cfg_attr(not(feature = "redis"), doc = "\n[`Redis`]: #")]
#![cfg_attr(not(feature = "memcached"), doc = "\n[`Memcached`]: #")]

#[cfg(feature = "remote")]
mod bytes;
mod declined;
#[cfg(feature = "redis")]
mod glimpse;
mod guarded;
mod key;
mod late;
#[cfg(feature = "remote")]
mod layout;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(feature = "memory")]
mod memory;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod nearby;
mod record;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod remote;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod server;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod settings;
mod status;
mod tiered;
mod unreadable;
mod variants;
mod writes;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

pub use self::declined::Declined;
pub use self::guarded::{Guarded, GuardedBuilder};
pub(crate) use self::key::MAX_KEY;
pub use self::key::{Key, KeyWriter};
#[cfg(feature = "memcached")]
pub use self::memcached::{Memcached, MemcachedBuilder};
#[cfg(feature = "memory")]
pub use self::memory::Memory;
pub use self::record::{Entry, Record};
pub(crate) use self::record::{Head, Sharing};
#[cfg(feature = "redis")]
pub use self::redis::{Matched, Redis, RedisBuilder};
pub use self::status::Status;
pub use self::tiered::Tiered;
pub use self::unreadable::Unreadable;
#[cfg(feature = "remote")]
pub(crate) use self::variants::MOST_SETS;
pub use self::variants::Variants;
use crate::{error::BoxError, observe::Observer};

/// A place where records are kept under their keys.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{BodyExt, Empty, Full};
/// # use seawall::CacheLayer;
/// # use tower::{Layer, ServiceExt, service_fn};
/// use seawall::{BoxError, store::{Key, Record, Store}};
/// use std::{collections::HashMap, sync::Mutex};
///
/// /// Has no bound, and so is for tests.
/// #[derive(Default)]
/// struct Map(Mutex<HashMap<Key, Record>>);
///
/// impl Store for Map {
///     fn peek(&self, key: &[u8]) -> Option<Record> {
///         self.0.lock().unwrap().get(key).cloned()
///     }
///
///     fn is_remote(&self) -> bool {
///         false // `peek` sees all there is
///     }
///
///     async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
///         Ok(self.peek(key.as_bytes()))
///     }
///
///     async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
///         self.0.lock().unwrap().insert(key, record);
///         Ok(())
///     }
///
///     async fn remove(&self, key: &Key) -> Result<(), BoxError> {
///         self.0.lock().unwrap().remove(key);
///         Ok(())
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Response::builder().header("cache-control", "max-age=60").body(Full::<Bytes>::from("once"))
/// # });
///
/// let service = CacheLayer::new(Map::default()).layer(origin);
/// # for said in ["seawall; fwd=uri-miss; fwd-status=200; stored", "seawall; hit"] {
/// #     let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
/// #     let response = service.clone().oneshot(request).await?;
/// #     assert_eq!(response.headers()["cache-status"], said);
/// #     assert_eq!(response.into_body().collect().await?.to_bytes(), "once");
/// # }
/// # Ok(()) }
/// ```
///
/// # Cancellation
/// Every future may be dropped at any time: an operation may then have happened or not, and no later
/// one may be harmed by it.
pub trait Store: Send + Sync + 'static {
    /// What is at hand without waiting; `None` where that is not known.
    ///
    /// This is the path of a hit: it should take nanoseconds.
    fn peek(&self, key: &[u8]) -> Option<Record> {
        let _ = key;
        None
    }

    /// Whether [`get`](Self::get) may find what [`peek`](Self::peek) does not.
    fn is_remote(&self) -> bool {
        true
    }

    /// Looks `key` up.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Record>, BoxError>> + Send;

    /// Keeps `record` under `key`, in place of what was there.
    fn put(&self, key: Key, record: Record) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Forgets `key`.
    fn remove(&self, key: &Key) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Whether every operation ends in time by itself: where it does not, a cache gives a look-up 50 ms,
    /// and anything else 250 ms.
    fn has_deadlines(&self) -> bool {
        false
    }

    /// Whether it answers: what a [`Guarded`] store is asked that has failed, to find out whether it is
    /// back. A look-up unless there is something better.
    fn ping(&self) -> impl Future<Output = Result<(), BoxError>> + Send {
        async {
            self.get(&Key::from(&b"ping"[..])).await?;
            Ok(())
        }
    }

    /// How many records are at hand, and what they weigh in bytes.
    fn figures(&self) -> Figures {
        Figures::default()
    }

    /// Who is told of what happens behind the back of those who call. A cache says so when it is made; of
    /// several, the first one counts. A store around another hands it on.
    fn observed_by(&self, observer: &Arc<dyn Observer>) {
        let _ = observer;
    }
}

/// What a store holds at hand. One that does not know says zero.
///
/// ```
/// use seawall::store::{Figures, Key, Record};
/// use std::collections::HashMap;
///
/// fn figures(map: &HashMap<Key, Record>) -> Figures {
///     let weigh = |(key, record): (&Key, &Record)| key.as_bytes().len() as u64 + record.weight();
///     Figures { records: map.len() as u64, bytes: map.iter().map(weigh).sum() }
/// }
/// assert_eq!(figures(&HashMap::new()), Figures::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records: entries, and lists of the variants of a key.
    pub records: u64,
    /// Their weight in bytes, keys and overhead included.
    pub bytes: u64,
}

/// A store for those who keep nothing: what [`CoalesceLayer`](crate::CoalesceLayer) looks in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nothing;

impl Store for Nothing {
    fn is_remote(&self) -> bool {
        false
    }

    async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> {
        Ok(None)
    }

    async fn put(&self, _: Key, _: Record) -> Result<(), BoxError> {
        Ok(())
    }

    async fn remove(&self, _: &Key) -> Result<(), BoxError> {
        Ok(())
    }
}

type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// A store behind a pointer: a call for what is at hand, a box for what has to be waited for.
trait Erased: Send + Sync {
    fn peek(&self, key: &[u8]) -> Option<Record>;
    fn get<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<Record>>;
    fn put(&self, key: Key, record: Record) -> Pending<'_, ()>;
    fn remove<'a>(&'a self, key: &'a Key) -> Pending<'a, ()>;
    fn figures(&self) -> Figures;
    fn observed_by(&self, observer: &Arc<dyn Observer>);
}

impl<S: Store> Erased for S {
    fn peek(&self, key: &[u8]) -> Option<Record> {
        Store::peek(self, key)
    }

    fn get<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<Record>> {
        Box::pin(Store::get(self, key))
    }

    fn put(&self, key: Key, record: Record) -> Pending<'_, ()> {
        Box::pin(Store::put(self, key, record))
    }

    fn remove<'a>(&'a self, key: &'a Key) -> Pending<'a, ()> {
        Box::pin(Store::remove(self, key))
    }

    fn figures(&self) -> Figures {
        Store::figures(self)
    }

    fn observed_by(&self, observer: &Arc<dyn Observer>) {
        Store::observed_by(self, observer);
    }
}

/// Any store, as engines hold it.
#[derive(Clone)]
pub(crate) struct AnyStore {
    store: Arc<dyn Erased>,
    is_remote: bool,
    has_deadlines: bool,
}

impl AnyStore {
    pub(crate) fn new(store: impl Store) -> Self {
        let (is_remote, has_deadlines) = (store.is_remote(), store.has_deadlines());
        Self { store: Arc::new(store), is_remote, has_deadlines }
    }

    #[inline]
    pub(crate) fn peek(&self, key: &[u8]) -> Option<Record> {
        self.store.peek(key)
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.is_remote
    }

    pub(crate) fn has_deadlines(&self) -> bool {
        self.has_deadlines
    }

    pub(crate) fn observed_by(&self, observer: &Arc<dyn Observer>) {
        self.store.observed_by(observer);
    }

    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        self.store.get(key).await
    }

    pub(crate) async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        self.store.put(key, record).await
    }

    pub(crate) async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.store.remove(key).await
    }

    pub(crate) fn figures(&self) -> Figures {
        self.store.figures()
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyStore").field(&self.figures()).finish()
    }
}
