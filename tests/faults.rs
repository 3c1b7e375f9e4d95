//! What the tests of stores stand on does what it says: real servers that are killed, frozen and
//! restarted, and the proxy that brings the faults of a network.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "faults/bytes.rs"]
mod bytes;
#[cfg(feature = "redis-tls")]
#[path = "faults/clients.rs"]
mod clients;
#[path = "faults/memcached.rs"]
mod memcached;
#[path = "faults/one.rs"]
mod one;
#[path = "faults/peers.rs"]
mod peers;
#[path = "faults/processes.rs"]
mod processes;
#[path = "faults/proxy.rs"]
mod proxy;
#[path = "faults/several.rs"]
mod several;
