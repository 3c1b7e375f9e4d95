//! What a request demands holds for stale answers too: who gets none, and who gets a part.

use std::time::Duration;

use seawall::{Cache, CacheLayer, FetchError, cache::CacheService};
use tokio::time::{advance, sleep};
use tower::Layer;

use crate::{
    Does, GOOD, SECOND, Seen, Told, get, refused,
    support::{BoxedOrigin, Read, Req, asked, cache_builder, call, head, with},
    timed,
};

struct Stack {
    told: Told,
    seen: Seen,
    cache: Cache,
    service: CacheService<BoxedOrigin>,
}

/// One whose answer, of a lifetime of a minute, is 61 seconds old.
async fn stale(set: fn(CacheLayer) -> CacheLayer) -> Stack {
    let seen = Seen::default();
    let cache = cache_builder().observer(seen.clone()).build();
    let (told, inner) =
        Told::origin(Does::Answers(200, &[("cache-control", "max-age=60"), ("etag", "\"0\"")]));
    let mut service = set(CacheLayer::new(cache.clone())).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    advance(61 * SECOND).await;
    Stack { told, seen, cache, service }
}

const HOUR: Duration = Duration::from_secs(3_600);

/// What is 61 seconds old, and stale, is not for these.
fn demanding() -> [Req; 6] {
    let controls = ["no-cache", "max-age=0", "max-age=60", "min-fresh=1", "max-age=30, max-stale"];
    let [a, b, c, d, e] = controls.map(|control| with(get("/"), "cache-control", control));
    [a, b, c, d, e, with(get("/"), "pragma", "no-cache")]
}

