//! For operators: how many answers there are, some of them, and away with those that a pattern names.
//!
//! Redis is asked for all its keys, in batches, and for how each value begins. It is slow, and meant to be
//! done by hand.

use std::collections::HashSet;

use super::{
    super::glimpse::{ENOUGH, Glimpse, matches},
    Redis,
};
use crate::{
    error::BoxError,
    journal::{Invalidation, Invalidator},
};

/// Keys looked at before Redis is asked for more.
const BATCH: usize = 500;

/// What came of an invalidation by pattern.
///
/// ```no_run
/// # async fn gone(redis: seawall::store::Redis, cache: seawall::Cache) -> Result<(), seawall::BoxError> {
/// let done = redis.invalidate("shop.example/products/*", &cache.invalidator()).await?;
/// println!("{} of {} answers are gone", done.matched, done.seen);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Matched {
    /// Answers that were looked at.
    pub seen: u64,
    /// Those that the pattern names.
    pub matched: u64,
}

impl Redis {
    /// How many answers there are whose URI begins so: `authority/path?query`, without a scheme and, where it
    /// is the scheme's own, without a port. Each variant is one.
    ///
    /// **Slow**: it goes through all keys of the server (`SCAN`, 500 at a time), and reads up to 24 KiB of each
    /// of this namespace. What is stored or expires meanwhile is counted or not.
    ///
    /// ```no_run
    /// # async fn count(redis: seawall::store::Redis) -> Result<(), seawall::BoxError> {
    /// println!("{} answers in all", redis.count("").await?);
    /// println!("{} of the shop", redis.count("shop.example/").await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Redis cannot be reached, or not to the end.
    pub async fn count(&self, prefix: &str) -> Result<u64, BoxError> {
        let mut count = 0;
        self.each(|glimpse| count += u64::from(begins(glimpse, prefix))).await?;
        Ok(count)
    }

    /// The URIs of some of them, drawn at random: at most `most`. **Slow**, as [`count`](Self::count) is.
    ///
    /// # Errors
    /// Redis cannot be reached, or not to the end.
    pub async fn sample(&self, prefix: &str, most: usize) -> Result<Vec<String>, BoxError> {
        let (mut seen, mut sample) = (0, Vec::new());
        self.each(|glimpse| {
            let Some(uri) = glimpse.uri().filter(|uri| uri.starts_with(prefix)) else { return };
            // Each has the same chance, however many come (Vitter's algorithm R).
            seen += 1;
            if sample.len() < most {
                sample.push(uri.into_owned());
            } else if let Some(other) = sample.get_mut(fastrand::usize(..seen)) {
                *other = uri.into_owned();
            }
        })
        .await?;
        Ok(sample)
    }

    /// Invalidates, hard, all answers that this store has whose URI (as in [`count`](Self::count)) is what
    /// `pattern` says, in which `*` stands for anything; and takes them out of Redis.
    ///
    /// **Slow**, as [`count`](Self::count) is: tags are for what is done often. It names what it finds: an
    /// answer that is on its way to Redis meanwhile may be missed, and so may what another process has near.
    ///
    /// # Errors
    /// Redis cannot be reached, or not to the end: what was found until then is gone.
    pub async fn invalidate(
        &self,
        pattern: &str,
        invalidator: &Invalidator,
    ) -> Result<Matched, BoxError> {
        let servers = self.store.far().store().server();
        let mut done = Matched::default();
        let mut scan = servers.scan(self.store.far().store().prefix(), BATCH)?;
        while let Some(keys) = scan.next().await? {
            let (mut gone, mut named) = (Vec::new(), HashSet::new());
            let beginnings = servers.beginnings(&keys, ENOUGH).await?;
            for (wire, beginning) in keys.into_iter().zip(beginnings) {
                let Some(glimpse) = beginning.as_ref().and_then(Glimpse::of) else { continue };
                done.seen += 1;
                if glimpse.uri().is_some_and(|uri| matches(pattern, &uri)) {
                    named.extend(glimpse.key());
                    gone.push(wire);
                }
            }
            done.matched += gone.len() as u64;
            for key in named {
                invalidator.invalidate(&Invalidation::of_key(key)).await;
            }
            servers.delete_many(&gone).await?;
        }
        Ok(done)
    }

    /// Has a look at each answer.
    async fn each(&self, mut look: impl FnMut(&Glimpse)) -> Result<(), BoxError> {
        let servers = self.store.far().store().server();
        let mut scan = servers.scan(self.store.far().store().prefix(), BATCH)?;
        while let Some(keys) = scan.next().await? {
            let beginnings = servers.beginnings(&keys, ENOUGH).await?;
            for glimpse in beginnings.iter().flatten().filter_map(Glimpse::of) {
                look(&glimpse);
            }
        }
        Ok(())
    }
}

fn begins(glimpse: &Glimpse, prefix: &str) -> bool {
    prefix.is_empty() || glimpse.uri().is_some_and(|uri| uri.starts_with(prefix))
}
