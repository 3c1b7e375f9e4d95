//! Refreshes behind stale answers, over real sockets: one for a thousand callers, and another where
//! that one dies.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use seawall::{Cache, RespondLayer, StaleWhileRevalidateLayer};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::support::{
    Calls, cache, cache_builder,
    sockets::{
        Upstream,
        client::{ask, http2, request},
        origin::{Play, bytes, scripted},
        serve,
    },
};

/// How the first refresh ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Refresh {
    Answers,
    Panics,
    /// Its connection is reset within the body.
    Resets,
    /// It takes longer than a fetch may.
    Hangs,
}

/// Serves an origin whose refreshes take 400 ms, and then as long as they are held.
async fn refreshing(cache: &Cache, refresh: Refresh, held: &Arc<Semaphore>) -> (SocketAddr, Calls) {
    let held = Arc::clone(held);
    let origin = scripted(move |call, _| {
        let control = if call == 0 { "max-age=1" } else { "max-age=600" };
        let head = format!("HTTP/1.1 200 OK\r\ncache-control: {control}\r\n");
        let answer = format!("{head}content-length: 8\r\n\r\nanswer {call}");
        let cut = answer.len() - 1;
        let wait = vec![Play::Wait(Duration::from_millis(400)), Play::Gate(Arc::clone(&held))];
        match (call, refresh) {
            (0, _) => vec![bytes(answer)],
            (1, Refresh::Resets) => [wait, vec![bytes(&answer[..cut]), Play::Reset]].concat(),
            (1, Refresh::Hangs) => vec![Play::Hang],
            _ => [wait, vec![bytes(answer)]].concat(),
        }
    })
    .await;
    let calls = Calls::default();
    let counted = calls.clone();
    let connect = service_fn(move |request: Request<Incoming>| {
        let call = counted.add();
        async move {
            assert!((call, refresh) != (1, Refresh::Panics), "a refresh panics, as it was told");
            Upstream::http1(origin.addr).oneshot(request).await
        }
    });
    let layer = StaleWhileRevalidateLayer::new(cache.clone(), Duration::from_secs(60));
    let layers = ServiceBuilder::new().layer(RespondLayer::new()).layer(layer);
    (serve(layers.service(connect)).await, calls)
}

const STALE: &str = "hit; detail=stale-while-revalidate";

/// A thousand callers on ten connections ask at the moment at which what they ask for is stale.
async fn a_thousand_ask_at_expiry(addr: SocketAddr) -> Duration {
    let mut connections = Vec::new();
    for _ in 0..10 {
        connections.push(http2(addr).await);
    }
    let filled = connections[0].send_request(request("/")).await.unwrap();
    assert_eq!(filled.into_body().collect().await.unwrap().to_bytes(), "answer 0");
    sleep(Duration::from_millis(1_001)).await;
    let began = Instant::now();
    let asking = (0..1_000).map(|caller: usize| {
        let mut connection = connections[caller % connections.len()].clone();
        async move { connection.send_request(request("/")).await.unwrap() }
    });
    for answer in asking.collect::<JoinSet<_>>().join_all().await {
        let said = answer.headers()["cache-status"].to_str().unwrap();
        assert_eq!(said.strip_prefix("seawall; "), Some(STALE));
        let age: u64 = answer.headers()["age"].to_str().unwrap().parse().unwrap();
        assert!(age >= 1);
    }
    began.elapsed()
}

async fn a_thousand_and_one_refresh(refresh: Refresh) {
    let cache = match refresh {
        Refresh::Hangs => cache_builder().fetch_deadline(Duration::from_millis(1_500)).build(),
        _ => cache(),
    };
    let held = Arc::new(Semaphore::new(0));
    let (addr, calls) = refreshing(&cache, refresh, &held).await;
    let took = a_thousand_ask_at_expiry(addr).await;
    println!("{refresh:?}: 1,000 stale hits in {took:.0?}");
    // Whoever had waited for a refresh would wait still. One that panics at once may be followed by
    // another among the thousand, if they take that long.
    let most = if refresh == Refresh::Panics { 3 } else { 2 };
    assert!((2..=most).contains(&calls.count()), "{refresh:?}: {}", calls.count());

    held.add_permits(100);
    let last = loop {
        let answer = ask(addr, "GET http://a/ HTTP/1.1\r\nhost: a\r\n").await;
        if answer.cache_status() != STALE {
            break answer;
        }
        assert_eq!(answer.text(), "answer 0", "{refresh:?}");
        sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(last.cache_status(), "hit", "{refresh:?}: {last:?}");
    assert_ne!(last.text(), "answer 0", "{refresh:?}");
    assert_eq!(calls.count(), if refresh == Refresh::Answers { 2 } else { 3 }, "{refresh:?}");
    let figures = cache.figures();
    assert_eq!((figures.refreshes, figures.flights, figures.failing), (0, 0, 0), "{refresh:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_at_the_moment_of_expiry_are_answered_stale_and_one_refresh() {
    let _alone = crate::alone().await;
    a_thousand_and_one_refresh(Refresh::Answers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_panics_is_followed_by_another_at_the_next_stale_hit() {
    let _alone = crate::alone().await;
    a_thousand_and_one_refresh(Refresh::Panics).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_is_cut_is_followed_by_another_at_the_next_stale_hit() {
    let _alone = crate::alone().await;
    a_thousand_and_one_refresh(Refresh::Resets).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_takes_too_long_is_given_up_and_followed_by_another() {
    let _alone = crate::alone().await;
    a_thousand_and_one_refresh(Refresh::Hangs).await;
}
