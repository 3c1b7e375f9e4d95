//! Layers upon layers: whatever stands on what, it is one engine that answers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    extract::{OriginalUri, Request},
    routing,
};
use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{Empty, combinators::UnsyncBoxBody};
use seawall::{
    BoxError, Cache, CacheLayer, CoalesceLayer, RespondLayer, StaleWhileRevalidateLayer, UriKey,
};
use support::{BoxedOrigin, Calls, Read, Req, answer, at_once, boxed, cache, call, get, origin};
use tokio::time::{advance, sleep, timeout};
use tower::{Layer, Service, ServiceExt, util::BoxCloneService};

#[path = "stack/five.rs"]
mod five;
#[path = "stack/orders.rs"]
mod orders;
#[path = "stack/pairs.rs"]
mod pairs;
#[path = "stack/refusals.rs"]
mod refusals;
#[path = "stack/routes.rs"]
mod routes;
#[path = "stack/shield.rs"]
mod shield;
#[path = "stack/shielded.rs"]
mod shielded;
#[path = "stack/stale.rs"]
mod stale;

const SECOND: Duration = Duration::from_secs(1);

/// Held by a test that invalidates, and by one that counts who shares a flight: a process has one
/// journal, and who comes after any record of it does not join a coalesced fetch from before.
async fn journal() -> tokio::sync::MutexGuard<'static, ()> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ONE.lock().await
}

type AnyService = BoxCloneService<Req, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// Layers that share what their clones share.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    CacheA,
    CacheB,
    /// Over the same cache as `CacheA`.
    StaleA,
    StaleB,
    CoalesceC,
    CoalesceD,
    Respond,
}

use Kind::{CacheA, CacheB, CoalesceC, CoalesceD, Respond, StaleA, StaleB};

const KINDS: [Kind; 7] = [CacheA, CacheB, StaleA, StaleB, CoalesceC, CoalesceD, Respond];

impl Kind {
    fn is_cache(self) -> bool {
        matches!(self, CacheA | CacheB) || self.is_stale()
    }

    /// What it has is given stale at once.
    fn is_stale(self) -> bool {
        matches!(self, StaleA | StaleB)
    }
}

struct Layers {
    caches: [Cache; 2],
    coalesce: [CoalesceLayer; 2],
}

impl Layers {
    fn new() -> Self {
        Self { caches: [cache(), cache()], coalesce: [CoalesceLayer::new(), CoalesceLayer::new()] }
    }

    fn stale(&self, cache: usize) -> StaleWhileRevalidateLayer {
        StaleWhileRevalidateLayer::new(self.caches[cache].clone(), 60 * SECOND)
    }

    /// Stacks layers over an inner service; the outermost is named first.
    fn stack(&self, kinds: &[Kind], inner: BoxedOrigin) -> AnyService {
        let inner = BoxCloneService::new(inner.map_response(|answer| answer.map(boxed)));
        kinds.iter().rev().fold(inner, |inner, kind| match kind {
            CacheA => erased(CacheLayer::new(self.caches[0].clone()).layer(inner)),
            CacheB => erased(CacheLayer::new(self.caches[1].clone()).layer(inner)),
            StaleA => erased(self.stale(0).layer(inner)),
            StaleB => erased(self.stale(1).layer(inner)),
            CoalesceC => erased(self.coalesce[0].layer(inner)),
            CoalesceD => erased(self.coalesce[1].layer(inner)),
            Respond => erased(RespondLayer::new().layer(inner)),
        })
    }

    fn assert_nothing_is_left(&self, kinds: &[Kind]) {
        let coalesce = self.coalesce.iter().map(CoalesceLayer::cache);
        for cache in self.caches.iter().chain(coalesce) {
            let figures = cache.figures();
            let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
            assert_eq!((left, figures.refreshes), ((0, 0, 0, 0), 0), "{kinds:?}: {figures:?}");
        }
    }
}

fn erased<S, B>(service: S) -> AnyService
where
    S: Service<Req, Response = Response<B>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    BoxCloneService::new(service.map_response(|answer| answer.map(boxed)).map_err(Into::into))
}

/// Every sequence of one, two and three layers.
fn stacks() -> Vec<Vec<Kind>> {
    let mut stacks: Vec<Vec<Kind>> = KINDS.iter().map(|&kind| vec![kind]).collect();
    for outer in KINDS {
        stacks.extend(KINDS.iter().map(|&inner| vec![outer, inner]));
        for middle in KINDS {
            stacks.extend(KINDS.iter().map(|&inner| vec![outer, middle, inner]));
        }
    }
    stacks
}

