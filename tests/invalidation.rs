//! What was invalidated: whatever is under way meanwhile, nobody who comes later gets it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "invalidation/gated.rs"]
mod gated;
#[path = "invalidation/interleavings.rs"]
mod interleavings;
#[path = "invalidation/kinds.rs"]
mod kinds;
#[path = "invalidation/many.rs"]
mod many;
#[path = "invalidation/moments.rs"]
mod moments;
#[path = "invalidation/several.rs"]
mod several;
#[path = "invalidation/tags.rs"]
mod tags;
#[path = "invalidation/unsafe_requests.rs"]
mod unsafe_requests;
