//! What operators ask of the answers in Redis, of a real one.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use seawall::{
    Cache, CacheLayer,
    store::{Redis as Store, Store as _},
};
use support::{BoxedOrigin, Calls, answer, call, origin, servers::Redis};
use tokio::time::{Instant, sleep};
use tower::Layer;

fn site() -> (Calls, BoxedOrigin) {
    origin(|call, _| async move {
        Ok(answer(&[("cache-control", "max-age=60"), ("vary", "accept")], call.to_string()))
    })
}

async fn store(server: &Redis, namespace: &str) -> Store {
    let store = Store::builder().namespace(namespace).connect(&server.url()).unwrap();
    until(|| async { store.ping().await.is_ok() }).await;
    store
}

async fn until<F: Future<Output = bool>>(mut done: impl FnMut() -> F) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < Duration::from_secs(10), "it does not come to that");
        sleep(Duration::from_millis(2)).await;
    }
}

async fn fetched(cache: &Cache, origin: &BoxedOrigin, uri: &str) -> String {
    let mut service = CacheLayer::new(cache.clone()).layer(origin.clone());
    let request = http::Request::get(uri).body(http_body_util::Empty::new()).unwrap();
    call(&mut service, request).await.unwrap().text().to_owned()
}

/// Ten products and five pages of one host, one page of another; as many lists of variants.
async fn filled(server: &Redis, store: &Store, origin: &BoxedOrigin) -> Cache {
    let cache = Cache::new(store.clone());
    for number in 0..10 {
        fetched(&cache, origin, &format!("http://shop.example/products/{number}?a=b")).await;
    }
    for number in 0..5 {
        fetched(&cache, origin, &format!("https://Shop.example:443/pages/{number}")).await;
    }
    fetched(&cache, origin, "http://other.example/products/1").await;
    until(|| async { server.command(&["DBSIZE"]).integer() == 32 }).await;
    cache
}

#[tokio::test]
async fn answers_are_counted_and_sampled_by_how_their_uri_begins() {
    let server = Redis::start();
    let (_, origin) = site();
    let store = store(&server, "one").await;
    let _cache = filled(&server, &store, &origin).await;
    for (prefix, expected) in [
        ("", 16),
        ("shop.example/", 15),
        ("shop.example/products/", 10),
        ("shop.example/products/3?a=b", 1),
        ("other.example", 1),
        ("http://", 0),
        ("*", 0),
    ] {
        assert_eq!(store.count(prefix).await.unwrap(), expected, "{prefix:?}");
        let mut sample = store.sample(prefix, 4).await.unwrap();
        assert_eq!(sample.len() as u64, expected.min(4), "{prefix:?}");
        assert!(sample.iter().all(|uri| uri.starts_with(prefix)), "{sample:?}");
        sample.sort();
        sample.dedup();
        assert_eq!(sample.len() as u64, expected.min(4), "none is drawn twice");
    }
    assert_eq!(self::store(&server, "two").await.count("").await.unwrap(), 0);
}

#[tokio::test]
async fn a_pattern_invalidates_what_it_names_near_and_far_and_nothing_else() {
    let server = Redis::start();
    let (calls, origin) = site();
    let store = store(&server, "one").await;
    let cache = filled(&server, &store, &origin).await;
    server.command(&["SET", "one:canary", "sings"]);
    server.command(&["RPUSH", "one:list", "a"]);
    let done = store.invalidate("*/products/*", &cache.invalidator()).await.unwrap();
    assert_eq!((done.seen, done.matched), (16, 11));
    let before = calls.count();
    assert_eq!(fetched(&cache, &origin, "https://shop.example/pages/1").await, "11");
    assert_eq!(calls.count(), before, "it was not named");
    for uri in ["http://shop.example/products/3?a=b", "http://other.example/products/1"] {
        fetched(&cache, &origin, uri).await;
    }
    assert_eq!(calls.count(), before + 2, "they were fetched anew");
    // Another process, with nothing near.
    let other = Cache::new(self::store(&server, "one").await);
    fetched(&other, &origin, "http://shop.example/products/4?a=b").await;
    assert_eq!(calls.count(), before + 3);
    assert_eq!(server.command(&["GET", "one:canary"]).text(), "sings");
    let stats = server.command(&["INFO", "commandstats"]).text().to_owned();
    assert!(stats.contains("cmdstat_scan") && !stats.contains("cmdstat_keys"), "{stats}");
}

#[tokio::test]
async fn of_a_server_that_is_not_there_nothing_is_said() {
    let store = Store::connect("redis://127.0.0.1:1").unwrap();
    store.count("").await.unwrap_err();
    store.sample("", 1).await.unwrap_err();
    let cache = Cache::new(store.clone());
    store.invalidate("*", &cache.invalidator()).await.unwrap_err();
}
