//! Against real servers, and peers that say what no real server can be made to say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod address;
mod backlog;
mod cluster;
mod cost;
mod faults;
mod one;
mod operators;
mod peer;
mod refusals;
mod sentinel;
mod server;
mod storm;
#[cfg(feature = "redis-tls")]
mod tls;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use self::server::Redis;
use super::{address::Address, connect::Settings, servers::Servers};
use crate::{
    error::BoxError,
    store::Declined,
    store::server::{Server, WireKey},
};

const TTL: Duration = Duration::from_secs(600);
/// For what takes two seconds at the most.
const SOON: Duration = Duration::from_secs(20);

fn key(number: usize) -> WireKey {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    WireKey::new("test", &hash)
}

fn open(url: &str) -> Servers {
    Servers::open(&Address::parse(url).unwrap(), Settings::default()).unwrap()
}

async fn connected(url: &str) -> Servers {
    let servers = open(url);
    until("connected", SOON, async || servers.is_connected()).await;
    servers
}

/// Waits for what a condition sees, and says how long that took.
async fn until(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> Duration {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < deadline, "not within {deadline:?}: {what}");
        sleep(Duration::from_millis(2)).await;
    }
    println!("{what}: after {:?}", began.elapsed());
    began.elapsed()
}

/// A write and a read of it.
async fn works(servers: &Servers) -> Result<(), BoxError> {
    let value = Bytes::from_static(b"there and back");
    servers.set(&key(0), value.clone(), TTL).await?;
    assert_eq!(servers.get(&key(0)).await?, Some(value));
    Ok(())
}

/// Nothing is before it has had time to connect.
fn is_held_against_it(error: &BoxError) -> bool {
    Declined::find(&**error).is_none() || chain(error) == "the store declined: not connected"
}

fn chain(error: &BoxError) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said += &format!(": {error}");
        cause = error.source();
    }
    said
}
