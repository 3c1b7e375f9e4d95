//! Remote stores, with the servers that they are for: what they keep, for whom, and for how long.
#![cfg(all(feature = "redis", feature = "memcached"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use seawall::{Cache, CacheLayer, store::Redis as Store};
use support::{
    answer, call, get, origin,
    servers::{Redis, Reply},
};
use tower::Layer;

#[tokio::test]
async fn what_one_process_has_stored_the_next_finds() {
    let server = Redis::start();
    let (calls, origin) = origin(|call, _| async move {
        Ok(answer(&[("cache-control", "max-age=60"), ("vary", "accept")], call.to_string()))
    });
    for (expected, said) in [("0", "fwd=uri-miss"), ("0", "hit")] {
        let store = Store::connect(&server.url()).unwrap();
        let mut service = CacheLayer::new(Cache::new(store.clone())).layer(origin.clone());
        // The connection is there when the first look-up has not failed.
        while seawall::store::Store::ping(&store).await.is_err() {
            tokio::task::yield_now().await;
        }
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!(read.text(), expected);
        assert!(read.parts.headers["cache-status"].to_str().unwrap().contains(said));
        while !matches!(server.command(&["DBSIZE"]), Reply::Integer(2)) {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(calls.count(), 1);
}
