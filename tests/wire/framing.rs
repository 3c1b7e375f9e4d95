//! S13, what clients send: where a request ends, all hops agree, or it is refused; and what is for
//! one hop goes no further.

use crate::{
    bytes::encoded,
    row::{
        Outcome::{Apart, Kept, Refused},
        Row, kept, row,
    },
};

const BOB: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n";
/// What would be a request of its own if the one before it ended early.
const INNER: &str = "GET /smuggled HTTP/1.1\nhost: a\nx-user: Eve\n\n";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = doubtful();
    rows.extend(pipelined());
    rows.extend(cut());
    rows.extend(one_hop());
    rows
}

/// Refused, and with them whatever follows on their connection.
fn doubtful() -> Vec<Row> {
    [
        ("two lengths", "content-length: 0\ncontent-length: 5"),
        ("two lengths, the other way round", "content-length: 5\ncontent-length: 0"),
        ("a list of lengths", "content-length: 5, 0"),
        ("a length with a sign", "content-length: +5"),
        ("a length below zero", "content-length: -5"),
        ("a length in another base", "content-length: 0x5"),
        ("a length with a point", "content-length: 5.0"),
        ("a length with a space", "content-length: 5 0"),
        ("a length in quotes", "content-length: \"5\""),
        ("a length too large", "content-length: 18446744073709551621"),
        ("no length", "content-length:"),
        ("a length whose name has a space", "content-length : 5"),
        ("a coding whose name has a space", "transfer-encoding : chunked"),
        ("a coding that is not chunked", "transfer-encoding: xchunked"),
        ("a coding after chunked", "transfer-encoding: chunked, identity"),
        ("identity alone", "transfer-encoding: identity"),
        ("gzip alone", "transfer-encoding: gzip"),
        ("an empty coding", "transfer-encoding:"),
        ("a coding in quotes", "transfer-encoding: \"chunked\""),
        ("a coding with a byte before it", "transfer-encoding: \u{b}chunked"),
        ("a coding on a line that goes on", "transfer-encoding:\n chunked"),
        (
            "a coding after another, and another after it",
            "transfer-encoding: chunked\ntransfer-encoding: x",
        ),
    ]
    .into_iter()
    .map(|(name, framing)| {
        let first = format!("POST /ROW HTTP/1.1\nhost: a\nx-user: Eve\n{framing}\n\n0\n\n{INNER}");
        row("S13", name, kept(), first, BOB, Refused(400), Refused(400))
    })
    .chain([row(
        "S13",
        "chunks in HTTP/1.0",
        kept(),
        format!("POST /ROW HTTP/1.0\nhost: a\ntransfer-encoding: chunked\n\n0\n\n{INNER}"),
        BOB,
        Refused(400),
        Refused(400),
    )])
    .collect()
}

/// Bodies that hold a request, and Ann's own after them on the same connection, as behind a proxy
/// that shares connections. Each is answered with his own.
fn pipelined() -> Vec<Row> {
    let length = encoded(INNER).len();
    let next = "GET /ROW/next HTTP/1.1\nhost: a\nx-user: Ann\n\n";
    let chunk = format!("{length:x}\n{INNER}\n0\n\n");
    let framed = [
        ("a sized body", format!("content-length: {length}"), INNER.to_owned()),
        (
            "a sized body, its length said twice",
            format!("content-length: {length}\ncontent-length: {length}"),
            INNER.to_owned(),
        ),
        ("a body in chunks", "transfer-encoding: chunked".to_owned(), chunk.clone()),
        ("a body in Chunks", "Transfer-Encoding: CHUNKED".to_owned(), chunk.clone()),
        (
            "an extension of a chunk",
            "transfer-encoding: chunked".to_owned(),
            format!("{length:x};a=\"b\"\n{INNER}\n0;evil\n\n"),
        ),
        (
            "zeros before a chunk's size",
            "transfer-encoding: chunked".to_owned(),
            format!("000{length:x}\n{INNER}\n000\n\n"),
        ),
        (
            "trailers",
            "transfer-encoding: chunked\ntrailer: x-sum".to_owned(),
            format!("{length:x}\n{INNER}\n0\nx-sum: 1\n\n"),
        ),
        (
            "trailers that are a request's fields",
            "transfer-encoding: chunked".to_owned(),
            format!("{length:x}\n{INNER}\n0\nhost: evil\nx-user: Eve\ncontent-length: 9\n\n"),
        ),
        ("a tab before the coding", "transfer-encoding:\tchunked".to_owned(), chunk.clone()),
    ];
    let mut rows = Vec::new();
    for method in ["POST", "GET"] {
        for (name, framing, body) in &framed {
            let first =
                format!("{method} /ROW HTTP/1.1\nhost: a\nx-user: Eve\n{framing}\n\n{body}{next}");
            let name = format!("{method}: {name}");
            rows.push(row("S13", name, kept(), first, BOB, Apart, Apart).answered(&["Eve", "Ann"]));
        }
    }
    // RFC 9112 §6.3: with both, the coding counts, and the connection ends with the answer.
    for (name, framing) in [
        ("a length and a coding", "content-length: 5\ntransfer-encoding: chunked"),
        ("a coding and a length", "transfer-encoding: chunked\ncontent-length: 5"),
        ("a length and a coding in capitals", "Content-Length: 5\nTransfer-Encoding: Chunked"),
    ] {
        let first = format!("POST /ROW HTTP/1.1\nhost: a\nx-user: Eve\n{framing}\n\n0\n\n{INNER}");
        rows.push(row("S13", name, kept(), first, BOB, Apart, Apart).answered(&["Eve"]));
    }
    let two = format!("GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n{next}");
    rows.push(
        row(
            "S13",
            "two requests at once",
            kept(),
            two,
            "GET /ROW/next HTTP/1.1\nhost: a\nx-user: Bob\n\n",
            Kept,
            Kept,
        )
        .answered(&["Eve", "Ann"]),
    );
    rows
}

