//! What the layer owes to the service below: polled before it is called, and no place held idle.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use seawall::{
    BoxError, CircuitBreakerLayer,
    circuit_breaker::{Counts, State},
};
use tokio::{
    sync::watch,
    task::yield_now,
    time::{sleep, timeout},
};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer};

use crate::{
    acts::{does, refusal, told},
    millis, seconds,
    support::{Calls, Req, Res, asked, at_once, call, get},
    waits::half_open,
};

type Doing = std::pin::Pin<Box<dyn Future<Output = Result<Res, BoxError>> + Send>>;

/// Panics where it is called without having been ready.
#[derive(Debug, Default)]
struct Strict {
    is_ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Req> for Strict {
    type Response = Res;
    type Error = BoxError;
    type Future = Doing;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Doing {
        assert!(std::mem::take(&mut self.is_ready), "called without having been ready");
        Box::pin(async move { does(request.uri().path()).await })
    }
}

#[tokio::test(start_paused = true)]
async fn the_instance_that_is_called_is_the_one_that_was_ready() {
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(Strict::default());
    for _ in 0..3 {
        call(&mut service, get("/200")).await.unwrap();
        call(&mut service.clone(), get("/200")).await.unwrap();
    }
    for answer in at_once(&service, (0..20).map(|_| get("/after/10/200"))).await {
        answer.unwrap();
    }
    assert_eq!(layer.breaker().counts().calls, 26);
}

#[tokio::test(start_paused = true)]
async fn over_a_limit_of_one_two_clones_take_turns() {
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new();
    let service = (layer.clone(), ConcurrencyLimitLayer::new(1)).layer(inner);
    let turns = at_once(&service, (0..20).map(|_| get("/after/10/200")));
    for answer in timeout(seconds(10), turns).await.unwrap() {
        answer.unwrap();
    }
    assert_eq!((calls.count(), layer.breaker().counts().calls), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn an_idle_clone_that_was_polled_ready_holds_no_place_below() {
    let (_, inner) = told();
    let service = (CircuitBreakerLayer::new(), ConcurrencyLimitLayer::new(1)).layer(inner);
    let mut idle = [service.clone(), service.clone(), service.clone()];
    for clone in &mut idle {
        clone.ready().await.unwrap();
    }
    let mut other = service;
    timeout(seconds(1), call(&mut other, get("/200"))).await.unwrap().unwrap();
    // Nor after a call of its own.
    for clone in &mut idle {
        timeout(seconds(1), call(clone, get("/200"))).await.unwrap().unwrap();
        clone.ready().await.unwrap();
    }
    timeout(seconds(1), call(&mut other, get("/200"))).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_holds_no_place_below() {
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new();
    let mut refused = (layer.clone(), ConcurrencyLimitLayer::new(1)).layer(inner);
    let mut other = refused.clone();
    call(&mut refused, get("/200")).await.unwrap();
    layer.breaker().force_open();
    for _ in 0..3 {
        refused.ready().await.unwrap();
        assert!(refusal(&call(&mut refused, get("/200")).await).is_some());
    }
    layer.breaker().force_closed();
    timeout(seconds(1), call(&mut other, get("/200"))).await.unwrap().unwrap();
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_and_left_holds_no_place_below() {
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new();
    let mut service = (layer.clone(), ConcurrencyLimitLayer::new(1)).layer(inner);
    let first = asked(&service, get("/after/100/200"));
    yield_now().await;
    for _ in 0..5 {
        let mut left = Box::pin(service.call(get("/200")));
        assert!(left.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(left);
        // Called and never polled.
        drop(service.call(get("/200")));
    }
    first.await.unwrap().unwrap();
    timeout(seconds(1), call(&mut service.clone(), get("/200"))).await.unwrap().unwrap();
    timeout(seconds(1), call(&mut service, get("/200"))).await.unwrap().unwrap();
    assert_eq!((calls.count(), layer.breaker().counts().calls), (3, 3));
}

/// Ready once its door is open; counts how often it was asked.
#[derive(Clone, Debug)]
struct Door {
    open: watch::Receiver<bool>,
    asked: Calls,
    waits: tokio_waker::Waits,
}

/// A service waits for its door as it may: a waker of whoever polled it last.
mod tokio_waker {
    use std::{
        sync::{Arc, Mutex},
        task::Waker,
    };

    #[derive(Clone, Debug, Default)]
    pub(super) struct Waits(Arc<Mutex<Vec<Waker>>>);

    impl Waits {
        pub(super) fn push(&self, waker: &Waker) {
            self.0.lock().unwrap().push(waker.clone());
        }

        pub(super) fn wake(&self) {
            self.0.lock().unwrap().drain(..).for_each(Waker::wake);
        }
    }
}

impl Service<Req> for Door {
    type Response = Res;
    type Error = BoxError;
    type Future = Doing;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.asked.add();
        if *self.open.borrow() {
            return Poll::Ready(Ok(()));
        }
        self.waits.push(cx.waker());
        Poll::Pending
    }

    fn call(&mut self, request: Req) -> Doing {
        assert!(*self.open.borrow(), "called without having been ready");
        Box::pin(async move { does(request.uri().path()).await })
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_in_its_own_future_and_is_woken_by_the_service_below() {
    let (door, open) = watch::channel(false);
    let inner = Door { open, asked: Calls::default(), waits: tokio_waker::Waits::default() };
    let (asked_ready, waits) = (inner.asked.clone(), inner.waits.clone());
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(inner);
    timeout(seconds(1), service.ready()).await.unwrap().unwrap();
    assert_eq!(asked_ready.count(), 0);
    let caller = asked(&service, get("/200"));
    sleep(seconds(60)).await;
    assert!(!caller.is_finished());
    // Once as it is called, and once in its future.
    assert_eq!(asked_ready.count(), 2);
    door.send_replace(true);
    waits.wake();
    caller.await.unwrap().unwrap();
    assert_eq!(asked_ready.count(), 3);
    assert_eq!(layer.breaker().counts(), Counts { calls: 1, failures: 0, slow: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_waits_for_the_service_below_holds_its_place() {
    let (door, open) = watch::channel(false);
    let inner = Door { open, asked: Calls::default(), waits: tokio_waker::Waits::default() };
    let waits = inner.waits.clone();
    let layer = CircuitBreakerLayer::new().probes(1);
    half_open(&layer.breaker());
    let mut service = layer.layer(inner);
    let probe = asked(&service, get("/200"));
    sleep(millis(1)).await;
    assert_eq!(layer.breaker().probes(), 1);
    assert!(refusal(&call(&mut service, get("/200")).await).is_some());
    door.send_replace(true);
    waits.wake();
    probe.await.unwrap().unwrap();
    assert_eq!(layer.breaker().state(), State::Closed);
}

/// Broken for good once it has failed, as a connection; a clone is a new one.
#[derive(Debug)]
struct Connection {
    broken: bool,
    /// So many of them break.
    breaking: Calls,
    waits_first: bool,
}

impl Clone for Connection {
    fn clone(&self) -> Self {
        Self { broken: false, breaking: self.breaking.clone(), waits_first: self.waits_first }
    }
}

impl Service<Req> for Connection {
    type Response = Res;
    type Error = BoxError;
    type Future = Doing;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        assert!(!self.broken, "polled after it had failed");
        if std::mem::take(&mut self.waits_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.broken = self.breaking.add() < 3;
        Poll::Ready(if self.broken { Err("connection reset".into()) } else { Ok(()) })
    }

    fn call(&mut self, request: Req) -> Doing {
        Box::pin(async move { does(request.uri().path()).await })
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_be_ready_is_a_failure_and_the_next_call_has_a_fresh_one() {
    for waits_first in [false, true] {
        let layer = CircuitBreakerLayer::new();
        let mut service =
            layer.layer(Connection { broken: false, breaking: Calls::default(), waits_first });
        for _ in 0..3 {
            let error = call(&mut service, get("/200")).await.unwrap_err();
            assert_eq!(error.to_string(), "connection reset");
        }
        call(&mut service, get("/200")).await.unwrap();
        assert_eq!(layer.breaker().counts(), Counts { calls: 4, failures: 3, slow: 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_whatever_is_below() {
    let never = ConcurrencyLimitLayer::new(0).layer(told().1);
    let mut service = CircuitBreakerLayer::new().layer(never);
    let polled = pin!(service.ready()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(_))));
}