/// At most one `Age`, and a cache says once what it did.
fn assert_told_once(kinds: &[Kind], read: &Read) {
    let fields = &read.parts.headers;
    assert!(fields.get_all("age").iter().count() <= 1, "{kinds:?}: {fields:?}");
    let lines: Vec<_> =
        fields.get_all("cache-status").iter().map(|line| line.to_str().unwrap()).collect();
    let members: usize = lines.iter().map(|line| line.matches("seawall").count()).sum();
    let expected = usize::from(kinds.iter().any(|kind| kind.is_cache()));
    assert_eq!((lines.len(), members), (expected, expected), "{kinds:?}: {lines:?}");
}

/// An origin that takes a second.
fn slow(control: &'static str) -> (Calls, BoxedOrigin) {
    origin(move |_, request| async move {
        sleep(SECOND).await;
        Ok(answer(&[("cache-control", control)], request.uri().path().to_owned()))
    })
}

#[tokio::test(start_paused = true)]
async fn any_stack_with_a_cache_makes_one_call_for_all_who_ask_and_tells_of_it_once() {
    for kinds in stacks().iter().filter(|kinds| kinds.iter().any(|kind| kind.is_cache())) {
        let (calls, inner) = slow("max-age=600");
        let layers = Layers::new();
        let mut service = layers.stack(kinds, inner);
        for (path, concurrent_first) in [("/concurrent-first", true), ("/sequential-first", false)]
        {
            let before = calls.count();
            for step in 0..3 {
                let concurrent = (step == 0) == concurrent_first && step < 2;
                let answers = if concurrent {
                    timeout(60 * SECOND, at_once(&service, (0..5).map(|_| get(path)))).await
                } else {
                    timeout(60 * SECOND, call(&mut service, get(path))).await.map(|read| vec![read])
                };
                for read in answers.unwrap_or_else(|_| panic!("{kinds:?} hangs")) {
                    let read = read.unwrap();
                    assert_eq!((read.status(), read.text()), (200, path), "{kinds:?}");
                    assert_told_once(kinds, &read);
                }
                assert_eq!(calls.count() - before, 1, "{kinds:?} {path}");
                advance(SECOND).await;
            }
        }
        layers.assert_nothing_is_left(kinds);
    }
}

#[tokio::test(start_paused = true)]
async fn any_stack_without_a_cache_coalesces_where_it_says_so_and_keeps_nothing() {
    for kinds in stacks().iter().filter(|kinds| !kinds.iter().any(|kind| kind.is_cache())) {
        let (calls, inner) = slow("max-age=600");
        let layers = Layers::new();
        let mut service = layers.stack(kinds, inner);
        for _ in 0..2 {
            call(&mut service, get("/")).await.unwrap();
        }
        assert_eq!(calls.count(), 2, "{kinds:?}");
        for read in timeout(60 * SECOND, at_once(&service, (0..5).map(|_| get("/")))).await.unwrap()
        {
            assert_told_once(kinds, &read.unwrap());
        }
        let coalesces = kinds.iter().any(|&kind| kind != Respond);
        assert_eq!(calls.count(), if coalesces { 3 } else { 7 }, "{kinds:?}");
        layers.assert_nothing_is_left(kinds);
    }
}

