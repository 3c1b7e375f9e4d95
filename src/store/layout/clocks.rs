//! Times in a record: by the wall clock, which other machines have as well.
//!
//! What becomes of them by two clocks and by milliseconds makes an answer older, never younger, but for
//! what the clocks of two machines differ by: how old an entry of another machine is, is not known better
//! than that. One that is more than 5 s ahead of this machine's clock is not used at all.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::store::Unreadable;

/// What is further in the future than this was written by a clock that disagrees with ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

/// Nothing is of use for longer.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The two clocks, read together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(super) now: Instant,
    pub(super) wall: SystemTime,
}

impl Clocks {
    pub(crate) fn read() -> Self {
        Self { now: Instant::now(), wall: SystemTime::now() }
    }

    /// The time of day at that instant, in milliseconds since 1970. `None` before then: a clock that was
    /// never set tells no ages.
    pub(super) fn wall_of(self, instant: Instant) -> Option<u64> {
        let wall = match instant.checked_duration_since(self.now) {
            Some(ahead) => self.wall.checked_add(ahead)?,
            None => self.wall.checked_sub(self.now.saturating_duration_since(instant))?,
        };
        Some(millis(wall.duration_since(UNIX_EPOCH).ok()?))
    }

    /// The present, rounded up.
    fn wall_now(self) -> Result<u64, Unreadable> {
        let since = self.wall.duration_since(UNIX_EPOCH).map_err(|_| Unreadable::FromTheFuture)?;
        Ok(millis_rounded_up(since))
    }

    /// How long ago that was.
    pub(super) fn since(self, wall: u64) -> Result<Duration, Unreadable> {
        let now = self.wall_now()?;
        match wall.checked_sub(now).map(Duration::from_millis) {
            None => Ok(Duration::from_millis(now - wall)),
            Some(ahead) if ahead <= CLOCKS_DIFFER => Ok(Duration::ZERO),
            Some(_) => Err(Unreadable::FromTheFuture),
        }
    }

    /// The instant of that time, or the present if that is past.
    pub(super) fn until(self, wall: u64) -> Result<Instant, Unreadable> {
        let ahead = Duration::from_millis(wall.saturating_sub(self.wall_now()?));
        Ok(self.now.checked_add(ahead.min(LONGEST)).unwrap_or(self.now))
    }

    /// The instant that long ago, or the earliest that is known of.
    pub(super) fn before(self, past: Duration) -> Instant {
        static EARLIEST: LazyLock<Instant> = LazyLock::new(Instant::now);
        self.now.checked_sub(past).unwrap_or_else(|| (*EARLIEST).min(self.now))
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000).saturating_add(time.subsec_millis().into())
}

pub(super) fn millis_rounded_up(time: Duration) -> u64 {
    let part = time.subsec_nanos().div_ceil(1_000_000);
    time.as_secs().saturating_mul(1_000).saturating_add(part.into())
}
