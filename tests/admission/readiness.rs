//! Origins that are never ready: the wait for them has an end, and is a failure.

use std::time::Duration;

use http::Method;
use seawall::{
    BoxError, OriginShield, Reason, Rejected,
    admission::{Admission, ByError, Everyone},
    circuit_breaker::State,
};
use tokio::time::{Instant, sleep, timeout};
use tower::{
    Layer, ServiceBuilder, layer::layer_fn, limit::ConcurrencyLimitLayer, timeout::TimeoutLayer,
};

use crate::{
    SECOND, counts,
    support::{answer, asked, at_once, cache, call, get, origin},
};

#[tokio::test(start_paused = true)]
async fn a_shield_over_an_origin_that_is_never_ready_answers_504_and_opens() {
    for method in [Method::GET, Method::POST] {
        let (calls, inner) = origin(|_, _| async { Ok(answer(&[], "never")) });
        let shield = OriginShield::new(cache()).timeout(2 * SECOND);
        let service = shield.layer(ConcurrencyLimitLayer::new(0).layer(inner));
        let requests = (0..20).map(|n| {
            let mut request = get(&format!("/{n}"));
            *request.method_mut() = method.clone();
            request
        });
        let began = Instant::now();
        let answers = timeout(60 * SECOND, at_once(&service, requests)).await.expect("it hangs");
        let took = began.elapsed();
        assert!((2 * SECOND..3 * SECOND).contains(&took), "{method}: {took:?}");
        for answer in answers {
            assert_eq!(answer.unwrap().status(), 504, "{method}");
        }
        assert_eq!((calls.count(), shield.gauge().in_flight()), (0, 0), "{method}");
        assert_eq!(shield.breaker().state(), State::Open, "{method}");
        assert_eq!(shield.breaker().counts(), counts(20, 20), "{method}");
        // And now nobody waits.
        let (began, mut service) = (Instant::now(), service);
        let refused = call(&mut service, get("/refused")).await.unwrap();
        assert_eq!((refused.status(), began.elapsed()), (503, Duration::ZERO), "{method}");
        let rejected = refused.parts.extensions.get().map(Rejected::reason);
        assert_eq!(rejected, Some(Reason::CircuitOpen), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_everyone_admitted_a_timeout_of_towers_bounds_the_wait_for_readiness() {
    let (calls, inner) = origin(|_, _| async {
        sleep(3 * SECOND).await;
        Ok(answer(&[], "slow"))
    });
    let waits = ServiceBuilder::new()
        .layer(layer_fn(|inner| Admission::new(inner, Everyone, ByError::new())))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(inner);
    let service = TimeoutLayer::new(SECOND).layer(waits.clone());
    let busy = asked(&waits, get("/busy"));
    tokio::task::yield_now().await;
    let all = timeout(60 * SECOND, at_once(&service, (0..10).map(|_| get("/")))).await;
    for answer in all.expect("it hangs") {
        let error: BoxError = answer.unwrap_err();
        assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
    }
    busy.await.unwrap().unwrap();
    assert_eq!(calls.count(), 1);
    // Those who gave up hold no place.
    let after = timeout(4 * SECOND, asked(&waits, get("/after"))).await.expect("it hangs");
    assert_eq!((after.unwrap().unwrap().text(), calls.count()), ("slow", 2));
}
