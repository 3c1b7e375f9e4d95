//! What reviews found wrong, and how it has to be.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "mends/flights.rs"]
mod flights;
#[path = "mends/heads.rs"]
mod heads;
#[path = "mends/parts.rs"]
mod parts;
#[path = "mends/posts.rs"]
mod posts;
#[path = "mends/scripted.rs"]
mod scripted;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Response};
use seawall::{
    BoxError, CacheLayer, CoalesceLayer, Invalidation, Profile, StaleWhileRevalidateLayer, UriKey,
    cache::CacheService,
};
use support::{
    BoxedOrigin, Calls, Req, Res, answer, answer_status, asked, at_once,
    bodies::{Step, Steps},
    cache, call, get, head, origin, streamed, with,
};
use tokio::time::{advance, sleep};
use tower::Layer;

const SECOND: Duration = Duration::from_secs(1);

/// A page that may be kept for a minute.
const PAGE: [(&str, &str); 2] = [("cache-control", "max-age=60"), ("etag", "\"a\"")];

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Numbers its answers, each of which takes a while.
fn numbered() -> (Calls, BoxedOrigin) {
    origin(|call, _| async move {
        sleep(millis(100)).await;
        Ok(answer(&[("cache-control", "max-age=60")], call.to_string()))
    })
}

/// Ten at once get the page, from storage.
async fn assert_ten_hits(service: &CacheService<BoxedOrigin>, calls: &Calls) {
    let before = calls.count();
    for read in at_once(service, (0..10).map(|_| get("/"))).await {
        let read = read.unwrap();
        assert_eq!((read.text(), read.cache_status()), ("page", "hit"));
    }
    assert_eq!(calls.count() - before, 0);
}

// ===== layers below =====

#[tokio::test(start_paused = true)]
async fn who_comes_after_an_invalidation_joins_no_flight_of_a_coalescing_layer_below() {
    let (calls, inner) = numbered();
    let cache = cache();
    let below = CoalesceLayer::new().layer(inner);
    let mut service = CacheLayer::new(cache.clone()).layer(below);
    let earlier = asked(&service, get("/"));
    sleep(millis(50)).await;
    let page = Invalidation::key(&UriKey::new(), &get("/")).unwrap();
    cache.invalidator().invalidate(&page).await;
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "1");
    assert_eq!(earlier.await.unwrap().unwrap().text(), "0");
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_another_cache_invalidates_parts_no_flight_of_a_coalescing_layer_below() {
    let (calls, inner) = numbered();
    let below = CoalesceLayer::new().layer(inner);
    // The flights of two caches meet only in the layer that both stand on.
    let [first, mut second] = [(); 2].map(|()| CacheLayer::new(cache()).layer(below.clone()));
    let earlier = asked(&first, get("/"));
    sleep(millis(50)).await;
    cache().invalidator().invalidate(&Invalidation::tag("shoes")).await;
    assert_eq!(call(&mut second, get("/")).await.unwrap().text(), "0");
    assert_eq!(earlier.await.unwrap().unwrap().text(), "0");
    assert_eq!(calls.count(), 1);
}

// ===== the switch =====

#[test]
fn a_predicate_may_turn_the_switch() {
    let (_, inner) = origin(|_, _| async { Ok(answer(&[], "page")) });
    let cache = cache();
    let switch = cache.switch();
    let turned = switch.clone();
    switch.off_where(move |_| {
        turned.on();
        true
    });
    let mut service = CacheLayer::new(cache).layer(inner);
    // In a thread of its own: what blocks there fails this test, and holds up no other.
    let (done, has_ended) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let read = runtime.block_on(call(&mut service, get("/")));
        done.send(read.unwrap().text() == "page").unwrap();
    });
    assert_eq!(has_ended.recv_timeout(10 * SECOND), Ok(true));
    assert!(switch.is_on());
}

// ===== what one caller met, and the others =====

