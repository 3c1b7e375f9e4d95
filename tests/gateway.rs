//! The example `gateway` as a process: started with flags, spoken to over sockets, told to stop.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "gateway/support.rs"]
mod support;

/// Real servers, for the gateway's stores.
#[cfg(all(feature = "redis-tls", feature = "memcached"))]
#[path = "support"]
#[allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
mod real {
    pub(crate) mod servers;
}

#[path = "gateway/admin.rs"]
mod admin;
#[path = "gateway/admission.rs"]
mod admission;
#[path = "gateway/bodies.rs"]
mod bodies;
#[path = "gateway/breaker.rs"]
mod breaker;
#[path = "gateway/grpc.rs"]
mod grpc;
#[path = "gateway/heads.rs"]
mod heads;
#[path = "gateway/interim.rs"]
mod interim;
#[path = "gateway/invalidate.rs"]
mod invalidate;
#[path = "gateway/overload.rs"]
mod overload;
#[path = "gateway/process.rs"]
mod process;
#[path = "gateway/quota.rs"]
mod quota;
#[path = "gateway/shop.rs"]
mod shop;
#[path = "gateway/stale.rs"]
mod stale;
#[cfg(all(feature = "redis-tls", feature = "memcached"))]
#[path = "gateway/stores.rs"]
mod stores;
