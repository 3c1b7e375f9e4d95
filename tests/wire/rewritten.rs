//! S4 and S13, what the gateway itself changes on the way: codings, fields that `Connection` names,
//! and what it tells the origin of the client. An answer that depends on them is not for all.

use crate::row::{
    Door,
    Outcome::{Apart, Broken, Kept, Refused},
    Row, echo, kept, plays, row,
};

const BOB: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n";
const EVE: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = requests();
    rows.extend(answers());
    rows.extend(told());
    rows
}

/// RFC 9112 §6.1: a coding that is not understood is refused, and chunks are not put in chunks.
/// What is passed on without its coding is another body.
fn requests() -> Vec<Row> {
    [
        ("a coding under chunks", "transfer-encoding: gzip, chunked", 501),
        (
            "a coding under chunks, line by line",
            "transfer-encoding: gzip\ntransfer-encoding: chunked",
            501,
        ),
        ("chunks in chunks", "transfer-encoding: chunked, chunked", 400),
        (
            "chunks in chunks, line by line",
            "transfer-encoding: chunked\ntransfer-encoding: chunked",
            400,
        ),
    ]
    .into_iter()
    .map(|(name, framing, status)| {
        let first =
            format!("POST /ROW HTTP/1.1\nhost: a\nx-user: Eve\n{framing}\n\n4\nevil\n0\n\n");
        row("S13", name, kept(), first, BOB, Refused(status), Refused(status))
    })
    .collect()
}

fn answers() -> Vec<Row> {
    let head = "HTTP/1.1 200 OK\ncache-control: max-age=60\n";
    let chunk = "7\nfor USER\n0\n\n";
    // RFC 9112 §6.1 and §7: what is not undone is no content, and is nobody's.
    let mut rows: Vec<Row> = [
        ("gzip, chunked", chunk),
        ("gzip\ntransfer-encoding: chunked", chunk),
        ("unheard-of, chunked", chunk),
        ("chunked, chunked", chunk),
        ("chunked\ntransfer-encoding: chunked", chunk),
        ("chunked, gzip", "for Eve<cut>"),
        ("chunked,", "7\nfor Eve\n0\n\n<cut>"),
        ("gzip", "for Eve<cut>"),
        ("X-GZIP", "for Eve<cut>"),
        ("deflate;q=1", "for Eve<cut>"),
        ("compress", "for Eve<cut>"),
    ]
    .into_iter()
    .map(|(coding, body)| {
        let coded = format!("{head}transfer-encoding: {coding}\n\n{body}");
        let origin = plays([&coded, &format!("{head}content-length: 7\n\nfor USER")]);
        row("S13", format!("an answer in {coding}"), origin, EVE, BOB, Broken, Broken)
    })
    .collect();
    // RFC 9110 §7.6.1: a field that is for all is never one connection's. To leave it out would
    // make an answer everyone's that is not.
    rows.extend(
        [
            ("vary", "connection: vary\nvary: x-user", Apart, Apart),
            ("Vary: *", "connection: close, Vary\nvary: *", Apart, Apart),
            ("set-cookie", "connection: set-cookie\nset-cookie: id=Eve", Apart, Kept),
            ("no-store", "connection: cache-control\ncache-control: no-store", Apart, Apart),
            ("expires", "connection: expires\nexpires: 0", Kept, Kept),
            ("age", "connection: age\nage: 60", Apart, Apart),
            ("content-encoding", "connection: content-encoding\ncontent-encoding: x", Kept, Kept),
            (
                "a targeted field",
                "connection: cdn-cache-control\ncdn-cache-control: no-store",
                Kept,
                Apart,
            ),
        ]
        .into_iter()
        .map(|(name, fields, safe, reverse_proxy)| {
            let origin = plays([&format!("{head}{fields}\ncontent-length: 7\n\nfor USER")]);
            row("S13", format!("Connection names {name}"), origin, EVE, BOB, safe, reverse_proxy)
        }),
    );
    rows
}

/// Two clients of one trusted proxy, and answers that vary by which of them it is, or how he came.
fn told() -> Vec<Row> {
    [
        ("x-forwarded-for", "x-forwarded-for: 192.0.2.1", "x-forwarded-for: 192.0.2.2", Apart),
        ("X-Forwarded-For, accept", "x-forwarded-for: 192.0.2.1", "x-none: 1", Apart),
        ("forwarded", "forwarded: for=192.0.2.1", "forwarded: for=192.0.2.2", Apart),
        ("forwarded", "x-forwarded-for: 192.0.2.1", "forwarded: for=192.0.2.2", Apart),
        ("via", "via: 1.0 one", "via: 1.0 other", Apart),
        ("via", "x-none: 1", "via: 1.0 other", Apart),
        // These two are part of the key.
        ("x-forwarded-proto", "x-forwarded-proto: http", "x-forwarded-proto: https", Apart),
        ("x-forwarded-proto", "x-forwarded-proto: http", "forwarded: proto=http", Kept),
        ("x-forwarded-host", "x-forwarded-host: b", "x-forwarded-host: c", Apart),
        ("x-forwarded-host", "x-forwarded-host: b", "forwarded: host=b", Kept),
        ("x-forwarded-host", "x-forwarded-for: 192.0.2.1", "forwarded: for=192.0.2.2", Kept),
    ]
    .into_iter()
    .map(|(vary, first, second, outcome)| {
        let get =
            |user, fields| format!("GET /ROW HTTP/1.1\nhost: a\nx-user: {user}\n{fields}\n\n");
        let origin = echo(format!("cache-control: public, max-age=60\nvary: {vary}"));
        let name = format!("varies by {vary}: {first}, then {second}");
        row("S4", name, origin, get("Bob", first), get("Eve", second), outcome, outcome)
            .at(Door::Trusting)
    })
    .chain([row(
        "S4",
        "varies by via: HTTP/1.1, then HTTP/1.0",
        echo("cache-control: public, max-age=60\nvary: via"),
        EVE,
        "GET /ROW HTTP/1.0\nhost: a\nx-user: Bob\nconnection: keep-alive\n\n",
        Apart,
        Apart,
    )])
    .collect()
}
