//! What a hit costs: time and allocations, beside an inner service without a cache, and beside the
//! floor: a key, a look-up in the same concurrent map, a clone of head and body, and nothing of HTTP.
//!
//! Read ratios between rows of one run. Each row makes its request, so `request` is in all of them.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher};
use http::{HeaderMap, Request, Response};
use http_body_util::{Empty, Full};
use seawall::{CacheLayer, store::Memory};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const SIZES: [usize; 2] = [1 << 10, 64 << 10];

fn request() -> Request<Empty<Bytes>> {
    Request::get("https://api.example.com/v1/items/1234567890")
        .header("host", "api.example.com")
        .header("user-agent", "bench/1.0")
        .header("accept", "application/json")
        .body(Empty::new())
        .unwrap()
}

/// Six fields, as an ordinary JSON API sends them.
fn fields(size: usize) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("content-type", "application/json".parse().unwrap());
    fields.insert("cache-control", "public, max-age=86400".parse().unwrap());
    fields.insert("etag", "\"5d8c72a5edda8d6a\"".parse().unwrap());
    let now = seawall::rfc9111::date::format(std::time::SystemTime::now());
    fields.insert("date", http::HeaderValue::from_bytes(&now).unwrap());
    fields.insert("server", "origin/1.0".parse().unwrap());
    fields.insert("content-length", size.into());
    fields
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it should be there at once"),
    }
}

type Object = Arc<(HeaderMap, Bytes)>;

fn object(size: usize) -> Object {
    Arc::new((fields(size), Bytes::from(vec![b'x'; size])))
}

fn respond(object: &Object) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(object.1.clone()));
    *response.headers_mut() = object.0.clone();
    response
}

#[divan::bench]
fn making_the_request(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| black_box(request()));
}

#[divan::bench(args = SIZES)]
fn without_a_cache(bencher: Bencher<'_, '_>, size: usize) {
    let object = object(size);
    let mut service =
        service_fn(move |_: Request<Empty<Bytes>>| ready(Ok::<_, Infallible>(respond(&object))));
    bencher.bench_local(|| black_box(now(service.call(request()))));
}

/// The least that a cache of requests does.
#[derive(Clone)]
struct Floor(Arc<quick_cache::sync::Cache<String, Object>>);

impl Service<Request<Empty<Bytes>>> for Floor {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        use std::fmt::Write;
        let mut key = String::with_capacity(96);
        let _ = write!(key, "{} {}", request.method(), request.uri());
        ready(Ok(respond(&self.0.get(key.as_str()).unwrap())))
    }
}

#[divan::bench(args = SIZES)]
fn floor(bencher: Bencher<'_, '_>, size: usize) {
    let store = quick_cache::sync::Cache::new(1_000);
    store.insert("GET https://api.example.com/v1/items/1234567890".to_owned(), object(size));
    let mut service = Floor(Arc::new(store));
    bencher.bench_local(|| black_box(now(service.call(request()))));
}

fn cached(
    size: usize,
    vary: Option<&'static str>,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<impl Sized>, Error: std::fmt::Debug> {
    let object = object(size);
    let origin = service_fn(move |_: Request<Empty<Bytes>>| {
        let mut response = respond(&object);
        if let Some(vary) = vary {
            response.headers_mut().insert("vary", vary.parse().unwrap());
        }
        ready(Ok::<_, Infallible>(response))
    });
    let mut service = CacheLayer::new(Memory::default()).layer(origin);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        service.call(request()).await.unwrap();
        // The entry is there once the fetch, a task of its own, has ended.
        tokio::task::yield_now().await;
    });
    service
}

#[divan::bench(args = SIZES)]
fn hit(bencher: Bencher<'_, '_>, size: usize) {
    let mut service = cached(size, None);
    bencher.bench_local(|| black_box(now(service.call(request())).is_ok()));
}

#[divan::bench]
fn hit_of_a_variant(bencher: Bencher<'_, '_>) {
    let mut service = cached(1 << 10, Some("accept"));
    bencher.bench_local(|| black_box(now(service.call(request())).is_ok()));
}

#[divan::bench]
fn hit_answered_304(bencher: Bencher<'_, '_>) {
    let mut service = cached(1 << 10, None);
    bencher.bench_local(|| {
        let mut request = request();
        request
            .headers_mut()
            .insert("if-none-match", http::HeaderValue::from_static("\"5d8c72a5edda8d6a\""));
        black_box(now(service.call(request)).is_ok())
    });
}
