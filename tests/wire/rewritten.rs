//! S4 and S13, what the gateway itself changes on the way: codings, fields that `Connection` names,
//! and what it tells the origin of the client. An answer that depends on them is not for all.

use crate::row::{
    Door,
    Outcome::{Apart, Kept, Refused},
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
    let coded =
        |coding: &str| plays([&format!("{head}transfer-encoding: {coding}\n\n7\nfor USER\n0\n\n")]);
    let named = |fields: &str| plays([&format!("{head}{fields}\ncontent-length: 7\n\nfor USER")]);
    vec![
        row("S13", "an answer coded under chunks", coded("gzip, chunked"), EVE, BOB, Apart, Apart),
        // RFC 9110 §7.6.1: a field that is for all is never one connection's. To leave it out would
        // make an answer everyone's that is not.
        row(
            "S13",
            "Connection names vary",
            named("connection: vary\nvary: x-user"),
            EVE,
            BOB,
            Apart,
            Apart,
        ),
        row(
            "S13",
            "Connection names Vary: *",
            named("connection: close, Vary\nvary: *"),
            EVE,
            BOB,
            Apart,
            Apart,
        ),
        row(
            "S13",
            "Connection names set-cookie",
            named("connection: set-cookie\nset-cookie: id=Eve"),
            EVE,
            BOB,
            Apart,
            Kept,
        ),
    ]
}

/// Two clients of one trusted proxy, and answers that vary by which of them it is.
fn told() -> Vec<Row> {
    [
        ("x-forwarded-for", "x-forwarded-for: 192.0.2.1", "x-forwarded-for: 192.0.2.2"),
        ("X-Forwarded-For, accept", "x-forwarded-for: 192.0.2.1", "x-none: 1"),
        ("forwarded", "forwarded: for=192.0.2.1", "forwarded: for=192.0.2.2"),
        ("forwarded", "x-forwarded-for: 192.0.2.1", "forwarded: for=192.0.2.2"),
    ]
    .into_iter()
    .map(|(vary, first, second)| {
        let get =
            |user, fields| format!("GET /ROW HTTP/1.1\nhost: a\nx-user: {user}\n{fields}\n\n");
        let origin = echo(format!("cache-control: public, max-age=60\nvary: {vary}"));
        let name = format!("varies by {vary}: {first}, then {second}");
        row("S4", name, origin, get("Bob", first), get("Eve", second), Apart, Apart)
            .at(Door::Trusting)
    })
    .collect()
}
