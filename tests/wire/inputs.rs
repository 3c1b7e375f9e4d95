//! S4 to S6: what a request brings along that no key holds. It reaches the origin of nobody else's
//! answer, or there is no other answer.

use crate::row::{
    Door,
    Outcome::{Apart, Kept, Refused},
    Row, echo, kept, plays, row,
};

const BOB: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n";

fn eve(fields: &str) -> String {
    format!("GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n{fields}\n\n")
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = dropped();
    rows.extend(believed());
    rows.extend(asked_with());
    rows.extend(bodies());
    rows.extend(queries());
    rows
}

/// Fields that origins reflect. The origin here reflects all it is told: these it is not told.
fn dropped() -> Vec<Row> {
    [
        "forwarded: host=evil.example;proto=https",
        "forwarded: for=evil",
        "x-forwarded-for: evil",
        "x-forwarded-host: evil.example",
        "X-FORWARDED-HOST: evil.example\nx-forwarded-host: a",
        "x-forwarded-proto: evil",
        "x-forwarded-scheme: evil",
        "x-forwarded-port: evil",
        "x-forwarded-server: evil.example",
        "x-forwarded-prefix: /evil",
        "x-forwarded-path: /evil",
        "x-forwarded-ssl: evil",
        "x-forwarded-user: evil",
        "x-forwarded-unheard-of: evil",
        "x-original-url: /evil",
        "x-rewrite-url: /evil",
        "x-http-method-override: evil",
        "proxy-authorization: evil",
        "proxy-connection: evil",
        "keep-alive: evil",
        "te: evil",
        "connection: x-evil\nx-evil: evil",
    ]
    .into_iter()
    .map(|field| row("S4", field, kept(), eve(field), BOB, Kept, Kept))
    .collect()
}

/// The same from a proxy that is trusted: what it says is in the key, or there is nothing to keep.
fn believed() -> Vec<Row> {
    [
        ("x-forwarded-host: evil.example", Apart, Apart),
        ("x-forwarded-host: A:80", Kept, Kept),
        ("x-forwarded-proto: https", Apart, Apart),
        ("x-forwarded-proto: HTTP", Kept, Kept),
        ("forwarded: host=evil.example", Apart, Apart),
        ("forwarded: proto=https;for=192.0.2.1", Apart, Apart),
        ("x-forwarded-host: a, evil.example", Apart, Apart),
        ("x-forwarded-host: evil.example\nforwarded: host=a", Refused(400), Refused(400)),
        ("x-forwarded-host: evil@a", Refused(400), Refused(400)),
        ("x-forwarded-host: a/evil", Refused(400), Refused(400)),
        ("x-forwarded-proto: gopher", Refused(400), Refused(400)),
        ("forwarded: host=\"evil", Refused(400), Refused(400)),
        ("forwarded: host=a;host=evil", Refused(400), Refused(400)),
        ("x-forwarded-for: 192.0.2.1\nforwarded: for=192.0.2.2", Refused(400), Refused(400)),
        // These it may say, but no key has them; `reverse-proxy` leaves that to those it trusts.
        ("x-original-url: /other", Apart, Kept),
        ("x-rewrite-url: /other", Apart, Kept),
        ("x-http-method-override: DELETE", Apart, Kept),
        ("x-forwarded-prefix: /other", Apart, Kept),
    ]
    .into_iter()
    .map(|(field, safe, reverse_proxy)| {
        let name = format!("from a trusted proxy: {field}");
        row("S4", name, kept(), eve(field), BOB, safe, reverse_proxy).at(Door::Trusting)
    })
    .collect()
}

/// What changes an answer by the law, and what caches are told by their clients.
fn asked_with() -> Vec<Row> {
    let varies = "cache-control: public, max-age=60\nvary: x-host, accept-encoding";
    vec![
        row("S4", "varies: x-host", echo(varies), eve("x-host: evil"), BOB, Apart, Apart),
        row("S4", "varies: coding", echo(varies), eve("accept-encoding: evil"), BOB, Apart, Apart),
        row("S4", "no-store", kept(), eve("cache-control: no-store"), BOB, Apart, Apart),
        row("S4", "no-cache fills", kept(), eve("cache-control: no-cache"), BOB, Kept, Kept),
        row(
            "S4",
            "only-if-cached",
            kept(),
            eve("cache-control: only-if-cached"),
            BOB,
            Refused(504),
            Refused(504),
        ),
        // `reverse-proxy` keeps the part, which is a hit for those who ask for no more.
        row(
            "S4",
            "a part is what it is",
            plays([
                "HTTP/1.1 206 Partial Content\ncache-control: public, max-age=60\netag: \"v\"\n\
                 content-range: bytes 0-6/14\ncontent-length: 7\n\nfor USER",
            ]),
            eve("range: bytes=0-6"),
            "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\nrange: bytes=0-6\n\n",
            Apart,
            Kept,
        ),
        row(
            "S4",
            "a part is not the whole",
            plays([
                "HTTP/1.1 206 Partial Content\ncache-control: public, max-age=60\netag: \"v\"\n\
                 content-range: bytes 0-6/14\ncontent-length: 7\n\nfor USER",
                "HTTP/1.1 200 OK\ncache-control: public, max-age=60\netag: \"v\"\n\
                 content-length: 14\n\nfor USER, whole",
            ]),
            eve("range: bytes=0-6"),
            BOB,
            Apart,
            Apart,
        ),
    ]
}

