//! What lies in a server is damaged, of another version, or of another key: a miss each, and removed.

use std::sync::{Arc, Mutex};

use seawall::{
    BoxError, CacheLayer,
    circuit_breaker::State,
    store::{Key, Record, Store},
};
use tower::Layer;

use super::{
    gone, memcached,
    stack::{PLAIN, Remote, Setup, Stack, paths, tenfold},
};
use crate::support::{
    answer, call, get, origin,
    servers::{Memcached, Redis, Reply},
};

/// Takes note of what is stored.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<(Key, Record)>>>);

impl Store for Noted {
    async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> {
        Ok(None)
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        self.0.lock().unwrap().push((key, record));
        Ok(())
    }

    async fn remove(&self, _: &Key) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The entry of each of these paths, as a [`Stack`] stores it, with so much padding.
pub async fn records(
    paths: impl IntoIterator<Item = String>,
    padding: usize,
) -> Vec<(Key, Record)> {
    let noted = Noted::default();
    let (_, origin) = origin(move |_, request| async move {
        let body = super::stack::body_of(request.uri().path(), 0, padding);
        Ok(answer(&[("cache-control", "max-age=600")], body))
    });
    let layer = CacheLayer::new(noted.clone());
    let mut service = layer.layer(origin);
    for (number, path) in paths.into_iter().enumerate() {
        call(&mut service, get(&path)).await.unwrap();
        super::stack::until("it is stored", async || noted.0.lock().unwrap().len() > number).await;
    }
    let records = noted.0.lock().unwrap();
    records.clone()
}

/// The name of an entry on a server.
pub fn wire(key: &Key) -> String {
    format!("seawall:{}", key.name())
}

/// What is in a server, without our own client.
pub trait Raw {
    fn read(&self, key: &str) -> Option<Vec<u8>>;
    fn write(&self, key: &str, value: &[u8]);
}

impl Raw for Redis {
    fn read(&self, key: &str) -> Option<Vec<u8>> {
        match self.command(&["GET", key]) {
            Reply::Nil => None,
            reply => Some(reply.bytes().to_vec()),
        }
    }

    fn write(&self, key: &str, value: &[u8]) {
        assert!(self.command_bytes(&[b"SET", key.as_bytes(), value]).is_ok());
    }
}

impl Raw for Memcached {
    fn read(&self, key: &str) -> Option<Vec<u8>> {
        let reply = self.bytes(format!("mg {key} v\r\n").as_bytes());
        let rest = reply.strip_prefix(b"VA ")?;
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        let length: usize = std::str::from_utf8(&rest[..end]).unwrap().trim().parse().unwrap();
        Some(rest[end + 1..][..length].to_vec())
    }

