//! A cache that is turned off while it runs, and on again.

use http::Method;
use seawall::{Cache, CacheLayer, StaleWhileRevalidateLayer};
use tokio::time::{advance, sleep};
use tower::Layer;

use crate::{
    Mood, Moody, assert_nothing_is_left, millis, seconds,
    support::{Req, asked, at_once, cache, call, get, with},
};

fn hour() -> Moody {
    Moody::says(&[("cache-control", "max-age=3600"), ("etag", "\"a\"")])
}

fn post(path: &str) -> Req {
    let mut request = get(path);
    *request.method_mut() = Method::POST;
    request
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_off_passes_everything_untouched_and_stores_nothing() {
    let (origin, cache) = (hour(), cache());
    let mut service = CacheLayer::new(cache.clone()).layer(origin.service.clone());
    call(&mut service, get("/stored")).await.unwrap();
    let switch = cache.switch();
    assert!(switch.is_on());
    switch.off();
    assert!(!switch.is_on());
    for path in ["/stored", "/new"] {
        let before = origin.calls.count();
        origin.is(Mood::Slow(millis(50)));
        for read in at_once(&service, (0..5).map(|_| get(path))).await {
            let read = read.unwrap();
            assert_eq!((read.status(), read.field("age")), (200, None));
            assert_eq!(read.cache_status(), "fwd=bypass; fwd-status=200");
        }
        assert_eq!(origin.calls.count() - before, 5, "nothing is shared either");
    }
    let conditional = with(get("/stored"), "if-none-match", "\"a\"");
    assert_eq!(call(&mut service, conditional).await.unwrap().status(), 304);
    assert!(origin.last_asked().has("if-none-match"));
    assert_eq!(cache.figures().records, 1);
    assert_nothing_is_left(&cache);

    switch.on();
    let read = call(&mut service, get("/stored")).await.unwrap();
    assert_eq!((read.text(), read.cache_status()), ("answer 0", "hit"));
    let read = call(&mut service, get("/new")).await.unwrap();
    assert_eq!(read.cache_status(), "fwd=uri-miss; fwd-status=200; stored");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_under_way_when_the_cache_is_turned_off_answers_its_callers_and_stores_nothing() {
    let (origin, cache) = (hour(), cache());
    let mut service = CacheLayer::new(cache.clone()).layer(origin.service.clone());
    origin.is(Mood::Slow(millis(50)));
    let callers: Vec<_> = (0..5).map(|_| asked(&service, get("/"))).collect();
    sleep(millis(10)).await;
    cache.switch().off();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().text(), "answer 0");
    }
    assert_eq!((origin.calls.count(), cache.figures().records), (1, 0));
    assert_nothing_is_left(&cache);
    cache.switch().on();
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "answer 1");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_under_way_when_the_cache_is_turned_off_stores_nothing() {
    for fields in [
        &[("cache-control", "max-age=10")][..],
        &[("cache-control", "max-age=10"), ("etag", "\"a\"")],
    ] {
        let (origin, cache) = (Moody::says(fields), cache());
        let layer = StaleWhileRevalidateLayer::new(cache.clone(), seconds(600));
        let mut service = layer.layer(origin.service.clone());
        call(&mut service, get("/")).await.unwrap();
        advance(seconds(11)).await;
        origin.is(Mood::Slow(millis(50)));
        call(&mut service, get("/")).await.unwrap();
        sleep(millis(10)).await;
        cache.switch().off();
        sleep(millis(50)).await;
        assert_eq!(origin.calls.count(), 2);
        assert_nothing_is_left(&cache);
        cache.switch().on();
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!((read.text(), read.field("age")), ("answer 0", Some("11")), "{fields:?}");
    }
}

/// A cache that is off for one path, in the end.
async fn off_for_the_checkout()
-> (Moody, Cache, seawall::cache::CacheService<crate::support::BoxedOrigin>) {
    let (origin, cache) = (hour(), cache());
    let mut service = CacheLayer::new(cache.clone()).layer(origin.service.clone());
    for path in ["/checkout/1", "/shop/1"] {
        call(&mut service, get(path)).await.unwrap();
    }
    cache.switch().off_where(|asked| {
        asked.uri.path().starts_with("/checkout") || asked.headers.contains_key("x-debug")
    });
    (origin, cache, service)
}

