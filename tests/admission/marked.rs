//! What layers that decide write on a request: a question, and no flight.

use http::Response;
use http_body_util::Full;
use seawall::{
    BoxError, CacheLayer, CircuitBreakerLayer, LoadShedLayer,
    admission::ByGrpcStatus,
    marks::{Flight, Refresh, Served, Source},
};
use tower::{Layer, Service, ServiceExt};

use crate::support::{
    BoxedOrigin, Calls, Req, answer, answer_status, cache, call, get, origin, read,
};

/// Says whether it sees the mark of a flight.
fn handler() -> BoxedOrigin {
    origin(|_, request| async move {
        let extensions = request.extensions();
        let marked = extensions.get::<Flight>().is_some() || extensions.get::<Refresh>().is_some();
        let control = [("cache-control", "max-age=600")];
        Ok(answer(&control, if marked { "marked" } else { "plain" }))
    })
    .1
}

#[tokio::test(start_paused = true)]
async fn a_handler_below_a_breaker_or_a_shedder_alone_sees_no_flight_though_a_cache_is_elsewhere() {
    let mut elsewhere = CacheLayer::new(cache()).layer(handler());
    assert_eq!(call(&mut elsewhere, get("/")).await.unwrap().text(), "marked");
    let breaker = CircuitBreakerLayer::new();
    let by_grpc = CircuitBreakerLayer::new().classify(ByGrpcStatus::new());
    let shed = LoadShedLayer::fixed(10);
    let said = [
        call(&mut breaker.layer(handler()), get("/")).await,
        call(&mut by_grpc.layer(handler()), get("/")).await,
        call(&mut shed.layer(handler()), get("/")).await,
        call(&mut (shed, breaker).layer(handler()), get("/")).await,
    ];
    for read in said {
        assert_eq!(read.unwrap().text(), "plain");
    }
}

async fn source<S, B>(service: &S, path: &str) -> Option<Source>
where
    S: Service<Req, Response = Response<B>, Error = BoxError> + Clone,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>>,
{
    let response = service.clone().oneshot(get(path)).await.unwrap();
    let source = response.extensions().get().map(Served::source);
    read(response).await.unwrap();
    source
}

#[tokio::test(start_paused = true)]
async fn a_cache_below_says_where_its_answer_came_from_to_those_who_ask_and_to_nobody_else() {
    let (breaker, shed) = (CircuitBreakerLayer::new(), LoadShedLayer::fixed(10));
    for (path, expected) in [
        ("/", [Some(Source::Origin), Some(Source::Storage), Some(Source::Storage)]),
        ("/other", [Some(Source::Origin), Some(Source::Storage), Some(Source::Storage)]),
    ] {
        let cached = CacheLayer::new(cache());
        let asked = [
            source(&(breaker.clone(), cached.clone()).layer(handler()), path).await,
            source(&(shed.clone(), cached.clone()).layer(handler()), path).await,
            source(&(shed.clone(), breaker.clone(), cached.clone()).layer(handler()), path).await,
        ];
        assert_eq!(asked, expected);
        assert_eq!(source(&cached.layer(handler()), path).await, None, "nobody asks");
    }
}

/// Answers with 503 once, and well from then on.
fn recovers() -> (Calls, BoxedOrigin) {
    origin(|number, _| async move {
        Ok::<Response<Full<_>>, _>(answer_status(if number == 0 { 503 } else { 200 }, &[], "said"))
    })
}

#[tokio::test(start_paused = true)]
async fn one_caller_alone_has_a_second_try_below_a_shedder_or_a_breaker_as_without() {
    async fn tried<S, B>(mut service: S) -> Vec<u16>
    where
        S: Service<Req, Response = Response<B>, Error = BoxError>,
        B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>>,
    {
        let mut said = Vec::new();
        for _ in 0..2 {
            said.push(call(&mut service, get("/")).await.unwrap().status());
        }
        said
    }
    let cached = || CacheLayer::new(cache());
    let said = [
        tried(cached().layer(recovers().1)).await,
        tried((LoadShedLayer::fixed(10), cached()).layer(recovers().1)).await,
        tried((CircuitBreakerLayer::new(), cached()).layer(recovers().1)).await,
    ];
    assert_eq!(said, [[503, 200], [503, 200], [503, 200]]);
}
