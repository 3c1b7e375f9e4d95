//! Half-open always resolves: probes that are lost, in whatever way, do not keep it there.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

use seawall::{
    CircuitBreakerLayer,
    circuit_breaker::{Cause, State},
};
use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};
use tower::{Layer, Service};

use crate::{
    acts::{Log, refusal, times, told, wait_out},
    millis, seconds,
    support::{asked, at_once, call, get},
};

#[tokio::test(start_paused = true)]
async fn probes_whose_callers_leave_give_their_places_back_at_once() {
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(inner);
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    for _ in 0..100 {
        // Called and dropped; polled and dropped; aborted in the origin.
        drop(service.call(get("/hang")));
        let mut polled = Box::pin(service.call(get("/hang")));
        assert!(polled.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let caller = asked(&service, get("/hang"));
        yield_now().await;
        assert_eq!(layer.breaker().probes(), 2);
        drop(polled);
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert_eq!((layer.breaker().state(), layer.breaker().probes()), (State::HalfOpen, 0));
    }
    assert_eq!(calls.count(), 20 + 300);
    times(3, &mut service, "/200").await;
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn probes_that_hang_for_ever_hold_their_places_for_a_lease() {
    let layer = CircuitBreakerLayer::new().lease(seconds(7));
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    let hung: Vec<_> = (0..3).map(|_| asked(&service, get("/hang"))).collect();
    yield_now().await;
    sleep(millis(6_999)).await;
    assert!(refusal(&call(&mut service, get("/200")).await).is_some());
    sleep(millis(1)).await;
    assert_eq!((layer.breaker().state(), layer.breaker().probes()), (State::HalfOpen, 0));
    times(3, &mut service, "/200").await;
    assert_eq!(layer.breaker().state(), State::Closed);
    assert!(hung.iter().all(|caller| !caller.is_finished()));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_forgotten_altogether_holds_its_place_for_a_lease() {
    let layer = CircuitBreakerLayer::new().probes(1);
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    std::mem::forget(service.call(get("/200")));
    assert!(refusal(&call(&mut service, get("/200")).await).is_some());
    sleep(seconds(10)).await;
    times(1, &mut service, "/200").await;
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_does_as_a_refusal_says_gets_through_though_every_probe_is_lost() {
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    let hung: Vec<_> = (0..3).map(|_| asked(&service, get("/hang"))).collect();
    yield_now().await;
    let began = Instant::now();
    let mut refused = 0;
    while refusal(&call(&mut service, get("/200")).await).is_some() {
        wait_out(&mut service).await;
        refused += 1;
        assert!(refused < 20, "refused for {:?}", began.elapsed());
    }
    println!("through after {:?} and {refused} waits", began.elapsed());
    assert!(began.elapsed() < seconds(11));
    drop(hung);
}

#[tokio::test(start_paused = true)]
async fn probes_that_panic_open_it_again_and_do_not_wedge_it() {
    let log = Log::default();
    let layer = CircuitBreakerLayer::new().observer(log.clone());
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    for _ in 0..5 {
        wait_out(&mut service).await;
        let probes: Vec<_> = (0..3).map(|_| asked(&service, get("/panic"))).collect();
        for probe in probes {
            // One alone may get there: the first to panic opens it.
            assert!(probe.await.map_or_else(|error| error.is_panic(), |ended| ended.is_err()));
        }
        assert_eq!((layer.breaker().state(), layer.breaker().probes()), (State::Open, 0));
        assert_eq!(log.changes().last(), Some(&(State::Open, Cause::FailedProbe)));
    }
    wait_out(&mut service).await;
    times(3, &mut service, "/200").await;
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_few_calls_a_minute_close_it() {
    // Further apart than the window and the lease are long.
    for apart in [millis(1), seconds(1), seconds(15), seconds(3_600)] {
        let layer = CircuitBreakerLayer::new();
        let mut service = layer.layer(told().1);
        times(20, &mut service, "/500").await;
        wait_out(&mut service).await;
        for _ in 0..3 {
            assert_eq!(layer.breaker().state(), State::HalfOpen);
            times(1, &mut service, "/200").await;
            sleep(apart).await;
        }
        assert_eq!(layer.breaker().state(), State::Closed, "{apart:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn probes_of_a_healthy_origin_close_it_while_others_are_lost_in_every_way() {
    for lost in 0..30 {
        let layer = CircuitBreakerLayer::new();
        let mut service = layer.layer(told().1);
        times(20, &mut service, "/500").await;
        wait_out(&mut service).await;
        let began = Instant::now();
        let mut kept = Vec::new();
        for number in 0..lost {
            match number % 3 {
                0 => kept.push(asked(&service, get("/hang"))),
                1 => drop(service.call(get("/hang"))),
                _ => asked(&service, get("/hang")).abort(),
            }
            yield_now().await;
        }
        while layer.breaker().state() != State::Closed {
            at_once(&service, (0..5).map(|_| get("/after/20/200"))).await;
            sleep(millis(20)).await;
            assert!(began.elapsed() < seconds(11), "{lost} lost: {:?}", layer.breaker());
        }
        // Those that found a place hang still; the others were refused.
        let hung = kept.iter().filter(|caller| !caller.is_finished()).count();
        assert_eq!(hung, kept.len().min(3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_ends_after_its_lease_still_says_how_the_origin_is() {
    for (path, state) in [("/after/15000/200", State::Closed), ("/after/15000/500", State::Open)] {
        let layer = CircuitBreakerLayer::new();
        let mut service = layer.layer(told().1);
        times(20, &mut service, "/500").await;
        wait_out(&mut service).await;
        at_once(&service, (0..3).map(|_| get(path))).await;
        assert_eq!(layer.breaker().state(), state, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_told_to_slow_down_neither_closes_nor_opens_it() {
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    times(10, &mut service, "/429").await;
    assert_eq!((layer.breaker().state(), layer.breaker().probes()), (State::HalfOpen, 0));
    let mut pending = pin!(service.call(get("/hang")));
    assert!(pending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(layer.breaker().probes(), 1);
}
