//! Calls that are dropped at any time.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{task::JoinSet, time::timeout};

use super::*;

const KEYS: usize = 1000;
const TASKS: usize = 100;
const EACH: usize = 1000;

fn value(number: usize) -> Bytes {
    // Of many lengths, so that a reply out of step would not even be read to its end.
    Bytes::from(format!("{number}/").repeat(1 + number % 97))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_gets_half_of_them_dropped_mix_nothing_up() {
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    for number in 0..KEYS {
        servers.set(&key(number), value(number), TTL).await.unwrap();
    }
    static ANSWERED: AtomicUsize = AtomicUsize::new(0);
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let servers = servers.clone();
        tasks.spawn(async move {
            for _ in 0..EACH {
                let number = fastrand::usize(..KEYS);
                let key = key(number);
                let call = servers.get(&key);
                if fastrand::bool() {
                    assert_eq!(call.await.unwrap(), Some(value(number)));
                    ANSWERED.fetch_add(1, Ordering::Relaxed);
                } else {
                    // Polled a few times, and dropped: before it is sent, on its way, or answered.
                    match polled(call, fastrand::u32(0..4)).await {
                        Some(reply) => assert_eq!(reply.unwrap(), Some(value(number))),
                        None => {
                            DROPPED.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let (answered, dropped) = (ANSWERED.load(Ordering::Relaxed), DROPPED.load(Ordering::Relaxed));
    println!("{answered} awaited, {dropped} dropped, in {:?}", began.elapsed());
    assert!(answered > 45_000 && dropped > 20_000, "{answered} {dropped}");
    works(&servers).await.unwrap();
    assert_eq!(redis.clients(), 1, "and all on one connection");
}

/// Polls so many times at the most, each time when woken or when others had their turn.
async fn polled<T>(call: impl Future<Output = T>, times: u32) -> Option<T> {
    let mut call = std::pin::pin!(call);
    for _ in 0..times {
        let once = std::future::poll_fn(|context| match call.as_mut().poll(context) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        });
        if let Some(output) = once.await {
            return Some(output);
        }
        let _ =
            timeout(Duration::from_micros(fastrand::u64(0..300)), tokio::task::yield_now()).await;
    }
    None
}

#[tokio::test]
async fn a_write_that_is_dropped_happens_or_not_and_harms_no_other() {
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    let large = Bytes::from(vec![b'x'; 1 << 20]);
    for round in 0..200 {
        drop(polled(servers.set(&key(round), large.clone(), TTL), fastrand::u32(0..3)).await);
        works(&servers).await.unwrap();
        match servers.get(&key(round + 1)).await.unwrap() {
            None => {}
            Some(value) => assert!(value == large || value == "there and back"),
        }
    }
    assert_eq!(redis.clients(), 1);
}
