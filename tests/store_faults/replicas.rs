//! A Redis that takes no writes because it is a replica, and one that fails over.

use seawall::circuit_breaker::State;
use tokio::time::{Instant, sleep};

use super::{
    gone::store,
    stack::{Remote, Stack, Times, ms, paths, tenfold, until},
};
use crate::support::servers::{Pair, Sentinel};

/// Asks for new paths until one that was asked for once is found far; returns how long that took.
async fn writes_again<S: Remote>(stack: &Stack<S>, prefix: &str) -> std::time::Duration {
    let (began, mut number) = (Instant::now(), 0);
    until("a new answer is far", async || {
        number += 1;
        let path = format!("/{prefix}/{number}");
        stack.ask(&path).await;
        stack.settled().await;
        stack.ask(&path).await.0.cache_status() == "hit"
    })
    .await;
    began.elapsed()
}

#[tokio::test]
async fn a_read_only_replica_is_read_and_once_promoted_written_again() {
    let mut pair = Pair::start();
    let stack = Stack::over(store(&pair.master.url(), false)).await;
    let healthy = stack.times(paths("warm", 100)).await;
    stack.settled().await;
    let hits = stack.times(paths("warm", 100)).await;
    pair.wait();
    // Ours is the replica from now on.
    pair.promote();
    until("it answers", async || seawall::store::Store::ping(&stack.store).await.is_ok()).await;
    let calls = stack.calls();
    let replica_hits = stack.times(paths("warm", 100)).await;
    assert_eq!(stack.calls(), calls, "reads are served: {:?}", stack.told());
    let mut misses = Vec::new();
    for path in paths("dark", 100) {
        misses.push(stack.ask(&path).await.1);
    }
    stack.settled().await;
    let misses = Times::new(misses);
    println!("read-only: hit {replica_hits} after {hits}\n  miss {misses} after {healthy}");
    assert!(stack.seen.said("READONLY") > 0, "{:?}", stack.told());
    assert!(!stack.store.health().writes);
    assert_eq!((stack.state(), stack.told().opened), (State::Closed, 0));
    misses.assert_near(&healthy, tenfold(50), "read-only");
    let dbsize = |server: &crate::support::servers::Redis| server.command(&["DBSIZE"]).integer();
    assert_eq!(dbsize(&pair.replica), 100);
    pair.promote();
    let took = writes_again(&stack, "after").await;
    println!("  written again after {took:.1?} (goal 2 s)");
    assert!(took <= tenfold(2_000), "{took:?}");
    assert!(stack.store.health().writes);
}

#[tokio::test]
async fn by_sentinel_the_next_master_is_found() {
    for kills in [true, false] {
        let mut sentinel = Sentinel::start();
        let url = format!("{}?sentinel={}", sentinel.url(), Sentinel::NAME);
        let stack = Stack::over(store(&url, false)).await;
        let healthy = stack.times(paths("warm", 100)).await;
        stack.settled().await;
        sentinel.wait_for_replica();
        let port = sentinel.master_port();
        let began = Instant::now();
        let mut dark = Vec::new();
        if kills {
            sentinel.kill_master();
            stack.opens("early").await;
            while sentinel.master_port() == port {
                dark.push(stack.ask(&format!("/dark/{}", dark.len())).await.1);
                sleep(ms(10)).await;
            }
            sentinel.wait_for_another_than(port);
            let dark = Times::new(dark);
            println!("failed over: another master after {:.1?}", began.elapsed());
            println!("  miss {dark} after {healthy}");
            dark.assert_near(&healthy, tenfold(1), "failed over");
            let took = stack.closes().await;
            println!("  closes {took:.1?} after the other is master (goal 2 s)");
            assert!(took <= tenfold(2_000), "{took:?}");
            // All of it had reached the replica.
            assert_eq!(stack.ask("/warm/0").await.0.cache_status(), "hit");
            let told = stack.told();
            assert_eq!((told.opened, told.closed), (1, 1), "{told:?}");
        } else {
            sentinel.fail_over();
            let took = writes_again(&stack, "after").await;
            println!("changed places: written again after {took:.1?} (goal 2 s)");
            assert!(took <= tenfold(2_000), "{took:?}");
        }
        assert_ne!(sentinel.master_port(), port);
        let took = writes_again(&stack, "later").await;
        assert!(took <= tenfold(2_000), "{took:?}");
        let before = stack.calls();
        stack.times(paths("warm", 100)).await;
        println!("  {} of 100 lost", stack.calls() - before);
        let master = sentinel.master();
        assert!(master.info("cmdstat_set").starts_with("calls="));
    }
}
