//! Real servers of our own on free ports of loopback, to be killed, frozen and restarted.
//!
//! Each has a temporary directory, where its log is too: whoever waits for it in vain is shown that.
//! Nothing of it outlives its value, nor the process of the test, however either ends. All of this
//! blocks, and takes real time: in a test whose time is paused as well.

mod cluster;
mod memcached;
mod port;
mod process;
mod redis;
mod reply;
mod sentinel;
mod tls;

#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use self::{
    cluster::Cluster,
    memcached::Memcached,
    redis::Redis,
    reply::Reply,
    sentinel::{Pair, Sentinel},
};
