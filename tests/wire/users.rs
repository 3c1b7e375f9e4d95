//! S8 and S9: who asks. Bob comes first; what is made for him, Eve gets only if the origin says
//! that it is for all.

use crate::row::{
    Outcome::{Apart, Kept},
    Row, echo, plays, row,
};

fn get(user: &str, fields: &str) -> String {
    let end = if fields.is_empty() { "" } else { "\n" };
    format!("GET /ROW HTTP/1.1\nhost: a\nx-user: {user}\n{fields}{end}\n")
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = authorized();
    rows.extend(with_cookies());
    rows.extend(setting_cookies());
    rows.extend(varying());
    rows.extend(validated());
    rows
}

/// S8, RFC 9111 §3.5.
fn authorized() -> Vec<Row> {
    const BOB: &str = "authorization: Bearer Bob";
    const EVE: &str = "authorization: Bearer Eve";
    [
        (BOB, EVE, "", Apart),
        (BOB, EVE, "cache-control: max-age=60", Apart),
        (BOB, EVE, "expires: Fri, 01 Jan 2100 00:00:00 GMT", Apart),
        (BOB, EVE, "cache-control: public, max-age=60", Kept),
        (BOB, EVE, "cache-control: s-maxage=60", Kept),
        (BOB, EVE, "cache-control: must-revalidate, max-age=60", Kept),
        (BOB, EVE, "cache-control: proxy-revalidate, max-age=60", Apart),
        (BOB, EVE, "cache-control: private, max-age=60", Apart),
        (BOB, EVE, "cache-control: private, public, max-age=60", Apart),
        (BOB, EVE, "cache-control: no-store, public, max-age=60", Apart),
        (BOB, EVE, "cache-control: no-cache, public, max-age=60", Apart),
        (BOB, EVE, "cache-control: s-maxage=0, public, max-age=60", Apart),
        (BOB, EVE, "cache-control: x=\"public\", max-age=60", Apart),
        // With and without, either way round.
        (BOB, "", "cache-control: max-age=60", Apart),
        ("authorization:", "", "cache-control: max-age=60", Apart),
        ("Authorization: Basic Qm9iOg==", "", "cache-control: max-age=60", Apart),
        ("authorization: \u{e9}", "", "cache-control: max-age=60", Apart),
        ("authorization: a\nauthorization: b", "", "cache-control: max-age=60", Apart),
        ("", EVE, "cache-control: max-age=60", Apart),
        ("", EVE, "cache-control: public, max-age=60", Kept),
    ]
    .into_iter()
    .map(|(bob, eve, fields, outcome)| {
        let name = format!("{bob:?}, then {eve:?}, with {fields:?}");
        row("S8", name, echo(fields), get("Bob", bob), get("Eve", eve), outcome, outcome)
    })
    .collect()
}

/// S9: requests with cookies.
fn with_cookies() -> Vec<Row> {
    const BOB: &str = "cookie: id=Bob";
    const EVE: &str = "cookie: id=Eve";
    [
        (BOB, EVE, "", Apart, Apart),
        (BOB, EVE, "cache-control: max-age=60", Apart, Kept),
        (BOB, EVE, "cache-control: must-revalidate, max-age=60", Apart, Kept),
        (BOB, EVE, "cache-control: public, max-age=60", Kept, Kept),
        (BOB, EVE, "cache-control: s-maxage=60", Kept, Kept),
        (BOB, EVE, "cache-control: private, max-age=60", Apart, Apart),
        (BOB, EVE, "cache-control: no-store", Apart, Apart),
        (BOB, "", "cache-control: max-age=60", Apart, Kept),
        ("", EVE, "cache-control: max-age=60", Apart, Kept),
        ("cookie:", "", "cache-control: max-age=60", Apart, Kept),
        ("Cookie: a=1\nCookie: id=Bob", "", "cache-control: max-age=60", Apart, Kept),
        (BOB, "authorization: Eve", "cache-control: max-age=60", Apart, Apart),
    ]
    .into_iter()
    .map(|(bob, eve, fields, safe, reverse_proxy)| {
        let name = format!("{bob:?}, then {eve:?}, with {fields:?}");
        row("S9", name, echo(fields), get("Bob", bob), get("Eve", eve), safe, reverse_proxy)
    })
    .collect()
}

