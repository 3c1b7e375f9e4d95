//! What a limit learns from: what the origin did, told at its head, and nothing else.

use seawall::{
    BoxError, CacheLayer, CircuitBreakerLayer, LoadShedLayer, RespondLayer,
    load_shed::limit::{Outcome, Sample},
    marks::Refresh,
};
use tokio::time::{advance, sleep, timeout};
use tower::{Layer, ServiceExt};

use crate::{
    SECOND, Told, millis,
    support::{
        Calls, Req, Res, answer, answer_status, asked,
        bodies::{Step, Steps},
        boxed, cache, call, get, head, origin, read, streamed, with,
    },
};

/// A limit that keeps what it is told, and a layer with it.
fn told(limit: usize) -> (Told, LoadShedLayer) {
    let told = Told::new(limit);
    (told.clone(), LoadShedLayer::new(told))
}

fn outcomes(told: &Told) -> Vec<Outcome> {
    told.samples().iter().map(|sample| sample.outcome).collect()
}

#[tokio::test(start_paused = true)]
async fn misses_of_a_cache_below_are_samples_and_its_hits_and_stale_answers_are_none() {
    let (calls, inner) = origin(|call, _| async move {
        sleep(millis(20)).await;
        match call {
            0 => Ok(answer(&[("cache-control", "max-age=10, stale-if-error=600")], "body")),
            _ => Err::<Res, BoxError>("connection refused".into()),
        }
    });
    let (told, layer) = told(100);
    let mut service = (layer, CacheLayer::new(cache())).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    let miss = Sample { latency: millis(20), in_flight: 1, outcome: Outcome::Success };
    assert_eq!(told.samples(), [miss]);
    for _ in 0..10 {
        assert_eq!(call(&mut service, get("/")).await.unwrap().cache_status(), "hit");
    }
    assert_eq!(call(&mut service, head("/")).await.unwrap().cache_status(), "hit");
    assert_eq!(
        call(&mut service, with(get("/"), "range", "bytes=0-1")).await.unwrap().status(),
        206
    );
    assert_eq!(told.samples().len(), 1, "hits");
    advance(11 * SECOND).await;
    for _ in 0..10 {
        let stale = call(&mut service, get("/")).await.unwrap();
        assert!(stale.cache_status().contains("stale-if-error"), "{stale:?}");
    }
    assert!(calls.count() > 1);
    assert_eq!(told.samples().len(), 1, "stale answers");
    call(&mut service, get("/other")).await.unwrap_err();
    assert_eq!(outcomes(&told)[1..], [Outcome::Failure], "the origin's failure");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_stale_while_it_is_fetched_anew_is_no_sample() {
    let (calls, inner) =
        origin(|_, _| async { Ok(answer(&[("cache-control", "max-age=10")], "body")) });
    let (told, layer) = told(100);
    let cached = CacheLayer::new(cache()).stale_while_revalidate(600 * SECOND);
    let mut service = (layer, cached).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    for asked in 2..6 {
        advance(11 * SECOND).await;
        let stale = call(&mut service, get("/")).await.unwrap();
        assert_eq!(stale.cache_status(), "hit; detail=stale-while-revalidate");
        sleep(millis(1)).await;
        assert_eq!(calls.count(), asked, "it was fetched behind the answer");
    }
    assert_eq!(told.samples().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_cache_below_has_validated_for_a_cache_above_is_a_sample() {
    let (_, inner) = origin(|_, _| async {
        sleep(millis(30)).await;
        Ok(answer(&[("cache-control", "max-age=10")], "body"))
    });
    let (told, layer) = told(100);
    let mut service = (layer, CacheLayer::new(cache())).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    let mut refresh = get("/");
    refresh.extensions_mut().insert(Refresh);
    call(&mut service, refresh).await.unwrap();
    assert_eq!(outcomes(&told), [Outcome::Success; 2]);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_a_breaker_below_are_no_samples_as_errors_or_as_answers() {
    let (calls, inner) = origin(|_, _| async { Ok(answer_status(500, &[], "")) });
    let breaker = CircuitBreakerLayer::new();
    let (told, layer) = told(100);
    let mut plain = (layer.clone(), breaker.clone()).layer(inner.clone());
    let mut answered = (layer, RespondLayer::new(), breaker.clone()).layer(inner);
    for _ in 0..20 {
        call(&mut plain, get("/")).await.unwrap();
    }
    assert_eq!(outcomes(&told), [Outcome::Failure; 20]);
    for _ in 0..50 {
        call(&mut plain, get("/")).await.unwrap_err();
        assert_eq!(call(&mut answered, get("/")).await.unwrap().status(), 503);
    }
    assert_eq!((calls.count(), told.samples().len()), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn its_own_refusals_are_no_samples() {
    let (_, inner) = origin(|_, _| async { Ok(answer(&[], "body")) });
    let (told, layer) = told(1);
    let service = layer.layer(inner);
    let _held = crate::hold(&service, get("/")).await.unwrap();
    for _ in 0..50 {
        assert!(crate::hold(&service, get("/")).await.is_err());
    }
    assert_eq!(told.samples().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sample_is_taken_once_at_the_head_with_the_latency_and_the_load_of_that() {
    let (_, inner) = origin(|_, _| async {
        sleep(millis(40)).await;
        let slow = [Step::Wait(60 * SECOND), Step::Data("x".into()), Step::Fail];
        Ok(streamed(&[], Steps::new(slow)))
    });
    let (told, layer) = told(100);
    let service = layer.layer(inner);
    let first = service.clone().oneshot(get("/")).await.unwrap();
    let second = service.clone().oneshot(get("/")).await.unwrap();
    let at = |in_flight| Sample { latency: millis(40), in_flight, outcome: Outcome::Success };
    assert_eq!(told.samples(), [at(1), at(2)]);
    read(first).await.unwrap_err();
    drop(second);
    assert_eq!(told.samples().len(), 2);
    assert_eq!(layer.gauge().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_is_a_sample_of_as_long_as_it_waited_and_none_after_the_head() {
    let (_, inner) = origin(|_, request| async move {
        if request.uri().path() == "/hangs" {
            std::future::pending::<()>().await;
        }
        Ok(answer(&[], "body"))
    });
    let (told, layer) = told(100);
    let service = layer.layer(inner);
    let leaves = timeout(millis(300), service.clone().oneshot(get("/hangs"))).await;
    assert!(leaves.is_err());
    let left = Sample { latency: millis(300), in_flight: 1, outcome: Outcome::Abandoned };
    assert_eq!(told.samples(), [left]);
    drop(service.clone().oneshot(get("/")).await.unwrap());
    assert_eq!(outcomes(&told), [Outcome::Abandoned, Outcome::Success]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_the_inner_service_to_be_ready_waits_for_the_origin() {
    let (_, inner) = origin(|_, _| async {
        sleep(SECOND).await;
        Ok(answer(&[], ""))
    });
    let (told, layer) = told(100);
    let service = layer.layer(tower::limit::ConcurrencyLimit::new(inner, 1));
    let both = [asked(&service, get("/")), asked(&service, get("/"))];
    for one in both {
        one.await.unwrap().unwrap();
    }
    let latencies: Vec<_> = told.samples().iter().map(|sample| sample.latency).collect();
    assert_eq!(latencies, [SECOND, 2 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_every_answer_is_a_sample_whoever_it_comes_from() {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = tower::service_fn(move |_: Req| {
        let status = if counted.add() % 2 == 0 { 200 } else { 404 };
        async move { Ok::<_, BoxError>(answer_status(status, &[], "").map(boxed)) }
    });
    let (told, layer) = told(100);
    let mut service = layer.layer(inner);
    for _ in 0..10 {
        call(&mut service, get("/")).await.unwrap();
    }
    assert_eq!((outcomes(&told), calls.count()), (vec![Outcome::Success; 10], 10));
}
