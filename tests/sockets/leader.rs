//! The first caller's socket is killed: the others do not notice.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use seawall::{BoxError, Cache, CacheLayer, RespondLayer};
use tokio::sync::Semaphore;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::support::{
    Calls, cache, cache_builder,
    sockets::{
        Upstream,
        client::{Client, get},
        eventually,
        origin::{Play, Scripted, bytes, scripted},
        serve,
    },
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const LENGTH: usize = 192 << 10;
const FOLLOWERS: usize = 3;
/// At so many points of an answer its first caller is killed.
const POINTS: usize = 20;

fn sized() -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {LENGTH}\r\n\r\n");
    [head.into_bytes(), body()].concat()
}

fn chunked() -> Vec<u8> {
    let mut answer =
        b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for chunk in body().chunks(10_000) {
        answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        answer.extend([chunk, b"\r\n"].concat());
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

fn body() -> Vec<u8> {
    (0..LENGTH).map(|at| (at % 251) as u8).collect()
}

/// An origin that stops at `point` of its answer until it may go on.
async fn stopping(answer: Vec<u8>, point: usize, gate: &Arc<Semaphore>) -> Scripted {
    let gate = Arc::clone(gate);
    scripted(move |_, _| {
        vec![bytes(&answer[..point]), Play::Gate(Arc::clone(&gate)), bytes(&answer[point..])]
    })
    .await
}

/// Serves `origin` behind a cache, and counts the calls that the server has given up or ended.
async fn counting_the_gone(cache: &Cache, origin: &Scripted) -> (SocketAddr, Calls) {
    let gone = Calls::default();
    let counted = gone.clone();
    let stack = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(CacheLayer::new(cache.clone()))
        .service(Upstream::http1(origin.addr));
    let addr = serve(service_fn(move |request: Request<Incoming>| {
        let guard = Gone(counted.clone());
        let answer = stack.clone().oneshot(request);
        async move {
            let answer: Response<_> = answer.await?;
            Ok::<_, Infallible>(answer.map(|body| Held { body: Box::pin(body), _guard: guard }))
        }
    }))
    .await;
    (addr, gone)
}

struct Gone(Calls);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.add();
    }
}

struct Held<B> {
    body: Pin<Box<B>>,
    _guard: Gone,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for Held<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.body.as_mut().poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

async fn asking(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr).await;
    client.send(GET).await;
    client
}

async fn kill_the_leader_everywhere(answer: Vec<u8>) {
    for step in 0..=POINTS {
        let point = answer.len() * step / POINTS;
        let gate = Arc::new(Semaphore::new(0));
        let cache = cache();
        let origin = stopping(answer.clone(), point, &gate).await;
        let (addr, gone) = counting_the_gone(&cache, &origin).await;
        let leader = asking(addr).await;
        if step == POINTS {
            // All of it is there, and it is a hit from then on.
            eventually("stored", || cache.figures().records == 1).await;
        } else {
            eventually("called", || origin.calls() == 1 && cache.figures().flights == 1).await;
        }
        let mut followers = Vec::new();
        for _ in 0..FOLLOWERS {
            followers.push(asking(addr).await);
        }
        if step < POINTS {
            eventually("followed", || cache.figures().followers == FOLLOWERS).await;
        }
        leader.reset();
        eventually("noticed", || gone.count() > 0).await;
        gate.add_permits(1);
        for follower in &mut followers {
            let answer = follower.answer(false).await;
            assert_eq!((answer.status, answer.whole), (200, true), "killed at byte {point}");
            assert!(answer.body == body(), "killed at byte {point}: {}", answer.body.len());
        }
        assert!(get(addr, "/").await.is_hit(), "killed at byte {point}");
        assert_eq!(origin.calls(), 1, "killed at byte {point}");
        assert_eq!(cache.figures().followers, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_socket_is_killed_takes_nothing_from_those_who_read_along() {
    let _alone = crate::alone().await;
    kill_the_leader_everywhere(sized()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_socket_is_killed_takes_nothing_from_those_who_wait_for_the_end() {
    let _alone = crate::alone().await;
    kill_the_leader_everywhere(chunked()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_whose_every_socket_is_killed_goes_on_and_is_stored() {
    let _alone = crate::alone().await;
    let gate = Arc::new(Semaphore::new(0));
    let cache = cache();
    let origin = stopping(sized(), LENGTH / 2, &gate).await;
    let (addr, gone) = counting_the_gone(&cache, &origin).await;
    let leader = asking(addr).await;
    eventually("flying", || cache.figures().flights == 1).await;
    let follower = asking(addr).await;
    eventually("followed", || cache.figures().followers == 1).await;
    leader.reset();
    follower.reset();
    eventually("noticed", || gone.count() == 2).await;
    assert_eq!(cache.figures().orphans, 1);
    gate.add_permits(1);
    eventually("stored", || cache.figures().records == 1).await;
    let answer = get(addr, "/").await;
    assert!(answer.is_hit() && answer.body == body());
    assert_eq!((origin.calls(), cache.figures().orphans), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_whose_every_socket_is_killed_is_cancelled_where_nothing_may_go_on_alone() {
    let _alone = crate::alone().await;
    let gate = Arc::new(Semaphore::new(0));
    let cache = cache_builder().orphans(0).build();
    let origin = stopping(sized(), LENGTH / 2, &gate).await;
    let (addr, gone) = counting_the_gone(&cache, &origin).await;
    let leader = asking(addr).await;
    eventually("called", || origin.calls() == 1).await;
    leader.reset();
    eventually("noticed", || gone.count() == 1).await;
    eventually("cancelled", || cache.figures().flights == 0).await;
    assert_eq!((cache.figures().records, cache.figures().filling), (0, 0));
    gate.add_permits(2);
    let answer = get(addr, "/").await;
    assert!(answer.whole && answer.body == body());
    assert_eq!(origin.calls(), 2);
}
