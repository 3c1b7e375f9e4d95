//! A breaker below a cache, and beside a shedder: who is answered while it is open.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use seawall::{CacheLayer, CircuitBreakerLayer, LoadShedLayer, Reason, circuit_breaker::State};
use tokio::time::advance;
use tower::Layer;

use crate::{
    SECOND, millis, reason,
    support::{BoxedOrigin, Calls, answer, answer_status, at_once, cache, call, get, origin},
    wait,
};

/// An origin that fails while it is told to.
fn inner() -> (Calls, BoxedOrigin, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&fails);
    let (calls, inner) = origin(move |call, _| {
        let fails = told.load(SeqCst);
        async move {
            let control = [("cache-control", "max-age=10, stale-if-error=600")];
            match fails {
                true => Ok(answer_status(500, &[], "out of order")),
                false => Ok(answer(&control, format!("answer {call}"))),
            }
        }
    });
    (calls, inner, fails)
}

#[tokio::test(start_paused = true)]
async fn while_it_is_open_a_cache_above_answers_with_what_it_has_and_heals_by_itself() {
    let (calls, inner, fails) = inner();
    let layer = CircuitBreakerLayer::new();
    let cache = cache();
    let mut service = (CacheLayer::new(cache.clone()), layer.clone()).layer(inner);
    call(&mut service, get("/stale")).await.unwrap();
    advance(11 * SECOND).await;
    call(&mut service, get("/fresh")).await.unwrap();
    fails.store(true, SeqCst);
    for n in 0..19 {
        call(&mut service, get(&format!("/{n}"))).await.unwrap();
    }
    assert_eq!(layer.breaker().state(), State::Open);
    let asked = calls.count();
    for (path, said) in [("/fresh", "hit"), ("/stale", "detail=stale-if-error")] {
        for answered in at_once(&service, (0..50).map(|_| get(path))).await {
            let answered = answered.unwrap();
            assert_eq!(answered.status(), 200);
            assert!(answered.cache_status().contains(said), "{answered:?}");
        }
    }
    for answered in at_once(&service, (0..50).map(|n| get(&format!("/cold/{n}")))).await {
        let error = answered.unwrap_err();
        assert_eq!(reason(&error), Some(Reason::CircuitOpen));
        assert!(wait(&error) <= millis(1_200));
    }
    assert_eq!(calls.count(), asked, "the origin was left alone");

    fails.store(false, SeqCst);
    advance(2 * SECOND).await;
    // No back-off of a key stands in the way of the probes.
    for n in 0..3 {
        assert_eq!(call(&mut service, get(&format!("/cold/{n}"))).await.unwrap().status(), 200);
    }
    assert_eq!(layer.breaker().state(), State::Closed);
    assert!(call(&mut service, get("/stale")).await.unwrap().text() != "answer 0");
    assert_eq!(cache.figures().failing, 0);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_below_a_shedder_takes_none_of_its_places() {
    let (_, inner, fails) = inner();
    let (shed, layer) = (LoadShedLayer::fixed(1), CircuitBreakerLayer::new());
    let mut service = (shed.clone(), layer.clone()).layer(inner);
    fails.store(true, SeqCst);
    for _ in 0..20 {
        call(&mut service, get("/")).await.unwrap();
    }
    for _ in 0..50 {
        let error = call(&mut service, get("/")).await.unwrap_err();
        assert_eq!(reason(&error), Some(Reason::CircuitOpen));
        assert_eq!(shed.gauge().in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_of_a_shedder_below_do_not_open_a_breaker() {
    let (calls, inner, _) = inner();
    let (layer, shed) = (CircuitBreakerLayer::new(), LoadShedLayer::fixed(1));
    let mut service = (layer.clone(), shed.clone()).layer(inner.clone());
    let held = crate::hold(&shed.layer(inner), get("/")).await.unwrap();
    for _ in 0..200 {
        let error = call(&mut service, get("/")).await.unwrap_err();
        assert_eq!(reason(&error), Some(Reason::Shed));
    }
    let counts = layer.breaker().counts();
    assert_eq!((layer.breaker().state(), counts.calls, counts.failures), (State::Closed, 0, 0));
    drop(held);
    assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 200);
    assert_eq!(calls.count(), 2);
}
