//! Calls that are over at their head, whoever reads what follows.

use http::Response;
use http_body_util::BodyExt;
use seawall::{
    CircuitBreakerLayer, LoadShedLayer, StaleWhileRevalidateLayer,
    admission::{ByGrpcStatus, ByStatus},
    circuit_breaker::State,
};
use tokio::time::sleep;
use tower::{Layer, Service};

use crate::{
    Body, SECOND, answering, counts, half_open, millis,
    support::{
        answer, answer_status,
        bodies::{Step, Steps},
        boxed, cache, call, get, head, origin,
    },
    whole,
};

const WEB: &str = "application/grpc-web+proto";

/// Runs a piece of code with each way to judge an answer.
macro_rules! either_way {
    (|$layer:ident| $run:block) => {{
        let $layer = CircuitBreakerLayer::new().classify(ByStatus::new());
        $run
        let $layer = CircuitBreakerLayer::new().classify(ByGrpcStatus::new());
        $run
    }};
}

#[tokio::test(start_paused = true)]
async fn a_grpc_web_answer_says_nothing_where_its_head_does_not() {
    for kind in [WEB, "application/grpc-web", "application/grpc-web-text+proto"] {
        let inner = answering(move || {
            // The trailers are a frame of the body, which nobody takes apart.
            whole(200, &[("content-type", kind)], "\u{0}message\u{80}grpc-status:14")
        });
        either_way!(|layer| {
            let mut service = layer.layer(inner.clone());
            for _ in 0..50 {
                call(&mut service, get("/")).await.unwrap();
            }
            let breaker = layer.breaker();
            assert_eq!(
                (breaker.state(), breaker.counts()),
                (State::Closed, counts(0, 0)),
                "{kind}"
            );
            half_open(&breaker);
            for _ in 0..10 {
                call(&mut service, get("/")).await.unwrap();
                assert_eq!((breaker.state(), breaker.probes()), (State::HalfOpen, 0), "{kind}");
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_web_answer_of_trailers_alone_says_in_its_head_how_the_call_went() {
    for (status, state) in [("14", State::Open), ("0", State::Closed)] {
        let inner =
            answering(move || whole(200, &[("content-type", WEB), ("grpc-status", status)], ""));
        either_way!(|layer| {
            let mut service = layer.layer(inner.clone());
            for _ in 0..3 {
                call(&mut service, get("/")).await.unwrap();
            }
            let failures = if status == "0" { 0 } else { 3 };
            assert_eq!(layer.breaker().counts(), counts(3, failures), "{status}");
            half_open(&layer.breaker());
            for _ in 0..3 {
                _ = call(&mut service, get("/")).await;
            }
            assert_eq!(layer.breaker().state(), state, "{status}");
        });
    }
}

/// Data that its head does not announce.
fn unannounced() -> Body {
    boxed(Steps::new([Step::Data("a page".into()), Step::Hang]))
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_can_have_no_body_is_over_at_its_head_whatever_its_body_says() {
    let length = &[("content-length", "6")][..];
    for (what, status, fields) in
        [("HEAD", 200, length), ("HEAD", 200, &[]), ("GET", 204, &[]), ("GET", 304, length)]
    {
        for reads in [false, true] {
            let asks = || if what == "HEAD" { head("/") } else { get("/") };
            let (breaker, shed) = (CircuitBreakerLayer::new(), LoadShedLayer::fixed(1));
            for body in
                [unannounced, || boxed(Steps::new([])), || whole(200, &[], "a page").into_body()]
                    as [fn() -> Body; 3]
            {
                let inner = answering(move || {
                    let (parts, _) = answer_status(status, fields, "").into_parts();
                    Response::from_parts(parts, body())
                });
                let mut service = (shed.clone(), breaker.clone()).layer(inner);
                let before = breaker.breaker().counts().calls;
                let mut response = service.call(asks()).await.unwrap();
                let told = breaker.breaker().counts();
                assert_eq!(told, counts(before + 1, 0), "{what} {status}, at the head");
                assert_eq!(shed.gauge().in_flight(), 0, "{what} {status}, at the head");
                if reads {
                    _ = response.body_mut().frame().await;
                }
                drop(response);
                assert_eq!(breaker.breaker().counts(), told, "{what} {status}, once");
            }
            // As a probe it closes a breaker, too.
            half_open(&breaker.breaker());
            let inner = answering(move || {
                let (parts, _) = answer_status(status, fields, "").into_parts();
                Response::from_parts(parts, unannounced())
            });
            let mut service = breaker.layer(inner);
            let held = [(); 3].map(|()| service.call(asks()));
            let mut kept = Vec::new();
            for held in held {
                kept.push(held.await.unwrap());
            }
            assert_eq!(breaker.breaker().state(), State::Closed, "{what} {status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_tried_again_with_their_answers_unread_open_it() {
    let layer = CircuitBreakerLayer::new();
    let (calls, inner) = origin(|_, _| async {
        let (parts, _) = answer_status(503, &[], "").into_parts();
        Ok(Response::from_parts(parts, unannounced()))
    });
    let mut service = layer.layer(inner);
    // What a layer that tries again does with an answer that it does not want.
    let mut refused = 0;
    for _ in 0..10 {
        for _ in 0..3 {
            match service.call(get("/")).await {
                Ok(unwanted) => drop(unwanted),
                Err(_) => refused += 1,
            }
        }
    }
    assert_eq!((layer.breaker().state(), calls.count(), refused), (State::Open, 20, 10));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_behind_a_stale_answer_that_fails_with_a_body_counts_below_the_cache() {
    let breaker = CircuitBreakerLayer::new();
    let (calls, inner) = origin(|number, _| async move {
        let control = "max-age=1, stale-if-error=600";
        Ok(match number {
            0..20 => answer(&[("cache-control", control)], "good"),
            _ => answer_status(503, &[], "out of order, and in so many words"),
        })
    });
    let stale = StaleWhileRevalidateLayer::new(cache(), 600 * SECOND);
    let mut service = (stale, breaker.clone()).layer(inner);
    let path = |number: usize| format!("/{number}");
    for number in 0..20 {
        call(&mut service, get(&path(number))).await.unwrap();
    }
    // So that those successes are out of the window.
    sleep(12 * SECOND).await;
    for number in 0..20 {
        assert_eq!(breaker.breaker().state(), State::Closed, "{number}");
        assert_eq!(call(&mut service, get(&path(number))).await.unwrap().text(), "good");
        sleep(millis(1)).await;
    }
    assert_eq!((calls.count(), breaker.breaker().counts()), (40, counts(20, 20)));
    assert_eq!(breaker.breaker().state(), State::Open);
}
