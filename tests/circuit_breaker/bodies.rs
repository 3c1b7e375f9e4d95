//! The end of a body is the end of a call: what the body says, and when the permit is back.

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use seawall::{
    BoxError, CircuitBreakerLayer,
    admission::{Admission, ByStatus},
    circuit_breaker::{Cause, Counts, One, State},
};
use tower::{Layer, Service};

use crate::{
    acts::Log,
    support::{
        BoxedOrigin, Req, answer_status,
        bodies::{Step, Steps},
        boxed, call, get, head, origin, read, with,
    },
};

type Body = UnsyncBoxBody<Bytes, BoxError>;
type Service_ = Admission<BoxedOrigin<Body>, One, ByStatus>;

/// An origin that answers each call with this status, these fields and this body.
fn answering(
    layer: &CircuitBreakerLayer,
    status: u16,
    fields: &'static [(&'static str, &'static str)],
    body: impl Fn() -> Body + Clone + Send + Sync + 'static,
) -> Service_ {
    let (_, inner) = origin(move |_, _| {
        let (parts, _) = answer_status(status, fields, "").into_parts();
        let response = Response::from_parts(parts, body());
        async move { Ok(response) }
    });
    layer.layer(inner)
}

fn data(data: &'static str) -> Step {
    Step::Data(data.into())
}

