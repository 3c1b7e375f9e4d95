//! On the wire: a hot cache over a busy origin, and a cache over a breaker that is open.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use seawall::{
    CacheLayer, CircuitBreakerLayer, LoadShedLayer, RespondLayer, circuit_breaker::State,
};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};
use tower::ServiceBuilder;

use crate::{
    millis,
    support::{
        cache,
        sockets::{
            Upstream,
            client::{Answer, Client, get},
            eventually,
            origin::{Play, Scripted, bytes, scripted},
            serve,
        },
    },
};

/// An origin by path: `/stale` is fresh for a second and may be given for a minute more, `/slow` is
/// held, all else is fresh for ten minutes; and it fails while it is told to.
async fn origin(held: &Arc<Semaphore>, fails: &Arc<AtomicBool>) -> Scripted {
    let (held, fails) = (Arc::clone(held), Arc::clone(fails));
    scripted(move |call, head| {
        if fails.load(SeqCst) {
            return vec![bytes("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n")];
        }
        let body = format!("answer {call}");
        let control = match head.contains(" /stale") {
            true => "max-age=1, stale-if-error=60",
            false => "max-age=600",
        };
        let length = body.len();
        let head_of = format!("HTTP/1.1 200 OK\r\ncache-control: {control}\r\n");
        let answer = bytes(format!("{head_of}content-length: {length}\r\n\r\n{body}"));
        match head.contains(" /slow") {
            true => vec![Play::Gate(Arc::clone(&held)), answer],
            false => vec![answer],
        }
    })
    .await
}

/// Asks on twenty connections at once.
async fn twenty(addr: SocketAddr, path: impl Fn(usize) -> String) -> Vec<Answer> {
    let asking = (0..20).map(|n| {
        let path = path(n);
        async move { get(addr, &path).await }
    });
    asking.collect::<JoinSet<_>>().join_all().await
}

fn assert_refused(answer: &Answer) {
    assert_eq!((answer.status, answer.text()), (503, "503 Service Unavailable\n"), "{answer:?}");
    let told = answer.fields("retry-after");
    assert!(told.len() == 1 && told[0].parse::<u64>().unwrap() >= 1, "{answer:?}");
}

fn assert_stale(answer: &Answer, body: &str) {
    assert_eq!((answer.status, answer.text()), (200, body), "{answer:?}");
    assert!(answer.cache_status().contains("detail=stale-if-error"), "{answer:?}");
    assert!(answer.field("age").unwrap().parse::<u64>().unwrap() >= 1, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_go_on_while_misses_are_refused_and_stale_entries_stand_in() {
    let (held, fails) = (Arc::new(Semaphore::new(0)), Arc::default());
    let origin = origin(&held, &fails).await;
    let shed = LoadShedLayer::fixed(2);
    let layers = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(CacheLayer::new(cache()))
        .layer(shed.clone());
    let addr = serve(layers.service(Upstream::http1(origin.addr))).await;
    assert_eq!(get(addr, "/hot").await.text(), "answer 0");
    assert_eq!(get(addr, "/stale").await.text(), "answer 1");
    let mut slow = [Client::connect(addr).await, Client::connect(addr).await];
    for (n, client) in slow.iter_mut().enumerate() {
        client.send(format!("GET /slow/{n} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    }
    eventually("both at the origin", || origin.calls() == 4).await;
    sleep(millis(1_050)).await;

    for answer in twenty(addr, |_| "/hot".to_owned()).await {
        assert_eq!((answer.text(), answer.cache_status()), ("answer 0", "hit"));
    }
    for answer in twenty(addr, |n| format!("/cold/{n}")).await {
        assert_refused(&answer);
    }
    for answer in twenty(addr, |_| "/stale".to_owned()).await {
        assert_stale(&answer, "answer 1");
    }
    assert_eq!((origin.calls(), shed.gauge().in_flight()), (4, 2));

    held.add_permits(2);
    for client in &mut slow {
        assert_eq!(client.answer(false).await.status, 200);
    }
    eventually("free", || shed.gauge().in_flight() == 0).await;
    assert_eq!(get(addr, "/cold/0").await.text(), "answer 4", "nothing is held against it");
    assert_eq!(get(addr, "/stale").await.text(), "answer 5");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_an_open_breaker_stale_entries_stand_in_and_all_else_is_a_503() {
    let (held, fails) = (Arc::new(Semaphore::new(0)), Arc::<AtomicBool>::default());
    let origin = origin(&held, &fails).await;
    // Open for longer than all that follows takes, however slow the machine.
    let minute = Duration::from_secs(60);
    let breaker = CircuitBreakerLayer::new().open_for(minute, minute);
    let layers = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(CacheLayer::new(cache()))
        .layer(breaker.clone());
    let addr = serve(layers.service(Upstream::http1(origin.addr))).await;
    assert_eq!(get(addr, "/hot").await.text(), "answer 0");
    assert_eq!(get(addr, "/stale").await.text(), "answer 1");
    sleep(millis(1_050)).await;
    fails.store(true, SeqCst);
    for n in 0..18 {
        assert_eq!(get(addr, &format!("/fails/{n}")).await.status, 500);
    }
    assert_eq!(breaker.breaker().state(), State::Open, "18 of 20 have failed");
    let calls = origin.calls();

    for answer in twenty(addr, |_| "/hot".to_owned()).await {
        assert_eq!((answer.text(), answer.cache_status()), ("answer 0", "hit"));
    }
    for answer in twenty(addr, |_| "/stale".to_owned()).await {
        assert_stale(&answer, "answer 1");
    }
    for answer in twenty(addr, |n| format!("/cold/{n}")).await {
        assert_refused(&answer);
    }
    assert_eq!(origin.calls(), calls, "the origin was left alone");

    fails.store(false, SeqCst);
    breaker.breaker().reset();
    assert_eq!(get(addr, "/stale").await.text(), format!("answer {calls}"));
    assert_eq!(get(addr, "/cold/0").await.status, 200);
}
