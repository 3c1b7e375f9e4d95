//! A cache inside an axum app: `cargo run --example axum [ADDR]`.
//!
//! The report takes half a second to make. Ask for it from as many terminals as you like: it is made
//! once in ten seconds. `/visits` says how often each page was made, and is never kept.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{OriginalUri, Path, State},
    http::header::{CACHE_CONTROL, ETAG},
    response::IntoResponse,
    routing::get,
};
use seawall::{Cache, CacheLayer, RespondLayer, UriKey, store::Memory};
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Made once: axum applies a layer to each route, and all of them share this cache.
    let cache = Cache::new(Memory::bytes(64 << 20));
    // A layer within `nest` sees the path without its prefix, and two of them would have the same keys.
    // The URI that the client sent is the right one wherever the layer lies.
    let key = UriKey::new().uri(|extensions| Some(&extensions.get::<OriginalUri>()?.0));
    let made = Arc::new(AtomicU32::new(0));
    let app = Router::new()
        .route("/reports/{id}", get(report))
        .route("/visits", get(visits))
        .with_state(made)
        .layer(
            ServiceBuilder::new() // outermost first
                .layer(RespondLayer::new()) // axum's services do not fail: an error becomes a response
                .layer(CacheLayer::new(cache.clone()).key(key)),
        );

    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener =
        tokio::net::TcpListener::bind(&addr).await.map_err(|e| format!("{addr}: {e}"))?;
    let addr = listener.local_addr()?;
    println!("listening on http://{addr}\n");
    println!("  curl -i http://{addr}/reports/7      # half a second; then again, at once");
    println!("  curl -s http://{addr}/visits         # how many reports were made");
    println!("\nCtrl-C ends it.");

    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    // A fetch belongs to no connection: it may still be under way when the last of them has closed.
    let drained = cache.drain(Duration::from_secs(5)).await;
    println!("{drained:?}, {:?}", cache.figures());
    Ok(())
}

/// Slow, and good for ten seconds: the handler says so, as HTTP has it, and needs no other change.
async fn report(State(made): State<Arc<AtomicU32>>, Path(id): Path<u32>) -> impl IntoResponse {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let count = made.fetch_add(1, Relaxed) + 1;
    let fields = [(CACHE_CONTROL, "max-age=10".to_owned()), (ETAG, format!("\"{id}-{count}\""))];
    (fields, format!("report {id}, the {count}. that was made\n"))
}

async fn visits(State(made): State<Arc<AtomicU32>>) -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], format!("{} reports were made\n", made.load(Relaxed)))
}
