//! Where a store keeps things, seen from its own side: the server with its keys, its counts, its clients.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use seawall::store::{self, Guarded, Memory, Tiered};

use crate::{
    any::Any,
    map::Map,
    support::servers::{Cluster, Memcached, Redis, Reply},
};

/// What a store is opened with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    /// How many bytes are near at the most; `None`: nothing is.
    pub(crate) near: Option<u64>,
    pub(crate) compress_above: Option<usize>,
    pub(crate) read_deadline: Duration,
    pub(crate) write_deadline: Duration,
}

impl Settings {
    pub(crate) fn of(namespace: String) -> Self {
        Self {
            namespace,
            near: Some(16 << 20),
            compress_above: None,
            // Of another order than all that happens here: what is slow on a busy machine is no failure.
            read_deadline: Duration::from_secs(10),
            write_deadline: Duration::from_secs(10),
        }
    }
}

/// The store on the servers at this [address](Shelf::address).
pub(crate) fn opened(address: &str, settings: &Settings) -> Any {
    match address.strip_prefix("memcached ") {
        Some(servers) => memcached(servers.split(' '), settings),
        None => redis(address, settings),
    }
}

/// What all processes share.
pub(crate) trait Shelf: Send + Sync {
    /// As one more process does it.
    fn open(&self, settings: &Settings) -> Any {
        opened(&self.address(), settings)
    }

    /// How another process finds it.
    fn address(&self) -> String {
        never_asked("where it is: in this process")
    }

    /// How many servers a store connects to before it answers.
    fn servers(&self) -> usize {
        0
    }

    /// The most bytes of a body that it takes.
    fn largest(&self) -> usize {
        1 << 20
    }

    /// Look-ups so far.
    fn reads(&self) -> u64 {
        never_asked("for a count")
    }

    /// Writes so far, other than removals.
    fn writes(&self) -> u64 {
        never_asked("for a count")
    }

    /// From now on it answers nothing, and again when it is thawed.
    fn freeze(&self, frozen: bool) {
        never_asked(if frozen { "to freeze" } else { "to thaw" })
    }

    /// Every key that it has, of whomever, with the time that it still keeps it; `None`: for ever.
    fn keys(&self) -> BTreeMap<String, Option<Duration>> {
        never_asked("for its keys")
    }

    /// What lies under a key.
    fn value(&self, key: &str) -> Option<Vec<u8>> {
        never_asked(key)
    }

    /// Puts something there, as any other client could.
    fn set_value(&self, key: &str, value: &[u8]) {
        never_asked(&format!("{key}: {} bytes", value.len()))
    }

    /// Forgets everything, of whomever.
    fn clear(&self) {
        never_asked("to forget what others have there")
    }

    /// How many connections it has, that of whoever asks left aside.
    fn connections(&self) -> usize {
        never_asked("for its connections")
    }
}

/// No rule that a store is held to asks it for what it does not have.
fn never_asked(what: &str) -> ! {
    unreachable!("it is asked {what}, and no rule of its row does that")
}

/// Nothing is shared.
pub(crate) struct Nowhere;

impl Shelf for Nowhere {}

pub(crate) struct InMemory;

impl Shelf for InMemory {
    fn open(&self, _: &Settings) -> Any {
        Any::new(Memory::default())
    }
}

/// [`Map`] under what may stand in front of it.
pub(crate) enum Ours {
    Tiered(Map),
    Guarded(Map),
    TieredOverGuarded(Map),
}

impl Ours {
    fn map(&self) -> &Map {
        match self {
            Self::Tiered(map) | Self::Guarded(map) | Self::TieredOverGuarded(map) => map,
        }
    }
}

impl Shelf for Ours {
    fn open(&self, settings: &Settings) -> Any {
        let map = self.map().part(&settings.namespace);
        let near = Memory::bytes(settings.near.unwrap_or_default());
        let guarded = |map| {
            Guarded::builder(map)
                .read_deadline(settings.read_deadline)
                .write_deadline(settings.write_deadline)
                .build()
        };
        match self {
            Self::Tiered(_) => Any::new(Tiered::new(near, map)),
            Self::Guarded(_) => Any::new(guarded(map)),
            Self::TieredOverGuarded(_) => Any::new(Tiered::new(near, guarded(map))),
        }
    }

