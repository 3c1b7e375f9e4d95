//! Fresh, stale while it is revalidated, stale after the soft timeout, stale if error, a fallback, the
//! error: each step says which it is.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use seawall::{
    Cache, CacheLayer, Failed, FetchError, Rejected,
    cache::{CacheBuilder, CacheService},
    journal::Invalidation,
};
use tokio::{
    task::yield_now,
    time::{advance, sleep},
};
use tower::Layer;

use crate::{
    Does, GOOD, SECOND, Seen, Told, get, refused,
    support::{BoxedOrigin, asked, cache_builder, call},
    timed,
};

const MINUTE: Duration = Duration::from_secs(60);

struct Stack {
    told: Told,
    seen: Seen,
    cache: Cache,
    service: CacheService<BoxedOrigin>,
}

fn cold(build: fn(CacheBuilder) -> CacheBuilder, set: fn(CacheLayer) -> CacheLayer) -> Stack {
    let seen = Seen::default();
    let cache = build(cache_builder().observer(seen.clone())).build();
    let (told, inner) = Told::origin(GOOD);
    let service = set(CacheLayer::new(cache.clone())).layer(inner);
    Stack { told, seen, cache, service }
}

/// One with an answer that has been stale for a second.
async fn stale(
    build: fn(CacheBuilder) -> CacheBuilder,
    set: fn(CacheLayer) -> CacheLayer,
) -> Stack {
    let mut stack = cold(build, set);
    call(&mut stack.service, get("/")).await.unwrap();
    advance(61 * SECOND).await;
    stack
}

fn plain(builder: CacheBuilder) -> CacheBuilder {
    builder
}

/// Every step of the ladder.
fn whole(layer: CacheLayer) -> CacheLayer {
    let layer = layer.stale_while_revalidate(MINUTE).soft_timeout(SECOND);
    layer.stale_if_error(2 * MINUTE).fallback(sorry)
}

fn sorry(_: &Failed<'_>) -> Option<Response<Bytes>> {
    Some(Response::new(Bytes::from_static(b"sorry")))
}

const SLOW: Does = Does::Slowly(Duration::from_secs(20), 200, &[("cache-control", "max-age=60")]);

