//! What a service notices of its remote store's faults: with real servers that are killed, frozen, filled,
//! read-only, failed over, slow, cut off and restarted. Each test asserts that the fault was met.
#![cfg(all(feature = "redis", feature = "memcached"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "its modules use one another")]

mod support;

#[path = "store_faults/breaker.rs"]
mod breaker;
#[path = "store_faults/clock.rs"]
mod clock;
#[path = "store_faults/entries.rs"]
mod entries;
#[path = "store_faults/flips.rs"]
mod flips;
#[path = "store_faults/full.rs"]
mod full;
#[path = "store_faults/gone.rs"]
mod gone;
#[path = "store_faults/herd.rs"]
mod herd;
#[path = "store_faults/memcached.rs"]
mod memcached;
#[path = "store_faults/network.rs"]
mod network;
#[path = "store_faults/peer.rs"]
mod peer;
#[path = "store_faults/replicas.rs"]
mod replicas;
#[path = "store_faults/stack.rs"]
mod stack;
#[path = "store_faults/storm.rs"]
mod storm;
#[path = "store_faults/table.rs"]
mod table;
#[path = "store_faults/times.rs"]
mod times;
