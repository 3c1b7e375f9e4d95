//! S7: a user's own page, asked for under a name that looks like a file of all. Bob follows Eve's
//! link; then she asks for the same.

use crate::row::{
    Outcome::{Apart, Kept},
    Row, echo, row,
};

pub(crate) fn rows() -> Vec<Row> {
    let asks = |path: &str, user: &str| {
        format!("GET /ROW{path} HTTP/1.1\nhost: a\nx-user: {user}\ncookie: id={user}\n\n")
    };
    let mut rows: Vec<Row> = [
        "/account.css",
        "/account.js",
        "/account/a.png",
        "/account;a.css",
        "/account%2fa.css",
        "/account%00.css",
        "/account%23a.css",
        "/account%3fa.css",
        "/account?a.css",
        "/account%0a.css",
        "/account/..%2fstatic/a.js",
        "/account/%2e%2e/a.ico",
        "/static/..%2faccount",
        "/static/../account",
        "/account/robots.txt",
        "/account/index.html",
    ]
    .into_iter()
    .map(|path| {
        let origin = echo("content-type: text/css");
        row("S7", path, origin, asks(path, "Bob"), asks(path, "Eve"), Apart, Apart)
    })
    .collect();
    // What the origin says of it counts, and its name never does.
    let says = [
        ("", Apart, Apart),
        ("content-type: image/png", Apart, Apart),
        ("cache-control: private", Apart, Apart),
        ("cache-control: no-cache", Apart, Apart),
        ("cache-control: no-store", Apart, Apart),
        ("cache-control: private, max-age=60", Apart, Apart),
        ("cache-control: public", Apart, Apart),
        ("expires: 0", Apart, Apart),
        ("cache-control: max-age=60\nvary: *", Apart, Apart),
        ("cache-control: max-age=60\nvary: cookie", Apart, Apart),
        ("last-modified: Sat, 01 Jan 2000 00:00:00 GMT\nset-cookie: id=1", Apart, Apart),
        // A lifetime, said or to be guessed, is for all: `safe` asks once more whether that is meant
        // where there are cookies.
        ("cache-control: max-age=60", Apart, Kept),
        ("last-modified: Sat, 01 Jan 2000 00:00:00 GMT", Apart, Kept),
        ("cache-control: public, max-age=60", Kept, Kept),
    ];
    rows.extend(says.map(|(fields, safe, reverse_proxy)| {
        let (first, second) = (asks("/a.css", "Bob"), asks("/a.css", "Eve"));
        let name = format!("/a.css with {fields:?}");
        row("S7", name, echo(fields), first, second, safe, reverse_proxy)
    }));
    rows.push(row(
        "S7",
        "what is stored for a file's name is not the page's",
        echo("cache-control: public, max-age=60"),
        asks("/account/a.css", "Bob"),
        asks("/account", "Eve"),
        Apart,
        Apart,
    ));
    rows
}
