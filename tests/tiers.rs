//! `Guarded` and `Tiered` around stores that fail, hang and are slow: in time that stands still.
#![cfg(feature = "memory")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking; its parts are files"
)]

mod support;

#[path = "tiers/far.rs"]
mod far;
#[path = "tiers/guarded.rs"]
mod guarded;
#[path = "tiers/tiered.rs"]
mod tiered;
#[path = "tiers/writes.rs"]
mod writes;