#[tokio::test(start_paused = true)]
async fn an_answer_that_grows_older_while_the_origin_fails_goes_down_the_ladder() {
    let Stack { told, seen, mut service, .. } = cold(plain, whole);
    let rung = async |service: &mut CacheService<_>| call(service, get("/")).await.unwrap();
    rung(&mut service).await;

    advance(30 * SECOND).await;
    assert_eq!(rung(&mut service).await.cache_status(), "hit");
    assert_eq!(seen.count("Hit"), 1);

    told.to(Does::Fails);
    advance(31 * SECOND).await;
    let read = rung(&mut service).await;
    assert_eq!(read.cache_status(), "hit; detail=stale-while-revalidate");
    assert_eq!((read.field("age"), seen.count("StaleHit(WhileRevalidate)")), (Some("61"), 1));
    assert_eq!(seen.count("Refreshing"), 1);

    sleep(Duration::from_millis(1)).await; // it has failed
    advance(MINUTE).await;
    let read = rung(&mut service).await;
    assert_eq!(read.cache_status(), "fwd=stale; detail=stale-if-error");
    assert_eq!((read.field("age"), seen.count("StaleHit(IfError)")), (Some("121"), 1));

    advance(MINUTE).await;
    let read = rung(&mut service).await;
    assert_eq!((read.text(), read.cache_status()), ("sorry", "fwd=stale; detail=fallback"));
    assert_eq!((read.field("age"), seen.count("FellBack")), (None, 1));
    assert_eq!((told.calls.count(), seen.count("Miss")), (4, 3), "one more for each step");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_comes_before_a_fallback_and_a_fallback_before_the_error() {
    for does in [Does::Fails, Does::Answers(503, &[]), Does::Answers(500, &[]), Does::Refuses] {
        let mut stack = stale(plain, |layer| layer.stale_if_error(MINUTE).fallback(sorry)).await;
        stack.told.to(does);
        let read = call(&mut stack.service, get("/")).await.unwrap();
        assert_eq!(read.text(), "answer 0", "{does:?}");
        advance(MINUTE).await;
        let read = call(&mut stack.service, get("/")).await.unwrap();
        assert_eq!(read.text(), "sorry", "{does:?}");
        let seen = (stack.seen.count("StaleHit(IfError)"), stack.seen.count("FellBack"));
        assert_eq!(seen, (1, 1), "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_says_what_came_back_and_is_told_what_failed() {
    for (does, said, error) in [
        (Does::Answers(503, &[]), "fwd=uri-miss; fwd-status=503; detail=fallback", Some(503)),
        (Does::Answers(500, &[]), "fwd=uri-miss; fwd-status=500; detail=fallback", Some(500)),
        (Does::Fails, "fwd=uri-miss; detail=fallback", None),
    ] {
        let Stack { told, mut service, .. } = cold(plain, |layer| {
            layer.fallback(|failed| {
                let status = match FetchError::find(failed.error) {
                    Some(FetchError::Status(status)) => status.as_str().to_owned(),
                    _ => std::error::Error::source(failed.error).unwrap().to_string(),
                };
                Some(Response::new(format!("{}: {status}", failed.uri.path()).into()))
            })
        });
        told.to(does);
        let read = call(&mut service, get("/page")).await.unwrap();
        let error = error.map_or("connection refused".to_owned(), |status: u16| status.to_string());
        assert_eq!((read.text(), read.cache_status()), (&*format!("/page: {error}"), said));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_stands_in_while_a_key_is_left_alone() {
    let Stack { told, seen, mut service, .. } = cold(plain, |layer| layer.fallback(sorry));
    told.to(Does::Fails);
    for _ in 0..3 {
        assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "sorry");
    }
    assert_eq!((told.calls.count(), seen.count("FellBack"), seen.count("Refused")), (1, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_has_no_answer_leaves_the_failure_as_it_is() {
    let Stack { told, seen, mut service, .. } = cold(plain, |layer| layer.fallback(|_| None));
    told.to(Does::Answers(503, &[]));
    let read = call(&mut service, get("/")).await.unwrap();
    assert_eq!((read.status(), read.text()), (503, "answer 0"));
    assert_eq!(read.cache_status(), "fwd=uri-miss; fwd-status=503");
    let wait = refused(call(&mut service, get("/")).await);
    assert!(!wait.is_zero());
    told.to(Does::Fails);
    let error = call(&mut service, get("/other")).await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "connection refused");
    assert_eq!((seen.count("FellBack"), seen.count("Refused")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn within_the_back_off_a_stale_answer_is_a_hit_that_says_why() {
    let Stack { told, seen, mut service, .. } =
        stale(plain, |layer| layer.stale_if_error(MINUTE)).await;
    told.to(Does::Answers(503, &[]));
    for said in [
        "fwd=stale; fwd-status=503; detail=stale-if-error",
        "hit; detail=stale-if-error",
        "hit; detail=stale-if-error",
    ] {
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!((read.text(), read.cache_status()), ("answer 0", said));
        assert_eq!(read.field("age"), Some("61"));
    }
    assert_eq!((told.calls.count(), seen.count("StaleHit(IfError)")), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_from_below_is_answered_from_stale_and_is_no_failure_of_the_origin() {
    let Stack { told, seen, cache, mut service } =
        stale(plain, |layer| layer.stale_if_error(MINUTE)).await;
    told.to(Does::Refuses);
    for calls in 2..5 {
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!(read.text(), "answer 0");
        assert_eq!(read.cache_status(), "hit; detail=stale-if-error");
        assert_eq!(told.calls.count(), calls);
    }
    assert_eq!((cache.figures().failing, seen.waits().len()), (0, 0));
    assert_eq!(seen.count("StaleHit(IfError)"), 3);
    advance(MINUTE).await;
    let error = call(&mut service, get("/")).await.unwrap_err();
    assert!(Rejected::find(&*error).is_some(), "what it was refused with: {error:?}");
}

// ===== an origin that takes its time =====

#[tokio::test(start_paused = true)]
async fn after_the_soft_timeout_a_caller_has_stale_and_the_fetch_goes_on_and_is_stored() {
    let Stack { told, seen, mut service, .. } =
        stale(plain, |layer| layer.stale_if_error(MINUTE).soft_timeout(SECOND)).await;
    told.to(SLOW);
    let (read, took) = timed(call(&mut service, get("/"))).await;
    let read = read.unwrap();
    assert_eq!(took, SECOND);
    assert_eq!((read.text(), read.field("age")), ("answer 0", Some("62")));
    assert_eq!(read.cache_status(), "fwd=stale; detail=soft-timeout");
    assert_eq!(seen.count("StaleHit(SoftTimeout)"), 1);
    sleep(20 * SECOND).await;
    let read = call(&mut service, get("/")).await.unwrap();
    assert_eq!((read.text(), read.cache_status()), ("answer 1", "hit"));
    assert_eq!(told.calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_the_soft_timeout_the_fetch_goes_on_with_nobody_left_even_where_no_orphan_may() {
    let Stack { told, seen, cache, mut service } =
        stale(|cache| cache.orphans(0), |layer| layer.stale_if_error(MINUTE).soft_timeout(SECOND))
            .await;
    told.to(SLOW);
    let follower = asked(&service, get("/"));
    call(&mut service, get("/")).await.unwrap();
    follower.await.unwrap().unwrap();
    let figures = cache.figures();
    assert_eq!((figures.flights, figures.followers), (1, 0), "{figures:?}");
    sleep(20 * SECOND).await;
    assert_eq!((seen.count("OrphanCancelled"), cache.figures().flights), (0, 0));
    let read = call(&mut service, get("/")).await.unwrap();
    assert_eq!((read.text(), read.cache_status()), ("answer 1", "hit"));
}

#[tokio::test(start_paused = true)]
async fn a_follower_has_stale_after_five_seconds_or_what_was_set_and_the_leader_waits() {
    let usual: fn(CacheBuilder) -> CacheBuilder = plain;
    let set: fn(CacheBuilder) -> CacheBuilder = |builder| builder.stale_after(2 * SECOND);
    for (build, patience) in [(usual, 5 * SECOND), (set, 2 * SECOND)] {
        let Stack { told, seen, mut service, .. } =
            stale(build, |layer| layer.stale_if_error(MINUTE)).await;
        told.to(SLOW);
        let leader = asked(&service, get("/"));
        sleep(SECOND).await;
        let (read, took) = timed(call(&mut service, get("/"))).await;
        let read = read.unwrap();
        assert_eq!(took, patience);
        assert_eq!(read.text(), "answer 0");
        assert_eq!(read.cache_status(), "fwd=stale; collapsed; detail=soft-timeout");
        assert_eq!(seen.count("StaleHit(SoftTimeout)"), 1);
        let (led, took) = timed(leader).await;
        assert_eq!(led.unwrap().unwrap().text(), "answer 1");
        assert_eq!(took, 19 * SECOND - patience);
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_has_stale_after_the_soft_timeout_where_that_is_shorter() {
    let Stack { told, mut service, .. } =
        stale(plain, |layer| layer.stale_if_error(MINUTE).soft_timeout(SECOND)).await;
    told.to(SLOW);
    let leader = asked(&service, get("/"));
    sleep(SECOND / 2).await;
    let (read, took) = timed(call(&mut service, get("/"))).await;
    assert_eq!((read.unwrap().text(), took), ("answer 0", SECOND));
    assert_eq!(leader.await.unwrap().unwrap().text(), "answer 0");
}

#[tokio::test(start_paused = true)]
async fn whoever_may_have_nothing_stale_waits_for_a_slow_origin() {
    let nothing: fn(CacheLayer) -> CacheLayer = |layer| layer.soft_timeout(SECOND);
    let too_old: fn(CacheLayer) -> CacheLayer =
        |layer| layer.soft_timeout(SECOND).stale_if_error(SECOND / 2);
    for (set, seconds) in [(nothing, 0), (nothing, 61), (too_old, 61)] {
        let Stack { told, seen, mut service, .. } = cold(plain, set);
        if seconds > 0 {
            call(&mut service, get("/")).await.unwrap();
        }
        advance(seconds * SECOND).await;
        let calls = told.calls.count();
        told.to(SLOW);
        let follower = asked(&service, get("/"));
        let (read, took) = timed(call(&mut service, get("/"))).await;
        assert_eq!((read.unwrap().text(), took), (&*format!("answer {calls}"), 20 * SECOND));
        assert_eq!(follower.await.unwrap().unwrap().text(), format!("answer {calls}"));
        assert_eq!(seen.count("StaleHit(SoftTimeout)"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_fails_after_the_soft_timeout_is_remembered() {
    let Stack { told, seen, cache, mut service } =
        stale(plain, |layer| layer.stale_if_error(MINUTE).soft_timeout(SECOND)).await;
    told.to(Does::Slowly(5 * SECOND, 503, &[]));
    let read = call(&mut service, get("/")).await.unwrap();
    assert_eq!(read.cache_status(), "fwd=stale; detail=soft-timeout");
    assert_eq!(cache.figures().failing, 0);
    sleep(4 * SECOND + Duration::from_millis(1)).await;
    assert_eq!((cache.figures().failing, seen.waits().len()), (1, 1));
    let (read, took) = timed(call(&mut service, get("/"))).await;
    assert_eq!(read.unwrap().cache_status(), "hit; detail=stale-if-error");
    assert_eq!((told.calls.count(), took), (2, Duration::ZERO));
}

#[test]
fn a_refresh_that_is_aborted_with_its_runtime_is_followed_by_another_at_the_next_stale_hit() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Stack { told, cache, mut service, .. } =
        cold(plain, |layer| layer.stale_while_revalidate(MINUTE));
    const STALE: &str = "hit; detail=stale-while-revalidate";
    let first = runtime();
    first.block_on(async {
        call(&mut service, get("/")).await.unwrap();
        cache.invalidator().invalidate(&Invalidation::everything().soft()).await;
        told.to(Does::Hangs);
        assert_eq!(call(&mut service, get("/")).await.unwrap().cache_status(), STALE);
        while told.calls.count() < 2 {
            yield_now().await;
        }
    });
    assert_eq!((cache.figures().flights, cache.figures().refreshes), (1, 1));
    drop(first);
    assert_eq!((cache.figures().flights, cache.figures().refreshes), (0, 0));
    told.to(GOOD);
    runtime().block_on(async {
        assert_eq!(call(&mut service, get("/")).await.unwrap().cache_status(), STALE);
        while cache.figures().refreshes > 0 {
            yield_now().await;
        }
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!((read.text(), read.cache_status()), ("answer 2", "hit"));
    });
}
