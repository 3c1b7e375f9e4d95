//! The same through the gateway as a process, which also says whose a request is.

use crate::{
    echo::{ask_as, made_for, origin},
    process::Gateway,
    support::sockets::client::{Answer, Client, ask, get},
};

const KEPT: &str = "cache-control: public, max-age=60";
const PROFILES: [&str; 2] = ["safe", "reverse-proxy"];

async fn gateway(profile: &str, fields: &'static str) -> Gateway {
    let (origin, _) = origin(fields).await;
    Gateway::before(origin, &["--profile", profile])
}

fn target(answer: &Answer) -> &str {
    answer.text().lines().next().unwrap()
}

/// S4: the gateway's peer is not trusted here, so what it claims reaches neither origin nor key.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_lets_no_field_through_that_could_poison_what_others_get() {
    let fields = [
        "forwarded: host=evil.example;proto=https",
        "x-forwarded-host: evil.example",
        "x-forwarded-proto: evil.example",
        "x-forwarded-scheme: evil.example",
        "x-forwarded-port: evil.example",
        "x-forwarded-server: evil.example",
        "x-forwarded-prefix: /evil.example",
        "x-forwarded-path: /evil.example",
        "x-original-url: /evil.example",
        "x-rewrite-url: /evil.example",
        "x-http-method-override: evil.example",
    ];
    for profile in PROFILES {
        let gateway = gateway(profile, KEPT).await;
        for (at, field) in fields.iter().enumerate() {
            let evil = format!("host: a\r\n{field}\r\n");
            for fields in [&*evil, "host: a\r\n"] {
                let answer = ask_as(gateway.addr, "u", &format!("GET /{at}"), fields).await;
                assert_eq!(answer.status, 200, "{profile}: {field}");
                assert!(!answer.text().contains("evil"), "{profile}: {field}: {answer:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_keeps_hosts_apart_and_refuses_a_request_for_two() {
    let kept = [
        ("GET /x", "host: a", "GET /x for a"),
        ("GET /x", "host: b", "GET /x for b"),
        ("GET /x", "host: a:81", "GET /x for a:81"),
        ("GET /x", "host: A", "GET /x for a"),
        ("GET http://a/x", "host: a", "GET /x for a"),
        ("GET http://b/x", "host: b", "GET /x for b"),
        ("GET /X", "host: a", "GET /X for a"),
        ("GET /x?", "host: a", "GET /x? for a"),
        ("GET //a/x", "host: b", "GET //a/x for b"),
        ("GET /%78", "host: a", "GET /%78 for a"),
    ];
    let refused = [
        ("GET http://a/x", "host: b"),
        ("GET /x", "host: a\r\nhost: b"),
        ("GET /x", "host: a\r\nhost: a"),
        ("GET /x", "x-none: 1"),
        ("GET /x", "host: "),
        ("GET /x", "host: a b"),
        ("GET http://u@a/x", "host: a"),
        ("GET ftp://a/x", "host: a"),
        ("GET *", "host: a"),
        ("GET /x", "host: a\r\nconnection: authorization\r\nauthorization: alice"),
        ("GET /x", "host: a\r\nconnection: cookie\r\ncookie: id=alice"),
        ("GET /x", "host: a\r\nconnection: host"),
    ];
    for profile in PROFILES {
        let gateway = gateway(profile, KEPT).await;
        for round in 0..2 {
            for (line, fields, expected) in kept {
                let answer = ask_as(gateway.addr, "u", line, &format!("{fields}\r\n")).await;
                let found = target(&answer).to_owned();
                let same_host = found.eq_ignore_ascii_case(expected);
                assert!(same_host, "{profile}: {line:?} {fields:?}: {found:?}");
                assert!(answer.is_hit() || round == 0, "{profile}: {line:?} {fields:?}");
            }
            for (line, fields) in refused {
                let answer = ask(gateway.addr, &format!("{line} HTTP/1.1\r\n{fields}\r\n")).await;
                assert_eq!(answer.status, 400, "{profile}: {line:?} {fields:?}");
            }
        }
    }
}

/// The rows of the other files that differ between the profiles, and one that does not.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_profiles_share_what_they_say_and_nothing_else() {
    let rows = [
        ("cache-control: max-age=60", "authorization: Bearer", false, false),
        ("cache-control: private, max-age=60", "x-none:", false, false),
        ("cache-control: max-age=60", "cookie: id=", false, true),
        ("cache-control: max-age=60\nset-cookie: id=1", "x-none:", false, true),
        ("cache-control: public, max-age=60\nvary: cookie", "cookie: id=", false, false),
        ("cache-control: public, max-age=60", "cookie: id=", true, true),
        ("", "x-none:", false, false),
    ];
    for (fields, credentials, safe, reverse_proxy) in rows {
        for (profile, shared) in PROFILES.into_iter().zip([safe, reverse_proxy]) {
            let gateway = gateway(profile, fields).await;
            ask_as(gateway.addr, "alice", "GET /x", &own(credentials, "alice")).await;
            let bob = ask_as(gateway.addr, "bob", "GET /x", &own(credentials, "bob")).await;
            let expected = if shared { "alice" } else { "bob" };
            assert_eq!(made_for(&bob), expected, "{profile}: {fields:?} {credentials:?}");
        }
    }
}

fn own(credentials: &str, user: &str) -> String {
    format!("host: a\r\n{credentials}{user}\r\n")
}

/// S5, with what follows on the same connections to client and origin.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_keeps_nothing_of_a_get_with_a_body_and_smuggles_nothing_in_it() {
    let gateway = gateway("reverse-proxy", KEPT).await;
    let inner = "GET /smuggled HTTP/1.1\r\nhost: a\r\nx-user: mallory\r\n\r\n";
    let framings = [
        ("/sized", format!("content-length: {}\r\n", inner.len()), inner.to_owned()),
        (
            "/chunked",
            "transfer-encoding: chunked\r\n".to_owned(),
            format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()),
        ),
    ];
    for (path, framing, body) in framings {
        let mut client = Client::connect(gateway.addr).await;
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-user: mallory\r\n{framing}\r\n");
        client.send(head + &body).await;
        assert_eq!(made_for(&client.answer(false).await), "mallory");
        let next = format!("GET {path}/next HTTP/1.1\r\nhost: a\r\nx-user: alice\r\n");
        assert_eq!(target(&client.ask(&next).await), format!("GET {path}/next for a"));
        let bob = ask_as(gateway.addr, "bob", &format!("GET {path}"), "host: a\r\n").await;
        assert_eq!(made_for(&bob), "bob", "{path}");
    }
    let smuggled = get(gateway.addr, "/smuggled").await;
    assert_eq!(made_for(&smuggled), "nobody", "{smuggled:?}");
}

