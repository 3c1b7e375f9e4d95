//! What every layer owes to tower: readiness, reservations, bounds on types.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, Ready, pending, poll_fn, ready},
    marker::PhantomPinned,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{Empty, Full};
use seawall::{
    BoxError, CacheLayer, CircuitBreakerLayer, CoalesceLayer, LoadShedLayer, OriginShield,
    RespondLayer, StaleWhileRevalidateLayer,
    admission::{ByError, ByStatus},
};
use support::{Calls, Req, Res, answer, asked, cache, call, get, never, origin};
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

#[path = "contract/admission.rs"]
mod admission;

const LONG: Duration = Duration::from_secs(600);

/// What may happen to a place that was reserved by `poll_ready`.
#[derive(Clone, Debug, Default)]
struct Ledger {
    reserved: Arc<AtomicUsize>,
    called: Arc<AtomicUsize>,
    given_back: Arc<AtomicUsize>,
}

impl Ledger {
    /// Reserved, called, given back.
    fn counts(&self) -> (usize, usize, usize) {
        let count = |number: &AtomicUsize| number.load(Ordering::SeqCst);
        (count(&self.reserved), count(&self.called), count(&self.given_back))
    }
}

/// Panics where it is called without having been ready, and keeps a ledger of reservations.
#[derive(Debug, Default)]
struct Strict {
    ledger: Ledger,
    holds: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ledger: self.ledger.clone(), holds: false }
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        if self.holds {
            self.ledger.given_back.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Service<Req> for Strict {
    type Response = Res;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Res, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !std::mem::replace(&mut self.holds, true) {
            self.ledger.reserved.fetch_add(1, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        assert!(std::mem::take(&mut self.holds), "called without having been ready");
        self.ledger.called.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            sleep(Duration::from_millis(10)).await;
            let said = if request.uri().path() == "/private" { "private" } else { "max-age=600" };
            Ok(answer(&[("cache-control", said)], "body"))
        })
    }
}

/// Runs a piece of code with each layer and each stack of layers over an inner service.
macro_rules! over_every_layer {
    ($inner:expr, |$name:ident, $service:ident| $run:expr) => {{
        let cached = || CacheLayer::new(cache());
        let path = |request: &Req| request.uri().path().to_owned();
        over_every_layer!(@ "cache", cached(), $inner, $name, $service, $run);
        over_every_layer!(@ "coalesce", CoalesceLayer::new(), $inner, $name, $service, $run);
        over_every_layer!(@ "coalesce by", CoalesceLayer::by(path), $inner, $name, $service, $run);
        over_every_layer!(@ "respond", RespondLayer::new(), $inner, $name, $service, $run);
        let stack = (RespondLayer::new(), cached(), CoalesceLayer::new());
        over_every_layer!(@ "respond, cache, coalesce", stack, $inner, $name, $service, $run);
        let stack = (CoalesceLayer::new(), cached(), RespondLayer::new());
        over_every_layer!(@ "coalesce, cache, respond", stack, $inner, $name, $service, $run);
        let stale = || StaleWhileRevalidateLayer::new(cache(), LONG);
        over_every_layer!(@ "stale", stale(), $inner, $name, $service, $run);
        over_every_layer!(@ "shield", OriginShield::new(cache()), $inner, $name, $service, $run);
        let stack = (CoalesceLayer::new(), LoadShedLayer::default(), stale());
        over_every_layer!(@ "coalesce, shed, stale", stack, $inner, $name, $service, $run);
        over_every_admission_layer!($inner, |$name, $service| $run);
    }};
    (@ $text:literal, $layer:expr, $inner:expr, $name:ident, $service:ident, $run:expr) => {{
        let ($name, $service) = ($text, $layer.layer($inner));
        $run
    }};
}