    fn write(&self, key: &str, value: &[u8]) {
        let mut request = format!("ms {key} {}\r\n", value.len()).into_bytes();
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
        assert!(self.bytes(&request).starts_with(b"HD"));
    }
}

type Damage = (&'static str, fn(&mut Vec<u8>));

const DAMAGES: &[Damage] = &[
    ("empty", |bytes| bytes.clear()),
    ("one byte", |bytes| bytes.truncate(1)),
    ("half of it", |bytes| bytes.truncate(bytes.len() / 2)),
    ("all but a byte", |bytes| bytes.truncate(bytes.len() - 1)),
    ("a byte more", |bytes| bytes.push(0)),
    ("a bit of the body", |bytes| *bytes.last_mut().unwrap() ^= 1),
    ("a bit of the checksum", |bytes| bytes[5] ^= 0x80),
    ("another checksum", |bytes| bytes[4..12].fill(0)),
    ("an older version", |bytes| bytes[3] = 0),
    ("a newer version", |bytes| bytes[3] = 2),
    ("not ours", |bytes| *bytes = b"{\"cached\": true}".to_vec()),
    ("huge lengths", |bytes| bytes[12..40].fill(0xff)),
];

async fn damaged<S: Remote>(what: &str, store: S, server: &impl Raw) {
    // What is fetched again may not be stored, so that what lies there then is what was there before.
    let stack = Stack::with(store, PLAIN).await;
    let unstored = Setup { directives: "no-store", ..PLAIN };
    let reader = Stack::with(stack.store.clone(), unstored).await;
    let names: Vec<_> = (0..DAMAGES.len()).map(|number| format!("/damaged/{number}")).collect();
    let keys = records(names.clone(), 0).await;
    stack.times(names.clone()).await;
    stack.settled().await;
    let well = stack.times(names.clone()).await;
    assert_eq!(stack.calls(), DAMAGES.len(), "all are far");
    for ((name, damage), (key, _)) in DAMAGES.iter().zip(&keys) {
        let mut bytes = server.read(&wire(key)).expect(name);
        damage(&mut bytes);
        server.write(&wire(key), &bytes);
    }
    let mut times = Vec::new();
    for (number, (name, _)) in DAMAGES.iter().enumerate() {
        let (calls, path) = (reader.calls(), &names[number]);
        times.push(reader.ask(path).await.1);
        reader.settled().await;
        assert_eq!(reader.calls(), calls + 1, "{what}, {name}");
        assert_eq!(server.read(&wire(&keys[number].0)), None, "{what}, {name}: it is removed");
    }
    let times = super::stack::Times::new(times);
    println!("{what}, damaged: {times}, a hit {well}");
    let told = reader.told();
    assert_eq!((told.unreadable, told.failed), (DAMAGES.len() as u64, 0), "{what}: {told:?}");
    assert!(times.longest() <= 10 * well.longest() + tenfold(1), "{what}: {times} after {well}");
    assert_eq!((reader.state(), reader.store.health().failures), (State::Closed, 0), "{what}");
    // A good one is there again at once.
    stack.times(names.clone()).await;
    stack.settled().await;
    let calls = stack.calls();
    stack.times(names).await;
    assert_eq!(stack.calls(), calls, "{what}");
}

#[tokio::test]
async fn a_damaged_entry_in_redis_is_a_miss_and_removed() {
    let server = Redis::start();
    damaged("redis", gone::store(&server.url(), false), &server).await;
}

#[tokio::test]
async fn a_damaged_entry_in_memcached_is_a_miss_and_removed() {
    let server = Memcached::start();
    damaged("memcached", memcached::store(server.addr(), false), &server).await;
}

/// Restarted with another's data, or told the wrong names: each entry lies under the name of the next.
async fn swapped<S: Remote>(what: &str, stack: &Stack<S>, server: &impl Raw, kept: &[Vec<u8>]) {
    let names: Vec<_> = paths("page", kept.len()).collect();
    let keys = records(names.clone(), 0).await;
    for (number, (key, _)) in keys.iter().enumerate() {
        server.write(&wire(key), &kept[(number + 1) % kept.len()]);
    }
    super::stack::until("it is back", async || stack.store.ping().await.is_ok()).await;
    stack.closes().await;
    let (calls, told) = (stack.calls(), stack.told());
    stack.times(names.clone()).await;
    stack.settled().await;
    assert_eq!(stack.calls() - calls, kept.len(), "{what}");
    let foreign = stack.told().foreign - told.foreign;
    assert!(foreign >= kept.len() as u64, "{what}: {:?}", stack.told());
    stack.times(names).await;
    assert_eq!(stack.calls() - calls, kept.len(), "{what}: they are right again");
}

async fn kept<S: Remote>(stack: &Stack<S>, server: &impl Raw) -> Vec<Vec<u8>> {
    let names: Vec<_> = paths("page", 20).collect();
    stack.times(names.clone()).await;
    stack.settled().await;
    let keys = records(names, 0).await;
    keys.iter().map(|(key, _)| server.read(&wire(key)).unwrap()).collect()
}

#[tokio::test]
async fn a_redis_that_comes_back_with_other_data_answers_nobody_with_it() {
    let mut server = Redis::start();
    let stack = Stack::over(gone::store(&server.url(), false)).await;
    let kept = kept(&stack, &server).await;
    server.kill();
    stack.opens("early").await;
    server.restart();
    swapped("redis", &stack, &server, &kept).await;
}

#[tokio::test]
async fn a_memcached_that_comes_back_with_other_data_answers_nobody_with_it() {
    let mut server = Memcached::start();
    let stack = Stack::over(memcached::store(server.addr(), false)).await;
    let kept = kept(&stack, &server).await;
    server.kill();
    stack.opens("early").await;
    server.restart();
    swapped("memcached", &stack, &server, &kept).await;
}
