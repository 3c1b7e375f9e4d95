//! All five layers in every order, and any two of them, each a type of its own.

use std::{sync::Arc, time::Duration};

use http::Response;
use seawall::{
    BoxError, Cache, CacheLayer, CircuitBreakerLayer, CoalesceLayer, LoadShedLayer, RespondLayer,
    StaleWhileRevalidateLayer,
    circuit_breaker::{Counts, State},
};
use tokio::{
    sync::Semaphore,
    time::{advance, sleep, timeout},
};
use tower::{Layer, Service, service_fn};

use super::{AnyService, CacheA, SECOND, assert_told_once, erased, journal, slow};
use crate::support::{
    BoxedOrigin, Calls, Read, Req, Res, answer, answer_status, asked, cache, call, get, origin,
};

const CALLERS: usize = 100;

/// The five layers, with what they share.
struct Five {
    caches: Vec<Cache>,
    cache: CacheLayer,
    stale: StaleWhileRevalidateLayer,
    coalesce: CoalesceLayer,
    breaker: CircuitBreakerLayer,
    shed: LoadShedLayer,
}

impl Five {
    /// Both layers that store have one cache, or each its own.
    fn new(caches: usize) -> Self {
        let caches: Vec<_> = (0..caches).map(|_| cache()).collect();
        let (first, last) = (caches[0].clone(), caches[caches.len() - 1].clone());
        let hour = Duration::from_secs(3600);
        Self {
            caches,
            cache: CacheLayer::new(first).stale_if_error(hour),
            stale: StaleWhileRevalidateLayer::new(last, 60 * SECOND).stale_if_error(hour),
            coalesce: CoalesceLayer::new(),
            breaker: CircuitBreakerLayer::new(),
            shed: LoadShedLayer::default(),
        }
    }

    fn counts(&self) -> Counts {
        self.breaker.breaker().counts()
    }

    /// Nobody holds a place, waits, or is waited for.
    fn assert_idle(&self, order: &Order) {
        for cache in self.caches.iter().chain([self.coalesce.cache()]) {
            let figures = cache.figures();
            let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
            assert_eq!((left, figures.refreshes), ((0, 0, 0, 0), 0), "{order}: {figures:?}");
        }
        assert_eq!(self.shed.gauge().in_flight(), 0, "{order}");
        assert_eq!(self.breaker.breaker().probes(), 0, "{order}");
    }
}

/// Layers by name, the outermost first, and the one service that they are.
struct Order {
    layers: &'static [&'static str],
    make: fn(&Five, BoxedOrigin) -> AnyService,
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.layers.join(", "))
    }
}

impl Order {
    fn is_over(&self, outer: &str, inner: &str) -> bool {
        let place = |name| self.layers.iter().position(|layer| *layer == name);
        place(outer).zip(place(inner)).is_some_and(|(outer, inner)| outer < inner)
    }

    /// One call of many callers is one call to this layer.
    fn is_coalesced(&self, layer: &str) -> bool {
        ["cache", "stale", "coalesce"].iter().any(|engine| self.is_over(engine, layer))
    }

    fn is_under_a_cache(&self, layer: &str) -> bool {
        self.is_over("cache", layer) || self.is_over("stale", layer)
    }
}

macro_rules! order {
    ($($layer:ident)*) => {
        Order {
            layers: &[$(stringify!($layer)),*],
            // Nothing is boxed between the layers: this order is a type of its own.
            make: |five, inner| {
                erased((RespondLayer::new(), $(five.$layer.clone()),*).layer(inner))
            },
        }
    };
}

/// Every order: each layer in turn comes next, or is left for later.
macro_rules! every_order {
    ($($layer:ident)*) => {{
        let mut orders = Vec::new();
        every_order!(@ orders [] [$($layer)*] []);
        orders
    }};
    (@ $orders:ident [$($order:ident)*] [] []) => { $orders.push(order!($($order)*)); };
    (@ $orders:ident [$($order:ident)*] [] [$($later:ident)+]) => {};
    (@ $orders:ident [$($order:ident)*] [$next:ident $($rest:ident)*] [$($later:ident)*]) => {
        every_order!(@ $orders [$($order)* $next] [$($later)* $($rest)*] []);
        every_order!(@ $orders [$($order)*] [$($rest)*] [$($later)* $next]);
    };
}

