//! S14 to S16, as far as single requests show them: what is too large is passed on, and not kept.

use crate::{
    play::MAX_BODY,
    row::{
        Outcome::{self, Apart, Kept},
        Row, echo, plays, row,
    },
};

const FOR: &str = "HTTP/1.1 200 OK\ncache-control: max-age=60\ncontent-length: 7\n\nfor USER";
const BOB: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n";
const EVE: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = keys();
    rows.extend(bodies());
    rows.extend(heads());
    rows
}

/// S14: keys made long, and as much alike as can be.
fn keys() -> Vec<Row> {
    let asks =
        |path: &str, user: &str| format!("GET /ROW/{path} HTTP/1.1\nhost: a\nx-user: {user}\n\n");
    let pair = |name: &str, first: &str, second: &str, outcome: Outcome| {
        row("S14", name, plays([FOR]), asks(first, "Eve"), asks(second, "Bob"), outcome, outcome)
    };
    let long = "x".repeat(4 << 10);
    let too_long = "x".repeat(9 << 10);
    let parameters = "&a=1".repeat(1_000);
    vec![
        pair("a long key is kept", &long, &long, Kept),
        pair("long keys, the last byte another", &format!("{long}a"), &format!("{long}b"), Apart),
        pair("long keys, one byte longer", &long, &format!("{long}x"), Apart),
        pair("a key too long is not kept", &too_long, &too_long, Apart),
        pair(
            "a key too long for its parameters",
            &format!("?{}", "&a=1".repeat(3_000)),
            &format!("?{}", "&a=1".repeat(3_000)),
            Apart,
        ),
        pair(
            "many parameters, one more",
            &format!("?{parameters}"),
            &format!("?{parameters}&a=1"),
            Apart,
        ),
        // Zeros, as they would stand for lengths.
        pair("zeros", "%00%00%00%00", "%00%00%00", Apart),
        pair("the same letters in another order", "ab/ba", "ba/ab", Apart),
    ]
}

/// S15: bodies up to the largest that is kept.
fn bodies() -> Vec<Row> {
    let head = "HTTP/1.1 200 OK\ncache-control: max-age=60\nx-for: USER\n";
    let sized = |bytes| format!("{head}content-length: {bytes}\n\n{}", "x".repeat(bytes));
    let chunked = |bytes| {
        format!("{head}transfer-encoding: chunked\n\n{bytes:x}\n{}\n0\n\n", "x".repeat(bytes))
    };
    let many = |chunks: usize| {
        let all: String = "400\n".to_owned() + &"x".repeat(1 << 10) + "\n";
        format!("{head}transfer-encoding: chunked\n\n{}0\n\n", all.repeat(chunks))
    };
    let row = |name: &str, answer: String, outcome| {
        row("S15", name, plays([&answer]), EVE, BOB, outcome, outcome)
    };
    vec![
        row("as large as can be", sized(MAX_BODY), Kept),
        row("a byte larger", sized(MAX_BODY + 1), Apart),
        row("a megabyte", sized(1 << 20), Apart),
        row("as large as can be, in one chunk", chunked(MAX_BODY), Kept),
        row("a byte larger, in one chunk", chunked(MAX_BODY + 1), Apart),
        row("as large as can be, in chunks", many(MAX_BODY >> 10), Kept),
        row("a chunk too many", many((MAX_BODY >> 10) + 1), Apart),
        row("nothing", format!("{head}content-length: 0\n\n"), Kept),
    ]
}

/// S16: heads, and what they make the store keep apart.
fn heads() -> Vec<Row> {
    let lines = |many: usize| (0..many).map(|n| format!("x-{n}: 1\n")).collect::<String>();
    let names = |many: usize| (0..many).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(", ");
    let says = |fields: &str| echo(format!("cache-control: max-age=60\n{}", fields.trim_end()));
    let row = |name: &str, fields: &str, outcome| {
        row("S16", name, says(fields), EVE, BOB, outcome, outcome)
    };
    vec![
        row("many fields", &lines(50), Kept),
        row("too many fields", &lines(70), Apart),
        row("a long field", &format!("x-long: {}", "x".repeat(20 << 10)), Kept),
        row("a field too long", &format!("x-long: {}", "x".repeat(33 << 10)), Apart),
        row("as many names in Vary as can be", &format!("vary: {}", names(8)), Kept),
        row("a name too many in Vary", &format!("vary: {}", names(9)), Apart),
        row(
            "a name too many in Vary, line by line",
            &(0..9).map(|n| format!("vary: x-{n}\n")).collect::<String>(),
            Apart,
        ),
        row(
            "as many tags as can be",
            &format!("surrogate-key: {}", names(64).replace(',', "")),
            Kept,
        ),
        row("a tag too many", &format!("surrogate-key: {}", names(65).replace(',', "")), Apart),
        crate::row::row(
            "S16",
            "a variant too long for a key",
            plays([&FOR.replacen('\n', "\nvary: x-long\n", 1)]),
            format!("GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\nx-long: {}\n\n", "x".repeat(9 << 10)),
            format!("GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\nx-long: {}\n\n", "x".repeat(9 << 10)),
            Apart,
            Apart,
        ),
    ]
}
