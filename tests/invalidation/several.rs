//! Several caches in one process: one behind the other, two over one store, and a store that has to
//! be waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall::{
    BoxError, Cache, CacheLayer, Invalidation, StaleWhileRevalidateLayer, UriKey,
    store::{Key, Record, Store},
};
use tokio::time::{advance, sleep};
use tower::Layer;

use crate::{
    gated::{Gate, settled, tag_of},
    support::{Calls, answer, answer_status, asked, at_once, cache, call, get, origin},
};

const SECOND: Duration = Duration::from_secs(1);

/// Answers with the number of its content, which the test changes, and validates that.
fn content() -> (Calls, Calls, crate::support::BoxedOrigin) {
    let content = Calls::default();
    let now = content.clone();
    let (calls, inner) = origin(move |_, request| {
        let number = now.count().to_string();
        let etag = format!("\"{number}\"");
        let fields =
            [("cache-control", "max-age=600"), ("cache-tag", "shoes"), ("etag", etag.as_str())];
        let same = request.headers().get("if-none-match").is_some_and(|tag| *tag == etag);
        let response = if same { answer_status(304, &fields, "") } else { answer(&fields, number) };
        async { Ok(response) }
    });
    (content, calls, inner)
}

fn ways() -> [Invalidation; 4] {
    [
        Invalidation::tag("shoes"),
        Invalidation::key(&UriKey::new(), &get("/")).unwrap(),
        Invalidation::uri(get("/").uri()).unwrap(),
        Invalidation::everything(),
    ]
}

