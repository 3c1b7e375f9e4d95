//! An origin that panics: a failure, and nothing is left behind.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use seawall::{
    BoxError, CircuitBreakerLayer,
    circuit_breaker::{Cause, Counts, State},
    observe::Event,
};
use tower::{Layer, Service, ServiceExt};

use crate::{
    acts::Log,
    support::{
        Req, asked,
        bodies::{Step, Steps},
        call, get, streamed,
    },
    waits::half_open,
};

/// Panics where its request says so.
#[derive(Clone, Debug, Default)]
struct Panics {
    when_ready: bool,
}

fn now() -> ! {
    // Past the hook, which would print it.
    resume_unwind(Box::new("as it was told"))
}

impl Service<Req> for Panics {
    type Response = Response<Steps>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Steps>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.when_ready {
            now();
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        if request.uri().path() == "/call" {
            now();
        }
        Box::pin(async move {
            let said = || Step::Data("said".into());
            match request.uri().path() {
                "/future" => now(),
                "/body" => Ok(streamed(&[], Steps::new([said(), Step::Panic]))),
                _ => Ok(streamed(&[], Steps::new([said()]))),
            }
        })
    }
}

const EVERYWHERE: [&str; 4] = ["/ready", "/call", "/future", "/body"];

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_wherever_it_happens() {
    for path in EVERYWHERE {
        let layer = CircuitBreakerLayer::new();
        let service = layer.layer(Panics { when_ready: path == "/ready" });
        for made in 0..20 {
            assert_eq!(
                layer.breaker().counts(),
                Counts { calls: made, failures: made, slow: 0 },
                "{path}"
            );
            assert!(asked(&service, get(path)).await.unwrap_err().is_panic());
        }
        assert_eq!(layer.breaker().state(), State::Open, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_of_a_probe_its_place_is_free_and_nothing_is_poisoned() {
    for path in EVERYWHERE {
        let layer = CircuitBreakerLayer::new().probes(1);
        half_open(&layer.breaker());
        let service = layer.layer(Panics { when_ready: path == "/ready" });
        assert!(asked(&service, get(path)).await.unwrap_err().is_panic());
        assert_eq!((layer.breaker().state(), layer.breaker().probes()), (State::Open, 0), "{path}");
        half_open(&layer.breaker());
        let mut healthy = layer.layer(Panics::default());
        call(&mut healthy, get("/")).await.unwrap();
        assert_eq!(layer.breaker().state(), State::Closed, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_that_panicked_goes_on_answering() {
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(Panics::default());
    for path in ["/call", "/future", "/body"] {
        let panicked = tokio::spawn(async move {
            let caught = asked(&service, get(path)).await.unwrap_err().is_panic();
            (service, caught)
        });
        let caught;
        (service, caught) = panicked.await.unwrap();
        assert!(caught, "{path}");
        assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "said");
    }
    assert_eq!(layer.breaker().counts(), Counts { calls: 6, failures: 3, slow: 0 });
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_fails_the_call_that_it_was_told_of_and_no_other() {
    let layer = CircuitBreakerLayer::new().probes(1).observer(|event: &Event<'_>| {
        let Event::CircuitChanged { change, .. } = event else { return };
        if change.to == State::HalfOpen {
            now();
        }
    });
    half_open(&layer.breaker());
    let mut service = layer.layer(Panics::default());
    let told = service.clone();
    let told = tokio::spawn(async move { told.oneshot(get("/")).await.map(drop) });
    assert!(told.await.unwrap_err().is_panic());
    assert_eq!(layer.breaker().probes(), 0);
    call(&mut service, get("/")).await.unwrap();
}

/// It could only panic in its turn, and a panic within a panic ends the process.
#[tokio::test]
async fn an_observer_is_not_told_of_a_breaker_that_a_panic_takes_away() {
    let log = Log::default();
    for panics in [false, true] {
        let layer = CircuitBreakerLayer::new().observer(log.clone());
        layer.breaker().force_open();
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(move || {
            let _gone_at_the_end = layer;
            if panics {
                resume_unwind(Box::new("as it was told"));
            }
        }));
        assert_eq!(dropped.is_err(), panics);
    }
    let causes: Vec<Cause> = log.changes().into_iter().map(|(_, cause)| cause).collect();
    assert_eq!(causes, [Cause::Operator, Cause::Forgotten, Cause::Operator]);
}
