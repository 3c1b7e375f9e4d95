//! A breaker that opens by failures in a row alone, and how long it was well before a first time again.

use std::time::Duration;

use seawall::{
    BoxError, CircuitBreakerLayer, Reason, Rejected,
    circuit_breaker::{State, Window},
};
use tokio::time::sleep;
use tower::Layer;

use crate::{
    SECOND, counts,
    support::{BoxedOrigin, Calls, answer_status, call, get, origin},
};

/// An origin that answers with the status in the path.
fn told() -> (Calls, BoxedOrigin) {
    origin(|_, request| async move {
        Ok(answer_status(request.uri().path()[1..].parse().unwrap(), &[], "said"))
    })
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_it_opens_at_a_hundred_failures_in_a_row_and_not_before() {
    for window in [Window::Calls(10), Window::Calls(1_000), Window::Time(10 * SECOND)] {
        let layer = CircuitBreakerLayer::new().window(window);
        let layer = layer.no_failure_rate().in_a_row(100, 3_600 * SECOND);
        let mut service = layer.layer(told().1);
        // The share is far above a half all the time.
        for path in ["/500", "/200"] {
            for _ in 0..if path == "/500" { 99 } else { 1 } {
                call(&mut service, get(path)).await.unwrap();
                assert_eq!(layer.breaker().state(), State::Closed, "{window:?}");
            }
        }
        for failed in 1..=100 {
            assert_eq!(layer.breaker().state(), State::Closed, "{window:?} {failed}");
            call(&mut service, get("/500")).await.unwrap();
        }
        assert_eq!(layer.breaker().state(), State::Open, "{window:?}");
        let error: BoxError = call(&mut service, get("/200")).await.unwrap_err();
        assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::CircuitOpen));
    }
}

#[tokio::test(start_paused = true)]
async fn with_neither_rate_nor_row_it_never_opens() {
    let layer = CircuitBreakerLayer::new().window(Window::Calls(10)).no_failure_rate();
    let mut service = layer.layer(told().1);
    for _ in 0..1_000 {
        call(&mut service, get("/500")).await.unwrap();
    }
    assert_eq!(
        (layer.breaker().state(), layer.breaker().counts()),
        (State::Closed, counts(10, 10))
    );
}

/// For how long it opens the second time, closed for so long in between.
async fn second_time(layer: CircuitBreakerLayer, closed: Duration) -> Duration {
    let mut service = layer.jitter(0.0).layer(told().1);
    for _ in 0..20 {
        call(&mut service, get("/500")).await.unwrap();
    }
    sleep(SECOND).await;
    for _ in 0..3 {
        call(&mut service, get("/200")).await.unwrap();
    }
    sleep(closed).await;
    for _ in 0..20 {
        call(&mut service, get("/500")).await.unwrap();
    }
    let error: BoxError = call(&mut service, get("/200")).await.unwrap_err();
    Rejected::find(&*error).and_then(Rejected::wait).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_time_is_a_first_time_again_once_it_was_closed_for_as_long_as_was_set() {
    let layer = CircuitBreakerLayer::new;
    for (layer, closed, lasts) in [
        (layer(), 9, 2),
        (layer(), 10, 1),
        (layer().settled_after(60 * SECOND), 59, 2),
        (layer().settled_after(60 * SECOND), 60, 1),
        // No less than its window, whichever was set first.
        (layer().settled_after(SECOND), 9, 2),
        (layer().settled_after(SECOND).window(Window::Time(60 * SECOND)), 59, 2),
        (layer().window(Window::Time(60 * SECOND)), 59, 2),
        (layer().window(Window::Time(60 * SECOND)), 60, 1),
        (layer().window(Window::Calls(20)).settled_after(SECOND), 1, 1),
    ] {
        let said = format!("{layer:?}");
        assert_eq!(second_time(layer, closed * SECOND).await, lasts * SECOND, "{closed} {said}");
    }
}