/// The same with each layer that only decides, and stacks of them.
macro_rules! over_every_admission_layer {
    ($inner:expr, |$name:ident, $service:ident| $run:expr) => {{
        let breaker = CircuitBreakerLayer::new;
        let shed = LoadShedLayer::default;
        over_every_layer!(@ "breaker", breaker(), $inner, $name, $service, $run);
        over_every_layer!(@ "breaker a host", breaker().by_host(), $inner, $name, $service, $run);
        let by_error = breaker().classify(ByError::new());
        over_every_layer!(@ "breaker by error", by_error, $inner, $name, $service, $run);
        over_every_layer!(@ "shed", shed(), $inner, $name, $service, $run);
        over_every_layer!(@ "shed, breaker", (shed(), breaker()), $inner, $name, $service, $run);
        over_every_layer!(@ "breaker, shed", (breaker(), shed()), $inner, $name, $service, $run);
        let stack = (RespondLayer::new(), breaker(), shed());
        over_every_layer!(@ "respond, breaker, shed", stack, $inner, $name, $service, $run);
    }};
}
use {over_every_admission_layer, over_every_layer};

#[tokio::test(start_paused = true)]
async fn a_hit_is_served_while_the_inner_service_is_pending_for_ever() {
    /// Ready once, and never again.
    #[derive(Clone)]
    struct Once(Calls);

    impl Service<Req> for Once {
        type Response = Res;
        type Error = BoxError;
        type Future = Ready<Result<Res, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            if self.0.count() == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn call(&mut self, _: Req) -> Self::Future {
            self.0.add();
            ready(Ok(answer(&[("cache-control", "max-age=600")], "body")))
        }
    }

    let calls = Calls::default();
    let mut plain = CacheLayer::new(cache()).layer(Once(calls.clone()));
    call(&mut plain, get("/")).await.unwrap();
    for _ in 0..3 {
        let mut hit = plain.clone();
        let hit = timeout(LONG, call(&mut hit, get("/"))).await.expect("it hangs").unwrap();
        assert_eq!((hit.text(), hit.cache_status()), ("body", "hit"));
    }
    let calls = Calls::default();
    let stack = (RespondLayer::new(), CoalesceLayer::new(), CacheLayer::new(cache()));
    let mut stacked = stack.layer(Once(calls.clone()));
    never(call(&mut stacked, get("/")).await.map_err(|error| panic!("{error}")));
    let hit = timeout(LONG, call(&mut stacked, get("/"))).await.expect("it hangs").unwrap();
    assert_eq!((hit.text(), calls.count()), ("body", 1));
}

