//! Each layer in axum, applied in every way that axum has, over real sockets: axum makes a service
//! for every route, and all of them share what the layer has.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    error_handling::HandleErrorLayer,
    extract::{OriginalUri, Request},
    response::{IntoResponse, Response},
    routing::{self, MethodRouter, Route},
};
use http::{StatusCode, header::RETRY_AFTER};
use seawall::{
    BoxError, CacheLayer, CircuitBreakerLayer, CoalesceLayer, LoadShedLayer, OriginShield,
    Rejected, RespondLayer, StaleWhileRevalidateLayer, circuit_breaker::State,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tower::{Layer, Service};

use crate::support::{
    Calls, cache,
    sockets::{LONG, client, eventually},
};

const PATHS: [&str; 3] = ["/a", "/b", "/c/d"];

/// What the routes lead to.
#[derive(Clone)]
struct Origin {
    calls: Calls,
    fails: Arc<AtomicBool>,
    /// Each call waits here.
    gate: Arc<Semaphore>,
    control: &'static str,
}

impl Origin {
    fn new(control: &'static str) -> Self {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { calls: Calls::default(), fails: Arc::default(), gate, control }
    }

    fn shut() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), ..Self::new("max-age=600") }
    }

    fn handler(&self) -> MethodRouter {
        let origin = self.clone();
        routing::get(move |OriginalUri(uri): OriginalUri| async move {
            origin.calls.add();
            let _passed = origin.gate.acquire().await.unwrap();
            match origin.fails.load(Ordering::SeqCst) {
                true => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                false => {
                    ([("cache-control", origin.control)], uri.path().to_owned()).into_response()
                }
            }
        })
    }
}

/// How a layer is applied.
#[derive(Clone, Copy, Debug)]
enum Applied {
    ToRouter,
    ToRoutesOfRouter,
    ToEachRoute,
    ToEachMethod,
    AroundNested,
    InsideNested,
}

const ALL: [Applied; 6] = [
    Applied::ToRouter,
    Applied::ToRoutesOfRouter,
    Applied::ToEachRoute,
    Applied::ToEachMethod,
    Applied::AroundNested,
    Applied::InsideNested,
];

fn router<L>(applied: Applied, origin: &Origin, layer: L) -> Router
where
    L: Layer<Route> + Clone + Send + Sync + 'static,
    L::Service: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request>>::Response: IntoResponse + 'static,
    <L::Service as Service<Request>>::Future: Send + 'static,
{
    let routes = |handler: MethodRouter| {
        PATHS.iter().fold(Router::new(), |router, path| router.route(path, handler.clone()))
    };
    let handler = origin.handler();
    let each = |make: &dyn Fn() -> MethodRouter| {
        PATHS.iter().fold(Router::new(), |router, path| router.route(path, make()))
    };
    let (flat, nested) = (
        Router::new().route("/a", handler.clone()).route("/b", handler.clone()),
        Router::new().route("/d", handler.clone()),
    );
    match applied {
        Applied::ToRouter => routes(handler).layer(layer),
        Applied::ToRoutesOfRouter => routes(handler).route_layer(layer),
        Applied::ToEachRoute => each(&|| handler.clone().layer(layer.clone())),
        Applied::ToEachMethod => each(&|| handler.clone().route_layer(layer.clone())),
        Applied::AroundNested => flat.nest("/c", nested).layer(layer),
        Applied::InsideNested => flat.layer(layer.clone()).nest("/c", nested.layer(layer)),
    }
}

async fn served(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    addr
}

/// What an application of axum does with an error of its own accord.
async fn handled(error: BoxError) -> Response {
    let Some(wait) = Rejected::find(&*error).and_then(Rejected::wait) else {
        return (StatusCode::BAD_GATEWAY, "handled").into_response();
    };
    let wait = wait.as_secs() + 1;
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, wait.to_string())], "handled").into_response()
}

/// Serves the routes with a layer that is applied so, below `RespondLayer` or `HandleErrorLayer`.
macro_rules! serving {
    ($applied:expr, $responds:expr, $origin:expr, $layer:expr) => {{
        let layer = $layer;
        match $responds {
            true => served(router($applied, $origin, (RespondLayer::new(), layer))).await,
            false => {
                served(router($applied, $origin, (HandleErrorLayer::new(handled), layer))).await
            }
        }
    }};
}

fn ways() -> impl Iterator<Item = (Applied, bool)> {
    ALL.into_iter().flat_map(|applied| [(applied, true), (applied, false)])
}

fn assert_refused(answer: &client::Answer, responds: bool, case: Applied) {
    assert_eq!(answer.status, 503, "{case:?}: {answer:?}");
    let wait: u64 = answer.field("retry-after").unwrap_or_default().parse().unwrap_or_default();
    assert!(wait >= 1, "{case:?}: {answer:?}");
    assert_eq!(answer.text() == "handled", !responds, "{case:?}: {answer:?}");
}

