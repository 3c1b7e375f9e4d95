//! A cache around an HTTP client: `cargo run --example client`.
//!
//! Starts a small origin, asks it three times through the cache, and shows what became of each
//! request: fetched, answered from memory, validated.

use std::time::Duration;

use axum::{
    Router,
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use seawall::{BoxError, CacheLayer, store::Memory};
use tokio::{net::TcpListener, time::Instant};
use tower::{ServiceBuilder, ServiceExt, timeout::TimeoutLayer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", get(origin))).await });

    let client = ServiceBuilder::new() // outermost first
        .layer(CacheLayer::new(Memory::bytes(16 << 20)))
        // Beneath the cache, it bounds one call of the origin; a hit has nothing to wait for.
        .layer(TimeoutLayer::new(Duration::from_secs(5)))
        .service(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());

    for (what, ask) in [
        ("fetched", None),
        ("from memory", None),
        // A caller that insists: the origin is asked whether what is stored still holds.
        ("validated", Some("no-cache")),
    ] {
        let mut request = Request::get(&uri);
        if let Some(ask) = ask {
            request = request.header(CACHE_CONTROL, ask);
        }
        let asked = Instant::now();
        let response = client.clone().oneshot(request.body(Empty::new())?).await?;
        let said = response.headers().get("cache-status").cloned();
        let body = response.into_body().collect().await?.to_bytes();
        let took = asked.elapsed().as_millis();
        println!("{what:<12} {took:>4} ms  {} bytes  Cache-Status: {said:?}", body.len());
    }
    Ok(())
}

/// Takes 200 ms to make a page, 50 ms to say that it is still the same.
async fn origin(asked: HeaderMap) -> Response {
    const TAG: &str = "\"first edition\"";
    let fields = [(CACHE_CONTROL, "max-age=60"), (ETAG, TAG)];
    if asked.get(IF_NONE_MATCH).is_some_and(|known| known == TAG) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        return (StatusCode::NOT_MODIFIED, fields).into_response();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    (fields, "a page\n".repeat(1000)).into_response()
}