    fn reads(&self) -> u64 {
        self.map().reads()
    }

    fn writes(&self) -> u64 {
        self.map().writes()
    }

    fn freeze(&self, frozen: bool) {
        self.map().freeze(frozen);
    }
}

fn redis(url: &str, settings: &Settings) -> Any {
    let mut builder = store::Redis::builder()
        .namespace(&*settings.namespace)
        .read_deadline(settings.read_deadline)
        .write_deadline(settings.write_deadline);
    builder = match settings.near {
        Some(bytes) => builder.near(Memory::bytes(bytes)),
        None => builder.near_off(),
    };
    if let Some(bytes) = settings.compress_above {
        builder = builder.compress_above(bytes);
    }
    Any::new(builder.connect(url).unwrap())
}

fn memcached<'a>(servers: impl Iterator<Item = &'a str>, settings: &Settings) -> Any {
    let mut builder = store::Memcached::builder()
        .namespace(&*settings.namespace)
        .read_deadline(settings.read_deadline)
        .write_deadline(settings.write_deadline);
    builder = match settings.near {
        Some(bytes) => builder.near(Memory::bytes(bytes)),
        None => builder.near_off(),
    };
    if let Some(bytes) = settings.compress_above {
        builder = builder.compress_above(bytes);
    }
    Any::new(builder.connect(servers).unwrap())
}

/// How often it was told to do this.
fn calls(redis: &Redis, command: &str) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]);
    let line = stats.field(&format!("cmdstat_{command}"));
    line.map_or(0, |line| {
        let calls = line.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
        calls.unwrap().parse().unwrap()
    })
}

fn keys_of(redis: &Redis) -> Vec<(String, Option<Duration>)> {
    let (mut cursor, mut keys) = ("0".to_owned(), Vec::new());
    loop {
        let page = redis.command(&["SCAN", &cursor, "COUNT", "1000"]);
        let [next, found] = page.items() else { panic!("{page:?}") };
        keys.extend(found.texts().into_iter().map(|key| {
            let left = redis.command(&["PTTL", &key]).integer();
            (key, u64::try_from(left).ok().map(Duration::from_millis))
        }));
        cursor = next.text();
        if cursor == "0" {
            return keys;
        }
    }
}

fn clients_of(redis: &Redis) -> usize {
    // That of whoever asks is one of them.
    redis.command(&["CLIENT", "LIST"]).text().lines().count() - 1
}

impl Shelf for Redis {
    fn address(&self) -> String {
        self.url()
    }

    fn servers(&self) -> usize {
        1
    }

    fn reads(&self) -> u64 {
        calls(self, "get")
    }

    fn writes(&self) -> u64 {
        calls(self, "set")
    }

    fn freeze(&self, frozen: bool) {
        if frozen { Self::freeze(self) } else { self.thaw() }
    }

    fn keys(&self) -> BTreeMap<String, Option<Duration>> {
        keys_of(self).into_iter().collect()
    }

