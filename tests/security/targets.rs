//! For what a request asks, and of whom: every part of it tells answers apart.

use std::net::SocketAddr;

use http::Request;
use http_body_util::{BodyExt, Full};
use seawall::{Profile, RespondLayer};
use tower::Layer;

use crate::{
    echo::{ask_as, made_for, origin},
    support::{
        cache,
        sockets::{
            Upstream,
            client::{Answer, Client, http2},
            serve, serve_cached,
        },
    },
};

const KEPT: &str = "cache-control: public, max-age=60";

/// Requests for what may look like one and the same thing, without their version.
const REQUESTS: [(&str, &str); 52] = [
    ("GET /x", "host: a"),
    ("GET /x", "host: b"),
    ("GET /x", "host: A"),
    ("GET /x", "host: a.b"),
    ("GET /x", "host: a:80"),
    ("GET /x", "host: a:81"),
    ("GET /x", "host: a."),
    ("GET /x", "host: "),
    ("GET /x", "host: a/x"),
    ("GET /x", "host: a, b"),
    ("GET /x", "host: a\r\nhost: a"),
    ("GET /x", "host: a\r\nhost: b"),
    ("GET /x", "host: u@a"),
    ("GET http://a/x", "host: a"),
    ("GET http://b/x", "host: b"),
    ("GET http://a/x", "host: b"),
    ("GET http://b/x", "host: a"),
    ("GET https://a/x", "host: a"),
    ("GET http://a:80/x", "host: a"),
    ("GET http://u@a/x", "host: a"),
    ("GET http://a", "host: a"),
    ("GET http://a?x", "host: a"),
    ("GET ftp://a/x", "host: a"),
    ("GET a:80", "host: a"),
    ("GET *", "host: a"),
    ("GET /", "host: a"),
    ("GET //", "host: a"),
    ("GET //a/x", "host: a"),
    ("GET /x/", "host: a"),
    ("GET /X", "host: a"),
    ("GET /%78", "host: a"),
    ("GET /x%2f", "host: a"),
    ("GET /x%2F", "host: a"),
    ("GET /./x", "host: a"),
    ("GET /y/../x", "host: a"),
    ("GET /y/..%2fx", "host: a"),
    ("GET /x;a", "host: a"),
    ("GET /x%00", "host: a"),
    ("GET /x%23a", "host: a"),
    ("GET /x%3fa", "host: a"),
    ("GET /x#a", "host: a"),
    ("GET /x?", "host: a"),
    ("GET /x?a", "host: a"),
    ("GET /x?a=", "host: a"),
    ("GET /x?A", "host: a"),
    ("GET /x?a&b", "host: a"),
    ("GET /x?b&a", "host: a"),
    ("GET /x?a;b", "host: a"),
    ("GET /x?a=1&a=2", "host: a"),
    ("GET /x?a=2&a=1", "host: a"),
    ("GET /x?a=1%26a=2", "host: a"),
    ("GET /x?utm_source=a", "host: a"),
];

async fn asked(addr: SocketAddr, user: &str, line: &str, fields: &str) -> Option<Answer> {
    let mut client = Client::connect(addr).await;
    client.send(format!("{line} HTTP/1.1\r\nx-user: {user}\r\n{fields}\r\n\r\n")).await;
    client.answer_if_any(false).await
}

/// The first line of what the origin saw: method, target and host.
fn seen(answer: Option<&Answer>) -> String {
    match answer {
        // What a server in between refuses, it refuses with or without a cache.
        Some(answer) if answer.field("x-made-for").is_some() => {
            let (target, host) = answer.text().lines().next().unwrap().split_once(" for ").unwrap();
            // Its letter case means nothing, and neither does the port that is meant without one.
            let host = host.to_ascii_lowercase();
            format!("{target} for {}", host.strip_suffix(":80").unwrap_or(&host))
        }
        Some(answer) => format!("status {}", answer.status),
        None => "no answer".to_owned(),
    }
}

/// S1, S2, S6, S7: the origin says what it was asked; it must be what this very request asks.
#[tokio::test(flavor = "multi_thread")]
async fn every_target_is_answered_with_what_the_origin_says_of_that_very_target() {
    let (origin, _) = origin(KEPT).await;
    let direct = RespondLayer::new().layer(Upstream::http1(origin));
    let direct = serve(direct).await;
    let cached = serve_cached(&cache(), Profile::safe(), Upstream::http1(origin)).await;
    let (mut hits, mut refused) = (0, 0);
    // Whatever of the first round is stored answers in the second, backwards.
    let rounds = REQUESTS.iter().chain(REQUESTS.iter().rev());
    for (at, (line, fields)) in rounds.enumerate() {
        let user = format!("u{at}.");
        let expected = asked(direct, &user, line, fields).await;
        let answer = asked(cached, &user, line, fields).await;
        let (expected, found) = (seen(expected.as_ref()), seen(answer.as_ref()));
        assert_eq!(found, expected, "{line:?} {fields:?}");
        hits += usize::from(answer.as_ref().is_some_and(Answer::is_hit));
        refused += usize::from(expected.starts_with("status"));
    }
    println!("{} requests: {hits} hits, {refused} refused", 2 * REQUESTS.len());
    assert!(hits >= REQUESTS.len() / 2, "{hits} hits");
}

