//! Answers that are refreshed while they are still fresh.

use std::time::Duration;

use seawall::{Cache, StaleWhileRevalidateLayer, cache::CacheService};
use tokio::time::{advance, sleep};
use tower::Layer;

use crate::{
    Moody, assert_nothing_is_left, millis, seconds,
    support::{
        BoxedOrigin, Calls, answer, at_once, cache, cache_builder, call, get, head, origin, with,
    },
};

/// Entries of one lifetime that were fetched in one moment.
struct Entries {
    cache: Cache,
    service: CacheService<BoxedOrigin>,
    calls: Calls,
    count: usize,
}

impl Entries {
    async fn stored(
        count: usize,
        lifetime: &'static str,
        cost: Duration,
        layer: impl FnOnce(StaleWhileRevalidateLayer) -> StaleWhileRevalidateLayer,
    ) -> Self {
        let (calls, inner) = origin(move |_, _| async move {
            if !cost.is_zero() {
                sleep(cost).await;
            }
            Ok(answer(&[("cache-control", lifetime)], "a page"))
        });
        let cache = cache_builder().refreshes(count).fetch_deadline(seconds(3_600)).build();
        let layer = layer(StaleWhileRevalidateLayer::new(cache.clone(), seconds(60)));
        let service = layer.layer(inner);
        for read in at_once(&service, (0..count).map(|key| get(&format!("/{key}")))).await {
            read.unwrap();
        }
        assert_eq!(calls.count(), count);
        Self { cache, service, calls, count }
    }

    /// Looks at each once; how many refreshes that began.
    async fn look_at_all(&mut self) -> usize {
        let before = self.calls.count();
        for key in 0..self.count {
            let read = call(&mut self.service, get(&format!("/{key}"))).await.unwrap();
            assert_eq!(read.cache_status(), "hit");
        }
        sleep(millis(1)).await;
        self.calls.count() - before
    }
}

/// Fetches that take minutes, so that what the test itself takes makes no difference.
#[tokio::test(start_paused = true)]
async fn a_look_refreshes_the_more_likely_the_less_time_is_left_and_the_longer_the_fetch_took() {
    const COUNT: usize = 3_000;
    fastrand::seed(5);
    for (beta, cost, left) in [
        (1.0, 200, 100),
        (1.0, 200, 400),
        (1.0, 200, 800),
        (1.0, 50, 100),
        (2.0, 100, 300),
        (0.5, 400, 300),
    ] {
        let layer = |layer: StaleWhileRevalidateLayer| layer.beta(beta).jitter(0.0);
        let mut entries = Entries::stored(COUNT, "max-age=6000", seconds(cost), layer).await;
        advance(seconds(6_000 - left)).await;
        let share = entries.look_at_all().await as f64 / COUNT as f64;
        let expected = (-(left as f64) / (beta * cost as f64)).exp();
        let sigma = (expected * (1.0 - expected) / COUNT as f64).sqrt();
        let off = (share - expected) / sigma;
        println!("β {beta}, cost {cost} s, {left} s left: {share:.4}, {expected:.4} {off:+.2} σ");
        assert!(off.abs() <= 3.0, "{off:+.2} σ");
    }
}

