//! Gateways that share a store: what one keeps the others find, and what is apart stays apart.

#[path = "stores/example.rs"]
mod example;
#[path = "stores/faults.rs"]
mod faults;
#[path = "stores/invalidation.rs"]
mod invalidation;
#[path = "stores/layouts.rs"]
mod layouts;
#[path = "stores/refusals.rs"]
mod refusals;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tonic::transport::Endpoint;

use super::{
    real::servers::{Cluster, Memcached, Redis, Sentinel},
    shop::{FIND, Shop, call},
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

// ===== what is shared =====

/// Every kind of place that a flag can name.
fn places() -> Vec<(&'static str, Shared)> {
    // The line for users that README recommends.
    let readme = include_str!("../../README.md");
    let rules = readme.lines().find_map(|line| line.strip_prefix("user seawall on >PASSWORD "));
    let rules: Vec<_> = rules.expect("the rules").split_whitespace().collect();
    let user = Redis::setup().user("seawall", "secret", &rules).start();

    let tls = Redis::tls();
    let by_tls = Shared {
        flags: ["--redis", &tls.url(), "--redis-ca", &tls.authority()].map(str::to_owned).into(),
        records: Box::new(move || tls.command(&["DBSIZE"]).integer()),
    };
    let cluster = Cluster::start(3);
    let nodes: Vec<_> = cluster.addrs().iter().map(SocketAddr::to_string).collect();
    let in_a_cluster = Shared {
        flags: vec!["--redis".to_owned(), format!("redis://{}?cluster", nodes.join(","))],
        records: Box::new(move || {
            cluster.nodes().iter().map(|node| node.command(&["DBSIZE"]).integer()).sum()
        }),
    };
    let mut sentinel = Sentinel::start();
    let by_sentinel = Shared {
        flags: vec![
            "--redis".to_owned(),
            format!("{}?sentinel={}", sentinel.url(), Sentinel::NAME),
        ],
        records: Box::new(move || sentinel.master().command(&["DBSIZE"]).integer()),
    };

    let one = Memcached::start();
    let at = one.addr().to_string();
    let memcached = Shared::memcached(vec![one], &["--memcached", &at]);
    let two = [Memcached::start(), Memcached::start()];
    let [a, b] = two.each_ref().map(|server| server.addr().to_string());
    let repeated = Shared::memcached(two.into(), &["--memcached", &a, "--memcached", &b]);
    let (unix, tcp) = (Memcached::unix(), Memcached::start());
    let list = format!("unix:{},{}", unix.socket(), tcp.addr());
    let listed = Shared::memcached(vec![unix, tcp], &["--memcached", &list]);

    vec![
        ("Redis", Shared::redis(Redis::start())),
        ("Redis with a password", Shared::redis(Redis::setup().password("secret").start())),
        ("Redis as a user with README's rights", Shared::redis(user)),
        ("Redis on a Unix socket", Shared::redis(Redis::unix())),
        ("Redis by TLS", by_tls),
        ("Redis Cluster", in_a_cluster),
        ("Redis by Sentinel", by_sentinel),
        ("Memcached", memcached),
        ("two of Memcached", repeated),
        ("two of Memcached in one flag, one on a Unix socket", listed),
    ]
}

#[tokio::test]
async fn the_second_hits_what_the_first_stored() {
    for (place, mut shared) in places() {
        let (origin, mut asked) = scripted(PAGE).await;
        let (first, second) = (shared.before(origin, &[]), shared.before(origin, &[]));
        let (made, found, hits, entries) = calmly(&[&first, &second], async |number| {
            calls(&mut asked);
            let (path, before) = (format!("/{number}"), (shared.records)());
            let figures = async || {
                let status = second.status().await;
                let stores = status["stores"].as_array().unwrap();
                let hits = stores.iter().map(|store| store["hits"].as_u64().unwrap());
                (hits.sum::<u64>(), status["entries"].as_u64().unwrap())
            };
            let (hits, entries) = figures().await;
            let made = first.get(&path).await;
            shared.has(before + 1).await;
            let found = [second.get(&path).await, second.get(&path).await];
            let now = figures().await;
            (made, found, now.0 - hits, now.1 - entries)
        })
        .await;
        assert_eq!(field(&made, "cache-status"), STORED, "{place}");
        for found in found {
            assert_eq!(field(&found, "cache-status"), HIT, "{place}");
            assert!(found.ends_with("\r\n\r\nthe page"), "{place}: {found}");
        }
        assert_eq!(calls(&mut asked), 1, "{place}");
        // Once it was found, it is in memory.
        assert_eq!((hits, entries), (1, 1), "{place}");
        let status = second.status().await;
        for store in status["stores"].as_array().unwrap() {
            assert_eq!((&store["state"], &store["writes"]), (&"closed".into(), &true.into()));
            assert!(store["name"].is_string() && store["latency_us"].is_u64(), "{store}");
        }
    }
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

// ===== what an answer is made of =====

#[tokio::test]
async fn the_second_finds_variants_and_parts_and_confirms() {
    const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncache-control: max-age=600\r\n\
                         vary: accept-language\r\netag: ";
    let mut shared = Shared::redis(Redis::start());
    let (origin, says, mut asked) = changing(PAGE).await;
    let (first, second) = (shared.before(origin, &[]), shared.before(origin, &[]));
    let found = calmly(&[&first, &second], async |number| {
        let (before, head) = ((shared.records)(), format!("GET /{number} HTTP/1.1\r\nhost: a\r\n"));
        for (language, text) in [("de", "Seite"), ("en", "pages")] {
            says.send(format!("{WHOLE}\"{language}\"\r\n\r\n{text}")).unwrap();
            first.ask(&format!("{head}accept-language: {language}\r\n")).await;
        }
        // How they vary, and two of them.
        shared.has(before + 3).await;
        calls(&mut asked);
        let mut found = Vec::new();
        for fields in [
            "accept-language: de\r\n",
            "accept-language: en\r\n",
            "accept-language: de\r\nrange: bytes=1-2\r\n",
            "accept-language: en\r\nrange: bytes=-2\r\n",
            "accept-language: en\r\nif-none-match: \"en\"\r\n",
        ] {
            let answer = second.ask(&format!("{head}{fields}")).await;
            assert_eq!(field(&answer, "cache-status"), HIT, "{fields:?}: {answer}");
            let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
            found.push((status(&answer), body));
        }
        found
    })
    .await;
    let expected = [(200, "Seite"), (200, "pages"), (206, "ei"), (206, "es"), (304, "")];
    assert_eq!(found, expected.map(|(status, body)| (status, body.to_owned())));
    assert_eq!(calls(&mut asked), 0);
}

#[tokio::test]
async fn the_second_answers_a_range_from_a_part_that_the_first_stored() {
    const PART: &str = "HTTP/1.1 206 Partial Content\r\ncontent-length: 4\r\netag: \"1\"\r\n\
                        content-range: bytes 0-3/8\r\ncache-control: max-age=600\r\n\r\nthe ";
    let mut shared = Shared::redis(Redis::start());
    let (origin, mut asked) = scripted(PART).await;
    let start = || shared.before(origin, &["--profile", "reverse-proxy"]);
    let (first, second) = (start(), start());
    let found = calmly(&[&first, &second], async |number| {
        let head = format!("GET /{number} HTTP/1.1\r\nhost: a\r\nrange: bytes=");
        let before = (shared.records)();
        first.ask(&format!("{head}0-3\r\n")).await;
        shared.has(before + 1).await;
        calls(&mut asked);
        second.ask(&format!("{head}1-2\r\n")).await
    })
    .await;
    assert_eq!((status(&found), field(&found, "cache-status")), (206, HIT), "{found}");
    assert_eq!(field(&found, "content-range"), "bytes 1-2/8");
    assert!(found.ends_with("\r\n\r\nhe"), "{found}");
    assert_eq!(calls(&mut asked), 0);
}

#[tokio::test]
async fn the_second_finds_a_grpc_methods_answer_with_its_trailers() {
    let mut shared = Shared::redis(Redis::start());
    let shop = Shop::open();
    let url = format!("h2c://{}", shop.serve().await);
    let flags = ["--origin", &url, "--grpc-cache", "/shop.Catalogue/Find=60s"];
    let (first, second) =
        (Gateway::start(&shared.with(&flags)), Gateway::start(&shared.with(&flags)));
    // Both are called by one name.
    let client = async |gateway: &Gateway| {
        let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
        let endpoint = endpoint.origin("http://shop.example".parse().unwrap());
        tonic::client::Grpc::new(endpoint.connect().await.unwrap())
    };
    let (to_first, to_second) = (client(&first).await, client(&second).await);
    let ((made, _), (found, metadata)) = calmly(&[&first, &second], async |number| {
        let (name, before) = (format!("shoe {number}"), (shared.records)());
        let made = call(&to_first, FIND, &name).await.unwrap();
        shared.has(before + 1).await;
        (made, call(&to_second, FIND, &name).await.unwrap())
    })
    .await;
    assert_eq!(found, made);
    let fields = metadata.into_headers();
    assert_eq!(fields["cache-status"], HIT);
    assert_eq!(fields["x-call"], made.call.to_string());
}
