//! A breaker outside of a cache, and one below it: what is an answer of the origin, and what is not.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use seawall::{
    CacheLayer, CircuitBreakerLayer, CoalesceLayer, Reason, Rejected, StaleWhileRevalidateLayer,
    circuit_breaker::{Counts, State},
};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};

use crate::{
    acts::{refusal, times, told},
    millis, seconds,
    support::{BoxedOrigin, Calls, answer, answer_status, at_once, cache, call, get, origin, with},
    waits::half_open,
};

/// Good for a second, and stale for long where it fails; from this call on it fails, and says so.
fn failing_from(first: usize, said: &'static str) -> (Calls, BoxedOrigin) {
    origin(move |number, _| async move {
        let fields = &[("cache-control", "max-age=1, stale-if-error=600"), ("etag", "\"a\"")];
        let status = if number >= first { 503 } else { 200 };
        Ok(if status == 200 { answer(fields, "good") } else { answer_status(status, &[], said) })
    })
}

fn counts(calls: u64, failures: u64) -> Counts {
    Counts { calls, failures, slow: 0 }
}

#[tokio::test(start_paused = true)]
async fn hits_of_a_cache_below_are_not_successes_and_origin_answers_are() {
    let layer = CircuitBreakerLayer::new();
    let (calls, inner) = failing_from(usize::MAX, "");
    let mut service = (layer.clone(), CacheLayer::new(cache())).layer(inner);
    for _ in 0..50 {
        call(&mut service, get("/")).await.unwrap();
    }
    assert_eq!((calls.count(), layer.breaker().counts()), (1, counts(1, 0)));
    for path in ["/a", "/b", "/c"] {
        call(&mut service, get(path)).await.unwrap();
    }
    assert_eq!((calls.count(), layer.breaker().counts()), (4, counts(4, 0)));
}

#[tokio::test(start_paused = true)]
async fn hits_of_a_cache_below_do_not_hide_that_the_origin_fails() {
    let layer = CircuitBreakerLayer::new();
    let (_, inner) = origin(|_, request| async move {
        Ok(match request.uri().path() {
            "/stored" => answer(&[("cache-control", "max-age=600")], "said"),
            _ => answer_status(500, &[("cache-control", "no-store")], "failed"),
        })
    });
    let mut service = (layer.clone(), CacheLayer::new(cache())).layer(inner);
    call(&mut service, get("/stored")).await.unwrap();
    for number in 1..20 {
        for _ in 0..10 {
            call(&mut service, get("/stored")).await.unwrap();
        }
        assert_eq!(layer.breaker().counts(), counts(number, number - 1));
        // Another each time: what has failed a moment ago is not asked for again.
        let failed = call(&mut service, get(&format!("/{number}"))).await.unwrap();
        assert_eq!(failed.status(), 500);
    }
    // One success of the origin, and nineteen failures.
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn stale_answers_of_a_cache_below_are_neither_successes_nor_failures() {
    let layer = CircuitBreakerLayer::new();
    let (calls, inner) = failing_from(1, "bad");
    let mut service = (layer.clone(), CacheLayer::new(cache())).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    let before = layer.breaker().counts();
    for _ in 0..50 {
        sleep(seconds(2)).await;
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!((read.status(), read.text()), (200, "good"));
    }
    assert!(calls.count() > 2);
    assert_eq!((before, layer.breaker().counts()), (counts(1, 0), counts(0, 0)));

    let layer = CircuitBreakerLayer::new();
    let (calls, inner) = failing_from(usize::MAX, "");
    let revalidating = StaleWhileRevalidateLayer::new(cache(), seconds(60));
    let mut service = (layer.clone(), revalidating).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    sleep(seconds(2)).await;
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "good");
    sleep(millis(10)).await;
    assert_eq!((calls.count(), layer.breaker().counts()), (2, counts(1, 0)));
}

