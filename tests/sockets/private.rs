//! Answers for one caller alone, asked for by many at once.

use std::{net::SocketAddr, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    cache,
    sockets::{
        client::ask,
        origin::{Play, Scripted, bytes, scripted},
        serve_before,
    },
};

const CALLERS: usize = 30;
const WHOLE: Duration = Duration::from_millis(300);

/// An origin that answers after 300 ms in all, with what came in the fields that say who is asking.
async fn private(before_head: Duration) -> Scripted {
    scripted(move |_, head| {
        let who = head.lines().find_map(|line| line.split_once("user-")).unwrap().1;
        let head = "HTTP/1.1 200 OK\r\ncache-control: private, max-age=60\r\n";
        let head = format!("{head}content-length: {}\r\n\r\n", who.len());
        vec![Play::Wait(before_head), bytes(head), Play::Wait(WHOLE - before_head), bytes(who)]
    })
    .await
}

/// All ask at once; each must get what is its own. How long the last one waited.
async fn wave(addr: SocketAddr, credentials: &'static str) -> Duration {
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for caller in 0..CALLERS {
        asking.spawn(async move {
            let head = format!("GET /me HTTP/1.1\r\nhost: a\r\n{credentials}user-{caller}\r\n");
            let answer = ask(addr, &head).await;
            assert_eq!((answer.status, answer.whole), (200, true), "{answer:?}");
            assert_eq!(answer.text(), caller.to_string(), "another's answer");
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    began.elapsed()
}

async fn two_waves(before_head: Duration, credentials: &'static str) -> [Duration; 2] {
    let origin = private(before_head).await;
    let cache = cache();
    let addr = serve_before(&cache, origin.addr).await;
    let waves = [wave(addr, credentials).await, wave(addr, credentials).await];
    assert_eq!(origin.calls(), 2 * CALLERS, "each caller has an answer made for it");
    assert_eq!(cache.figures().records, 0);
    waves
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_of_callers_with_cookies_gets_its_private_answers_in_less_than_two_calls() {
    let _alone = crate::alone().await;
    let [first, second] = two_waves(Duration::from_millis(250), "cookie: id=").await;
    println!("Cookie, head after 250 of 300 ms: waves of {first:?} and {second:?}");
    assert!(first < 2 * WHOLE && second < 2 * WHOLE, "{first:?} {second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_of_callers_with_authorization_gets_its_private_answers_in_less_than_two_calls() {
    let _alone = crate::alone().await;
    let credentials = "authorization: Bearer ";
    let [first, second] = two_waves(Duration::from_millis(250), credentials).await;
    println!("Authorization, head after 250 of 300 ms: waves of {first:?} and {second:?}");
    assert!(first < 2 * WHOLE && second < 2 * WHOLE, "{first:?} {second:?}");
}

/// That an answer is private is in its head: who waits for that waits as long as the call takes.
#[tokio::test(flavor = "multi_thread")]
async fn callers_behind_a_head_that_comes_last_wait_for_two_calls_once_and_then_for_one() {
    let _alone = crate::alone().await;
    let [first, second] = two_waves(WHOLE, "cookie: id=").await;
    println!("Cookie, head after all 300 ms: waves of {first:?} and {second:?}");
    assert!(first < 10 * WHOLE, "{first:?}");
    assert!(second < 2 * WHOLE, "{second:?}");
}
