//! Hard and soft, one after the other; what is validated, and what is fetched anew.

use std::time::Duration;

use seawall::{CacheLayer, Invalidation, StaleWhileRevalidateLayer, cache::CacheService};
use tokio::time::advance;
use tower::Layer;

use crate::{
    gated::{Gate, Gated, settled, tag_of},
    support::{BoxedOrigin, Read, Req, asked, cache, get, with},
};

const SECOND: Duration = Duration::from_secs(1);

type Service = CacheService<BoxedOrigin<Gated>>;

/// Asks, and lets the origin answer; whether it was asked to validate, where it was asked at all.
async fn ask(service: &Service, gate: &Gate, request: Req) -> (Read, Option<bool>) {
    let caller = asked(service, request);
    settled().await;
    let conditional = gate.state().pending.first().map(|pending| pending.conditional);
    gate.finish();
    (caller.await.unwrap().unwrap(), conditional)
}

#[tokio::test(start_paused = true)]
async fn what_was_invalidated_hard_is_fetched_anew_whatever_is_invalidated_softly_later() {
    for order in [&[true][..], &[true, false], &[false, true], &[false, true, false]] {
        let (gate, cache) = (Gate::default(), cache());
        let layer = StaleWhileRevalidateLayer::new(cache.clone(), 60 * SECOND);
        let service = layer.stale_if_error(60 * SECOND).layer(gate.origin());
        ask(&service, &gate, get("/")).await;
        gate.change("/", false);
        for &hard in order {
            let tag = Invalidation::tag(tag_of("/"));
            cache.invalidator().invalidate(&if hard { tag } else { tag.soft() }).await;
        }
        let (read, conditional) = ask(&service, &gate, get("/")).await;
        assert_eq!((read.text(), conditional), ("1 1", Some(false)), "{order:?}");
        assert_eq!(read.cache_status(), "fwd=uri-miss; fwd-status=200; stored", "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_invalidated_hard_is_not_given_when_the_origin_fails() {
    for hard in [true, false] {
        let (gate, cache) = (Gate::default(), cache());
        let layer = CacheLayer::new(cache.clone()).stale_if_error(60 * SECOND);
        let service = layer.layer(gate.origin());
        ask(&service, &gate, get("/")).await;
        let tag = Invalidation::tag(tag_of("/"));
        cache.invalidator().invalidate(&if hard { tag } else { tag.soft() }).await;
        let caller = asked(&service, get("/"));
        settled().await;
        gate.fail(0);
        match caller.await.unwrap() {
            Ok(read) => assert!(!hard && read.cache_status().contains("detail=stale-if-error")),
            Err(_) => assert!(hard, "a soft one may be given"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_invalidated_softly_is_validated_and_then_fresh_again() {
    let (gate, cache) = (Gate::default(), cache());
    let service = CacheLayer::new(cache.clone()).layer(gate.origin());
    ask(&service, &gate, get("/")).await;
    cache.invalidator().invalidate(&Invalidation::tag(tag_of("/")).soft()).await;
    let (read, conditional) = ask(&service, &gate, get("/")).await;
    assert_eq!((read.text(), conditional), ("0 0", Some(true)));
    assert_eq!(read.cache_status(), "fwd=stale; fwd-status=304");
    // The 304 gave the entry the fence of its own fetch.
    assert_eq!(ask(&service, &gate, get("/")).await.0.cache_status(), "hit");
    assert_eq!(gate.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_invalidated_softly_is_no_answer_for_one_who_does_not_want_to_wait_for_more() {
    let (gate, cache) = (Gate::default(), cache());
    let service = CacheLayer::new(cache.clone()).layer(gate.origin());
    ask(&service, &gate, get("/")).await;
    cache.invalidator().invalidate(&Invalidation::everything().soft()).await;
    let only = with(get("/"), "cache-control", "only-if-cached");
    assert!(asked(&service, only).await.unwrap().is_err());
    assert_eq!(gate.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_304_for_what_was_invalidated_meanwhile_is_for_those_who_came_before() {
    let (gate, cache) = (Gate::default(), cache());
    let service = CacheLayer::new(cache.clone()).layer(gate.origin());
    ask(&service, &gate, get("/")).await;
    advance(11 * SECOND).await;
    let validating = asked(&service, get("/"));
    settled().await;
    assert!(gate.state().pending[0].conditional);
    gate.change("/", false);
    cache.invalidator().invalidate(&Invalidation::tag(tag_of("/"))).await;
    gate.finish();
    assert_eq!(validating.await.unwrap().unwrap().text(), "0 0");
    settled().await;
    let (read, conditional) = ask(&service, &gate, get("/")).await;
    assert_eq!((read.text(), conditional), ("1 1", Some(false)));
    assert_eq!(ask(&service, &gate, get("/")).await.0.cache_status(), "hit");
    assert_eq!(gate.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_validated_is_still_invalidated_by_the_tags_it_was_stored_with() {
    for control in ["max-age=10", "max-age=10, private=\"surrogate-key\""] {
        let gate = Gate::default();
        gate.state().answers.control = control;
        let cache = cache();
        let service = CacheLayer::new(cache.clone()).layer(gate.origin());
        ask(&service, &gate, get("/")).await;
        advance(11 * SECOND).await;
        gate.state().answers.says_tags = false;
        let (read, _) = ask(&service, &gate, get("/")).await;
        assert_eq!(read.cache_status(), "fwd=stale; fwd-status=304", "{control}");
        gate.state().answers.says_tags = true;
        gate.change("/", true);
        cache.invalidator().invalidate(&Invalidation::tag(tag_of("/"))).await;
        let (read, _) = ask(&service, &gate, get("/")).await;
        assert_eq!(read.text(), "1 1", "{control}");
    }
}
