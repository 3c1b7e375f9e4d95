//! A shared store that dies, hangs and comes back under load: its clients never learn of it.

use tokio::{sync::watch, task::JoinSet};

use super::*;

/// Clients that ask a gateway until they are told to stop, half of the time for what nobody asked for
/// before.
struct Load {
    stop: watch::Sender<bool>,
    clients: JoinSet<Vec<(u16, Duration)>>,
}

impl Load {
    fn on(gateway: &Gateway) -> Self {
        let (stop, told) = watch::channel(false);
        let (mut clients, addr) = (JoinSet::new(), gateway.addr);
        for client in 0..4 {
            let told = told.clone();
            clients.spawn(async move {
                let mut answers = Vec::new();
                while !*told.borrow() {
                    let number = answers.len();
                    let path = match number % 2 {
                        0 => format!("/load-{client}-{number}"),
                        _ => "/known".to_owned(),
                    };
                    let began = Instant::now();
                    let answer = ask(addr, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n")).await;
                    assert!(answer.ends_with("the page"), "{answer}");
                    answers.push((status(&answer), began.elapsed()));
                }
                answers
            });
        }
        Self { stop, clients }
    }

    /// What they were answered, and how long the slowest answer took.
    async fn end(self) -> (Vec<u16>, Duration) {
        self.stop.send(true).unwrap();
        let answers = self.clients.join_all().await.concat();
        let slowest = answers.iter().map(|(_, took)| *took).max().unwrap();
        (answers.into_iter().map(|(status, _)| status).collect(), slowest)
    }
}

/// Whether one finds what the other stored: soon, since that is written behind the answer.
async fn is_shared(first: &Gateway, second: &Gateway) -> bool {
    for wait in 0..100 {
        let path = format!("/shared-{}-{wait}", fastrand::u64(..));
        first.get(&path).await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if field(&second.get(&path).await, "cache-status") == HIT {
            return true;
        }
    }
    false
}

async fn until_store(gateway: &Gateway, state: &str) -> Duration {
    let began = Instant::now();
    gateway.until(|status| status["stores"][0]["state"] == state).await;
    began.elapsed()
}

/// What happens to a server, and what ends it.
type Fault<S> = (&'static str, fn(&mut S), fn(&mut S));

async fn nobody_learns_of<S>(
    mut server: S,
    flags: impl Fn(&S) -> [String; 2],
    faults: &[Fault<S>],
) {
    let (origin, _asked) = scripted(PAGE).await;
    let flags = flags(&server);
    let start = || Gateway::before(origin, &flags.each_ref().map(String::as_str));
    let (gateway, other) = (start(), start());
    for (fault, hurt, heal) in faults {
        until_store(&gateway, "closed").await;
        let failures = of_store(&gateway, "failures").await;
        let load = Load::on(&gateway);
        let reads = of_store(&gateway, "misses").await;
        gateway.until(|status| status["stores"][0]["misses"].as_u64().unwrap() > reads + 50).await;
        hurt(&mut server);
        let opened = until_store(&gateway, "open").await;
        let requests = gateway.status().await["requests"].as_u64().unwrap();
        gateway.until(|status| status["requests"].as_u64().unwrap() > requests + 200).await;
        let (statuses, slowest) = load.end().await;
        assert!(statuses.iter().all(|status| *status == 200), "{fault}: {statuses:?}");
        assert!(of_store(&gateway, "failures").await >= failures + 5, "{fault}");
        heal(&mut server);
        // Nobody asks anything meanwhile.
        let closed = until_store(&gateway, "closed").await;
        println!(
            "{fault}: open after {opened:?}, closed {closed:?} after its end; \
             {} answers, the slowest took {slowest:?}",
            statuses.len()
        );
        assert!(is_shared(&gateway, &other).await, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_or_frozen_under_load_is_left_alone_until_it_is_back() {
    let faults: [Fault<Redis>; 3] = [
        ("Redis killed", Redis::kill, Redis::restart),
        ("Redis frozen", |redis| redis.freeze(), |redis| redis.thaw()),
        ("Redis frozen, then killed", |redis| redis.freeze(), Redis::restart),
    ];
    let flags = |redis: &Redis| ["--redis".to_owned(), redis.url()];
    nobody_learns_of(Redis::start(), flags, &faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memcached_killed_or_frozen_under_load_is_left_alone_until_it_is_back() {
    let faults: [Fault<Memcached>; 2] = [
        ("Memcached killed", Memcached::kill, Memcached::restart),
        ("Memcached frozen", |memcached| memcached.freeze(), |memcached| memcached.thaw()),
    ];
    let flags = |memcached: &Memcached| ["--memcached".to_owned(), memcached.addr().to_string()];
    nobody_learns_of(Memcached::start(), flags, &faults).await;
}

#[tokio::test]
async fn while_one_of_two_servers_is_out_the_other_is_used() {
    let (mut lost, kept) = (Memcached::start(), Memcached::start());
    let servers = format!("{},{}", lost.addr(), kept.addr());
    let (origin, _asked) = scripted(PAGE).await;
    let gateway = Gateway::before(origin, &["--memcached", &servers]);
    let states = |status: &serde_json::Value| {
        let stores = status["stores"].as_array().unwrap();
        stores.iter().map(|store| store["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    lost.kill();
    let items = || kept.stat("curr_items").parse::<u64>().unwrap();
    let (mut number, before) = (0, items());
    while states(&gateway.status().await) != ["open", "closed"] || items() < before + 10 {
        number += 1;
        assert!(number < 2_000, "{}", gateway.status().await);
        let answer = gateway.get(&format!("/{number}")).await;
        assert_eq!((status(&answer), field(&answer, "cache-status")), (200, STORED), "{answer}");
    }
    lost.restart();
    gateway.until(|status| states(status) == ["closed", "closed"]).await;
}

#[tokio::test]
async fn a_gateway_that_starts_before_redis_joins_when_it_comes() {
    let mut redis = Redis::start();
    redis.kill();
    let (origin, _asked) = scripted(PAGE).await;
    let start = || Gateway::before(origin, &["--redis", &redis.url()]);
    let (first, second) = (start(), start());
    for gateway in [&first, &second] {
        let mut number = 0;
        while gateway.status().await["stores"][0]["state"] != "open" {
            number += 1;
            assert!(number < 100, "{}", gateway.status().await);
            let path = format!("/early-{number}");
            for said in [STORED, HIT] {
                let answer = gateway.get(&path).await;
                assert_eq!((status(&answer), field(&answer, "cache-status")), (200, said));
            }
        }
        assert_eq!(
            status(&ask(gateway.admin, "GET /ready HTTP/1.1\r\nhost: localhost\r\n").await),
            200
        );
    }
    redis.restart();
    for gateway in [&first, &second] {
        println!("joined after {:?}", until_store(gateway, "closed").await);
    }
    assert!(is_shared(&first, &second).await);
}

#[tokio::test]
async fn a_full_redis_is_read_and_not_written_to() {
    let redis = Redis::start();
    let (origin, _asked) = scripted(PAGE).await;
    let start = || Gateway::before(origin, &["--redis", &redis.url()]);
    let (first, second) = (start(), start());
    let found = calmly(&[&first, &second], async |number| {
        assert!(redis.command(&["FLUSHALL"]).is_ok());
        let path = format!("/{number}");
        first.get(&path).await;
        eventually(|| redis.command(&["DBSIZE"]).integer() == 1).await;
        assert!(redis.command(&["CONFIG", "SET", "maxmemory", "1"]).is_ok());
        second.get("/not-kept-there").await;
        second.until(|status| status["stores"][0]["writes"] == false).await;
        let found = second.get(&path).await;
        assert!(redis.command(&["CONFIG", "SET", "maxmemory", "0"]).is_ok());
        found
    })
    .await;
    assert_eq!(field(&found, "cache-status"), HIT, "{found}");
    assert_eq!(second.status().await["stores"][0]["state"], "closed");
    assert_eq!(redis.command(&["DBSIZE"]).integer(), 1);
}
