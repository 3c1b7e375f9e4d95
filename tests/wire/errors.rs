//! S11: an error is its caller's alone, unless the origin says how long it is to last; and nobody
//! can have the origin make an error of another's page.

use crate::row::{
    Origin,
    Outcome::{Apart, Kept, Refused},
    Row, echo, kept, plays, row,
};

const BOB: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Bob\n\n";
const EVE: &str = "GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n\n";

/// What `safe` stores.
const SAFE: [u16; 10] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = statuses();
    rows.extend(made());
    rows
}

fn statuses() -> Vec<Row> {
    let mut rows = Vec::new();
    let all = [
        200, 201, 202, 203, 204, 205, 299, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404,
        405, 406, 408, 409, 410, 411, 413, 414, 415, 417, 421, 422, 425, 426, 428, 429, 431, 451,
        499, 500, 501, 502, 503, 504, 505, 511, 599, 999,
    ];
    for status in all {
        let says = |fields: &str| Origin::Echo(status, format!("{fields}\nlocation: /ROW/x"));
        let safe = if SAFE.contains(&status) || status == 501 { Kept } else { Apart };
        let named = |what: &str| format!("{status} {what}");
        let lasting = says("cache-control: max-age=60");
        rows.push(row("S11", named("with a lifetime"), lasting, EVE, BOB, safe, Kept));
        if status >= 400 {
            let bare = says("x-none: 1");
            rows.push(row("S11", named("with none"), bare, EVE, BOB, Apart, Apart));
        }
    }
    // The rest of what a status says, of some.
    for status in [404, 500, 503] {
        for fields in [
            "etag: \"v\"",
            "last-modified: Sat, 01 Jan 2000 00:00:00 GMT",
            "cache-control: no-store, max-age=60",
            "cache-control: private, max-age=60",
            "cache-control: no-cache",
            "cache-control: max-age=0",
            "cache-control: public",
        ] {
            // With `public` even a guess may be for all; `safe` never guesses.
            let guesses = fields.starts_with("last-modified") && status == 404;
            let guessed = if guesses { Kept } else { Apart };
            let (name, origin) =
                (format!("{status} with {fields}"), Origin::Echo(status, fields.into()));
            rows.push(row("S11", name, origin, EVE, BOB, Apart, guessed));
        }
    }
    let unheard = "cache-control: must-understand, no-store, max-age=60";
    let origin = Origin::Echo(599, unheard.to_owned());
    rows.push(row("S11", "599 that must be understood", origin, EVE, BOB, Apart, Apart));
    rows
}

/// Requests made to fail: what the gateway lets through, the origin refuses without a lifetime.
fn made() -> Vec<Row> {
    const NO: &str = "HTTP/1.1 400 Bad Request\ncontent-length: 7\n\nfor USER";
    const YES: &str = "HTTP/1.1 200 OK\ncache-control: max-age=60\ncontent-length: 7\n\nfor USER";
    let eve = |fields: &str| format!("GET /ROW HTTP/1.1\nhost: a\nx-user: Eve\n{fields}\n\n");
    let long = |bytes| "x".repeat(bytes);
    let many = |fields: usize| {
        let lines: Vec<String> = (0..fields).map(|n| format!("x-{n}: 1")).collect();
        lines.join("\n")
    };
    let row = |name: &str, origin, first: String, outcome| {
        row("S11", name, origin, first, BOB, outcome, outcome)
    };
    vec![
        row(
            "a field too long for the origin",
            plays([NO, YES]),
            eve(&format!("x-long: {}", long(9_000))),
            Apart,
        ),
        row("many fields", plays([NO, YES]), eve(&many(90)), Apart),
        row(
            "a field that takes long to read",
            plays([NO, YES]),
            eve(&format!("cookie: {}", "a=1; ".repeat(1_000))),
            Apart,
        ),
        row("a field in obs-text", plays([NO, YES]), eve("x-meta: \u{ff}\u{80}"), Apart),
        row("a tab in a field", plays([NO, YES]), eve("x-meta: a\tb"), Apart),
        row("a condition that fails", plays([NO, YES]), eve("if-match: \"none\""), Apart),
        row("an expectation", plays([NO, YES]), eve("expect: evil"), Apart),
        row(
            "a wish for another scheme",
            plays([NO, YES]),
            eve("upgrade-insecure-requests: 1"),
            Apart,
        ),
        // The gateway's own limits come before the origin's.
        row("a head too long", kept(), eve(&format!("x-long: {}", long(70_000))), Refused(431)),
        row("more fields than can be", kept(), eve(&many(110)), Refused(431)),
        row("a control byte in a field", kept(), eve("x-meta: a\u{7}b"), Refused(400)),
        row("a DEL in a field", kept(), eve("x-meta: a\u{7f}b"), Refused(400)),
        row("a NUL in a field", kept(), eve("x-meta: a\0b"), Refused(400)),
        row(
            "a method override is not passed on",
            kept(),
            eve("x-http-method-override: evil"),
            Kept,
        ),
        row(
            "a target too long",
            echo("cache-control: max-age=60"),
            format!("GET /ROW/{} HTTP/1.1\nhost: a\n\n", long(66_000)),
            Refused(431),
        ),
    ]
}
