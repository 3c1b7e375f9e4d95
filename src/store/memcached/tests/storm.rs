//! Calls that are given up at every point: no other call may see what they leave behind.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use tokio::task::yield_now;

use super::support::{HOUR, Memcached, connected, key, open};
use crate::store::server::Server;

const KEYS: u64 = 1_000;
const CALLERS: u64 = 256;

/// Of many sizes, so that replies are cut in many places, and each with its key in every part.
fn page(n: u64) -> Bytes {
    format!("{n};").repeat(1 + (n as usize * 7) % 4_000).into()
}

#[derive(Default)]
struct Counts {
    completed: AtomicU64,
    dropped: AtomicU64,
    mismatched: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_cancelled_calls_gives_nobody_anothers_value() {
    storm(100_000).await;
}

#[ignore = "takes ten seconds"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_a_million_calls_gives_nobody_anothers_value() {
    storm(1_000_000).await;
}

async fn storm(gets: u64) {
    let memcached = Memcached::start(&["-m", "256"]);
    let servers = Arc::new(open(&memcached.address()));
    connected(&servers).await;
    for n in 0..KEYS {
        servers.set(&key(n), page(n), HOUR).await.unwrap();
    }
    let connections = memcached.stat("total_connections");
    let counts = Arc::new(Counts::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (servers, counts) = (servers.clone(), counts.clone());
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(caller);
                for _ in 0..gets / CALLERS + 1 {
                    let n = random.u64(..KEYS);
                    // About half of all calls end before their patience does.
                    let patience = (random.u32(..10) < 7).then(|| random.u32(..16));
                    let key = key(n);
                    match given_up_after(patience, servers.get(&key)).await {
                        Some(got) => {
                            counts.completed.fetch_add(1, Relaxed);
                            if got.unwrap() != Some(page(n)) {
                                counts.mismatched.fetch_add(1, Relaxed);
                            }
                        }
                        None => _ = counts.dropped.fetch_add(1, Relaxed),
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        tokio::time::timeout(Duration::from_secs(600), caller).await.unwrap().unwrap();
    }
    // All that was sent before it has been answered.
    servers.ping().await.unwrap();

    let (completed, dropped) = (counts.completed.load(Relaxed), counts.dropped.load(Relaxed));
    // What the server was asked, and no caller saw: written, and given up before its reply.
    let abandoned = memcached.stat("cmd_get") - completed;
    println!("{completed} completed, {dropped} given up, {abandoned} of them once written");
    assert_eq!(counts.mismatched.load(Relaxed), 0);
    assert!(completed + dropped >= gets);
    assert!(dropped >= gets * 2 / 5, "{dropped}");
    assert!((gets / 100..=dropped).contains(&abandoned), "{abandoned}");
    // And all of it on one connection: one more is that of the question.
    assert_eq!(memcached.stat("total_connections"), connections + 2);
}

/// Drops `call` after so many turns of this task's scheduler.
async fn given_up_after<F: Future>(turns: Option<u32>, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    let Some(turns) = turns else { return Some(call.await) };
    for _ in 0..=turns {
        let done = std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(done) = done.await {
            return Some(done);
        }
        yield_now().await;
    }
    None
}