#[tokio::test(start_paused = true)]
async fn a_cache_may_be_off_for_some_requests_and_serve_the_others() {
    let (origin, cache, mut service) = off_for_the_checkout().await;
    assert!(!cache.switch().is_on());
    for (request, calls) in [
        (get("/shop/1"), 0),
        (get("/checkout/1"), 1),
        (get("/checkout/2"), 1),
        (get("/checkout/2"), 1),
        (with(get("/shop/1"), "x-debug", "1"), 1),
        (get("/shop/2"), 1),
        (get("/shop/2"), 0),
    ] {
        let before = origin.calls.count();
        call(&mut service, request).await.unwrap();
        assert_eq!(origin.calls.count() - before, calls);
    }
    cache.switch().on();
    assert_eq!(call(&mut service, get("/checkout/1")).await.unwrap().text(), "answer 0");
    let read = call(&mut service, get("/checkout/2")).await.unwrap();
    assert!(read.cache_status().starts_with("fwd=uri-miss"), "{}", read.cache_status());
}

#[tokio::test(start_paused = true)]
async fn a_fetch_under_way_for_what_is_turned_off_in_part_stores_nothing() {
    let (origin, cache) = (hour(), cache());
    let mut service = CacheLayer::new(cache.clone()).layer(origin.service.clone());
    origin.is(Mood::Slow(millis(50)));
    let callers = ["/checkout", "/shop"].map(|path| asked(&service, get(path)));
    sleep(millis(10)).await;
    cache.switch().off_where(|asked| asked.uri.path().starts_with("/checkout"));
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    cache.switch().on();
    for (path, calls) in [("/checkout", 1), ("/shop", 0)] {
        let before = origin.calls.count();
        call(&mut service, get(path)).await.unwrap();
        assert_eq!(origin.calls.count() - before, calls, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_off_for_some_requests_is_off_for_all_or_none_when_that_is_said_later() {
    let (origin, cache, mut service) = off_for_the_checkout().await;
    cache.switch().off();
    call(&mut service, get("/shop/1")).await.unwrap();
    assert_eq!(origin.calls.count(), 3);
    cache.switch().on();
    for path in ["/shop/1", "/checkout/1"] {
        assert_eq!(call(&mut service, get(path)).await.unwrap().cache_status(), "hit");
    }
    assert_eq!(origin.calls.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn unsafe_requests_invalidate_while_the_cache_is_off() {
    for in_part in [false, true] {
        let (origin, cache) = (hour(), cache());
        let mut service = CacheLayer::new(cache.clone()).layer(origin.service.clone());
        for path in ["/changed", "/other"] {
            call(&mut service, get(path)).await.unwrap();
        }
        match in_part {
            false => cache.switch().off(),
            true => cache.switch().off_where(|_| true),
        }
        assert_eq!(call(&mut service, post("/changed")).await.unwrap().status(), 200);
        origin.is(Mood::Answering(503));
        assert_eq!(call(&mut service, post("/other")).await.unwrap().status(), 503);
        origin.is(Mood::Well);
        cache.switch().on();
        let read = call(&mut service, get("/changed")).await.unwrap();
        assert!(read.cache_status().starts_with("fwd="), "{}", read.cache_status());
        let read = call(&mut service, get("/other")).await.unwrap();
        assert_eq!(read.cache_status(), "hit", "what failed has changed nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn one_switch_turns_off_every_layer_over_its_cache_and_no_other() {
    let origin = hour();
    let (one, other) = (cache(), cache());
    let inner = CacheLayer::new(one.clone()).layer(origin.service.clone());
    let mut twice = StaleWhileRevalidateLayer::new(one.clone(), seconds(60)).layer(inner);
    let mut apart = CacheLayer::new(other).layer(origin.service.clone());
    call(&mut twice, get("/")).await.unwrap();
    call(&mut apart, get("/")).await.unwrap();
    one.switch().off();
    call(&mut twice, get("/")).await.unwrap();
    assert_eq!(origin.calls.count(), 3);
    assert_eq!(call(&mut apart, get("/")).await.unwrap().cache_status(), "hit");
}