#[tokio::test(start_paused = true)]
async fn without_eagerness_nothing_is_refreshed_while_it_is_fresh() {
    for beta in [0.0, -1.0] {
        let layer = |layer: StaleWhileRevalidateLayer| layer.beta(beta).jitter(0.0);
        let mut entries = Entries::stored(1_000, "max-age=6000", seconds(1_000), layer).await;
        advance(seconds(5_995)).await;
        assert_eq!(entries.look_at_all().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn far_from_its_end_an_answer_costs_not_even_a_random_number() {
    let mut entries = Entries::stored(100, "max-age=600", seconds(1), |layer| layer).await;
    fastrand::seed(7);
    let before = fastrand::get_seed();
    for _ in 0..5 {
        advance(seconds(100)).await;
        assert_eq!(entries.look_at_all().await, 0);
    }
    assert_eq!(fastrand::get_seed(), before);
    let mut entries =
        Entries::stored(100, "max-age=600", seconds(1), |layer| layer.jitter(0.0)).await;
    advance(seconds(590)).await;
    let before = fastrand::get_seed();
    entries.look_at_all().await;
    assert_ne!(fastrand::get_seed(), before, "here it is drawn");
}

#[tokio::test(start_paused = true)]
async fn at_its_threshold_an_answer_is_a_plain_hit_with_one_refresh_behind() {
    let origin = Moody::says(&[("cache-control", "max-age=100"), ("etag", "\"a\"")]);
    let cache = cache();
    let layer = StaleWhileRevalidateLayer::new(cache.clone(), seconds(60));
    let layer = layer.refresh_at(0.8).beta(0.0).jitter(0.0);
    let mut service = layer.layer(origin.service.clone());
    call(&mut service, get("/")).await.unwrap();
    advance(millis(79_900)).await;
    call(&mut service, get("/")).await.unwrap();
    sleep(millis(1)).await;
    assert_eq!(origin.calls.count(), 1);
    advance(millis(100)).await;
    origin.is(crate::Mood::Slow(millis(400)));
    for read in at_once(&service, (0..100).map(|_| get("/"))).await {
        let read = read.unwrap();
        assert_eq!((read.cache_status(), read.field("age")), ("hit", Some("80")));
    }
    sleep(millis(401)).await;
    assert_eq!(origin.calls.count(), 2);
    let asked = origin.last_asked();
    assert!(asked.refresh && asked.has("if-none-match"), "{asked:?}");
    let fresh = call(&mut service, get("/")).await.unwrap();
    assert_eq!((fresh.cache_status(), fresh.field("age")), ("hit", Some("0")));
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_together_comes_due_spread_over_the_last_tenth_of_its_lifetime() {
    const COUNT: usize = 10_000;
    const SLICES: usize = 10;
    fastrand::seed(20_150_831);
    let layer = |layer: StaleWhileRevalidateLayer| layer.beta(0.0);
    let mut entries = Entries::stored(COUNT, "max-age=100", millis(0), layer).await;
    advance(millis(89_900)).await;
    assert_eq!(entries.look_at_all().await, 0, "nothing is due before");
    let mut due = Vec::new();
    for _ in 0..SLICES {
        advance(seconds(1)).await;
        due.push(entries.look_at_all().await);
    }
    println!("due in each second of the last ten: {due:?}");
    let sigma = (COUNT as f64 * 0.1 * 0.9).sqrt();
    for &of_slice in &due {
        let off = (of_slice as f64 - 1_000.0) / sigma;
        assert!(off.abs() <= 4.0, "{off:+.2} σ");
    }
    // The last look is a tenth of a second before the end, and so about a hundredth is left.
    let all: usize = due.iter().sum();
    assert!((COUNT - 150..=COUNT).contains(&all), "{all}");
    sleep(millis(1)).await;
    assert_nothing_is_left(&entries.cache);
}

#[tokio::test(start_paused = true)]
async fn how_far_it_is_spread_is_a_setting() {
    let layer = |layer: StaleWhileRevalidateLayer| layer.beta(0.0).jitter(0.5);
    let mut entries = Entries::stored(1_000, "max-age=100", millis(0), layer).await;
    advance(seconds(49)).await;
    assert_eq!(entries.look_at_all().await, 0);
    advance(seconds(26)).await;
    let half = entries.look_at_all().await;
    assert!((400..=600).contains(&half), "{half}");
}

#[tokio::test(start_paused = true)]
async fn who_wants_only_the_head_or_only_what_is_stored_begins_no_refresh() {
    let only_if_cached = || with(get("/"), "cache-control", "only-if-cached");
    for (request, stale) in
        [(head("/"), false), (head("/"), true), (only_if_cached(), false), (only_if_cached(), true)]
    {
        let origin = Moody::says(&[("cache-control", "max-age=100")]);
        let cache = cache();
        let layer = StaleWhileRevalidateLayer::new(cache.clone(), seconds(60)).refresh_at(0.5);
        let mut service = layer.layer(origin.service.clone());
        call(&mut service, get("/")).await.unwrap();
        advance(seconds(if stale { 101 } else { 99 })).await;
        for _ in 0..3 {
            let read = call(&mut service, request.clone()).await.unwrap();
            let status = if stale { "hit; detail=stale-while-revalidate" } else { "hit" };
            assert_eq!((read.status(), read.cache_status()), (200, status));
            sleep(millis(1)).await;
        }
        assert_eq!((origin.calls.count(), cache.figures().refreshes), (1, 0), "{request:?}");
        call(&mut service, get("/")).await.unwrap();
        sleep(millis(1)).await;
        assert_eq!(origin.calls.count(), 2, "a GET does");
    }
}
