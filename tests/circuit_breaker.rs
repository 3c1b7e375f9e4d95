//! The breaker's layer as a service: what it admits, what counts for and against the origin, when it
//! opens and closes, and what its callers and its operator see.
//!
//! `SEED` repeats what is drawn at random: each such test prints the seed it took.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "circuit_breaker/acts.rs"]
mod acts;
#[path = "circuit_breaker/bodies.rs"]
mod bodies;
#[path = "circuit_breaker/caches.rs"]
mod caches;
#[path = "circuit_breaker/callers.rs"]
mod callers;
#[path = "circuit_breaker/day.rs"]
mod day;
#[cfg(feature = "metrics")]
#[path = "circuit_breaker/gauge.rs"]
mod gauge;
#[path = "circuit_breaker/grpc.rs"]
mod grpc;
#[path = "circuit_breaker/half_open.rs"]
mod half_open;
#[path = "circuit_breaker/handle.rs"]
mod handle;
#[path = "circuit_breaker/keys.rs"]
mod keys;
#[path = "circuit_breaker/leases.rs"]
mod leases;
#[path = "circuit_breaker/others.rs"]
mod others;
#[path = "circuit_breaker/panics.rs"]
mod panics;
#[path = "circuit_breaker/readiness.rs"]
mod readiness;
#[path = "circuit_breaker/redis.rs"]
mod redis;
#[path = "circuit_breaker/refusals.rs"]
mod refusals;
#[path = "circuit_breaker/slow.rs"]
mod slow;
#[path = "circuit_breaker/table.rs"]
mod table;
#[path = "circuit_breaker/times.rs"]
mod times;
#[path = "circuit_breaker/waits.rs"]
mod waits;
#[path = "circuit_breaker/windows.rs"]
mod windows;

use std::time::Duration;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The seed that was asked for, or this one.
fn seed(otherwise: u64) -> u64 {
    let seed = std::env::var("SEED").map_or(otherwise, |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    seed
}
