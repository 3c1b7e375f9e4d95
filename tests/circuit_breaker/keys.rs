//! A breaker for each host, or whatever a key tells apart.

use http::{Request, uri::Authority};
use http_body_util::Empty;
use seawall::{
    CircuitBreakerLayer,
    circuit_breaker::{Mode, State},
};
use tower::Layer;

use crate::{
    acts::{Log, refusal, told},
    seconds,
    support::{Req, call, get, with},
    waits::half_open,
};

fn to(host: &str, path: &str) -> Req {
    Request::get(format!("http://{host}{path}")).body(Empty::new()).unwrap()
}

fn named(host: &str) -> Option<Authority> {
    Some(host.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_opens_its_own_breaker_alone() {
    let layer = CircuitBreakerLayer::new().by_host();
    let mut service = layer.layer(told().1);
    for _ in 0..20 {
        call(&mut service, to("a.example", "/500")).await.unwrap();
        call(&mut service, to("b.example", "/200")).await.unwrap();
    }
    assert!(refusal(&call(&mut service, to("a.example", "/200")).await).is_some());
    call(&mut service, to("b.example", "/200")).await.unwrap();
    let mut states = layer.breakers().states();
    states.sort_by_key(|(host, _)| host.as_ref().map(Authority::to_string));
    let expected = [(named("a.example"), State::Open), (named("b.example"), State::Closed)];
    assert_eq!(states, expected);
    assert!(layer.breakers().of(&named("c.example")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_host_is_the_same_from_the_uri_and_from_its_field_in_any_case() {
    let layer = CircuitBreakerLayer::new().by_host();
    let mut service = layer.layer(told().1);
    let origin_form = |host: &str| {
        let request = Request::get("/500").body(Empty::new()).unwrap();
        with(request, "host", host)
    };
    for _ in 0..5 {
        call(&mut service, to("a.example", "/500")).await.unwrap();
        call(&mut service, to("A.Example", "/500")).await.unwrap();
        call(&mut service, origin_form("a.example")).await.unwrap();
        call(&mut service, origin_form("A.EXAMPLE")).await.unwrap();
    }
    assert_eq!(layer.breakers().states(), [(named("a.example"), State::Open)]);
    assert!(refusal(&call(&mut service, origin_form("a.example")).await).is_some());
}

#[tokio::test(start_paused = true)]
async fn requests_that_name_no_host_share_one_breaker() {
    let layer = CircuitBreakerLayer::new().by_host();
    let mut service = layer.layer(told().1);
    for number in 0..20 {
        let request = Request::get("/500").body(Empty::new()).unwrap();
        let request = if number % 2 == 0 { request } else { with(request, "host", "not a host") };
        call(&mut service, request).await.unwrap();
    }
    assert_eq!(layer.breakers().states(), [(None, State::Open)]);
}

#[tokio::test(start_paused = true)]
async fn a_closure_tells_apart_what_it_likes() {
    let shard = |request: &Req| request.headers()["x-shard"].to_str().unwrap().to_owned();
    let log = Log::default();
    // Settings hold, whether they were made before the key or after it.
    let layer = CircuitBreakerLayer::new().jitter(0.0).by(shard).in_a_row(3, seconds(10));
    let layer = layer.observer(log.clone());
    let mut service = layer.layer(told().1);
    for _ in 0..3 {
        call(&mut service, with(get("/500"), "x-shard", "one")).await.unwrap();
        call(&mut service, with(get("/200"), "x-shard", "two")).await.unwrap();
    }
    let refused = call(&mut service, with(get("/200"), "x-shard", "one")).await;
    assert_eq!(refusal(&refused), Some(seconds(1)));
    call(&mut service, with(get("/200"), "x-shard", "two")).await.unwrap();
    assert_eq!(layer.breakers().of("one").unwrap().state(), State::Open);
    assert_eq!((log.changes().len(), log.refusals()), (1, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn each_breaker_is_taken_over_by_itself() {
    let layer = CircuitBreakerLayer::new().by_host();
    let mut services = [layer.layer(told().1), layer.layer(told().1)];
    for service in &mut services {
        for host in ["a.example", "b.example"] {
            call(service, to(host, "/200")).await.unwrap();
        }
    }
    let breaker = layer.breakers().of(&named("a.example")).unwrap();
    assert_eq!(breaker.counts().calls, 2);
    breaker.force_open();
    for service in &mut services {
        assert!(refusal(&call(service, to("a.example", "/200")).await).is_some());
        call(service, to("b.example", "/200")).await.unwrap();
    }
    assert_eq!(layer.breakers().of(&named("a.example")).unwrap().mode(), Mode::ForcedOpen);
    assert_eq!(layer.breakers().of(&named("b.example")).unwrap().mode(), Mode::Automatic);
    half_open(&breaker);
    call(&mut services[0], to("a.example", "/200")).await.unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_told_fails_its_own_call_alone() {
    let shard = |request: &Req| request.headers()["x-shard"].to_str().unwrap().to_owned();
    let layer = CircuitBreakerLayer::new().by(shard);
    let mut service = layer.layer(told().1);
    let without = crate::support::asked(&service, get("/200"));
    assert!(without.await.unwrap_err().is_panic());
    call(&mut service, with(get("/200"), "x-shard", "one")).await.unwrap();
    assert_eq!(layer.breakers().states(), [("one".to_owned(), State::Closed)]);
}
