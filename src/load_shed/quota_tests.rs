//! What quotas promise, and a token bucket that agrees.

use std::{
    hash::Hasher,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use proptest::prelude::*;

use super::{Passed::*, *};

const NANO: Duration = Duration::from_nanos(1);
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Keys that all lie in one shard.
#[derive(Clone, PartialEq, Eq)]
struct Together(u32);

impl Hash for Together {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[test]
fn a_rate_out_of_bounds_is_the_nearest_within() {
    assert_eq!(Rate::per_second(0), Rate::per_second(1));
    assert_eq!(Rate::per_second(u32::MAX), Rate::per_second(1_000_000));
    assert_eq!(Rate::per_minute(0), Rate::per_minute(1));
    assert_eq!(Rate::per_minute(u32::MAX), Rate::per_minute(60_000_000));
    assert_eq!(Rate::per_minute(60_000_000), Rate::per_second(1_000_000));
    let rate = Rate::per_second(7);
    assert_eq!(rate.burst(0), rate.burst(1));
    assert_eq!(rate.burst(u32::MAX), rate.burst(1_000_000));
}

#[test]
fn the_burst_is_the_calls_of_a_second_unless_it_is_set() {
    let burst = |rate: Rate| rate.burst.get();
    assert_eq!(burst(Rate::per_second(50)), 50);
    assert_eq!(burst(Rate::per_minute(600)), 10);
    assert_eq!(burst(Rate::per_minute(119)), 1);
    assert_eq!(burst(Rate::per_minute(59)), 1);
    assert_eq!(burst(Rate::per_minute(59).burst(90)), 90);
    assert_eq!(Rate::per_minute(600), Rate::per_second(10));
}

#[test]
fn an_interval_is_rounded_up_so_that_a_rate_is_never_exceeded() {
    assert_eq!(Rate::per_second(3).interval, Duration::from_nanos(333_333_334));
    assert_eq!(Rate::per_second(999_999).interval, Duration::from_nanos(1_001));
    assert_eq!(Rate::per_second(1_000_000).interval, Duration::from_nanos(1_000));
}

#[tokio::test(start_paused = true)]
async fn after_its_burst_a_key_has_one_call_an_interval() {
    let quotas = Quotas::new(Rate::per_second(10).burst(3), MOST_KEYS);
    for _ in 0..3 {
        assert_eq!(quotas.check("a", Instant::now()), Ok(Counted));
    }
    for _ in 0..100 {
        let wait = quotas.check("a", Instant::now()).unwrap_err();
        assert_eq!(wait, MILLI * 100);
        tokio::time::advance(wait).await;
        assert_eq!(quotas.check("a", Instant::now()), Ok(Counted));
    }
}

#[test]
fn a_call_is_admitted_after_the_wait_it_was_told_and_not_before() {
    for rate in [Rate::per_second(3), Rate::per_minute(7).burst(20), Rate::per_second(900)] {
        let mut now = Instant::now();
        let quotas = Quotas::new(rate, MOST_KEYS);
        let refused = (0..1_000).find_map(|_| {
            now += NANO * 77;
            quotas.check("a", now).err()
        });
        let wait = refused.unwrap();
        assert_eq!(quotas.check("a", now + wait - MILLI), Err(MILLI), "{rate:?}");
        assert_eq!(quotas.check("a", now + wait - NANO), Err(NANO), "{rate:?}");
        assert_eq!(quotas.check("a", now + wait), Ok(Counted), "{rate:?}");
        assert_eq!(quotas.check("a", now + wait), Err(rate.interval), "{rate:?}");
    }
}

#[test]
fn a_refused_call_costs_its_key_nothing_and_other_keys_neither() {
    let now = Instant::now();
    let quotas = Quotas::new(Rate::per_second(1), MOST_KEYS);
    assert_eq!(quotas.check("a", now), Ok(Counted));
    for _ in 0..1_000 {
        assert_eq!(quotas.check("a", now), Err(SECOND));
    }
    assert_eq!(quotas.check("b", now), Ok(Counted));
    assert_eq!(quotas.check("a", now + SECOND), Ok(Counted));
}

#[test]
fn the_largest_burst_at_the_lowest_rate_has_a_wait_that_can_be_told() {
    let now = Instant::now();
    let quotas = Quotas::new(Rate::per_minute(0).burst(u32::MAX), MOST_KEYS);
    for _ in 0..1_000_000 {
        assert_eq!(quotas.check("a", now), Ok(Counted));
    }
    assert_eq!(quotas.check("a", now), Err(SECOND * 60));
    let made_good = now + SECOND * 60 * 1_000_000;
    for _ in 0..1_000_000 {
        assert_eq!(quotas.check("a", made_good), Ok(Counted));
    }
    assert_eq!(quotas.check("a", made_good), Err(SECOND * 60));
}

#[test]
fn time_that_goes_back_gives_nothing_and_takes_nothing() {
    let now = Instant::now() + SECOND;
    let quotas = Quotas::new(Rate::per_second(1).burst(2), MOST_KEYS);
    assert_eq!(quotas.check("a", now), Ok(Counted));
    assert_eq!(quotas.check("a", now - MILLI), Err(MILLI));
    assert_eq!(quotas.check("a", now), Ok(Counted));
    assert_eq!(quotas.check("a", now), Err(SECOND));
}

#[test]
fn where_all_keys_owe_a_new_one_passes_uncounted_and_the_known_stay_limited() {
    let now = Instant::now();
    let quotas = Quotas::new(Rate::per_second(1), 4 * SHARDS);
    for key in 0..4 {
        assert_eq!(quotas.check(Together(key), now), Ok(Counted));
    }
    for _ in 0..3 {
        assert_eq!(quotas.check(Together(4), now), Ok(Uncounted));
    }
    assert_eq!(quotas.check(Together(0), now), Err(SECOND));
    assert_eq!(quotas.len(), 4);
}

#[test]
fn a_full_shard_has_room_again_when_its_keys_owe_nothing() {
    let now = Instant::now();
    let quotas = Quotas::new(Rate::per_second(1), 4 * SHARDS);
    for key in 0..4 {
        assert_eq!(quotas.check(Together(key), now + MILLI * 50 * key), Ok(Counted));
    }
    let new = |millis| quotas.check(Together(4), now + MILLI * millis);
    assert_eq!(new(950), Ok(Uncounted));
    // One owes nothing any more, but the last sweep is too recent.
    assert_eq!(new(1_049), Ok(Uncounted));
    assert_eq!(new(1_050), Ok(Counted));
    assert_eq!(quotas.len(), 3, "two were swept");
}

#[test]
fn keys_that_owe_nothing_are_forgotten_before_the_table_is_full() {
    let now = Instant::now();
    let quotas = Quotas::new(Rate::per_second(1), MOST_KEYS);
    for key in 0..1_000 {
        assert_eq!(quotas.check(Together(key), now), Ok(Counted));
    }
    assert_eq!(quotas.check(Together(0), now + SWEPT_EVERY - NANO), Ok(Counted));
    assert_eq!(quotas.len(), 1_000);
    // A part by each call, so that none is long.
    for left in [744, 488, 232, 1, 1] {
        assert_eq!(quotas.check(Together(0), now + SWEPT_EVERY), Err(SECOND - NANO));
        assert_eq!(quotas.len(), left);
    }
}

#[test]
fn a_million_keys_leave_no_more_behind_than_the_bound() {
    // Half a million keys a second, each of which owes for a tenth of one, and then for half of
    // one: of these, more than the table holds.
    for (rate, some_uncounted) in [(Rate::per_second(10), false), (Rate::per_second(2), true)] {
        let start = Instant::now();
        let quotas = Quotas::new(rate, MOST_KEYS);
        let mut uncounted = 0;
        for key in 0_u32..1_000_000 {
            let now = start + Duration::from_micros(2) * key;
            uncounted += usize::from(quotas.check(key, now) == Ok(Uncounted));
            if key % 1_000 == 0 {
                assert!(quotas.len() <= MOST_KEYS);
            }
        }
        assert_eq!(uncounted > 0, some_uncounted, "{uncounted}");
        assert!(quotas.len() > MOST_KEYS / 2);
        for key in 0..1_000 {
            assert_eq!(quotas.check(key, start + SECOND * 60), Ok(Counted));
        }
        assert_eq!(quotas.len(), 1_000);
    }
}

#[test]
fn a_bound_out_of_bounds_is_the_nearest_within() {
    let keys_a_shard = |most| Quotas::<u8>::new(Rate::per_second(1), most).keys_a_shard;
    assert_eq!([0, 31, usize::MAX].map(keys_a_shard), [1, 1, 65_536]);
}

#[test]
fn threads_that_share_a_key_have_one_quota() {
    let start = Instant::now();
    let rate = Rate::per_second(1_000).burst(100);
    let quotas = Quotas::new(rate, MOST_KEYS);
    let admitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for step in 0..100_000 {
                    let now = start + Duration::from_micros(10) * step;
                    admitted.fetch_add(usize::from(quotas.check("a", now).is_ok()), Relaxed);
                }
            });
        }
    });
    // The burst, and what the 999.99 ms after it make.
    assert_eq!(admitted.load(Relaxed), 100 + 999);
}

