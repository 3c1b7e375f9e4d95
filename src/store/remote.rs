//! Records on a server: each under its wire key, in the layout of this version.

use std::fmt;

use super::{
    Declined, Key, Record, Store, Unreadable,
    layout::{Clocks, Layout},
    server::{Server, WireKey},
};
use crate::error::BoxError;

pub(crate) struct Remote<S> {
    server: S,
    /// Of all its keys.
    prefix: Box<str>,
    layout: Layout,
}

impl<S: Server> Remote<S> {
    /// `prefix` [is one](WireKey::is_prefix).
    pub(crate) fn new(server: S, prefix: Box<str>, layout: Layout) -> Self {
        Self { server, prefix, layout }
    }

    #[cfg(feature = "redis")]
    pub(crate) fn server(&self) -> &S {
        &self.server
    }

    #[cfg(feature = "redis")]
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn wire(&self, key: &Key) -> WireKey {
        WireKey::new(&self.prefix, &self.layout.hash(key))
    }
}

impl<S: Server> Store for Remote<S> {
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        let wire = self.wire(key);
        let Some(bytes) = self.server.get(&wire).await? else { return Ok(None) };
        match self.layout.read(key, &bytes, Clocks::read()) {
            Ok(record) => Ok(Some(record)),
            Err(unreadable) => {
                // What only this clock takes for the future is good for others.
                if unreadable != Unreadable::FromTheFuture {
                    let _ = self.server.delete(&wire).await;
                }
                Err(Declined::new(unreadable).into())
            }
        }
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        let (wire, ttl) = (self.wire(&key), record.time_to_live());
        match self.layout.write(&key, &record, Clocks::read()) {
            Some(bytes) if !ttl.is_zero() => self.server.set(&wire, bytes, ttl).await,
            _ => self.server.delete(&wire).await,
        }
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.server.delete(&self.wire(key)).await
    }

    async fn ping(&self) -> Result<(), BoxError> {
        self.server.ping().await
    }
}

impl<S> fmt::Debug for Remote<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
