//! A breaker's own answer to what it refuses, below a cache: nobody takes it for the origin's.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use seawall::{
    BoxError, CacheLayer, CircuitBreakerLayer, LoadShedLayer, Reason,
    admission::ByGrpcStatus,
    load_shed::limit::{Limit, Sample},
    observe::Event,
};
use tokio::time::{Instant, advance, sleep};
use tower::Layer;

use crate::{
    SECOND, counts, half_open, reason,
    support::{
        BoxedOrigin, Calls, Req, Res, answer, answer_status, at_once, cache, cache_builder, call,
        get, origin, with,
    },
};

type Fields = &'static [(&'static str, &'static str)];

/// A breaker that is open, and answers with `instead` meanwhile.
fn open(status: u16, fields: Fields) -> CircuitBreakerLayer {
    let layer = CircuitBreakerLayer::new().fallback(move |_| {
        let (parts, _) = answer_status(status, fields, "").into_parts();
        Some(Response::from_parts(parts, Bytes::from_static(b"instead")))
    });
    layer.breaker().force_open();
    layer
}

/// Good for ten seconds, and stale for ten minutes where it fails; `/aside` is not to be kept.
fn good() -> (Calls, BoxedOrigin) {
    origin(|_, request| async move {
        let control = match request.uri().path() {
            "/aside" => "no-store",
            _ => "max-age=10, stale-if-error=600",
        };
        Ok(answer(&[("cache-control", control)], "good"))
    })
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_not_stored_although_it_says_that_it_may_be() {
    for status in [200, 404] {
        let (cache, breaker) = (cache(), open(status, &[("cache-control", "max-age=600")]));
        let (calls, inner) = good();
        let mut service = (CacheLayer::new(cache.clone()), breaker.clone()).layer(inner);
        breaker.breaker().reset();
        // From now on the cache sends those who ask for it down one by one.
        call(&mut service, get("/aside")).await.unwrap();
        breaker.breaker().force_open();
        for path in ["/", "/", "/aside", "/aside"] {
            let read = call(&mut service, get(path)).await.unwrap();
            assert_eq!((read.status(), read.text()), (status, "instead"), "{path}");
        }
        assert_eq!((cache.figures().records, calls.count()), (0, 1));
        breaker.breaker().reset();
        for path in ["/", "/aside"] {
            assert_eq!(call(&mut service, get(path)).await.unwrap().text(), "good");
        }
        assert_eq!(calls.count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_goes_before_a_fallback_within_its_window_and_no_longer() {
    for status in [200, 503] {
        let breaker = open(status, &[]);
        let (calls, inner) = good();
        let mut service = (CacheLayer::new(cache()), breaker.clone()).layer(inner);
        breaker.breaker().reset();
        call(&mut service, get("/")).await.unwrap();
        breaker.breaker().force_open();
        for passed in [11, 598] {
            advance(passed * SECOND).await;
            let stale = call(&mut service, get("/")).await.unwrap();
            assert_eq!((stale.status(), stale.text()), (200, "good"), "{status}");
            assert_eq!(stale.cache_status(), "hit; detail=stale-if-error", "{status}");
        }
        advance(2 * SECOND).await;
        let beyond = call(&mut service, get("/")).await.unwrap();
        assert_eq!((beyond.status(), beyond.text()), (status, "instead"));
        assert_eq!(calls.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_callers_get_a_fallback_is_not_held_to_be_failing() {
    let (cache, breaker) = (cache(), open(503, &[("retry-after", "30")]));
    let (calls, inner) = good();
    let mut service = (CacheLayer::new(cache.clone()), breaker.clone()).layer(inner);
    for _ in 0..5 {
        assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "instead");
        assert_eq!(cache.figures().failing, 0);
    }
    breaker.breaker().reset();
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "good");
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_no_sign_that_a_failing_key_is_well_again() {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&waits);
    let cache = cache_builder().observer(move |event: &Event<'_>| {
        if let Event::BackedOff { wait } = event {
            noted.lock().unwrap().push(*wait);
        }
    });
    let breaker = open(200, &[]);
    let (_, inner) = origin(|_, _| async { Err::<Res, BoxError>("connection refused".into()) });
    let mut service = (CacheLayer::new(cache.build()), breaker.clone()).layer(inner);
    for round in 0..4 {
        if round == 3 {
            breaker.breaker().force_open();
            assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "instead");
        }
        breaker.breaker().reset();
        call(&mut service, get("/")).await.unwrap_err();
        let wait = *waits.lock().unwrap().last().unwrap();
        sleep(wait).await;
    }
    let waits = waits.lock().unwrap();
    println!("{waits:?}");
    assert!(waits.len() == 4 && waits.is_sorted(), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn all_callers_of_a_cold_key_get_the_fallback() {
    let (calls, inner) = good();
    let service = (CacheLayer::new(cache()), open(200, &[])).layer(inner);
    let answers = at_once(&service, (0..100).map(|_| get("/"))).await;
    let instead = answers.iter().flatten().filter(|read| read.text() == "instead").count();
    assert_eq!((instead, calls.count()), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn all_callers_of_a_cold_key_get_the_fallback_of_a_breaker_of_many() {
    let (calls, inner) = good();
    let layer = CircuitBreakerLayer::new()
        .fallback(|_| Some(Response::new(Bytes::from_static(b"instead"))))
        .by(|request: &Req| request.uri().path().to_owned());
    let mut alone = layer.layer(inner.clone());
    call(&mut alone, get("/")).await.unwrap();
    layer.breakers().of("/").unwrap().force_open();
    let service = (CacheLayer::new(cache()), layer).layer(inner);
    let answers = at_once(&service, (0..100).map(|_| get("/"))).await;
    let instead = answers.iter().flatten().filter(|read| read.text() == "instead").count();
    assert_eq!((instead, calls.count()), (100, 1));
}

/// Keeps what it is told.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<Sample>>>);

impl Limit for Told {
    fn limit(&self) -> usize {
        100
    }

    fn sample(&mut self, sample: &Sample, _: Instant) {
        self.0.lock().unwrap().push(*sample);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_says_nothing_of_the_origin_to_a_breaker_or_a_limit_above() {
    for status in [200, 503] {
        let (told, above) = (Told::default(), CircuitBreakerLayer::new());
        let (_, inner) = good();
        let shed = LoadShedLayer::new(told.clone());
        let mut service = (shed.clone(), above.clone(), open(status, &[])).layer(inner);
        for _ in 0..50 {
            assert_eq!(call(&mut service, get("/")).await.unwrap().status(), status);
        }
        assert_eq!(above.breaker().counts(), counts(0, 0), "{status}");
        assert_eq!((told.0.lock().unwrap().len(), shed.gauge().in_flight()), (0, 0), "{status}");
        // Nor is it a good probe.
        half_open(&above.breaker());
        for _ in 0..10 {
            assert_eq!(call(&mut service, get("/")).await.unwrap().status(), status);
        }
        assert_eq!(above.breaker().state(), seawall::circuit_breaker::State::HalfOpen);
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_is_refused_and_gets_no_bytes_instead() {
    let native = |kind: &'static str| -> Req {
        let (mut parts, body) = with(get("/shop/Find"), "content-type", kind).into_parts();
        parts.method = http::Method::POST;
        Request::from_parts(parts, body)
    };
    let open = open(200, &[]);
    let by_grpc = CircuitBreakerLayer::new()
        .classify(ByGrpcStatus::new())
        .fallback(|_| Some(Response::new(Bytes::from_static(b"instead"))));
    by_grpc.breaker().force_open();
    for kind in ["application/grpc", "application/grpc+proto"] {
        let refused: [Result<_, BoxError>; 2] = [
            call(&mut open.layer(good().1), native(kind)).await,
            call(&mut by_grpc.layer(good().1), native(kind)).await,
        ];
        for answer in refused {
            assert_eq!(reason(&answer), Some(Reason::CircuitOpen), "{kind}: {answer:?}");
        }
    }
    let page = call(&mut open.layer(good().1), native("application/json")).await;
    assert_eq!(page.unwrap().text(), "instead");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_a_fallback_answers_invalidates_nothing() {
    let breaker = open(200, &[]);
    breaker.breaker().reset();
    let (calls, inner) = good();
    let mut service = (CacheLayer::new(cache()), breaker.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    breaker.breaker().force_open();
    let mut write = get("/");
    *write.method_mut() = http::Method::POST;
    let read = call(&mut service, write).await.unwrap();
    assert_eq!((read.text(), read.field("cache-status")), ("instead", None));
    assert_eq!(call(&mut service, get("/")).await.unwrap().cache_status(), "hit");
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_breakers_own_answer_goes_before_the_fallback_of_the_cache_above() {
    let layer = CacheLayer::new(cache())
        .fallback(|_| Some(Response::new(Bytes::from_static(b"back in a minute"))));
    let mut service = (layer, open(200, &[])).layer(good().1);
    let read = call(&mut service, get("/")).await.unwrap();
    assert_eq!((read.text(), read.cache_status()), ("instead", "detail=refused"));
}
