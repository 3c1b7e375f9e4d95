//! S1 to S3: what tells answers apart. Host, path and query are opaque, and none can pass for part
//! of another; a target that is odd is refused, or it is its own.

use crate::row::{
    Door,
    Outcome::{Apart, Kept, Refused},
    Row, echo, kept, plays, row,
};

const FOR: &str =
    "HTTP/1.1 200 OK\ncache-control: public, max-age=60\ncontent-length: 7\n\nfor USER";
/// The one who asks for `/ROW` at the host `a`, and what he asks.
const BOB: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = targets();
    rows.extend(methods());
    rows.extend(refused());
    rows.extend(apart());
    rows.extend(variants());
    rows
}

/// How the first names what it asks for, and whether `/ROW` at the host `a` is that.
fn targets() -> Vec<Row> {
    [
        ("S1", "the same host", "GET /ROW", "host: a", Kept),
        ("S1", "another host", "GET /ROW", "host: b", Apart),
        ("S1", "a host in another letter case", "GET /ROW", "host: A", Kept),
        ("S1", "a host within another", "GET /ROW", "host: a.b", Apart),
        ("S1", "a host above another", "GET /ROW", "host: b.a", Apart),
        ("S1", "a host with a dot at its end", "GET /ROW", "host: a.", Apart),
        ("S1", "another port", "GET /ROW", "host: a:81", Apart),
        ("S1", "the port of another scheme", "GET /ROW", "host: a:443", Apart),
        ("S1", "the default port", "GET /ROW", "host: a:80", Kept),
        ("S1", "a port without digits", "GET /ROW", "host: a:", Apart),
        ("S1", "an address", "GET /ROW", "host: [::1]", Apart),
        ("S1", "a target with the host", "GET http://a/ROW", "host: a", Kept),
        ("S1", "a target with another host", "GET http://b/ROW", "host: b", Apart),
        ("S1", "a target in capitals", "GET HTTP://A:80/ROW", "host: a", Kept),
        // The connection says which scheme it is, not whoever sends over it.
        ("S1", "a target with another scheme", "GET https://a/ROW", "host: a", Kept),
        ("S2", "two slashes", "GET //ROW", "host: a", Apart),
        ("S2", "a path that looks like a host", "GET //b/ROW", "host: a", Apart),
        ("S2", "a path that looks like a target", "GET /http://a/ROW", "host: a", Apart),
        ("S2", "a slash at the end", "GET /ROW/", "host: a", Apart),
        ("S2", "a dot", "GET /./ROW", "host: a", Apart),
        ("S2", "two dots", "GET /x/../ROW", "host: a", Apart),
        ("S2", "two encoded dots", "GET /x/%2e%2e/ROW", "host: a", Apart),
        ("S2", "two dots and an encoded slash", "GET /x/..%2fROW", "host: a", Apart),
        ("S2", "an encoded NUL", "GET /ROW%00", "host: a", Apart),
        ("S2", "an encoded line's end", "GET /ROW%0d%0a", "host: a", Apart),
        // No more than the origin is told of it is in the key.
        ("S2", "a fragment", "GET /ROW#evil", "host: a", Kept),
        ("S2", "an encoded fragment", "GET /ROW%23evil", "host: a", Apart),
        ("S3", "an empty query", "GET /ROW?", "host: a", Apart),
        ("S3", "a query", "GET /ROW?a", "host: a", Apart),
        ("S3", "an encoded query", "GET /ROW%3fa", "host: a", Apart),
        ("S3", "a port in the path", "GET /:81/ROW", "host: a", Apart),
    ]
    .into_iter()
    .map(|(hazard, name, line, host, outcome)| {
        let first = format!("{line} HTTP/1.1\n{host}\nx-user: Eve\n\n");
        row(hazard, name, kept(), first, BOB, outcome, outcome)
    })
    .collect()
}

