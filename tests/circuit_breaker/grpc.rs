//! gRPC: the status of a call is in its trailers, and a 200 says nothing.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use seawall::{
    BoxError, CircuitBreakerLayer,
    admission::{ByGrpcStatus, ByStatus},
    circuit_breaker::{CircuitBreaker, Counts, State},
};
use tower::{Layer, Service};

use crate::{
    support::{
        BoxedOrigin,
        bodies::{Step, Steps},
        boxed, call, get, origin,
    },
    waits::half_open,
};

type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Where the status of an answer is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Trailers,
    /// All there is.
    Head,
}

fn fields(status: &'static str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", status.parse().unwrap());
    fields
}

fn answer(place: Place, status: &'static str) -> Response<Body> {
    let mut response = match place {
        Place::Trailers => {
            let steps = [Step::Data("message".into()), Step::Trailers(fields(status))];
            Response::new(boxed(Steps::new(steps)))
        }
        Place::Head => {
            let mut response = Response::new(boxed(Full::<Bytes>::default()));
            *response.headers_mut() = fields(status);
            response
        }
    };
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response
}

fn answering(
    response: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static,
) -> BoxedOrigin<Body> {
    origin(move |_, _| {
        let response = response();
        async move { Ok(response) }
    })
    .1
}

/// Runs a piece of code with the handle and a service of each way to judge.
macro_rules! either_way {
    ($inner:expr, |$breaker:ident, $service:ident| $run:expr) => {{
        let layer = CircuitBreakerLayer::new().classify(ByStatus::new());
        let ($breaker, mut $service): (CircuitBreaker, _) = (layer.breaker(), layer.layer($inner));
        $run
        let layer = CircuitBreakerLayer::new().classify(ByGrpcStatus::new());
        let ($breaker, mut $service): (CircuitBreaker, _) = (layer.breaker(), layer.layer($inner));
        $run
    }};
}

#[tokio::test(start_paused = true)]
async fn each_status_counts_as_the_table_says_from_trailers_and_from_a_head_alone() {
    let counted = |status| match status {
        "2" | "4" | "13" | "14" | "15" => (1, 1),
        "1" | "8" => (0, 0),
        _ => (1, 0),
    };
    for status in [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
        "99",
    ] {
        for place in [Place::Trailers, Place::Head] {
            either_way!(answering(move || answer(place, status)), |breaker, service| {
                call(&mut service, get("/")).await.unwrap();
                let (calls, failures) = counted(status);
                let expected = Counts { calls, failures, slow: 0 };
                assert_eq!(breaker.counts(), expected, "{status} in {place:?}");
            });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_opens_on_unavailable_in_trailers_and_without_a_message() {
    for place in [Place::Trailers, Place::Head] {
        either_way!(answering(move || answer(place, "14")), |breaker, service| {
            for _ in 0..20 {
                assert_eq!(breaker.state(), State::Closed, "{place:?}");
                assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 200);
            }
            assert_eq!(breaker.state(), State::Open, "{place:?}");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn it_stays_closed_where_the_caller_is_wrong_or_is_one_too_many() {
    for status in ["5", "3", "16", "8", "1"] {
        either_way!(answering(move || answer(Place::Trailers, status)), |breaker, service| {
            for _ in 0..100 {
                call(&mut service, get("/")).await.unwrap();
            }
            assert_eq!(breaker.state(), State::Closed, "{status}");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_trailers_was_cut_off() {
    let bare = |steps: fn() -> Body| {
        answering(move || {
            let mut response = Response::new(steps());
            response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            response
        })
    };
    let unclear = || {
        let mut twice = fields("0");
        twice.append("grpc-status", "14".parse().unwrap());
        boxed(Steps::new([Step::Data("message".into()), Step::Trailers(twice)]))
    };
    for steps in [
        (|| boxed(Steps::new([Step::Data("message".into())]))) as fn() -> Body,
        || boxed(Full::<Bytes>::from("message")),
        || boxed(Full::<Bytes>::default()),
        || boxed(Steps::new([Step::Trailers(HeaderMap::new())])),
        unclear,
    ] {
        either_way!(bare(steps), |breaker, service| {
            call(&mut service, get("/")).await.unwrap();
            assert_eq!(breaker.counts(), Counts { calls: 1, failures: 1, slow: 0 });
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_length_does_not_stand_for_the_trailers() {
    let inner = answering(|| {
        let mut response = answer(Place::Trailers, "14");
        response.headers_mut().insert("content-length", "7".parse().unwrap());
        response
    });
    either_way!(inner.clone(), |breaker, service| {
        let mut body = service.call(get("/")).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "message");
        assert_eq!(breaker.counts().calls, 0);
        assert!(body.frame().await.unwrap().unwrap().is_trailers());
        assert_eq!(breaker.counts(), Counts { calls: 1, failures: 1, slow: 0 });
    });
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_with_an_error_is_a_failure_and_a_client_that_leaves_it_is_not() {
    let inner = answering(|| {
        let steps = [Step::Data("message".into()), Step::Fail];
        let mut response = Response::new(boxed(Steps::new(steps)));
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response
    });
    either_way!(inner.clone(), |breaker, service| {
        let mut left = service.call(get("/")).await.unwrap().into_body();
        left.frame().await.unwrap().unwrap();
        drop(left);
        assert_eq!(breaker.counts(), Counts::default());
        call(&mut service, get("/")).await.unwrap_err();
        assert_eq!(breaker.counts(), Counts { calls: 1, failures: 1, slow: 0 });
    });
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_judged_by_its_trailers() {
    either_way!(answering(|| answer(Place::Trailers, "14")), |breaker, service| {
        half_open(&breaker);
        call(&mut service, get("/")).await.unwrap();
        assert_eq!(breaker.state(), State::Open);
    });
    either_way!(answering(|| answer(Place::Trailers, "0")), |breaker, service| {
        half_open(&breaker);
        for _ in 0..3 {
            assert_eq!(breaker.state(), State::HalfOpen);
            call(&mut service, get("/")).await.unwrap();
        }
        assert_eq!(breaker.state(), State::Closed);
    });
}

#[tokio::test(start_paused = true)]
async fn a_service_of_nothing_but_grpc_fails_where_it_does_not_answer_as_one() {
    let layer = CircuitBreakerLayer::new().classify(ByGrpcStatus::new());
    for status in [404, 429, 502] {
        let inner = answering(move || {
            let mut response = Response::new(boxed(Full::<Bytes>::from("a proxy's page")));
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            response
        });
        call(&mut layer.layer(inner), get("/")).await.unwrap();
    }
    // A 200 that is not gRPC's has no trailers either.
    let page = answering(|| Response::new(boxed(Full::<Bytes>::from("a page"))));
    call(&mut layer.layer(page), get("/")).await.unwrap();
    assert_eq!(layer.breaker().counts(), Counts { calls: 4, failures: 4, slow: 0 });
}
