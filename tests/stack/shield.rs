//! The whole stack as one layer: its defaults, and each part of it replaced and taken out.

use std::{future::pending, time::Duration};

use http::StatusCode;
use seawall::{
    BoxError, CacheLayer, CircuitBreakerLayer, CoalesceLayer, LoadShedLayer, OriginShield, Reason,
    Rejected, RespondLayer, StaleWhileRevalidateLayer,
    circuit_breaker::{Mode, State},
};
use tokio::time::{Instant, advance, sleep};
use tower::{
    Layer, Service, ServiceBuilder, layer::util::Identity, limit::ConcurrencyLimitLayer, service_fn,
};

use super::{SECOND, slow};
use crate::support::{
    BoxedOrigin, Calls, Read, Req, Res, answer, answer_status, asked, at_once, cache, call, get,
    never, origin,
};

/// An origin that never answers.
type Stuck = BoxedOrigin;

fn stuck() -> Stuck {
    BoxedOrigin::new(service_fn(|_: Req| pending::<Result<Res, BoxError>>()))
}

/// Fails for what begins with `/bad`, answers the rest.
fn now_and_then() -> (Calls, BoxedOrigin) {
    origin(|_, request| async move {
        Ok(match request.uri().path() {
            path if path.starts_with("/bad") => answer_status(500, &[], "out of order"),
            path => answer(&[("cache-control", "max-age=10")], path.to_owned()),
        })
    })
}

