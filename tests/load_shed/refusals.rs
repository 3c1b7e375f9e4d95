//! What a caller sees of a refusal.

use std::time::Duration;

use http::Request;
use seawall::{
    BoxError, LoadShedLayer, Reason, RespondLayer,
    load_shed::{Criticality, Rate},
};
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceBuilder, service_fn};

use crate::{
    SECOND, hold, millis, of_class, reason,
    support::{
        BoxedOrigin, Read, Req, answer, call, get, origin,
        sockets::{
            client::{self, Client, http2},
            serve,
        },
        with,
    },
    wait,
};

fn inner() -> BoxedOrigin {
    origin(|_, _| async { Ok(answer(&[], "body")) }).1
}

fn grpc() -> Req {
    let mut request = with(get("/service/method"), "content-type", "application/grpc");
    *request.method_mut() = http::Method::POST;
    request
}

fn number(read: &Read, field: &str) -> u64 {
    read.field(field).unwrap_or_else(|| panic!("no {field}: {read:?}")).parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_a_503_that_says_when_to_come_back() {
    let layer = LoadShedLayer::fixed(1);
    let _held = hold(&layer.layer(inner()), get("/")).await.unwrap();
    let read = call(&mut (RespondLayer::new(), layer).layer(inner()), get("/")).await.unwrap();
    assert_eq!((read.status(), read.text()), (503, "503 Service Unavailable\n"));
    assert!((1..=2).contains(&number(&read, "retry-after")), "{read:?}");
    let extensions = &read.parts.extensions;
    let found = extensions.get::<seawall::Rejected>().map(seawall::Rejected::reason);
    assert_eq!(found, Some(Reason::Shed), "for a layer above");
}

#[tokio::test(start_paused = true)]
async fn a_refused_grpc_call_is_a_200_with_trailers_alone_and_a_pushback() {
    let layer = LoadShedLayer::fixed(1);
    let _held = hold(&layer.layer(inner()), get("/")).await.unwrap();
    let read = call(&mut (RespondLayer::new(), layer).layer(inner()), grpc()).await.unwrap();
    assert_eq!((read.status(), number(&read, "grpc-status")), (200, 14));
    assert_eq!(read.field("content-type"), Some("application/grpc"));
    assert!((1_000..=1_500).contains(&number(&read, "grpc-retry-pushback-ms")), "{read:?}");
    assert!(read.body.is_empty() && read.trailers.is_none() && read.field("retry-after").is_none());
}

#[tokio::test(start_paused = true)]
async fn the_longer_calls_are_refused_the_later_they_are_told_to_come_back() {
    let layer = LoadShedLayer::fixed(1);
    let service = layer.layer(inner());
    let held = hold(&service, get("/")).await.unwrap();
    let mut last = Duration::ZERO;
    for second in 0..=60_u32 {
        let told = wait(&hold(&service, get("/")).await.unwrap_err());
        // As long again as it has lasted, and up to half of it more.
        let lasted = second.clamp(1, 30) * SECOND;
        assert!(told >= lasted && told <= lasted.mul_f64(1.5), "{second}: {told:?}");
        last = last.max(told);
        advance(SECOND).await;
    }
    assert!(last > 30 * SECOND);
    // Another class has its own spell, and five seconds without a refusal end one.
    let other = of_class(Criticality::Sheddable, get("/"));
    assert!(wait(&hold(&service, other).await.unwrap_err()) <= millis(1_500));
    drop(held);
    advance(6 * SECOND).await;
    let _held = hold(&service, get("/")).await.unwrap();
    assert!(wait(&hold(&service, get("/")).await.unwrap_err()) <= millis(1_500));
}

#[tokio::test(start_paused = true)]
async fn not_all_who_are_refused_are_told_to_come_back_at_once() {
    let service = LoadShedLayer::fixed(1).layer(inner());
    let _held = hold(&service, get("/")).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..1_000 {
        told.push(wait(&hold(&service, get("/")).await.unwrap_err()));
    }
    told.sort_unstable();
    told.dedup();
    assert!(told.len() > 900, "{}", told.len());
    let quarter = |at: usize| told.partition_point(|&told| told < millis(1_000 + 125 * at as u64));
    for at in 0..4 {
        assert!(quarter(at + 1) - quarter(at) > 100, "they come back in a herd");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_over_quota_gets_a_429_with_a_time_that_is_rounded_up_and_never_zero() {
    for (rate, seconds, millis) in [
        (Rate::per_second(1_000), 1, 1),
        (Rate::per_second(3), 1, 334),
        (Rate::per_minute(40), 2, 1_500),
        (Rate::per_minute(1), 60, 60_000),
    ] {
        let layer = LoadShedLayer::default().quota(rate.burst(1), |_: &Req| Some("all"));
        let mut service = (RespondLayer::new(), layer.clone()).layer(inner());
        assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 200);
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!((read.status(), number(&read, "retry-after")), (429, seconds), "{rate:?}");
        let read = call(&mut service, grpc()).await.unwrap();
        assert_eq!((read.status(), number(&read, "grpc-status")), (200, 8), "{rate:?}");
        assert_eq!(number(&read, "grpc-retry-pushback-ms"), millis, "{rate:?}");
        let error = call(&mut layer.layer(inner()), get("/")).await.unwrap_err();
        assert_eq!(reason(&error), Some(Reason::OverQuota));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_wire_a_refusal_is_a_503_whose_retry_after_grows_while_refusals_last() {
    let layer = LoadShedLayer::fixed(1);
    let layers = ServiceBuilder::new().layer(RespondLayer::new()).layer(layer.clone());
    let addr = serve(layers.service(service_fn(|_: Request<hyper::body::Incoming>| async {
        Ok::<_, BoxError>(answer(&[], "body"))
    })))
    .await;
    let mut client = Client::connect(addr).await;
    assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: a\r\n").await.status, 200);
    // Two calls more than there are places, without a word of what else goes on.
    let _held = hold(&layer.layer(inner()), get("/")).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..9 {
        let refused = client.ask("GET / HTTP/1.1\r\nhost: a\r\n").await;
        assert_eq!((refused.status, refused.fields("retry-after").len()), (503, 1));
        assert!(refused.whole && refused.text() == "503 Service Unavailable\n", "{refused:?}");
        told.push(refused.field("retry-after").unwrap().parse::<u64>().unwrap());
        sleep(millis(500)).await;
    }
    println!("Retry-After, twice a second: {told:?}");
    assert!((1..=2).contains(&told[0]), "{told:?}");
    assert!(*told.last().unwrap() >= 3, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_wire_a_refused_grpc_call_ends_with_its_head() {
    let layer = LoadShedLayer::fixed(1);
    let layers = ServiceBuilder::new().layer(RespondLayer::new()).layer(layer.clone());
    let addr = serve(layers.service(service_fn(|_: Request<hyper::body::Incoming>| async {
        Ok::<_, BoxError>(answer(&[], "body"))
    })))
    .await;
    let _held = hold(&layer.layer(inner()), get("/")).await.unwrap();
    let mut request = client::request("/service/method");
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    let response = http2(addr).await.send_request(request).await.unwrap();
    assert!(http_body::Body::is_end_stream(response.body()), "trailers alone");
    assert_eq!(response.status(), 200);
    let field = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (field("grpc-status"), field("content-type")),
        ("14".into(), "application/grpc".into())
    );
    assert!(field("grpc-retry-pushback-ms").parse::<u64>().unwrap() >= 1_000);
}
