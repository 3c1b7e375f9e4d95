//! What a request brings along: a body, another method, fields that no key holds.

use http::Request;
use http_body_util::{BodyExt, Full};
use seawall::{Cache, Profile};
use std::net::SocketAddr;

use crate::{
    echo::{ask_as, made_for, origin},
    support::{
        Calls, cache,
        sockets::{
            Upstream,
            client::{Client, http2},
            serve_cached,
        },
    },
};

const KEPT: &str = "cache-control: public, max-age=60";

async fn kept() -> (SocketAddr, Cache, Calls) {
    let (origin, calls) = origin(KEPT).await;
    let cache = cache();
    let addr = serve_cached(&cache, Profile::safe(), Upstream::http1(origin)).await;
    (addr, cache, calls)
}

/// S5: with a body a GET may mean something else to its origin.
#[tokio::test(flavor = "multi_thread")]
async fn a_get_with_a_body_is_neither_stored_nor_answered_from_storage() {
    let bodies = [
        ("content-length: 5\r\n", "alice"),
        ("transfer-encoding: chunked\r\n", "5\r\nalice\r\n0\r\n\r\n"),
        // An empty body in chunks is known to be empty only at its end.
        ("transfer-encoding: chunked\r\n", "0\r\n\r\n"),
        ("expect: 100-continue\r\ncontent-length: 5\r\n", "alice"),
    ];
    for (framing, body) in bodies {
        let (addr, cache, calls) = kept().await;
        for user in ["alice", "bob"] {
            let mut client = Client::connect(addr).await;
            let head = format!("GET /x HTTP/1.1\r\nhost: a\r\nx-user: {user}\r\n{framing}\r\n");
            client.send(head + body).await;
            let answer = client.answer(false).await;
            assert_eq!(made_for(&answer), user, "{framing:?}");
            assert_eq!(answer.text().ends_with("body: alice\n"), body.contains("alice"));
        }
        assert_eq!((calls.count(), cache.figures().records), (2, 0), "{framing:?}");
        let carol = ask_as(addr, "carol", "GET /x", "host: a\r\n").await;
        assert_eq!(made_for(&carol), "carol", "{framing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_with_a_length_of_zero_is_like_one_without() {
    let (addr, _, calls) = kept().await;
    ask_as(addr, "alice", "GET /x", "host: a\r\n").await;
    let bob = ask_as(addr, "bob", "GET /x", "host: a\r\ncontent-length: 0\r\n").await;
    assert_eq!((made_for(&bob), calls.count()), ("alice", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_a_get_with_data_is_neither_stored_nor_answered_from_storage() {
    let (addr, cache, calls) = kept().await;
    for (user, body) in [("alice", "mine"), ("bob", "mine, too"), ("carol", "")] {
        let request = Request::get("http://a/x").header("x-user", user);
        let request = request.body(Full::from(body)).unwrap();
        let answer = http2(addr).await.send_request(request).await.unwrap();
        assert_eq!(answer.headers()["x-made-for"], user);
        let read = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(read.ends_with(format!("body: {body}\n").as_bytes()), "{read:?}");
    }
    // Only the last had no body.
    assert_eq!((calls.count(), cache.figures().records), (3, 1));
}

/// What follows a body on the connection is the next request, and what is in it is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_inside_the_body_of_a_get_is_never_answered() {
    let (addr, _, calls) = kept().await;
    let inner = "GET /smuggled HTTP/1.1\r\nhost: a\r\nx-user: mallory\r\n\r\n";
    let mut client = Client::connect(addr).await;
    let length = inner.len();
    let head = format!(
        "GET /x HTTP/1.1\r\nhost: a\r\nx-user: alice\r\ncontent-length: {length}\r\n\r\n{inner}"
    );
    client.send(head).await;
    client.send("GET /next HTTP/1.1\r\nhost: a\r\nx-user: bob\r\n\r\n").await;
    let (first, second) = (client.answer(false).await, client.answer(false).await);
    assert_eq!((made_for(&first), made_for(&second)), ("alice", "bob"));
    assert!(second.text().starts_with("GET /next "), "{second:?}");
    assert_eq!(calls.count(), 2);
    let carol = ask_as(addr, "carol", "GET /smuggled", "host: a\r\n").await;
    assert_eq!(made_for(&carol), "carol");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_fills_nothing_and_is_answered_with_the_head_of_a_stored_get() {
    let (addr, cache, calls) = kept().await;
    let alice = ask_as(addr, "alice", "HEAD /x", "host: a\r\n").await;
    assert_eq!((made_for(&alice), alice.body.len()), ("alice", 0));
    assert_eq!(cache.figures().records, 0);
    let bob = ask_as(addr, "bob", "GET /x", "host: a\r\n").await;
    assert_eq!(made_for(&bob), "bob");
    assert!(bob.text().starts_with("GET /x for a\n"), "{bob:?}");
    let carol = ask_as(addr, "carol", "HEAD /x", "host: a\r\n").await;
    assert_eq!((made_for(&carol), carol.body.len(), calls.count()), ("bob", 0, 2));
    let length = bob.body.len().to_string();
    assert_eq!(carol.field("content-length"), Some(&*length));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_never_stored_or_answered_from_storage() {
    let (addr, cache, calls) = kept().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE", "get", "GET2"] {
        for user in ["alice", "bob"] {
            let line = format!("{method} /x");
            let answer = ask_as(addr, user, &line, "host: a\r\ncontent-length: 0\r\n").await;
            assert_eq!(made_for(&answer), user, "{method}");
        }
        assert_eq!(cache.figures().records, 0, "{method}");
    }
    assert_eq!(calls.count(), 18);
}

/// S4: what an origin may reflect, though no key holds it. One client must not choose with it what
/// the others are answered.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_request_with_fields_that_origins_reflect_is_not_stored() {
    let fields = [
        "forwarded: host=evil.example",
        "x-forwarded-host: evil.example",
        "x-forwarded-proto: evil.example",
        "x-forwarded-scheme: evil.example",
        "x-forwarded-port: evil.example",
        "x-forwarded-server: evil.example",
        "x-forwarded-prefix: evil.example",
        "x-forwarded-path: evil.example",
        "x-forwarded-ssl: evil.example",
        "x-forwarded-user: evil.example",
        "X-Forwarded-Host: a\r\nX-FORWARDED-HOST: evil.example",
        "x-original-url: /evil.example",
        "x-rewrite-url: /evil.example",
        "x-http-method-override: evil.example",
    ];
    for field in fields {
        let (addr, cache, calls) = kept().await;
        let evil = format!("host: a\r\n{field}\r\n");
        let mallory = ask_as(addr, "mallory", "GET /x", &evil).await;
        assert!(mallory.text().contains("evil.example"), "the origin reflects {field}");
        assert_eq!(cache.figures().records, 0, "{field}");
        let alice = ask_as(addr, "alice", "GET /x", "host: a\r\n").await;
        assert_eq!((made_for(&alice), calls.count()), ("alice", 2), "{field}");
        assert!(!alice.text().contains("evil.example"), "{field}");
    }
}

/// Nor do those who ask at the same time share what such a request is answered with.
#[tokio::test(flavor = "multi_thread")]
async fn a_flight_with_fields_that_origins_reflect_is_not_shared() {
    let (origin, calls) = origin(KEPT).await;
    let slow = tower::service_fn(move |request: Request<hyper::body::Incoming>| async move {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        tower::ServiceExt::oneshot(Upstream::http1(origin), request).await
    });
    let cache = cache();
    let addr = serve_cached(&cache, Profile::safe(), slow).await;
    let evil = "host: a\r\nx-forwarded-host: evil.example\r\n";
    let mallory = ask_as(addr, "mallory", "GET /x", evil);
    let alice = async {
        crate::support::sockets::eventually("flying", || cache.figures().flights == 1).await;
        ask_as(addr, "alice", "GET /x", "host: a\r\n").await
    };
    let (mallory, alice) = tokio::join!(mallory, alice);
    assert_eq!((made_for(&mallory), made_for(&alice)), ("mallory", "alice"));
    assert!(!alice.text().contains("evil.example"));
    assert_eq!(calls.count(), 2);
}
