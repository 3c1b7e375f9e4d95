//! A far store of our own: a map of bytes that counts what is asked of it, and takes its time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use seawall::{
    BoxError,
    store::{Key, Record, Store},
};
use tokio::time::sleep;

/// Every clone is the same map, as every connection leads to the same server.
#[derive(Clone, Default)]
pub(crate) struct Map {
    shared: Arc<Shared>,
    namespace: String,
}

#[derive(Default)]
struct Shared {
    values: Mutex<HashMap<String, Bytes>>,
    reads: AtomicU64,
    writes: AtomicU64,
    frozen: AtomicBool,
}

impl Map {
    const TAKES: Duration = Duration::from_millis(1);

    /// Another part of the same.
    pub(crate) fn part(&self, namespace: &str) -> Self {
        Self { shared: Arc::clone(&self.shared), namespace: namespace.to_owned() }
    }

    fn name(&self, key: &Key) -> String {
        format!("{}:{}", self.namespace, key.name())
    }

    pub(crate) fn reads(&self) -> u64 {
        self.shared.reads.load(SeqCst)
    }

    pub(crate) fn writes(&self) -> u64 {
        self.shared.writes.load(SeqCst)
    }

    /// Whether nothing is answered.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.shared.frozen.store(frozen, SeqCst);
    }

    async fn takes_its_time(&self) {
        sleep(Self::TAKES).await;
        while self.shared.frozen.load(SeqCst) {
            sleep(Self::TAKES).await;
        }
    }
}

impl Store for Map {
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        self.shared.reads.fetch_add(1, SeqCst);
        self.takes_its_time().await;
        let found = self.shared.values.lock().unwrap().get(&self.name(key)).cloned();
        Ok(found.map(|bytes| Record::from_bytes(key, bytes)).transpose()?)
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        self.shared.writes.fetch_add(1, SeqCst);
        self.takes_its_time().await;
        let bytes = record.to_bytes(&key).filter(|_| !record.time_to_live().is_zero());
        let mut values = self.shared.values.lock().unwrap();
        match bytes {
            Some(bytes) => values.insert(self.name(&key), bytes),
            None => values.remove(&self.name(&key)),
        };
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.takes_its_time().await;
        self.shared.values.lock().unwrap().remove(&self.name(key));
        Ok(())
    }
}
