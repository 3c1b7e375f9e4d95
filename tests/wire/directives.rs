//! S10: directives in any form; of what cannot be read, or disagrees, the strictest counts.

use crate::row::{
    Outcome::{self, Apart, Kept},
    Row, echo, row,
};

pub(crate) fn rows() -> Vec<Row> {
    let same = RESPONSES.iter().map(|&(fields, outcome)| (fields, outcome, outcome));
    same.chain(TARGETED)
        .map(|(fields, safe, reverse_proxy)| {
            let get = |user| format!("GET /ROW HTTP/1.1\nhost: a\nx-user: {user}\n\n");
            row("S10", fields, echo(fields), get("Bob"), get("Eve"), safe, reverse_proxy)
        })
        .collect()
}

const RESPONSES: [(&str, Outcome); 42] = [
    ("cache-control: max-age=60", Kept),
    ("cache-control: MAX-AGE=60", Kept),
    ("CACHE-CONTROL: Max-Age=060", Kept),
    ("cache-control:max-age=60", Kept),
    ("cache-control: \t max-age=60 \t ", Kept),
    ("Cache-Control: max-age=60, PRIVATE", Apart),
    ("cache-control: max-age=60, No-Store", Apart),
    ("cache-control: max-age=60, nO-cAcHe", Apart),
    ("cache-control: max-age=60\ncache-control: private", Apart),
    ("cache-control: no-store\ncache-control: max-age=60", Apart),
    ("cache-control: max-age=60\nx-between: 1\nCache-Control: no-store", Apart),
    ("cache-control: max-age=60,,  ,private", Apart),
    ("cache-control: ,max-age=60", Kept),
    ("cache-control: max-age=60,\tprivate", Apart),
    ("cache-control: max-age=60,private", Apart),
    ("cache-control: max-age=60, max-age=0", Apart),
    ("cache-control: max-age=0, max-age=60", Apart),
    ("cache-control: s-maxage=0, max-age=60", Apart),
    ("cache-control: s-maxage=x, max-age=60", Apart),
    ("cache-control: max-age=-1", Apart),
    ("cache-control: max-age=60.5", Apart),
    ("cache-control: max-age=6e1", Apart),
    ("cache-control: max-age=0x60", Apart),
    ("cache-control: max-age='60'", Apart),
    ("cache-control: max-age=\"60\"", Kept),
    ("cache-control: max-age=\"60", Apart),
    ("cache-control: max-age=", Apart),
    ("cache-control: max-age", Apart),
    ("cache-control: max-age = 60", Apart),
    ("cache-control: max-age=60; private", Apart),
    ("cache-control: max-age=99999999999999999999", Kept),
    ("cache-control: max-age=60, private=", Apart),
    ("cache-control: max-age=60, private=\"a b\"", Apart),
    ("cache-control: max-age=60, private=\"\"", Apart),
    ("cache-control: max-age=60, private=\"x-none\"", Kept),
    ("cache-control: private=\"x-none\", private, max-age=60", Apart),
    ("cache-control: max-age=60, no-store=\"x\"", Apart),
    // What stands in quotes is no directive, and what is not one is not heeded.
    ("cache-control: max-age=60, x=\"no-store, private\"", Kept),
    ("cache-control: x=\"max-age=60\"", Apart),
    ("cache-control: x=\"\\\"\", private, max-age=60", Apart),
    ("cache-control: x-private, unstored, max-age=60", Kept),
    ("pragma: no-cache\ncache-control: max-age=60", Kept),
];

/// Fields for caches of another kind (RFC 9213), and dates.
const TARGETED: [(&str, Outcome, Outcome); 13] = [
    ("cdn-cache-control: no-store\ncache-control: max-age=60", Kept, Apart),
    ("cdn-cache-control: private\ncache-control: max-age=60", Kept, Apart),
    ("cdn-cache-control: max-age=60\ncache-control: no-store", Apart, Kept),
    ("cdn-cache-control: max-age=60\ncache-control: private", Apart, Kept),
    ("cdn-cache-control: max-age=\"60\"\ncache-control: no-store", Apart, Apart),
    ("cdn-cache-control: max-age=60, ;\ncache-control: no-store", Apart, Apart),
    ("surrogate-control: max-age=60\ncache-control: no-store", Apart, Apart),
    ("expires: Fri, 01 Jan 2100 00:00:00 GMT", Kept, Kept),
    ("expires: Fri, 01 Jan 2100 00:00:00 GMT\nexpires: 0", Apart, Apart),
    ("expires: Fri, 01 Jan 2100 00:00:00 CET", Apart, Apart),
    ("expires: 0\ncache-control: max-age=60", Kept, Kept),
    ("last-modified: Sat, 01 Jan 2000 00:00:00 GMT", Apart, Kept),
    ("age: 61\ncache-control: max-age=60", Apart, Apart),
];
