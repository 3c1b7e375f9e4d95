//! Bodies on their way: recorded, read along, handed over, cut.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use seawall::{BoxError, Cache, CacheLayer, CoalesceLayer, FetchError};
use support::{
    Calls, asked, at_once,
    bodies::{Step, Steps},
    cache, cache_builder, call, get, origin, streamed, with,
};
use tokio::{
    task::{JoinSet, yield_now},
    time::{Instant, sleep, timeout},
};
use tower::{Layer, Service};

const SECOND: Duration = Duration::from_secs(1);
const KIB: usize = 1024;
const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=600")];

fn assert_nothing_is_left(cache: &Cache) {
    let figures = cache.figures();
    let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
    assert_eq!(left, (0, 0, 0, 0), "{figures:?}");
}

/// So many frames of one byte, each after a pause.
fn drip(frames: usize, pause: Duration) -> Steps {
    Steps::new((0..frames).flat_map(move |_| [Step::Wait(pause), Step::Data("x".into())]))
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_needs_twelve_seconds_is_waited_for_and_stored() {
    for sized in [true, false] {
        let (calls, inner) = origin(move |_, _| async move {
            sleep(6 * SECOND).await;
            let body = drip(6, SECOND);
            Ok(streamed(FRESH, if sized { body.sized(6) } else { body }))
        });
        let cache = cache();
        let service = CacheLayer::new(cache.clone()).store_unframed(true).layer(inner);
        for read in at_once(&service, (0..5).map(|_| get("/"))).await {
            assert_eq!(read.unwrap().text(), "xxxxxx");
        }
        let hit = call(&mut service.clone(), get("/")).await.unwrap();
        assert_eq!((hit.text(), hit.cache_status()), ("xxxxxx", "hit"));
        assert_eq!(calls.count(), 1);
        assert_nothing_is_left(&cache);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_for_forty_seconds_is_handed_over_not_cut_and_not_stored() {
    for sized in [true, false] {
        let (calls, inner) = origin(move |_, _| async move {
            let body = drip(40, SECOND);
            Ok(streamed(FRESH, if sized { body.sized(40) } else { body }))
        });
        let cache = cache();
        let mut service = CacheLayer::new(cache.clone()).store_unframed(true).layer(inner);
        let (began, mut body) = (Instant::now(), service.call(get("/")).await.unwrap().into_body());
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame.unwrap().into_data().unwrap().len();
            assert_eq!(read as u64, began.elapsed().as_secs(), "each byte as it comes");
        }
        assert_eq!((read, calls.count(), cache.figures().records), (40, 1, 0));
        assert_nothing_is_left(&cache);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sized_body_that_drips_is_complete_for_followers_too_and_newcomers_begin_anew() {
    let (calls, inner) = origin(|_, _| async { Ok(streamed(FRESH, drip(40, SECOND).sized(40))) });
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).layer(inner);
    let readers: Vec<_> = (0..5).map(|_| asked(&service, get("/"))).collect();
    sleep(35 * SECOND).await;
    assert_eq!((calls.count(), cache.figures().flights), (1, 0), "it is not joined any more");
    let newcomer = asked(&service, get("/"));
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap().body.len(), 40);
    }
    assert_eq!((calls.count(), cache.figures().records), (2, 0));
    assert_eq!(newcomer.await.unwrap().unwrap().body.len(), 40);
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn followers_of_a_body_without_a_length_that_drips_ask_for_themselves() {
    let (calls, inner) = origin(|_, _| async { Ok(streamed(FRESH, drip(40, SECOND))) });
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).store_unframed(true).layer(inner);
    for read in timeout(200 * SECOND, at_once(&service, (0..3).map(|_| get("/")))).await.unwrap() {
        assert_eq!(read.unwrap().body.len(), 40);
    }
    assert_eq!((calls.count(), cache.figures().records), (3, 0));
    assert_nothing_is_left(&cache);
}

/// So many frames of 64 KiB; counts those that were read, and tells when it is dropped.
struct Watched {
    left: usize,
    read: Arc<AtomicUsize>,
    dropped: Arc<AtomicBool>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.read.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 64 * KIB])))))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn what_outgrows_the_largest_body_is_read_no_faster_than_its_caller_reads() {
    let (read, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, told) = (Arc::clone(&read), Arc::clone(&dropped));
    let (calls, inner) = origin(move |_, _| {
        let body = Watched { left: 1024, read: Arc::clone(&counted), dropped: Arc::clone(&told) };
        async move { Ok(support::answer(FRESH, "").map(|_| body)) }
    });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).store_unframed(true).layer(inner);
    let mut body = service.call(get("/")).await.unwrap().into_body();
    sleep(SECOND).await;
    let recorded = read.load(Ordering::SeqCst);
    println!("{recorded} frames of 64 KiB were read ahead of a caller that reads none");
    assert!(recorded <= 17, "1 MiB, and the frame that is too much: {recorded}");
    assert_eq!((cache.figures().remembered, cache.figures().flights), (1, 0));
    for frame in 1..=1024 {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 64 * KIB);
        yield_now().await;
        assert_eq!(read.load(Ordering::SeqCst), recorded.max(frame), "after {frame} frames");
        if frame > recorded {
            assert_eq!(cache.figures().filling, 0, "what was recorded is given back");
        }
    }
    assert!(body.frame().await.is_none());
    drop(body);
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!((calls.count(), cache.figures().records), (1, 0));
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_what_was_handed_over_takes_the_origins_body_with_it() {
    let (read, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, told) = (Arc::clone(&read), Arc::clone(&dropped));
    let (_, inner) = origin(move |_, _| {
        let body = Watched { left: 1024, read: Arc::clone(&counted), dropped: Arc::clone(&told) };
        async move { Ok(support::answer(FRESH, "").map(|_| body)) }
    });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).store_unframed(true).layer(inner);
    let body = service.call(get("/")).await.unwrap().into_body();
    sleep(SECOND).await;
    assert!(!dropped.load(Ordering::SeqCst));
    drop(body);
    assert!(dropped.load(Ordering::SeqCst));
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_says_it_is_too_large_is_not_recorded_at_all() {
    let large = 2 << 20;
    let (calls, inner) = origin(move |_, _| async move {
        Ok(streamed(FRESH, Steps::frames(32, 64 * KIB).sized(large)))
    });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    let body = service.call(get("/")).await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(large));
    assert_nothing_is_left(&cache);
    assert_eq!((cache.figures().records, cache.figures().remembered), (0, 1));
    assert_eq!(body.collect().await.unwrap().to_bytes().len() as u64, large);
    for read in at_once(&service, (0..5).map(|_| get("/"))).await {
        assert_eq!(read.unwrap().body.len() as u64, large);
    }
    assert_eq!((calls.count(), cache.figures().filling), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn trailers_reach_the_leader_its_followers_and_each_hit() {
    for sized in [true, false] {
        let (calls, inner) = origin(move |_, _| async move {
            let trailers: HeaderMap =
                [("x-sum".parse()?, "1".parse()?), ("x-sum".parse()?, "2".parse()?)]
                    .into_iter()
                    .collect();
            let steps = [Step::Data("body".into()), Step::Wait(SECOND), Step::Trailers(trailers)];
            let body = Steps::new(steps);
            Ok(streamed(FRESH, if sized { body.sized(4) } else { body }))
        });
        let coalesce = CoalesceLayer::new();
        let cached = CacheLayer::new(cache()).store_unframed(true);
        for service in [coalesce.layer(inner.clone()), cached.layer(inner.clone())] {
            let before = calls.count();
            let mut answers = at_once(&service, (0..3).map(|_| get("/"))).await;
            assert_eq!(calls.count() - before, 1);
            answers.extend(at_once(&service, [get("/")]).await);
            for read in answers {
                let read = read.unwrap();
                let trailers = read.trailers.as_ref().expect("it has trailers");
                let sums: Vec<_> =
                    trailers.get_all("x-sum").iter().map(|sum| sum.to_str().unwrap()).collect();
                assert_eq!((read.text(), sums), ("body", vec!["1", "2"]));
            }
        }
        assert_eq!(calls.count(), 3, "the last one was a hit");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_within_a_body_reaches_every_reader_and_nothing_is_stored() {
    for sized in [true, false] {
        let (calls, inner) = origin(move |call, _| async move {
            let last = if call == 0 { Step::Fail } else { Step::Data("two".into()) };
            let body = Steps::new([Step::Data("one ".into()), Step::Wait(SECOND), last]);
            Ok(streamed(FRESH, if sized { body.sized(7) } else { body }))
        });
        let cache = cache();
        let service = CacheLayer::new(cache.clone()).store_unframed(true).layer(inner);
        for answer in at_once(&service, (0..10).map(|_| get("/"))).await {
            assert_eq!(answer.unwrap_err().source().unwrap().to_string(), "the body failed");
        }
        assert_eq!((calls.count(), cache.figures().records), (1, 0));
        assert_nothing_is_left(&cache);
        assert_eq!(call(&mut service.clone(), get("/")).await.unwrap().text(), "one two");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_another_length_than_its_head_declares_is_an_error_and_not_stored() {
    for declared in ["3", "5", "0", "1000"] {
        let (calls, inner) = origin(move |_, _| async move {
            sleep(SECOND).await;
            let fields = [FRESH[0], ("content-length", declared)];
            Ok(streamed(&fields, Steps::new([Step::Data("bo".into()), Step::Data("dy".into())])))
        });
        let coalesce = CoalesceLayer::new();
        let cache = cache();
        let layer = CacheLayer::new(cache.clone());
        for service in [layer.layer(inner.clone()), coalesce.layer(inner.clone())] {
            let before = calls.count();
            for answer in at_once(&service, (0..5).map(|_| get("/"))).await {
                let error = answer.unwrap_err();
                assert_eq!(FetchError::find(&*error), Some(&FetchError::Length), "{declared}");
            }
            assert_eq!(calls.count() - before, 1);
        }
        assert_eq!(cache.figures().records, 0);
        assert_nothing_is_left(&cache);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_fills_at_once_stay_within_the_budget_of_all_fills() {
    const BUDGET: usize = 8 << 20;
    const FILLS: usize = 10_000;
    for sized in [true, false] {
        let (calls, inner) = origin(move |_, _| async move {
            let frame = || Step::Data(Bytes::from(vec![b'x'; 2 * KIB]));
            let body = Steps::new([frame(), Step::Wait(SECOND), frame()]);
            Ok(streamed(FRESH, if sized { body.sized(4 * KIB as u64) } else { body }))
        });
        let cache = cache_builder().fill_budget(BUDGET).build();
        let service = CacheLayer::new(cache.clone()).store_unframed(true).layer(inner);
        let (most, mut callers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for key in 0..FILLS {
            let (mut service, cache, most) = (service.clone(), cache.clone(), Arc::clone(&most));
            callers.spawn(async move {
                let mut body = service.call(get(&format!("/{key}"))).await.unwrap().into_body();
                let mut length = 0;
                while let Some(frame) = body.frame().await {
                    length += frame.unwrap().into_data().unwrap().len();
                    most.fetch_max(cache.figures().filling, Ordering::Relaxed);
                }
                assert_eq!(length, 4 * KIB);
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
        let (most, stored) = (most.load(Ordering::Relaxed), cache.figures().records);
        println!("{FILLS} fills, sized: {sized}, at most {most} bytes at once, {stored} stored");
        assert!(most <= BUDGET, "{most}");
        assert!(most > BUDGET / 2, "the budget was put to the test: {most}");
        assert_eq!(calls.count(), FILLS);
        assert_nothing_is_left(&cache);
    }
}

/// Reads a body and checks what it says of itself before each frame; its length.
async fn honest<B>(body: B) -> usize
where
    B: Body<Data = Bytes, Error: Into<BoxError> + std::fmt::Debug>,
{
    let mut body = Box::pin(body);
    let (mut hints, mut read): (Vec<(usize, SizeHint)>, usize) = (Vec::new(), 0);
    loop {
        hints.push((read, body.size_hint()));
        let ended = body.is_end_stream();
        match body.frame().await {
            None => break,
            Some(_) if ended => panic!("a frame after the end"),
            Some(frame) => read += frame.unwrap().into_data().map_or(0, |data| data.len()),
        }
    }
    for (before, hint) in hints {
        let left = (read - before) as u64;
        assert!(hint.lower() <= left, "at least {} of {left}", hint.lower());
        assert!(hint.upper().is_none_or(|upper| left <= upper), "{hint:?} of {left}");
    }
    read
}

#[tokio::test(start_paused = true)]
async fn a_body_is_honest_about_its_length_and_its_end() {
    for (sized, trailers) in [(true, false), (true, true), (false, false), (false, true)] {
        for length in [0, 1, 5, 2 * 1024 * KIB] {
            let (_, inner) = origin(move |_, _| async move {
                let half = Bytes::from(vec![b'x'; length / 2]);
                let rest = Bytes::from(vec![b'x'; length - length / 2]);
                let mut steps = vec![Step::Data(half), Step::Wait(SECOND), Step::Data(rest)];
                if trailers {
                    steps.extend([Step::Wait(SECOND), Step::Trailers(HeaderMap::new())]);
                }
                let body = Steps::new(steps);
                Ok(streamed(FRESH, if sized { body.sized(length as u64) } else { body }))
            });
            let service = CacheLayer::new(cache()).store_unframed(true).layer(inner);
            let mut readers = JoinSet::new();
            for caller in 0..4 {
                let mut service = service.clone();
                readers.spawn(async move {
                    let request = match caller {
                        3 => with(get("/"), "range", "bytes=1-2"),
                        _ => get("/"),
                    };
                    let response: Response<_> = service.call(request).await.unwrap();
                    let part = response.status() != 200;
                    let read = honest(response.into_body()).await;
                    assert!(part || read == length, "{read} of {length}");
                });
            }
            while let Some(reader) = readers.join_next().await {
                reader.unwrap();
            }
            let hit = service.clone().call(get("/")).await.unwrap();
            assert_eq!(honest(hit.into_body()).await, length);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_in_a_hundred_thousand_frames_of_one_byte_is_one_stored_body() {
    const LENGTH: usize = 100_000;
    let calls = Calls::default();
    for sized in [true, false] {
        let counted = calls.clone();
        let (_, inner) = origin(move |_, _| {
            counted.add();
            async move {
                let bytes =
                    (0..LENGTH).map(|n| Step::Data(Bytes::from(vec![b'a' + (n % 26) as u8])));
                let body = Steps::new(bytes);
                Ok(streamed(FRESH, if sized { body.sized(LENGTH as u64) } else { body }))
            }
        });
        let cache = cache();
        let service = CacheLayer::new(cache.clone()).store_unframed(true).layer(inner);
        let expected: Vec<u8> = (0..LENGTH).map(|n| b'a' + (n % 26) as u8).collect();
        for read in at_once(&service, (0..5).map(|_| get("/"))).await {
            assert!(read.unwrap().body == expected);
        }
        let mut hit = service.clone().call(get("/")).await.unwrap().into_body();
        assert!(hit.frame().await.unwrap().unwrap().into_data().unwrap() == expected);
        assert!(hit.is_end_stream(), "a hit is one frame");
        assert_nothing_is_left(&cache);
    }
    assert_eq!(calls.count(), 2);
}
