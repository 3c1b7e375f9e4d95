//! The breaker before the origin.

use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::Instant,
};

use super::{
    admission::{assert_grpc_refused, get},
    overload::{Origin, assert_refused, kept},
    support::*,
};

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
