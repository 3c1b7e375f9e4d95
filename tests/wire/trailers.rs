//! S9 and S13 at a body's end. Over HTTP/1.1 few fields can come after a body; over HTTP/2 clients
//! see whatever the gateway leaves there.

use http::{HeaderMap, Request};
use http_body_util::BodyExt;

use crate::{
    origin::Raw,
    process::{Gateway, ask_h2, nothing},
    row::plays,
};

/// A trailer of the origin's, and whether clients have it. RFC 9110 §6.5.1: what has to be known
/// before the content is not for trailers, so that nothing depends on who reads them.
const ROWS: [(&str, bool); 13] = [
    ("x-other: 1", true),
    ("etag: \"1\"", true),
    ("connection: x-evil", false),
    ("keep-alive: evil", false),
    ("proxy-connection: evil", false),
    ("proxy-authenticate: Basic realm=evil", false),
    ("upgrade: evil", false),
    ("te: trailers", false),
    ("transfer-encoding: chunked", false),
    ("content-length: 9", false),
    ("cache-control: no-store", false),
    ("set-cookie: id=Eve", false),
    // The head's `Connection` names it.
    ("x-hop: evil", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn trailers_are_no_way_around_what_heads_may_not_do() {
    let mut wrong = Vec::new();
    for profile in ["safe", "reverse-proxy"] {
        let origin = Raw::start().await;
        let gateway = Gateway::before(origin.addr, &["--profile", profile, "--breaker", "off"]);
        for (at, (line, expected)) in ROWS.into_iter().enumerate() {
            let answer = format!(
                "HTTP/1.1 200 OK\ncache-control: max-age=60\nconnection: x-hop\n\
                 transfer-encoding: chunked\n\n2\nok\n0\nx-sum: 1\n{line}\n\n"
            );
            origin.plays(&plays([&answer]), "trailers");
            let name = line.split(':').next().unwrap();
            for round in ["miss", "hit"] {
                let found = trailers(&gateway, &format!("http://a/{at}")).await;
                let fine = found.as_ref().is_some_and(|trailers| {
                    trailers["x-sum"] == "1" && trailers.contains_key(name) == expected
                });
                if !fine {
                    wrong.push(format!("{profile}, {round}: {line}: {found:?}"));
                }
            }
            let calls = origin.seen().len();
            if calls != 1 {
                wrong.push(format!("{profile}: {line}: the origin was asked {calls} times"));
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
