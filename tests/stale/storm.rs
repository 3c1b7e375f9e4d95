//! Many keys that expire at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use http::Response;
use seawall::{BoxError, StaleWhileRevalidateLayer, cache::CacheBuilder};
use tokio::time::{Instant, advance, sleep};
use tower::Layer;

use crate::{
    assert_nothing_is_left, millis, seconds,
    support::{Calls, answer, at_once, cache_builder, call, get, origin},
};

/// How many calls an origin has at once.
#[derive(Clone, Default)]
struct Crowd {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Place(Crowd);

impl Crowd {
    fn enter(&self) -> Place {
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        Place(self.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

struct Storm {
    cache: seawall::Cache,
    service: seawall::cache::CacheService<crate::support::BoxedOrigin>,
    calls: Calls,
    crowd: Crowd,
    keys: usize,
}

impl Storm {
    /// So many keys, stored in the same moment for a minute, and just stale.
    async fn of(keys: usize, bounds: CacheBuilder) -> Self {
        let crowd = Crowd::default();
        let crowded = crowd.clone();
        let (calls, inner) = origin(move |_, _| {
            let place = crowded.enter();
            async move {
                sleep(millis(5)).await;
                drop(place);
                Ok::<Response<_>, BoxError>(answer(&[("cache-control", "max-age=60")], "a page"))
            }
        });
        let cache = bounds.build();
        let service = StaleWhileRevalidateLayer::new(cache.clone(), seconds(600)).layer(inner);
        for read in at_once(&service, (0..keys).map(path).map(|path| get(&path))).await {
            assert_eq!(read.unwrap().status(), 200);
        }
        assert_eq!((calls.count(), cache.figures().records), (keys, keys as u64));
        advance(seconds(61)).await;
        crowd.most.store(0, SeqCst);
        Self { cache, service, calls, crowd, keys }
    }

    /// Asks for each key, sixty-four a millisecond; how many of the answers were stale.
    async fn ask_for_all(&mut self, budget: usize) -> usize {
        let mut stale = 0;
        for first in (0..self.keys).step_by(64) {
            for key in first..self.keys.min(first + 64) {
                let began = Instant::now();
                let read = call(&mut self.service, get(&path(key))).await.unwrap();
                assert_eq!((read.status(), began.elapsed()), (200, millis(0)));
                match read.cache_status() {
                    "hit; detail=stale-while-revalidate" => stale += 1,
                    status => assert_eq!(status, "hit"),
                }
            }
            let figures = self.cache.figures();
            assert!(figures.refreshes <= budget && figures.flights <= budget, "{figures:?}");
            sleep(millis(1)).await;
        }
        stale
    }

    /// Asks for all keys again and again until all are fresh; how many times that took.
    async fn ask_until_fresh(&mut self, budget: usize) -> usize {
        for round in 0.. {
            assert!(round < 1_000, "it never ends");
            if self.ask_for_all(budget).await == 0 {
                return round;
            }
        }
        unreachable!("there is always another round")
    }
}

fn path(key: usize) -> String {
    format!("/{key}")
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_keys_that_expire_at_once_are_refreshed_within_the_budget_until_all_are_fresh()
{
    const KEYS: usize = 10_000;
    let mut storm = Storm::of(KEYS, cache_builder()).await;
    let began = Instant::now();
    for read in at_once(&storm.service, (0..KEYS).map(path).map(|path| get(&path))).await {
        assert_eq!(read.unwrap().cache_status(), "hit; detail=stale-while-revalidate");
    }
    assert_eq!(began.elapsed(), millis(0));
    sleep(millis(1)).await;
    assert_eq!((storm.calls.count() - KEYS, storm.cache.figures().refreshes), (64, 64));
    sleep(millis(5)).await;
    assert_nothing_is_left(&storm.cache);

    let rounds = storm.ask_until_fresh(64).await;
    println!("10,000 keys are fresh after {rounds} rounds, in {:?}", began.elapsed());
    assert_eq!(storm.crowd.most.load(SeqCst), 64);
    assert_eq!(storm.calls.count(), 2 * KEYS, "one refresh a key");
    assert_nothing_is_left(&storm.cache);
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_refreshes_is_a_setting() {
    const KEYS: usize = 100;
    for budget in [1, 7] {
        let mut storm = Storm::of(KEYS, cache_builder().refreshes(budget)).await;
        storm.ask_until_fresh(budget).await;
        assert_eq!(storm.crowd.most.load(SeqCst), budget);
        assert_eq!(storm.calls.count(), 2 * KEYS);
        assert_nothing_is_left(&storm.cache);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_nothing_is_refreshed_behind_an_answer_and_all_are_answered() {
    const KEYS: usize = 100;
    let mut storm = Storm::of(KEYS, cache_builder().refreshes(0)).await;
    for _ in 0..3 {
        assert_eq!(storm.ask_for_all(0).await, KEYS);
    }
    assert_eq!(storm.calls.count(), KEYS);
    advance(seconds(600)).await;
    let read = call(&mut storm.service, get("/0")).await.unwrap();
    assert!(read.cache_status().starts_with("fwd=stale"), "{}", read.cache_status());
    assert_eq!(storm.calls.count(), KEYS + 1);
}
