//! Ten thousand callers from another process, one cold key, one call.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use seawall::Profile;
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
    time::Instant,
};

use crate::support::{
    Calls, answer, cache,
    sockets::{Upstream, client::Client, serve, serve_cached},
};

const CALLERS: usize = 10_000;
const ROUNDS: usize = 3;
const LENGTH: usize = 2_000;

/// What the other process is told, and marks the lines that it says.
const TOLD: &str = "SEAWALL_TEST_CALLERS";

/// How many files this process may have open, sockets among them.
fn files() -> usize {
    let output = Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap();
    // `unlimited` is no number.
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap_or(usize::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clients_of_another_process_are_one_call_a_cold_key() {
    let _alone = crate::alone().await;
    let files = files();
    let callers = CALLERS.min(files.saturating_sub(files / 4));
    println!("{files} files a process: {callers} of {CALLERS} callers, {ROUNDS} rounds");

    let calls = Calls::default();
    let counted = calls.clone();
    let origin = serve(tower::service_fn(move |_: http::Request<hyper::body::Incoming>| {
        let call = counted.add();
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let body = format!("{call:0>LENGTH$}");
            Ok::<_, std::convert::Infallible>(answer(&[("cache-control", "max-age=600")], body))
        }
    }))
    .await;
    let cache = cache();
    let gateway = serve_cached(&cache, Profile::safe(), Upstream::http1(origin)).await;

    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "herd::the_callers", "--ignored", "--nocapture"])
        .env(TOLD, format!("{gateway} {callers}"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{said}");
    let rounds: Vec<_> = said.lines().filter_map(|line| line.strip_prefix(TOLD)).collect();
    for round in &rounds {
        println!("{round}");
    }
    assert_eq!(rounds.len(), ROUNDS, "{said}");
    assert_eq!(calls.count(), ROUNDS);
    assert_eq!(cache.figures().records, ROUNDS as u64);
    assert_eq!((cache.figures().flights, cache.figures().followers), (0, 0));
}

#[test]
#[ignore = "it is the other process of the test above, which starts it"]
fn the_callers() {
    let told = std::env::var(TOLD).expect("set by the test that starts it");
    let (addr, callers) = told.split_once(' ').unwrap();
    let (addr, callers) = (addr.parse().unwrap(), callers.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(call(addr, callers));
}

/// Every caller has its connection before the first round, and keeps it.
async fn call(addr: SocketAddr, callers: usize) {
    let began = Instant::now();
    let connecting = Arc::new(Semaphore::new(200));
    let mut clients = JoinSet::new();
    for _ in 0..callers {
        let connecting = Arc::clone(&connecting);
        clients.spawn(async move {
            let _one = connecting.acquire().await.unwrap();
            Client::connect(addr).await
        });
    }
    let mut clients = clients.join_all().await;
    let connected = began.elapsed();
    for round in 0..ROUNDS {
        let barrier = Arc::new(Barrier::new(callers + 1));
        let mut asking = JoinSet::new();
        for mut client in clients.drain(..) {
            let barrier = Arc::clone(&barrier);
            asking.spawn(async move {
                barrier.wait().await;
                let began = Instant::now();
                let answer = client.ask(&format!("GET /{round} HTTP/1.1\r\nhost: a\r\n")).await;
                (client, answer, began.elapsed())
            });
        }
        let began = Instant::now();
        barrier.wait().await;
        let answers = asking.join_all().await;
        let took = began.elapsed();
        let first = answers.first().unwrap().1.body.clone();
        let (mut hits, mut collapsed, mut slowest) = (0, 0, Duration::ZERO);
        for (client, answer, took) in answers {
            assert_eq!((answer.status, answer.whole), (200, true), "{answer:?}");
            assert_eq!(answer.body.len(), LENGTH);
            assert_eq!(answer.body, first, "in round {round}");
            hits += usize::from(answer.is_hit());
            collapsed += usize::from(answer.cache_status().ends_with("collapsed"));
            slowest = slowest.max(took);
            clients.push(client);
        }
        eprintln!(
            "{TOLD}round {round}: {callers} callers in {took:?} (slowest {slowest:?}), \
             {collapsed} along with the call, {hits} hits; connected in {connected:?}"
        );
    }
}
