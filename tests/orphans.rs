//! Fetches that go on without a caller, fetches without progress, and the end of a cache.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use seawall::{BoxError, Cache, CacheLayer, CoalesceLayer, FetchError, observe::Event};
use support::{
    BoxedOrigin, Calls, answer, asked,
    bodies::{Step, Steps},
    cache, cache_builder, call, get, origin, streamed,
};
use tokio::{
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::{Layer, Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);

fn assert_nothing_is_left(cache: &Cache) {
    let figures = cache.figures();
    let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
    assert_eq!(left, (0, 0, 0, 0), "{figures:?}");
}

/// Counts futures that are dropped before they are done.
#[derive(Clone, Default)]
struct Cancelled(Arc<AtomicUsize>);

struct Guard(Option<Cancelled>);

impl Cancelled {
    fn guard(&self) -> Guard {
        Guard(Some(self.clone()))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Guard {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(cancelled) = self.0.take() {
            cancelled.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// An origin that takes a second, and the calls of it that were cancelled.
fn guarded() -> (Calls, Cancelled, BoxedOrigin) {
    let cancelled = Cancelled::default();
    let watched = cancelled.clone();
    let (calls, inner) = origin(move |_, _| {
        let guard = watched.guard();
        async move {
            sleep(SECOND).await;
            guard.done();
            Ok(answer(&[("cache-control", "max-age=600")], "body"))
        }
    });
    (calls, cancelled, inner)
}

/// Calls, waits until the origin has been asked, and leaves.
async fn begin_and_leave(call: impl Future) {
    tokio::select! {
        biased;
        _ = call => panic!("the origin takes longer"),
        () = async { for _ in 0..3 { yield_now().await } } => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_when_its_last_caller_leaves_before_the_head_and_is_stored() {
    let (calls, cancelled, inner) = guarded();
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    begin_and_leave(service.call(get("/"))).await;
    assert_eq!((cache.figures().orphans, cache.figures().flights), (1, 1));
    sleep(2 * SECOND).await;
    assert_nothing_is_left(&cache);
    assert_eq!(call(&mut service, get("/")).await.unwrap().cache_status(), "hit");
    assert_eq!((calls.count(), cancelled.count()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_when_its_last_reader_leaves_within_the_body_and_is_stored() {
    let (calls, inner) = origin(|_, _| async {
        let body = [Step::Data("one ".into()), Step::Wait(SECOND), Step::Data("two".into())];
        Ok(streamed(&[("cache-control", "max-age=600")], Steps::new(body).sized(7)))
    });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    let mut body = service.call(get("/")).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
    drop(body);
    assert_eq!(cache.figures().orphans, 1);
    sleep(2 * SECOND).await;
    assert_nothing_is_left(&cache);
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "one two");
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_a_thousand_orphans_sixty_four_go_on_and_the_rest_are_cancelled() {
    let cache = cache();
    let coalesce = CoalesceLayer::new();
    let (calls, cancelled, inner) = guarded();
    for (cache, mut service) in [
        (cache.clone(), CacheLayer::new(cache.clone()).layer(inner.clone())),
        (coalesce.cache().clone(), coalesce.layer(inner.clone())),
    ] {
        let before = (calls.count(), cancelled.count());
        for key in 0..1_000 {
            begin_and_leave(service.call(get(&format!("/{key}")))).await;
        }
        yield_now().await;
        assert_eq!((cache.figures().orphans, cache.figures().flights), (64, 64));
        assert_eq!(calls.count() - before.0, 1_000);
        assert_eq!(cancelled.count() - before.1, 1_000 - 64, "origin calls that were cancelled");
        sleep(2 * SECOND).await;
        assert_nothing_is_left(&cache);
    }
    assert_eq!(cache.figures().records, 64);
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_each_orphan_that_is_cancelled() {
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    let cache = cache_builder()
        .orphans(2)
        .observer(move |event: &Event<'_>| {
            if let Event::OrphanCancelled = event {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build();
    let (_, _, inner) = guarded();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    for key in 0..10 {
        begin_and_leave(service.call(get(&format!("/{key}")))).await;
    }
    sleep(2 * SECOND).await;
    assert_eq!(told.load(Ordering::Relaxed), 8);
}

#[tokio::test(start_paused = true)]
async fn of_a_thousand_orphans_of_any_coalesced_service_sixty_four_go_on() {
    let (finished, cancelled) = (Calls::default(), Cancelled::default());
    let (counted, watched) = (finished.clone(), cancelled.clone());
    let layer = CoalesceLayer::by(|n: &usize| *n);
    let mut service = layer.layer(service_fn(move |n: usize| {
        let (guard, finished) = (watched.guard(), counted.clone());
        async move {
            sleep(SECOND).await;
            guard.done();
            finished.add();
            Ok::<_, BoxError>(n)
        }
    }));
    for n in 0..1_000 {
        begin_and_leave(service.call(n)).await;
    }
    yield_now().await;
    assert_eq!((layer.flights(), cancelled.count()), (64, 1_000 - 64));
    sleep(2 * SECOND).await;
    assert_eq!((layer.flights(), finished.count()), (0, 64));
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_is_joined_gives_its_place_to_another() {
    let (calls, cancelled, inner) = guarded();
    let cache = cache_builder().orphans(1).build();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    begin_and_leave(service.call(get("/a"))).await;
    let rejoined = asked(&service, get("/a"));
    yield_now().await;
    assert_eq!(cache.figures().orphans, 0);
    begin_and_leave(service.call(get("/b"))).await;
    assert_eq!(rejoined.await.unwrap().unwrap().text(), "body");
    sleep(2 * SECOND).await;
    assert_eq!((calls.count(), cancelled.count(), cache.figures().records), (2, 0, 2));
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_key_is_fetched_anew_by_who_comes_in_the_same_moment() {
    let (calls, cancelled, inner) = guarded();
    let cache = cache_builder().orphans(0).build();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    begin_and_leave(service.call(get("/"))).await;
    let read = timeout(10 * SECOND, call(&mut service, get("/"))).await.expect("it hangs");
    assert_eq!(read.unwrap().text(), "body");
    assert_eq!((calls.count(), cancelled.count()), (2, 1));
    assert_nothing_is_left(&cache);
}

/// An origin whose calls take so many seconds each, the last one's for all after it.
fn taking(seconds: &'static [u64]) -> (Calls, BoxedOrigin) {
    origin(move |call, _| async move {
        sleep(SECOND * seconds[call.min(seconds.len() - 1)] as u32).await;
        Ok(answer(&[("cache-control", "max-age=600")], format!("answer {call}")))
    })
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_overtakes_a_stalled_fetch_which_then_may_not_store_over_the_newer() {
    let (calls, inner) = taking(&[15, 1]);
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).layer(inner);
    let first = asked(&service, get("/"));
    sleep(SECOND * 9).await;
    let before_the_stall = asked(&service, get("/"));
    sleep(SECOND + SECOND / 10).await;
    let newcomers: Vec<_> = (0..20).map(|_| asked(&service, get("/"))).collect();
    for newcomer in newcomers {
        assert_eq!(newcomer.await.unwrap().unwrap().text(), "answer 1");
    }
    assert_eq!(calls.count(), 2);
    assert_eq!(first.await.unwrap().unwrap().text(), "answer 0");
    assert_eq!(before_the_stall.await.unwrap().unwrap().text(), "answer 0");
    sleep(SECOND).await;
    let stored = call(&mut service.clone(), get("/")).await.unwrap();
    assert_eq!((stored.text(), stored.cache_status()), ("answer 1", "hit"));
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn beside_a_stalled_fetch_there_is_a_second_and_never_a_third() {
    for place in 0..2 {
        let (calls, inner) = taking(&[1_000]);
        let (cache, coalesce) = (cache(), CoalesceLayer::new());
        let service = match place {
            0 => CacheLayer::new(cache.clone()).layer(inner),
            _ => coalesce.layer(inner),
        };
        let began = Instant::now();
        let mut callers = Vec::new();
        for second in 0..29 {
            sleep_until(began + SECOND * second).await;
            callers.extend((0..5).map(|_| asked(&service, get("/"))));
            yield_now().await;
            let expected = if second < 10 { 1 } else { 2 };
            yield_now().await;
            assert_eq!(calls.count(), expected, "after {second} s");
        }
        for caller in callers {
            let error = timeout(60 * SECOND, caller).await.expect("it hangs").unwrap().unwrap_err();
            assert_eq!(FetchError::find(&*error), Some(&FetchError::Deadline));
        }
        assert_nothing_is_left(if place == 0 { &cache } else { coalesce.cache() });
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_frame_for_ten_seconds_is_overtaken_and_one_that_drips_is_not() {
    for (pause, expected) in [(9, 1), (11, 2)] {
        let (calls, inner) = origin(move |call, _| async move {
            let pause = if call == 0 { SECOND * pause } else { Duration::ZERO };
            let frame = || [Step::Wait(pause), Step::Data(Bytes::from_static(b"x"))];
            let body = Steps::new(frame().into_iter().chain(frame())).sized(2);
            Ok(streamed(&[("cache-control", "max-age=600")], body))
        });
        let service = CacheLayer::new(cache()).layer(inner);
        let first = asked(&service, get("/"));
        sleep(SECOND * 21 / 2).await;
        assert_eq!(call(&mut service.clone(), get("/")).await.unwrap().text(), "xx");
        assert_eq!(first.await.unwrap().unwrap().text(), "xx");
        assert_eq!(calls.count(), expected, "{pause} s between frames");
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_newer_fetch_fails_the_stalled_one_still_answers_those_who_wait_for_it() {
    let (calls, inner) = origin(|call, _| async move {
        match call {
            0 => sleep(SECOND * 15).await,
            _ => return Err("connection refused".into()),
        }
        Ok(answer(&[("cache-control", "max-age=600")], "late"))
    });
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).layer(inner);
    let first = asked(&service, get("/"));
    sleep(SECOND * 11).await;
    assert!(call(&mut service.clone(), get("/")).await.is_err());
    assert_eq!(first.await.unwrap().unwrap().text(), "late");
    let stored = call(&mut service.clone(), get("/")).await.unwrap();
    assert_eq!((stored.text(), stored.cache_status(), calls.count()), ("late", "hit", 2));
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_fetches_and_lets_later_misses_pass() {
    let (calls, _, inner) = guarded();
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).layer(inner);
    let before = asked(&service, get("/a"));
    yield_now().await;
    let drained = cache.drain(10 * SECOND).await;
    assert_eq!((drained.finished, drained.aborted), (1, 0));
    assert_eq!(before.await.unwrap().unwrap().text(), "body");
    assert_eq!(call(&mut service.clone(), get("/a")).await.unwrap().cache_status(), "hit");
    assert_eq!(call(&mut service.clone(), get("/b")).await.unwrap().text(), "body");
    assert_eq!(calls.count(), 2);
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn draining_aborts_at_its_deadline_what_does_not_end() {
    let (_, cancelled, inner) = guarded();
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).layer(inner);
    let callers: Vec<_> = (0..5).map(|key| asked(&service, get(&format!("/{key}")))).collect();
    for _ in 0..3 {
        yield_now().await;
    }
    let drained = cache.drain(SECOND / 2).await;
    assert_eq!((drained.finished, drained.aborted, cancelled.count()), (0, 5, 5));
    for caller in callers {
        let error = timeout(SECOND, caller).await.expect("it hangs").unwrap().unwrap_err();
        assert_eq!(FetchError::find(&*error), Some(&FetchError::Aborted));
    }
    assert_nothing_is_left(&cache);
}