/// S9: answers that set one.
fn setting_cookies() -> Vec<Row> {
    [
        ("set-cookie: id=Bob", Apart, Apart),
        ("set-cookie: id=Bob\ncache-control: public", Apart, Apart),
        ("set-cookie: id=Bob\nlast-modified: Sat, 01 Jan 2000 00:00:00 GMT", Apart, Apart),
        ("set-cookie: id=Bob\nexpires: 0", Apart, Apart),
        ("set-cookie: id=Bob\ncache-control: private, max-age=60", Apart, Apart),
        ("set-cookie: id=Bob\ncache-control: no-store, max-age=60", Apart, Apart),
        ("set-cookie: id=Bob\ncache-control: max-age=60", Apart, Kept),
        ("Set-Cookie: id=Bob\nCache-Control: public, s-maxage=60", Apart, Kept),
        ("set-cookie: a=1\nset-cookie: id=Bob\ncache-control: max-age=60", Apart, Kept),
        ("set-cookie:\ncache-control: max-age=60", Apart, Kept),
    ]
    .into_iter()
    .map(|(fields, safe, reverse_proxy)| {
        let name = format!("with {fields:?}");
        row("S9", name, echo(fields), get("Bob", ""), get("Eve", ""), safe, reverse_proxy)
    })
    .collect()
}

/// S8 and S9: answers that vary by who asks.
fn varying() -> Vec<Row> {
    const ALL: &str = "cache-control: public, max-age=60";
    [
        ("S8", "authorization: Bob", "authorization: Eve", "vary: authorization", Apart, Apart),
        ("S8", "authorization: Bob", "authorization: Bob", "vary: Authorization", Apart, Kept),
        ("S8", "authorization: Bob", "", "vary: authorization", Apart, Apart),
        ("S8", "", "", "vary: accept, AUTHORIZATION", Apart, Kept),
        ("S8", "", "", "vary: accept\nvary: authorization", Apart, Kept),
        ("S8", "", "", "vary: proxy-authorization", Apart, Kept),
        ("S9", "cookie: id=Bob", "cookie: id=Eve", "vary: cookie", Apart, Apart),
        ("S9", "cookie: id=Bob", "cookie: id=Bob", "vary: Cookie", Apart, Kept),
        ("S9", "cookie: id=Bob", "", "vary: accept-encoding, cookie", Apart, Apart),
        ("S9", "cookie: a=1\ncookie: id=Bob", "cookie: a=1", "vary: cookie", Apart, Apart),
        ("S9", "", "", "vary: *", Apart, Apart),
        ("S9", "", "", "vary: accept, *", Apart, Apart),
        ("S9", "", "", "vary: accept\nvary: *", Apart, Apart),
        ("S9", "", "", "vary: x user", Apart, Apart),
        ("S9", "", "", "vary: x-user", Apart, Apart),
        ("S9", "", "", "vary: X-USER", Apart, Apart),
    ]
    .into_iter()
    .map(|(hazard, bob, eve, vary, safe, reverse_proxy)| {
        let (name, origin) =
            (format!("{vary:?} of {bob:?} and {eve:?}"), echo(format!("{ALL}\n{vary}")));
        row(hazard, name, origin, get("Bob", bob), get("Eve", eve), safe, reverse_proxy)
    })
    .collect()
}

/// S9: what the answer to one user's validation says, and who is told. Bob asks twice.
fn validated() -> Vec<Row> {
    const STALE: &str = "HTTP/1.1 200 OK\netag: \"v\"\ncache-control: public, max-age=0\n\
                         content-length: 7\n\nfor USER";
    const NEXT: &str = "HTTP/1.1 200 OK\ncontent-length: 7\n\nfor USER";
    let twice = get("Bob", "") + &get("Bob", "");
    let validated = |name: &str, fields: &str, safe, reverse_proxy| {
        let said = format!("HTTP/1.1 304 Not Modified\netag: \"v\"\n{fields}\n\n");
        row(
            "S9",
            name,
            plays([STALE, &said, NEXT]),
            twice.clone(),
            get("Eve", ""),
            safe,
            reverse_proxy,
        )
        .answered(&["Bob", "Bob"])
    };
    let fresh = "cache-control: public, max-age=60";
    vec![
        validated("a 304 that gives a lifetime", fresh, Kept, Kept),
        validated("a 304 that sets a cookie", &format!("{fresh}\nset-cookie: id=Bob"), Kept, Kept)
            .in_reverse_proxy("set-cookie: id=Bob"),
        validated("a 304 that becomes private", "cache-control: private, max-age=60", Apart, Apart),
        validated("a 304 that becomes no-store", "cache-control: no-store", Apart, Apart),
        validated("a 304 that varies by all", &format!("{fresh}\nvary: *"), Apart, Apart),
        validated("a 304 that varies by cookies", &format!("{fresh}\nvary: cookie"), Apart, Apart),
        validated(
            "a 304 for one connection",
            &format!("{fresh}\nconnection: x-evil\nx-evil: evil\nproxy-authenticate: evil"),
            Kept,
            Kept,
        ),
        validated(
            "a 304 with a field that is private",
            "cache-control: public, max-age=60, private=\"x-secret\"\nx-secret: evil",
            Kept,
            Kept,
        ),
    ]
}
