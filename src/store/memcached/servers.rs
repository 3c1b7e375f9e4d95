//! All the servers of one store.

use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{
    address::{Address, server_of},
    command::What,
    member::Member,
};
use crate::{
    error::BoxError,
    store::server::{Server, WireKey},
};

/// What can be set about the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How long an attempt to connect may take.
    pub(crate) connect_deadline: Duration,
    /// How long a server may leave calls without any answer, before its connection is replaced.
    pub(crate) silence: Duration,
    /// Bytes of the largest value that is sent.
    pub(crate) item_limit: usize,
    /// Calls that wait to be sent to one server; those beyond it are declined.
    pub(crate) queue: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_deadline: Duration::from_millis(500),
            silence: Duration::from_secs(1),
            item_limit: 1_000_000,
            queue: 4096,
        }
    }
}

/// One or several servers, each with a part of the keys, and with a failure of its own.
///
/// Operations on one key happen in the order in which they are begun, as long as the connection holds.
/// Of one that fails, a server may still do what it had received, even after it has answered on the next.
#[derive(Debug)]
pub(crate) struct Servers {
    members: Vec<Member>,
    seeds: Vec<u64>,
}

impl Servers {
    /// Starts to connect; waits for nothing.
    ///
    /// # Errors
    /// Outside of a tokio runtime, without an address, and with one that is named twice.
    pub(crate) fn open(addresses: &[Address], settings: Settings) -> Result<Self, BoxError> {
        let runtime = Handle::try_current().map_err(|_| "Memcached needs a tokio runtime")?;
        if addresses.is_empty() {
            return Err("no Memcached server is named".into());
        }
        for (at, address) in addresses.iter().enumerate() {
            if addresses[..at].contains(address) {
                return Err(format!("the Memcached server {address} is named twice").into());
            }
        }
        let open = |address| Member::open(address, settings, &runtime);
        Ok(Self {
            members: addresses.iter().map(open).collect(),
            seeds: addresses.iter().map(Address::seed).collect(),
        })
    }

    /// Each server, as a store of its own: for a breaker, a deadline, a probe for each.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Which of the [members](Self::members) has `key`.
    pub(crate) fn member_of(&self, key: &WireKey) -> usize {
        server_of(key, &self.seeds)
    }

    fn having(&self, key: &WireKey) -> &Member {
        &self.members[self.member_of(key)]
    }
}

impl Server for Servers {
    async fn get(&self, key: &WireKey) -> Result<Option<Bytes>, BoxError> {
        self.having(key).get(key).await
    }

    async fn set(&self, key: &WireKey, value: Bytes, ttl: Duration) -> Result<(), BoxError> {
        self.having(key).set(key, value, ttl).await
    }

    async fn delete(&self, key: &WireKey) -> Result<(), BoxError> {
        self.having(key).delete(key).await
    }

    /// Whether all of them answer.
    async fn ping(&self) -> Result<(), BoxError> {
        let started: Vec<_> = self.members.iter().map(|member| member.start(What::Ping)).collect();
        for (member, started) in self.members.iter().zip(started) {
            member.answer(started).await?;
        }
        Ok(())
    }
}
