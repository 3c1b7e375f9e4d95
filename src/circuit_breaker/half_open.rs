//! The probes of a breaker that is half-open: how many are under way, how many were good. Pure.
//!
//! A probe holds its place for a lease. One that has not ended by then gives up the place, so that
//! lost probes cannot keep the breaker half-open for ever. If the head of its answer has come, it is
//! good by then: an answer that is streamed for hours is no reason to refuse everyone else. If not, it
//! has said nothing yet. What it says later still counts while the breaker is half-open for the same
//! time: an origin that answers after every lease closes it, and one that fails after every lease
//! opens it again.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The probes since the breaker became half-open.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Probes {
    good: u32,
    begun: u64,
    /// Of those under way, the oldest first.
    leases: VecDeque<Lease>,
    /// Those that were good before they ended.
    good_already: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Lease {
    probe: u64,
    ends: Instant,
    /// The head of its answer has come.
    answered: bool,
}

impl Probes {
    /// Ends the leases that are over: whether as many probes were good as are wanted.
    pub(crate) fn expire(&mut self, wanted: u32, now: Instant) -> bool {
        while let Some(&Lease { probe, ends, answered }) = self.leases.front()
            && ends <= now
        {
            self.leases.pop_front();
            if answered {
                self.good += 1;
                self.good_already.push(probe);
            }
        }
        self.good >= wanted
    }

    /// Begins one, unless as many are under way as are still wanted: then a place is free after so
    /// long at the latest.
    pub(crate) fn begin(
        &mut self,
        wanted: u32,
        lease: Duration,
        now: Instant,
    ) -> Result<u64, Duration> {
        self.expire(wanted, now);
        let room = wanted.saturating_sub(self.good) as usize;
        if let Some(first) = self.leases.front()
            && self.leases.len() >= room
        {
            return Err(first.ends.duration_since(now));
        }
        self.begun += 1;
        self.leases.push_back(Lease { probe: self.begun, ends: now + lease, answered: false });
        Ok(self.begun)
    }

    /// The head of an answer has come, and was good.
    pub(crate) fn answered(&mut self, probe: u64, now: Instant) {
        let mut leases = self.leases.iter_mut();
        if let Some(lease) = leases.find(|lease| lease.probe == probe) {
            lease.answered |= now < lease.ends;
        }
    }

    /// One has ended: its place is free.
    pub(crate) fn end(&mut self, probe: u64) {
        self.leases.retain(|lease| lease.probe != probe);
    }

    /// One was good: whether as many were as are wanted.
    pub(crate) fn good(&mut self, probe: u64, wanted: u32) -> bool {
        self.good += u32::from(!self.good_already.contains(&probe));
        self.good >= wanted
    }

    /// How many hold a place.
    pub(crate) fn under_way(&self, now: Instant) -> usize {
        self.leases.iter().filter(|lease| now < lease.ends).count()
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
        assert!(!probes.good(1, 2));
        assert_eq!(probes.begin(2, LEASE, now), Err(LEASE));
        probes.end(2);
        assert_eq!(probes.begin(2, LEASE, now), Ok(3));
        assert!(probes.good(2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_whose_head_was_good_is_good_when_its_lease_ends_and_only_once() {
        let now = Instant::now();
        let mut probes = Probes::default();
        assert_eq!(probes.begin(2, LEASE, now), Ok(1));
        assert_eq!(probes.begin(2, LEASE, now), Ok(2));
        probes.answered(1, now);
        probes.answered(2, now + LEASE);
        assert!(!probes.expire(2, now + LEASE));
        assert!(!probes.good(1, 2));
        assert!(probes.good(2, 2));
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