/// Chunks that are none, and bodies that do not end: the request fails, and nothing comes of it.
fn cut() -> Vec<Row> {
    [
        ("a chunk's size that is none", "transfer-encoding: chunked", "x\nevil\n0\n\n"),
        ("a chunk's size with a sign", "transfer-encoding: chunked", "+4\nevil\n0\n\n"),
        ("a chunk's size in another base", "transfer-encoding: chunked", "0x4\nevil\n0\n\n"),
        (
            "a chunk's size too large",
            "transfer-encoding: chunked",
            "10000000000000004\nevil\n0\n\n",
        ),
        ("a chunk's size with a space before it", "transfer-encoding: chunked", " 4\nevil\n0\n\n"),
        ("a chunk longer than its size", "transfer-encoding: chunked", "2\nevil\n0\n\n"),
        ("a chunk's size that ends with LF alone", "transfer-encoding: chunked", "4␊evil\n0\n\n"),
        ("a chunk that ends with LF alone", "transfer-encoding: chunked", "4\nevil␊0\n\n"),
        ("an extension with a LF", "transfer-encoding: chunked", "4;a␊b\nevil\n0\n\n"),
        ("a body cut off", "content-length: 10", "evil<cut>"),
        ("chunks cut off", "transfer-encoding: chunked", "4\nevil\n<cut>"),
        ("a chunk cut off", "transfer-encoding: chunked", "10\nevil<cut>"),
    ]
    .into_iter()
    .map(|(name, framing, body)| {
        let first = format!("POST /ROW HTTP/1.1\nhost: a\nx-user: Eve\n{framing}\n\n{body}");
        row("S13", name, kept(), first, BOB, Refused(400), Refused(400))
    })
    .collect()
}

/// Fields of one connection, and those that pretend to be.
fn one_hop() -> Vec<Row> {
    let named = [
        "host",
        "authorization",
        "cookie",
        "cache-control",
        "pragma",
        "range",
        "expect",
        "via",
        "forwarded",
        "x-forwarded-host",
        "content-length",
        "content-type",
        "accept",
        "accept-encoding",
        "if-none-match",
        "if-modified-since",
    ];
    let mut rows: Vec<Row> = named
        .into_iter()
        .map(|name| {
            let first =
                format!("GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\nconnection: close, {name}\n\n");
            let name = format!("Connection names {name}");
            row("S13", name, kept(), first, BOB, Refused(400), Refused(400))
        })
        .collect();
    for fields in [
        "connection: x-evil\nx-evil: evil",
        "connection: X-Evil , x-other\nx-evil: evil\nx-other: evil",
        "connection: keep-alive\nkeep-alive: evil",
        "connection: ,, x-evil\nx-evil: evil",
        "connection: keep-alive\nconnection: x-evil\nx-evil: evil",
        "proxy-connection: evil",
        "proxy-authorization: Basic evil",
        "te: trailers, evil",
    ] {
        let first = format!("GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n{fields}\n\n");
        rows.push(row("S13", fields, kept(), first, BOB, Kept, Kept));
    }
    rows
}
