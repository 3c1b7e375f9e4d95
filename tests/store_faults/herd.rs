//! Many callers while the store is out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use seawall::circuit_breaker::State;
use tokio::time::{Instant, sleep};

use super::{
    gone::store,
    memcached,
    stack::{PLAIN, Remote, Setup, Stack, Times, ms, paths, tenfold},
};
use crate::support::servers::{Memcached, Redis};

const CALLERS: usize = 10_000;
/// Time for all of them to arrive.
const ORIGIN: Setup = Setup { takes: ms(2_000), ..PLAIN };

async fn herd<S: Remote>(what: &str, store: S, freeze: impl FnOnce()) {
    let stack = Stack::with(store, ORIGIN).await;
    let healthy = Times::new(at_once(&stack, "/healthy").await);
    assert_eq!(stack.calls(), 1, "{what}");
    freeze();
    let frozen = Times::new(at_once(&stack, "/frozen").await);
    println!("{what}: {frozen} after {healthy}");
    assert_eq!(stack.calls(), 2, "{what}: one call");
    assert!(stack.told().failed > 0, "{what}: {:?}", stack.told());
    assert!(frozen.longest() <= healthy.longest() + tenfold(100), "{what}: {frozen}");
}

async fn at_once<S: Remote>(stack: &Stack<S>, path: &'static str) -> Vec<std::time::Duration> {
    let callers = (0..CALLERS).map(|_| {
        let stack = stack.clone();
        tokio::spawn(async move { stack.ask(path).await.1 })
    });
    let mut times = Vec::with_capacity(CALLERS);
    for caller in callers.collect::<Vec<_>>() {
        times.push(caller.await.unwrap());
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_callers_for_one_key_while_redis_is_frozen() {
    for near in [true, false] {
        let server = Redis::start();
        let what = format!("herd, near {near}");
        herd(&what, store(&server.url(), near), || server.freeze()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_callers_for_one_key_while_memcached_is_frozen() {
    let server = Memcached::start();
    herd("herd, memcached", memcached::store(server.addr(), false), || server.freeze()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_keys_that_are_near_are_served_while_redis_dies_and_comes_back() {
    const KEYS: usize = 200;
    let mut server = Redis::start();
    let stack = Stack::over(store(&server.url(), true)).await;
    stack.times(paths("hot", KEYS)).await;
    stack.settled().await;
    let (ends, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (stack, ends, asked) = (stack.clone(), Arc::clone(&ends), Arc::clone(&asked));
            tokio::spawn(async move {
                let (mut times, mut number) = (Vec::new(), caller * 50);
                while !ends.load(SeqCst) {
                    // It fails where that does, and asserts the body.
                    times.push(stack.ask(&format!("/hot/{}", number % KEYS)).await.1);
                    number += 1;
                    asked.fetch_add(1, SeqCst);
                    if number % 10 == 0 {
                        sleep(ms(1)).await;
                    }
                }
                times
            })
        })
        .collect();
    let mut served = Vec::new();
    let mut phase = async |stack: &Stack<_>, what, writes: usize| {
        let before = asked.load(SeqCst);
        for number in 0..writes {
            // Somebody asks for what is not there, too.
            stack.ask(&format!("/cold/{what}/{number}")).await;
        }
        sleep(ms(500)).await;
        served.push((what, asked.load(SeqCst) - before));
    };
    phase(&stack, "well", 0).await;
    server.kill();
    phase(&stack, "dying", 20).await;
    assert_ne!(stack.state(), State::Closed);
    phase(&stack, "dead", 20).await;
    server.restart();
    phase(&stack, "back", 20).await;
    let took = stack.closes().await;
    phase(&stack, "well-again", 20).await;
    ends.store(true, SeqCst);
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await.unwrap());
    }
    let (times, began) = (Times::new(times), Instant::now());
    println!("hot: hit {times}; {served:?}; closed {took:.1?} later, {:.1?}", began.elapsed());
    assert!(served.iter().all(|(_, asked)| *asked > 100), "{served:?}");
    // Each hot key was fetched once in all, and each cold one.
    assert_eq!(stack.calls(), KEYS + 80);
    let told = stack.told();
    assert_eq!(told.hits, asked.load(SeqCst) as u64, "each was a hit");
    assert_eq!((told.opened, told.closed), (1, 1), "{told:?}");
}
