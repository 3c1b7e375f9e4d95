//! What the tests of stores stand on does what it says: real servers that are killed, frozen and
//! restarted, and the proxy that brings the faults of a network.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "faults/memcached.rs"]
mod memcached;
#[path = "faults/processes.rs"]
mod processes;
#[path = "faults/redis.rs"]
mod redis;
