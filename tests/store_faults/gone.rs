//! A Redis that is killed, frozen or far too slow: what is near is served, the rest is the origin's, and the
//! breaker finds out by itself that it is back.

use std::{net::SocketAddr, thread};

use seawall::{circuit_breaker::State, store::Redis as Store};
use tokio::time::{Instant, sleep};

use super::stack::{Remote, Stack, Times, Told, ms, paths, tenfold, until};
use crate::support::{
    fault_proxy::{Fault, FaultProxy},
    servers::{Redis, Reply},
};

/// What is done to a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Break,
    Heal,
}

/// One outage of a server, from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    pub what: &'static str,
    pub near: bool,
    /// The server has afterwards what it had before.
    pub keeps: bool,
}

const WARM: usize = 50;

impl Outage {
    /// `make` makes the store of one more process, with something near or nothing.
    pub async fn run<S: Remote>(self, make: impl Fn(bool) -> S, mut act: impl FnMut(Step)) {
        let Self { what, near, .. } = self;
        println!("{what}, near {}", if near { "on" } else { "off" });
        let stack = Stack::over(make(near)).await;
        let healthy = stack.times(paths("healthy", 200)).await;
        stack.times(paths("warm", WARM)).await;
        stack.settled().await;
        let hits = stack.times(paths("warm", WARM)).await;
        let other = Stack::over(make(false)).await;
        for path in paths("warm", WARM) {
            until("all is far", async || {
                other.ask(&path).await.0.cache_status().starts_with("hit")
            })
            .await;
        }
        let before = (stack.told(), stack.store.health().failures);
        // A busy machine may have kept one or another for 50 ms.
        let late = before.1 as usize;
        assert!(late <= 5 && before.0.opened == 0, "{what}: {:?}", stack.told());
        assert!(stack.calls() <= 200 + WARM + late, "{what}: {}", stack.calls());

        act(Step::Break);
        let mut early = Vec::new();
        while stack.state() == State::Closed {
            assert!(early.len() < 100, "it stays closed: {:?}", stack.told());
            early.push(stack.ask(&format!("/early/{}", early.len())).await.1);
        }
        let failures = stack.store.health().failures - before.1;
        let early = Times::new(early);
        println!("  miss healthy       {healthy}\n  miss until it opens {early}");
        // Beside the fifth there may be writes under way, of which each may fail twice.
        assert!((5..=15).contains(&failures), "{what}: opened at {failures}");
        assert!(early.longest() <= healthy.longest() + tenfold(50), "{what}: {early}");
        let told = stack.told();
        assert_eq!((told.opened, told.in_a_row), (1, 1), "{what}: {told:?}");
        assert!(told.failed > before.0.failed, "{what}: {told:?}");

        let (calls, told) = (stack.calls(), stack.told());
        let mut dark = Vec::new();
        let since = Instant::now();
        while dark.len() < 200 || since.elapsed() < ms(1500) {
            dark.push(stack.ask(&format!("/dark/{}", dark.len())).await.1);
            sleep(ms(2)).await;
        }
        let (count, dark) = (dark.len(), Times::new(dark));
        let served = stack.times(paths("warm", WARM)).await;
        println!(
            "  miss once open     {dark}\n  warm healthy       {hits}\n  warm once open     {served}"
        );
        dark.assert_near(&healthy, tenfold(1), what);
        assert!(dark.longer_than(healthy.at(99) + ms(25)) <= 5, "{what}: {dark}");
        // What is near costs the origin nothing, what is not a call each.
        let fetched = if near { count } else { count + WARM };
        assert_eq!(stack.calls() - calls, fetched, "{what}");
        let refused = stack.told().refused - told.refused;
        assert!(refused >= count as u64, "{what}: {refused} of {count}");
        assert_ne!(stack.state(), State::Closed, "{what}");

        act(Step::Heal);
        let took = stack.closes().await;
        println!("  closes by itself   {took:.1?} after it is back (goal 2 s)");
        assert!(took <= tenfold(2_000), "{what}: {took:?}");
        let Told { closed, opened, .. } = stack.told();
        assert_eq!((closed, opened), (1, 1), "{what}");
        self.is_back(&stack, &other, make).await;
    }

    async fn is_back<S: Remote>(self, stack: &Stack<S>, dark: &Stack<S>, make: impl Fn(bool) -> S) {
        let Self { what, keeps, .. } = self;
        let refused = stack.told().refused;
        let other = Stack::over(make(false)).await;
        if keeps {
            let read = other.ask("/warm/0").await.0;
            assert_eq!((read.cache_status(), other.calls()), ("hit", 0), "{what}");
            assert_eq!(stack.ask("/warm/1").await.0.cache_status(), "hit", "{what}");
        }
        stack.ask("/after").await;
        until("a new answer is far", async || other.ask("/after").await.0.cache_status() == "hit")
            .await;
        assert_eq!(stack.told().refused, refused, "{what}");
        // That process was not asked in the meantime, and its breaker knows nothing of all this.
        dark.closes().await;
        until("the idle one is connected", async || dark.store.ping().await.is_ok()).await;
        assert_eq!(dark.ask("/after").await.0.cache_status(), "hit", "{what}");
    }
}

