//! What is remembered of keys, and until when: that their answers cannot be shared, or that the
//! origin has just failed for them.
//!
//! To coalesce a key of the first kind would make every caller wait for an answer that turns out to
//! be another's. To ask again and again for one of the second would hold down an origin that is
//! down: it is asked once a step, and the steps grow.
//!
//! The table holds hashes, not keys, so its size is fixed; two keys with one hash cost each other
//! some coalescing, or some patience, and nothing else.

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

/// The first step of the back-off from a key whose fetch failed; each further one is twice as long.
const FIRST_STEP: Duration = Duration::from_millis(250);

/// A failure that is followed by none for so long is the last of its kind.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// The steps end at most so much earlier than they say, so that many keys do not come back at once.
const JITTER: f64 = 0.1;

#[derive(Debug)]
pub(crate) struct Remembered {
    shards: [Mutex<HashMap<u64, Memory>>; SHARDS],
    hasher: RandomState,
    keys_a_shard: usize,
    remember_for: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Memory {
    Aside { aside: Aside, until: Instant },
    Failing { steps: u32, until: Instant, unreachable: bool },
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Aside(Aside),
    /// Its fetch failed, and is not tried again before then.
    Failing {
        until: Instant,
        unreachable: bool,
    },
}

/// How long a key is left alone after it has failed once more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackOff {
    pub(crate) longest: Duration,
    /// It could not be reached, rather than that it answered with an error.
    pub(crate) unreachable: bool,
    /// The first failure is none to wait after: there was one caller alone, and it had an answer.
    pub(crate) forbearing: bool,
    /// The origin asked for at least so much.
    pub(crate) asked: Option<Duration>,
    /// Drawn from [0, 1).
    pub(crate) random: f64,
}

impl BackOff {
    fn after(&self, steps: u32) -> Duration {
        let doubled = FIRST_STEP.saturating_mul(1_u32.checked_shl(steps).unwrap_or(u32::MAX));
        let step = doubled.min(self.longest).mul_f64(1.0 - JITTER * self.random);
        // What the origin asked for is not cut short.
        step.max(self.asked.unwrap_or_default().min(self.longest))
    }
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
    pub(crate) fn look(&self, key: &[u8], now: Instant) -> Option<Known> {
        let hash = self.hasher.hash_one(key);
        let mut shard = lock(self.shard(hash));
        match *shard.get(&hash)? {
            Memory::Aside { aside, until } if now < until => Some(Known::Aside(aside)),
            Memory::Failing { until, unreachable, .. } if now < until => {
                Some(Known::Failing { until, unreachable })
            }
            // How often it has failed still counts.
            Memory::Failing { until, .. } if now < until + FORGOTTEN_AFTER => None,
            _ => {
                shard.remove(&hash);
                None
            }
        }
    }

    pub(crate) fn remember(&self, key: &[u8], aside: Aside, now: Instant) {
        let until = now + self.remember_for;
        self.insert(key, |_| Memory::Aside { aside, until });
    }

    /// Remembers that the fetch of `key` failed; until when it is not tried again.
    pub(crate) fn failed(&self, key: &[u8], now: Instant, back_off: &BackOff) -> Instant {
        let mut ends = now;
        self.insert(key, |known| {
            let unreachable = back_off.unreachable;
            let steps = match known {
                Some(Memory::Failing { steps, until, .. }) if now < until + FORGOTTEN_AFTER => {
                    steps
                }
                _ if back_off.forbearing => {
                    return Memory::Failing { steps: 0, until: now, unreachable };
                }
                _ => 0,
            };
            ends = now + back_off.after(steps);
            Memory::Failing { steps: steps.saturating_add(1), until: ends, unreachable }
        });
        ends
    }

    /// Forgets that `key` is set aside: it need not be.
    pub(crate) fn forget(&self, key: &[u8]) {
        self.end(key, |memory| matches!(memory, Memory::Aside { .. }));
    }

    /// Forgets that the fetch of `key` failed: it has not.
    pub(crate) fn recovered(&self, key: &[u8]) {
        self.end(key, |memory| matches!(memory, Memory::Failing { .. }));
    }

    fn end(&self, key: &[u8], is: impl FnOnce(&Memory) -> bool) {
        let hash = self.hasher.hash_one(key);
        let mut shard = lock(self.shard(hash));
        if shard.get(&hash).is_some_and(is) {
            shard.remove(&hash);
        }
    }

