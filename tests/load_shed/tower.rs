//! With tower's own layers above and below.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::Response;
use seawall::{BoxError, LoadShedLayer, Reason, Rejected, admission::PermitBody, load_shed::Call};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    buffer::Buffer,
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer},
    load_shed::{LoadShed, error::Overloaded},
    timeout::{TimeoutLayer, error::Elapsed},
};

use crate::{
    SECOND, Watch, millis, reason,
    support::{BoxedOrigin, Calls, Req, Res, answer, asked, at_once, call, get, origin},
};

type Body = PermitBody<http_body_util::Full<bytes::Bytes>, Call>;

/// An origin that takes a second, and none of whose answers has a body.
fn a_second() -> (Calls, BoxedOrigin) {
    origin(|_, _| async {
        sleep(SECOND).await;
        Ok(answer(&[], ""))
    })
}

fn hangs() -> (Calls, BoxedOrigin) {
    origin(|_, _| std::future::pending::<Result<Res, BoxError>>())
}

#[tokio::test(start_paused = true)]
async fn a_timeout_above_gives_the_place_back_at_once() {
    let (calls, inner) = hangs();
    let layer = LoadShedLayer::fixed(1);
    let mut service = TimeoutLayer::new(SECOND).layer(layer.layer(inner));
    for n in 1..=5 {
        let error = call(&mut service, get("/")).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
        assert_eq!((calls.count(), layer.gauge().in_flight()), (n, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_below_gives_the_place_back_and_its_error_passes_untouched() {
    let (calls, inner) = hangs();
    let layer = LoadShedLayer::fixed(1);
    let mut service = layer.layer(TimeoutLayer::new(SECOND).layer(inner));
    for n in 1..=5 {
        let error = call(&mut service, get("/")).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
        assert_eq!((calls.count(), layer.gauge().in_flight()), (n, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_above_makes_callers_wait_and_none_is_refused() {
    let (calls, inner) = a_second();
    let layer = LoadShedLayer::fixed(2);
    let service = ConcurrencyLimitLayer::new(2).layer(layer.layer(inner));
    let began = tokio::time::Instant::now();
    for answered in at_once(&service, (0..10).map(|_| get("/"))).await {
        answered.unwrap();
    }
    assert_eq!((calls.count(), began.elapsed()), (10, 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_below_makes_those_wait_who_were_admitted() {
    let (calls, inner) = a_second();
    let layer = LoadShedLayer::fixed(4);
    let service = layer.layer(ConcurrencyLimitLayer::new(2).layer(inner));
    let answers = at_once(&service, (0..10).map(|_| get("/"))).await;
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!((refused, calls.count(), layer.gauge().in_flight()), (6, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn between_limits_and_timeouts_no_place_is_lost() {
    let free = [Arc::new(Semaphore::new(16)), Arc::new(Semaphore::new(2))];
    let watch = Watch::default();
    let watched = watch.clone();
    let (_, inner) = origin(move |call, _| {
        let inside = watched.enter();
        async move {
            sleep(millis(call as u64 % 7 * 10)).await;
            drop(inside);
            if call % 5 == 0 { Err("failed".into()) } else { Ok(answer(&[], "")) }
        }
    });
    let layer = LoadShedLayer::fixed(8);
    let [above, below] = &free;
    let service = ServiceBuilder::new()
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(above)))
        .layer(TimeoutLayer::new(millis(150)))
        .layer(layer.clone())
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(below)))
        .layer(TimeoutLayer::new(millis(45)))
        .service(inner);
    let callers = (0..12).map(|_| {
        let service = service.clone();
        async move {
            let mut counts = [0; 4];
            for _ in 0..100 {
                counts[match asked(&service, get("/")).await.unwrap() {
                    Ok(_) => 0,
                    Err(error) if error.is::<Rejected>() => {
                        sleep(millis(20)).await;
                        1
                    }
                    Err(error) if error.is::<Elapsed>() => 2,
                    Err(_) => 3,
                }] += 1;
            }
            counts
        }
    });
    let callers = callers.collect::<tokio::task::JoinSet<_>>().join_all().await;
    let counts: [usize; 4] =
        std::array::from_fn(|way| callers.iter().map(|counts| counts[way]).sum());
    println!("answered, refused, timed out, failed: {counts:?}");
    assert!(counts.iter().all(|&count| count > 10), "{counts:?}");
    assert_eq!((layer.gauge().in_flight(), watch.now()), (0, 0));
    assert_eq!(free.map(|places| places.available_permits()), [16, 2]);
    assert!(watch.most() <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_buffer_above_hands_refusals_on() {
    let (_, inner) = hangs();
    let layer = LoadShedLayer::fixed(1);
    let buffer = Buffer::<Req, _>::new(layer.layer(inner), 8);
    let first = tokio::spawn(buffer.clone().oneshot(get("/")));
    sleep(millis(1)).await;
    for _ in 0..20 {
        let refused: Result<Response<Body>, _> = buffer.clone().oneshot(get("/")).await;
        assert_eq!(reason(&refused.unwrap_err()), Some(Reason::Shed));
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(layer.gauge().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_buffer_below_is_called_with_the_place_that_was_reserved_and_loses_none() {
    let (calls, inner) = a_second();
    let buffer = Buffer::new(ConcurrencyLimitLayer::new(1).layer(inner), 1);
    let layer = LoadShedLayer::fixed(4);
    let service = layer.layer(buffer);
    for round in 1..=3 {
        let answers = timeout(60 * SECOND, at_once(&service, (0..8).map(|_| get("/")))).await;
        let answers = answers.expect("it hangs");
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
        assert_eq!((calls.count(), layer.gauge().in_flight()), (4 * round, 0));
    }
    // Callers that leave while they wait for the buffer.
    let waiting: Vec<_> = (0..4).map(|_| asked(&service, get("/"))).collect();
    sleep(millis(1)).await;
    for one in &waiting {
        one.abort();
    }
    for one in waiting {
        assert!(one.await.is_err());
    }
    assert_eq!(layer.gauge().in_flight(), 0);
    let next = timeout(10 * SECOND, call(&mut service.clone(), get("/"))).await;
    assert!(next.expect("a place was lost").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_shedder_of_towers_above_finds_it_always_ready() {
    let (_, inner) = hangs();
    let layer = LoadShedLayer::fixed(1);
    let mut service = LoadShed::new(layer.layer(ConcurrencyLimitLayer::new(1).layer(inner)));
    let _first = service.ready().await.unwrap().call(get("/"));
    let error = timeout(SECOND, call(&mut service, get("/"))).await.unwrap().unwrap_err();
    assert!(!error.is::<Overloaded>(), "{error}");
    assert_eq!(reason(&error), Some(Reason::Shed));
}

#[tokio::test(start_paused = true)]
async fn a_shedder_of_towers_below_refuses_those_who_were_admitted() {
    let (_, inner) = a_second();
    let layer = LoadShedLayer::fixed(4);
    let service = layer.layer(LoadShed::new(ConcurrencyLimitLayer::new(1).layer(inner)));
    let answers = at_once(&service, (0..4).map(|_| get("/"))).await;
    let overloaded = |error: &BoxError| error.is::<Overloaded>();
    let refused = answers.iter().filter(|answer| answer.as_ref().is_err_and(overloaded)).count();
    assert_eq!((refused, layer.gauge().in_flight()), (3, 0));
    // The clone that was refused there is not handed the next place either.
    assert!(call(&mut service.clone(), get("/")).await.is_ok());
}

#[tokio::test]
async fn an_inner_service_that_is_broken_when_polled_gives_its_error_and_the_place_back() {
    #[derive(Clone)]
    struct Broken;

    impl Service<Req> for Broken {
        type Response = Res;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Res, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Err("broken".into()))
        }

        fn call(&mut self, _: Req) -> Self::Future {
            panic!("it was not ready")
        }
    }

    let layer = LoadShedLayer::fixed(1);
    let mut service = layer.layer(Broken);
    for _ in 0..3 {
        let error = call(&mut service, get("/")).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), layer.gauge().in_flight()), ("broken", 0));
    }
}
