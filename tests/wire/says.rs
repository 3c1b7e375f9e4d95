//! S22: what an answer says of the store. Every row of every table is checked for what it must not
//! say; here is what it does.

use crate::row::{
    Outcome::{Apart, Kept, Refused},
    Row, echo, kept, plays, row,
};

const BOB: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n";
const EVE: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n";

pub(crate) fn rows() -> Vec<Row> {
    let post = "POST /ROW HTTP/1.1\nhost: a\nx-user: Bob\ncontent-length: 0\n\n";
    let no_cache = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\ncache-control: no-cache\n\n";
    let varies = echo("cache-control: max-age=60\nvary: x-user");
    let says = |name: &str, origin, first: &str, second: &str, outcome, has: &'static str| {
        row("S22", name, origin, first, second, outcome, outcome).has(has)
    };
    let stored = "; stored\r\n";
    vec![
        says("a hit", kept(), EVE, BOB, Kept, "\r\ncache-status: seawall; hit\r\n"),
        says("a hit has an age", kept(), EVE, BOB, Kept, "\r\nage: "),
        says("a miss", echo(""), EVE, BOB, Apart, "cache-status: seawall; fwd="),
        says("another method", kept(), EVE, post, Apart, "cache-status: seawall; fwd=method"),
        says(
            "what is asked anew",
            kept(),
            EVE,
            no_cache,
            Apart,
            "cache-status: seawall; fwd=request",
        ),
        says("what is stored", varies, EVE, BOB, Apart, stored),
        // The status of another cache stands before ours, and is not taken for it.
        says(
            "a cache behind",
            echo("cache-control: no-store\ncache-status: seawall; hit; key=x"),
            "GET /ROW/other HTTP/1.1\nhost: b\nx-user: Eve\n\n",
            BOB,
            Apart,
            "seawall; fwd=",
        ),
        row(
            "S22",
            "asked for what is not stored",
            kept(),
            "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\ncache-control: only-if-cached\n\n",
            BOB,
            Refused(504),
            Refused(504),
        ),
        row(
            "S22",
            "asked about the cache",
            plays(["HTTP/1.1 200 OK\ncache-control: max-age=60\ncontent-length: 7\n\nfor USER"]),
            "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\npragma: akamai-x-get-cache-key\n\
             x-cache-debug: 1\nfastly-debug: 1\ncache-status: evil\n\n",
            BOB,
            Kept,
            Kept,
        ),
    ]
}