#[tokio::test(start_paused = true)]
async fn a_miss_waits_for_the_inner_service_and_its_follower_with_it() {
    let inner = service_fn(|_: Req| pending::<Result<Res, BoxError>>());
    let service = CacheLayer::new(cache()).layer(inner);
    for waiting in [asked(&service, get("/")), asked(&service, get("/"))] {
        let error = timeout(LONG, waiting).await.expect("it hangs").unwrap().unwrap_err();
        assert!(seawall::FetchError::find(&*error).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn every_layer_completes_over_a_limit_of_one_call_at_a_time() {
    let most = Arc::new(AtomicUsize::new(0));
    let now = Arc::new(AtomicUsize::new(0));
    let (watched_most, watched) = (Arc::clone(&most), Arc::clone(&now));
    let (calls, inner) = origin(move |_, _| {
        let (most, now) = (Arc::clone(&watched_most), Arc::clone(&watched));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(answer(&[("cache-control", "max-age=600")], "body"))
        }
    });
    over_every_layer!(ConcurrencyLimitLayer::new(1).layer(inner.clone()), |name, service| {
        let before = calls.count();
        let mut clones = [service.clone(), service];
        // The two clones call in turn, then all at once.
        for n in 0..20 {
            let request = get(&format!("/{name}/{n}").replace([' ', ','], "-"));
            let answered = call(&mut clones[n % 2], request);
            let read = timeout(LONG, answered).await.expect(name).expect(name);
            assert_eq!(read.text(), "body", "{name}");
        }
        let path = |n: usize| format!("/{name}/at-once/{n}").replace([' ', ','], "-");
        let together: Vec<_> = (0..20).map(|n| asked(&clones[n % 2], get(&path(n)))).collect();
        for answered in together {
            timeout(LONG, answered).await.expect(name).unwrap().expect(name);
        }
        assert_eq!(calls.count() - before, 40, "{name}");
    });
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn every_layer_calls_only_what_was_ready_and_no_reservation_is_lost() {
    let ledger = Ledger::default();
    let inner = Strict { ledger: ledger.clone(), holds: false };
    let mut before = 0;
    over_every_layer!(inner.clone(), |name, service| {
        for path in ["/a", "/a", "/b", "/private", "/private"] {
            let mut clone = service.clone();
            call(&mut clone, get(path)).await.expect(name);
            let mut post = get(path);
            *post.method_mut() = http::Method::POST;
            call(&mut clone, post).await.expect(name);
        }
        let together: Vec<_> = (0..10).map(|n| asked(&service, get(&format!("/{n}")))).collect();
        for answered in together {
            answered.await.unwrap().expect(name);
        }
        drop(service);
        let (reserved, called, given_back) = ledger.counts();
        assert!(called > std::mem::replace(&mut before, called), "{name}");
        assert_eq!((reserved, given_back), (called, 0), "{name}: {ledger:?}");
    });
}

#[tokio::test(start_paused = true)]
async fn what_was_polled_for_readiness_and_dropped_owes_nobody_anything() {
    over_every_layer!(ConcurrencyLimitLayer::new(1).layer(Strict::default()), |name, service| {
        for _ in 0..3 {
            let mut polled = service.clone();
            let is_ready = poll_fn(|cx| polled.poll_ready(cx));
            assert!(timeout(LONG, is_ready).await.expect(name).is_ok());
            drop(polled);
        }
        let mut service = service;
        let answered = timeout(LONG, call(&mut service, get("/"))).await;
        answered.expect(name).expect(name);
    });
}

#[tokio::test(start_paused = true)]
async fn the_cache_and_coalescing_reserve_nothing_while_they_are_polled_or_idle() {
    let ledger = Ledger::default();
    let inner = Strict { ledger: ledger.clone(), holds: false };
    let mut cached = CacheLayer::new(cache()).layer(inner.clone());
    let mut coalesced = CoalesceLayer::new().layer(inner.clone());
    let mut by = CoalesceLayer::by(|request: &Req| request.uri().clone()).layer(inner);
    poll_fn(|cx| cached.poll_ready(cx)).await.unwrap();
    poll_fn(|cx| coalesced.poll_ready(cx)).await.unwrap();
    poll_fn(|cx| by.poll_ready(cx)).await.unwrap();
    assert_eq!(ledger.counts(), (0, 0, 0));
    call(&mut cached, get("/")).await.unwrap();
    call(&mut cached, get("/")).await.unwrap();
    assert_eq!(ledger.counts(), (1, 1, 0), "a hit reserves nothing");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_before_the_inner_service_is_ready_gives_its_place_back() {
    let (_, inner) = origin(|_, _| async {
        sleep(Duration::from_secs(1)).await;
        Ok(answer(&[("cache-control", "private")], "body"))
    });
    let cache = support::cache_builder().orphans(0).build();
    let mut service = CacheLayer::new(cache).layer(ConcurrencyLimitLayer::new(1).layer(inner));
    let holder = asked(&service, get("/holder"));
    for n in 0..10 {
        let waiting = service.call(get(&format!("/{n}")));
        assert!(timeout(Duration::from_millis(10), waiting).await.is_err());
    }
    holder.await.unwrap().unwrap();
    let next = timeout(Duration::from_secs(2), call(&mut service, get("/next"))).await;
    assert_eq!(next.expect("the place was lost").unwrap().text(), "body");
}

/// A body that is neither `Sync` nor `Unpin`, and has no default.
struct Awkward {
    _not_sync: Cell<u8>,
    _pinned: PhantomPinned,
    data: Option<Bytes>,
}

impl Awkward {
    fn new(data: &'static str) -> Self {
        let data = (!data.is_empty()).then(|| data.into());
        Self { _not_sync: Cell::new(0), _pinned: PhantomPinned, data }
    }
}

impl Body for Awkward {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // Moving nothing out of a pinned place: there is one frame, and it is copied.
        let data = self.data.clone().filter(|_| self._not_sync.replace(1) == 0);
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() || self._not_sync.get() == 1
    }
}

/// A service that is not `Sync`, over such bodies.
#[derive(Clone)]
struct AwkwardOrigin(#[allow(dead_code, reason = "it takes `Sync` away")] Cell<u8>);

impl Service<Request<Awkward>> for AwkwardOrigin {
    type Response = Response<Awkward>;
    type Error = std::io::Error;
    type Future = Ready<Result<Response<Awkward>, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Awkward>) -> Self::Future {
        let response = Response::builder().header("cache-control", "max-age=600");
        ready(Ok(response
            .header("transfer-encoding", "chunked")
            .body(Awkward::new("body"))
            .unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_need_be_neither_sync_nor_unpin_and_services_not_sync() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    fn error_is<E>(_: &impl Service<Request<Awkward>, Error = E>) -> std::marker::PhantomData<E> {
        std::marker::PhantomData
    }
    let service = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(CacheLayer::new(cache()))
        .layer(CoalesceLayer::new())
        .layer(LoadShedLayer::default())
        .layer(CircuitBreakerLayer::new())
        .service(AwkwardOrigin(Cell::new(0)));
    let _: std::marker::PhantomData<Infallible> = error_is(&service);
    for _ in 0..2 {
        let request = Request::get("http://example.com/").body(Awkward::new("")).unwrap();
        let response = send(service.clone().oneshot(request)).await.unwrap();
        assert_eq!(support::read(send(response)).await.unwrap().text(), "body");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_for_any_type_need_not_speak_http() {
    let double = service_fn(|n: u32| async move { Ok::<_, Infallible>(vec![n; 2]) });
    let service = CoalesceLayer::by(|n: &u32| *n).layer(double);
    let layers = (LoadShedLayer::default(), CircuitBreakerLayer::new());
    let shed = layers.0.criticality(|_: &u32| seawall::load_shed::Criticality::Normal);
    let by_error = ByError::new();
    let layers = (shed.classify(by_error.clone()), layers.1.classify(by_error));
    let service = layers.layer(service);
    assert_eq!(service.clone().oneshot(3).await.unwrap(), [3, 3]);
}

#[test]
fn services_futures_and_bodies_are_send_and_what_is_shared_is_sync() {
    fn send<T: Send + 'static>() {}
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn unpin<T: Unpin>() {}
    shared::<seawall::Cache>();
    shared::<CacheLayer>();
    shared::<CoalesceLayer>();
    shared::<RespondLayer>();
    shared::<CircuitBreakerLayer>();
    shared::<LoadShedLayer>();
    shared::<OriginShield>();
    shared::<seawall::circuit_breaker::CircuitBreaker>();
    shared::<seawall::load_shed::Gauge>();
    type Inner = tower::util::BoxCloneSyncService<Req, Response<Full<Bytes>>, BoxError>;
    shared::<<CacheLayer as Layer<Inner>>::Service>();
    shared::<<CoalesceLayer as Layer<Inner>>::Service>();
    shared::<<RespondLayer as Layer<Inner>>::Service>();
    shared::<<CircuitBreakerLayer as Layer<Inner>>::Service>();
    shared::<<LoadShedLayer as Layer<Inner>>::Service>();
    shared::<<OriginShield as Layer<Inner>>::Service>();
    send::<seawall::cache::ResponseFuture<Awkward>>();
    unpin::<seawall::cache::ResponseFuture<Awkward>>();
    send::<seawall::cache::Body<Awkward>>();
    send::<seawall::respond::RespondBody<Awkward>>();
    type Deciding<L> = <<L as Layer<Inner>>::Service as Service<Req>>::Future;
    send::<Deciding<CircuitBreakerLayer>>();
    send::<Deciding<LoadShedLayer>>();
    send::<Deciding<OriginShield>>();
    send::<seawall::admission::PermitBody<Awkward, seawall::load_shed::Call>>();
    send::<seawall::admission::PermitBody<Awkward, seawall::circuit_breaker::Call>>();
    shared::<ByStatus>();
    shared::<seawall::SharedError>();
    shared::<Empty<Bytes>>();
}
