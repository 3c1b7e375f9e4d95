//! What the layers that decide owe to tower beyond that: what they poll and do not call holds
//! nothing, and what failed while it was polled is never polled again.

use std::{
    future::{Future, Ready, poll_fn, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use seawall::{
    BoxError, CircuitBreakerLayer, LoadShedLayer, OriginShield, Reason, Rejected, RespondLayer,
    admission::ByError,
    circuit_breaker::{Counts, State},
};
use tokio::time::{sleep, timeout};
use tower::{
    Layer, Service, ServiceExt, buffer::BufferLayer, limit::ConcurrencyLimitLayer,
    load_shed::LoadShedLayer as TowerLoadShedLayer, timeout::TimeoutLayer, util::BoxCloneService,
};

use super::{LONG, Ledger, Strict, over_every_admission_layer, over_every_layer};
use crate::support::{Calls, Req, Res, answer, asked, cache, call, get, origin};

/// An origin whose calls take a second.
fn a_second() -> (Calls, BoxCloneService<Req, Res, BoxError>) {
    origin(|_, _| async {
        sleep(Duration::from_secs(1)).await;
        Ok(answer(&[("cache-control", "no-store")], "body"))
    })
}

/// Fails while it is polled, as long as it is told to; an instance that has failed is never polled
/// again.
#[derive(Debug, Default)]
struct Failing {
    fails: Arc<AtomicBool>,
    failed: bool,
}

impl Clone for Failing {
    fn clone(&self) -> Self {
        Self { fails: Arc::clone(&self.fails), failed: false }
    }
}

impl Service<Req> for Failing {
    type Response = Res;
    type Error = BoxError;
    type Future = Ready<Result<Res, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        assert!(!self.failed, "polled again after it has failed");
        self.failed = self.fails.load(Ordering::SeqCst);
        Poll::Ready(if self.failed { Err("out of order".into()) } else { Ok(()) })
    }

    fn call(&mut self, _: Req) -> Self::Future {
        assert!(!self.failed, "called after it has failed");
        ready(Ok(answer(&[], "body")))
    }
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_fails_while_it_is_polled_fails_the_call_and_is_replaced() {
    let fails = Arc::new(AtomicBool::new(true));
    let inner = Failing { fails: Arc::clone(&fails), failed: false };
    over_every_admission_layer!(inner.clone(), |name, service| {
        let mut service = service;
        fails.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let is_ready = poll_fn(|cx| service.poll_ready(cx)).await;
            assert!(is_ready.is_ok(), "{name}: it is the call that fails");
            match call(&mut service, get("/")).await {
                Err(error) => assert_eq!(error.to_string(), "out of order", "{name}"),
                Ok(read) => assert_eq!((read.status(), name), (502, "respond, breaker, shed")),
            }
        }
        fails.store(false, Ordering::SeqCst);
        assert_eq!(call(&mut service, get("/")).await.expect(name).text(), "body", "{name}");
    });
}

#[tokio::test(start_paused = true)]
async fn what_failed_while_it_was_polled_is_a_failure_and_its_place_is_back() {
    let fails = Arc::new(AtomicBool::new(true));
    let inner = Failing { fails: Arc::clone(&fails), failed: false };
    let (shed, breaker) = (LoadShedLayer::fixed(1), CircuitBreakerLayer::new());
    let mut service = (shed.clone(), breaker.clone()).layer(inner);
    for _ in 0..20 {
        let error = call(&mut service, get("/")).await.unwrap_err();
        assert_eq!(error.to_string(), "out of order");
        assert_eq!(shed.gauge().in_flight(), 0);
    }
    assert_eq!(breaker.breaker().state(), State::Open);
    assert_eq!(breaker.breaker().counts().calls, 20, "those that opened it");
    fails.store(false, Ordering::SeqCst);
    sleep(Duration::from_millis(1_300)).await;
    for _ in 0..3 {
        call(&mut service, get("/")).await.unwrap();
    }
    assert_eq!(breaker.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn idle_clones_and_those_that_were_polled_or_have_called_reserve_nothing() {
    let ledger = Ledger::default();
    let inner = Strict { ledger: ledger.clone(), holds: false };
    over_every_admission_layer!(inner.clone(), |name, service| {
        let (before, ..) = ledger.counts();
        let mut clones: Vec<_> = (0..10).map(|_| service.clone()).collect();
        for clone in &mut clones {
            poll_fn(|cx| clone.poll_ready(cx)).await.expect(name);
        }
        assert_eq!(ledger.counts().0, before, "{name}: polled, and nothing is reserved");
        for clone in &mut clones {
            call(clone, get("/")).await.expect(name);
        }
        let (reserved, called, given_back) = ledger.counts();
        assert_eq!((reserved - before, given_back), (10, 0), "{name}");
        assert_eq!(reserved, called, "{name}: what has called holds nothing");
    });
}

#[tokio::test(start_paused = true)]
async fn of_two_clones_over_a_limit_of_one_neither_keeps_the_place_from_the_other() {
    over_every_admission_layer!(
        ConcurrencyLimitLayer::new(1).layer(a_second().1),
        |name, service| {
            let (mut one, mut other) = (service.clone(), service);
            for _ in 0..3 {
                for clone in [&mut one, &mut other] {
                    poll_fn(|cx| clone.poll_ready(cx)).await.expect(name);
                }
                timeout(LONG, call(&mut one, get("/"))).await.expect(name).expect(name);
                timeout(LONG, call(&mut other, get("/"))).await.expect(name).expect(name);
            }
            // One that gave up while it waited does not stand in line any more.
            let busy = asked(&one, get("/"));
            tokio::task::yield_now().await;
            let given_up = timeout(Duration::from_millis(1), call(&mut other, get("/"))).await;
            assert!(given_up.is_err(), "{name}");
            busy.await.unwrap().expect(name);
            timeout(LONG, call(&mut one, get("/"))).await.expect(name).expect(name);
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_refused_stands_in_no_line_below() {
    let (calls, inner) = a_second();
    let (shed, breaker) = (LoadShedLayer::fixed(1), CircuitBreakerLayer::new());
    let inner = ConcurrencyLimitLayer::new(1).layer(inner);
    let mut service = (shed.clone(), breaker.clone()).layer(inner);
    let mut other = service.clone();
    let busy = asked(&service, get("/"));
    tokio::task::yield_now().await;
    for clone in [&mut service, &mut other] {
        let error = call(clone, get("/")).await.unwrap_err();
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::Shed));
    }
    busy.await.unwrap().unwrap();
    breaker.breaker().force_open();
    for clone in [&mut service, &mut other] {
        let error = call(clone, get("/")).await.unwrap_err();
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::CircuitOpen));
    }
    breaker.breaker().reset();
    for clone in [&mut other, &mut service] {
        timeout(LONG, call(clone, get("/"))).await.expect("it hangs").unwrap();
    }
    assert_eq!(calls.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_the_inner_service_hold_a_place_and_give_it_back_when_they_leave() {
    let (calls, inner) = a_second();
    let (shed, breaker) = (LoadShedLayer::fixed(3), CircuitBreakerLayer::new());
    let inner = ConcurrencyLimitLayer::new(1).layer(inner);
    let service = (shed.clone(), breaker.clone()).layer(inner);
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(service.clone().oneshot(get("/")))).collect();
    let mut nobody = Context::from_waker(std::task::Waker::noop());
    for call in &mut waiting {
        assert!(call.as_mut().poll(&mut nobody).is_pending());
    }
    assert_eq!((shed.gauge().in_flight(), calls.count()), (3, 1));
    let refused = service.clone().oneshot(get("/")).await.unwrap_err();
    assert_eq!(Rejected::find(&*refused).map(Rejected::reason), Some(Reason::Shed));
    waiting.pop();
    assert_eq!(shed.gauge().in_flight(), 2);
    drop(waiting);
    assert_eq!(shed.gauge().in_flight(), 0);
    assert_eq!(breaker.breaker().counts(), Counts::default(), "who leaves says nothing");
}

#[tokio::test(start_paused = true)]
async fn tower_s_own_layers_stand_above_and_below() {
    let layers = || (LoadShedLayer::default(), CircuitBreakerLayer::new());
    let below = (
        layers(),
        BufferLayer::<Req>::new(4),
        TowerLoadShedLayer::new(),
        ConcurrencyLimitLayer::new(2),
        TimeoutLayer::new(LONG),
    );
    let (calls, inner) = a_second();
    let service = below.layer(inner);
    // Readied, and let go: `Buffer` reserves a place in its queue when it is polled.
    for _ in 0..20 {
        let mut polled = service.clone();
        poll_fn(|cx| polled.poll_ready(cx)).await.unwrap();
    }
    for _ in 0..3 {
        timeout(LONG, service.clone().oneshot(get("/"))).await.expect("it hangs").unwrap();
    }
    assert_eq!(calls.count(), 3);

    let (calls, inner) = a_second();
    let above = (TowerLoadShedLayer::new(), ConcurrencyLimitLayer::new(1), layers());
    let service = above.layer(inner);
    let busy = asked(&service, get("/"));
    tokio::task::yield_now().await;
    // What tower has shed stands in its own line for as long as it lives.
    let shed = call(&mut service.clone(), get("/")).await.unwrap_err();
    assert!(shed.is::<tower::load_shed::error::Overloaded>(), "{shed}");
    busy.await.unwrap().unwrap();
    timeout(LONG, service.oneshot(get("/"))).await.expect("it hangs").unwrap();
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_shield_gives_back_what_it_holds_when_its_callers_leave() {
    let ledger = Ledger::default();
    let shield = OriginShield::new(cache());
    let service = shield.layer(Strict { ledger: ledger.clone(), holds: false });
    for n in 0..10 {
        let mut left = pin!(service.clone().oneshot(get(&format!("/{n}"))));
        assert!(
            left.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
        );
    }
    // Their fetches go on, and end.
    sleep(Duration::from_secs(1)).await;
    let (reserved, called, given_back) = ledger.counts();
    assert_eq!((reserved, called, given_back), (10, 10, 0));
    assert_eq!((shield.gauge().in_flight(), shield.breaker().counts().calls), (0, 10));
}
