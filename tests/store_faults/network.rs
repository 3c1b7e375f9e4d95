//! A network that is slow, or comes and goes.

use seawall::circuit_breaker::State;
use tokio::time::{Instant, sleep};

use super::{
    gone::{addr, store},
    memcached,
    stack::{Remote, Stack, Times, ms, paths, tenfold},
};
use crate::support::{
    fault_proxy::{Fault, FaultProxy},
    servers::{Memcached, Redis},
};

async fn thirty_ms<S: Remote>(what: &str, store: S, proxy: &FaultProxy) {
    let stack = Stack::over(store).await;
    stack.times(paths("warm", 50)).await;
    stack.settled().await;
    let (hits, misses) =
        (stack.times(paths("warm", 50)).await, stack.times(paths("well", 50)).await);
    stack.settled().await;
    let calls = stack.calls();
    proxy.set(Fault::Latency { requests: ms(0), replies: ms(30) });
    let slow_hits = stack.times(paths("warm", 50)).await;
    let slow_misses = stack.times(paths("slow", 50)).await;
    println!("{what}, 30 ms: hit {slow_hits} after {hits}\n  miss {slow_misses} after {misses}");
    assert!(proxy.counts().delayed >= 100, "{:?}", proxy.counts());
    assert!(slow_hits.at(50) >= ms(29) && slow_misses.at(50) >= ms(29), "{slow_hits}");
    slow_hits.assert_near(&hits, tenfold(30), what);
    slow_misses.assert_near(&misses, tenfold(30), what);
    // One that this machine has kept waiting for 20 ms more was not answered in time.
    let failed = stack.store.health().failures;
    assert!(failed <= 30, "{failed}");
    assert!(stack.calls() - calls <= 50 + failed as usize, "{}", stack.calls());
    assert_eq!((stack.told().opened, stack.state()), (0, State::Closed));
}

#[tokio::test]
async fn a_redis_that_takes_thirty_milliseconds_is_used() {
    let server = Redis::start();
    let proxy = FaultProxy::before(addr(&server)).await;
    thirty_ms("redis", store(&format!("redis://{}", proxy.addr()), false), &proxy).await;
}

#[tokio::test]
async fn a_memcached_that_takes_thirty_milliseconds_is_used() {
    let server = Memcached::start();
    let proxy = FaultProxy::before(server.addr()).await;
    thirty_ms("memcached", memcached::store(proxy.addr(), false), &proxy).await;
}

async fn flapping<S: Remote>(what: &str, store: S, proxy: &FaultProxy) {
    let stack = Stack::over(store).await;
    stack.times(paths("warm", 50)).await;
    stack.settled().await;
    let healthy = stack.times(paths("well", 50)).await;
    let accepted = proxy.counts().accepted;
    let (mut times, mut cut) = (Vec::new(), 0);
    for round in 0..3 {
        proxy.set(Fault::Closed);
        cut += proxy.cut().await;
        for up in [false, true] {
            if up {
                proxy.set(Fault::None);
            }
            let began = Instant::now();
            while began.elapsed() < ms(1_000) {
                let path = format!("/flapping/{round}/{}", times.len());
                times.push(stack.ask(&path).await.1);
                times.push(stack.ask("/warm/0").await.1);
                sleep(ms(5)).await;
            }
        }
    }
    let times = Times::new(times);
    let accepted = proxy.counts().accepted - accepted;
    let took = stack.closes().await;
    println!(
        "{what}, flapping: {times} after {healthy}; {cut} cut, {accepted} connections, closes after \
         {took:.1?} (goal 30 s)"
    );
    assert!(cut >= 1, "{:?}", proxy.counts());
    assert!(stack.told().failed > 0, "{:?}", stack.told());
    times.assert_near(&healthy, tenfold(50), what);
    // It backs off: about one attempt for each second up, and not one for each call.
    assert!(accepted <= 15, "{accepted}");
    let before = stack.calls();
    stack.ask("/flapping/after").await;
    stack.settled().await;
    assert_eq!(stack.ask("/flapping/after").await.0.cache_status(), "hit");
    assert_eq!(stack.calls(), before + 1);
}

#[tokio::test]
async fn a_redis_that_comes_and_goes_each_second() {
    let server = Redis::start();
    let proxy = FaultProxy::before(addr(&server)).await;
    flapping("redis", store(&format!("redis://{}", proxy.addr()), false), &proxy).await;
}

#[tokio::test]
async fn a_memcached_that_comes_and_goes_each_second() {
    let server = Memcached::start();
    let proxy = FaultProxy::before(server.addr()).await;
    flapping("memcached", memcached::store(proxy.addr(), false), &proxy).await;
}
