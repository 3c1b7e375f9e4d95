//! The origin says when it wants to be asked again: `Retry-After`, or gRPC's pushback.

use std::time::SystemTime;

use http::Response;
use seawall::{
    CircuitBreaker, CircuitBreakerLayer,
    admission::{Admission, ByStatus},
    circuit_breaker::{One, State},
    rfc9111::date,
};
use tokio::time::sleep;
use tower::Layer;

use crate::{
    acts::{refusal, times, wait_out},
    millis, seconds,
    support::{
        BoxedOrigin, answer_status,
        bodies::{Step, Steps},
        call, get, origin, with,
    },
};

/// What a call meets now is a probe: one that was forced open lets probes decide at once.
pub(crate) fn half_open(breaker: &CircuitBreaker) {
    breaker.force_open();
    breaker.automatic();
    assert_eq!(breaker.state(), State::HalfOpen);
}

/// A layer without luck, and its service over an origin that answers with the status in the path
/// and, in these fields, what the request has in its fields of the same names.
fn echoing() -> (CircuitBreakerLayer, Admission<BoxedOrigin, One, ByStatus>) {
    let (_, inner) = origin(|_, request| async move {
        let status = request.uri().path()[1..].parse().unwrap();
        let mut response = answer_status(status, &[], "");
        *response.headers_mut() = request.headers().clone();
        Ok(response)
    });
    let layer = CircuitBreakerLayer::new().jitter(0.0);
    (layer.clone(), layer.layer(inner))
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_for_as_long_as_the_origin_asks_up_to_the_longest_time() {
    for (status, said, wait) in [
        ("/503", "7", seconds(7)),
        ("/500", "7", seconds(7)),
        ("/503", "30", seconds(30)),
        ("/503", "86400", seconds(30)),
        ("/503", "0", seconds(1)),
        ("/503", "-5", seconds(1)),
        ("/503", "soon", seconds(1)),
    ] {
        let (layer, mut service) = echoing();
        times(19, &mut service, "/503").await;
        call(&mut service, with(get(status), "retry-after", said)).await.unwrap();
        assert_eq!(refusal(&call(&mut service, get("/200")).await), Some(wait), "{said}");
        sleep(wait - millis(1)).await;
        assert_eq!(layer.breaker().state(), State::Open, "{said}");
        sleep(millis(1)).await;
        assert_eq!(layer.breaker().state(), State::HalfOpen, "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_more_seconds_than_can_be_counted_is_the_longest_time() {
    let (_, mut service) = echoing();
    times(19, &mut service, "/503").await;
    let request = with(get("/503"), "retry-after", "99999999999999999999");
    call(&mut service, request).await.unwrap();
    assert_eq!(refusal(&call(&mut service, get("/200")).await), Some(seconds(30)));
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_until_the_date_that_the_origin_names() {
    for (ahead, least, most) in [(20, 18, 20), (3_600, 30, 30)] {
        let (_, mut service) = echoing();
        times(19, &mut service, "/503").await;
        let at = date::format(SystemTime::now() + seconds(ahead));
        let request = with(get("/503"), "retry-after", std::str::from_utf8(&at).unwrap());
        call(&mut service, request).await.unwrap();
        let wait = refusal(&call(&mut service, get("/200")).await).unwrap();
        println!("{ahead} s ahead: {wait:?}");
        // A date has whole seconds.
        assert!(seconds(least) <= wait && wait <= seconds(most), "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_for_as_long_as_a_grpc_origin_asks() {
    let (_, mut service) = echoing();
    times(19, &mut service, "/503").await;
    let request = with(get("/200"), "content-type", "application/grpc");
    let request = with(with(request, "grpc-status", "14"), "grpc-retry-pushback-ms", "2500");
    call(&mut service, request).await.unwrap();
    assert_eq!(refusal(&call(&mut service, get("/200")).await), Some(millis(2_500)));
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_for_as_long_as_the_trailers_ask() {
    let (_, inner) = origin(|_, _| async {
        let field = |name: &'static str, value: &'static str| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        let fields = [field("grpc-status", "14"), field("grpc-retry-pushback-ms", "2500")];
        let steps = [Step::Data("said".into()), Step::Trailers(fields.into_iter().collect())];
        let response = Response::builder().header("content-type", "application/grpc+proto");
        Ok(response.body(Steps::new(steps))?)
    });
    let mut service = CircuitBreakerLayer::new().jitter(0.0).layer(inner);
    times(20, &mut service, "/").await;
    assert_eq!(refusal(&call(&mut service, get("/")).await), Some(millis(2_500)));
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_probe_asks_is_heeded_and_never_shortens_its_time() {
    let (_, mut service) = echoing();
    times(20, &mut service, "/503").await;
    for (said, next) in [("1", 2), ("20", 20), ("1", 8)] {
        wait_out(&mut service).await;
        call(&mut service, with(get("/503"), "retry-after", said)).await.unwrap();
        assert_eq!(refusal(&call(&mut service, get("/200")).await), Some(seconds(next)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_while_it_is_closed_opens_nothing_by_itself() {
    let (layer, mut service) = echoing();
    call(&mut service, with(get("/503"), "retry-after", "20")).await.unwrap();
    times(100, &mut service, "/200").await;
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_before_it_closed_is_over() {
    let (_, mut service) = echoing();
    times(19, &mut service, "/503").await;
    call(&mut service, with(get("/503"), "retry-after", "25")).await.unwrap();
    wait_out(&mut service).await;
    times(3, &mut service, "/200").await;
    sleep(seconds(10)).await;
    times(20, &mut service, "/503").await;
    assert_eq!(refusal(&call(&mut service, get("/200")).await), Some(seconds(1)));
}

#[tokio::test(start_paused = true)]
async fn a_429_neither_opens_it_nor_keeps_it_open() {
    let (layer, mut service) = echoing();
    for _ in 0..100 {
        call(&mut service, with(get("/429"), "retry-after", "25")).await.unwrap();
    }
    assert_eq!(layer.breaker().counts().calls, 0);
    times(20, &mut service, "/503").await;
    assert_eq!(refusal(&call(&mut service, get("/200")).await), Some(seconds(1)));
}