#[tokio::test(start_paused = true)]
async fn what_a_head_met_is_not_held_against_a_get() {
    let (_, inner) = origin(|_, request: Req| async move {
        if request.method() == Method::HEAD {
            return Err("connection reset".into());
        }
        Ok(answer(&PAGE, "page"))
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    call(&mut service, head("/")).await.unwrap_err();
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "page");
}

#[tokio::test(start_paused = true)]
async fn what_a_head_was_told_removes_nothing_and_sets_nothing_aside() {
    let (calls, inner) = origin(|_, request: Req| async move {
        if request.method() == Method::HEAD {
            return Ok(answer_status(405, &[], ""));
        }
        sleep(millis(50)).await;
        Ok(answer(&PAGE, "page"))
    });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    let refused = call(&mut service, with(head("/"), "cache-control", "no-cache")).await.unwrap();
    assert_eq!(refused.status(), 405);
    assert_eq!(cache.figures().remembered, 0);
    assert_ten_hits(&service, &calls).await;
}

#[tokio::test(start_paused = true)]
async fn what_one_client_was_told_removes_nothing_and_sets_nothing_aside() {
    let (calls, inner) = origin(|_, request: Req| async move {
        if request.headers().contains_key("x-bad") {
            return Ok(answer_status(400, &[], ""));
        }
        sleep(millis(50)).await;
        Ok(answer(&PAGE, "page"))
    });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    let bad = with(with(get("/"), "cache-control", "no-cache"), "x-bad", "1");
    assert_eq!(call(&mut service, bad).await.unwrap().status(), 400);
    assert_eq!(cache.figures().remembered, 0);
    assert_ten_hits(&service, &calls).await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_told_to_slow_down_leaves_the_stale_page_to_all() {
    let (_, inner) = origin(|call, _| async move {
        if call > 0 {
            return Ok(answer_status(429, &[("retry-after", "10")], ""));
        }
        Ok(answer(&PAGE, "page"))
    });
    let layer = StaleWhileRevalidateLayer::new(cache(), 600 * SECOND);
    let mut service = layer.layer(inner);
    call(&mut service, get("/")).await.unwrap();
    advance(70 * SECOND).await;
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "page");
    // Until the refresh behind it has been told.
    sleep(millis(1)).await;
    for read in at_once(&service, (0..10).map(|_| get("/"))).await {
        let read = read.unwrap();
        assert_eq!((read.status(), read.text()), (200, "page"));
    }
}

// ===== errors that are stored =====

#[tokio::test(start_paused = true)]
async fn an_error_that_may_be_stored_is_backed_off_from_like_any_other() {
    let fields = [("cache-control", "public, max-age=0"), ("etag", "\"e\"")];
    let (calls, inner) =
        origin(move |_, _| async move { Ok(answer_status(503, &fields, "out of order")) });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).policy(Profile::reverse_proxy()).layer(inner);
    for _ in 0..10 {
        // Whether it is the origin's answer or a refusal makes no difference here.
        let _ = call(&mut service, get("/")).await;
        advance(millis(1)).await;
    }
    // The first is forgiven: there was one caller alone.
    assert!(calls.count() <= 2, "{}", calls.count());
    assert_eq!(cache.figures().failing, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stored_error_stands_in_for_nothing_and_delays_no_recovery() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let (_, inner) = origin(move |call, _| {
        let is_up = is_up.load(Ordering::SeqCst);
        async move {
            match call {
                _ if is_up => Ok(answer(&PAGE, "page")),
                0 => Ok(answer_status(503, &[("cache-control", "public, max-age=1")], "")),
                _ => Err("unreachable".into()),
            }
        }
    });
    let mut service = CacheLayer::new(cache()).policy(Profile::reverse_proxy()).layer(inner);
    assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 503);
    for _ in 0..60 {
        advance(SECOND).await;
        call(&mut service, get("/")).await.unwrap_err();
    }
    up.store(true, Ordering::SeqCst);
    let mut waited = Duration::ZERO;
    loop {
        advance(millis(500)).await;
        waited += millis(500);
        if call(&mut service, get("/")).await.is_ok_and(|read| read.status() == 200) {
            break;
        }
        assert!(waited < millis(2_500), "the origin has been up for {waited:?}");
    }
}

// ===== what has outgrown the cache =====

/// A short page that has become longer than a cache keeps, which shows only as it comes.
fn outgrowing() -> (Calls, BoxedOrigin<Steps>) {
    origin(|call, _| async move {
        let short = [("cache-control", "max-age=60"), ("content-length", "3")];
        let long = [("cache-control", "max-age=60"), ("transfer-encoding", "chunked")];
        Ok(match call {
            0 => streamed(&short, Steps::new([Step::Data(Bytes::from_static(b"old"))])),
            _ => streamed(&long, Steps::frames(2, 600_000)),
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_outgrows_the_cache_ends_what_was_stored() {
    let (_, inner) = outgrowing();
    let mut service = StaleWhileRevalidateLayer::new(cache(), 600 * SECOND).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    advance(70 * SECOND).await;
    assert_eq!(call(&mut service, get("/")).await.unwrap().body, "old");
    for _ in 0..5 {
        sleep(millis(10)).await;
        assert_eq!(call(&mut service, get("/")).await.unwrap().body.len(), 1_200_000);
    }
}

// ===== fallbacks =====

#[tokio::test(start_paused = true)]
async fn a_fallback_for_a_head_has_no_body() {
    let (_, inner) = origin(|_, _| async { Err::<Res, BoxError>("connection refused".into()) });
    let layer = CacheLayer::new(cache()).fallback(|_| Some(Response::new("sorry".into())));
    let mut service = layer.layer(inner);
    let read = call(&mut service, head("/")).await.unwrap();
    assert_eq!(read.cache_status(), "fwd=uri-miss; detail=fallback");
    assert!(read.body.is_empty(), "{:?}", read.body);
}
