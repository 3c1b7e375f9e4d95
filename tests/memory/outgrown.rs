//! Bodies larger than what is kept, and readers slower than the origin.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use seawall::{Cache, Profile};
use tokio::task::JoinSet;
use tower::service_fn;

use crate::{
    KIB, MIB, alone, mib, peak_of,
    support::{
        cache_builder,
        sockets::{Upstream, client::Client, serve, serve_cached},
    },
};

const MAX_BODY: usize = MIB;
/// What a flight may take beside the body that it records.
const A_FLIGHT: usize = 256 * KIB;
const FRAME: usize = 64 * KIB;

/// So many bytes as fast as they are taken, in frames of one shared slice.
struct Flood {
    frame: Bytes,
    left: usize,
    sized: bool,
}

impl Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.left.min(self.frame.len());
        self.left -= length;
        Poll::Ready((length > 0).then(|| Ok(Frame::data(self.frame.slice(..length)))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.sized {
            true => SizeHint::with_exact(self.left as u64),
            false => SizeHint::default(),
        }
    }
}

/// Reads slower than the origin sends: after a long silence, with a pause for every 4 MiB.
async fn read_slowly(client: &mut Client) -> usize {
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (mut read, mut paused) = (0, 0);
    loop {
        match client.some(16 * KIB).await {
            0 => return read,
            some => read += some,
        }
        if read - paused > 4 * MIB {
            paused = read;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// So many clients at once, each with a body of its own, through sockets on every side.
async fn transfer(cache: Option<Cache>, clients: usize, length: usize, sized: bool) {
    let frame = Bytes::from(vec![b'x'; FRAME]);
    let origin = serve(service_fn(move |_: Request<Incoming>| {
        let body = Flood { frame: frame.clone(), left: length, sized };
        let answer = Response::builder().header("cache-control", "max-age=60").body(body).unwrap();
        async { Ok::<_, Infallible>(answer) }
    }))
    .await;
    let upstream = Upstream::http1(origin);
    let addr = match &cache {
        Some(cache) => serve_cached(cache, Profile::safe(), upstream).await,
        None => serve(upstream).await,
    };
    let mut reading = JoinSet::new();
    for number in 0..clients {
        reading.spawn(async move {
            let mut client = Client::connect(addr).await;
            let head = format!("GET /{number} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            client.send(head).await;
            assert_eq!(client.head().await.status, 200);
            read_slowly(&mut client).await
        });
    }
    while let Some(read) = reading.join_next().await {
        // Framing comes on top where there is no length.
        assert!(read.unwrap() >= length);
    }
}

fn through_a_cache(clients: usize, length: usize, sized: bool) {
    let _alone = alone();
    // hyper grows its buffers as bytes happen to arrive, so the larger of some runs counts.
    let runs = 2;
    let plain = (0..runs).map(|_| peak_of(transfer(None, clients, length, sized)).1).max().unwrap();
    let mut most = 0;
    for _ in 0..runs {
        let cache = cache_builder().max_body(MAX_BODY).build();
        let (filling, peak) = peak_of(async {
            let watched = cache.clone();
            let watch = tokio::spawn(async move {
                let mut most = 0;
                loop {
                    most = most.max(watched.figures().filling);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    if watched.figures().remembered == clients && watched.figures().flights == 0 {
                        return most;
                    }
                }
            });
            transfer(Some(cache.clone()), clients, length, sized).await;
            watch.await.unwrap()
        });
        most = most.max(peak);
        assert!(filling <= clients * MAX_BODY, "{filling}");
        let figures = cache.figures();
        assert_eq!((figures.records, figures.filling, figures.flights), (0, 0, 0));
        assert_eq!(figures.remembered, clients, "as outgrown");
    }
    println!(
        "{clients} x {}, sized: {sized}: peak {} without the layer, {} with it",
        mib(length),
        mib(plain),
        mib(most)
    );
    let added = most.saturating_sub(plain);
    assert!(added <= clients * (MAX_BODY + A_FLIGHT), "the layer adds {}", mib(added));
}

#[test]
fn a_large_body_without_a_length_takes_no_more_than_max_body_and_a_bit_however_slow_its_reader() {
    through_a_cache(1, 64 * MIB, false);
}

#[test]
fn a_large_body_with_a_length_takes_no_more_than_max_body_and_a_bit_however_slow_its_reader() {
    through_a_cache(1, 64 * MIB, true);
}

#[test]
fn eight_large_bodies_at_once_take_no_more_than_eight_times_one() {
    through_a_cache(8, 8 * MIB, false);
}
