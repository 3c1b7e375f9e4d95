//! How many calls a key may make in so much time.
//!
//! A limit on what is in flight keeps the origin alive, but whoever calls the most gets the most of
//! it. A quota gives each key its own share over time: so many calls at once, its burst, and after
//! them one as often as its rate says. A call that is refused is told after how long the next one
//! will be admitted, to the nanosecond.
//!
//! Only the keys that owe something are known, for one whose quota is whole again is no different
//! from one never seen. The table has a bound: where it is full of keys that all owe, a new one
//! passes uncounted, since to forget another would give that one its burst again, and to refuse the
//! new one would let strangers lock it out. The limit in flight holds for it as for all.
//!
//! The arithmetic is `governor`'s, the generic cell rate algorithm, without its tables and clocks.
//! It is asked with a clock that stands still at zero, so that what it keeps of a key is how far
//! ahead of now that key has run; the table keeps the moment at which that is made good. Time is
//! thus an argument, here as elsewhere, and no number grows with the age of the process.

use std::{
    cell::Cell,
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    RateLimiter, clock::Clock, middleware::NoOpMiddleware, nanos::Nanos, state::NotKeyed,
    state::StateStore,
};
use tokio::time::Instant;

use crate::sync::{Mutex, lock};

/// So many calls in so much time, and so many of them at once.
///
/// ```
/// use seawall::load_shed::Rate;
///
/// let a_page_with_its_images = Rate::per_minute(60).burst(20);
/// # let _ = a_page_with_its_images;
/// ```
///
/// In any time `t` at most the burst and what the rate makes of `t` are admitted, and never more: the
/// time between two calls is rounded up to whole nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time after which one call more is admitted.
    interval: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// So many calls a second, taken to lie within 1 and 1,000,000. The burst is as many.
    pub fn per_second(calls: u32) -> Self {
        Self::per(Duration::from_secs(1), calls)
    }

    /// So many calls a minute, taken to lie within 1 and 60,000,000. The burst is what that makes in
    /// a second, but at least one call.
    pub fn per_minute(calls: u32) -> Self {
        Self::per(Duration::from_secs(60), calls)
    }

    /// How many calls are admitted at once of a key that has made none for long, taken to lie within
    /// 1 and 1,000,000. By default the calls of one second, but at least one.
    pub fn burst(self, calls: u32) -> Self {
        let burst = NonZeroU32::new(calls.min(MOST_CALLS)).unwrap_or(NonZeroU32::MIN);
        Self { burst, ..self }
    }

    fn per(time: Duration, calls: u32) -> Self {
        let seconds = time.as_secs() as u32;
        let calls = calls.clamp(1, MOST_CALLS * seconds);
        let interval = (time.as_nanos() as u64).div_ceil(u64::from(calls));
        Self { interval: Duration::from_nanos(interval), burst: NonZeroU32::MIN }
            .burst(calls / seconds)
    }

    fn quota(self) -> governor::Quota {
        governor::Quota::with_period(self.interval)
            .expect("an interval is at least a microsecond")
            .allow_burst(self.burst)
    }
}

/// The most calls a second, so that rounding its interval costs a rate no more than a thousandth;
/// and the most at once, so that even at one call a minute a burst is made good within two years,
/// which any [`Instant`] can hold.
const MOST_CALLS: u32 = 1_000_000;

const SHARDS: usize = 16;

/// How many keys are known at most unless another number is set.
pub(crate) const MOST_KEYS: usize = 65_536;

/// To look through this many keys takes a fraction of a millisecond, for which others wait.
const MOST_KEYS_A_SHARD: usize = 65_536;

/// Forgetting a key costs ten times looking at it: one call forgets so many, the next ones the rest.
const MOST_SWEPT_AT_ONCE: usize = 256;

/// A shard is swept when it has not been for so long.
const SWEPT_EVERY: Duration = Duration::from_secs(10);

/// A full shard is swept sooner, but not by each of its calls: there may be nothing to gain.
const SWEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The quotas of all keys.
pub(crate) struct Quotas<K> {
    quota: governor::Quota,
    shards: [Mutex<Shard<K>>; SHARDS],
    hasher: RandomState,
    keys_a_shard: usize,
}

