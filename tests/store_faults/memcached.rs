//! A Memcached that is killed, frozen, slow, or evicts.

use std::net::SocketAddr;

use seawall::{circuit_breaker::State, store::Memcached as Store};

use super::{
    gone::{Outage, Step},
    stack::{PLAIN, Remote, Setup, Stack, ms, paths, tenfold},
};
use crate::support::{
    fault_proxy::{Fault, FaultProxy},
    servers::Memcached,
};

pub fn store(addr: SocketAddr, near: bool) -> Store {
    let builder = Store::builder();
    let builder = if near { builder } else { builder.near_off() };
    builder.connect([addr.to_string()]).unwrap()
}

#[tokio::test]
async fn a_killed_memcached_that_comes_back_empty() {
    for near in [true, false] {
        let mut server = Memcached::start();
        let addr = server.addr();
        let outage = Outage { what: "memcached killed", near, keeps: false };
        let act = |step| match step {
            Step::Break => server.kill(),
            Step::Heal => server.restart(),
        };
        outage.run(|near| store(addr, near), act).await;
    }
}

#[tokio::test]
async fn a_frozen_memcached() {
    for near in [true, false] {
        let server = Memcached::start();
        let outage = Outage { what: "memcached frozen", near, keeps: true };
        let act = |step| match step {
            Step::Break => server.freeze(),
            Step::Heal => server.thaw(),
        };
        outage.run(|near| store(server.addr(), near), act).await;
    }
}

#[tokio::test]
async fn a_memcached_that_takes_half_a_second() {
    for near in [true, false] {
        let server = Memcached::start();
        let proxy = FaultProxy::before(server.addr()).await;
        let outage = Outage { what: "memcached slow, 500 ms", near, keeps: true };
        let act = |step| match step {
            Step::Break => proxy.set(Fault::Latency { requests: ms(0), replies: ms(500) }),
            Step::Heal => proxy.set(Fault::None),
        };
        outage.run(|near| store(proxy.addr(), near), act).await;
        assert!(proxy.counts().delayed >= 5, "{:?}", proxy.counts());
    }
}

#[tokio::test]
async fn what_a_restarted_memcached_has_lost_is_a_miss_each() {
    let mut server = Memcached::start();
    let stack = Stack::over(store(server.addr(), false)).await;
    stack.times(paths("warm", 20)).await;
    stack.settled().await;
    server.restart();
    // Connected anew before anyone asks: the breaker need never know.
    super::stack::until("it is connected", async || {
        seawall::store::Store::ping(&stack.store).await.is_ok()
    })
    .await;
    let lost = stack.times(paths("warm", 20)).await;
    stack.settled().await;
    let found = stack.times(paths("warm", 20)).await;
    println!("restarted: a miss {lost}, a hit {found}");
    assert_eq!((stack.calls(), stack.state()), (40, State::Closed));
    lost.assert_near(&found, tenfold(50), "restarted");
}

#[tokio::test]
async fn a_memcached_that_evicts_costs_a_miss_for_what_it_evicted() {
    const KEYS: usize = 1_000;
    let server = Memcached::start_with(&["-m", "2"]);
    let stack = Stack::with(store(server.addr(), false), Setup { padding: 8 << 10, ..PLAIN }).await;
    let healthy = stack.times(paths("key", KEYS)).await;
    stack.settled().await;
    assert_eq!(stack.calls(), KEYS);
    let newest = (KEYS - 20..KEYS).map(|number| format!("/key/{number}"));
    stack.times(newest).await;
    assert_eq!(stack.calls(), KEYS, "the newest are there");
    let second = stack.times(paths("key", KEYS)).await;
    stack.settled().await;
    let evictions: u64 = server.stat("evictions").parse().unwrap();
    let again = stack.calls() - KEYS;
    println!(
        "evicting: {evictions} evicted; first {healthy}, second {second}, {again} fetched again"
    );
    assert!(evictions > 100, "{evictions}");
    assert!((1..=KEYS).contains(&again), "{again}: one per key");
    assert_eq!((stack.state(), stack.store.health().failures), (State::Closed, 0));
    assert!(stack.store.health().writes);
}
