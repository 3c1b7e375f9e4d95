//! Every kind of place that a flag can name: what one gateway stored there, the other finds.

use super::{
    super::real::servers::{Cluster, Sentinel},
    *,
};

fn places() -> Vec<(&'static str, Shared)> {
    // The line for users that README recommends.
    let readme = include_str!("../../../README.md");
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