struct Shard<K> {
    /// When the quota of each key is whole again.
    whole_at: HashMap<K, Instant>,
    swept: Option<Instant>,
}

/// How a call passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Passed {
    /// Its key has this call's worth less from now on.
    Counted,
    /// Its key is new, and the table full of others.
    Uncounted,
}

impl<K: Hash + Eq> Quotas<K> {
    /// Quotas of `rate` for `most_keys` at most, taken to lie within 16 and 1,048,576. Each of 16
    /// shards has its part of them, so that one may be full a little before the others are.
    pub(crate) fn new(rate: Rate, most_keys: usize) -> Self {
        Self {
            quota: rate.quota(),
            shards: std::array::from_fn(|_| {
                Mutex::new(Shard { whole_at: HashMap::new(), swept: None })
            }),
            hasher: RandomState::new(),
            keys_a_shard: (most_keys / SHARDS).clamp(1, MOST_KEYS_A_SHARD),
        }
    }

    /// Admits a call of `key`, or says after how long its next one will be: never zero.
    pub(crate) fn check(&self, key: K, now: Instant) -> Result<Passed, Duration> {
        let mut shard = lock(self.shard(&key));
        shard.sweep(now, self.keys_a_shard);
        let full = shard.whole_at.len() >= self.keys_a_shard;
        match shard.whole_at.entry(key) {
            Entry::Occupied(mut known) => {
                let whole_at = admit(self.quota, *known.get(), now)?;
                known.insert(whole_at);
            }
            Entry::Vacant(_) if full => return Ok(Passed::Uncounted),
            Entry::Vacant(new) => {
                new.insert(admit(self.quota, now, now)?);
            }
        }
        Ok(Passed::Counted)
    }

    /// How many keys are known: all that owe something, and some that no longer do.
    #[cfg(test)]
    #[cfg_attr(seawall_loom, allow(dead_code, reason = "no model asks for it"))]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).whole_at.len()).sum()
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K>> {
        // Not the hasher of the maps: keys that agree in what chose their shard would crowd there.
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

/// Without the keys, which may be secrets.
impl<K> fmt::Debug for Quotas<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas")
            .field("quota", &self.quota)
            .field("keys_a_shard", &self.keys_a_shard)
            .finish_non_exhaustive()
    }
}

impl<K> Shard<K> {
    /// Forgets keys whose quota is whole again, if it is time to.
    fn sweep(&mut self, now: Instant, most_keys: usize) {
        let full = self.whole_at.len() >= most_keys;
        let pause = if full { SWEPT_AGAIN_AFTER } else { SWEPT_EVERY };
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= pause) {
            let whole = self.whole_at.extract_if(|_, whole_at| *whole_at <= now);
            if whole.take(MOST_SWEPT_AT_ONCE).count() < MOST_SWEPT_AT_ONCE {
                self.swept = Some(now);
            }
        }
    }
}

/// Admits a call of a key whose quota is whole again at `whole_at`: when it is so after this call,
/// or else how long this call has come too early.
fn admit(quota: governor::Quota, whole_at: Instant, now: Instant) -> Result<Instant, Duration> {
    let owed = Owed(Cell::new(whole_at.saturating_duration_since(now).into()));
    // Made for one question: it is two numbers, and all that lasts is in the table.
    let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(quota, owed, Still);
    limiter.check().map_err(|refused| refused.wait_time_from(Still.now()))?;
    Ok(now + Duration::from(limiter.into_state_store().0.get()))
}

/// A clock for which it is always now.
struct Still;

impl Clock for Still {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::default()
    }
}

/// How long it takes until a quota is whole again.
struct Owed(Cell<Nanos>);

impl StateStore for Owed {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (admitted, owed) = decide(Some(self.0.get()))?;
        self.0.set(owed);
        Ok(admitted)
    }
}

#[cfg(all(test, not(seawall_loom)))]
#[path = "quota_tests.rs"]
mod tests;
