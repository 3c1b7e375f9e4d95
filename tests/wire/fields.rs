//! S12: fields that end early, go on, or hold what is no text. What is stored is given to others
//! byte by byte, or not at all.

use crate::row::{
    Outcome::{Apart, Broken, Kept, Refused},
    Row, kept, plays, row,
};

const BOB: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n";
const EVE: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = answered();
    rows.extend(asked());
    rows
}

/// Heads of the origin's, line by line after the status line.
fn answered() -> Vec<Row> {
    let head = |lines: &str| {
        format!(
            "HTTP/1.1 200 OK\ncache-control: max-age=60\n{lines}\ncontent-length: 7\n\nfor USER"
        )
    };
    const FINE: &str = "HTTP/1.1 200 OK\ncache-control: max-age=60\ncontent-length: 7\n\nfor USER";
    let kept = [
        ("obs-text", "x-odd: caf\u{e9}\u{80}\u{ff}", "x-odd: caf\u{e9}\u{80}\u{ff}"),
        ("UTF-8", "x-odd: \u{c3}\u{a9}", "x-odd: \u{c3}\u{a9}"),
        ("a tab", "x-odd: a\tb", "x-odd: a\tb"),
        ("nothing", "x-odd:", "x-odd:"),
        ("an encoded line's end", "x-odd: a%0d%0ax: b", "x-odd: a%0d%0ax: b"),
        ("what looks like an escape", "x-odd: a\\r\\nb", "x-odd: a\\r\\nb"),
        ("quotes that do not end", "x-odd: \"a", "x-odd: \"a"),
        ("a tag in obs-text", "etag: \"\u{e9}\"", "etag: \"\u{e9}\""),
        ("a name of odd but lawful bytes", "x!#$%&'*+.^_`|~: a", "x!#$%&'*+.^_`|~: a"),
    ];
    let mut rows: Vec<Row> = kept
        .into_iter()
        .map(|(name, lines, has)| {
            row("S12", format!("{name} is kept"), plays([&head(lines)]), EVE, BOB, Kept, Kept)
                .has(has)
        })
        .collect();
    let broken = [
        ("a CR in a value", "x-odd: a\rset-cookie: evil"),
        ("a NUL in a value", "x-odd: a\0evil"),
        ("a control byte in a value", "x-odd: a\u{8}evil"),
        ("a value that goes on", "x-odd: a\n evil"),
        ("a NUL in a name", "x-\0evil: a"),
        ("a space in a name", "x evil: a"),
        ("obs-text in a name", "x-\u{e9}vil: a"),
        ("a space after the name", "x-evil : a"),
        ("no name", ": evil"),
        ("no colon", "evil"),
    ];
    rows.extend(broken.map(|(name, lines)| {
        row("S12", name, plays([&head(lines), FINE]), EVE, BOB, Broken, Broken)
    }));
    let phrase = FINE.replace("200 OK", "200 Evil\u{e9}");
    rows.push(row("S12", "a phrase is not kept", plays([&phrase]), EVE, BOB, Kept, Kept));
    rows
}

/// Heads of clients'.
fn asked() -> Vec<Row> {
    [
        ("a CR in a value", "x-odd: a\rx-evil: b"),
        ("a NUL in a value", "x-odd: a\0b"),
        ("a value that goes on", "x-odd: a\n evil"),
        ("a first field that goes on", " evil: a"),
        ("a space in a name", "x evil: a"),
        ("a space after the name", "x-evil : a"),
        ("a tab after the name", "x-evil\t: a"),
        ("obs-text in a name", "x-\u{e9}vil: a"),
        ("no name", ": evil"),
        ("no colon", "evil"),
        ("two colons in a name", "(evil): a"),
    ]
    .into_iter()
    .map(|(name, lines)| {
        let first = format!("GET /ROW HTTP/1.1\n{lines}\nhost: a\nx-user: Eve\n\n");
        let name = format!("a request with {name}");
        row("S12", name, kept(), first, BOB, Refused(400), Refused(400))
    })
    .chain([
        // Decoded by nobody on the way, these are letters like any other.
        row(
            "S12",
            "an encoded line's end in the target",
            kept(),
            "GET /ROW?%0d%0aset-cookie:%20evil HTTP/1.1\nhost: a\nx-user: Eve\n\n",
            BOB,
            Apart,
            Apart,
        ),
        row(
            "S12",
            "a character whose low byte is a line's end",
            kept(),
            "GET /ROW?%E5%98%8A%E5%98%8Devil HTTP/1.1\nhost: a\nx-user: Eve\n\n",
            BOB,
            Apart,
            Apart,
        ),
        row(
            "S12",
            "lines that end with LF alone mean what they say",
            kept(),
            "GET /ROW HTTP/1.1␊host: a␊x-user: Eve␊␊",
            BOB,
            Kept,
            Kept,
        ),
        row(
            "S12",
            "a field of one line is no end of the head",
            kept(),
            "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\nx-odd: a\r\r\n\n",
            BOB,
            Refused(400),
            Refused(400),
        ),
    ])
    .collect()
}