macro_rules! pairs {
    ($($outer:ident => $($inner:ident)*;)*) => { vec![$($(order!($outer $inner)),*),*] };
}

fn orders() -> Vec<Order> {
    let orders = every_order!(cache stale coalesce breaker shed);
    assert_eq!(orders.len(), 120);
    orders
}

fn pairs() -> Vec<Order> {
    let pairs = pairs! {
        cache => stale coalesce breaker shed;
        stale => cache coalesce breaker shed;
        coalesce => cache stale breaker shed;
        breaker => cache stale coalesce shed;
        shed => cache stale coalesce breaker;
    };
    assert_eq!(pairs.len(), 20);
    pairs
}

/// Half of the callers by one service, half by another.
async fn herd(order: &Order, services: &[AnyService; 2], path: &str) -> Vec<Read> {
    let callers: Vec<_> =
        (0..CALLERS).map(|caller| asked(&services[caller % 2], get(path))).collect();
    let mut answers = Vec::new();
    for caller in callers {
        let answer = timeout(60 * SECOND, caller).await;
        answers.push(answer.unwrap_or_else(|_| panic!("{order} hangs")).unwrap().unwrap());
    }
    answers
}

/// A refusal as a client sees it.
fn assert_refused(order: &Order, read: &Read) {
    assert_eq!(read.status(), 503, "{order}: {}", read.text());
    let wait: u64 = read.field("retry-after").unwrap_or_default().parse().unwrap_or_default();
    assert!(wait >= 1, "{order}: {:?}", read.parts.headers);
}

#[tokio::test(start_paused = true)]
async fn in_any_order_of_the_five_a_hundred_callers_of_two_services_are_one_call() {
    let _journal = journal().await;
    for order in orders() {
        for caches in [1, 2] {
            let five = Five::new(caches);
            let (calls, inner) = slow("max-age=600");
            let mut services = [(order.make)(&five, inner.clone()), (order.make)(&five, inner)];
            for read in herd(&order, &services, "/page").await {
                assert_eq!((read.status(), read.text()), (200, "/page"), "{order}");
                assert_told_once(&[CacheA], &read);
            }
            assert_eq!(calls.count(), 1, "{order}");
            five.assert_idle(&order);
            let counted = if order.is_coalesced("breaker") { 1 } else { CALLERS as u64 };
            let expected = Counts { calls: counted, ..Counts::default() };
            assert_eq!(five.counts(), expected, "{order}");

            for service in &mut services {
                let hit = call(service, get("/page")).await.unwrap();
                assert_eq!((hit.text(), hit.cache_status()), ("/page", "hit"), "{order}");
            }
            assert_eq!(calls.count(), 1, "{order}");
            assert_eq!(five.counts(), expected, "{order}: what is stored says nothing");
            assert_eq!(five.breaker.breaker().state(), State::Closed, "{order}");
            five.assert_idle(&order);
        }
    }
}

/// An origin that fails while it is called for the first time, and never again.
fn failing_first() -> (Calls, BoxedOrigin) {
    origin(|call, request| async move {
        sleep(Duration::from_millis(50)).await;
        Ok::<_, BoxError>(match call {
            0 => answer_status(503, &[], "out of order"),
            _ => answer(&[("cache-control", "max-age=600")], request.uri().path().to_owned()),
        })
    })
}

