//! The limiter against a naive model, and the limits in a simulation of an origin.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, reason = "the tests use a part of it")]
#[path = "../src/load_shed"]
mod load_shed {
    pub mod criticality;
    pub mod limit;
    pub mod limiter;
}
#[path = "limiter/model.rs"]
mod model;
#[path = "limiter/simulation.rs"]
mod simulation;
#[allow(dead_code, unused_imports, reason = "the tests use a part of it")]
#[path = "../src/sync.rs"]
mod sync;