async fn ask<S, B>(service: &mut S, path: &str) -> Read
where
    S: Service<Req, Response = http::Response<B>, Error = std::convert::Infallible>,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>>,
{
    let response = never(service.call(get(path)).await);
    crate::support::read(response).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn unless_told_otherwise_1024_calls_may_be_in_flight() {
    let shield = OriginShield::new(cache());
    assert_eq!(shield.gauge().limit(), 1_024);
    let service = shield.layer(stuck());
    // What is `Normal` fills 95 % of it.
    let asking: Vec<_> = (0..1_100).map(|n| asked(&service, get(&format!("/{n}")))).collect();
    tokio::task::yield_now().await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(shield.gauge().in_flight(), 973);
    let (mut shed, mut late) = (0, 0);
    for answer in asking {
        match answer.await.unwrap().unwrap() {
            read if read.status() == 503 => {
                assert!(read.field("retry-after").is_some());
                let rejected = read.parts.extensions.get::<Rejected>();
                assert_eq!(rejected.map(Rejected::reason), Some(Reason::Shed));
                shed += 1;
            }
            read => {
                assert_eq!(read.status(), 504);
                late += 1;
            }
        }
    }
    assert_eq!((shed, late, shield.gauge().in_flight()), (127, 973, 0));
}

#[tokio::test(start_paused = true)]
async fn unless_told_otherwise_an_origin_has_ten_seconds_and_its_silence_is_a_failure() {
    let shield = OriginShield::new(cache());
    let service = shield.layer(stuck());
    let began = Instant::now();
    for read in at_once(&service, (0..20).map(|n| get(&format!("/{n}")))).await {
        assert_eq!(read.unwrap().status(), 504);
    }
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(shield.breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn unless_told_otherwise_half_of_twenty_calls_open_the_breaker() {
    let shield = OriginShield::new(cache());
    let (calls, inner) = now_and_then();
    let mut service = shield.layer(inner);
    for n in 0..10 {
        assert_eq!(ask(&mut service, &format!("/{n}")).await.status(), 200);
    }
    for n in 0..10 {
        assert_eq!(shield.breaker().state(), State::Closed, "{n}");
        assert_eq!(ask(&mut service, &format!("/bad/{n}")).await.status(), 500);
    }
    assert_eq!(shield.breaker().state(), State::Open);
    let refused = ask(&mut service, "/more").await;
    assert_eq!((refused.status(), calls.count()), (503, 20));
    assert!(["1", "2"].contains(&refused.field("retry-after").unwrap()));
    assert_eq!(ask(&mut service, "/0").await.cache_status(), "hit");
}

#[tokio::test(start_paused = true)]
async fn its_handles_are_those_of_all_services_that_it_makes() {
    let shield = OriginShield::new(cache());
    let (calls, inner) = slow("no-store");
    let (mut one, mut other) = (shield.layer(inner.clone()), shield.clone().layer(inner));
    let busy = (asked(&one, get("/one")), asked(&other, get("/other")));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(shield.gauge().in_flight(), 2);
    assert_eq!(busy.0.await.unwrap().unwrap().status(), 200);
    assert_eq!(busy.1.await.unwrap().unwrap().status(), 200);
    assert_eq!((shield.gauge().in_flight(), shield.breaker().counts().calls), (0, 2));
    shield.breaker().force_open();
    assert_eq!(ask(&mut one, "/one").await.status(), 503);
    assert_eq!(ask(&mut other, "/other").await.status(), 503);
    shield.breaker().reset();
    assert_eq!(shield.breaker().mode(), Mode::Automatic);
    assert_eq!(ask(&mut other, "/other").await.status(), 200);
    assert_eq!(calls.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_part_can_be_replaced() {
    let (_, inner) = now_and_then();
    let teapot = RespondLayer::new().status(|_| Some(StatusCode::IM_A_TEAPOT));
    let mut service = OriginShield::new(cache()).respond(teapot).layer(stuck());
    assert_eq!(ask(&mut service, "/").await.status(), 418);

    let stale = StaleWhileRevalidateLayer::new(cache(), 60 * SECOND);
    let mut service = OriginShield::new(cache()).cache(stale).layer(inner.clone());
    ask(&mut service, "/").await;
    advance(11 * SECOND).await;
    assert_eq!(ask(&mut service, "/").await.cache_status(), "hit; detail=stale-while-revalidate");

    let (calls, counted) = slow("max-age=600");
    let cached = OriginShield::new(cache()).cache(CacheLayer::new(cache()));
    let coalesced = OriginShield::new(cache()).cache(CoalesceLayer::new());
    at_once(&cached.layer(counted.clone()), (0..10).map(|_| get("/"))).await;
    at_once(&coalesced.layer(counted), (0..10).map(|_| get("/"))).await;
    assert_eq!(calls.count(), 2);

    let shield = OriginShield::new(cache()).load_shed(LoadShedLayer::fixed(1));
    let service = shield.layer(stuck());
    let first = asked(&service, get("/first"));
    sleep(Duration::from_millis(1)).await;
    assert_eq!((shield.gauge().limit(), shield.gauge().in_flight()), (1, 1));
    assert_eq!(ask(&mut service.clone(), "/second").await.status(), 503);
    assert_eq!(first.await.unwrap().unwrap().status(), 504);

    let breaker = CircuitBreakerLayer::new().in_a_row(2, 60 * SECOND);
    let shield = OriginShield::new(cache()).circuit_breaker(breaker);
    let mut service = shield.layer(inner);
    ask(&mut service, "/bad/1").await;
    assert_eq!(shield.breaker().state(), State::Closed);
    ask(&mut service, "/bad/2").await;
    assert_eq!(shield.breaker().state(), State::Open);

    let began = Instant::now();
    let mut service = OriginShield::new(cache()).timeout(SECOND).layer(stuck());
    assert_eq!(ask(&mut service, "/").await.status(), 504);
    assert_eq!(began.elapsed().as_secs(), 1);

    let (_, counted) = slow("no-store");
    let one_by_one = OriginShield::new(cache()).timeout_layer(ConcurrencyLimitLayer::new(1));
    let began = Instant::now();
    at_once(&one_by_one.layer(counted), (0..3).map(|n| get(&format!("/{n}")))).await;
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_part_can_be_taken_out() {
    let out = Identity::new;
    let (calls, inner) = slow("max-age=600");
    let service = OriginShield::new(cache()).cache(out()).layer(inner);
    at_once(&service, (0..10).map(|_| get("/"))).await;
    assert_eq!(calls.count(), 10);

    let (calls, inner) = slow("max-age=600");
    let service = OriginShield::new(cache()).load_shed(out()).layer(inner);
    for answer in at_once(&service, (0..1_100).map(|n| get(&format!("/{n}")))).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!(calls.count(), 1_100);

    let (calls, inner) = now_and_then();
    let shield = OriginShield::new(cache()).circuit_breaker(out());
    let mut service = shield.layer(inner);
    for n in 0..100 {
        assert_eq!(ask(&mut service, &format!("/bad/{n}")).await.status(), 500);
    }
    assert_eq!((calls.count(), shield.gauge().in_flight()), (100, 0));

    let began = Instant::now();
    let mut service = OriginShield::new(cache()).timeout_layer(out()).layer(stuck());
    assert_eq!(ask(&mut service, "/").await.status(), 504);
    assert_eq!(began.elapsed().as_secs(), 30, "the deadline of the fetch is what is left");

    let none = OriginShield::new(cache())
        .cache(out())
        .load_shed(out())
        .circuit_breaker(out())
        .timeout_layer(out());
    let broken = service_fn(|_: Req| async { Err::<Res, BoxError>("refused".into()) });
    let mut service = none.layer(broken);
    let read = call(&mut service, get("/")).await.unwrap();
    assert_eq!((read.status(), read.field("retry-after")), (502, None));
}

/// As a program has it that keeps its service.
struct Gateway {
    shielded: <OriginShield as Layer<Stuck>>::Service,
    calls: usize,
}

#[tokio::test(start_paused = true)]
async fn its_service_is_a_type_with_a_name_and_is_made_in_a_service_builder() {
    let shield = OriginShield::new(cache());
    let (calls, inner) = slow("max-age=600");
    let shielded = ServiceBuilder::new().layer(shield).service(inner);
    let mut gateway = Gateway { shielded, calls: 0 };
    for _ in 0..3 {
        assert_eq!(ask(&mut gateway.shielded, "/page").await.text(), "/page");
        gateway.calls += 1;
    }
    assert_eq!((gateway.calls, calls.count()), (3, 1));
}