pub fn store(url: &str, near: bool) -> Store {
    let builder = Store::builder();
    let builder = if near { builder } else { builder.near_off() };
    builder.connect(url).unwrap()
}

pub fn addr(server: &Redis) -> SocketAddr {
    ([127, 0, 0, 1], server.port()).into()
}

#[tokio::test]
async fn a_killed_redis_that_comes_back_with_its_data() {
    for near in [true, false] {
        let mut server = Redis::setup().persistent().args(&["--appendfsync", "always"]).start();
        let (url, run) = (server.url(), server.info("run_id"));
        let outage = Outage { what: "killed, keeps its data", near, keeps: true };
        let act = |step| match step {
            Step::Break => server.kill(),
            Step::Heal => server.restart(),
        };
        outage.run(|near| store(&url, near), act).await;
        assert_ne!(server.info("run_id"), run);
    }
}

#[tokio::test]
async fn a_killed_redis_that_comes_back_as_another_and_empty() {
    for near in [true, false] {
        let mut server = Redis::start();
        let (url, run) = (server.url(), server.info("run_id"));
        let outage = Outage { what: "killed, back empty", near, keeps: false };
        let act = |step| match step {
            Step::Break => server.kill(),
            Step::Heal => {
                server.restart();
                assert_eq!(server.command(&["DBSIZE"]).integer(), 0);
            }
        };
        outage.run(|near| store(&url, near), act).await;
        assert_ne!(server.info("run_id"), run);
    }
}

#[tokio::test]
async fn a_frozen_redis() {
    for near in [true, false] {
        let server = Redis::start();
        let url = server.url();
        let outage = Outage { what: "frozen", near, keeps: true };
        let act = |step| match step {
            Step::Break => server.freeze(),
            Step::Heal => server.thaw(),
        };
        outage.run(|near| store(&url, near), act).await;
    }
}

#[tokio::test]
async fn a_redis_that_takes_half_a_second() {
    for near in [true, false] {
        let server = Redis::start();
        let proxy = FaultProxy::before(addr(&server)).await;
        let url = format!("redis://{}", proxy.addr());
        let outage = Outage { what: "slow, 500 ms", near, keeps: true };
        let act = |step| match step {
            Step::Break => proxy.set(Fault::Latency { requests: ms(0), replies: ms(500) }),
            Step::Heal => proxy.set(Fault::None),
        };
        outage.run(|near| store(&url, near), act).await;
        assert!(proxy.counts().delayed >= 5, "{:?}", proxy.counts());
    }
}

#[tokio::test]
async fn a_redis_that_loads_its_data() {
    // Loading takes a millisecond a key, of which there are some thousand.
    let args = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
    let mut server = Redis::setup().args(&args).start();
    let stack = Stack::over(store(&server.url(), false)).await;
    let healthy = stack.times(paths("warm", 100)).await;
    stack.settled().await;
    let fill = "for i=1,2500 do redis.call('SET', 'fill'..i, string.rep('x', 100)) end";
    assert_eq!(server.command(&["EVAL", fill, "0"]), Reply::Nil);
    assert!(server.command(&["SAVE"]).is_ok());
    server.kill();
    let restarted = thread::spawn(move || {
        server.restart();
        server
    });
    until("it is open", async || {
        stack.ask(&format!("/dark/{}", stack.calls())).await;
        stack.state() == State::Open
    })
    .await;
    // It was killed first, and then loads: of the calls since the breaker has closed for that, or not.
    let mut dark = Vec::new();
    while !restarted.is_finished() {
        dark.push(stack.ask(&format!("/dark/{}", stack.calls())).await.1);
        sleep(ms(5)).await;
    }
    let server = restarted.join().unwrap();
    let took = stack.closes().await;
    let dark = Times::new(dark);
    println!(
        "loading\n  miss healthy  {healthy}\n  miss meanwhile {dark}\n  closes after  {took:.1?} (goal 2 s)"
    );
    assert!(server.log().contains("Loading RDB"), "{}", server.log());
    dark.assert_near(&healthy, tenfold(1), "loading");
    assert!(took <= tenfold(2_000), "{took:?}");
    assert_eq!(stack.ask("/warm/0").await.0.cache_status(), "hit");
}
