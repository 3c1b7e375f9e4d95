//! The servers behind an address, as a store asks them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{Client, Cmd, Value, cmd};
use tokio::runtime::Handle;

use super::{
    address::{Address, Place},
    cluster::Cluster,
    connect::{Access, Settings, Target},
    node::Node,
    replies::{Expected, accepted, has_code, is_count, is_ok, is_pong, is_value, value},
    sentinel::Sentinels,
    tls,
};
use crate::{
    error::BoxError,
    store::server::{Server, WireKey},
};

/// A server, a master among replicas, or a cluster.
///
/// Connecting belongs to tasks, which end with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct Servers(pub(super) Arc<Topology>);

#[derive(Debug)]
pub(super) enum Topology {
    One(Node),
    Many(Cluster),
}

impl Servers {
    /// Waits for nobody: where no server answers, that is no error.
    ///
    /// # Errors
    /// The address is none, or there is no runtime of tokio.
    pub(crate) fn open(address: &Address, settings: Settings) -> Result<Self, BoxError> {
        Handle::try_current()?;
        let settings = Arc::new(settings);
        let access = Access {
            login: address.login.clone(),
            db: address.db,
            tls: address.tls,
            settings: Arc::clone(&settings),
        };
        let target = match &address.place {
            Place::Server(host) => Target::Server(access.host(host)?),
            Place::Socket(path) => Target::Server(access.socket(path)?),
            Place::Sentinels { hosts, master, login } => {
                Target::Master(Sentinels::new(hosts, master.clone(), login.clone(), access)?)
            }
            Place::Cluster(hosts) => {
                let cluster = Cluster::start(hosts.clone(), access)?;
                return Ok(Self(Arc::new(Topology::Many(cluster))));
            }
        };
        Ok(Self::one(target, settings))
    }

    /// The server that this client is configured for.
    ///
    /// # Panics
    /// Without a runtime of tokio.
    pub(crate) fn of_client(client: Client) -> Self {
        tls::prepare();
        Self::one(Target::Server(client), Arc::default())
    }

    fn one(target: Target, settings: Arc<Settings>) -> Self {
        Self(Arc::new(Topology::One(Node::start(target, settings))))
    }

    /// Whether there is a connection; of a cluster, to any of its nodes.
    #[cfg(all(test, not(seawall_loom)))]
    pub(crate) fn is_connected(&self) -> bool {
        match &*self.0 {
            Topology::One(node) => node.is_connected(),
            Topology::Many(cluster) => cluster.is_connected(),
        }
    }

    async fn send(&self, key: &[u8], command: &Cmd, expected: Expected) -> Result<Value, BoxError> {
        let reply = match &*self.0 {
            Topology::One(node) => {
                let reply = node.send(command, expected).await?;
                if has_code(&reply, "READONLY") {
                    node.renew();
                }
                reply
            }
            Topology::Many(cluster) => cluster.send(key, command, expected).await?,
        };
        accepted(reply)
    }
}

impl Server for Servers {
    async fn get(&self, key: &WireKey) -> Result<Option<Bytes>, BoxError> {
        let key = key.as_bytes();
        let mut command = Cmd::with_capacity(2, 3 + key.len());
        command.arg("GET").arg(key);
        Ok(value(self.send(key, &command, is_value).await?))
    }

    async fn set(&self, key: &WireKey, value: Bytes, ttl: Duration) -> Result<(), BoxError> {
        let key = key.as_bytes();
        let mut command = Cmd::with_capacity(5, 32 + key.len() + value.len());
        command.arg("SET").arg(key).arg(&value[..]).arg("PX").arg(milliseconds(ttl));
        drop(value);
        self.send(key, &command, is_ok).await.map(drop)
    }

    async fn delete(&self, key: &WireKey) -> Result<(), BoxError> {
        let key = key.as_bytes();
        self.send(key, cmd("DEL").arg(key), is_count).await.map(drop)
    }

    async fn ping(&self) -> Result<(), BoxError> {
        match &*self.0 {
            Topology::One(node) => accepted(node.send(&cmd("PING"), is_pong).await?).map(drop),
            Topology::Many(cluster) => cluster.ping().await,
        }
    }
}

/// What Redis takes for a lifetime: it refuses zero, and what overflows its clock.
pub(super) fn milliseconds(ttl: Duration) -> u64 {
    const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;
    u64::try_from(ttl.as_millis()).unwrap_or(YEAR).clamp(1, YEAR)
}
