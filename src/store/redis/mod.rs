//! Entries in Redis.

mod address;
mod backlog;
mod cluster;
mod connect;
mod listing;
mod login;
mod node;
mod operators;
mod replies;
mod sentinel;
mod servers;
mod slots;
#[cfg(all(test, not(seawall_loom)))]
mod tests;
#[cfg_attr(not(feature = "redis-tls"), path = "no_tls.rs")]
mod tls;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

pub use self::listing::Matched;
use self::{address::Address, connect::Settings as Connecting, servers::Servers};
use super::{
    Figures, Guarded, Key, Memory, Record, Status, Store, Tiered,
    nearby::Nearby,
    remote::Remote,
    settings::{Settings, stands_on_its_tiers},
};
use crate::{circuit_breaker::CircuitBreaker, error::BoxError, observe::Observer};

/// A store in Redis, or in what speaks its protocol, with a near store in front of it: what is found there
/// is in memory from then on.
///
/// Cloning is cheap, and a clone is the same store: keep one for its [`status`](Self::status).
///
/// | URL | what |
/// |---|---|
/// | `redis://host:6379`, `redis://user:password@host/2` | one server; the last with a login and a database |
/// | `rediss://host` | the same by TLS, with the feature `redis-tls` |
/// | `unix:/run/redis.sock` | the same by a Unix socket |
/// | `redis://one,two,three?sentinel=NAME` | the master of this name; the hosts are its sentinels |
/// | `redis://one,two,three?cluster` | a cluster, of which these are some nodes |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), seawall::BoxError> {
/// use seawall::{Cache, CacheLayer, store::Redis};
///
/// let redis = Redis::connect("redis://127.0.0.1:6379")?;
/// let layer = CacheLayer::new(Cache::new(redis.clone()));
/// println!("{:?}", redis.status().state);
/// # let _ = layer;
/// # Ok(()) }
/// ```
///
/// # When Redis is slow, full or gone
/// Nothing waits for it beyond its deadlines (50 ms for a read, 250 ms for a write, which no client waits for;
/// 500 ms to connect, which nobody waits for), nothing is tried twice, and a breaker leaves it alone once it
/// fails: see [`Guarded`]. What it does not answer is a miss. It is back within a second or two after it
/// answers again, whether anyone asks or not. A server that declines writes (out of memory, a replica, no
/// disk) goes on being read, and is not written to for a while.
///
/// # What is in it
/// Under `NAMESPACE:` and 64 hexadecimal digits a record each, with the time after which it is of no use as
/// its expiry: what is kept to be validated, or to be given when the origin fails, stays for a day after it
/// was fresh unless [set otherwise](crate::CacheLayer::keep_stale). Give Redis a `maxmemory`, with the policy
/// `allkeys-lru` or `allkeys-lfu`. What comes back is checked before it is used, and no answer is served
/// whose full key is another. Caches that share a namespace share their answers: give those with different
/// policies, keys or origins one each.
///
/// It uses `GET`, `SET`, `DEL`, `PING`, to connect `HELLO`, `AUTH`, `SELECT`, `CLIENT`, `ROLE`, `CLUSTER`
/// and `ASKING`, and for operators `SCAN` and `GETRANGE`.
///
/// # Invalidation
/// It reaches what this process serves, wherever that is stored, and no other process: what others have
/// near, and what this one finds once it is started anew, lives as long as its lifetime says.
pub struct Redis {
    store: Arc<Backed>,
}

type Backed = Tiered<Nearby, Guarded<Remote<Servers>>>;

/// Sets what a [`Redis`] store is to be before it is made.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), seawall::BoxError> {
/// use seawall::store::{Memory, Redis};
///
/// let redis = Redis::builder()
///     .namespace("shop")
///     .near(Memory::bytes(256 << 20))
///     .compress_above(4096)
///     .connect("redis://127.0.0.1:6379")?;
/// # let _ = redis;
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder makes nothing until it connects"]
pub struct RedisBuilder {
    settings: Settings,
    connecting: Connecting,
}

impl Redis {
    /// The store at this URL, with every setting at its default.
    ///
    /// It returns at once, and connects in the background: a server that is down now is no error.
    ///
    /// # Errors
    /// The URL is none, or there is no tokio runtime.
    pub fn connect(url: &str) -> Result<Self, BoxError> {
        Self::builder().connect(url)
    }

    /// A store with settings of your own.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.store.far().status()
    }

    /// The breaker in front of it.
    pub fn breaker(&self) -> CircuitBreaker {
        self.store.far().breaker()
    }
}

impl RedisBuilder {
    /// What its keys begin with: 1 to 32 of `A-Z a-z 0-9 _ . -`; `seawall` unless set.
    pub fn namespace(mut self, namespace: impl Into<Box<str>>) -> Self {
        self.settings.namespace = namespace.into();
        self
    }

    /// What stands near; 64 MiB of memory unless set.
    pub fn near(mut self, near: Memory) -> Self {
        self.settings.near = Nearby::Memory(near);
        self
    }

    /// Nothing stands near: every answer is looked for in Redis.
    pub fn near_off(mut self) -> Self {
        self.settings.near = Nearby::Nothing;
        self
    }

    /// Bodies of more bytes are compressed (LZ4), where that makes them smaller by an eighth at least and they
    /// have no `Content-Encoding`. Off unless set: a few kilobytes are a good choice where memory or the
    /// network is scarce.
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.settings.layout.compress_above(bytes);
        self
    }

    /// How long a read may take; 50 ms unless set, at least 1 ms.
    pub fn read_deadline(mut self, deadline: Duration) -> Self {
        self.settings.read_deadline = Some(deadline);
        self
    }

    /// How long a write may take; 250 ms unless set, at least 1 ms.
    pub fn write_deadline(mut self, deadline: Duration) -> Self {
        self.settings.write_deadline = Some(deadline);
        self
    }

    /// How long an attempt to connect may take; 500 ms unless set.
    pub fn connect_deadline(mut self, deadline: Duration) -> Self {
        self.connecting.connect_deadline = deadline.max(Duration::from_millis(1));
        self
    }

    /// Who signs the certificate of a server that is reached by TLS, in PEM; whom the system trusts unless
    /// set.
    pub fn certificate_authority(mut self, pem: impl Into<Bytes>) -> Self {
        self.connecting.ca_pem = Some(pem.into());
        self
    }

    /// Makes the store; see [`Redis::connect`].
    ///
    /// # Errors
    /// The URL is none, the namespace is none, or there is no tokio runtime.
    pub fn connect(self, url: &str) -> Result<Redis, BoxError> {
        self.settings.prefix()?;
        let servers = Servers::open(&Address::parse(url)?, self.connecting)?;
        Self::over(self.settings, servers)
    }

    /// Makes the store with a client that is configured already, to one server. Its own retries and deadlines
    /// are not used.
    ///
    /// # Errors
    /// The namespace is none.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect_with(self, client: redis::Client) -> Result<Redis, BoxError> {
        self.settings.prefix()?;
        Self::over(self.settings, Servers::of_client(client))
    }

    fn over(settings: Settings, servers: Servers) -> Result<Redis, BoxError> {
        let far = settings.guarded(servers, "redis")?;
        Ok(Redis { store: Arc::new(settings.tiered(far)) })
    }
}

stands_on_its_tiers!(Redis);

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.status()).finish()
    }
}
