//! The cache behind a real server and before a real origin: what is on the wire, and when.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "sockets/cut.rs"]
mod cut;
#[path = "sockets/failures.rs"]
mod failures;
#[path = "sockets/herd.rs"]
mod herd;
#[path = "sockets/leader.rs"]
mod leader;
#[path = "sockets/private.rs"]
mod private;
#[path = "sockets/refreshes.rs"]
mod refreshes;
#[path = "sockets/streams.rs"]
mod streams;

/// Held by a test for as long as it runs: the timing of each is its own.
pub(crate) async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ONE.lock().await
}