#[tokio::test(start_paused = true)]
async fn the_upper_of_two_caches_never_has_a_younger_fence_than_the_lower() {
    for what in ways() {
        let (content, _, inner) = content();
        let (upper, lower) = (cache(), cache());
        let below = CacheLayer::new(lower.clone()).layer(inner);
        let mut service = CacheLayer::new(upper.clone()).layer(below);
        call(&mut service, get("/")).await.unwrap();
        content.add();
        upper.invalidator().invalidate(&what).await;
        // The lower one has not been told: what it has is old, and stays old in the upper one.
        for _ in 0..2 {
            let read = call(&mut service, get("/")).await.unwrap();
            assert_eq!(read.text(), "0");
            assert!(read.cache_status().starts_with("fwd=uri-miss"), "{}", read.cache_status());
        }
        lower.invalidator().invalidate(&what).await;
        assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "1", "{what:?}");
        assert_eq!(call(&mut service, get("/")).await.unwrap().cache_status(), "hit", "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_either_order_of_invalidation_two_caches_serve_nothing_from_before_both() {
    for what in ways() {
        for lower_first in [true, false] {
            for asks_between in [true, false] {
                for soft in [true, false] {
                    let what = if soft { what.clone().soft() } else { what.clone() };
                    let (content, calls, inner) = content();
                    let (upper, lower) = (cache(), cache());
                    let below = CacheLayer::new(lower.clone()).layer(inner);
                    let mut service = CacheLayer::new(upper.clone()).layer(below);
                    call(&mut service, get("/")).await.unwrap();
                    content.add();
                    let both = if lower_first { [&lower, &upper] } else { [&upper, &lower] };
                    both[0].invalidator().invalidate(&what).await;
                    if asks_between {
                        call(&mut service, get("/")).await.unwrap();
                    }
                    both[1].invalidator().invalidate(&what).await;
                    let told = format!("{what:?}, lower first {lower_first}, {asks_between}");
                    for read in at_once(&service, (0..20).map(|_| get("/"))).await {
                        assert_eq!(read.unwrap().text(), "1", "{told}");
                    }
                    let read = call(&mut service, get("/")).await.unwrap();
                    assert_eq!((read.text(), read.cache_status()), ("1", "hit"), "{told}");
                    assert!(calls.count() <= 3, "{} calls: {told}", calls.count());
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_an_invalidation_of_two_caches_joins_the_flight_from_before_in_neither() {
    let gate = Gate::default();
    let (upper, lower) = (cache(), cache());
    let below = CacheLayer::new(lower.clone()).layer(gate.origin());
    let service = CacheLayer::new(upper.clone()).layer(below);
    let before = asked(&service, get("/"));

    settled().await;
    gate.change("/", true);
    for cache in [&lower, &upper] {
        cache.invalidator().invalidate(&Invalidation::tag(tag_of("/"))).await;
    }
    let after = asked(&service, get("/"));
    for _ in 0..4 {
        settled().await;
        gate.finish();
    }
    assert_eq!(before.await.unwrap().unwrap().text(), "0 0");
    assert_eq!(after.await.unwrap().unwrap().text(), "1 1");
}

#[tokio::test(start_paused = true)]
async fn an_early_refresh_through_a_lower_cache_is_validated_at_the_origin_and_does_not_loop() {
    for lower_refreshes in [false, true] {
        let (_, calls, inner) = content();
        let (upper, lower) = (cache(), cache());
        let early = |cache: &Cache| {
            let layer = StaleWhileRevalidateLayer::new(cache.clone(), 60 * SECOND).beta(0.0);
            layer.jitter(0.0).refresh_at(0.5)
        };
        let below = match lower_refreshes {
            true => early(&lower).into_cache_layer().layer(inner),
            false => CacheLayer::new(lower.clone()).layer(inner),
        };
        let mut service = early(&upper).layer(below);
        call(&mut service, get("/")).await.unwrap();
        assert_eq!(calls.count(), 1);
        for round in 0..3 {
            advance(301 * SECOND).await;
            for _ in 0..10 {
                let read = call(&mut service, get("/")).await.unwrap();
                assert_eq!((read.text(), read.cache_status()), ("0", "hit"));
                sleep(SECOND / 10).await;
            }
            assert_eq!(calls.count(), 2 + round, "one validation a round");
            let age = call(&mut service, get("/")).await.unwrap();
            assert!(age.field("age").is_none_or(|age| age.parse::<u64>().unwrap() <= 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_soft_invalidation_is_refreshed_through_a_lower_cache_once() {
    let (content, calls, inner) = content();
    let (upper, lower) = (cache(), cache());
    let below = CacheLayer::new(lower.clone()).layer(inner);
    let mut service = StaleWhileRevalidateLayer::new(upper.clone(), 60 * SECOND).layer(below);
    call(&mut service, get("/")).await.unwrap();
    content.add();
    // The lower one is not told: a refresh asks the origin all the same.
    upper.invalidator().invalidate(&Invalidation::tag("shoes").soft()).await;
    let stale = call(&mut service, get("/")).await.unwrap();
    assert_eq!(stale.cache_status(), "hit; detail=stale-while-revalidate");
    for _ in 0..5 {
        sleep(SECOND).await;
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!((read.text(), read.cache_status()), ("1", "hit"));
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_lower_cache_gave_stale_is_not_stored_as_fresh_by_the_upper() {
    let (content, _, inner) = content();
    let lower = cache();
    let below = StaleWhileRevalidateLayer::new(lower.clone(), 60 * SECOND).layer(inner);
    let mut service = CacheLayer::new(cache()).layer(below.clone());
    call(&mut below.clone(), get("/")).await.unwrap();
    content.add();
    lower.invalidator().invalidate(&Invalidation::tag("shoes").soft()).await;
    let stale = call(&mut service, get("/")).await.unwrap();
    assert_eq!(stale.text(), "0", "it is refreshed behind that");
    sleep(SECOND).await;
    assert_eq!(call(&mut below.clone(), get("/")).await.unwrap().text(), "1");
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "1");
}

#[tokio::test(start_paused = true)]
async fn what_one_cache_stored_another_over_the_same_store_invalidates() {
    for what in ways() {
        let (content, _, inner) = content();
        let shared = Far::default();
        let [one, other] = [(); 2].map(|()| Cache::new(shared.clone()));
        call(&mut CacheLayer::new(one).layer(inner.clone()), get("/")).await.unwrap();
        sleep(SECOND).await;
        content.add();
        other.invalidator().invalidate(&what).await;
        let mut service = CacheLayer::new(other).layer(inner);
        assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "1", "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_through_one_cache_reaches_what_another_stored_in_the_same_store() {
    for near in [true, false] {
        let (content, _, inner) = content();
        let shared = Far { near, ..Far::default() };
        let [one, other] = [(); 2].map(|()| Cache::new(shared.clone()));
        call(&mut CacheLayer::new(one).layer(inner.clone()), get("/")).await.unwrap();
        sleep(SECOND).await;
        content.add();
        let mut service = CacheLayer::new(other).layer(inner);
        let mut post = get("/");
        *post.method_mut() = http::Method::POST;
        call(&mut service, post).await.unwrap();
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!(read.text(), "1", "at hand: {near}");
    }
}

/// Nothing at hand, unless it is near; a write takes as long as the test says.
#[derive(Clone, Default)]
struct Far {
    near: bool,
    records: Arc<Mutex<HashMap<Key, Record>>>,
    put_takes: Duration,
}

impl Store for Far {
    fn peek(&self, key: &[u8]) -> Option<Record> {
        let records = self.records.lock().unwrap();
        self.near.then(|| records.get(&Key::from(key)).cloned()).flatten()
    }

    fn is_remote(&self) -> bool {
        !self.near
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        sleep(Duration::from_millis(1)).await;
        Ok(self.records.lock().unwrap().get(key).cloned())
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        sleep(self.put_takes).await;
        self.records.lock().unwrap().insert(key, record);
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.records.lock().unwrap().remove(key);
        Ok(())
    }
}

/// The origin takes 100 ms; its content changes, and is invalidated, `at` so many of them.
async fn invalidated_at(at: Duration, put_takes: Duration, what: &Invalidation) {
    let content = Calls::default();
    let now = content.clone();
    let (_, inner) = origin(move |_, _| {
        let number = now.count().to_string();
        async move {
            sleep(SECOND / 10).await;
            Ok(answer(&[("cache-control", "max-age=600"), ("cache-tag", "shoes")], number))
        }
    });
    let far = Far { put_takes, ..Far::default() };
    let cache = Cache::new(far.clone());
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    let before = asked(&service, get("/"));
    sleep(at).await;
    content.add();
    cache.invalidator().invalidate(what).await;
    let told = format!("{what:?} at {at:?}, a write takes {put_takes:?}");
    // At once, while the old answer is being written, and when it has long been.
    for pause in [0, 20, 60, 200, 1000] {
        sleep(Duration::from_millis(pause)).await;
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!(read.text(), "1", "{told}, {pause} ms later");
    }
    assert_eq!(before.await.unwrap().unwrap().text(), "0");
    let figures = cache.figures();
    assert_eq!((figures.flights, figures.followers), (0, 0), "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_an_old_flight_puts_into_a_far_store_after_an_invalidation_is_never_served() {
    for what in ways() {
        for put in [0, 40, 200] {
            for at in [5, 50, 101, 120, 150] {
                let millis = Duration::from_millis;
                invalidated_at(millis(at), millis(put), &what).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_put_past_the_flight_into_a_far_store_is_judged_by_its_own_fence() {
    let (content, calls, inner) = content();
    let far = Far::default();
    let cache = Cache::new(far.clone());
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    sleep(SECOND).await;
    let old: Vec<_> = far.records.lock().unwrap().clone().into_iter().collect();
    content.add();
    cache.invalidator().invalidate(&Invalidation::tag("shoes")).await;
    call(&mut service, get("/")).await.unwrap();
    sleep(SECOND).await;
    // A write that was on its way for a second comes last.
    far.records.lock().unwrap().extend(old);
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "1");
    assert_eq!(calls.count(), 3);
}
