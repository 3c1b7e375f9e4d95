//! What a call costs beside the client's own.

use redis::Cmd;
use tokio::task::JoinSet;

use super::*;

const ALL: usize = 200_000;
const ROUNDS: usize = 7;

/// Calls a second, by tasks that each have a handle of their own.
macro_rules! rate {
    ($handle:expr, $at_once:expr, $calls:expr, |$own:ident| $call:expr) => {{
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..$at_once {
            let mut $own = $handle.clone();
            tasks.spawn(async move {
                for _ in 0..$calls / $at_once {
                    assert_eq!($call, 1024);
                }
            });
        }
        assert_eq!(tasks.join_all().await.len(), $at_once);
        $calls as f64 / began.elapsed().as_secs_f64()
    }};
}

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
    for at_once in [1, 64, 512] {
        let calls = if at_once == 1 { ALL / 10 } else { ALL };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(rate!(bare, at_once, calls, |bare| {
                let mut command = Cmd::new();
                command.arg("GET").arg(key(0).as_bytes());
                command.query_async::<Vec<u8>>(&mut bare).await.unwrap().len()
            }));
            ours.push(rate!(servers, at_once, calls, |servers| {
                let servers: &mut Servers = &mut servers;
                servers.get(&key(0)).await.unwrap().unwrap().len()
            }));
        }
        ours.sort_by(f64::total_cmp);
        theirs.sort_by(f64::total_cmp);
        let (ours, theirs) = (ours[ROUNDS / 2], theirs[ROUNDS / 2]);
        println!(
            "{at_once:>3} at once: bare {theirs:.0}/s, ours {ours:.0}/s: {:.3} of it, {:+.2} µs each",
            ours / theirs,
            1e6 / ours - 1e6 / theirs,
        );
    }
}