#[tokio::test]
async fn all_routes_have_one_breaker() {
    for (applied, responds) in ways() {
        let layer = CircuitBreakerLayer::new().in_a_row(6, LONG);
        let origin = Origin::new("no-store");
        let addr = serving!(applied, responds, &origin, layer.clone());
        for path in PATHS {
            assert_eq!(client::get(addr, path).await.text(), path, "{applied:?}");
        }
        origin.fails.store(true, Ordering::SeqCst);
        for n in 0..6 {
            assert_eq!(layer.breaker().state(), State::Closed, "{applied:?}");
            assert_eq!(client::get(addr, PATHS[n % 3]).await.status, 500, "{applied:?}");
        }
        assert_eq!(layer.breaker().state(), State::Open, "{applied:?}");
        for path in PATHS {
            assert_refused(&client::get(addr, path).await, responds, applied);
        }
        assert_eq!(origin.calls.count(), 9, "{applied:?}");
    }
}

#[tokio::test]
async fn all_routes_have_one_limit() {
    for (applied, responds) in ways() {
        let layer = LoadShedLayer::fixed(2);
        let origin = Origin::shut();
        let addr = serving!(applied, responds, &origin, layer.clone());
        let held: JoinSet<_> = PATHS[..2].iter().map(|path| client::get(addr, path)).collect();
        eventually("both in flight", || layer.gauge().in_flight() == 2).await;
        for path in PATHS {
            assert_refused(&client::get(addr, path).await, responds, applied);
        }
        origin.gate.add_permits(2);
        for answer in held.join_all().await {
            assert_eq!(answer.status, 200, "{applied:?}");
        }
        eventually("all given back", || layer.gauge().in_flight() == 0).await;
        assert_eq!(client::get(addr, "/c/d").await.text(), "/c/d", "{applied:?}");
        assert_eq!(origin.calls.count(), 3, "{applied:?}");
    }
}

#[tokio::test]
async fn all_routes_have_one_cache() {
    for (applied, responds) in ways() {
        let cache = cache();
        let origin = Origin::new("max-age=600");
        let addr = serving!(applied, responds, &origin, CacheLayer::new(cache.clone()));
        for is_hit in [false, true] {
            for path in PATHS {
                let answer = client::get(addr, path).await;
                assert_eq!((answer.text(), answer.is_hit()), (path, is_hit), "{applied:?}");
            }
        }
        assert_eq!((origin.calls.count(), cache.figures().records), (3, 3), "{applied:?}");
    }
}

#[tokio::test]
async fn all_routes_are_refreshed_behind_stale_answers_of_one_cache() {
    for (applied, responds) in ways() {
        let cache = cache();
        let origin = Origin::new("max-age=0, stale-while-revalidate=60");
        let layer = StaleWhileRevalidateLayer::new(cache.clone(), LONG);
        let addr = serving!(applied, responds, &origin, layer);
        for path in PATHS {
            client::get(addr, path).await;
        }
        for (n, path) in PATHS.into_iter().enumerate() {
            let stale = client::get(addr, path).await;
            assert_eq!(stale.text(), path, "{applied:?}");
            assert!(stale.cache_status().contains("stale-while-revalidate"), "{stale:?}");
            eventually("refreshed", || origin.calls.count() == 4 + n).await;
        }
        eventually("idle", || cache.figures().refreshes == 0).await;
        assert_eq!((origin.calls.count(), cache.figures().records), (6, 3), "{applied:?}");
    }
}

#[tokio::test]
async fn all_routes_have_one_table_of_flights() {
    for (applied, responds) in ways() {
        let layer = CoalesceLayer::new();
        let origin = Origin::shut();
        let addr = serving!(applied, responds, &origin, layer.clone());
        let asking: JoinSet<_> =
            (0..30).map(|n| async move { (n, client::get(addr, PATHS[n % 3]).await) }).collect();
        let figures = || layer.cache().figures();
        eventually("all there", || (figures().flights, figures().followers) == (3, 27)).await;
        origin.gate.add_permits(3);
        for (n, answer) in asking.join_all().await {
            assert_eq!((answer.status, answer.text()), (200, PATHS[n % 3]), "{applied:?}");
        }
        assert_eq!(origin.calls.count(), 3, "{applied:?}");
        eventually("idle", || (figures().flights, figures().followers) == (0, 0)).await;
    }
}

#[tokio::test]
async fn all_routes_have_one_shield() {
    for applied in ALL {
        let (cache, origin) = (cache(), Origin::new("max-age=600"));
        let shield = OriginShield::new(cache.clone());
        let addr = served(router(applied, &origin, shield.clone())).await;
        for (n, path) in PATHS.iter().cycle().take(6).enumerate() {
            assert_eq!(client::get(addr, path).await.is_hit(), n > 2, "{applied:?}");
        }
        assert_eq!((origin.calls.count(), cache.figures().records), (3, 3), "{applied:?}");
        origin.fails.store(true, Ordering::SeqCst);
        for n in 0..17 {
            let missed = client::get(addr, &format!("{}?{n}", PATHS[n % 3])).await;
            assert_eq!(missed.status, 500, "{applied:?}");
        }
        assert_eq!(shield.breaker().state(), State::Open, "{applied:?}");
        for path in PATHS {
            assert!(client::get(addr, path).await.is_hit(), "{applied:?}");
            assert_refused(&client::get(addr, &format!("{path}?cold")).await, true, applied);
        }
        assert_eq!((origin.calls.count(), shield.gauge().in_flight()), (20, 0), "{applied:?}");
    }
}
