//! What Redis and Memcached can be told alike.

use std::time::Duration;

use super::{
    Guarded, Memory, Tiered,
    layout::Layout,
    nearby::Nearby,
    remote::Remote,
    server::{Server, WireKey},
};
use crate::error::BoxError;

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) namespace: Box<str>,
    pub(super) near: Nearby,
    pub(super) read_deadline: Option<Duration>,
    pub(super) write_deadline: Option<Duration>,
    pub(super) layout: Layout,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: "seawall".into(),
            near: Nearby::Memory(Memory::default()),
            read_deadline: None,
            write_deadline: None,
            layout: Layout::default(),
        }
    }
}

impl Settings {
    /// The namespace, if it can be one.
    pub(super) fn prefix(&self) -> Result<Box<str>, BoxError> {
        let namespace = &self.namespace;
        if WireKey::is_prefix(namespace) {
            return Ok(namespace.clone());
        }
        Err(format!("a namespace is 1 to 32 of A-Z a-z 0-9 _ . -, and not {namespace:?}").into())
    }

    /// `server` with deadlines and a breaker.
    pub(super) fn guarded<S: Server>(
        &self,
        server: S,
        name: &str,
    ) -> Result<Guarded<Remote<S>>, BoxError> {
        let remote = Remote::new(server, self.prefix()?, self.layout);
        let mut guarded = Guarded::builder(remote).name(name);
        if let Some(deadline) = self.read_deadline {
            guarded = guarded.read_deadline(deadline);
        }
        if let Some(deadline) = self.write_deadline {
            guarded = guarded.write_deadline(deadline);
        }
        Ok(guarded.build())
    }

    /// What is near in front of `far`.
    pub(super) fn tiered<F: super::Store>(self, far: F) -> Tiered<Nearby, F> {
        Tiered::new(self.near, far)
    }
}

/// Makes a store of what is one but for its name: it has it in `store`, and clones share that.
macro_rules! stands_on_its_tiers {
    ($name:ident) => {
        impl Store for $name {
            fn peek(&self, key: &[u8]) -> Option<Record> {
                self.store.peek(key)
            }

            fn has_deadlines(&self) -> bool {
                self.store.has_deadlines()
            }

            async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
                self.store.get(key).await
            }

            async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
                self.store.put(key, record).await
            }

            async fn remove(&self, key: &Key) -> Result<(), BoxError> {
                self.store.remove(key).await
            }

            async fn ping(&self) -> Result<(), BoxError> {
                self.store.ping().await
            }

            fn figures(&self) -> Figures {
                Store::figures(&*self.store)
            }

            fn observed_by(&self, observer: &Arc<dyn Observer>) {
                self.store.observed_by(observer);
            }
        }

        impl Clone for $name {
            fn clone(&self) -> Self {
                Self { store: Arc::clone(&self.store) }
            }
        }
    };
}
pub(super) use stands_on_its_tiers;
