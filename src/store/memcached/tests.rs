//! The client against real servers, against scripted ones, and its pure parts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod given_up;
mod pure;
mod real;
mod replies;
mod scripted;
mod storm;
mod support;
mod throughput;
