//! A breaker and a shedder, either over the other: what each learns of the other's refusals.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall::{
    BoxError, CircuitBreakerLayer, LoadShedLayer, Reason, Rejected,
    circuit_breaker::{Counts, State},
    load_shed::{
        Criticality,
        limit::{Limit, Sample},
    },
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, service_fn};

use super::slow;
use crate::support::{Calls, Req, Res, asked, call, get};

/// A limit that notes its samples.
#[derive(Clone, Debug, Default)]
struct Noting(Arc<Mutex<Vec<Sample>>>);

impl Limit for Noting {
    fn limit(&self) -> usize {
        10
    }

    fn sample(&mut self, sample: &Sample, _: Instant) {
        self.0.lock().unwrap().push(*sample);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_breaker_refuses_is_no_sample_to_a_shedder_above_and_holds_no_place() {
    let noting = Noting::default();
    let (shed, breaker) = (LoadShedLayer::new(noting.clone()), CircuitBreakerLayer::new());
    let (calls, inner) = slow("no-store");
    let mut service = (shed.clone(), breaker.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    assert_eq!(noting.0.lock().unwrap().len(), 1);
    breaker.breaker().force_open();
    // More than there are places: each has given its own back before the next one asks.
    for _ in 0..100 {
        let error = call(&mut service, get("/")).await.unwrap_err();
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::CircuitOpen));
        assert_eq!(shed.gauge().in_flight(), 0);
    }
    assert_eq!((noting.0.lock().unwrap().len(), calls.count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_shed_says_nothing_to_a_breaker_above() {
    let (breaker, shed) = (CircuitBreakerLayer::new(), LoadShedLayer::fixed(1));
    let (calls, inner) = slow("no-store");
    let mut service = (breaker.clone(), shed).layer(inner);
    let holder = asked(&service, get("/"));
    tokio::task::yield_now().await;
    for _ in 0..100 {
        let error = call(&mut service, get("/")).await.unwrap_err();
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::Shed));
    }
    assert_eq!(breaker.breaker().counts(), Counts::default());
    holder.await.unwrap().unwrap();
    assert_eq!(breaker.breaker().counts(), Counts { calls: 1, failures: 0, slow: 0 });
    assert_eq!((breaker.breaker().state(), calls.count()), (State::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_was_shed_neither_closes_nor_opens_a_breaker_above() {
    let (layer, shed) = (CircuitBreakerLayer::new(), LoadShedLayer::fixed(1));
    let (_, inner) = slow("no-store");
    let mut service = (layer.clone(), shed.clone()).layer(inner.clone());
    let breaker = layer.breaker();
    let mut failing =
        layer.layer(service_fn(|_: Req| async { Err::<Res, BoxError>("refused".into()) }));
    for _ in 0..20 {
        call(&mut failing, get("/")).await.unwrap_err();
    }
    assert_eq!(breaker.state(), State::Open);
    sleep(Duration::from_millis(1_300)).await;
    let mut holding = shed.layer(inner);
    let held = holding.call(get("/held"));
    for _ in 0..10 {
        let error = call(&mut service, get("/")).await.unwrap_err();
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::Shed));
        assert_eq!((breaker.state(), breaker.probes()), (State::HalfOpen, 0));
    }
    drop(held);
    for _ in 0..3 {
        call(&mut service, get("/")).await.unwrap();
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_does_not_ask_a_shedder_below() {
    let asked = Calls::default();
    let counting = asked.clone();
    let shed = LoadShedLayer::fixed(10).criticality(move |_: &Req| {
        counting.add();
        Criticality::Normal
    });
    let breaker = CircuitBreakerLayer::new();
    let (_, inner) = slow("no-store");
    let mut service = (breaker.clone(), shed).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    breaker.breaker().force_open();
    for _ in 0..100 {
        call(&mut service, get("/")).await.unwrap_err();
    }
    assert_eq!(asked.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_services_of_one_layer_have_one_breaker_and_one_limit() {
    let (breaker, shed) = (CircuitBreakerLayer::new(), LoadShedLayer::fixed(2));
    let (calls, inner) = slow("no-store");
    let broken = service_fn(|_: Req| async { Err::<Res, BoxError>("refused".into()) });
    let mut failing = breaker.layer(broken);
    let mut good = breaker.layer(inner.clone());
    for _ in 0..20 {
        call(&mut failing, get("/")).await.unwrap_err();
    }
    let error = call(&mut good, get("/")).await.unwrap_err();
    assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::CircuitOpen));

    let (mut one, mut other) = (shed.layer(inner.clone()), shed.clone().layer(inner));
    let held = (one.call(get("/")), other.call(get("/")));
    for service in [&mut one, &mut other] {
        let error = call(service, get("/")).await.unwrap_err();
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::Shed));
    }
    drop(held);
    assert_eq!((shed.gauge().in_flight(), calls.count()), (0, 2));
}
