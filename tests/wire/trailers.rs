//! S9 and S13 at a body's end. Over HTTP/1.1 few fields can come after a body; over HTTP/2 clients
//! see whatever the gateway leaves there.

use http::{HeaderMap, Request};
use http_body_util::BodyExt;

use crate::{
    origin::Raw,
    process::{Gateway, ask_h2, nothing},
    row::plays,
};

/// A trailer of the origin's, and whether a hit has it in `safe` and in `reverse-proxy`.
const ROWS: [(&str, bool, bool); 7] = [
    ("x-other: 1", true, true),
    ("connection: x-evil", false, false),
    ("keep-alive: evil", false, false),
    ("proxy-connection: evil", false, false),
    ("proxy-authenticate: Basic realm=evil", false, false),
    ("upgrade: evil", false, false),
    ("set-cookie: id=Eve", false, true),
];

// FAILS: trailers are passed on and stored as they came. Those that belong to a connection break off
// every HTTP/2 answer, hits included; `safe` hands out a stored Set-Cookie.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_of_a_head_is_not_kept_of_trailers_either() {
    let mut wrong = Vec::new();
    for profile in ["safe", "reverse-proxy"] {
        let origin = Raw::start().await;
        let gateway = Gateway::before(origin.addr, &["--profile", profile, "--breaker", "off"]);
        for (at, (line, safe, reverse_proxy)) in ROWS.into_iter().enumerate() {
            let answer = format!(
                "HTTP/1.1 200 OK\ncache-control: max-age=60\ntransfer-encoding: chunked\n\n\
                 2\nok\n0\nx-sum: 1\n{line}\n\n"
            );
            origin.plays(&plays([&answer]), "trailers");
            let expected = if profile == "safe" { safe } else { reverse_proxy };
            let name = line.split(':').next().unwrap();
            for round in ["miss", "hit"] {
                let found = trailers(&gateway, &format!("http://a/{at}")).await;
                let fine = found.as_ref().is_some_and(|trailers| {
                    let has = trailers.contains_key(name);
                    trailers["x-sum"] == "1" && (has == expected || (round == "miss" && !has))
                });
                // What sets one user's cookie may be that user's, once.
                let first = round == "miss" && name == "set-cookie" && found.is_some();
                if !fine && !first {
                    wrong.push(format!("{profile}, {round}: {line}: {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// `None` where the answer breaks off.
async fn trailers(gateway: &Gateway, url: &str) -> Option<HeaderMap> {
    let answer = ask_h2(gateway.addr, Request::get(url).body(nothing()).unwrap()).await;
    let body = answer.into_body().collect().await;
    gateway.until(|status| status["flights"] == 0).await;
    body.ok()?.trailers().cloned()
}