/// None of these names one host, so nothing of them is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_say_for_whom_it_is_is_never_answered_from_storage() {
    let (origin, _) = origin(KEPT).await;
    let cache = cache();
    let addr = serve_cached(&cache, Profile::reverse_proxy(), Upstream::http1(origin)).await;
    let ambiguous = [
        ("GET /x", ""),
        ("GET /x", "host: "),
        ("GET /x", "host: a\r\nhost: a"),
        ("GET /x", "host: a\r\nhost: b"),
        ("GET /x", "host: u@a"),
        ("GET http://a/x", "host: b"),
        ("GET http://u@a/x", "host: a"),
        ("OPTIONS *", "host: a"),
        ("GET *", "host: a"),
    ];
    for (line, fields) in ambiguous {
        for user in ["alice", "bob"] {
            let fields = if fields.is_empty() { "x-none: 1" } else { fields };
            if let Some(answer) = asked(addr, user, line, fields).await {
                let refused = (400..600).contains(&answer.status);
                assert!(refused || made_for(&answer) == user, "{line:?} {fields:?}: {answer:?}");
            }
            assert_eq!(cache.figures().records, 0, "{line:?} {fields:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_wants_the_connection_is_never_kept_or_answered_from_storage() {
    let (origin, calls) = origin(KEPT).await;
    let cache = cache();
    let addr = serve_cached(&cache, Profile::safe(), Upstream::http1(origin)).await;
    let fields = "host: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    for user in ["alice", "bob"] {
        assert_eq!(made_for(&ask_as(addr, user, "GET /ws", fields).await), user);
    }
    assert_eq!((calls.count(), cache.figures().records), (2, 0));
    // What others may have is not for who wants something else.
    ask_as(addr, "alice", "GET /ws", "host: a\r\n").await;
    assert_eq!(made_for(&ask_as(addr, "bob", "GET /ws", fields).await), "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_scheme_and_authority_tell_answers_apart() {
    let (origin, calls) = origin(KEPT).await;
    let addr = serve_cached(&cache(), Profile::safe(), Upstream::http1(origin)).await;
    let targets = ["http://a/x", "https://a/x", "http://b/x", "http://a:81/x", "https://a:80/x"];
    for round in ["first", "second"] {
        for target in targets {
            let request = Request::get(target).header("x-user", format!("{target} {round}"));
            let request = request.body(Full::default()).unwrap();
            let answer = http2(addr).await.send_request(request).await.unwrap();
            assert_eq!(answer.headers()["x-made-for"], format!("{target} first"));
            answer.into_body().collect().await.unwrap();
        }
    }
    assert_eq!(calls.count(), targets.len());
}

/// S7: a page of one user, asked for under names that look like files of all.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_looks_like_a_file_makes_nothing_cacheable() {
    let suffixes = [
        ".css",
        ".js",
        "/a.css",
        "/a.png",
        ";a.css",
        "%2fa.css",
        "%00.css",
        "%23a.css",
        "%3fa.css",
        "?a.css",
        "/..%2fstatic/a.js",
        "/%2e%2e/a.ico",
        "/",
        "%0a.css",
        "..css",
        ".css?v=1",
    ];
    let answers = [
        "",
        "content-type: text/css",
        "cache-control: private",
        "cache-control: no-cache",
        "last-modified: Sat, 01 Jan 2000 00:00:00 GMT\nset-cookie: id=1",
        "cache-control: max-age=60\nvary: *",
    ];
    for profile in [Profile::safe(), Profile::reverse_proxy()] {
        for fields in answers {
            let (origin, _) = origin(fields).await;
            let addr = serve_cached(&cache(), profile.clone(), Upstream::http1(origin)).await;
            for suffix in suffixes {
                for user in ["alice", "bob"] {
                    let cookie = format!("host: a\r\ncookie: id={user}\r\n");
                    let line = format!("GET /account{suffix}");
                    let answer = ask_as(addr, user, &line, &cookie).await;
                    assert_eq!(made_for(&answer), user, "{suffix:?} {fields:?}");
                }
            }
        }
    }
}
