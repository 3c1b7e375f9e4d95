//! Many callers, few keys: who asks the origin, and how often.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::BodyExt;
use seawall::{
    BoxError, Cache, CacheLayer, CoalesceLayer,
    observe::{Event, Pass},
};
use support::{
    BoxedOrigin, Calls, Req, answer, at_once,
    bodies::{Step, Steps},
    cache, cache_builder, get, origin, streamed, with,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{Layer, Service, service_fn};

/// Counts how often a future is polled.
struct Polled<F> {
    future: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for Polled<F> {
    type Output = (F::Output, usize);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.polls += 1;
        let polls = self.polls;
        self.future.as_mut().poll(cx).map(|output| (output, polls))
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_of_a_cold_key_are_one_call_in_each_of_a_hundred_rounds() {
    let (calls, inner) = origin(|call, _| async move {
        sleep(Duration::from_millis(50)).await;
        Ok(answer(&[("cache-control", "max-age=600")], format!("round {call}")))
    });
    let service = CacheLayer::new(cache()).layer(inner);
    let most_polls = Arc::new(AtomicUsize::new(0));
    for round in 0..100 {
        let mut callers = JoinSet::new();
        for _ in 0..10_000 {
            let mut service = service.clone();
            let most_polls = Arc::clone(&most_polls);
            callers.spawn(async move {
                let request = get(&format!("/{round}"));
                let head = Polled { future: Box::pin(service.call(request)), polls: 0 };
                let (response, polls) = head.await;
                most_polls.fetch_max(polls, Ordering::Relaxed);
                support::read(response.unwrap()).await.unwrap().body
            });
        }
        while let Some(body) = callers.join_next().await {
            assert_eq!(body.unwrap(), format!("round {round}"));
        }
    }
    assert_eq!(calls.count(), 100);
    let most_polls = most_polls.load(Ordering::Relaxed);
    println!(
        "1,000,000 callers, {} calls, at most {most_polls} polls of one caller",
        calls.count()
    );
    assert!(most_polls <= 3, "{most_polls}");
}

/// How many calls of an origin are under way, and the most that were at once.
#[derive(Clone, Default)]
struct Gauge {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gauge {
    async fn during(&self, work: impl Future<Output = ()>) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        work.await;
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// An origin that takes 50 ms, and answers with the path that it was asked for.
fn paths(gauge: &Gauge) -> (Calls, BoxedOrigin) {
    let gauge = gauge.clone();
    origin(move |_, request| {
        let gauge = gauge.clone();
        async move {
            gauge.during(sleep(Duration::from_millis(50))).await;
            Ok(answer(&[("cache-control", "max-age=600")], request.uri().path().to_owned()))
        }
    })
}

const KEYS: usize = 22_000;

/// Asks for so many keys at once; the time until all have their own answer.
async fn ask_for_all_keys<S, B>(service: &S) -> Duration
where
    S: Service<Req, Response = Response<B>, Error: Into<BoxError> + Send, Future: Send>,
    S: Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for key in 0..KEYS {
        let mut service = service.clone();
        callers.spawn(async move {
            let read = support::call(&mut service, get(&format!("/{key}"))).await.unwrap();
            assert_eq!(read.text(), format!("/{key}"));
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    began.elapsed()
}

fn assert_nothing_is_left(cache: &Cache) {
    let figures = cache.figures();
    let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
    assert_eq!(left, (0, 0, 0, 0), "{figures:?}");
}

#[tokio::test(start_paused = true)]
async fn twenty_two_thousand_cold_keys_are_all_fetched_at_the_same_time() {
    let gauge = Gauge::default();
    let (calls, inner) = paths(&gauge);
    let cache = cache();
    let took = ask_for_all_keys(&CacheLayer::new(cache.clone()).layer(inner)).await;
    assert_eq!((calls.count(), gauge.most()), (KEYS, KEYS));
    assert!(took < Duration::from_millis(60), "{took:?}");
    assert_eq!(cache.figures().records, KEYS as u64);
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn what_finds_the_table_of_flights_full_passes_and_does_not_wait() {
    let full = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&full);
    let cache = cache_builder()
        .flights(1_000)
        .observer(move |event: &Event<'_>| {
            if let Event::Passed(Pass::Full) = event {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build();
    let gauge = Gauge::default();
    let (calls, inner) = paths(&gauge);
    let took = ask_for_all_keys(&CacheLayer::new(cache.clone()).layer(inner)).await;
    assert_eq!((calls.count(), gauge.most()), (KEYS, KEYS));
    assert_eq!(full.load(Ordering::Relaxed), KEYS - 1_000);
    assert!(took < Duration::from_millis(60), "{took:?}");
    assert_eq!(cache.figures().records, 1_000);
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn coalescing_alone_fetches_twenty_two_thousand_keys_at_the_same_time() {
    for layer in [CoalesceLayer::new(), CoalesceLayer::bounded(|bounds| bounds.flights(1_000))] {
        let gauge = Gauge::default();
        let (calls, inner) = paths(&gauge);
        let took = ask_for_all_keys(&layer.layer(inner)).await;
        assert_eq!((calls.count(), gauge.most()), (KEYS, KEYS));
        assert!(took < Duration::from_millis(60), "{took:?}");
        assert_nothing_is_left(layer.cache());
    }
}

#[tokio::test(start_paused = true)]
async fn coalescing_by_a_key_makes_one_call_a_key_and_all_of_them_at_the_same_time() {
    let (calls, gauge) = (Calls::default(), Gauge::default());
    let (counted, watched) = (calls.clone(), gauge.clone());
    let inner = service_fn(move |key: usize| {
        counted.add();
        let gauge = watched.clone();
        async move {
            gauge.during(sleep(Duration::from_millis(50))).await;
            Ok::<_, BoxError>(key + 1)
        }
    });
    let layer = CoalesceLayer::by(|key: &usize| *key);
    let mut service = layer.layer(inner);
    let callers: Vec<_> = (0..2 * KEYS).map(|caller| service.call(caller % KEYS)).collect();
    let began = Instant::now();
    for (caller, answered) in callers.into_iter().enumerate() {
        assert_eq!(answered.await.unwrap(), caller % KEYS + 1);
    }
    assert_eq!((calls.count(), gauge.most()), (KEYS, KEYS));
    assert!(began.elapsed() < Duration::from_millis(60));
    assert_eq!(layer.flights(), 0);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_on_followers_callers_pass() {
    let (calls, inner) = paths(&Gauge::default());
    let cache = cache_builder().followers(10, 100).build();
    let service = CacheLayer::new(cache.clone()).layer(inner);
    for read in at_once(&service, (0..50).map(|_| get("/a"))).await {
        assert_eq!(read.unwrap().text(), "/a");
    }
    assert_eq!(calls.count(), 1 + (50 - 1 - 10));
    assert_nothing_is_left(&cache);
}

fn languages() -> (Calls, BoxedOrigin) {
    origin(|_, request| async move {
        sleep(Duration::from_millis(50)).await;
        let language = request.headers()["accept-language"].to_str().unwrap().to_owned();
        let fields = [
            ("cache-control", "max-age=600"),
            ("vary", "accept-language"),
            ("content-language", &language),
        ];
        Ok(answer(&fields, language.clone()))
    })
}

async fn ask_in_three_languages<S, B>(service: &S)
where
    S: Service<Req, Response = Response<B>, Error: Into<BoxError> + Send, Future: Send>,
    S: Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    let language = |caller: usize| ["de", "en", "fr"][caller % 3];
    let requests = (0..300).map(|n| with(get("/"), "accept-language", language(n)));
    for (caller, read) in at_once(service, requests).await.into_iter().enumerate() {
        let read = read.unwrap();
        assert_eq!(read.text(), language(caller));
        assert_eq!(read.field("content-language"), Some(language(caller)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_herd_in_three_languages_is_three_calls_and_each_gets_its_own() {
    let (calls, inner) = languages();
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).layer(inner);
    ask_in_three_languages(&service).await;
    assert_eq!(calls.count(), 3);
    assert_nothing_is_left(&cache);
    ask_in_three_languages(&service).await;
    assert_eq!(calls.count(), 3, "all variants were stored");
}

#[tokio::test(start_paused = true)]
async fn a_herd_in_three_languages_is_three_calls_with_nothing_to_look_in() {
    let (calls, inner) = languages();
    let layer = CoalesceLayer::new();
    ask_in_three_languages(&layer.layer(inner)).await;
    assert_eq!(calls.count(), 3);
    assert_nothing_is_left(layer.cache());
}

#[tokio::test(start_paused = true)]
async fn a_herd_on_64_mib_without_a_length_is_recorded_by_few_and_within_the_budget() {
    const CALLERS: usize = 50;
    const MIB: usize = 1 << 20;
    let outgrown = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&outgrown);
    let cache = cache_builder()
        .observer(move |event: &Event<'_>| {
            if let Event::Outgrown = event {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build();
    let (calls, inner) = origin(|_, _| async {
        sleep(Duration::from_millis(50)).await;
        let frame = Bytes::from(vec![b'x'; 64 << 10]);
        let steps = (0..1024)
            .flat_map(|_| [Step::Data(frame.clone()), Step::Wait(Duration::from_millis(1))]);
        Ok(streamed(&[("cache-control", "max-age=600")], Steps::new(steps.collect::<Vec<_>>())))
    });
    let service = CacheLayer::new(cache.clone()).store_unframed(true).layer(inner);
    let most = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (mut service, cache, most) = (service.clone(), cache.clone(), Arc::clone(&most));
        callers.spawn(async move {
            let mut body = service.call(get("/")).await.unwrap().into_body();
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                length += frame.unwrap().into_data().unwrap().len();
                most.fetch_max(cache.figures().filling, Ordering::Relaxed);
            }
            assert_eq!(length, 64 * MIB);
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    let (most, outgrown) = (most.load(Ordering::Relaxed), outgrown.load(Ordering::Relaxed));
    println!(
        "{CALLERS} callers, {} calls, {outgrown} of them recorded, at most {most} bytes at once",
        calls.count()
    );
    assert!(most <= 64 * MIB, "{most}");
    assert!(outgrown <= 3, "{outgrown} calls were recorded up to the largest body that is kept");
    assert_eq!(cache.figures().records, 0);
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_uncacheable_once_is_coalesced_again_after_a_storable_answer() {
    let (calls, inner) = origin(|call, _| async move {
        sleep(Duration::from_millis(50)).await;
        let said = if call == 0 { "private" } else { "max-age=1" };
        Ok(answer(&[("cache-control", said)], "body"))
    });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    support::call(&mut service, get("/")).await.unwrap();
    assert_eq!(cache.figures().remembered, 1);
    support::call(&mut service, get("/")).await.unwrap();
    assert_eq!((cache.figures().remembered, cache.figures().records), (0, 1));
    tokio::time::advance(Duration::from_secs(2)).await;
    for read in at_once(&service, (0..50).map(|_| get("/"))).await {
        assert_eq!(read.unwrap().status(), 200);
    }
    assert_eq!(calls.count(), 3);
}
