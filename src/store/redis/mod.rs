//! Entries in Redis.

mod address;
mod backlog;
mod cluster;
mod connect;
mod login;
mod node;
mod operators;
mod replies;
mod sentinel;
mod servers;
mod slots;
#[cfg(all(test, not(seawall_loom)))]
mod tests;
#[cfg_attr(not(feature = "redis-tls"), path = "no_tls.rs")]
mod tls;
