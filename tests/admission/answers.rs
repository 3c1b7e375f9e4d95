//! What a cache says and does where a layer below refused: that nothing went forward.

use bytes::Bytes;
use http::Response;
use seawall::{
    CacheLayer, CircuitBreakerLayer, LoadShedLayer, RespondLayer, StaleWhileRevalidateLayer,
    load_shed::Rate,
};
use tokio::time::advance;
use tower::Layer;

use crate::{
    SECOND, held,
    support::{BoxedOrigin, Calls, Req, answer, at_once, cache, call, get, origin},
};

fn good() -> (Calls, BoxedOrigin) {
    origin(|call, _| async move {
        let control = "max-age=10, stale-if-error=600";
        Ok(answer(&[("cache-control", control)], format!("answer {call}")))
    })
}

/// Runs a piece of code with a service that can be told to refuse, for each way in which it does.
macro_rules! each_way_to_refuse {
    ($cached:expr, $inner:expr, |$way:ident, $service:ident, $refuse:ident| $run:block) => {{
        let breaker = CircuitBreakerLayer::new();
        let operator = breaker.breaker();
        let ($way, $refuse) = ("a breaker", || operator.force_open());
        let mut $service = ($cached, breaker.clone()).layer($inner);
        $run
        breaker.breaker().reset();
        let ($way, $refuse) = ("a breaker, as an answer", || operator.force_open());
        let mut $service = ($cached, RespondLayer::new(), breaker).layer($inner);
        $run
        let shed = LoadShedLayer::fixed(1);
        let place = std::cell::RefCell::new(None);
        let ($way, $refuse) = ("a shedder", || *place.borrow_mut() = Some(held(&shed)));
        let mut $service = ($cached, shed.clone()).layer($inner);
        $run
        place.borrow_mut().take();
        let ($way, $refuse) = ("a shedder, as an answer", || {
            *place.borrow_mut() = Some(held(&shed));
        });
        let mut $service = ($cached, RespondLayer::new(), shed.clone()).layer($inner);
        $run
        let quota = || LoadShedLayer::default().quota(Rate::per_minute(1), |_: &Req| Some("all"));
        let ($way, $refuse) = ("a quota", || ());
        let mut $service = ($cached, quota()).layer($inner);
        $run
        let ($way, $refuse) = ("a quota, as an answer", || ());
        let mut $service = ($cached, RespondLayer::new(), quota()).layer($inner);
        $run
    }};
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_because_of_a_refusal_is_a_hit_that_says_why() {
    each_way_to_refuse!(CacheLayer::new(cache()), good().1, |way, service, refuse| {
        call(&mut service, get("/")).await.unwrap();
        refuse();
        advance(11 * SECOND).await;
        // One who leads, those who follow, and one who comes later.
        let mut answers = at_once(&service, (0..5).map(|_| get("/"))).await;
        answers.push(call(&mut service, get("/")).await);
        for stale in answers {
            let stale = stale.unwrap_or_else(|error| panic!("{way}: {error}"));
            let said = (stale.status(), stale.text(), stale.cache_status());
            assert_eq!(said, (200, "answer 0", "hit; detail=stale-if-error"), "{way}");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_fallback_because_of_a_refusal_says_that_nothing_went_forward() {
    let cached = || {
        CacheLayer::new(cache())
            .fallback(|_| Some(Response::new(Bytes::from_static(b"back in a minute"))))
    };
    each_way_to_refuse!(cached(), good().1, |way, service, refuse| {
        call(&mut service, get("/first")).await.unwrap();
        refuse();
        let mut answers = at_once(&service, (0..5).map(|_| get("/"))).await;
        answers.push(call(&mut service, get("/")).await);
        for instead in answers {
            let instead = instead.unwrap_or_else(|error| panic!("{way}: {error}"));
            let said = (instead.text(), instead.cache_status());
            assert_eq!(said, ("back in a minute", "detail=fallback"), "{way}");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_with_an_answer_is_not_held_to_be_failing() {
    let (cache, shed) = (cache(), LoadShedLayer::fixed(1));
    let (calls, inner) = good();
    let layers = (CacheLayer::new(cache.clone()), RespondLayer::new(), shed.clone());
    let mut service = layers.layer(inner);
    let place = held(&shed);
    for _ in 0..5 {
        let refused = call(&mut service, get("/")).await.unwrap();
        assert_eq!(refused.status(), 503);
        assert!(refused.field("retry-after").is_some());
        assert_eq!((cache.figures().failing, cache.figures().records), (0, 0));
    }
    drop(place);
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "answer 0");
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_with_an_answer_in_a_refresh_leaves_the_entry_as_it_is() {
    let (cache, shed) = (cache(), LoadShedLayer::fixed(1));
    let (calls, inner) = good();
    let stale = StaleWhileRevalidateLayer::new(cache.clone(), 60 * SECOND);
    let mut service = (stale, RespondLayer::new(), shed.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    advance(11 * SECOND).await;
    let place = held(&shed);
    for _ in 0..5 {
        assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "answer 0");
        tokio::time::sleep(SECOND).await;
        assert_eq!((cache.figures().failing, cache.figures().refreshes), (0, 0));
    }
    drop(place);
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "answer 0");
    tokio::time::sleep(SECOND).await;
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "answer 1");
    assert_eq!(calls.count(), 2);
}