    fn value(&self, key: &str) -> Option<Vec<u8>> {
        match self.command(&["GET", key]) {
            Reply::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn set_value(&self, key: &str, value: &[u8]) {
        assert!(self.command_bytes(&[b"SET", key.as_bytes(), value]).is_ok());
    }

    fn clear(&self) {
        assert!(self.command(&["FLUSHALL"]).is_ok());
    }

    fn connections(&self) -> usize {
        clients_of(self)
    }
}

impl Shelf for Cluster {
    fn address(&self) -> String {
        let hosts: Vec<_> = self.addrs().iter().map(ToString::to_string).collect();
        format!("redis://{}?cluster", hosts.join(","))
    }

    fn servers(&self) -> usize {
        self.nodes().len()
    }

    fn reads(&self) -> u64 {
        self.nodes().iter().map(|node| calls(node, "get")).sum()
    }

    fn writes(&self) -> u64 {
        self.nodes().iter().map(|node| calls(node, "set")).sum()
    }

    fn freeze(&self, frozen: bool) {
        for node in 0..self.nodes().len() {
            if frozen { Self::freeze(self, node) } else { self.thaw(node) }
        }
    }

    fn keys(&self) -> BTreeMap<String, Option<Duration>> {
        self.nodes().iter().flat_map(keys_of).collect()
    }

    fn value(&self, key: &str) -> Option<Vec<u8>> {
        Shelf::value(&self.nodes()[self.node_of(key)], key)
    }

    fn set_value(&self, key: &str, value: &[u8]) {
        self.nodes()[self.node_of(key)].set_value(key, value);
    }

    fn clear(&self) {
        self.nodes().iter().for_each(Shelf::clear);
    }

    fn connections(&self) -> usize {
        self.nodes().iter().map(clients_of).sum()
    }
}

/// Servers of Memcached that know nothing of each other.
pub(crate) struct Memcacheds {
    servers: Vec<Memcached>,
    /// Before anyone came, but whoever asked.
    connections: usize,
}

impl Memcacheds {
    pub(crate) fn start(servers: usize) -> Arc<dyn Shelf> {
        let servers: Vec<_> = (0..servers).map(|_| Memcached::start()).collect();
        let connections = servers.iter().map(connections).sum();
        Arc::new(Self { servers, connections })
    }

    fn sum(&self, stat: &str) -> u64 {
        self.servers.iter().map(|server| server.stat(stat).parse::<u64>().unwrap()).sum()
    }
}

fn connections(server: &Memcached) -> usize {
    server.stat("curr_connections").parse().unwrap()
}

/// The keys that it has, expired ones among them.
fn dump(server: &Memcached) -> Vec<String> {
    loop {
        // What is sent behind it, it may never read.
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"lru_crawler metadump all\r\n").unwrap();
        let lines = BufReader::new(stream).lines().map(Result::unwrap);
        let (mut keys, mut is_busy) = (Vec::new(), false);
        for line in lines {
            is_busy = line.starts_with("BUSY");
            if is_busy || line == "END" {
                break;
            }
            let key = line.split(' ').next().unwrap();
            // It is encoded as in a URI; none of ours has anything else to encode.
            keys.push(key.strip_prefix("key=").unwrap().replace("%3A", ":"));
        }
        // Its own crawler may be about.
        if !is_busy {
            return keys;
        }
    }
}

impl Shelf for Memcacheds {
    fn address(&self) -> String {
        let addrs: Vec<_> = self.servers.iter().map(|server| server.addr().to_string()).collect();
        format!("memcached {}", addrs.join(" "))
    }

    fn servers(&self) -> usize {
        self.servers.len()
    }

    fn largest(&self) -> usize {
        // With its head and key it is below the million.
        999_000
    }

    fn reads(&self) -> u64 {
        self.sum("cmd_get")
    }

    fn writes(&self) -> u64 {
        self.sum("cmd_set")
    }

    fn freeze(&self, frozen: bool) {
        for server in &self.servers {
            if frozen { server.freeze() } else { server.thaw() }
        }
    }

    fn keys(&self) -> BTreeMap<String, Option<Duration>> {
        let mut keys = BTreeMap::new();
        for server in &self.servers {
            for key in dump(server) {
                let left = server.text(&format!("mg {key} t\r\n"));
                // One that has expired is listed until it is looked for.
                let Some(left) = left.strip_prefix("HD t") else { continue };
                let left = left.lines().next().unwrap().parse().ok().map(Duration::from_secs);
                keys.insert(key, left);
            }
        }
        keys
    }

    fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.servers.iter().find_map(|server| {
            let reply = server.bytes(format!("mg {key} v\r\n").as_bytes());
            let head = reply.iter().position(|byte| *byte == b'\n')? + 1;
            let length: usize = std::str::from_utf8(&reply[..head])
                .unwrap()
                .strip_prefix("VA ")?
                .trim()
                .parse()
                .unwrap();
            Some(reply[head..head + length].to_vec())
        })
    }

    fn set_value(&self, key: &str, value: &[u8]) {
        let has = |server: &&Memcached| server.text(&format!("mg {key}\r\n")).starts_with("HD");
        // Whose key it is only the store knows, which may have put something there.
        let owners: Vec<_> = self.servers.iter().filter(has).collect();
        let all = self.servers.iter().collect();
        for server in if owners.is_empty() { all } else { owners } {
            let mut request = format!("ms {key} {}\r\n", value.len()).into_bytes();
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
            assert!(server.bytes(&request).starts_with(b"HD"));
        }
    }

    fn connections(&self) -> usize {
        self.servers.iter().map(connections).sum::<usize>() - self.connections
    }
}
