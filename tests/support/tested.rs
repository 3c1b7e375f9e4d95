//! The store that the suite runs against.

use std::sync::Arc;

#[cfg(feature = "redis")]
use seawall::store::Redis;
use seawall::{
    BoxError,
    observe::Observer,
    store::{Figures, Key, Memory, Record, Store},
};

#[derive(Debug)]
pub enum Tested {
    Memory(Memory),
    /// Nobody listens where it should be.
    #[cfg(feature = "redis")]
    DeadRedis(Redis),
}

pub fn store() -> Tested {
    match std::env::var("SEAWALL_TEST_STORE").as_deref() {
        Err(_) => Tested::Memory(Memory::default()),
        // What is on the network needs a runtime.
        Ok(_) if tokio::runtime::Handle::try_current().is_err() => {
            Tested::Memory(Memory::default())
        }
        #[cfg(feature = "redis")]
        Ok("dead-redis") => Tested::DeadRedis(Redis::connect("redis://127.0.0.1:1").unwrap()),
        Ok(other) => panic!("no store is called {other:?}"),
    }
}

/// What `$call` makes of either.
macro_rules! of {
    ($tested:expr, $store:ident => $call:expr) => {
        match $tested {
            Tested::Memory($store) => $call,
            #[cfg(feature = "redis")]
            Tested::DeadRedis($store) => $call,
        }
    };
}

impl Store for Tested {
    fn peek(&self, key: &[u8]) -> Option<Record> {
        of!(self, store => store.peek(key))
    }

    fn is_remote(&self) -> bool {
        of!(self, store => store.is_remote())
    }

    fn has_deadlines(&self) -> bool {
        of!(self, store => store.has_deadlines())
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        of!(self, store => store.get(key).await)
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        of!(self, store => store.put(key, record).await)
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        of!(self, store => store.remove(key).await)
    }

    fn figures(&self) -> Figures {
        of!(self, store => Store::figures(store))
    }

    fn observed_by(&self, observer: &Arc<dyn Observer>) {
        of!(self, store => store.observed_by(observer));
    }
}
