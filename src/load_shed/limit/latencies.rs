//! The latencies of a window, in shares of a target, and what nine in ten of them do not exceed.

/// A target has so many buckets, and there are 1.6 times as many: what is slower is in the last. A
/// limit is cut as deep as it gets from 1.43 on.
const A_TARGET: usize = 40;
const BUCKETS: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Latencies {
    count: usize,
    ended: [u32; BUCKETS],
    abandoned: [u32; BUCKETS],
}

impl Default for Latencies {
    fn default() -> Self {
        Self { count: 0, ended: [0; BUCKETS], abandoned: [0; BUCKETS] }
    }
}

impl Latencies {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A call that took `shares` of the target.
    pub(super) fn ended(&mut self, shares: f64) {
        self.ended[bucket(shares)] += 1;
        self.count += 1;
    }

    /// A call that would have taken longer than `shares` of the target.
    pub(super) fn abandoned(&mut self, shares: f64) {
        self.abandoned[bucket(shares)] += 1;
        self.count += 1;
    }

    /// What nine calls in ten do not exceed, rounded down to a bucket; the last one where nobody saw
    /// so many end.
    ///
    /// Kaplan and Meier, *Nonparametric Estimation from Incomplete Observations*, 1958: a call that
    /// was abandoned is one of those that were still running until it was, and none from then on.
    pub(super) fn p90(&self) -> f64 {
        let (mut running, mut beyond) = (self.count as f64, 1.0);
        for (bucket, (&ended, &abandoned)) in self.ended.iter().zip(&self.abandoned).enumerate() {
            if ended > 0 {
                beyond *= 1.0 - f64::from(ended) / running;
            }
            // What is a tenth exactly may come out as a little more.
            if beyond < 0.1 + 1e-9 {
                return bucket as f64 / A_TARGET as f64;
            }
            running -= f64::from(ended) + f64::from(abandoned);
        }
        (BUCKETS - 1) as f64 / A_TARGET as f64
    }
}

fn bucket(shares: f64) -> usize {
    ((shares * A_TARGET as f64) as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p90(ended: &[f64], abandoned: &[f64]) -> f64 {
        let mut latencies = Latencies::default();
        ended.iter().for_each(|&shares| latencies.ended(shares));
        abandoned.iter().for_each(|&shares| latencies.abandoned(shares));
        assert_eq!(latencies.count(), ended.len() + abandoned.len());
        latencies.p90()
    }

    #[test]
    fn it_is_the_latency_that_a_tenth_exceeds() {
        for count in 1..200 {
            let ended: Vec<_> = (0..count).map(|i| f64::from(i) / 128.0).collect();
            let exact = ended[(ended.len() * 9).div_ceil(10) - 1];
            let found = p90(&ended, &[]);
            assert!(found <= exact && exact < found + 0.025, "{count}: {found} {exact}");
        }
    }

    #[test]
    fn what_is_slower_than_all_buckets_is_in_the_last() {
        assert_eq!(p90(&[1e300, f64::INFINITY], &[]), 1.575);
        assert_eq!(p90(&[], &[]), 1.575);
    }

    #[test]
    fn calls_abandoned_sooner_than_any_ended_change_nothing() {
        let ended: Vec<_> = (0..100).map(|i| 0.5 + f64::from(i) / 200.0).collect();
        assert_eq!(p90(&ended, &[0.1; 300]), p90(&ended, &[]));
    }

    #[test]
    fn calls_abandoned_later_than_most_ended_count_as_slower() {
        let quick = [0.25; 90];
        assert_eq!(p90(&quick, &[0.5; 10]), 0.25);
        assert_eq!(p90(&quick, &[0.5; 11]), 1.575);
        // Of those still running at 0.5 each second one was abandoned, and the others ended at 1.
        let half: Vec<_> = quick.into_iter().chain([1.0; 10]).collect();
        assert_eq!(p90(&half, &[0.5; 20]), 1.0);
    }
}
