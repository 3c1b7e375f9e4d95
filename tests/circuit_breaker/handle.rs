//! What its operator sees and does, and which services share one breaker.

use axum::Router;
use http_body_util::Empty;
use seawall::{
    CircuitBreakerLayer, RespondLayer,
    circuit_breaker::{Cause, Counts, Mode, State, Transition},
};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};

use crate::{
    acts::{Log, refusal, times, told, wait_out},
    millis, seconds,
    support::{Calls, asked, call, get, never},
};

#[tokio::test(start_paused = true)]
async fn it_tells_its_state_its_mode_and_its_counts() {
    let log = Log::default();
    let layer = CircuitBreakerLayer::new().observer(log.clone());
    let (breaker, mut service) = (layer.breaker(), layer.layer(told().1));
    assert_eq!((breaker.state(), breaker.mode()), (State::Closed, Mode::Automatic));
    times(7, &mut service, "/200").await;
    times(19, &mut service, "/404").await;
    times(3, &mut service, "/500").await;
    assert_eq!(breaker.counts(), Counts { calls: 29, failures: 3, slow: 0 });
    times(23, &mut service, "/500").await;
    assert_eq!((breaker.state(), breaker.mode()), (State::Open, Mode::Automatic));
    // They are those that opened it, until it is closed again.
    assert_eq!(breaker.counts(), Counts { calls: 52, failures: 26, slow: 0 });
    wait_out(&mut service).await;
    assert_eq!(breaker.state(), State::HalfOpen);
    let probe = asked(&service, get("/after/10/200"));
    tokio::task::yield_now().await;
    assert_eq!(breaker.probes(), 1);
    probe.await.unwrap().unwrap();
    assert_eq!(breaker.probes(), 0);
    times(2, &mut service, "/200").await;
    assert_eq!((breaker.state(), breaker.mode()), (State::Closed, Mode::Automatic));
    let change = |from, to, cause| Transition { from, to, cause };
    assert_eq!(
        log.transitions(),
        [
            change(State::Closed, State::Open, Cause::Failures),
            change(State::Open, State::HalfOpen, Cause::TimeOver),
            change(State::HalfOpen, State::Closed, Cause::GoodProbes),
        ]
    );
    assert_eq!(log.refusals(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn forced_open_it_refuses_all_until_told_otherwise_and_then_probes_decide() {
    let log = Log::default();
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new().observer(log.clone());
    let (breaker, mut service) = (layer.breaker(), layer.layer(inner));
    breaker.force_open();
    for _ in 0..10 {
        assert!(refusal(&call(&mut service, get("/200")).await).is_some());
        sleep(seconds(60)).await;
        assert_eq!((breaker.state(), breaker.mode()), (State::Open, Mode::ForcedOpen));
    }
    assert_eq!((calls.count(), log.refusals()), (0, (10, 0)));
    breaker.automatic();
    assert_eq!((breaker.state(), breaker.mode()), (State::HalfOpen, Mode::Automatic));
    times(3, &mut service, "/200").await;
    assert_eq!(breaker.state(), State::Closed);
    let causes: Vec<_> = log.changes().into_iter().map(|(_, cause)| cause).collect();
    assert_eq!(causes, [Cause::Operator, Cause::TimeOver, Cause::GoodProbes]);
}

#[tokio::test(start_paused = true)]
async fn forced_closed_it_admits_all_and_counts_none_and_then_begins_anew() {
    let layer = CircuitBreakerLayer::new();
    let (breaker, mut service) = (layer.breaker(), layer.layer(told().1));
    times(20, &mut service, "/500").await;
    breaker.force_closed();
    times(100, &mut service, "/500").await;
    assert_eq!((breaker.state(), breaker.mode()), (State::Closed, Mode::ForcedClosed));
    assert_eq!(breaker.counts(), Counts::default());
    breaker.automatic();
    times(19, &mut service, "/500").await;
    assert_eq!((breaker.state(), breaker.mode()), (State::Closed, Mode::Automatic));
    times(1, &mut service, "/500").await;
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_admitted_uncounted_stay_so() {
    let layer = CircuitBreakerLayer::new();
    let (breaker, service) = (layer.breaker(), layer.layer(told().1));
    breaker.force_closed();
    let callers: Vec<_> = (0..30).map(|_| asked(&service, get("/after/10/500"))).collect();
    tokio::task::yield_now().await;
    breaker.automatic();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!((breaker.state(), breaker.counts()), (State::Closed, Counts::default()));
}

#[tokio::test(start_paused = true)]
async fn observing_only_it_decides_as_ever_refuses_nobody_and_tells_of_it() {
    let log = Log::default();
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new().jitter(0.0).observer(log.clone());
    let (breaker, mut service) = (layer.breaker(), layer.layer(inner));
    breaker.observe_only();
    times(20, &mut service, "/500").await;
    assert_eq!((breaker.state(), breaker.mode()), (State::Open, Mode::ObserveOnly));
    times(30, &mut service, "/500").await;
    assert_eq!((calls.count(), log.refusals()), (50, (0, 30)));
    sleep(seconds(1)).await;
    assert_eq!(breaker.state(), State::HalfOpen);
    times(1, &mut service, "/500").await;
    assert_eq!(log.changes().last(), Some(&(State::Open, Cause::FailedProbe)));
    sleep(seconds(2)).await;
    times(3, &mut service, "/200").await;
    assert_eq!((breaker.state(), breaker.mode()), (State::Closed, Mode::ObserveOnly));
    assert_eq!((calls.count(), log.refusals()), (54, (0, 30)));
}

#[tokio::test(start_paused = true)]
async fn what_it_only_observed_it_acts_on_once_it_decides_again() {
    let layer = CircuitBreakerLayer::new();
    let (breaker, mut service) = (layer.breaker(), layer.layer(told().1));
    breaker.observe_only();
    times(25, &mut service, "/500").await;
    breaker.automatic();
    assert_eq!((breaker.state(), breaker.mode()), (State::Open, Mode::Automatic));
    assert!(refusal(&call(&mut service, get("/200")).await).is_some());
}

#[tokio::test(start_paused = true)]
async fn reset_it_has_forgotten_all() {
    let layer = CircuitBreakerLayer::new().jitter(0.0);
    let (breaker, mut service) = (layer.breaker(), layer.layer(told().1));
    for force in [None, Some(false), Some(true)] {
        times(20, &mut service, "/500").await;
        assert_eq!(wait_out(&mut service).await, seconds(1), "it is a first time");
        times(1, &mut service, "/500").await;
        match force {
            None => {}
            Some(true) => breaker.force_open(),
            Some(false) => breaker.force_closed(),
        }
        breaker.reset();
        assert_eq!((breaker.state(), breaker.mode()), (State::Closed, Mode::Automatic));
        times(19, &mut service, "/500").await;
        assert_eq!(breaker.counts(), Counts { calls: 19, failures: 19, slow: 0 });
        breaker.reset();
        assert_eq!(breaker.counts(), Counts::default());
        sleep(millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn clones_and_services_of_one_layer_share_one_breaker() {
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new();
    let mut one = layer.layer(inner.clone());
    let mut clone = one.clone();
    let mut other = layer.layer(inner.clone());
    let mut of_a_clone = layer.clone().layer(inner);
    for service in [&mut one, &mut clone, &mut other, &mut of_a_clone] {
        times(5, service, "/500").await;
    }
    for service in [&mut one, &mut clone, &mut other, &mut of_a_clone] {
        assert!(refusal(&call(service, get("/200")).await).is_some());
    }
    assert_eq!((calls.count(), layer.breaker().state()), (20, State::Open));
}

#[tokio::test(start_paused = true)]
async fn a_setting_makes_another_breaker() {
    let layer = CircuitBreakerLayer::new();
    layer.breaker().force_open();
    let other = layer.clone().probes(1);
    assert_eq!(
        (layer.breaker().mode(), other.breaker().mode()),
        (Mode::ForcedOpen, Mode::Automatic)
    );
}

#[tokio::test(start_paused = true)]
async fn routes_under_one_layer_share_one_breaker() {
    let calls = Calls::default();
    let failing = || {
        let calls = calls.clone();
        axum::routing::get(move || {
            calls.add();
            async { http::StatusCode::BAD_GATEWAY }
        })
    };
    let layer = CircuitBreakerLayer::new();
    let whole = (RespondLayer::new(), layer.clone());
    let nested = Router::new().route("/d", failing()).layer(whole.clone());
    let router = Router::new()
        .route("/a", failing())
        .route("/b", failing())
        .layer(whole.clone())
        .route("/c", failing().layer(whole))
        .nest("/nested", nested);
    let ask = |path: &'static str| {
        let (parts, _): (_, Empty<bytes::Bytes>) = get(path).into_parts();
        let request = http::Request::from_parts(parts, axum::body::Body::empty());
        let router = router.clone();
        async move { crate::support::read(never(router.oneshot(request).await)).await.unwrap() }
    };
    let paths = ["/a", "/b", "/c", "/nested/d"];
    for _ in 0..5 {
        for path in paths {
            assert_eq!(ask(path).await.status(), 502, "{path}");
        }
    }
    assert_eq!(layer.breaker().state(), State::Open);
    for path in paths {
        assert_eq!(ask(path).await.status(), 503, "{path}");
    }
    assert_eq!(calls.count(), 20);
}
