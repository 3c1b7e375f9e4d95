//! A store that has to be waited for: it works, it fails, it hangs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use seawall::{
    BoxError, Cache, CacheLayer,
    observe::Event,
    store::{Key, Record, Store},
};
use support::{BoxedOrigin, Calls, answer, at_once, call, get, origin, with};
use tokio::time::{Instant, advance, sleep};
use tower::Layer;

const SECOND: Duration = Duration::from_secs(1);

/// What a store does with what it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Work,
    Fail,
    Hang,
}

/// A store with nothing at hand; each of its operations may fail or hang.
#[derive(Clone)]
struct Far {
    get: Does,
    put: Does,
    takes: Duration,
    records: Arc<Mutex<HashMap<Key, Record>>>,
}

impl Far {
    fn new(get: Does, put: Does) -> Self {
        Self { get, put, takes: Duration::from_millis(1), records: Arc::default() }
    }

    async fn does(&self, what: Does) -> Result<(), BoxError> {
        sleep(self.takes).await;
        match what {
            Does::Work => Ok(()),
            Does::Fail => Err("the store is out".into()),
            Does::Hang => pending().await,
        }
    }
}

impl Store for Far {
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        self.does(self.get).await?;
        Ok(self.records.lock().unwrap().get(key).cloned())
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        self.does(self.put).await?;
        self.records.lock().unwrap().insert(key, record);
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.does(self.put).await?;
        self.records.lock().unwrap().remove(key);
        Ok(())
    }
}

fn slow() -> (Calls, BoxedOrigin) {
    origin(|call, _| async move {
        sleep(SECOND / 10).await;
        Ok(answer(&[("cache-control", "max-age=10"), ("etag", "\"v1\"")], call.to_string()))
    })
}

fn assert_nothing_is_left(cache: &Cache) {
    let figures = cache.figures();
    let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
    assert_eq!(left, (0, 0, 0, 0), "{figures:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_is_a_miss_and_no_callers_error() {
    for (get_does, put_does, failures) in [
        (Does::Work, Does::Fail, 1),
        (Does::Work, Does::Hang, 1),
        (Does::Fail, Does::Work, 1),
        (Does::Hang, Does::Work, 1),
        (Does::Fail, Does::Fail, 2),
        (Does::Hang, Does::Hang, 2),
    ] {
        let failed = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&failed);
        let cache = Cache::builder(Far::new(get_does, put_does))
            .observer(move |event: &Event<'_>| {
                if let Event::StoreFailed { .. } = event {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        let (calls, inner) = slow();
        let service = CacheLayer::new(cache.clone()).layer(inner);
        let began = Instant::now();
        for read in at_once(&service, (0..50).map(|_| get("/"))).await {
            assert_eq!(read.unwrap().text(), "0", "{get_does:?} {put_does:?}");
        }
        // The origin's 100 ms, and no more than the deadline of a look-up.
        assert!(began.elapsed() <= Duration::from_millis(160), "{:?}", began.elapsed());
        sleep(SECOND).await;
        assert_eq!(calls.count(), 1, "{get_does:?} {put_does:?}");
        assert_eq!(failed.load(Ordering::Relaxed), failures, "{get_does:?} {put_does:?}");
        assert_nothing_is_left(&cache);
    }
}

#[tokio::test(start_paused = true)]
async fn until_a_slow_store_has_it_the_flight_answers_newcomers() {
    let mut far = Far::new(Does::Work, Does::Work);
    far.takes = Duration::from_millis(40);
    let (calls, inner) = slow();
    let cache = Cache::new(far);
    let service = CacheLayer::new(cache.clone()).layer(inner);
    call(&mut service.clone(), get("/")).await.unwrap();
    // The body is complete, and the store is still writing.
    for _ in 0..10 {
        assert_eq!(call(&mut service.clone(), get("/")).await.unwrap().text(), "0");
        advance(Duration::from_millis(10)).await;
    }
    assert_eq!(calls.count(), 1);
    sleep(SECOND).await;
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn what_a_far_store_has_is_found_once_for_all_who_ask() {
    let far = Far::new(Does::Work, Does::Work);
    let (calls, inner) = slow();
    let service = CacheLayer::new(Cache::new(far.clone())).layer(inner.clone());
    call(&mut service.clone(), get("/")).await.unwrap();
    sleep(SECOND).await;
    // Another process with the same store.
    let cache = Cache::new(far);
    let other = CacheLayer::new(cache.clone()).layer(inner);
    for read in at_once(&other, (0..50).map(|_| get("/"))).await {
        assert_eq!(read.unwrap().text(), "0");
    }
    assert_eq!(calls.count(), 1);
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn what_a_far_store_has_is_found_for_each_variant() {
    let far = Far::new(Does::Work, Does::Work);
    let (calls, inner) = origin(|_, request| async move {
        let language = request.headers()["accept-language"].to_str().unwrap().to_owned();
        Ok(answer(&[("cache-control", "max-age=600"), ("vary", "accept-language")], language))
    });
    let asks = |language| with(get("/"), "accept-language", language);
    let service = CacheLayer::new(Cache::new(far.clone())).layer(inner.clone());
    for language in ["de", "en"] {
        call(&mut service.clone(), asks(language)).await.unwrap();
        sleep(SECOND).await;
    }
    let other = CacheLayer::new(Cache::new(far)).layer(inner);
    for language in ["de", "en"] {
        assert_eq!(call(&mut other.clone(), asks(language)).await.unwrap().text(), language);
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_in_a_far_store_is_validated_once_for_all_who_ask() {
    let (calls, inner) = origin(|call, request| async move {
        sleep(SECOND / 10).await;
        let fields = [("cache-control", "max-age=10"), ("etag", "\"v1\"")];
        Ok(match request.headers().contains_key("if-none-match") {
            true => support::answer_status(304, &fields, ""),
            false => answer(&fields, call.to_string()),
        })
    });
    let cache = Cache::new(Far::new(Does::Work, Does::Work));
    let service = CacheLayer::new(cache.clone()).layer(inner);
    call(&mut service.clone(), get("/")).await.unwrap();
    sleep(11 * SECOND).await;
    for read in at_once(&service, (0..50).map(|_| get("/"))).await {
        assert_eq!(read.unwrap().text(), "0");
    }
    assert_eq!(calls.count(), 2);
    // The store is written to when everyone has been answered.
    sleep(SECOND).await;
    assert_nothing_is_left(&cache);
}
