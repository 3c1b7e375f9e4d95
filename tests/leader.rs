//! The caller that began a fetch leaves, its fetch panics or stalls: what becomes of the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use seawall::{
    BoxError, Cache, CacheLayer, CoalesceLayer, FetchError, NoKey, cache::CacheService,
    store::KeyWriter,
};
use support::{
    Calls, Req, answer, at_once,
    bodies::{Step, Steps},
    cache, cache_builder, call, get, origin, streamed,
};
use tokio::{
    task::yield_now,
    time::{Sleep, sleep, timeout},
};
use tower::{Layer, Service, service_fn};

const STEP: Duration = Duration::from_millis(5);
const BODY: &str = "one two three";
/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(600);

/// An origin that has to be waited for wherever that is possible: until it is ready, twice in its
/// future, before each frame of its body and before its end.
#[derive(Clone)]
struct Slow {
    calls: Calls,
    sized: bool,
    ready: Ready,
}

/// Ready after one step, counted by each instance for itself.
#[derive(Default)]
struct Ready(Option<Pin<Box<Sleep>>>);

impl Clone for Ready {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl Service<Req> for Slow {
    type Response = Response<Steps>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Steps>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready.0.get_or_insert_with(|| Box::pin(sleep(STEP))).as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, _: Req) -> Self::Future {
        self.calls.add();
        let sized = self.sized;
        Box::pin(async move {
            sleep(STEP).await;
            yield_now().await;
            sleep(STEP).await;
            let frames = BODY.split_inclusive(' ').flat_map(|word| {
                [Step::Wait(STEP), Step::Data(Bytes::from_static(word.as_bytes()))]
            });
            let body = Steps::new(frames.chain([Step::Wait(STEP)]));
            let body = if sized { body.sized(BODY.len() as u64) } else { body };
            Ok(streamed(&[("cache-control", "max-age=600")], body))
        })
    }
}

fn slow(sized: bool) -> (Calls, Slow) {
    let calls = Calls::default();
    (calls.clone(), Slow { calls, sized, ready: Ready::default() })
}

/// The layers that lead, each with its flights, over clones of one inner service.
fn places<S: Clone>(inner: &S, orphans: usize) -> [(Cache, CacheService<S>); 2] {
    let cache = cache_builder().orphans(orphans).build();
    let layer = CacheLayer::new(cache.clone()).store_unframed(true);
    let coalesce = CoalesceLayer::bounded(|bounds| bounds.orphans(orphans));
    [(cache, layer.layer(inner.clone())), (coalesce.cache().clone(), coalesce.layer(inner.clone()))]
}

fn assert_nothing_is_left(cache: &Cache) {
    let figures = cache.figures();
    let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
    assert_eq!(left, (0, 0, 0, 0), "{figures:?}");
}

/// Reads an answer with a pause after its head and after each frame, so that it can be dropped there.
async fn read_step_by_step<S>(mut service: CacheService<S>) -> usize
where
    CacheService<S>: Service<Req, Response = Response<seawall::cache::Body<Steps>>>,
{
    let Ok(response) = service.call(get("/")).await else { panic!("no answer") };
    yield_now().await;
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().into_data().unwrap().len();
        yield_now().await;
    }
    length
}

/// When a future is dropped that has been polled often enough.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    AtOnce,
    WhenWoken,
}

/// Polls a future at most so often, then drops it; how often it was polled.
async fn polled(future: impl Future, times: usize, leaves: Leaves) -> usize {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(());
        }
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Pending if polls < times || matches!(leaves, Leaves::WhenWoken) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
    polls
}

