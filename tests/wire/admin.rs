//! S20: nobody invalidates over the public port, and a web page not over the operator's.

use crate::row::{
    Door::Admin,
    Outcome::{Apart, Kept, Refused},
    Row, kept, plays, row,
};

const ANN: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Ann\n\n";
const BOB: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = public();
    rows.extend(operators());
    rows
}

/// To the gateway these are methods like any other, and paths like any other.
fn public() -> Vec<Row> {
    const STORED: &str =
        "HTTP/1.1 200 OK\ncache-control: max-age=60\ncontent-length: 7\n\nfor USER";
    const NOT: &str = "HTTP/1.1 405 Method Not Allowed\ncontent-length: 7\n\nfor USER";
    let mut rows: Vec<Row> = [
        "PURGE /ROW",
        "PURGE http://a/ROW",
        "BAN /ROW",
        "REFRESH /ROW",
        "INVALIDATE /ROW",
        "PURGEALL /",
        "DELETE /ROW",
        "POST /invalidate?all",
        "POST /invalidate?uri=http://a/ROW",
    ]
    .into_iter()
    .map(|line| {
        let first = format!("{line} HTTP/1.1\nhost: a\nx-user: Eve\ncontent-length: 0\n\n");
        let origin = plays([STORED, NOT]);
        // What is stored stays: the origin has not done it.
        row("S20", line, origin, format!("{ANN}{first}"), BOB, Kept, Kept)
    })
    .map(|mut row| {
        row.first = row.first.split_off(ANN.len());
        row.before(ANN)
    })
    .collect();
    for fields in [
        "cache-control: no-cache\npragma: no-cache",
        "x-purge: 1",
        "surrogate-key: x",
        "cache-tag: x",
        "fastly-purge: 1",
        "clear-site-data: \"cache\"",
    ] {
        // Of a GET only the newer answer counts.
        let first = format!("GET /ROW/other HTTP/1.1\nhost: a\nx-user: Eve\n{fields}\n\n");
        rows.push(row("S20", fields, plays([STORED, NOT]), first, BOB, Kept, Kept).before(ANN));
    }
    // RFC 9111 §4.4: one host's answers invalidate nothing of another's.
    for fields in ["location: http://a/ROW", "content-location: http://a/ROW", "location: //a/ROW"]
    {
        let done = format!("HTTP/1.1 201 Created\nx-for: USER\n{fields}\ncontent-length: 0\n\n");
        let first = "POST /ROW/other HTTP/1.1\nhost: b\nx-user: Eve\ncontent-length: 0\n\n";
        let name = format!("from another host: {fields}");
        rows.push(row("S20", name, plays([STORED, &done]), first, BOB, Kept, Kept).before(ANN));
    }
    for fields in ["location: http://b/ROW", "content-location: http://b:81/ROW"] {
        let done = format!("HTTP/1.1 201 Created\nx-for: USER\n{fields}\ncontent-length: 0\n\n");
        let first = "POST /ROW/other HTTP/1.1\nhost: a\nx-user: Eve\ncontent-length: 0\n\n";
        let name = format!("of another host: {fields}");
        rows.push(row("S20", name, plays([STORED, &done]), first, BOB, Kept, Kept).before(ANN));
    }
    rows.push(
        row(
            "S20",
            "what the origin itself has deleted is gone",
            plays([STORED, "HTTP/1.1 204 No Content\nx-for: USER\n\n", STORED]),
            "DELETE /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n",
            BOB,
            Apart,
            Apart,
        )
        .before(ANN),
    );
    rows
}

/// On loopback, without a token. What Ann has been given stays stored.
fn operators() -> Vec<Row> {
    [
        ("host: localhost\norigin: http://evil.example", 403),
        ("host: localhost\norigin: http://localhost", 403),
        ("host: localhost\norigin: null", 403),
        ("host: localhost\nOrigin:", 403),
        ("host: evil.example", 403),
        ("host: evil.example:8081", 403),
        ("host: localhost.evil.example", 403),
        ("host: 127.0.0.1.evil.example", 403),
        ("host: evil@127.0.0.1", 403),
        ("host: 127.0.0.1@evil.example", 403),
        ("host: 0.0.0.0", 403),
        ("host: 10.0.0.1", 403),
        ("host: localhost.", 403),
        ("host: 2130706433", 403),
        ("host:", 403),
        ("x-none: 1", 403),
        ("host: localhost\nhost: evil.example", 403),
        ("host: evil.example\nx-forwarded-host: localhost", 403),
        ("host: evil.example\nforwarded: host=localhost", 403),
    ]
    .into_iter()
    .map(|(fields, status)| {
        let first = format!(
            "POST /invalidate?all HTTP/1.1\n{fields}\nconnection: close\ncontent-length: 0\n\n"
        );
        let name = format!("to the operator: {fields}");
        (name, first, status)
    })
    .chain(
        [
            ("a target elsewhere", "POST http://evil.example/invalidate?all", 403),
            ("a GET", "GET /invalidate?all", 405),
            ("a HEAD", "HEAD /invalidate?all", 405),
            ("a PUT", "PUT /invalidate?all", 405),
            ("PURGE", "PURGE /", 404),
            ("another path", "POST /invalidate/?all", 404),
            ("a path to find", "POST //invalidate?all", 404),
            ("nothing", "POST /invalidate", 400),
            ("two things", "POST /invalidate?all&tag=x", 400),
            ("what is unknown", "POST /invalidate?everything", 400),
            ("no URL", "POST /invalidate?uri=%00", 400),
            ("a status to change", "POST /status", 405),
        ]
        .map(|(name, line, status)| {
            let first = format!(
                "{line} HTTP/1.1\nhost: localhost\nconnection: close\ncontent-length: 0\n\n"
            );
            (format!("to the operator: {name}"), first, status)
        }),
    )
    .map(|(name, first, status)| {
        row("S20", name, kept(), first, BOB, Refused(status), Refused(status)).at(Admin).before(ANN)
    })
    .collect()
}
