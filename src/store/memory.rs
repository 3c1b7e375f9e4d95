//! Entries in this process.

use std::fmt;

use foldhash::quality::RandomState;
use quick_cache::{OptionsBuilder, Weighter, sync::Cache};

use super::{Figures, Key, Record, Store};
use crate::error::BoxError;

const DEFAULT: u64 = 64 * 1024 * 1024;
/// A shard holds many of the largest entries, or one of them would empty it.
const SHARD: u64 = 32 * 1024 * 1024;
/// What quick_cache itself takes a record, beside the key and the record.
const OVERHEAD: u64 = 48;

/// A store in this process, bounded by the weight of what it holds in bytes.
///
/// Keys, heads, bodies and the store's own overhead count. Once it is full, S3-FIFO decides what
/// goes: one pass over many keys does not flush what is asked for again and again. Keys are hashed
/// with a seed that is drawn when the process starts.
///
/// The default is 64 MiB. Cloning is not needed: give it to a [`Cache`](crate::Cache), and clone
/// that.
///
/// ```
/// use seawall::{Cache, store::Memory};
///
/// let cache = Cache::new(Memory::bytes(256 << 20));
/// assert_eq!(cache.figures().records, 0);
/// ```
pub struct Memory {
    cache: Cache<Key, Record, Weight, RandomState>,
}

impl Memory {
    /// A store of at most so many bytes.
    ///
    /// It is divided into parts of 32 MiB and more, and an entry has to fit well into one of them:
    /// bodies of more than 16 MiB, or of more than half of a smaller store, may not be kept.
    pub fn bytes(bytes: u64) -> Self {
        let most = 4 * std::thread::available_parallelism().map_or(4, usize::from);
        let shards = usize::try_from(bytes / SHARD).unwrap_or(most).clamp(1, most);
        let options = OptionsBuilder::new()
            .shards(shards)
            .weight_capacity(bytes)
            // Entries of 2 KiB; the estimate sizes tables, it bounds nothing.
            .estimated_items_capacity(usize::try_from(bytes / 2048).unwrap_or(1 << 20).min(1 << 20))
            .build()
            .expect("both capacities are set");
        let cache = Cache::with_options(
            options,
            Weight,
            RandomState::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        Self { cache }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::bytes(DEFAULT)
    }
}

impl Store for Memory {
    fn peek(&self, key: &[u8]) -> Option<Record> {
        self.cache.get(key)
    }

    fn is_remote(&self) -> bool {
        false
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        Ok(self.cache.get(key))
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        self.cache.insert(key, record);
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.cache.remove(key);
        Ok(())
    }

    fn figures(&self) -> Figures {
        Figures { records: self.cache.len() as u64, bytes: self.cache.weight() }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("capacity", &self.cache.capacity())
            .field("figures", &Store::figures(self))
            .finish()
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Record> for Weight {
    fn weight(&self, key: &Key, record: &Record) -> u64 {
        key.as_bytes().len() as u64 + record.weight() + OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_store_has_as_many_parts_as_use_it_and_a_small_one_has_one() {
        let parts = |bytes| Memory::bytes(bytes).cache.num_shards();
        assert_eq!(parts(1 << 20), 1);
        assert_eq!(parts(64 << 20), 2);
    }
}
