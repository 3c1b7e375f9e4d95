//! What an order of two layers means: each line of the table in the docs.

use std::{future::pending, time::Duration};

use seawall::{
    BoxError, Cache, CacheLayer, CircuitBreakerLayer, CoalesceLayer, LoadShedLayer, Reason,
    Rejected,
    circuit_breaker::{Counts, State},
    observe::Event,
};
use tokio::time::{advance, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn, timeout::TimeoutLayer};

use super::{SECOND, journal, slow};
use crate::support::{
    BoxedOrigin, Calls, Read, Req, Res, answer, answer_status, at_once, cache, call, get, origin,
    read, store,
};

/// Good answers, but for paths that begin with `/bad`.
fn now_and_then() -> (Calls, BoxedOrigin) {
    origin(|_, request| async move {
        Ok(match request.uri().path() {
            path if path.starts_with("/bad") => answer_status(500, &[], "out of order"),
            "/strict" => answer(&[("cache-control", "max-age=10, must-revalidate")], "strict"),
            path => answer(&[("cache-control", "max-age=10")], path.to_owned()),
        })
    })
}

pub(super) fn refused(answer: Result<Read, BoxError>) -> Option<Reason> {
    Rejected::find(&*answer.err()?).map(Rejected::reason)
}

/// Holds a place of this layer for as long as what is returned lives.
pub(super) fn held(shed: &LoadShedLayer) -> impl Drop + use<> {
    struct Held<F>(#[allow(dead_code, reason = "it is held")] F);
    impl<F> Drop for Held<F> {
        fn drop(&mut self) {}
    }
    Held(shed.layer(service_fn(|_: Req| pending::<Result<Res, BoxError>>())).call(get("/held")))
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_under_a_cache_is_answered_from_it_where_that_is_allowed() {
    let breaker = CircuitBreakerLayer::new();
    let (calls, inner) = now_and_then();
    let cached = CacheLayer::new(cache()).stale_if_error(60 * SECOND);
    let mut service = (cached, breaker.clone()).layer(inner);
    for path in ["/page", "/strict"] {
        call(&mut service, get(path)).await.unwrap();
    }
    breaker.breaker().force_open();
    for path in ["/page", "/strict"] {
        assert_eq!(call(&mut service, get(path)).await.unwrap().cache_status(), "hit");
    }
    advance(11 * SECOND).await;
    let stale = call(&mut service, get("/page")).await.unwrap();
    assert!(stale.cache_status().contains("stale-if-error"), "{}", stale.cache_status());
    let strict = call(&mut service, get("/strict")).await;
    assert_eq!(refused(strict), Some(Reason::CircuitOpen));
    advance(60 * SECOND).await;
    let beyond = call(&mut service, get("/page")).await;
    assert_eq!(refused(beyond), Some(Reason::CircuitOpen));
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_over_a_cache_refuses_even_hits() {
    let breaker = CircuitBreakerLayer::new();
    let (_, inner) = now_and_then();
    let mut service = (breaker.clone(), CacheLayer::new(cache())).layer(inner);
    for _ in 0..2 {
        call(&mut service, get("/page")).await.unwrap();
    }
    breaker.breaker().force_open();
    assert_eq!(refused(call(&mut service, get("/page")).await), Some(Reason::CircuitOpen));
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_from_storage_is_no_success_to_a_breaker_above() {
    let layer = CircuitBreakerLayer::new();
    let breaker = layer.breaker();
    let (_, inner) = now_and_then();
    let cached = CacheLayer::new(cache()).stale_while_revalidate(60 * SECOND);
    let mut service = (layer, cached).layer(inner);
    for _ in 0..100 {
        call(&mut service, get("/page")).await.unwrap();
    }
    for n in 0..18 {
        call(&mut service, get(&format!("/bad/{n}"))).await.unwrap();
    }
    assert_eq!(breaker.counts(), Counts { calls: 19, failures: 18, slow: 0 });
    assert_eq!(breaker.state(), State::Closed);
    call(&mut service, get("/bad/18")).await.unwrap();
    assert_eq!(breaker.state(), State::Open);
    // Nor does it close it.
    sleep(Duration::from_millis(1_300)).await;
    for _ in 0..5 {
        call(&mut service, get("/page")).await.unwrap();
    }
    assert_eq!((breaker.state(), breaker.probes()), (State::HalfOpen, 0));
    for n in 0..3 {
        call(&mut service, get(&format!("/{n}"))).await.unwrap();
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn hits_cost_no_place_of_a_shedder_below_and_what_is_shed_is_answered_stale() {
    let shed = LoadShedLayer::fixed(1);
    let (calls, inner) = now_and_then();
    let cached = CacheLayer::new(cache()).stale_if_error(60 * SECOND);
    let mut service = (cached, shed.clone()).layer(inner);
    for path in ["/page", "/strict"] {
        call(&mut service, get(path)).await.unwrap();
    }
    let _held = held(&shed);
    for hit in at_once(&service, (0..100).map(|_| get("/page"))).await {
        assert_eq!(hit.unwrap().cache_status(), "hit");
    }
    assert_eq!(refused(call(&mut service, get("/cold")).await), Some(Reason::Shed));
    advance(11 * SECOND).await;
    let stale = call(&mut service, get("/page")).await.unwrap();
    assert!(stale.cache_status().contains("stale-if-error"), "{}", stale.cache_status());
    assert_eq!(refused(call(&mut service, get("/strict")).await), Some(Reason::Shed));
    assert_eq!((calls.count(), shed.gauge().in_flight()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn hits_take_places_of_a_shedder_above_for_as_long_as_their_clients_read() {
    let shed = LoadShedLayer::fixed(1);
    let (_, inner) = now_and_then();
    let mut service = (shed.clone(), CacheLayer::new(cache())).layer(inner);
    call(&mut service, get("/page")).await.unwrap();
    let unread = service.call(get("/page")).await.unwrap();
    assert_eq!(unread.headers()["cache-status"], "seawall; hit");
    assert_eq!(shed.gauge().in_flight(), 1);
    assert_eq!(refused(call(&mut service, get("/page")).await), Some(Reason::Shed));
    assert_eq!(read(unread).await.unwrap().text(), "/page");
    assert_eq!(shed.gauge().in_flight(), 0);
    call(&mut service, get("/page")).await.unwrap();
}

/// The callers of one failed call, as a breaker and a shedder see them: calls, failures, in flight.
async fn counted(coalesce_outside: bool) -> (Counts, usize) {
    let breaker = CircuitBreakerLayer::new().failure_rate(1.0, 1_000);
    let shed = LoadShedLayer::default();
    let gauge = shed.gauge();
    let (calls, inner) = origin(move |_, _| {
        let gauge = gauge.clone();
        async move {
            sleep(SECOND).await;
            Err::<Res, BoxError>(gauge.in_flight().to_string().into())
        }
    });
    let (inside, layer) = ((breaker.clone(), shed), CoalesceLayer::new());
    let answers = match coalesce_outside {
        true => at_once(&(layer, inside).layer(inner), (0..100).map(|_| get("/"))).await,
        false => at_once(&(inside, layer).layer(inner), (0..100).map(|_| get("/"))).await,
    };
    assert_eq!(calls.count(), 1);
    let in_flight = answers.into_iter().map(|answer| {
        let error = answer.unwrap_err();
        error.source().unwrap().to_string().parse().unwrap()
    });
    (breaker.breaker().counts(), in_flight.max().unwrap())
}

#[tokio::test(start_paused = true)]
async fn one_call_of_many_callers_is_one_to_a_breaker_or_shedder_below_and_each_counts_above() {
    assert_eq!(counted(true).await, (Counts { calls: 1, failures: 1, slow: 0 }, 1));
    assert_eq!(counted(false).await, (Counts { calls: 100, failures: 100, slow: 0 }, 100));
}

#[tokio::test(start_paused = true)]
async fn of_a_cache_and_coalescing_the_inner_one_finds_nothing_to_join() {
    let _journal = journal().await;
    let followed = [Calls::default(), Calls::default()];
    let [by_cache, by_coalesce] = followed.clone().map(|calls| {
        move |event: &Event<'_>| {
            if matches!(event, Event::Followed) {
                calls.add();
            }
        }
    });
    let cached = CacheLayer::new(Cache::builder(store()).observer(by_cache).build());
    let coalesce = CoalesceLayer::bounded(|bounds| bounds.observer(by_coalesce));
    let (calls, inner) = slow("max-age=600");
    let outside = (cached.clone(), coalesce.clone()).layer(inner.clone());
    at_once(&outside, (0..100).map(|_| get("/a"))).await;
    assert_eq!(followed.each_ref().map(Calls::count), [99, 0]);
    at_once(&(coalesce, cached).layer(inner), (0..100).map(|_| get("/b"))).await;
    assert_eq!(followed.each_ref().map(Calls::count), [99, 99]);
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_under_a_breaker_is_a_failure() {
    let layer = CircuitBreakerLayer::new();
    let stuck = service_fn(|_: Req| pending::<Result<Res, BoxError>>());
    let service = (layer.clone(), TimeoutLayer::new(SECOND)).layer(stuck);
    for answer in at_once(&service, (0..20).map(|_| get("/"))).await {
        assert!(answer.unwrap_err().is::<tower::timeout::error::Elapsed>());
    }
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_over_a_breaker_says_nothing_unless_the_breaker_is_told_to_heed_it() {
    let told = |millis| CircuitBreakerLayer::new().abandoned_after(Duration::from_millis(millis));
    for (layer, state) in [
        (CircuitBreakerLayer::new(), State::Closed),
        (told(900), State::Open),
        (told(1_100), State::Closed),
    ] {
        let stuck = service_fn(|_: Req| pending::<Result<Res, BoxError>>());
        let service = (TimeoutLayer::new(SECOND), layer.clone()).layer(stuck);
        for answer in at_once(&service, (0..20).map(|_| get("/"))).await {
            assert!(answer.unwrap_err().is::<tower::timeout::error::Elapsed>());
        }
        assert_eq!(layer.breaker().state(), state);
        let expected = if state == State::Closed { 0 } else { 20 };
        assert!(layer.breaker().counts().calls <= expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_over_a_cache_lets_the_fetch_go_on_and_the_next_caller_finds_its_answer() {
    let (calls, inner) = origin(|_, _| async {
        sleep(2 * SECOND).await;
        Ok(answer(&[("cache-control", "max-age=600")], "slow"))
    });
    let service = (TimeoutLayer::new(SECOND), CacheLayer::new(cache())).layer(inner);
    let error = service.clone().oneshot(get("/")).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
    sleep(SECOND + SECOND / 2).await;
    let next = timeout(SECOND, service.oneshot(get("/"))).await.unwrap().unwrap();
    let next = read(next).await.unwrap();
    assert_eq!((next.text(), next.cache_status(), calls.count()), ("slow", "hit", 1));
}