/// Who asks otherwise is asked about apart, and fills nothing.
fn methods() -> Vec<Row> {
    let mut rows: Vec<_> = ["HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE", "get"]
        .into_iter()
        .chain(["PROPFIND", "SEARCH", "PURGE", "GETX"])
        .map(|method| {
            let first =
                format!("{method} /ROW HTTP/1.1\nhost: a\nx-user: Eve\ncontent-length: 0\n\n");
            row("S1", format!("the method {method}"), kept(), first, BOB, Apart, Apart)
        })
        .collect();
    rows.extend([
        row(
            "S1",
            "a HEAD is answered with the head of what a GET has stored",
            kept(),
            "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n",
            "HEAD /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n",
            Kept,
            Kept,
        ),
        // RFC 9110 §9.3.3: `reverse-proxy` keeps it for GET.
        row(
            "S1",
            "a POST whose answer says that it is the target's",
            echo("cache-control: public, max-age=60\ncontent-location: /ROW"),
            "POST /ROW HTTP/1.1\nhost: a\nx-user: Eve\ncontent-length: 4\n\nsend",
            BOB,
            Apart,
            Kept,
        ),
        row(
            "S1",
            "HTTP/1.0 with a host",
            plays([FOR]),
            "GET /ROW HTTP/1.0\nhost: a\nx-user: Eve\nconnection: keep-alive\n\n",
            BOB,
            Kept,
            Kept,
        ),
        row(
            "S2",
            "an empty line before the request",
            plays([FOR]),
            "\nGET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n",
            BOB,
            Kept,
            Kept,
        ),
        row(
            "S1",
            "HTTP/1.0 without a host is for the origin itself",
            plays([FOR]),
            "GET /ROW HTTP/1.0\nx-user: Eve\nconnection: keep-alive\n\n",
            BOB,
            Apart,
            Apart,
        ),
        row(
            "S1",
            "a trusted proxy says another host",
            kept(),
            "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\nx-forwarded-host: evil.example\n\n",
            BOB,
            Apart,
            Apart,
        )
        .at(Door::Trusting),
        row(
            "S1",
            "a trusted proxy says another scheme",
            kept(),
            "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\nx-forwarded-proto: https\n\n",
            BOB,
            Apart,
            Apart,
        )
        .at(Door::Trusting),
        row(
            "S1",
            "a trusted proxy names another scheme in its target",
            kept(),
            "GET https://a/ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n",
            BOB,
            Apart,
            Apart,
        )
        .at(Door::Trusting),
        row(
            "S2",
            "a query without a path",
            kept(),
            "GET http://a?ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n",
            "GET /?ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n",
            Kept,
            Kept,
        ),
    ]);
    rows
}

/// Requests that say two things, or nothing, about what they are for.
fn refused() -> Vec<Row> {
    [
        ("two hosts", "GET http://b/ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n", 400),
        ("two Host fields", "GET /ROW HTTP/1.1\nhost: a\nhost: evil\nx-user: Eve\n\n", 400),
        ("two equal Host fields", "GET /ROW HTTP/1.1\nhost: a\nhost: a\nx-user: Eve\n\n", 400),
        ("no Host", "GET /ROW HTTP/1.1\nx-user: Eve\n\n", 400),
        ("no Host but in the target", "GET http://a/ROW HTTP/1.1\nx-user: Eve\n\n", 400),
        ("an empty Host", "GET /ROW HTTP/1.1\nhost:\nx-user: Eve\n\n", 400),
        ("a Host with a path", "GET /ROW HTTP/1.1\nhost: a/b\nx-user: Eve\n\n", 400),
        ("a Host with a query", "GET /ROW HTTP/1.1\nhost: a?b\nx-user: Eve\n\n", 400),
        ("a Host with a fragment", "GET /ROW HTTP/1.1\nhost: a#b\nx-user: Eve\n\n", 400),
        ("a Host with a user name", "GET /ROW HTTP/1.1\nhost: evil@a\nx-user: Eve\n\n", 400),
        ("a Host that is a list", "GET /ROW HTTP/1.1\nhost: a, evil\nx-user: Eve\n\n", 400),
        ("a Host with a space", "GET /ROW HTTP/1.1\nhost: a b\nx-user: Eve\n\n", 400),
        ("a Host with a scheme", "GET /ROW HTTP/1.1\nhost: http://a\nx-user: Eve\n\n", 400),
        ("a Host in obs-text", "GET /ROW HTTP/1.1\nhost: \u{e4}\nx-user: Eve\n\n", 400),
        ("a port that is none", "GET /ROW HTTP/1.1\nhost: a:b\nx-user: Eve\n\n", 400),
        ("a port too large", "GET /ROW HTTP/1.1\nhost: a:65616\nx-user: Eve\n\n", 400),
        ("a target with a user name", "GET http://evil@a/ROW HTTP/1.1\nhost: a\n\n", 400),
        ("a target of another protocol", "GET ftp://a/ROW HTTP/1.1\nhost: a\n\n", 400),
        ("a target that is a host", "GET a:80 HTTP/1.1\nhost: a:80\n\n", 400),
        ("a target that is no path", "GET ROW HTTP/1.1\nhost: a\n\n", 400),
        ("a target with a space", "GET /ROW evil HTTP/1.1\nhost: a\n\n", 400),
        ("a target with a NUL", "GET /ROW\0 HTTP/1.1\nhost: a\n\n", 400),
        ("a target with a CR", "GET /ROW\revil HTTP/1.1\nhost: a\n\n", 400),
        ("no target", "GET HTTP/1.1\nhost: a\n\n", 400),
        ("no version", "GET /ROW\nhost: a\n\n", 400),
        ("a version that is none", "GET /ROW HTTP/1.9\nhost: a\n\n", 400),
        ("a version in small letters", "GET /ROW http/1.1\nhost: a\n\n", 400),
        ("a method that is none", "G(T /ROW HTTP/1.1\nhost: a\n\n", 400),
        ("everything", "GET * HTTP/1.1\nhost: a\n\n", 400),
        ("options of everything", "OPTIONS * HTTP/1.1\nhost: a\n\n", 400),
        ("CONNECT to a host", "CONNECT a:80 HTTP/1.1\nhost: a:80\n\n", 501),
        ("CONNECT to a path", "CONNECT /ROW HTTP/1.1\nhost: a\n\n", 501),
        (
            "Upgrade to WebSocket",
            "GET /ROW HTTP/1.1\nhost: a\nconnection: upgrade\nupgrade: websocket\n\n",
            501,
        ),
        (
            "Upgrade to HTTP/2",
            "GET /ROW HTTP/1.1\nhost: a\nconnection: upgrade, http2-settings\nupgrade: h2c\n\
             http2-settings: AAMAAABk\n\n",
            501,
        ),
        ("Upgrade without Connection", "GET /ROW HTTP/1.1\nhost: a\nupgrade: h2c\n\n", 501),
    ]
    .into_iter()
    .map(|(name, first, status)| {
        row("S2", name, kept(), first, BOB, Refused(status), Refused(status))
    })
    .collect()
}

