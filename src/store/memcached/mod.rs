//! Entries in Memcached.

mod address;
mod command;
mod connection;
mod failure;
mod member;
mod outbox;
mod replies;
mod servers;
#[cfg(all(test, not(seawall_loom)))]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use self::{
    address::Address,
    servers::{Servers, Settings as Connecting},
};
use super::{
    Figures, Guarded, Key, Memory, Record, Status, Store, Tiered,
    layout::Layout,
    nearby::Nearby,
    remote::Remote,
    server::{Server, WireKey},
    settings::{Settings, stands_on_its_tiers},
};
use crate::{circuit_breaker::CircuitBreaker, error::BoxError, observe::Observer};

/// A store in one or several Memcached servers, with a near store in front of them: what is found there is in
/// memory from then on.
///
/// Cloning is cheap, and a clone is the same store: keep one for its [`status`](Self::status).
///
/// Each server has a part of the keys (rendezvous hashing: all processes agree where they name the same
/// servers the same way, and one server more takes its share and moves nothing else), and a breaker of its
/// own: while one is out, its part is missing and the others serve theirs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), seawall::BoxError> {
/// use seawall::{Cache, CacheLayer, store::Memcached};
///
/// let memcached = Memcached::connect(["127.0.0.1:11211", "127.0.0.1:11212"])?;
/// let layer = CacheLayer::new(Cache::new(memcached.clone()));
/// for server in memcached.status() {
///     println!("{}: {:?}", server.name, server.state);
/// }
/// # let _ = layer;
/// # Ok(()) }
/// ```
///
/// # When a server is slow, full or gone
/// As with [`Redis`](super::Redis): nothing waits for it beyond its deadlines (50 ms for a read, 250 ms for a
/// write), nothing is tried twice, and a breaker leaves it alone until it answers again. A call that is given
/// up never leaves its connection out of step.
///
/// # What is in it
/// Under `NAMESPACE:` and 64 hexadecimal digits a record each, with the time after which it is of no use as its
/// expiry, in whole seconds. A record of more than 1,000,000 bytes is passed by, for a server takes 1 MiB unless
/// it is told otherwise (`-I`): raise the [limit](MemcachedBuilder::item_limit) with that. It uses the meta
/// protocol, of Memcached 1.6 and later.
///
/// # Invalidation
/// It reaches what this process serves, and no other process: what these find lives as long as its lifetime
/// says. Memcached cannot list what it holds: nothing is counted or invalidated by pattern there.
pub struct Memcached {
    store: Arc<Tiered<Nearby, Spread>>,
}

/// Sets what a [`Memcached`] store is to be before it is made.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), seawall::BoxError> {
/// use seawall::store::{Memcached, Memory};
///
/// let memcached = Memcached::builder()
///     .namespace("shop")
///     .near(Memory::bytes(256 << 20))
///     .item_limit(8 << 20) // memcached -I 8m
///     .connect(["127.0.0.1:11211"])?;
/// # let _ = memcached;
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder makes nothing until it connects"]
pub struct MemcachedBuilder {
    settings: Settings,
    connecting: Connecting,
}

impl Memcached {
    /// The store on these servers, each `host`, `host:port` or `unix:/path`, with every setting at its default.
    ///
    /// It returns at once, and connects in the background: a server that is down now is no error.
    ///
    /// # Errors
    /// There is no server, or an address is none, or named twice, or there is no tokio runtime.
    pub fn connect<A: AsRef<str>>(servers: impl IntoIterator<Item = A>) -> Result<Self, BoxError> {
        Self::builder().connect(servers)
    }

    /// A store with settings of your own.
    pub fn builder() -> MemcachedBuilder {
        MemcachedBuilder::default()
    }

    /// How its servers are, in the order in which they were named.
    pub fn status(&self) -> Vec<Status> {
        self.store.far().parts.iter().map(Guarded::status).collect()
    }

    /// The breakers in front of them.
    pub fn breakers(&self) -> Vec<CircuitBreaker> {
        self.store.far().parts.iter().map(Guarded::breaker).collect()
    }
}

impl MemcachedBuilder {
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

    /// Nothing stands near: every answer is looked for in Memcached.
    pub fn near_off(mut self) -> Self {
        self.settings.near = Nearby::Nothing;
        self
    }

    /// Bodies of more bytes are compressed; off unless set, as a body has to gain by it: with LZ4, and by an eighth at least.
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.settings.layout.compress_above(bytes);
        self
    }

    /// The largest record that is sent, in bytes; 1,000,000 unless set.
    pub fn item_limit(mut self, bytes: usize) -> Self {
        self.connecting.item_limit = bytes;
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

    /// Makes the store; see [`Memcached::connect`].
    ///
    /// # Errors
    /// Those of [`Memcached::connect`], and a namespace that is none.
    pub fn connect<A: AsRef<str>>(
        self,
        servers: impl IntoIterator<Item = A>,
    ) -> Result<Memcached, BoxError> {
        let addresses = servers.into_iter().map(|server| Address::parse(server.as_ref()));
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let (prefix, layout) = (self.settings.prefix()?, self.settings.layout);
        let servers = Arc::new(Servers::open(&addresses, self.connecting)?);
        let parts = (0..addresses.len()).map(|at| {
            let part = Part { servers: Arc::clone(&servers), at };
            let name = part.servers.members()[at].name().to_owned();
            self.settings.guarded(part, &name)
        });
        let parts = parts.collect::<Result<_, _>>()?;
        let spread = Spread { servers, parts, prefix, layout };
        Ok(Memcached { store: Arc::new(self.settings.tiered(spread)) })
    }
}

/// One of the servers.
struct Part {
    servers: Arc<Servers>,
    at: usize,
}

impl Server for Part {
    async fn get(&self, key: &WireKey) -> Result<Option<Bytes>, BoxError> {
        self.servers.members()[self.at].get(key).await
    }

    async fn set(&self, key: &WireKey, value: Bytes, ttl: Duration) -> Result<(), BoxError> {
        self.servers.members()[self.at].set(key, value, ttl).await
    }

    async fn delete(&self, key: &WireKey) -> Result<(), BoxError> {
        self.servers.members()[self.at].delete(key).await
    }

    async fn ping(&self) -> Result<(), BoxError> {
        self.servers.members()[self.at].ping().await
    }
}

/// All of them as one store.
struct Spread {
    servers: Arc<Servers>,
    parts: Vec<Guarded<Remote<Part>>>,
    prefix: Box<str>,
    layout: Layout,
}

impl Spread {
    fn of(&self, key: &Key) -> &Guarded<Remote<Part>> {
        match &self.parts[..] {
            [only] => only,
            parts => {
                let wire = WireKey::new(&self.prefix, &self.layout.hash(key));
                &parts[self.servers.member_of(&wire)]
            }
        }
    }
}

impl Store for Spread {
    fn has_deadlines(&self) -> bool {
        true
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        self.of(key).get(key).await
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        self.of(&key).put(key, record).await
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.of(key).remove(key).await
    }

    async fn ping(&self) -> Result<(), BoxError> {
        for part in &self.parts {
            part.ping().await?;
        }
        Ok(())
    }

    fn observed_by(&self, observer: &Arc<dyn Observer>) {
        for part in &self.parts {
            part.observed_by(observer);
        }
    }
}

stands_on_its_tiers!(Memcached);

impl fmt::Debug for Memcached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Memcached").field(&self.status()).finish()
    }
}
