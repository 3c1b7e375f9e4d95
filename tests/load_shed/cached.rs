//! Under a cache: a hit asks nobody, and a refusal is answered from what there is.

use std::sync::{Arc, Mutex};

use seawall::{
    Cache, CacheLayer, LoadShedLayer, Reason,
    load_shed::{Criticality, Rate},
    observe::Event,
};
use tokio::time::advance;
use tower::{Layer, Service};

use crate::{
    SECOND, hold, reason,
    support::{
        BoxedOrigin, Calls, Read, Req, answer, at_once, cache, cache_builder, call, get, origin,
        with,
    },
    wait,
};

/// An origin whose answers are fresh for ten seconds, and may be given for a minute more.
fn inner() -> (Calls, BoxedOrigin) {
    origin(|call, _| async move {
        let control = "max-age=10, stale-if-error=60";
        Ok(answer(&[("cache-control", control)], format!("answer {call}")))
    })
}

/// A cache that counts those who joined another caller's fetch.
fn counting() -> (Cache, Calls) {
    let followed = Calls::default();
    let counted = followed.clone();
    let cache = cache_builder().observer(move |event: &Event<'_>| {
        if let Event::Followed = event {
            counted.add();
        }
    });
    (cache.build(), followed)
}

#[tokio::test(start_paused = true)]
async fn hits_are_answered_while_misses_are_refused() {
    let (calls, inner) = inner();
    let shed = LoadShedLayer::fixed(1);
    let mut service = (CacheLayer::new(cache()), shed.clone()).layer(inner.clone());
    call(&mut service, get("/hot")).await.unwrap();
    let held = hold(&shed.layer(inner), get("/held")).await.unwrap();
    let hits = at_once(&service, (0..100).map(|_| get("/hot"))).await;
    for hit in hits {
        let hit = hit.unwrap();
        assert_eq!((hit.text(), hit.cache_status()), ("answer 0", "hit"));
    }
    for miss in at_once(&service, (0..100).map(|n| get(&format!("/cold/{n}")))).await {
        let error = miss.unwrap_err();
        assert_eq!(reason(&error), Some(Reason::Shed));
        assert!(wait(&error) >= SECOND);
    }
    assert_eq!((calls.count(), shed.gauge().in_flight()), (2, 1));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_refused_miss_takes_what_is_stale_within_its_window_and_no_longer() {
    let (calls, inner) = inner();
    let shed = LoadShedLayer::fixed(1);
    let cache = cache();
    let mut service = (CacheLayer::new(cache.clone()), shed.clone()).layer(inner.clone());
    call(&mut service, get("/")).await.unwrap();
    let held = hold(&shed.layer(inner), get("/held")).await.unwrap();
    for (passed, age) in [(11, "11"), (30, "41"), (28, "69")] {
        advance(passed * SECOND).await;
        for stale in at_once(&service, (0..20).map(|_| get("/"))).await {
            let stale: Read = stale.unwrap();
            assert_eq!((stale.text(), stale.field("age")), ("answer 0", Some(age)));
            assert!(stale.cache_status().contains("detail=stale-if-error"), "{stale:?}");
        }
    }
    advance(2 * SECOND).await;
    let error = call(&mut service, get("/")).await.unwrap_err();
    assert_eq!(reason(&error), Some(Reason::Shed));
    assert_eq!((calls.count(), cache.figures().failing), (2, 0));
    drop(held);
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "answer 2", "at once");
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_not_held_to_be_failing() {
    let (_, inner) = inner();
    let shed = LoadShedLayer::fixed(1);
    let cache = cache();
    let mut service = (CacheLayer::new(cache.clone()), shed.clone()).layer(inner.clone());
    for round in 0..5 {
        let held = hold(&shed.layer(inner.clone()), get("/held")).await.unwrap();
        let path = format!("/{round}");
        for _ in 0..3 {
            let error = call(&mut service, get(&path)).await.unwrap_err();
            assert_eq!(reason(&error), Some(Reason::Shed));
        }
        drop(held);
        assert_eq!(call(&mut service, get(&path)).await.unwrap().status(), 200);
        assert_eq!(cache.figures().failing, 0);
    }
}

/// Asks for the same at once, the first before the second: the one leads and the other follows.
async fn lead_and_follow<S, B>(
    service: &S,
    first: Req,
    second: Req,
) -> (Result<Read, Option<Reason>>, Result<Read, Option<Reason>>)
where
    S: Service<Req, Response = http::Response<B>, Error = seawall::BoxError> + Clone,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<seawall::BoxError>>,
{
    let (mut one, mut other) = (service.clone(), service.clone());
    let (first, second) = tokio::join!(call(&mut one, first), call(&mut other, second));
    (first.map_err(|error| reason(&error)), second.map_err(|error| reason(&error)))
}

#[tokio::test(start_paused = true)]
async fn the_refusal_of_one_is_not_handed_to_another_of_a_higher_class() {
    let (calls, inner) = inner();
    let shed = LoadShedLayer::fixed(100).criticality(|request: &Req| {
        match request.headers().contains_key("x-crawler") {
            true => Criticality::Sheddable,
            false => Criticality::Normal,
        }
    });
    let (cache, followed) = counting();
    let service = (CacheLayer::new(cache), shed.clone()).layer(inner.clone());
    let direct = shed.layer(inner);
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(hold(&direct, get("/held")).await.unwrap());
    }
    let before = calls.count();
    let crawler = with(get("/page"), "x-crawler", "1");
    let (crawled, asked) = lead_and_follow(&service, crawler, get("/page")).await;
    assert_eq!(followed.count(), 1, "it waited for the crawler's fetch");
    assert_eq!(crawled.unwrap_err(), Some(Reason::Shed));
    assert_eq!(asked.unwrap().status(), 200);
    assert_eq!(calls.count() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_over_quota_does_not_take_others_down_with_it() {
    let (calls, inner) = inner();
    let tenant = |request: &Req| request.headers().get("x-tenant").cloned();
    let shed = LoadShedLayer::default().quota(Rate::per_minute(1), tenant);
    let (cache, followed) = counting();
    let mut service = (CacheLayer::new(cache), shed).layer(inner);
    let of = |path: &str, tenant: &str| with(get(path), "x-tenant", tenant);
    call(&mut service, of("/first", "a")).await.unwrap();
    let (over, other) = lead_and_follow(&service, of("/page", "a"), of("/page", "b")).await;
    assert_eq!(followed.count(), 1, "it waited for the other's fetch");
    assert_eq!(over.unwrap_err(), Some(Reason::OverQuota));
    assert_eq!((other.unwrap().status(), calls.count()), (200, 2));
    // What is stored is free for all.
    assert_eq!(call(&mut service, of("/page", "a")).await.unwrap().cache_status(), "hit");
}

#[tokio::test(start_paused = true)]
async fn who_is_over_quota_gets_what_is_stale() {
    let (_, inner) = inner();
    let shed = LoadShedLayer::default().quota(Rate::per_minute(1), |_: &Req| Some("all"));
    let mut service = (CacheLayer::new(cache()), shed).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    advance(11 * SECOND).await;
    let stale = call(&mut service, get("/")).await.unwrap();
    assert_eq!((stale.text(), stale.field("age")), ("answer 0", Some("11")));
    let error = call(&mut service, get("/cold")).await.unwrap_err();
    assert_eq!(reason(&error), Some(Reason::OverQuota));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_a_cold_key_take_one_place() {
    let most = Arc::new(Mutex::new(0));
    let shed = LoadShedLayer::fixed(1);
    let (gauge, noted) = (shed.gauge(), Arc::clone(&most));
    let (calls, inner) = origin(move |_, _| {
        let (gauge, noted) = (gauge.clone(), Arc::clone(&noted));
        async move {
            tokio::time::sleep(SECOND).await;
            let mut most = noted.lock().unwrap();
            *most = gauge.in_flight().max(*most);
            Ok(answer(&[("cache-control", "max-age=10")], "body"))
        }
    });
    let service = (CacheLayer::new(cache()), shed.clone()).layer(inner);
    for answered in at_once(&service, (0..1_000).map(|_| get("/"))).await {
        assert_eq!(answered.unwrap().text(), "body");
    }
    assert_eq!((calls.count(), *most.lock().unwrap(), shed.gauge().in_flight()), (1, 1, 0));
}
