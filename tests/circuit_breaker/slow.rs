//! Slow calls: those whose head is long in coming, however long their bodies are read.

use bytes::Bytes;
use http_body_util::BodyExt;
use seawall::{
    CircuitBreakerLayer,
    circuit_breaker::{Cause, Counts, State},
};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt};

use crate::{
    acts::{Log, refusal, times, told, wait_out},
    millis, seconds,
    support::{
        at_once,
        bodies::{Step, Steps},
        call, get, origin, streamed,
    },
};

fn layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().slow_calls(millis(100), 0.5, 10).jitter(0.0)
}

#[tokio::test(start_paused = true)]
async fn it_opens_at_its_share_of_slow_calls_though_none_of_them_fails() {
    let log = Log::default();
    let layer = layer().observer(log.clone());
    let mut service = layer.layer(told().1);
    times(5, &mut service, "/200").await;
    times(4, &mut service, "/after/101/200").await;
    assert_eq!(layer.breaker().counts(), Counts { calls: 9, failures: 0, slow: 4 });
    assert_eq!(layer.breaker().state(), State::Closed);
    times(1, &mut service, "/after/101/200").await;
    assert_eq!(log.changes(), [(State::Open, Cause::SlowCalls)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_slow_only_if_it_takes_longer() {
    let layer = layer();
    let mut service = layer.layer(told().1);
    times(50, &mut service, "/after/100/200").await;
    assert_eq!(layer.breaker().counts(), Counts { calls: 50, failures: 0, slow: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_long_in_coming_is_slow_as_well() {
    let layer = layer();
    let mut service = layer.layer(told().1);
    times(3, &mut service, "/after/101/500").await;
    times(3, &mut service, "/500").await;
    assert_eq!(layer.breaker().counts(), Counts { calls: 6, failures: 6, slow: 3 });
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_keeps_it_open_for_longer_each_time() {
    let log = Log::default();
    let layer = layer().observer(log.clone());
    let mut service = layer.layer(told().1);
    at_once(&service, (0..10).map(|_| get("/after/200/200"))).await;
    for expected in [1, 2, 4, 8] {
        assert_eq!(wait_out(&mut service).await, seconds(expected));
        times(1, &mut service, "/after/200/200").await;
        assert_eq!(log.changes().last(), Some(&(State::Open, Cause::SlowProbe)));
    }
    wait_out(&mut service).await;
    times(2, &mut service, "/after/100/200").await;
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    times(1, &mut service, "/after/100/200").await;
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_does_not_matter_where_no_call_is_slow() {
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    at_once(&service, (0..3).map(|_| get("/after/5000/200"))).await;
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_never_makes_a_call_slow() {
    let (_, inner) = origin(|_, _| async { Ok(streamed(&[], Steps::frames(100, 1_000))) });
    let layer = layer();
    let mut service = layer.layer(inner);
    for _ in 0..20 {
        let response = service.ready().await.unwrap().call(get("/")).await.unwrap();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            assert_eq!(frame.unwrap().into_data().unwrap().len(), 1_000);
            sleep(millis(50)).await;
        }
    }
    // Each was read for 5 s, and the window is 10 s.
    let Counts { calls, failures, slow } = layer.breaker().counts();
    assert!((1..=3).contains(&calls) && failures == 0 && slow == 0, "{:?}", layer.breaker());
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_probe_does_not_make_it_slow() {
    let (_, inner) = origin(|number, _| async move {
        let mut response = streamed(&[], Steps::frames(10, 1_000));
        if number < 20 {
            *response.status_mut() = http::StatusCode::BAD_GATEWAY;
        }
        Ok(response)
    });
    let layer = layer();
    let mut service = layer.layer(inner);
    times(20, &mut service, "/").await;
    wait_out(&mut service).await;
    for _ in 0..3 {
        let mut body = service.call(get("/")).await.unwrap().into_body();
        while let Some(frame) = body.frame().await {
            frame.unwrap();
            sleep(millis(500)).await;
        }
    }
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_counts_at_the_end_of_its_body_and_not_before() {
    let (_, inner) = origin(|_, _| async {
        sleep(millis(200)).await;
        let said = Bytes::from_static(b"said");
        let steps = [Step::Wait(seconds(1)), Step::Data(said)];
        Ok(streamed(&[], Steps::new(steps)))
    });
    let layer = layer();
    let mut service = layer.layer(inner);
    let body = service.call(get("/")).await.unwrap().into_body();
    assert_eq!(layer.breaker().counts().calls, 0);
    body.collect().await.unwrap();
    assert_eq!(layer.breaker().counts(), Counts { calls: 1, failures: 0, slow: 1 });
    assert!(refusal(&call(&mut service, get("/")).await).is_none());
}