fn counts(calls: u64, failures: u64) -> Counts {
    Counts { calls, failures, slow: 0 }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_midway_is_a_failure() {
    let log = Log::default();
    let layer = CircuitBreakerLayer::new().observer(log.clone());
    let steps = || boxed(Steps::new([data("half"), Step::Fail]));
    let mut service = answering(&layer, 200, &[], steps);
    for made in 0..20 {
        assert_eq!(layer.breaker().counts(), counts(made, made));
        call(&mut service, get("/")).await.unwrap_err();
    }
    assert_eq!(log.changes(), [(State::Open, Cause::Failures)]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_shorter_than_its_head_says_is_a_failure() {
    let layer = CircuitBreakerLayer::new();
    let steps = || boxed(Steps::new([data("half")]));
    let mut service = answering(&layer, 200, &[("content-length", "8")], steps);
    _ = call(&mut service, get("/")).await;
    assert_eq!(layer.breaker().counts(), counts(1, 1));
    // The same where the body knows that it has ended, with its last frame or before its first.
    for body in ["half", ""] {
        let layer = CircuitBreakerLayer::new();
        let full = move || boxed(Full::<Bytes>::from(body));
        let mut service = answering(&layer, 200, &[("content-length", "8")], full);
        _ = call(&mut service, get("/")).await;
        assert_eq!(layer.breaker().counts(), counts(1, 1), "{body:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_body_may_name_the_length_of_one() {
    let layer = CircuitBreakerLayer::new();
    let fields = &[("content-length", "8")];
    for (status, request) in [(200, head("/")), (304, get("/"))] {
        // Bodies that say that they are over, and one that has to be asked.
        let mut empty = answering(&layer, status, fields, || boxed(Empty::new()));
        call(&mut empty, request).await.unwrap();
    }
    for (status, request) in [(200, head("/")), (304, get("/"))] {
        let mut asked = answering(&layer, status, fields, || boxed(Steps::new([])));
        call(&mut asked, request).await.unwrap();
    }
    assert_eq!(layer.breaker().counts(), counts(4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_over_with_its_last_byte_where_the_head_gives_its_length() {
    let layer = CircuitBreakerLayer::new();
    let steps = || boxed(Steps::new([data("half"), data("half"), Step::Hang]));
    let mut service = answering(&layer, 200, &[("content-length", "8")], steps);
    let mut body = service.call(get("/")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(layer.breaker().counts(), counts(0, 0));
    body.frame().await.unwrap().unwrap();
    // Not asked for one more, and still held.
    assert_eq!(layer.breaker().counts(), counts(1, 0));
    drop(body);
    assert_eq!(layer.breaker().counts(), counts(1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_over_with_its_last_frame_where_it_says_so() {
    let layer = CircuitBreakerLayer::new();
    let mut service = answering(&layer, 200, &[], || boxed(Full::new("said".into())));
    let mut body = service.call(get("/")).await.unwrap().into_body();
    assert_eq!(layer.breaker().counts(), counts(0, 0));
    body.frame().await.unwrap().unwrap();
    assert_eq!(layer.breaker().counts(), counts(1, 0));
    drop(body);
    assert_eq!(layer.breaker().counts(), counts(1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_over_with_its_trailers() {
    let layer = CircuitBreakerLayer::new();
    let trailers =
        || Step::Trailers([("x-sum".parse().unwrap(), "1".parse().unwrap())].into_iter().collect());
    let steps = move || boxed(Steps::new([data("said"), trailers(), Step::Hang]));
    let mut service = answering(&layer, 200, &[], steps);
    let mut body = service.call(get("/")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(layer.breaker().counts(), counts(0, 0));
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(layer.breaker().counts(), counts(1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_is_over_at_the_head() {
    for status in [200, 204, 500] {
        let layer = CircuitBreakerLayer::new();
        let mut service = answering(&layer, status, &[], || boxed(Empty::new()));
        let response = service.call(get("/")).await.unwrap();
        assert_eq!(layer.breaker().counts(), counts(1, u64::from(status == 500)));
        drop(response);
    }
}

#[tokio::test(start_paused = true)]
async fn event_streams_and_upgrades_are_settled_at_the_head_and_not_again() {
    for (status, kind) in [
        (200, "text/event-stream"),
        (200, "Text/Event-Stream; charset=utf-8"),
        (101, "application/octet-stream"),
    ] {
        let layer = CircuitBreakerLayer::new();
        layer.breaker().force_open();
        layer.breaker().automatic();
        let (_, inner) = origin(move |_, _| async move {
            let steps = Steps::new([data("event"), Step::Fail]);
            let (parts, _) = answer_status(status, &[("content-type", kind)], "").into_parts();
            Ok(Response::from_parts(parts, steps))
        });
        let mut service = layer.layer(inner);
        let mut streams = Vec::new();
        for place in 1..=3 {
            streams.push(service.call(get("/")).await.unwrap());
            assert_eq!(layer.breaker().probes(), 0, "{status} {kind} {place}");
        }
        assert_eq!(layer.breaker().state(), State::Closed, "{status} {kind}");
        for stream in streams {
            read(stream).await.unwrap_err();
        }
        assert_eq!(layer.breaker().counts(), counts(0, 0));
        drop(service.call(get("/")).await.unwrap());
        assert_eq!(layer.breaker().counts(), counts(1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_event_stream_is_a_failure_at_its_head() {
    let layer = CircuitBreakerLayer::new();
    let steps = || boxed(Steps::new([Step::Hang]));
    let mut service = answering(&layer, 503, &[("content-type", "text/event-stream")], steps);
    drop(service.call(get("/")).await.unwrap());
    assert_eq!(layer.breaker().counts(), counts(1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_probe_holds_its_place_until_its_body_has_ended() {
    let layer = CircuitBreakerLayer::new().probes(1);
    layer.breaker().force_open();
    layer.breaker().automatic();
    let steps = || boxed(Steps::new([data("half"), data("half")]));
    let mut service = answering(&layer, 200, &[], steps);
    let response = service.call(get("/")).await.unwrap();
    assert_eq!((layer.breaker().probes(), layer.breaker().state()), (1, State::HalfOpen));
    read(response).await.unwrap();
    assert_eq!((layer.breaker().probes(), layer.breaker().state()), (0, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_failed_answer_whose_body_fails_as_well_is_one_failure() {
    let layer = CircuitBreakerLayer::new();
    let steps = || boxed(Steps::new([data("half"), Step::Fail]));
    let mut service = answering(&layer, 500, &[], steps);
    call(&mut service, get("/")).await.unwrap_err();
    assert_eq!(layer.breaker().counts(), counts(1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_body_that_comes_out_is_the_body_that_went_in() {
    let layer = CircuitBreakerLayer::new();
    let trailers = || [("x-sum".parse().unwrap(), "1".parse().unwrap())].into_iter().collect();
    let steps = move || {
        let steps = [data("one "), data("two"), Step::Trailers(trailers())];
        boxed(Steps::new(steps).sized(7))
    };
    let mut service = answering(&layer, 206, &[("x-field", "kept")], steps);
    let request: Req = with(get("/"), "range", "bytes=0-6");
    let response = service.call(request).await.unwrap();
    let hint = http_body::Body::size_hint(response.body());
    assert_eq!((hint.lower(), hint.upper()), (7, Some(7)));
    let read = read(response).await.unwrap();
    assert_eq!((read.status(), read.text(), read.field("x-field")), (206, "one two", Some("kept")));
    assert_eq!(read.trailers, Some(trailers()));
}
