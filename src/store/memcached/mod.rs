//! Entries in Memcached.

#![allow(dead_code, reason = "the store that stands on it comes next")]

mod address;
mod command;
mod connection;
mod failure;
mod member;
mod outbox;
mod replies;
mod servers;
#[cfg(all(test, not(seawall_loom)))]
mod tests;
