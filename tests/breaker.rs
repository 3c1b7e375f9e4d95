//! The breaker against a naive model that keeps every call, and through simulated days.
//!
//! `SEED` repeats a run: each test prints the seed it took.

#[allow(dead_code, unreachable_pub, reason = "the tests use a part of it")]
#[path = "../src/circuit_breaker"]
mod circuit_breaker {
    pub mod breaker;
    pub mod half_open;
    pub mod row;
    pub mod settings;
    pub mod state;
    pub mod ticket;
    pub mod window;
}
#[path = "breaker/days.rs"]
mod days;
#[path = "breaker/naive.rs"]
mod naive;
#[path = "breaker/sequences.rs"]
mod sequences;
#[path = "breaker/windows.rs"]
mod windows;

use std::time::Duration;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The seed that was asked for, or a new one.
fn seed() -> u64 {
    std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"))
}