#[tokio::test(start_paused = true)]
async fn refusals_of_a_cache_below_are_neither_successes_nor_failures() {
    let layer = CircuitBreakerLayer::new();
    let (calls, inner) = told();
    let mut service = (layer.clone(), CacheLayer::new(cache())).layer(inner);
    for _ in 0..50 {
        let request = with(get("/200"), "cache-control", "only-if-cached");
        let error = call(&mut service, request).await.unwrap_err();
        assert_eq!(Rejected::find(&*error).unwrap().reason(), Reason::OnlyIfCached);
    }
    assert_eq!((calls.count(), layer.breaker().counts()), (0, counts(0, 0)));
    call(&mut service, get("/error")).await.unwrap_err();
    assert_eq!((calls.count(), layer.breaker().counts()), (1, counts(1, 1)));
    for _ in 0..50 {
        let error = call(&mut service, get("/error")).await.unwrap_err();
        assert_eq!(Rejected::find(&*error).unwrap().reason(), Reason::Failing);
    }
    assert_eq!((calls.count(), layer.breaker().counts()), (1, counts(1, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_hit_is_no_good_probe() {
    let layer = CircuitBreakerLayer::new();
    let (_, inner) = failing_from(usize::MAX, "");
    let mut service = (layer.clone(), CacheLayer::new(cache())).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    half_open(&layer.breaker());
    for _ in 0..10 {
        call(&mut service, get("/")).await.unwrap();
        assert_eq!((layer.breaker().state(), layer.breaker().probes()), (State::HalfOpen, 0));
    }
    for path in ["/a", "/b", "/c"] {
        call(&mut service, get(path)).await.unwrap();
    }
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn calls_that_a_layer_below_makes_one_of_are_answers_of_the_origin() {
    let layer = CircuitBreakerLayer::new();
    let (calls, inner) = told();
    let service = (layer.clone(), CoalesceLayer::new()).layer(inner);
    for answer in at_once(&service, (0..10).map(|_| get("/after/10/200"))).await {
        answer.unwrap();
    }
    assert_eq!((calls.count(), layer.breaker().counts().failures), (1, 0));
    assert!(layer.breaker().counts().calls >= 1);
}

/// The order that is advised: cache, breaker, origin.
#[tokio::test(start_paused = true)]
async fn below_a_cache_it_opens_though_the_cache_gives_stale_answers_instead() {
    for said in ["", "bad"] {
        let layer = CircuitBreakerLayer::new();
        let (calls, inner) = failing_from(20, said);
        let mut service = (CacheLayer::new(cache()), layer.clone()).layer(inner);
        let path = |number: usize| format!("/{number}");
        for number in 0..20 {
            call(&mut service, get(&path(number))).await.unwrap();
        }
        sleep(seconds(12)).await;
        for number in 0..20 {
            let read = call(&mut service, get(&path(number))).await.unwrap();
            assert_eq!((read.status(), read.text()), (200, "good"));
        }
        assert_eq!((calls.count(), layer.breaker().state()), (40, State::Open), "{said:?}");
        // Its refusals are answered from storage as well, and nobody asks the origin.
        for number in 0..20 {
            assert_eq!(call(&mut service, get(&path(number))).await.unwrap().status(), 200);
        }
        assert_eq!(calls.count(), 40);
        let refused = service.oneshot(get("/never-stored")).await;
        assert!(refusal(&refused).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn below_a_cache_a_client_that_leaves_costs_no_probe_its_place() {
    let layer = CircuitBreakerLayer::new().probes(1);
    let (_, inner) = origin(|_, _| async {
        sleep(millis(50)).await;
        Ok(answer(&[("cache-control", "max-age=600")], "said"))
    });
    let service = (CacheLayer::new(cache()), layer.clone()).layer(inner);
    half_open(&layer.breaker());
    let left = tokio::time::timeout(millis(10), service.clone().oneshot(get("/"))).await;
    assert!(left.is_err());
    // The fetch goes on without its caller, and its answer counts.
    sleep(Duration::from_secs(1)).await;
    assert_eq!((layer.breaker().state(), layer.breaker().probes()), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_below_every_answer_is_the_origins() {
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(told().1);
    times(5, &mut service, "/200").await;
    // Whatever another cache, out of this process, says of it.
    let (_, inner) = origin(|_, _| async { Ok(answer(&[("age", "60")], "said")) });
    let response = layer.layer(inner).oneshot(get("/")).await.unwrap();
    let body: Full<bytes::Bytes> = response.into_body().collect().await.unwrap().to_bytes().into();
    drop(body);
    assert_eq!(layer.breaker().counts(), counts(6, 0));
}
