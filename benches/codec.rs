//! What it costs to make bytes of a record for a remote store, and a record of what comes back: beside a
//! look-up in memory, which is what a near tier does instead. Checksums are in both, hashing the key for
//! its name on the server in neither.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, counter::BytesCount};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use seawall::{
    BoxError, CacheLayer,
    store::{Key, Memory, Record, Store},
};
use tower::{Layer, ServiceExt, service_fn};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// The body: none, so that it is six fields and what was learned of them, and two common sizes.
const SIZES: [usize; 3] = [0, 1 << 10, 64 << 10];

/// Keeps what it is given for the bench.
#[derive(Clone, Default)]
struct Given(Arc<Mutex<Option<(Key, Record)>>>);

impl Store for Given {
    async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> {
        Ok(None)
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        *self.0.lock().unwrap() = Some((key, record));
        Ok(())
    }

    async fn remove(&self, _: &Key) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Six fields, as an ordinary JSON API sends them, and a body that compresses to about a half.
fn record(size: usize) -> (Key, Record) {
    let origin = service_fn(move |_: Request<Empty<Bytes>>| async move {
        let mut state = 1_u32;
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 28) as u8
        };
        let body: Vec<u8> = (0..size).map(|_| letter()).collect();
        let now = seawall::rfc9111::date::format(std::time::SystemTime::now());
        Response::builder()
            .header("content-type", "application/json")
            .header("cache-control", "public, max-age=86400")
            .header("etag", "\"5d8c72a5edda8d6a\"")
            .header("date", &now[..])
            .header("server", "origin/1.0")
            .header("content-length", size)
            .body(Full::new(Bytes::from(body)))
    });
    let given = Given::default();
    let service = CacheLayer::new(given.clone()).layer(origin);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let request = Request::get("https://api.example.com/v1/items/1234567890");
        let response = service.oneshot(request.body(Empty::new()).unwrap()).await.unwrap();
        response.into_body().collect().await.unwrap();
        while given.0.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    });
    given.0.lock().unwrap().take().unwrap()
}

#[divan::bench(args = SIZES, sample_size = 1_000)]
fn encode(bencher: Bencher<'_, '_>, size: usize) {
    let (key, record) = record(size);
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| black_box(record.to_bytes(&key).is_some()));
}

#[divan::bench(args = SIZES, sample_size = 1_000)]
fn decode(bencher: Bencher<'_, '_>, size: usize) {
    let (key, record) = record(size);
    let bytes = record.to_bytes(&key).unwrap();
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| black_box(Record::from_bytes(&key, bytes.clone()).is_ok()));
}

#[divan::bench(sample_size = 1_000)]
fn name_of_a_key(bencher: Bencher<'_, '_>) {
    let (key, _) = record(0);
    bencher.bench_local(|| black_box(key.name()));
}

#[divan::bench(args = SIZES, sample_size = 1_000)]
fn look_up_in_memory(bencher: Bencher<'_, '_>, size: usize) {
    let (key, record) = record(size);
    let memory = Memory::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(memory.put(key.clone(), record)).unwrap();
    bencher.bench_local(|| black_box(memory.peek(key.as_bytes()).is_some()));
}

#[divan::bench(sample_size = 1_000)]
fn clone_of_a_record(bencher: Bencher<'_, '_>) {
    let (_, record) = record(1 << 10);
    bencher.bench_local(|| black_box(record.clone()));
}
