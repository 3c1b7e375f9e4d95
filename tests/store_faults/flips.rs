//! Bits that change on the way: never a wrong body.

use fastrand::Rng;
use seawall::circuit_breaker::State;

use super::{
    entries::{Raw, records, wire},
    gone::{addr, store},
    memcached,
    stack::{Remote, Stack, paths, until},
};
use crate::support::{
    fault_proxy::{Fault, FaultProxy},
    servers::{Memcached, Redis},
};

const ENTRIES: usize = 100;

async fn one_bit_each<S: Remote>(what: &str, store: S, proxy: &FaultProxy, server: &impl Raw) {
    let stack = Stack::over(store).await;
    let names: Vec<_> = paths("page", ENTRIES).collect();
    stack.times(names.clone()).await;
    stack.settled().await;
    let keys = records(names.clone(), 0).await;
    let mut rng = Rng::with_seed(6);
    let (mut harmless, mut outages) = (0, 0);
    for (number, path) in names.iter().enumerate() {
        until("it is well", async || {
            stack.state() == State::Closed && stack.store.ping().await.is_ok()
        })
        .await;
        let length = server.read(&wire(&keys[number].0)).expect("it is there").len();
        let (told, calls, flipped) = (stack.told(), stack.calls(), proxy.counts().flipped);
        // Some hit the frame of the reply, most the entry.
        let byte = rng.u64(..length as u64 + 8);
        let fault = Fault::FlipBit { byte, bit: rng.u8(..8) };
        proxy.set(fault);
        // Asserts that the body is right.
        stack.ask(path).await;
        let now = stack.told();
        let missed = now.unreadable + now.foreign + now.failed
            > told.unreadable + told.foreign + told.failed;
        assert_eq!(proxy.counts().flipped, flipped + 1, "{what}: {fault:?}");
        if missed {
            assert_eq!(stack.calls(), calls + 1, "{what}: {fault:?}");
        } else {
            // Of the frame some bits do not matter: the end of its lines.
            harmless += 1;
            let in_entry = 20..length as u64;
            assert!(!in_entry.contains(&byte), "{what}: {fault:?} of {length}: {now:?}");
        }
        outages += now.opened - told.opened;
        stack.settled().await;
        proxy.set(Fault::None);
    }
    let told = stack.told();
    println!("{what}: {ENTRIES} bits: {harmless} harmless, {outages} outages, {told:?}");
}

#[tokio::test]
async fn one_bit_of_each_of_a_hundred_replies_of_redis() {
    let server = Redis::start();
    let proxy = FaultProxy::before(addr(&server)).await;
    let url = format!("redis://{}", proxy.addr());
    one_bit_each("redis", store(&url, false), &proxy, &server).await;
}

#[tokio::test]
async fn one_bit_of_each_of_a_hundred_replies_of_memcached() {
    let server = Memcached::start();
    let proxy = FaultProxy::before(server.addr()).await;
    one_bit_each("memcached", memcached::store(proxy.addr(), false), &proxy, &server).await;
}

async fn many_bits<S: Remote>(what: &str, proxy: &FaultProxy, connect: impl Fn() -> S) {
    let mut unreadable = 0;
    for seed in 0..20 {
        proxy.set(Fault::None);
        // A store each, as the breaker of one with a broken frame in each second stays open for long.
        let stack = Stack::over(connect()).await;
        stack.times(paths("page", 20)).await;
        stack.settled().await;
        proxy.set(Fault::FlipBits { share: 0.001, seed });
        stack.times(paths("page", 20)).await;
        unreadable += stack.told().unreadable;
    }
    let flipped = proxy.counts().flipped;
    println!("{what}: {flipped} bits, {unreadable} unreadable");
    assert!(flipped >= 20 && unreadable >= 5, "{what}: {flipped}, {unreadable}");
}

#[tokio::test]
async fn many_bits_of_many_replies() {
    let server = Redis::start();
    let proxy = FaultProxy::before(addr(&server)).await;
    let url = format!("redis://{}", proxy.addr());
    many_bits("redis", &proxy, || store(&url, false)).await;
    let server = Memcached::start();
    let proxy = FaultProxy::before(server.addr()).await;
    many_bits("memcached", &proxy, || memcached::store(proxy.addr(), false)).await;
}
