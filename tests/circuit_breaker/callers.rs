//! Callers that leave: what a call says that nobody waited for.

use http_body_util::BodyExt;
use seawall::{
    BoxError, CircuitBreakerLayer,
    circuit_breaker::{Cause, Counts, State},
};
use tokio::{task::yield_now, time::sleep};
use tower::{Layer, Service, ServiceExt, timeout::TimeoutLayer};

use crate::{
    acts::{Log, refusal, times, told, wait_out},
    millis, seconds,
    support::{
        asked, at_once,
        bodies::{Step, Steps},
        get, origin, streamed,
    },
};

fn is_timeout(error: &BoxError) -> bool {
    error.is::<tower::timeout::error::Elapsed>()
}

#[tokio::test(start_paused = true)]
async fn calls_that_a_deadline_outside_cuts_off_say_nothing_unless_told_otherwise() {
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new();
    let service = (TimeoutLayer::new(seconds(1)), layer.clone()).layer(inner);
    for _ in 0..50 {
        let error = service.clone().oneshot(get("/hang")).await.unwrap_err();
        assert!(is_timeout(&error));
    }
    assert_eq!((calls.count(), layer.breaker().state()), (50, State::Closed));
    assert_eq!(layer.breaker().counts(), Counts::default());
}

#[tokio::test(start_paused = true)]
async fn calls_that_a_deadline_outside_cuts_off_open_it_where_that_is_set() {
    let (calls, inner) = told();
    let log = Log::default();
    let layer = CircuitBreakerLayer::new().abandoned_after(millis(900));
    let layer = layer.window(seawall::circuit_breaker::Window::Calls(100)).observer(log.clone());
    let service = (TimeoutLayer::new(seconds(1)), layer.clone()).layer(inner);
    for answer in at_once(&service, (0..20).map(|_| get("/hang"))).await {
        assert!(is_timeout(&answer.unwrap_err()));
    }
    assert_eq!(log.changes(), [(State::Open, Cause::Failures)]);
    assert!(refusal(&service.oneshot(get("/hang")).await).is_some());
    assert_eq!(calls.count(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_sooner_than_that_says_nothing() {
    let layer = CircuitBreakerLayer::new().abandoned_after(millis(900));
    let service = (TimeoutLayer::new(millis(899)), layer.clone()).layer(told().1);
    for _ in 0..50 {
        assert!(is_timeout(&service.clone().oneshot(get("/hang")).await.unwrap_err()));
    }
    assert_eq!(layer.breaker().counts(), Counts::default());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_inside_is_a_failure() {
    let layer = CircuitBreakerLayer::new();
    let mut service = (layer.clone(), TimeoutLayer::new(millis(100))).layer(told().1);
    times(20, &mut service, "/hang").await;
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_a_deadline_outside_cuts_off_opens_it_again_where_that_is_set() {
    let log = Log::default();
    let layer = CircuitBreakerLayer::new().abandoned_after(millis(900)).observer(log.clone());
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    let probe = TimeoutLayer::new(seconds(1)).layer(service).oneshot(get("/hang")).await;
    assert!(is_timeout(&probe.map(drop).unwrap_err()));
    assert_eq!(log.changes().last(), Some(&(State::Open, Cause::FailedProbe)));
}

/// A head at once, and a body of which the second half is long in coming.
fn halves() -> (crate::support::Calls, crate::support::BoxedOrigin<Steps>) {
    origin(|_, _| async {
        let half = || Step::Data("half".into());
        Ok(streamed(&[], Steps::new([half(), Step::Wait(seconds(60)), half()])))
    })
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_within_a_good_body_says_nothing() {
    for layer in
        [CircuitBreakerLayer::new(), CircuitBreakerLayer::new().abandoned_after(millis(900))]
    {
        let mut service = layer.layer(halves().1);
        for _ in 0..50 {
            let mut body = service.call(get("/")).await.unwrap().into_body();
            body.frame().await.unwrap().unwrap();
            sleep(seconds(2)).await;
            drop(body);
        }
        // The origin had answered: its caller's patience is not its fault any more.
        assert_eq!(layer.breaker().counts(), Counts::default());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_within_the_body_of_a_probe_gives_its_place_back() {
    let (calls, inner) = halves();
    let layer = CircuitBreakerLayer::new();
    layer.breaker().force_open();
    layer.breaker().automatic();
    let service = layer.layer(inner);
    for round in 1..=5 {
        let bodies = (0..3).map(|_| asked(&service, get("/"))).collect::<Vec<_>>();
        yield_now().await;
        assert_eq!((calls.count(), layer.breaker().probes()), (3 * round, 3));
        assert!(refusal(&service.clone().oneshot(get("/")).await).is_some());
        for body in bodies {
            body.abort();
            assert!(body.await.unwrap_err().is_cancelled());
        }
        assert_eq!((layer.breaker().state(), layer.breaker().probes()), (State::HalfOpen, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_error_is_a_failure_though_nobody_reads_its_body() {
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(told().1);
    for _ in 0..20 {
        let response = service.call(get("/500")).await.unwrap();
        assert_eq!(response.status(), 500);
        drop(response);
    }
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_server_error_of_a_probe_opens_it_again_though_nobody_reads_its_body() {
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    drop(service.call(get("/500")).await.unwrap());
    assert_eq!(layer.breaker().state(), State::Open);
}