/// S5: a GET with a body may mean something else to its origin.
fn bodies() -> Vec<Row> {
    let smuggled = "GET /smuggled HTTP/1.1\nhost: a\nx-user: Eve\n\n";
    let length = crate::bytes::encoded(smuggled).len();
    let fat = [
        ("with a length", "content-length: 4".to_owned(), "evil".to_owned()),
        ("in chunks", "transfer-encoding: chunked".to_owned(), "4\nevil\n0\n\n".to_owned()),
        // Known to be empty only at its end.
        ("in no chunks", "transfer-encoding: chunked".to_owned(), "0\n\n".to_owned()),
        (
            "in chunks with a trailer",
            "transfer-encoding: chunked\ntrailer: x-evil".to_owned(),
            "4\nevil\n0\nx-evil: evil\n\n".to_owned(),
        ),
        (
            "that is waited for",
            "expect: 100-continue\ncontent-length: 4".to_owned(),
            "evil".to_owned(),
        ),
        ("that is a request", format!("content-length: {length}"), smuggled.to_owned()),
        (
            "that is a request in chunks",
            "transfer-encoding: chunked".to_owned(),
            format!("{length:x}\n{smuggled}\n0\n\n"),
        ),
    ];
    let asks = |user: &str, framing: &str, body: &str| {
        format!("GET /ROW HTTP/1.1\nhost: a\nx-user: {user}\n{framing}\n\n{body}")
    };
    let mut rows = Vec::new();
    for (name, framing, body) in &fat {
        let stored = format!("a body {name} fills nothing");
        rows.push(row("S5", stored, kept(), asks("Eve", framing, body), BOB, Apart, Apart));
        let answered = format!("a body {name} is not answered from what is stored");
        let body = body.replace("Eve", "Bob").replace("evil", "good");
        let framing = framing.replace("evil", "good");
        let first = eve("accept: a");
        rows.push(row("S5", answered, kept(), first, asks("Bob", &framing, &body), Apart, Apart));
    }
    let none = asks("Eve", "content-length: 0", "");
    rows.push(row("S5", "a length of zero is no body", kept(), none, BOB, Kept, Kept));
    let head = asks("Eve", "content-length: 4", "evil").replace("GET", "HEAD");
    rows.push(row("S5", "a HEAD with a body", kept(), head, BOB, Apart, Apart));
    rows
}

/// S6: a query is opaque, whatever else may read it.
fn queries() -> Vec<Row> {
    [
        ("?a=1;b=evil", "?a=1&b=evil"),
        ("?a=1;b=evil", "?a=1"),
        ("?a=1&a=evil", "?a=evil&a=1"),
        ("?a=1&b=2", "?b=2&a=1"),
        ("?a=1%26b=evil", "?a=1&b=evil"),
        ("?%61=evil", "?a=evil"),
        ("?a=+", "?a=%20"),
        ("?a=1&utm_content=evil", "?a=1"),
        ("?utm_content=x;a=evil", "?utm_content=x"),
        ("?a=1&callback=evil", "?a=1"),
        ("?a", "?a="),
        ("?A=1", "?a=1"),
        ("?a=1&", "?a=1"),
        ("?_=evil", ""),
        ("?a[]=1", "?a%5b%5d=1"),
    ]
    .into_iter()
    .map(|(first, second)| {
        let get = |query: &str, user| {
            let query = query.replace("evil", if user == "Bob" { "good" } else { "evil" });
            format!("GET /ROW{query} HTTP/1.1\nhost: a\nx-user: {user}\n\n")
        };
        let name = format!("{first} and {second:?}");
        row("S6", name, kept(), get(first, "Eve"), get(second, "Bob"), Apart, Apart)
    })
    .collect()
}