    /// How many keys are set aside at this moment, and how many are left alone as failing.
    pub(crate) fn len(&self, now: Instant) -> (usize, usize) {
        let mut counts = (0, 0);
        for shard in &self.shards {
            for memory in lock(shard).values() {
                match memory {
                    Memory::Aside { until, .. } => counts.0 += usize::from(now < *until),
                    Memory::Failing { until, .. } => counts.1 += usize::from(now < *until),
                }
            }
        }
        counts
    }

    fn insert(&self, key: &[u8], memory: impl FnOnce(Option<Memory>) -> Memory) {
        let hash = self.hasher.hash_one(key);
        let mut shard = lock(self.shard(hash));
        let known = shard.get(&hash).copied();
        if known.is_none()
            && shard.len() >= self.keys_a_shard
            && let Some(&other) = shard.keys().next()
        {
            // Full: any other key has to go, and is learned again at the price of one wait.
            shard.remove(&other);
        }
        shard.insert(hash, memory(known));
    }

    fn shard(&self, hash: u64) -> &Mutex<HashMap<u64, Memory>> {
        &self.shards[hash as usize % SHARDS]
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Up to two seconds, without jitter.
    const PLAIN: BackOff = BackOff {
        longest: millis(2_000),
        unreachable: false,
        forbearing: false,
        asked: None,
        random: 0.0,
    };

    #[tokio::test(start_paused = true)]
    async fn a_key_is_remembered_for_so_long_and_forgotten_at_once_when_told() {
        let table = Remembered::new(64, Duration::from_secs(120));
        let now = Instant::now();
        let look = |after| table.look(b"a", now + Duration::from_secs(after));
        table.remember(b"a", Aside::Uncacheable, now);
        assert_eq!(look(119), Some(Known::Aside(Aside::Uncacheable)));
        assert_eq!(look(120), None);
        table.remember(b"a", Aside::Outgrown, now);
        table.recovered(b"a");
        assert_eq!(look(0), Some(Known::Aside(Aside::Outgrown)));
        table.forget(b"a");
        assert_eq!(look(0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn steps_double_to_the_longest_and_begin_anew_after_a_good_answer_or_a_long_time() {
        let table = Remembered::new(64, Duration::from_secs(120));
        let back_off = PLAIN;
        let mut now = Instant::now();
        let fail = |now: Instant| table.failed(b"a", now, &back_off) - now;
        for step in [250, 500, 1_000, 2_000, 2_000] {
            assert_eq!(fail(now), millis(step));
            let until = now + millis(step);
            assert_eq!(
                table.look(b"a", until - millis(1)),
                Some(Known::Failing { until, unreachable: false })
            );
            assert_eq!(table.look(b"a", until), None);
            now = until;
        }
        table.recovered(b"a");
        assert_eq!(fail(now), millis(250));
        now += millis(250) + FORGOTTEN_AFTER;
        assert_eq!(fail(now), millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn forbearance_is_for_the_first_failure_alone() {
        let table = Remembered::new(64, Duration::from_secs(120));
        let now = Instant::now();
        let back_off = BackOff { forbearing: true, ..PLAIN };
        for wait in [0, 250, 500] {
            assert_eq!(table.failed(b"a", now, &back_off) - now, millis(wait));
        }
    }

    #[test]
    fn a_step_is_at_least_what_the_origin_asked_and_jittered_downwards_only() {
        let longest = Duration::from_secs(30);
        let asked = Some(Duration::from_secs(4));
        let of = |asked, random| BackOff { longest, asked, random, ..PLAIN }.after(0);
        assert_eq!(of(asked, 0.9), Duration::from_secs(4));
        assert_eq!(of(Some(Duration::MAX), 0.0), longest);
        assert_eq!(of(None, 0.5), millis(250).mul_f64(0.95));
        assert_eq!(BackOff { longest, ..PLAIN }.after(u32::MAX), longest);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_never_grows_beyond_its_keys() {
        let table = Remembered::new(1024, Duration::from_secs(120));
        let now = Instant::now();
        let back_off = PLAIN;
        for key in 0_u32..20_000 {
            if key % 2 == 0 {
                table.failed(&key.to_be_bytes(), now, &back_off);
            } else {
                table.remember(&key.to_be_bytes(), Aside::Uncacheable, now);
            }
        }
        let (aside, failing) = table.len(now);
        assert!(aside + failing <= 1024, "{aside} {failing}");
        let last = table.look(&19_999_u32.to_be_bytes(), now);
        assert_eq!(last, Some(Known::Aside(Aside::Uncacheable)));
    }
}