/// Where two hops disagree on a request's end, the next one on the connection gets a wrong answer.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_request_whose_end_is_in_doubt_everyone_still_gets_the_answer_to_his_own() {
    let gateway = gateway("safe", KEPT).await;
    let framings = [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 0\r\ncontent-length: 5\r\n",
        "content-length: 5, 5\r\n",
        "content-length: +5\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: identity, chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\tchunked\r\n",
    ];
    for (at, framing) in framings.into_iter().enumerate() {
        for method in ["GET", "POST"] {
            let mut client = Client::connect(gateway.addr).await;
            let head =
                format!("{method} /x HTTP/1.1\r\nhost: a\r\nx-user: mallory\r\n{framing}\r\n");
            let body = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\nx-user: mallory\r\n\r\n";
            client.send(head + body).await;
            client.answer_if_any(false).await;
            // Several, so that each connection to the origin is used again.
            for round in 0..4 {
                let path = format!("/{at}/{method}/{round}");
                let line = format!("GET {path}");
                let alice = ask_as(gateway.addr, "alice", &line, "host: a\r\n").await;
                assert_eq!(made_for(&alice), "alice", "{framing:?}: {alice:?}");
                assert_eq!(target(&alice), format!("GET {path} for a"), "{framing:?}");
            }
        }
    }
}
