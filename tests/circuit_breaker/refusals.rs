//! What a caller gets who is refused: an error, a response, a fallback.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use seawall::{
    CircuitBreakerLayer, Reason, Rejected, RespondLayer,
    admission::{ByGrpcStatus, ByStatus, Outcome},
    circuit_breaker::{Counts, State},
};
use tower::{Layer, ServiceExt};

use crate::{
    acts::{Log, refusal, times, told},
    millis, seconds,
    support::{answer, at_once, call, get, never, origin, read, with},
    waits::half_open,
};

#[tokio::test(start_paused = true)]
async fn a_refusal_says_why_and_for_how_long_in_every_state_that_refuses() {
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(inner);
    let breaker = layer.breaker();
    breaker.force_open();
    let forced = call(&mut service, get("/200")).await.unwrap_err();
    breaker.reset();
    times(20, &mut service, "/500").await;
    let open = call(&mut service, get("/200")).await.unwrap_err();
    half_open(&breaker);
    let answers = at_once(&service, (0..4).map(|_| get("/after/10/200"))).await;
    let half_open = answers.into_iter().find_map(Result::err).unwrap();
    for (name, error) in [("forced", forced), ("open", open), ("half-open", half_open)] {
        let rejected = Rejected::find(&*error).unwrap();
        assert_eq!(rejected.reason(), Reason::CircuitOpen, "{name}");
        let wait = rejected.wait().unwrap();
        assert!(wait >= millis(1) && wait <= millis(1_200), "{name}: {wait:?}");
        assert_eq!(error.to_string(), "circuit open");
    }
    assert_eq!(calls.count(), 23);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_503_that_says_when_to_come_back() {
    for open_for in [millis(1), millis(300), seconds(1), millis(1_001), seconds(7)] {
        let layer = CircuitBreakerLayer::new().jitter(0.0).open_for(open_for, seconds(30));
        let mut service = layer.layer(told().1);
        times(20, &mut service, "/500").await;
        let response = never(RespondLayer::new().layer(service).oneshot(get("/200")).await);
        let rejected = response.extensions().get::<Rejected>().cloned().unwrap();
        assert_eq!((rejected.reason(), rejected.wait()), (Reason::CircuitOpen, Some(open_for)));
        let read = read(response).await.unwrap();
        let whole = open_for.as_millis().div_ceil(1_000).to_string();
        assert_eq!(read.status(), 503);
        assert_eq!(read.field("retry-after"), Some(&*whole), "{open_for:?}");
        assert_ne!(whole, "0");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_grpc_call_is_trailers_alone_with_a_pushback() {
    for (open_for, pushback) in [(millis(1), "1"), (millis(1_500), "1500")] {
        let layer = CircuitBreakerLayer::new().jitter(0.0).open_for(open_for, seconds(30));
        let mut service = layer.layer(told().1);
        times(20, &mut service, "/500").await;
        let request = with(get("/200"), "content-type", "application/grpc+proto");
        let response = never(RespondLayer::new().layer(service).oneshot(request).await);
        assert!(response.body().is_end_stream());
        let read = read(response).await.unwrap();
        assert_eq!((read.status(), read.field("content-type")), (200, Some("application/grpc")));
        assert_eq!(read.field("grpc-status"), Some("14"));
        assert_eq!(read.field("grpc-retry-pushback-ms"), Some(pushback));
        assert!(read.trailers.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_those_that_it_is_for_and_the_others_are_refused() {
    let log = Log::default();
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new().observer(log.clone()).fallback(|failed| {
        let rejected = Rejected::find(failed.error)?;
        assert_eq!(rejected.reason(), Reason::CircuitOpen);
        let is_list = failed.uri.path() == "/list" && !failed.headers.contains_key("x-strict");
        is_list.then(|| {
            let mut response = Response::new(Bytes::from_static(b"[]"));
            *response.status_mut() = StatusCode::NON_AUTHORITATIVE_INFORMATION;
            response
        })
    });
    let mut service = layer.layer(inner);
    times(20, &mut service, "/500").await;
    let response = service.clone().oneshot(get("/list")).await.unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(2));
    let list = read(response).await.unwrap();
    assert_eq!((list.status(), list.text()), (203, "[]"));
    let strict = with(get("/list"), "x-strict", "1");
    assert!(refusal(&call(&mut service, strict).await).is_some());
    assert!(refusal(&call(&mut service, get("/200")).await).is_some());
    // It is told of all the same, and is no answer of the origin.
    assert_eq!((calls.count(), log.refusals()), (20, (3, 0)));
    assert_eq!(
        (layer.breaker().state(), layer.breaker().counts()),
        (State::Open, Counts { calls: 20, failures: 20, slow: 0 })
    );
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_not_asked_where_the_call_is_admitted() {
    let layer = CircuitBreakerLayer::new().fallback(|_| unreachable!("nobody was refused"));
    let mut service = layer.layer(told().1);
    for path in ["/200", "/500", "/error"] {
        times(1, &mut service, path).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_stands_with_each_way_to_judge_http() {
    let empty = |_: &seawall::Failed<'_>| Some(Response::new(Bytes::new()));
    let by_status = CircuitBreakerLayer::new().classify(ByStatus::new()).fallback(empty);
    by_status.breaker().force_open();
    let answer = by_status.layer(told().1).oneshot(get("/500")).await.unwrap();
    assert!(answer.status() == StatusCode::OK && answer.body().is_end_stream());
    let by_grpc = CircuitBreakerLayer::new().classify(ByGrpcStatus::new()).fallback(empty);
    by_grpc.breaker().force_open();
    let answer = by_grpc.layer(told().1).oneshot(get("/500")).await.unwrap();
    assert!(answer.status() == StatusCode::OK && answer.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_below_says_nothing_of_the_origin() {
    let below = CircuitBreakerLayer::new();
    below.breaker().force_open();
    let above = CircuitBreakerLayer::new();
    let mut errors = (above.clone(), below.clone()).layer(told().1);
    for _ in 0..50 {
        assert!(refusal(&call(&mut errors, get("/200")).await).is_some());
    }
    let mut responses = (above.clone(), RespondLayer::new(), below).layer(told().1);
    for _ in 0..50 {
        assert_eq!(call(&mut responses, get("/200")).await.unwrap().status(), 503);
    }
    assert_eq!(
        (above.breaker().state(), above.breaker().counts()),
        (State::Closed, Counts::default())
    );
}

#[tokio::test(start_paused = true)]
async fn an_owner_decides_what_a_status_and_an_error_are_taken_for() {
    let (_, inner) = origin(|number, _| async move {
        if number % 2 == 0 {
            return Err("the request could not be encoded".into());
        }
        let mut response = answer(&[], "starting");
        *response.status_mut() = StatusCode::NOT_FOUND;
        Ok(response)
    });
    let by_status = ByStatus::new()
        .status(|status| (status == StatusCode::NOT_FOUND).then_some(Outcome::Failure))
        .error(|error| error.to_string().contains("encoded").then_some(Outcome::Unrelated));
    let layer = CircuitBreakerLayer::new().classify(by_status);
    let mut service = layer.layer(inner);
    for _ in 0..10 {
        call(&mut service, get("/")).await.unwrap_err();
        assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 404);
    }
    assert_eq!(layer.breaker().counts(), Counts { calls: 10, failures: 10, slow: 0 });
}
