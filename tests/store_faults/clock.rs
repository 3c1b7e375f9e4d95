//! Processes whose clocks differ share a store: nothing is served for longer than its lifetime and 5 s.
//!
//! Those are this test binary once more, with a clock of their own by `faketime`.

use std::{
    env,
    process::{Command, Output, Stdio},
    time::Duration,
};

use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};

use super::{
    gone::store,
    stack::{PLAIN, Remote, Setup, Stack, ms, paths, until},
};
use crate::support::servers::Redis;

const LIFETIME: Duration = Duration::from_secs(2);
const SHORT: Setup = Setup { directives: "max-age=2", ..PLAIN };
const SERVER: &str = "SEAWALL_TEST_STORE";
const PAGES: usize = 10;

/// A test of this file in a process whose clock is off by this.
async fn in_a_process(test: &str, offset: &str, url: &str) -> Output {
    let mut command = Command::new("faketime");
    command
        .args(["--exclude-monotonic", "-f", offset])
        .arg(env::current_exe().unwrap())
        .arg(format!("clock::{test}"))
        .args(["--exact", "--ignored", "--nocapture"])
        .env(SERVER, url)
        .stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn assert_ran(output: &Output, offset: &str) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{offset}: {said}");
    assert!(!said.contains("panicked"), "{offset}: {said}");
}

fn url() -> String {
    env::var(SERVER).expect("the test that starts this names it")
}

#[tokio::test]
#[ignore = "a part of the tests below, in a process of its own"]
async fn writes() {
    let stack = Stack::with(store(&url(), false), SHORT).await;
    stack.times(paths("page", PAGES)).await;
    stack.settled().await;
    assert_eq!(stack.calls(), PAGES);
    // With the clock that it has, it finds its own.
    stack.times(paths("page", PAGES)).await;
    println!("{} of its own found", stack.told().hits);
}

#[tokio::test]
#[ignore = "a part of the tests below, in a process of its own"]
async fn reads() {
    let stack = Stack::with(store(&url(), false), SHORT).await;
    let served = served_for(&stack).await;
    assert!(served <= LIFETIME + ms(5_500), "{served:?}");
}

/// Asks until a page is fetched anew, and returns for how long what is stored was served.
async fn served_for<S: Remote>(stack: &Stack<S>) -> Duration {
    let began = Instant::now();
    let mut last = Duration::ZERO;
    while began.elapsed() < LIFETIME + Duration::from_secs(6) {
        for path in paths("page", PAGES) {
            let before = stack.calls();
            stack.ask(&path).await;
            if stack.calls() == before {
                last = began.elapsed();
            } else {
                return last;
            }
        }
        sleep(ms(20)).await;
    }
    panic!("served for {last:?}, and still is");
}

const OFFSETS: [&str; 4] = ["+1h", "-1h", "+10y", "-10y"];

#[tokio::test]
async fn what_a_process_with_another_clock_has_stored_is_not_served_for_long() {
    let (local, mut rows) = (LocalSet::new(), Vec::new());
    for offset in OFFSETS {
        rows.push(local.spawn_local(async move {
            let server = Redis::start();
            let url = server.url();
            let stack = Stack::with(store(&url, false), SHORT).await;
            // At the latest it was stored when that process has ended.
            let began = Instant::now();
            assert_ran(&in_a_process("writes", offset, &url).await, offset);
            assert_eq!(server.command(&["DBSIZE"]).integer(), PAGES as i64, "{offset}");
            let took = began.elapsed();
            let served = served_for(&stack).await;
            println!("written at {offset}: in {took:.1?}, served for {served:.1?}");
            assert!(served <= LIFETIME + ms(5_500), "{offset}: {served:?}");
            // Whether it was seen: what is from the future is not believed, what is old is not fresh.
            let unreadable = stack.told().unreadable;
            assert_eq!(unreadable > 0, offset.starts_with('+'), "{offset}: {:?}", stack.told());
            assert!(stack.calls() > 0, "{offset}");
        }));
    }
    local.await;
    for row in rows {
        row.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_stored_is_not_served_for_long_by_a_process_with_another_clock() {
    let (local, mut rows) = (LocalSet::new(), Vec::new());
    for offset in OFFSETS {
        rows.push(local.spawn_local(async move {
            let server = Redis::start();
            let url = server.url();
            let stack = Stack::with(store(&url, false), SHORT).await;
            stack.times(paths("page", PAGES)).await;
            stack.settled().await;
            assert_ran(&in_a_process("reads", offset, &url).await, offset);
        }));
    }
    local.await;
    for row in rows {
        row.await.unwrap();
    }
}

/// The clock jumps while the process runs: `faketime` reads the offset anew from a file.
#[tokio::test]
#[ignore = "a part of the test below, in a process of its own"]
async fn jumps() {
    let file = env::var("FAKETIME_TIMESTAMP_FILE").unwrap();
    let near = Stack::with(store(&url(), true), SHORT).await;
    let long = Stack::with(store(&url(), true), Setup { directives: "max-age=600", ..PLAIN }).await;
    long.times(paths("long", PAGES)).await;
    for offset in ["+1h", "-1h", "+10y", "-10y"] {
        let before = std::time::SystemTime::now();
        near.times(paths("page", PAGES)).await;
        std::fs::write(&file, offset).unwrap();
        until("the clock has jumped", async || {
            let now = std::time::SystemTime::now();
            let apart = now.duration_since(before).unwrap_or_else(|error| error.duration());
            apart > Duration::from_secs(1_000)
        })
        .await;
        // What is near goes by a clock that does not jump.
        let calls = long.calls();
        long.times(paths("long", PAGES)).await;
        assert_eq!(long.calls(), calls, "{offset}");
        let served = served_for(&near).await;
        println!("jumped {offset}: served for {served:.1?}");
        assert!(served <= LIFETIME + ms(500), "{offset}: {served:?}");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_changes_nothing_of_what_is_near() {
    let server = Redis::start();
    let file = env::temp_dir().join(format!("seawall-clock-{}", std::process::id()));
    std::fs::write(&file, "+0").unwrap();
    let mut command = preloaded();
    command
        .arg("clock::jumps")
        .args(["--exact", "--ignored", "--nocapture"])
        .env("FAKETIME_TIMESTAMP_FILE", &file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env_remove("FAKETIME")
        .env(SERVER, server.url())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let _ = std::fs::remove_file(&file);
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert_ran(&output, "jumping");
}

/// This binary with the library that `faketime` would load.
fn preloaded() -> Command {
    let asks = ["-f", "+0", "sh", "-c", "echo $LD_PRELOAD"];
    let said = Command::new("faketime").args(asks).output().unwrap();
    let library = String::from_utf8(said.stdout).unwrap().trim().to_owned();
    assert!(library.contains("libfaketime"), "{library:?}");
    let mut command = Command::new(env::current_exe().unwrap());
    command.env("LD_PRELOAD", library);
    command
}
