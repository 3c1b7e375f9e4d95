//! What a call costs beside the client's own.

use redis::{Cmd, aio::MultiplexedConnection};
use tokio::task::JoinSet;

use super::*;

const ALL: usize = 200_000;

/// `cargo test --release --all-features --lib redis::tests::cost -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn of_a_get_of_a_kibibyte() {
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let bare = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    servers.set(&key(0), Bytes::from(vec![7; 1024]), TTL).await.unwrap();
    for concurrency in [1, 64, 512] {
        let calls = if concurrency == 1 { ALL / 10 } else { ALL };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            theirs.push(rate(concurrency, calls, &bare, |bare| get(bare.clone())).await);
            ours.push(
                rate(concurrency, calls, &servers, |servers| {
                    let servers = servers.clone();
                    async move { servers.get(&key(0)).await.unwrap().unwrap().len() }
                })
                .await,
            );
        }
        ours.sort_by(f64::total_cmp);
        theirs.sort_by(f64::total_cmp);
        println!(
            "{concurrency:>3} at once: bare {:.0}/s, ours {:.0}/s: {:.3} of it, {:+.2} µs a call",
            theirs[2],
            ours[2],
            ours[2] / theirs[2],
            1e6 / ours[2] - 1e6 / theirs[2],
        );
    }
}

async fn get(mut bare: MultiplexedConnection) -> usize {
    let mut command = Cmd::new();
    command.arg("GET").arg(key(0).as_bytes());
    let value: Vec<u8> = command.query_async(&mut bare).await.unwrap();
    value.len()
}

async fn rate<C, F>(at_once: usize, calls: usize, by: &C, call: impl Fn(&C) -> F) -> f64
where
    C: Clone + Send + 'static,
    F: Future<Output = usize> + Send + 'static,
{
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let calls: Vec<_> = (0..calls / at_once).map(|_| call(by)).collect();
        tasks.spawn(async move {
            for call in calls {
                assert_eq!(call.await, 1024);
            }
        });
    }
    assert_eq!(tasks.join_all().await.len(), at_once);
    calls as f64 / began.elapsed().as_secs_f64()
}