#[tokio::test(start_paused = true)]
async fn any_stack_hands_on_what_it_does_not_keep_and_tells_of_it_once() {
    let _journal = journal().await;
    for kinds in stacks() {
        for (method, control) in
            [(Method::GET, "private"), (Method::POST, "max-age=600"), (Method::HEAD, "max-age=600")]
        {
            let (calls, inner) = slow(control);
            let layers = Layers::new();
            let mut service = layers.stack(&kinds, inner);
            for n in 1..=2 {
                let mut request = get("/");
                *request.method_mut() = method.clone();
                let read = timeout(60 * SECOND, call(&mut service, request)).await;
                let read = read.unwrap_or_else(|_| panic!("{kinds:?} hangs")).unwrap();
                assert_told_once(&kinds, &read);
                assert_eq!(calls.count(), n, "{kinds:?} {method}");
            }
            layers.assert_nothing_is_left(&kinds);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_is_asked_for_once_through_any_two_layers() {
    for kinds in stacks().iter().filter(|kinds| kinds.len() == 2 && kinds[0].is_cache()) {
        let (calls, inner) = slow("max-age=10");
        let layers = Layers::new();
        let mut service = layers.stack(kinds, inner);
        call(&mut service, get("/")).await.unwrap();
        advance(11 * SECOND).await;
        for read in timeout(60 * SECOND, at_once(&service, (0..5).map(|_| get("/")))).await.unwrap()
        {
            assert_told_once(kinds, &read.unwrap());
        }
        sleep(2 * SECOND).await; // for what goes on behind an answer that was stale
        assert_eq!(calls.count(), 2, "{kinds:?}");
        layers.assert_nothing_is_left(kinds);
    }
}

#[tokio::test(start_paused = true)]
async fn the_age_of_an_answer_is_the_same_however_many_caches_it_passes() {
    for kinds in [&[CacheA][..], &[CacheA, CacheA], &[CacheA, CacheB], &[CoalesceC, CacheA]] {
        let (_, inner) = origin(|_, _| async {
            Ok(answer(&[("cache-control", "max-age=600"), ("age", "100")], "body"))
        });
        let mut service = Layers::new().stack(kinds, inner);
        call(&mut service, get("/")).await.unwrap();
        advance(7 * SECOND).await;
        let hit = call(&mut service, get("/")).await.unwrap();
        assert_eq!(hit.field("age"), Some("107"), "{kinds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_below_whose_answer_is_old_is_not_made_young_by_one_above() {
    let (calls, inner) = slow("max-age=10");
    let layers = Layers::new();
    let mut below = layers.stack(&[CacheB], inner.clone());
    call(&mut below, get("/")).await.unwrap();
    advance(7 * SECOND).await;
    let mut both = layers.stack(&[CacheA, CacheB], inner);
    assert_eq!(call(&mut both, get("/")).await.unwrap().field("age"), Some("7"));
    advance(2 * SECOND).await;
    assert_eq!(call(&mut both, get("/")).await.unwrap().field("age"), Some("9"));
    assert_eq!(calls.count(), 1);
    advance(2 * SECOND).await;
    call(&mut both, get("/")).await.unwrap();
    assert_eq!(calls.count(), 2, "after eleven seconds it is stale, wherever it is kept");
}

type Layered = (RespondLayer, CacheLayer);

/// A handler that counts its calls and answers with the path that its client asked for.
fn handler(calls: &Calls) -> routing::MethodRouter {
    let calls = calls.clone();
    routing::get(move |axum::extract::OriginalUri(uri): axum::extract::OriginalUri, _: Request| {
        calls.add();
        async move {
            sleep(SECOND).await;
            ([("cache-control", "max-age=600")], uri.path().to_owned())
        }
    })
}

async fn asks(router: &Router, path: &str) -> Read {
    let (parts, _): (_, Empty<Bytes>) = get(path).into_parts();
    let request = Request::from_parts(parts, axum::body::Body::empty());
    let response: Result<_, Infallible> = router.clone().oneshot(request).await;
    support::read(support::never(response)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_layer_on_a_router_and_on_a_nested_router_is_one_cache() {
    let calls = Calls::default();
    let layer: Layered = (RespondLayer::new(), CacheLayer::new(cache()));
    let nested = Router::new().route("/b", handler(&calls)).layer(layer.clone());
    let router = Router::new()
        .route("/a", handler(&calls))
        .route("/c", handler(&calls).layer(layer.clone()))
        .nest("/nested", nested)
        .layer(layer);
    for (n, path) in ["/a", "/c", "/nested/b"].into_iter().enumerate() {
        for _ in 0..2 {
            let asked = (0..5).map(|_| {
                let router = router.clone();
                tokio::spawn(async move { asks(&router, path).await })
            });
            for read in asked.collect::<Vec<_>>() {
                let read = timeout(60 * SECOND, read).await.expect("it hangs").unwrap();
                assert_eq!((read.status(), read.text()), (200, path));
                assert_told_once(&[CacheA], &read);
            }
        }
        assert_eq!(calls.count(), n + 1, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_layer_on_two_nested_routers_does_not_mix_up_what_they_answer() {
    let calls = Calls::default();
    // A nested router sees its routes without the prefix, the key must not.
    let key = UriKey::new().uri(|extensions| Some(&extensions.get::<OriginalUri>()?.0));
    let layer: Layered = (RespondLayer::new(), CacheLayer::new(cache()).key(key));
    let nested = || Router::new().route("/x", handler(&calls)).layer(layer.clone());
    let router = Router::new().nest("/one", nested()).nest("/two", nested());
    for _ in 0..2 {
        assert_eq!(asks(&router, "/one/x").await.text(), "/one/x");
        assert_eq!(asks(&router, "/two/x").await.text(), "/two/x");
    }
    assert_eq!(calls.count(), 2);
}