/// Pairs of targets that would be one if their parts were put together, or read, another way.
fn apart() -> Vec<Row> {
    [
        ("the query's beginning", "/ROW/x?y", "/ROW?x/y"),
        ("the query's second beginning", "/ROW?x?y", "/ROW?x%3fy"),
        ("where the path ends", "/ROW/x?y", "/ROW/?xy"),
        ("whether there is a query", "/ROW/xy", "/ROW/x?y"),
        ("an encoded slash", "/ROW/x%2fy", "/ROW/x/y"),
        ("an encoded letter", "/ROW/%78", "/ROW/x"),
        ("letter case in an encoding", "/ROW/%2f", "/ROW/%2F"),
        ("letter case in the path", "/ROW/X", "/ROW/x"),
        ("a parameter of the path", "/ROW;x", "/ROW"),
        ("a byte that could be part of a key", "/ROW/1", "/ROW/1%01"),
        ("a backslash", "/ROW\\x", "/ROW/x"),
    ]
    .into_iter()
    .map(|(name, first, second)| {
        let get = |target, user| format!("GET {target} HTTP/1.1\nhost: a\nx-user: {user}\n\n");
        row("S3", name, kept(), get(first, "Eve"), get(second, "Bob"), Apart, Apart)
    })
    .collect()
}

/// Fields that `Vary` names: what would be one if they were only put together.
fn variants() -> Vec<Row> {
    [
        ("one variant", "x-a: 1\nx-b: 2", "x-a: 1\nx-b: 2", Kept),
        ("where one value ends", "x-a: 12\nx-b: 3", "x-a: 1\nx-b: 23", Apart),
        ("where one list ends", "x-a: 1, 2\nx-b: 3", "x-a: 1\nx-b: 2, 3", Apart),
        ("in which field it stands", "x-a: 1", "x-b: 1", Apart),
        ("an empty field", "x-a:", "x-c: 1", Apart),
        ("a field and none", "x-a: 1", "x-c: 1", Apart),
        ("a list that ends early", "x-a: 1", "x-a: 1\nx-a: 2", Apart),
        ("what stands in quotes", "x-a: \"1, 2\"", "x-a: \"1,2\"", Apart),
        ("letter case", "x-a: A", "x-a: a", Apart),
        ("obs-text", "x-a: \u{e9}", "x-a: \u{e8}", Apart),
    ]
    .into_iter()
    .map(|(name, first, second, outcome)| {
        let get =
            |fields, user| format!("GET /ROW HTTP/1.1\nhost: a\nx-user: {user}\n{fields}\n\n");
        let origin = echo("cache-control: public, max-age=60\nvary: x-a, X-B");
        row("S3", name, origin, get(first, "Eve"), get(second, "Bob"), outcome, outcome)
    })
    .collect()
}