#[test]
fn keys_are_not_shown() {
    let quotas = Quotas::new(Rate::per_second(1), MOST_KEYS);
    assert_eq!(quotas.check("secret", Instant::now()), Ok(Counted));
    assert!(!format!("{quotas:?}").contains("secret"));
}

/// A bucket of tokens that are worth an interval each, filled by a nanosecond a nanosecond.
struct Bucket {
    filled: u128,
    at: Instant,
}

impl Bucket {
    fn check(&mut self, rate: Rate, now: Instant) -> Result<Passed, Duration> {
        let token = rate.interval.as_nanos();
        let brim = token * u128::from(rate.burst.get());
        self.filled = brim.min(self.filled + now.duration_since(self.at).as_nanos());
        self.at = now;
        match self.filled.checked_sub(token) {
            Some(left) => self.filled = left,
            None => return Err(Duration::from_nanos((token - self.filled) as u64)),
        }
        Ok(Counted)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    // 256 cases of 400 steps and more: above 10⁵.
    #[test]
    fn keys_are_admitted_as_by_buckets_of_tokens_and_never_above_their_rate(
        (calls, a_minute, burst) in (1_u32..100_000, any::<bool>(), 1_u32..20),
        steps in prop::collection::vec((0_usize..3, 0_u32..8, 0_u64..4_000), 400..800),
    ) {
        let rate = if a_minute { Rate::per_minute(calls) } else { Rate::per_second(calls) };
        let rate = rate.burst(burst);
        let quotas = Quotas::new(rate, MOST_KEYS);
        let mut now = Instant::now();
        let full = rate.interval.as_nanos() * u128::from(burst);
        let mut buckets = [(); 3].map(|()| Bucket { filled: full, at: now });
        let mut admitted: [Vec<Instant>; 3] = Default::default();
        for (key, pause, thousandths) in steps {
            // Mostly shorter than what it takes to be admitted again, at times much longer.
            let pause = if pause == 0 { burst } else { u32::from(pause > 5) };
            now += rate.interval * pause * thousandths as u32 / 1_000;
            now += Duration::from_nanos(thousandths % 3);
            let checked = quotas.check(key, now);
            prop_assert_eq!(checked, buckets[key].check(rate, now));
            if checked.is_ok() {
                admitted[key].push(now);
            }
        }
        for times in admitted {
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let window = to.duration_since(*from).as_nanos();
                    let earned = window / rate.interval.as_nanos();
                    prop_assert!((last - first + 1) as u128 <= u128::from(burst) + earned);
                }
            }
        }
    }
}
