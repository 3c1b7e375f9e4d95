//! A Redis that has no memory left: it refuses writes, or evicts.

use seawall::circuit_breaker::State;
use tokio::time::{advance, pause, resume};

use super::{
    gone::store,
    stack::{PLAIN, Remote, Setup, Stack, ms, paths, tenfold, until},
};
use crate::support::servers::Redis;

/// Time in which nothing is asked, without waiting for it.
async fn pass(milliseconds: u64) {
    pause();
    advance(ms(milliseconds)).await;
    resume();
}

#[tokio::test]
async fn a_redis_without_memory_is_read_and_not_written_for_half_a_minute() {
    let server = Redis::start();
    let set = |value| {
        assert!(server.command(&["CONFIG", "SET", "maxmemory", value]).is_ok());
    };
    let stack = Stack::over(store(&server.url(), false)).await;
    stack.times(paths("warm", 50)).await;
    stack.settled().await;
    let hits = stack.times(paths("warm", 50)).await;
    let healthy = stack.times(paths("well", 50)).await;
    stack.settled().await;
    set("1");
    let keys = server.command(&["DBSIZE"]).integer();
    let calls = stack.calls();
    let full_hits = stack.times(paths("warm", 50)).await;
    assert_eq!(stack.calls(), calls, "reads go on");
    let full = stack.times(paths("full", 200)).await;
    stack.settled().await;
    println!("no memory: hit {full_hits} after {hits}\n  miss {full} after {healthy}");
    assert_eq!(stack.calls(), calls + 200);
    assert_eq!(server.command(&["DBSIZE"]).integer(), keys);
    // The first writes found out for all.
    let found_out = stack.seen.said("OOM");
    assert!((1..=3).contains(&found_out), "{found_out}: {:?}", stack.told());
    assert_eq!((stack.state(), stack.store.health().writes), (State::Closed, false));
    full_hits.assert_near(&hits, tenfold(1), "a hit");
    full.assert_near(&healthy, tenfold(50), "a miss");

    set("0");
    stack.ask("/early").await;
    stack.settled().await;
    assert_eq!(server.command(&["DBSIZE"]).integer(), keys, "it is not asked to write yet");
    pass(30_100).await;
    assert!(stack.store.health().writes);
    until("it is connected", async || seawall::store::Store::ping(&stack.store).await.is_ok())
        .await;
    stack.ask("/after").await;
    stack.settled().await;
    assert_eq!(stack.ask("/after").await.0.cache_status(), "hit");
    assert_eq!(stack.told().opened, 0);
}

#[tokio::test]
async fn with_something_near_a_full_redis_costs_the_origin_nothing_more() {
    let server = Redis::start();
    let stack = Stack::over(store(&server.url(), true)).await;
    assert!(server.command(&["CONFIG", "SET", "maxmemory", "1"]).is_ok());
    for _ in 0..3 {
        stack.times(paths("full", 100)).await;
    }
    stack.settled().await;
    assert_eq!((stack.calls(), stack.told().hits), (100, 200));
    until("it is told", async || stack.seen.said("OOM") > 0).await;
    assert_eq!(server.command(&["DBSIZE"]).integer(), 0);
    assert_eq!((stack.state(), stack.store.health().writes), (State::Closed, false));
}

/// Where nothing is near, an answer that could not be written must not leave the older one behind.
#[tokio::test]
async fn what_could_not_be_replaced_is_removed() {
    let server = Redis::start();
    let stack = Stack::over(store(&server.url(), false)).await;
    stack.times(paths("page", 3)).await;
    stack.settled().await;
    assert_eq!(server.command(&["DBSIZE"]).integer(), 3);
    assert!(server.command(&["CONFIG", "SET", "maxmemory", "1"]).is_ok());
    stack.new_edition();
    for path in paths("page", 3) {
        let mut service = stack.service.clone();
        let request = crate::support::with(crate::support::get(&path), "cache-control", "no-cache");
        let read = crate::support::call(&mut service, request).await.unwrap();
        assert_eq!(read.text(), stack.body(&path));
    }
    stack.settled().await;
    assert!(stack.seen.said("OOM") > 0, "{:?}", stack.told());
    assert_eq!(server.command(&["DBSIZE"]).integer(), 0);
    // The body would be the older edition's.
    stack.times(paths("page", 3)).await;
}

#[tokio::test]
async fn a_redis_that_evicts_costs_a_miss_for_what_it_evicted() {
    const KEYS: usize = 1_000;
    let args = ["--maxmemory", "5mb", "--maxmemory-policy", "allkeys-lru"];
    let server = Redis::start_with(&args);
    let setup = Setup { padding: 8 << 10, ..PLAIN };
    let stack = Stack::with(store(&server.url(), false), setup).await;
    let healthy = stack.times(paths("key", 50)).await;
    let first = stack.times((50..KEYS).map(|number| format!("/key/{number}"))).await;
    stack.settled().await;
    let evicted: u64 = server.info("evicted_keys").parse().unwrap();
    assert!(evicted > 100, "{evicted}");
    let newest = stack.calls();
    stack.ask(&format!("/key/{}", KEYS - 1)).await;
    assert_eq!(stack.calls(), newest, "the newest is there");
    let second = stack.times(paths("key", KEYS)).await;
    stack.settled().await;
    let again = stack.calls() - KEYS;
    println!(
        "evicting: {evicted} evicted; {first} after {healthy}, again {second}, {again} fetched again"
    );
    assert!((1..=KEYS).contains(&again), "{again}: one per key");
    first.assert_near(&healthy, tenfold(50), "evicting");
    let status = stack.store.health();
    assert_eq!((status.state, status.failures, status.writes), (State::Closed, 0, true));
}
