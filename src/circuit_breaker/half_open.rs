//! The probes of a breaker that is half-open: how many are under way, how many were good. Pure.
//!
//! A probe holds its place for a lease. One that has not ended by then gives up the place and has
//! said nothing yet, so that lost probes cannot keep the breaker half-open for ever. What it says
//! later still counts while the breaker is half-open for the same time: an origin that answers
//! after every lease closes it, and one that fails after every lease opens it again.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The probes since the breaker became half-open.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Probes {
    good: u32,
    begun: u64,
    /// Number and end of lease of those under way, the oldest first.
    leases: VecDeque<(u64, Instant)>,
}

impl Probes {
    /// Begins one, unless as many are under way as are still wanted: then a place is free after so
    /// long at the latest.
    pub(crate) fn begin(
        &mut self,
        wanted: u32,
        lease: Duration,
        now: Instant,
    ) -> Result<u64, Duration> {
        while self.leases.front().is_some_and(|&(_, ends)| ends <= now) {
            self.leases.pop_front();
        }
        let room = wanted.saturating_sub(self.good) as usize;
        if let Some(&(_, ends)) = self.leases.front()
            && self.leases.len() >= room
        {
            return Err(ends.duration_since(now));
        }
        self.begun += 1;
        self.leases.push_back((self.begun, now + lease));
        Ok(self.begun)
    }

    /// One has ended: its place is free.
    pub(crate) fn end(&mut self, probe: u64) {
        self.leases.retain(|&(number, _)| number != probe);
    }

    /// One was good: whether as many were as are wanted.
    pub(crate) fn good(&mut self, wanted: u32) -> bool {
        self.good += 1;
        self.good >= wanted
    }

    /// How many hold a place.
    pub(crate) fn under_way(&self, now: Instant) -> usize {
        self.leases.iter().filter(|&&(_, ends)| now < ends).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn no_more_probes_are_under_way_than_are_still_wanted() {
        let now = Instant::now();
        let mut probes = Probes::default();
        assert_eq!(probes.begin(2, LEASE, now), Ok(1));
        assert_eq!(probes.begin(2, LEASE, now), Ok(2));
        assert_eq!(probes.begin(2, LEASE, now), Err(LEASE));
        probes.end(1);
        assert!(!probes.good(2));
        assert_eq!(probes.begin(2, LEASE, now), Err(LEASE));
        probes.end(2);
        assert_eq!(probes.begin(2, LEASE, now), Ok(3));
        assert!(probes.good(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_ends_frees_its_place_once() {
        let now = Instant::now();
        let mut probes = Probes::default();
        assert_eq!(probes.begin(1, LEASE, now), Ok(1));
        let later = now + LEASE;
        assert_eq!(probes.begin(1, LEASE, later), Ok(2));
        probes.end(1);
        assert_eq!(probes.under_way(later), 1);
        assert_eq!(probes.begin(1, LEASE, later + LEASE / 2), Err(LEASE / 2));
    }
}