#[tokio::test(start_paused = true)]
async fn in_any_order_of_the_five_a_server_error_is_one_call_and_the_stack_recovers() {
    let _journal = journal().await;
    for order in orders() {
        for caches in [1, 2] {
            let five = Five::new(caches);
            let breaker = five.breaker.breaker();
            let (calls, inner) = failing_first();
            let mut services = [(order.make)(&five, inner.clone()), (order.make)(&five, inner)];
            for read in herd(&order, &services, "/page").await {
                assert_eq!(read.status(), 503, "{order}");
            }
            assert_eq!(calls.count(), 1, "{order}");
            five.assert_idle(&order);
            if order.is_coalesced("breaker") {
                let one = Counts { calls: 1, failures: 1, slow: 0 };
                assert_eq!((breaker.state(), five.counts()), (State::Closed, one), "{order}");
            } else {
                assert_eq!(breaker.state(), State::Open, "{order}: a hundred failures");
            }

            for read in herd(&order, &services, "/page").await {
                assert_refused(&order, &read);
            }
            assert_eq!(calls.count(), 1, "{order}: it is left alone for a while");
            five.assert_idle(&order);

            sleep(3 * SECOND).await;
            for (n, path) in ["/page", "/second", "/third"].into_iter().enumerate() {
                let read = call(&mut services[n % 2], get(path)).await.unwrap();
                assert_eq!((read.status(), read.text()), (200, path), "{order}");
            }
            assert_eq!((calls.count(), breaker.state()), (4, State::Closed), "{order}");
            five.assert_idle(&order);
        }
    }
}

/// Takes what there is to have of the origin until it is let go.
fn all_taken(five: &Five, until: &Arc<Semaphore>) -> tokio::task::JoinHandle<()> {
    let until = Arc::clone(until);
    let mut service = five.shed.layer(service_fn(move |_: Req| {
        let until = Arc::clone(&until);
        async move {
            until.acquire().await.unwrap().forget();
            Ok::<Res, BoxError>(Response::default())
        }
    }));
    let taken = service.call(get("/held"));
    tokio::spawn(async move { drop(taken.await) })
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_answered_by_the_caches_above_and_what_is_below_cannot_help() {
    for order in orders() {
        for (refusing, caches) in [("breaker", 1), ("breaker", 2), ("shed", 1), ("shed", 2)] {
            let case = format!("{order}: {refusing}, {caches} caches");
            let five = Five { shed: LoadShedLayer::fixed(1), ..Five::new(caches) };
            let (calls, inner) = slow("max-age=10");
            let mut service = (order.make)(&five, inner);
            call(&mut service, get("/page")).await.unwrap();
            let until = Arc::new(Semaphore::new(0));
            let taken = (refusing == "shed").then(|| all_taken(&five, &until));
            if taken.is_none() {
                five.breaker.breaker().force_open();
            }
            tokio::task::yield_now().await;
            for age in [0, 11, 300] {
                let read = timeout(60 * SECOND, call(&mut service, get("/page"))).await;
                let read = read.unwrap_or_else(|_| panic!("{case} hangs")).unwrap();
                if order.is_under_a_cache(refusing) {
                    assert_eq!((read.status(), read.text()), (200, "/page"), "{case}");
                    assert_eq!(read.cache_status().contains("stale"), age > 10, "{case} {age}");
                    assert_told_once(&[CacheA], &read);
                } else {
                    assert_refused(&order, &read);
                }
                let cold = call(&mut service, get("/cold")).await.unwrap();
                assert_refused(&order, &cold);
                sleep(SECOND).await; // for what goes on behind an answer that was stale
                let next = if age == 0 { 10 } else { 288 };
                advance(next * SECOND).await;
            }
            assert_eq!(calls.count(), 1, "{case}");
            until.add_permits(1);
            if let Some(taken) = taken {
                taken.await.unwrap();
            }
            five.assert_idle(&order);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn any_two_of_the_five_make_one_call_where_one_of_them_says_so() {
    for order in pairs() {
        let five = Five::new(1);
        let (calls, inner) = slow("max-age=600");
        let services = [(order.make)(&five, inner.clone()), (order.make)(&five, inner)];
        let has = |names: &[&str]| order.layers.iter().any(|layer| names.contains(layer));
        let coalesces = has(&["cache", "stale", "coalesce"]);
        let expected = match (coalesces, has(&["cache", "stale"])) {
            (false, _) => [CALLERS, 2 * CALLERS],
            (true, false) => [1, 2],
            (true, true) => [1, 1],
        };
        for expected in expected {
            for read in herd(&order, &services, "/page").await {
                assert_eq!((read.status(), read.text()), (200, "/page"), "{order}");
            }
            assert_eq!(calls.count(), expected, "{order}");
            five.assert_idle(&order);
        }
    }
}
