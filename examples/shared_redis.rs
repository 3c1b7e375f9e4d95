//! Two services that share what is in Redis: `cargo run --features redis --example shared_redis [URL]`.
//!
//! Each has a cache of its own, as two processes would. Every second one of them is asked for a new report,
//! which takes it 100 ms, and then the other is asked for the same, which finds it in Redis. Kill Redis
//! meanwhile, and start it again: both go on.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{Router, extract::Path, http::header::CACHE_CONTROL, routing::get};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use seawall::{Cache, CacheLayer, RespondLayer, store::Redis};
use tokio::{net::TcpListener, time::Instant};
use tower::ServiceBuilder;

type Any = Box<dyn Error>;

#[tokio::main]
async fn main() -> Result<(), Any> {
    let url = std::env::args().nth(1).or_else(|| std::env::var("REDIS_URL").ok());
    let url = url.unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let (one, one_redis) = serve("one", &url).await?;
    let (two, two_redis) = serve("two", &url).await?;
    println!("one on http://{one}, two on http://{two}; Ctrl-C ends it\n");

    let shown = async {
        let client = Client::builder(TokioExecutor::new()).build_http();
        for number in 0_u64.. {
            // They take turns.
            let turns = if number % 2 == 0 { [one, two] } else { [two, one] };
            for addr in turns {
                let name = if addr == one { "one" } else { "two" };
                println!("asked {name}: {}", ask(&client, addr, one, number).await?);
                // What is stored is written behind the answer.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            for (name, redis) in [("one", &one_redis), ("two", &two_redis)] {
                let status = redis.status();
                println!(
                    "  Redis, seen by {name}: {:?}; {} hits, {} misses, {} failures, {:?} a read",
                    status.state, status.hits, status.misses, status.failures, status.latency
                );
            }
            tokio::time::sleep(Duration::from_millis(800)).await;
        }
        Ok(())
    };
    tokio::select! {
        ended = shown => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// A service with a cache of its own over the Redis at `url`, and that Redis as it sees it.
async fn serve(name: &'static str, url: &str) -> Result<(SocketAddr, Redis), Any> {
    let redis = Redis::connect(url).map_err(|error| error.to_string())?;
    let report = async move |Path(number): Path<u64>| {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ([(CACHE_CONTROL, "max-age=60")], format!("report {number}, made by {name}"))
    };
    let app = Router::new().route("/reports/{number}", get(report)).layer(
        ServiceBuilder::new() // outermost first
            .layer(RespondLayer::new())
            .layer(CacheLayer::new(Cache::new(redis.clone()))),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, app).into_future());
    Ok((addr, redis))
}

/// What is answered, and how long that took.
async fn ask(
    client: &Client<HttpConnector, Empty<bytes::Bytes>>,
    addr: SocketAddr,
    host: SocketAddr,
    number: u64,
) -> Result<String, Any> {
    let uri: Uri = format!("http://{addr}/reports/{number}").parse()?;
    // Both are asked by one name, which is part of what tells answers apart.
    let request = Request::get(uri).header("host", host.to_string()).body(Empty::new())?;
    let began = Instant::now();
    let response = client.request(request).await?;
    let said =
        response.headers().get("cache-status").map_or("", |said| said.to_str().unwrap_or(""));
    let said = format!("{}, {said}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    Ok(format!("{} ({said}) after {:?}", String::from_utf8_lossy(&body), began.elapsed()))
}
