//! S13 and S21, what the origin sends: nothing is stored before its end is there and right, and what
//! comes after its end is nobody's answer.

use crate::row::{
    Outcome::{Apart, Broken, Kept},
    Row, plays, row,
};

const BOB: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n";
const EVE: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n";
const FINE: &str = "HTTP/1.1 200 OK\ncache-control: max-age=60\ncontent-length: 7\n\nfor USER";
const HEAD: &str = "HTTP/1.1 200 OK\ncache-control: max-age=60\n";

fn first_of(answer: &str) -> crate::row::Origin {
    plays([answer, FINE])
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = broken();
    rows.extend(cut());
    rows.extend(ended());
    rows.extend(more());
    rows.extend(one_hop());
    rows
}

/// Answers that are none.
fn broken() -> Vec<Row> {
    [
        ("two lengths", "content-length: 7\ncontent-length: 8\n\nfor Eve!"),
        ("a length and a shorter one", "content-length: 8\ncontent-length: 7\n\nfor Eve!"),
        ("a list of lengths", "content-length: 7, 8\n\nfor Eve!"),
        ("a length that is none", "content-length: seven\n\nfor Eve"),
        ("a length with a sign", "content-length: +7\n\nfor Eve"),
        ("a length below zero", "content-length: -7\n\nfor Eve"),
        ("a length too large", "content-length: 18446744073709551623\n\nfor Eve"),
        ("a chunk's size that is none", "transfer-encoding: chunked\n\nx\nfor Eve\n0\n\n"),
        ("a chunk's size with a sign", "transfer-encoding: chunked\n\n+7\nfor Eve\n0\n\n"),
        ("a chunk longer than its size", "transfer-encoding: chunked\n\n5\nfor Eve\n0\n\n"),
        (
            "a chunk's size too large",
            "transfer-encoding: chunked\n\n10000000000000007\nfor Eve\n0\n\n",
        ),
    ]
    .into_iter()
    .map(|(name, rest)| {
        let origin = first_of(&format!("{HEAD}{rest}<cut>"));
        row("S13", format!("an answer with {name}"), origin, EVE, BOB, Broken, Broken)
    })
    .chain([
        row("S13", "no answer", first_of("<cut>"), EVE, BOB, Broken, Broken),
        row("S13", "no HTTP", first_of("for Eve\n\n<cut>"), EVE, BOB, Broken, Broken),
        row("S13", "half a head", first_of("HTTP/1.1 200 OK\nca<cut>"), EVE, BOB, Broken, Broken),
        row(
            "S13",
            "another protocol",
            first_of(
                "HTTP/1.1 101 Switching Protocols\nconnection: upgrade\nupgrade: evil\n\n\
                 for Eve<cut>",
            ),
            EVE,
            BOB,
            Broken,
            Broken,
        ),
        row(
            "S13",
            "a status that is none",
            first_of(&FINE.replace("200 OK", "20 OK")),
            EVE,
            BOB,
            Broken,
            Broken,
        ),
    ])
    .collect()
}

/// S21: bodies whose end does not come.
fn cut() -> Vec<Row> {
    [
        ("a head alone", "content-length: 14\n\n<cut>"),
        ("half a body", "content-length: 14\n\nfor Eve<cut>"),
        ("all of a body but a byte", "content-length: 8\n\nfor Eve<cut>"),
        ("no last chunk", "transfer-encoding: chunked\n\n7\nfor Eve\n<cut>"),
        ("half a chunk", "transfer-encoding: chunked\n\ne\nfor Eve<cut>"),
        ("no end of the last chunk", "transfer-encoding: chunked\n\n7\nfor Eve\n0\n<cut>"),
        ("half a trailer", "transfer-encoding: chunked\n\n7\nfor Eve\n0\nx-sum<cut>"),
        ("half a chunk's size", "transfer-encoding: chunked\n\n7\nfor Eve\n1<cut>"),
    ]
    .into_iter()
    .map(|(name, rest)| {
        row("S21", name, first_of(&format!("{HEAD}{rest}")), EVE, BOB, Broken, Broken)
    })
    .chain([row(
        "S21",
        "half a body, asked for on a condition",
        first_of(&format!("{HEAD}etag: \"v\"\ncontent-length: 14\n\nfor Eve<cut>")),
        "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\nif-none-match: \"w\"\n\n",
        BOB,
        Broken,
        Broken,
    )])
    .collect()
}