impl Stack {
    fn assert_no_stale(&self, request: &str) {
        for stale in ["WhileRevalidate", "SoftTimeout", "IfError"] {
            assert_eq!(self.seen.count(&format!("StaleHit({stale})")), 0, "{request}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_demand_for_better_is_not_met_by_what_is_stale_while_it_is_revalidated() {
    for request in demanding() {
        let name = format!("{:?}", request.headers());
        let mut stack = stale(|layer| layer.stale_while_revalidate(HOUR)).await;
        stack.told.to(GOOD);
        let read = call(&mut stack.service, request).await.unwrap();
        assert_eq!((read.text(), stack.told.calls.count()), ("answer 1", 2), "{name}");
        stack.assert_no_stale(&name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_demand_for_better_is_not_met_by_what_is_stale_when_the_origin_fails() {
    for request in demanding() {
        let name = format!("{:?}", request.headers());
        let mut stack = stale(|layer| layer.stale_if_error(HOUR)).await;
        stack.told.to(Does::Slowly(SECOND, 503, &[]));
        let again = asked(&stack.service, with_fields_of(&request));
        let read = call(&mut stack.service, with_fields_of(&request)).await.unwrap();
        assert_eq!((read.status(), read.cache_status().contains("detail")), (503, false), "{name}");
        match again.await.unwrap() {
            Ok(read) => assert_eq!(read.status(), 503, "{name}"),
            Err(error) => assert!(FetchError::find(&*error).is_some(), "{name}: {error:?}"),
        }
        refused(call(&mut stack.service, request).await);
        stack.assert_no_stale(&name);
        assert_eq!(stack.cache.figures().failing, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_demand_for_better_is_not_met_by_what_is_stale_when_the_origin_is_slow() {
    for request in demanding() {
        let name = format!("{:?}", request.headers());
        let mut stack = stale(|layer| layer.stale_if_error(HOUR).soft_timeout(SECOND)).await;
        stack.told.to(Does::Slowly(20 * SECOND, 200, &[("cache-control", "max-age=60")]));
        let leader = asked(&stack.service, with_fields_of(&request));
        sleep(SECOND / 2).await;
        let (read, _) = timed(call(&mut stack.service, request)).await;
        assert_ne!(read.unwrap().text(), "answer 0", "{name}");
        assert_ne!(leader.await.unwrap().unwrap().text(), "answer 0", "{name}");
        stack.assert_no_stale(&name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_demand_for_better_is_not_met_by_what_is_stale_when_the_call_is_refused() {
    for request in demanding() {
        let name = format!("{:?}", request.headers());
        let mut stack = stale(|layer| layer.stale_if_error(HOUR)).await;
        stack.told.to(Does::Refuses);
        call(&mut stack.service, request).await.unwrap_err();
        stack.assert_no_stale(&name);
    }
}

#[tokio::test(start_paused = true)]
async fn what_forbids_to_be_given_stale_is_not_given() {
    for control in ["must-revalidate", "proxy-revalidate", "no-cache"] {
        let seen = Seen::default();
        let cache = cache_builder().observer(seen.clone()).build();
        let control = format!("max-age=60, {control}");
        let fields: &'static [_] =
            vec![("cache-control", &*control.leak()), ("etag", "\"0\"")].leak();
        let (told, inner) = Told::origin(Does::Answers(200, fields));
        let layer = CacheLayer::new(cache).stale_while_revalidate(HOUR).stale_if_error(HOUR);
        let mut service = layer.soft_timeout(SECOND).layer(inner);
        call(&mut service, get("/")).await.unwrap();
        advance(61 * SECOND).await;
        told.to(Does::Answers(503, &[]));
        assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 503, "{fields:?}");
        refused(call(&mut service, get("/")).await);
        assert_eq!(seen.count("StaleHit(IfError)"), 0, "{fields:?}");
    }
}

fn with_fields_of(request: &Req) -> Req {
    let mut copy = get("/");
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn assert_parts([whole, head, part, beyond, known]: [Read; 5], said: &str) {
    for read in [&whole, &head, &part, &beyond, &known] {
        assert!(read.cache_status().ends_with(said), "{}", read.cache_status());
    }
    assert_eq!((whole.status(), whole.text()), (200, "answer 0"));
    assert_eq!((head.status(), head.text()), (200, ""));
    assert_eq!((head.field("content-length"), head.field("age")), (Some("8"), Some("61")));
    assert_eq!((part.status(), part.text()), (206, "swer"));
    assert_eq!((part.field("content-range"), part.field("age")), (Some("bytes 2-5/8"), Some("61")));
    assert_eq!((beyond.status(), beyond.field("content-range")), (416, Some("bytes */8")));
    assert_eq!((known.status(), known.text()), (304, ""));
    assert_eq!((known.field("etag"), known.field("age")), (Some("\"0\""), Some("61")));
}

async fn parts(stack: &mut Stack) -> [Read; 5] {
    let requests = [
        get("/"),
        head("/"),
        with(get("/"), "range", "bytes=2-5"),
        with(get("/"), "range", "bytes=8-"),
        with(get("/"), "if-none-match", "\"0\""),
    ];
    let mut reads = Vec::new();
    for request in requests {
        reads.push(call(&mut stack.service, request).await.unwrap());
    }
    reads.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_has_its_portion_of_what_is_stale_while_it_is_revalidated() {
    let mut stack = stale(|layer| layer.stale_while_revalidate(HOUR)).await;
    stack.told.to(Does::Hangs);
    let reads = parts(&mut stack).await;
    assert_parts(reads, "hit; detail=stale-while-revalidate");
}

#[tokio::test(start_paused = true)]
async fn each_has_its_portion_of_what_is_stale_when_the_origin_fails_or_refuses() {
    // A 500 and a refusal are not remembered: every one of them asks.
    for (does, said) in [
        (Does::Answers(500, &[]), "fwd=stale; fwd-status=500; detail=stale-if-error"),
        (Does::Refuses, "hit; detail=stale-if-error"),
        (Does::Panics, "fwd=stale; detail=stale-if-error"),
    ] {
        let mut stack = stale(|layer| layer.stale_if_error(HOUR)).await;
        stack.told.to(does);
        let reads = parts(&mut stack).await;
        assert_parts(reads, said);
        assert_eq!(stack.told.calls.count(), 6, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_has_its_portion_of_what_is_stale_within_the_back_off() {
    let mut stack = stale(|layer| layer.stale_if_error(HOUR)).await;
    stack.told.to(Does::Answers(503, &[]));
    call(&mut stack.service, get("/")).await.unwrap();
    let reads = parts(&mut stack).await;
    assert_parts(reads, "hit; detail=stale-if-error");
    assert_eq!(stack.told.calls.count(), 2);
}