/// Followers that come while the leader waits and after it has gone get the whole answer.
async fn leave<S>(place: (Cache, CacheService<S>), calls: &Calls, leader: impl Future)
where
    S: Clone + Send + 'static,
    CacheService<S>: Service<Req, Response = Response<seawall::cache::Body<Steps>>>,
    <CacheService<S> as Service<Req>>::Error: Into<BoxError> + Send,
    <CacheService<S> as Service<Req>>::Future: Send,
{
    let (cache, service) = place;
    let before = calls.count();
    // The leader is polled first; the followers join as soon as it waits.
    let early = async { at_once(&service, (0..3).map(|_| get("/"))).await };
    let late = async {
        leader.await;
        at_once(&service, (0..2).map(|_| get("/"))).await
    };
    let (late, early) = timeout(LONG, async { tokio::join!(late, early) }).await.expect("it hangs");
    for read in early.into_iter().chain(late) {
        assert_eq!(read.unwrap().text(), BODY);
    }
    let asked = calls.count() - before;
    assert!(asked <= 2, "{asked} calls");
    sleep(LONG).await;
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_dropped_at_any_await_point_harms_nobody() {
    let mut points = 0;
    for sized in [true, false] {
        let (calls, inner) = slow(sized);
        for orphans in [0, 64] {
            for place in 0..2 {
                let [_, whole] = places(&inner, orphans);
                let all = polled(read_step_by_step(whole.1), usize::MAX, Leaves::AtOnce).await;
                assert!(all >= 5, "{all}");
                for times in 0..=all {
                    for leaves in [Leaves::AtOnce, Leaves::WhenWoken] {
                        let place = places(&inner, orphans)[place].clone();
                        let leader = polled(read_step_by_step(place.1.clone()), times, leaves);
                        leave(place, &calls, leader).await;
                        points += 1;
                    }
                }
            }
        }
    }
    println!("the leader was dropped at {points} points, by polls");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_dropped_at_any_await_point_of_the_origin_harms_nobody() {
    let mut points = 0;
    for sized in [true, false] {
        let (calls, inner) = slow(sized);
        for orphans in [0, 64] {
            for place in 0..2 {
                for after in 0..=40 {
                    let place = places(&inner, orphans)[place].clone();
                    let leader = read_step_by_step(place.1.clone());
                    let leader = timeout(Duration::from_millis(after), leader);
                    leave(place, &calls, leader).await;
                    points += 1;
                }
            }
        }
    }
    println!("the leader was dropped at {points} points, by milliseconds");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_whose_only_caller_leaves_at_any_point_is_cancelled_and_its_key_is_free() {
    let (calls, inner) = slow(true);
    for after in 0..35 {
        for (cache, mut service) in places(&inner, 0) {
            let before = calls.count();
            let leader = read_step_by_step(service.clone());
            assert!(timeout(Duration::from_millis(after), leader).await.is_err());
            yield_now().await;
            assert_nothing_is_left(&cache);
            let read = timeout(LONG, call(&mut service, get("/"))).await.expect("it hangs");
            assert_eq!(read.unwrap().text(), BODY);
            assert!(calls.count() - before <= 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_leader_of_any_coalesced_service_harms_nobody() {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |n: u32| {
        counted.add();
        async move {
            sleep(STEP).await;
            yield_now().await;
            sleep(STEP).await;
            Ok::<_, BoxError>(n + 1)
        }
    });
    let layer = CoalesceLayer::by(|n: &u32| *n);
    for after in 0..12 {
        let before = calls.count();
        let mut service = layer.layer(inner.clone());
        let leader = service.call(1);
        let followers: Vec<_> = (0..3).map(|_| service.call(1)).collect();
        let _ = timeout(Duration::from_millis(after), leader).await;
        let late = service.call(1);
        for follower in followers.into_iter().chain([late]) {
            assert_eq!(timeout(LONG, follower).await.expect("it hangs").unwrap(), 2);
        }
        assert!(calls.count() - before <= 2);
        assert_eq!(layer.flights(), 0);
    }
}

/// Where an origin panics in its first call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Ready,
    Call,
    Future,
    SizedBody,
    UnsizedBody,
}

#[derive(Clone)]
struct Panics {
    at: At,
    calls: Calls,
    readied: Arc<AtomicBool>,
}

impl Service<Req> for Panics {
    type Response = Response<Steps>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Steps>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let again = self.readied.swap(true, Ordering::SeqCst);
        assert!(again || self.at != At::Ready, "it was told to panic when polled for readiness");
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        let at = (self.calls.add() == 0).then_some(self.at);
        assert!(at != Some(At::Call), "it was told to panic when called");
        Box::pin(async move {
            sleep(STEP).await;
            assert!(at != Some(At::Future), "it was told to panic in its future");
            let panics = matches!(at, Some(At::SizedBody | At::UnsizedBody));
            let last = if panics { Step::Panic } else { Step::Data("two".into()) };
            let body = Steps::new([Step::Data("one ".into()), Step::Wait(STEP), last]);
            let body = if at == Some(At::UnsizedBody) { body } else { body.sized(7) };
            Ok(streamed(&[("cache-control", "max-age=600")], body))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_origin_is_one_error_for_all_who_wait_and_the_key_is_free() {
    for at in [At::Ready, At::Call, At::Future, At::SizedBody, At::UnsizedBody] {
        for place in 0..2 {
            let calls = Calls::default();
            let inner = Panics { at, calls: calls.clone(), readied: Arc::default() };
            let (cache, service) = places(&inner, 64)[place].clone();
            let answers = timeout(LONG, at_once(&service, (0..20).map(|_| get("/")))).await;
            for answer in answers.expect("it hangs") {
                let error = answer.unwrap_err();
                assert_eq!(FetchError::find(&*error), Some(&FetchError::Aborted), "{at:?}");
            }
            assert_eq!(calls.count(), usize::from(at != At::Ready), "{at:?}");
            assert_nothing_is_left(&cache);
            assert_eq!(cache.figures().records, 0);
            let next = timeout(LONG, call(&mut service.clone(), get("/"))).await;
            assert_eq!(next.expect("it hangs").unwrap().text(), "one two", "{at:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_any_coalesced_service_is_one_error_for_all_who_wait() {
    for in_call in [true, false] {
        let calls = Calls::default();
        let counted = calls.clone();
        let inner = service_fn(move |n: u32| {
            let first = counted.add() == 0;
            assert!(!(first && in_call), "it was told to panic when called");
            async move {
                sleep(STEP).await;
                assert!(!first, "it was told to panic in its future");
                Ok::<_, BoxError>(n)
            }
        });
        let layer = CoalesceLayer::by(|n: &u32| *n);
        let mut service = layer.layer(inner);
        let callers: Vec<_> = (0..20).map(|_| service.call(1)).collect();
        for caller in callers {
            let error = timeout(LONG, caller).await.expect("it hangs").unwrap_err();
            assert_eq!(FetchError::find(&*error), Some(&FetchError::Aborted));
        }
        assert_eq!((calls.count(), layer.flights()), (1, 0));
        assert_eq!(timeout(LONG, service.call(1)).await.expect("it hangs").unwrap(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_panics_fails_its_own_call_and_no_other() {
    let panics = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&panics);
    let key = move |request: &Req, key: &mut KeyWriter| {
        key.part(request.uri().path().as_bytes());
        assert!(!told.load(Ordering::SeqCst), "it was told to panic");
        Ok::<_, NoKey>(())
    };
    let (calls, inner) = origin(|_, _| async { Ok(answer(&[], "body")) });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).key(key).layer(inner);
    let _ = catch_unwind(AssertUnwindSafe(|| service.call(get("/")))).expect_err("it panics");
    assert_nothing_is_left(&cache);
    panics.store(false, Ordering::SeqCst);
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "body");
    assert_eq!(calls.count(), 1);

    let layer = CoalesceLayer::by(|n: &u32| {
        assert!(*n != 1, "it was told to panic");
        *n
    });
    let mut service = layer.layer(service_fn(|n: u32| async move { Ok::<_, BoxError>(n) }));
    let _ = catch_unwind(AssertUnwindSafe(|| service.call(1))).expect_err("it panics");
    assert_eq!(layer.flights(), 0);
    assert_eq!(service.call(2).await.unwrap(), 2);
}
