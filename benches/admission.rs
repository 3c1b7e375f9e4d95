//! What it costs to ask for leave: an admitted call and a refused one, beside tower's own limit.
//!
//! The origin is ready at once, and so is its answer; every row is one call to the end of its body.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{
    convert::Infallible,
    future::{Future, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher};
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use seawall::{CircuitBreakerLayer, LoadShedLayer, admission::ByError, load_shed::limit};
use tower::{
    Layer, Service, ServiceBuilder, layer::util::Identity, limit::ConcurrencyLimitLayer,
    load_shed::LoadShedLayer as TowerLoadShedLayer, service_fn,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

type Answer = Response<Full<Bytes>>;

fn origin() -> impl Service<
    Request<()>,
    Response = Answer,
    Error = Infallible,
    Future = impl Future<Output = Result<Answer, Infallible>>,
> + Clone {
    service_fn(|_: Request<()>| ready(Ok(Response::new(Full::from(Bytes::from_static(b"ok"))))))
}

/// Polls what is ready at once.
fn now<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

/// One call, to the end of its body.
fn call<S, B>(service: &mut S)
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    if let Ok(response) = now(service.call(Request::new(()))) {
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(_)) = body.as_mut().poll_frame(&mut cx) {}
    }
}

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident: $layer:expr;)*) => {$(
        $(#[$doc])*
        #[divan::bench]
        fn $name(bencher: Bencher<'_, '_>) {
            let mut service = Layer::layer(&$layer, origin());
            bencher.bench_local(|| call(black_box(&mut service)));
        }
    )*};
}

rows! {
    /// The floor: the call itself.
    a_call_of_the_bare_origin: Identity::new();
    /// tower's limit, which queues.
    admitted_by_tower_concurrency_limit: ConcurrencyLimitLayer::new(64);
    /// tower's limit, which refuses.
    admitted_by_tower_load_shed_over_concurrency_limit:
        ServiceBuilder::new().layer(TowerLoadShedLayer::new()).layer(ConcurrencyLimitLayer::new(64));
    admitted_by_circuit_breaker: CircuitBreakerLayer::new();
    admitted_by_circuit_breaker_for_slow_calls_too:
        CircuitBreakerLayer::new().slow_calls(Duration::from_secs(1), 0.5, 20);
    admitted_by_load_shed_fixed: LoadShedLayer::fixed(64);
    admitted_by_load_shed_adaptive: LoadShedLayer::adaptive();
    admitted_by_load_shed_aimd: LoadShedLayer::new(limit::Aimd::default());
    admitted_by_both: ServiceBuilder::new()
        .layer(LoadShedLayer::fixed(64))
        .layer(CircuitBreakerLayer::new());
    admitted_by_circuit_breaker_by_error: CircuitBreakerLayer::new().classify(ByError::new());
    admitted_by_circuit_breaker_by_host: CircuitBreakerLayer::new().by_host();
}

/// A refusal, with the error that says so.
#[divan::bench]
fn refused_by_circuit_breaker(bencher: Bencher<'_, '_>) {
    let layer = CircuitBreakerLayer::new();
    layer.breaker().force_open();
    let mut service = layer.layer(origin());
    bencher.bench_local(|| call(black_box(&mut service)));
}

#[divan::bench]
fn refused_by_load_shed(bencher: Bencher<'_, '_>) {
    let layer = LoadShedLayer::fixed(1);
    let mut service = layer.layer(origin());
    let _held = now(service.call(Request::new(()))).unwrap();
    bencher.bench_local(|| call(black_box(&mut service)));
}

/// What one look at the clock costs: a call takes one, two where its end matters, three where its head does.
#[divan::bench]
fn a_look_at_the_clock() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