/// Bodies whose end is right, and those whose end is the connection's: a cut looks the same.
fn ended() -> Vec<Row> {
    [
        ("a length", "content-length: 7\n\nfor USER", Kept, Kept),
        ("a length said twice", "content-length: 7\ncontent-length: 7\n\nfor USER", Kept, Kept),
        ("chunks", "transfer-encoding: chunked\n\n7\nfor USER\n0\n\n", Kept, Kept),
        ("Chunks", "Transfer-Encoding: CHUNKED\n\n7\nfor USER\n0\n\n", Kept, Kept),
        ("an extension", "transfer-encoding: chunked\n\n7;a=b\nfor USER\n0\n\n", Kept, Kept),
        ("trailers", "transfer-encoding: chunked\n\n7\nfor USER\n0\nx-sum: 1\n\n", Kept, Kept),
        // RFC 9112 §6.3: the coding counts.
        (
            "both",
            "content-length: 3\ntransfer-encoding: chunked\n\n7\nfor USER\n0\n\n<cut>",
            Kept,
            Kept,
        ),
        // RFC 9112 §8: for at most a minute, as a cut looks the same.
        ("the connection", "\nfor USER<cut>", Apart, Kept),
        ("the connection, said so", "connection: close\n\nfor USER<cut>", Apart, Kept),
        ("identity", "transfer-encoding: identity\n\nfor USER<cut>", Apart, Kept),
        ("a coding unheard of", "transfer-encoding: evil\n\nfor USER<cut>", Apart, Kept),
    ]
    .into_iter()
    .map(|(name, rest, safe, reverse_proxy)| {
        let lines = if rest.starts_with('\n') {
            HEAD.trim_end_matches('\n').to_owned() + "\n"
        } else {
            HEAD.to_owned()
        };
        let origin = plays([&format!("{lines}{rest}")]);
        row("S13", format!("a body that ends with {name}"), origin, EVE, BOB, safe, reverse_proxy)
    })
    .chain([
        row(
            "S13",
            "HTTP/1.0, a body that ends with the connection",
            plays(["HTTP/1.0 200 OK\ncache-control: max-age=60\n\nfor USER<cut>"]),
            EVE,
            BOB,
            Apart,
            Kept,
        ),
        row(
            "S13",
            "HTTP/1.0 with a length",
            plays([
                "HTTP/1.0 200 OK\ncache-control: max-age=60\ncontent-length: 7\n\nfor USER<cut>",
            ]),
            EVE,
            BOB,
            Kept,
            Kept,
        ),
    ])
    .collect()
}

/// Bytes after an answer's end, on a connection that is used again: the next one asks for something
/// else, and gets that.
fn more() -> Vec<Row> {
    const EVIL: &str = "HTTP/1.1 200 OK\ncache-control: max-age=60\ncontent-length: 4\n\nevil";
    const NEXT: &str = "GET /ROW/next HTTP/1.1\nhost: a\nx-user: Bob\n\n";
    [
        ("another answer", format!("{FINE}{EVIL}")),
        ("another answer, some time later", format!("{FINE}<later>{EVIL}")),
        ("half an answer, some time later", format!("{FINE}<later>HTTP/1.1 200 OK\nx-evil: ")),
        ("a line, some time later", format!("{FINE}<later>\n")),
        ("half an answer", format!("{FINE}HTTP/1.1 200 OK\ncontent-length: 4\nx-evil")),
        ("more of the body than its length", format!("{FINE} and evil")),
        ("a line", format!("{FINE}\n")),
        (
            "an answer after chunks",
            format!("{HEAD}transfer-encoding: chunked\n\n7\nfor USER\n0\n\n{EVIL}"),
        ),
        ("an answer after no content", format!("HTTP/1.1 204 No Content\nx-for: USER\n\n{EVIL}")),
        (
            "a body of no content",
            "HTTP/1.1 204 No Content\nx-for: USER\ncontent-length: 4\n\nevil".to_owned(),
        ),
        (
            "a body of not modified",
            "HTTP/1.1 304 Not Modified\nx-for: USER\ncontent-length: 4\n\nevil".to_owned(),
        ),
        ("an interim answer", format!("{FINE}HTTP/1.1 103 Early Hints\nlink: evil\n\n")),
        (
            "a request for time",
            format!("{FINE}HTTP/1.1 408 Request Timeout\nx-evil: evil\ncontent-length: 0\n\n"),
        ),
    ]
    .into_iter()
    .map(|(name, answer)| {
        let name = format!("after an answer comes {name}");
        row("S13", name, first_of(&answer), EVE, NEXT, Apart, Apart)
    })
    .chain([
        row(
            "S13",
            "a body to a HEAD",
            first_of(&FINE.replacen('\n', "\nx-for: USER\n", 1)),
            "HEAD /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n",
            BOB,
            Apart,
            Apart,
        ),
        row(
            "S13",
            "interim answers are not the answer",
            plays([&format!(
                "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nlink: evil\n\n{FINE}"
            )]),
            EVE,
            BOB,
            Kept,
            Kept,
        ),
    ])
    .collect()
}

/// Fields of the connection with the origin are not given to those who ask later.
fn one_hop() -> Vec<Row> {
    [
        "connection: x-evil\nx-evil: evil",
        "connection: keep-alive, X-Evil\nx-evil: evil",
        "connection: ,x-evil\nconnection: x-more\nx-evil: evil\nx-more: evil",
        "keep-alive: evil",
        "proxy-connection: evil",
        "proxy-authenticate: Basic realm=\"evil\"",
        "proxy-authentication-info: nextnonce=\"evil\"",
        "te: evil",
        "trailer: x-evil",
        "upgrade: evil/1.0",
    ]
    .into_iter()
    .map(|fields| {
        let answer = format!("{HEAD}{fields}\ncontent-length: 7\n\nfor USER");
        row("S13", fields, plays([&answer]), EVE, BOB, Kept, Kept)
    })
    .collect()
}
