//! What stands before the origin: the limit, the breaker, and each client's quota.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    overload::{Origin, assert_refused, kept},
    support::*,
};

// ===== --limit =====

/// An origin that answers once its gate is open; `/stale` at once, with what is stale already.
async fn held() -> (Origin, watch::Sender<bool>) {
    let (gate, open) = watch::channel(false);
    let origin = Origin::serve(move |path| {
        let mut open = open.clone();
        async move {
            let mut answer = kept("held");
            if path == "/stale" {
                answer.headers_mut().insert("age", "700".parse().unwrap());
            } else {
                open.wait_for(|open| *open).await.unwrap();
            }
            answer
        }
    })
    .await;
    (origin, gate)
}

fn get(addr: SocketAddr, path: &str) -> impl Future<Output = String> + use<> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n");
    async move { ask(addr, &head).await }
}

/// Trailers alone, with this status and what a client needs to come back in time.
async fn assert_grpc_refused(addr: SocketAddr, code: &str, why: &str) {
    let request =
        Request::post("http://a/shop.Shop/Get").header("content-type", "application/grpc");
    let answer = ask_h2(addr, request.header("te", "trailers").body(nothing()).unwrap()).await;
    let fields = answer.headers();
    assert_eq!((answer.status().as_u16(), fields["grpc-status"].to_str().unwrap()), (200, code));
    let wait: u64 = fields["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
    assert!(wait >= 1, "{fields:?}");
    assert_eq!(fields["content-type"], "application/grpc");
    assert_eq!(fields["cache-status"], format!("seawall; detail={why}"));
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn the_origin_never_has_more_calls_than_the_limit_and_the_rest_is_refused_at_once() {
    let (origin, gate) = held().await;
    let gateway = Gateway::before(origin.addr, &["--limit", "8"]);
    for wave in 1..=2 {
        gate.send_replace(false);
        let mut asking: JoinSet<_> =
            (0..40).map(|key| get(gateway.addr, &format!("/{wave}/{key}"))).collect();
        for _ in 0..32 {
            assert_refused(&asking.join_next().await.unwrap().unwrap(), 503, "shed");
        }
        origin.has(8).await;
        let figures = gateway.status().await;
        assert_eq!(
            (&figures["limit"]["limit"], &figures["limit"]["in_flight"]),
            (&8.into(), &8.into())
        );
        assert_eq!(figures["shed"], 32 * wave);
        assert_eq!(asking.len(), 8);

        gate.send_replace(true);
        for answer in asking.join_all().await {
            assert_eq!(status(&answer), 200, "{answer}");
        }
        gateway.until(|status| status["limit"]["in_flight"] == 0).await;
    }
    assert_eq!((origin.most(), origin.calls()), (8, 16));
    let figures = gateway.status().await;
    // A refusal of ours is no failure: neither of a key nor of the origin.
    assert_eq!(
        (&figures["failures_remembered"], &figures["origin_failures"]),
        (&0.into(), &0.into())
    );
}

#[tokio::test]
async fn reads_and_grpc_leave_the_last_of_twenty_places_to_what_changes_something() {
    let (origin, gate) = held().await;
    let gateway = Gateway::before(origin.addr, &["--limit", "20"]);
    let mut asking: JoinSet<_> = (0..19).map(|key| get(gateway.addr, &format!("/{key}"))).collect();
    origin.has(19).await;
    assert_refused(&get(gateway.addr, "/19").await, 503, "shed");
    assert_grpc_refused(gateway.addr, "14", "shed").await;

    let addr = gateway.addr;
    let post = "POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n";
    asking.spawn(async move { ask(addr, post).await });
    origin.has(20).await;
    assert_refused(&ask(addr, post).await, 503, "shed");
    gate.send_replace(true);
    for answer in asking.join_all().await {
        assert_eq!(status(&answer), 200, "{answer}");
    }
    assert_eq!((origin.most(), origin.calls()), (20, 20));
    assert_eq!(gateway.status().await["shed"], 3);
}

#[tokio::test]
async fn without_the_flag_the_limit_is_1024_and_off_is_none() {
    // Of 1,024 places reads fill 95 %.
    for (flags, reach, limit) in [
        (&[][..], 973, serde_json::json!(1_024)),
        (&["--limit", "off"], 1_100, serde_json::Value::Null),
    ] {
        let (origin, gate) = held().await;
        let url = format!("h2c://{}", origin.addr);
        let gateway = Gateway::start(&[&["--origin", &url][..], flags].concat());
        let mut asking = JoinSet::new();
        // A connection has room for 250 requests.
        for connection in 0..5 {
            let stream = TcpStream::connect(gateway.addr).await.unwrap();
            let (sender, running) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .handshake(TokioIo::new(stream))
                .await
                .unwrap();
            tokio::spawn(running);
            for key in 0..220 {
                let mut sender = sender.clone();
                let uri = format!("http://a/{connection}/{key}");
                let request = Request::get(uri).body(Full::<Bytes>::default()).unwrap();
                asking.spawn(async move { sender.send_request(request).await.unwrap().status() });
            }
        }
        origin.has(reach).await;
        for _ in reach..1_100 {
            assert_eq!(asking.join_next().await.unwrap().unwrap(), 503, "{flags:?}");
        }
        let figures = gateway.status().await;
        assert_eq!(
            (&figures["limit"]["limit"], &figures["shed"]),
            (&limit, &(1_100 - reach).into())
        );
        assert_eq!(figures["limit"]["in_flight"], reach, "{flags:?}");
        gate.send_replace(true);
        assert!(asking.join_all().await.iter().all(|status| *status == 200), "{flags:?}");
        assert_eq!(origin.most(), reach);
    }
}

#[tokio::test]
async fn while_the_limit_is_full_hits_are_answered_and_stale_answers_where_they_may_be() {
    for (flags, code) in [(&["--stale-if-error", "1h"][..], 200), (&[], 503)] {
        let (origin, gate) = held().await;
        let gateway = Gateway::before(origin.addr, &[&["--limit", "1"][..], flags].concat());
        gate.send_replace(true);
        gateway.get("/hot").await;
        gateway.get("/stale").await;
        gate.send_replace(false);
        let holding = tokio::spawn(get(gateway.addr, "/held"));
        origin.has(1).await;
        for _ in 0..20 {
            assert_eq!(field(&get(gateway.addr, "/hot").await, "cache-status"), "seawall; hit");
            assert_refused(&get(gateway.addr, "/cold").await, 503, "shed");
            let stale = get(gateway.addr, "/stale").await;
            assert_eq!(status(&stale), code, "{stale}");
            assert!(code == 503 || stale.contains("; detail=stale-if-error\r\n"), "{stale}");
        }
        assert_eq!(origin.calls(), 3, "{flags:?}");
        gate.send_replace(true);
        holding.await.unwrap();
        gateway.until(|status| status["limit"]["in_flight"] == 0).await;
        // At once, since nobody holds a refusal of ours against the key.
        let fetched = gateway.get("/stale").await;
        assert!(field(&fetched, "cache-status").contains("fwd-status=200"), "{fetched}");
    }
}

// ===== --breaker =====

const GOOD: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 4\r\n\r\ngood";
/// Good for a minute, ten seconds ago.
const STALE: &str =
    "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nage: 70\r\ncontent-length: 3\r\n\r\nold";
const BAD: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 3\r\n\r\nbad";
/// It asks to be left alone for so long that no test is too slow to see it.
const DOWN: &str =
    "HTTP/1.1 503 Service Unavailable\r\nretry-after: 20\r\ncontent-length: 4\r\n\r\ndown";

/// Asks for keys that nobody has asked for before, one after the other: none was failing by itself.
async fn ask_keys(gateway: &Gateway, keys: std::ops::Range<u64>, code: u16) {
    for key in keys {
        let answer = get(gateway.addr, &format!("/{key}")).await;
        let asked = field(&answer, "cache-status").contains("fwd-status=") || code == 502;
        assert!(status(&answer) == code && asked, "{key}: {answer}");
    }
}

async fn breaker(gateway: &Gateway) -> (String, u64, f64) {
    let found = &gateway.status().await["breaker"];
    let (state, rate) = (found["state"].as_str().unwrap(), found["failure_rate"].as_f64().unwrap());
    (state.to_owned(), found["calls"].as_u64().unwrap(), rate)
}

#[tokio::test]
async fn the_breaker_opens_at_its_share_of_twenty_calls_and_the_origin_is_left_alone() {
    for (flags, good) in [
        (&[][..], 10),
        (&["--breaker", "50%"], 10),
        (&["--breaker", "20%"], 16),
        (&["--breaker", "100%"], 0),
    ] {
        let (origin, says, mut told) = changing(GOOD).await;
        let gateway = Gateway::before(origin, flags);
        ask_keys(&gateway, 0..good, 200).await;
        says.send_replace(DOWN.to_owned());
        ask_keys(&gateway, good..19, 503).await;
        let (state, calls, rate) = breaker(&gateway).await;
        assert_eq!((state.as_str(), calls), ("closed", 19), "{flags:?}");
        assert!((rate - (19 - good) as f64 / 19.0).abs() < 1e-9, "{flags:?}: {rate}");

        ask_keys(&gateway, 19..20, 503).await;
        assert_eq!(breaker(&gateway).await.0, "open", "{flags:?}");
        for key in 20..40 {
            let answer = get(gateway.addr, &format!("/{key}")).await;
            assert_refused(&answer, 503, "circuit-open");
            // The origin has asked for 20 s.
            let wait: u64 = field(&answer, "retry-after").parse().unwrap();
            assert!((10..=24).contains(&wait), "{answer}");
        }
        assert_grpc_refused(gateway.addr, "14", "circuit-open").await;
        assert_eq!(gateway.status().await["origin_calls"], 20);
        assert_eq!(std::iter::from_fn(|| told.try_recv().ok()).count(), 20, "{flags:?}");
    }
}

#[tokio::test]
async fn while_the_breaker_is_open_hits_are_answered_and_stale_answers_where_they_may_be() {
    for (flags, code) in [(&["--stale-if-error", "1h"][..], 200), (&[], 503)] {
        let (origin, says, _told) = changing(STALE).await;
        let gateway = Gateway::before(origin, flags);
        gateway.get("/stale").await;
        says.send_replace(GOOD.to_owned());
        gateway.get("/hot").await;
        says.send_replace(DOWN.to_owned());
        ask_keys(&gateway, 0..18, 503).await;
        assert_eq!(breaker(&gateway).await.0, "open");
        let remembered = gateway.status().await["failures_remembered"].clone();
        for _ in 0..20 {
            assert_eq!(field(&get(gateway.addr, "/hot").await, "cache-status"), "seawall; hit");
            let stale = get(gateway.addr, "/stale").await;
            if code == 200 {
                assert!(field(&stale, "cache-status").ends_with("; detail=stale-if-error"));
                assert!(stale.ends_with("old"), "{stale}");
            } else {
                assert_refused(&stale, 503, "circuit-open");
            }
        }
        let figures = gateway.status().await;
        assert_eq!(figures["origin_calls"], 20);
        // A refusal of ours is not held against the key.
        assert_eq!(figures["failures_remembered"], remembered);
    }
}

#[tokio::test]
async fn an_open_breaker_opens_longer_at_a_bad_probe_and_closes_by_itself_at_three_good_ones() {
    let (origin, says, _told) = changing(BAD).await;
    let gateway = Gateway::before(origin, &[]);
    let half_open = |status: &serde_json::Value| status["breaker"]["state"] == "half-open";
    ask_keys(&gateway, 0..19, 500).await;
    let opened = Instant::now();
    ask_keys(&gateway, 19..20, 500).await;
    gateway.until(half_open).await;
    let first = opened.elapsed();
    let opened = Instant::now();
    ask_keys(&gateway, 20..21, 500).await;
    assert_refused(&get(gateway.addr, "/21").await, 503, "circuit-open");
    gateway.until(half_open).await;
    let second = opened.elapsed();
    println!("open for {first:?}, then for {second:?}");
    // A second and then two, each a fifth more or less.
    assert!((800..10_000).contains(&first.as_millis()), "{first:?}");
    assert!((1_600..20_000).contains(&second.as_millis()), "{second:?}");

    says.send_replace(GOOD.to_owned());
    ask_keys(&gateway, 22..24, 200).await;
    assert_eq!(breaker(&gateway).await.0, "half-open");
    ask_keys(&gateway, 24..25, 200).await;
    assert_eq!(breaker(&gateway).await, ("closed".to_owned(), 0, 0.0));
    ask_keys(&gateway, 25..50, 200).await;
    assert_eq!(gateway.status().await["origin_calls"], 21 + 3 + 25);
}

#[tokio::test]
async fn a_breaker_that_is_off_never_opens() {
    let (origin, _says, _told) = changing(BAD).await;
    let gateway = Gateway::before(origin, &["--breaker", "off"]);
    ask_keys(&gateway, 0..60, 500).await;
    assert_ne!(breaker(&gateway).await.0, "open");
    assert_eq!(gateway.status().await["origin_calls"], 60);
}

#[tokio::test]
async fn an_origin_that_is_not_there_or_says_nothing_opens_the_breaker() {
    // Bound and not listened on: connections are refused.
    let nowhere = TcpSocket::new_v4().unwrap();
    nowhere.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (nowhere, silent) = (nowhere.local_addr().unwrap(), silent.local_addr().unwrap());
    for (scheme, origin, code) in
        [("http", nowhere, 502), ("h2c", nowhere, 502), ("http", silent, 504)]
    {
        let url = format!("{scheme}://{origin}");
        let gateway = Gateway::start(&["--origin", &url, "--timeout", "500ms"]);
        let asking: JoinSet<_> = (0..20).map(|key| get(gateway.addr, &format!("/{key}"))).collect();
        for answer in asking.join_all().await {
            assert_eq!(status(&answer), code, "{url}: {answer}");
        }
        assert_refused(&get(gateway.addr, "/20").await, 503, "circuit-open");
        assert_eq!(gateway.status().await["origin_failures"], 20, "{url}");
    }
}

#[tokio::test]
async fn what_is_the_clients_fault_never_opens_the_breaker() {
    let post = |key: u32| {
        format!(
            "POST /{key} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\nx"
        )
    };
    let origin = Origin::serve(|_| async { kept("never") }).await;

    // It stalls within its body.
    let gateway = Gateway::before(origin.addr, &["--timeout", "300ms"]);
    let addr = gateway.addr;
    let stalled: JoinSet<_> =
        (0..30).map(|key| async move { talk(addr, post(key).as_bytes()).await }).collect();
    for answer in stalled.join_all().await {
        assert_eq!(status(&answer), 408, "{answer}");
    }
    assert_eq!(breaker(&gateway).await, ("closed".to_owned(), 0, 0.0));

    // It leaves within its body.
    let gateway = Gateway::before(origin.addr, &[]);
    let mut clients = Vec::new();
    for key in 0..30 {
        let mut client = TcpStream::connect(gateway.addr).await.unwrap();
        client.write_all(post(key).as_bytes()).await.unwrap();
        clients.push(client);
    }
    origin.has(30).await;
    assert_eq!(gateway.status().await["limit"]["in_flight"], 30);
    drop(clients);
    gateway.until(|status| status["limit"]["in_flight"] == 0).await;
    assert_eq!(breaker(&gateway).await, ("closed".to_owned(), 0, 0.0));
    let figures = gateway.status().await;
    assert_eq!((&figures["origin_failures"], &figures["origin_in_flight"]), (&0.into(), &0.into()));

    // It asks for what there is not.
    let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let (origin, _told) = scripted(missing).await;
    let gateway = Gateway::before(origin, &[]);
    ask_keys(&gateway, 0..30, 404).await;
    assert_eq!(breaker(&gateway).await, ("closed".to_owned(), 30, 0.0));
}

// ===== --quota =====

/// A client with five requests a second, and what it has been admitted so far.
struct Account {
    since: Instant,
    admitted: usize,
}

impl Account {
    fn new() -> Self {
        Self { since: Instant::now(), admitted: 0 }
    }

    /// Asks twelve times on one connection from `peer`, all at once; `fields` are those of each
    /// request. How many are admitted: never more than the account has, however slow this machine is.
    async fn spend(
        &mut self,
        gateway: &Gateway,
        peer: [u8; 4],
        fields: impl Fn(u32) -> String,
    ) -> usize {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((peer, 0).into()).unwrap();
        let mut stream = socket.connect(gateway.addr).await.unwrap();
        let mut heads: Vec<_> =
            (0..12).map(|n| format!("GET /hot HTTP/1.1\r\nhost: a\r\n{}", fields(n))).collect();
        heads[11].push_str("connection: close\r\n");
        stream.write_all((heads.join("\r\n") + "\r\n").as_bytes()).await.unwrap();
        let mut answers = String::new();
        timeout(LONG, stream.read_to_string(&mut answers)).await.expect("an end").unwrap();
        let answers: Vec<_> =
            answers.split("HTTP/1.1 ").skip(1).map(|answer| format!("HTTP/1.1 {answer}")).collect();
        assert_eq!(answers.len(), 12, "{answers:?}");
        let (admitted, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| status(answer) == 200);
        for answer in refused {
            assert_refused(answer, 429, "over-quota");
        }
        self.admitted += admitted.len();
        let most = 5 + self.since.elapsed().as_millis() / 200;
        assert!(self.admitted as u128 <= most, "{} of {most}", self.admitted);
        admitted.len()
    }
}

const SOME: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

fn nothing_more(_: u32) -> String {
    String::new()
}

#[tokio::test]
async fn a_client_has_five_requests_a_second_hits_included_and_another_has_its_own() {
    let origin = Origin::serve(|_| async { kept("hot") }).await;
    let gateway = Gateway::before(origin.addr, &["--quota", "5/s"]);
    let mut some = Account::new();
    let admitted = some.spend(&gateway, SOME, nothing_more).await;
    assert!(admitted >= 5);
    let figures = gateway.status().await;
    assert_eq!(
        (&figures["shed"], &figures["hits"]),
        (&(12 - admitted).into(), &(admitted - 1).into())
    );
    let mut other = Account::new();
    assert!(other.spend(&gateway, OTHER, nothing_more).await >= 5);
    some.spend(&gateway, SOME, nothing_more).await;
    sleep(Duration::from_secs(1)).await;
    assert!(some.spend(&gateway, SOME, nothing_more).await >= 5, "after a second it has all again");
    assert_eq!(origin.calls(), 1);
    println!("{} and {} admitted in {:?}", some.admitted, other.admitted, some.since.elapsed());
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_is_who_the_proxy_says_and_nobody_else_may_say_so() {
    let origin = Origin::serve(|_| async { kept("hot") }).await;
    let gateway = Gateway::before(origin.addr, &["--quota", "5/s", "--trusted-proxy", "127.0.0.1"]);
    let said_by_proxy = |client: &'static str| move |_| format!("x-forwarded-for: {client}\r\n");
    let mut client = Account::new();
    assert!(client.spend(&gateway, SOME, said_by_proxy("192.0.2.1")).await >= 5);
    // What it says of itself makes it nobody else, and nor does the other field.
    let forged = |n| format!("x-forwarded-for: 198.51.100.{n}, 192.0.2.1\r\n");
    client.spend(&gateway, SOME, forged).await;
    client.spend(&gateway, SOME, |_| "forwarded: for=192.0.2.1\r\n".to_owned()).await;
    let mut next = Account::new();
    assert!(next.spend(&gateway, SOME, said_by_proxy("192.0.2.2")).await >= 5);

    let mut untrusted = Account::new();
    let forged = |n| format!("x-forwarded-for: 192.0.2.{}\r\n", 100 + n);
    assert!(untrusted.spend(&gateway, OTHER, forged).await >= 5);
    untrusted.spend(&gateway, OTHER, said_by_proxy("192.0.2.3")).await;
    let mut named = Account::new();
    assert!(
        named.spend(&gateway, SOME, said_by_proxy("192.0.2.3")).await >= 5,
        "it has spent none"
    );
}

#[tokio::test]
async fn grpc_over_its_quota_is_told_so_in_trailers() {
    let origin = Origin::serve(|_| async { kept("hot") }).await;
    let gateway = Gateway::before(origin.addr, &["--quota", "1/s"]);
    let began = Instant::now();
    assert_eq!(status(&get(gateway.addr, "/hot").await), 200);
    assert_grpc_refused(gateway.addr, "8", "over-quota").await;
    println!("within {:?} of the first", began.elapsed());
}
