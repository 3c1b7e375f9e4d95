//! Gateways that share a store: what one keeps the others find, and what is apart stays apart.

#[path = "stores/answers.rs"]
mod answers;
#[path = "stores/example.rs"]
mod example;
#[path = "stores/faults.rs"]
mod faults;
#[path = "stores/invalidation.rs"]
mod invalidation;
#[path = "stores/layouts.rs"]
mod layouts;
#[path = "stores/places.rs"]
mod places;
#[path = "stores/refusals.rs"]
mod refusals;

use std::{net::SocketAddr, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    real::servers::{Memcached, Redis},
    support::*,
};

const HIT: &str = "seawall; hit";
const STORED: &str = "seawall; fwd=uri-miss; fwd-status=200; stored";

const PAGE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\ncache-control: max-age=600\r\n\
                    etag: \"1\"\r\nsurrogate-key: pages\r\n\r\nthe page";

/// What gateways share: the flags that name it, and how many records it has.
struct Shared {
    flags: Vec<String>,
    records: Box<dyn FnMut() -> i64>,
}

impl Shared {
    fn redis(redis: Redis) -> Self {
        let flags = vec!["--redis".to_owned(), redis.url()];
        Self { flags, records: Box::new(move || redis.command(&["DBSIZE"]).integer()) }
    }

    fn memcached(servers: Vec<Memcached>, flags: &[&str]) -> Self {
        let items = |server: &Memcached| server.stat("curr_items").parse::<i64>().unwrap();
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Self { flags, records: Box::new(move || servers.iter().map(items).sum()) }
    }

    /// A gateway that shares it.
    fn before(&self, origin: SocketAddr, flags: &[&str]) -> Gateway {
        Gateway::before(origin, &self.with(flags))
    }

    fn with<'a>(&'a self, flags: &[&'a str]) -> Vec<&'a str> {
        self.flags.iter().map(String::as_str).chain(flags.iter().copied()).collect()
    }

    /// Waits until it has so many records. It may never: then what follows shows that.
    async fn has(&mut self, records: i64) {
        eventually(|| (self.records)() == records).await;
    }
}

/// Waits until this is so, and says whether it ever was.
async fn eventually(mut so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !so() {
        if began.elapsed() > Duration::from_secs(5) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}

/// How a gateway's stores are: failures in all, and whether every one is well.
async fn health(gateway: &Gateway) -> (u64, bool) {
    let status = gateway.status().await;
    let stores = status["stores"].as_array().unwrap();
    let failures = stores.iter().map(|store| store["failures"].as_u64().unwrap()).sum();
    (failures, stores.iter().all(|store| store["state"] == "closed"))
}

/// What came of a trial in which no store of these gateways failed; `None`: one did. A machine that has
/// much else to do makes one miss its deadline, which is a miss.
async fn calm<T>(gateways: &[&Gateway], trial: impl AsyncFnOnce() -> T) -> Option<T> {
    let mut before = Vec::new();
    for gateway in gateways {
        gateway.until(|status| status["stores"][0]["state"] == "closed").await;
        before.push(health(gateway).await);
    }
    let seen = trial().await;
    for (gateway, before) in gateways.iter().zip(before) {
        if health(gateway).await != before {
            return None;
        }
    }
    Some(seen)
}

/// The same, as often as it takes. The trial is told its number, for pages of its own.
async fn calmly<T>(gateways: &[&Gateway], mut trial: impl AsyncFnMut(usize) -> T) -> T {
    for number in 0..TRIALS {
        if let Some(seen) = calm(gateways, async || trial(number).await).await {
            return seen;
        }
    }
    let mut stores = Vec::new();
    for gateway in gateways {
        stores.push(gateway.status().await["stores"].to_string());
    }
    panic!("a store failed in each trial: {stores:?}");
}

const TRIALS: usize = 20;

/// How often the origin was asked since the last time.
fn calls(asked: &mut mpsc::UnboundedReceiver<String>) -> usize {
    std::iter::from_fn(|| asked.try_recv().ok()).count()
}

/// A figure of the only store.
async fn of_store(gateway: &Gateway, name: &str) -> u64 {
    gateway.status().await["stores"][0][name].as_u64().unwrap()
}

#[tokio::test]
async fn without_a_shared_store_status_has_none() {
    let gateway = Gateway::start(&[]);
    assert_eq!(gateway.status().await["stores"], serde_json::json!([]));
}

#[tokio::test]
async fn with_near_off_every_answer_comes_from_the_shared_store() {
    let memcached = Memcached::start();
    let at = memcached.addr().to_string();
    for mut shared in
        [Shared::redis(Redis::start()), Shared::memcached(vec![memcached], &["--memcached", &at])]
    {
        let (origin, mut asked) = scripted(PAGE).await;
        let near_off = shared.before(origin, &["--near", "off"]);
        let (found, hits) = calmly(&[&near_off], async |number| {
            calls(&mut asked);
            let (path, before) = (format!("/{number}"), (shared.records)());
            let hits = of_store(&near_off, "hits").await;
            near_off.get(&path).await;
            shared.has(before + 1).await;
            let mut found = Vec::new();
            for _ in 0..3 {
                let answer = near_off.get(&path).await;
                found.push(field(&answer, "cache-status").to_owned());
            }
            (found, of_store(&near_off, "hits").await - hits)
        })
        .await;
        assert_eq!((found, hits), (vec![HIT.to_owned(); 3], 3));
        assert_eq!((calls(&mut asked), &near_off.status().await["entries"]), (1, &0.into()));
    }
}

#[tokio::test]
async fn two_namespaces_are_apart() {
    let redis = Redis::start();
    let (origin, mut asked) = scripted(PAGE).await;
    let gateway = |name| Gateway::before(origin, &["--redis", &redis.url(), "--namespace", name]);
    let (shop, blog) = (gateway("shop"), gateway("Blog_2.0-a"));
    let said = calmly(&[&shop, &blog], async |number| {
        assert!(redis.command(&["FLUSHALL"]).is_ok());
        calls(&mut asked);
        let mut said = Vec::new();
        for (gateway, records) in [(&shop, 1), (&blog, 2)] {
            let answer = gateway.get(&format!("/{number}")).await;
            said.push(field(&answer, "cache-status").to_owned());
            eventually(|| redis.command(&["DBSIZE"]).integer() == records).await;
        }
        said
    })
    .await;
    assert_eq!((said, calls(&mut asked)), (vec![STORED.to_owned(); 2], 2));
    let mut keys = redis.command(&["KEYS", "*"]).texts();
    keys.sort();
    for (key, prefix) in keys.iter().zip(["Blog_2.0-a:", "shop:"]) {
        let digits = key.strip_prefix(prefix).unwrap_or_else(|| panic!("{key}"));
        assert!(digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
}
