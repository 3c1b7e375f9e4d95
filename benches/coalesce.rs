//! What coalescing costs: a lone call, a herd on one key, and as many keys as calls.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{convert::Infallible, future::ready, hint::black_box, time::Duration};

use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use seawall::CoalesceLayer;
use tokio::{runtime::Runtime, task::JoinSet};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A task for the call, and nothing else: what each row below pays for its own tasks.
#[divan::bench]
fn lone_call_in_a_task_of_its_own(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let mut service = service_fn(|key: u64| ready(Ok::<_, Infallible>(key)));
    bencher.bench_local(|| {
        runtime.block_on(async { black_box(tokio::spawn(service.call(7)).await.is_ok()) })
    });
}

#[divan::bench]
fn lone_call_coalesced(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let origin = service_fn(|key: u64| ready(Ok::<_, Infallible>(key)));
    let mut service = CoalesceLayer::by(|key: &u64| *key).layer(origin);
    bencher.bench_local(|| runtime.block_on(async { black_box(service.call(7).await.is_ok()) }));
}

const HERDS: [usize; 2] = [100, 10_000];

/// So many tasks that wait for one that sleeps: what the herd itself costs.
#[divan::bench(args = HERDS, sample_count = 20, sample_size = 1)]
fn herd_of_sleepers(bencher: Bencher<'_, '_>, callers: usize) {
    let runtime = runtime();
    bencher.counter(ItemsCount::new(callers)).bench_local(|| {
        runtime.block_on(async {
            let mut herd = JoinSet::new();
            for _ in 0..callers {
                herd.spawn(tokio::time::sleep(Duration::from_millis(1)));
            }
            while herd.join_next().await.is_some() {}
        });
    });
}

#[divan::bench(args = HERDS, sample_count = 20, sample_size = 1)]
fn herd_on_one_key(bencher: Bencher<'_, '_>, callers: usize) {
    let runtime = runtime();
    let origin = service_fn(|key: u64| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, Infallible>(key)
    });
    let mut service = CoalesceLayer::by(|key: &u64| *key).layer(origin);
    bencher.counter(ItemsCount::new(callers)).bench_local(|| {
        runtime.block_on(async {
            let mut herd = JoinSet::new();
            for _ in 0..callers {
                herd.spawn(service.call(7));
            }
            while herd.join_next().await.is_some() {}
        });
    });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn as_many_keys_as_calls(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let origin = service_fn(|key: u64| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, Infallible>(key)
    });
    let mut service = CoalesceLayer::by(|key: &u64| *key).layer(origin);
    bencher.counter(ItemsCount::new(22_000_usize)).bench_local(|| {
        runtime.block_on(async {
            let mut herd = JoinSet::new();
            for key in 0..22_000 {
                herd.spawn(service.call(key));
            }
            while herd.join_next().await.is_some() {}
        });
    });
}
