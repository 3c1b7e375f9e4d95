//! Keys whose last answer could not be shared, and until when that is remembered.
//!
//! Coalescing such a key would make every caller wait for an answer that turns out to be another's.
//! The table holds hashes, not keys, so its size is fixed; two keys with one hash cost each other
//! some coalescing and nothing else.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    observe::Aside,
    sync::{Mutex, lock},
};

const SHARDS: usize = 16;

#[derive(Debug)]
pub(crate) struct Remembered {
    shards: [Mutex<HashMap<u64, (Aside, Instant)>>; SHARDS],
    hasher: RandomState,
    keys_a_shard: usize,
    remember_for: Duration,
}

impl Remembered {
    pub(crate) fn new(keys: usize, remember_for: Duration) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            keys_a_shard: keys.div_ceil(SHARDS),
            remember_for,
        }
    }

    /// What is known of `key`, if it is not too long ago.
    pub(crate) fn look(&self, key: &[u8], now: Instant) -> Option<Aside> {
        let hash = self.hasher.hash_one(key);
        let mut shard = lock(self.shard(hash));
        let &(aside, until) = shard.get(&hash)?;
        if now < until {
            return Some(aside);
        }
        shard.remove(&hash);
        None
    }

    pub(crate) fn remember(&self, key: &[u8], aside: Aside, now: Instant) {
        let hash = self.hasher.hash_one(key);
        let mut shard = lock(self.shard(hash));
        if shard.len() >= self.keys_a_shard
            && !shard.contains_key(&hash)
            && let Some(&other) = shard.keys().next()
        {
            // Full: any other key has to go, and is learned again at the price of one wait.
            shard.remove(&other);
        }
        shard.insert(hash, (aside, now + self.remember_for));
    }

    pub(crate) fn forget(&self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        lock(self.shard(hash)).remove(&hash);
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, hash: u64) -> &Mutex<HashMap<u64, (Aside, Instant)>> {
        &self.shards[hash as usize % SHARDS]
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_remembered_for_so_long_and_forgotten_at_once_when_told() {
        let table = Remembered::new(64, Duration::from_secs(120));
        let now = Instant::now();
        table.remember(b"a", Aside::Uncacheable, now);
        assert_eq!(table.look(b"a", now + Duration::from_secs(119)), Some(Aside::Uncacheable));
        assert_eq!(table.look(b"a", now + Duration::from_secs(120)), None);
        table.remember(b"a", Aside::Outgrown, now);
        table.forget(b"a");
        assert_eq!(table.look(b"a", now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_never_grows_beyond_its_keys() {
        let table = Remembered::new(1024, Duration::from_secs(120));
        let now = Instant::now();
        for key in 0_u32..20_000 {
            table.remember(&key.to_be_bytes(), Aside::Uncacheable, now);
        }
        assert!(table.len() <= 1024, "{}", table.len());
        assert_eq!(table.look(&19_999_u32.to_be_bytes(), now), Some(Aside::Uncacheable));
    }
}
