//! The limit before the origin.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::watch, task::JoinSet};

use super::{
    overload::{Origin, assert_refused, kept},
    support::*,
};

/// An origin that answers once its gate is open; `/stale` at once, with what is stale already.
async fn held() -> (Origin, watch::Sender<bool>) {
    let (gate, open) = watch::channel(false);
    let origin = Origin::serve(move |path| {
        let mut open = open.clone();
        async move {
            let mut answer = kept("held");
            if path == "/stale" {
                answer.headers_mut().insert("age", "700".parse().unwrap());
            } else {
                open.wait_for(|open| *open).await.unwrap();
            }
            answer
        }
    })
    .await;
    (origin, gate)
}

pub(crate) fn get(addr: SocketAddr, path: &str) -> impl Future<Output = String> + use<> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n");
    async move { ask(addr, &head).await }
}

/// Trailers alone, with this status and what a client needs to come back in time.
pub(crate) async fn assert_grpc_refused(addr: SocketAddr, code: &str, why: &str) {
    let request =
        Request::post("http://a/shop.Shop/Get").header("content-type", "application/grpc");
    let answer = ask_h2(addr, request.header("te", "trailers").body(nothing()).unwrap()).await;
    let fields = answer.headers();
    assert_eq!((answer.status().as_u16(), fields["grpc-status"].to_str().unwrap()), (200, code));
    let wait: u64 = fields["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
    assert!(wait >= 1, "{fields:?}");
    assert_eq!(fields["content-type"], "application/grpc");
    assert_eq!(fields["cache-status"], format!("seawall; detail={why}"));
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn the_origin_never_has_more_calls_than_the_limit_and_the_rest_is_refused_at_once() {
    let (origin, gate) = held().await;
    let gateway = Gateway::before(origin.addr, &["--limit", "8"]);
    for wave in 1..=2 {
        gate.send_replace(false);
        let mut asking: JoinSet<_> =
            (0..40).map(|key| get(gateway.addr, &format!("/{wave}/{key}"))).collect();
        for _ in 0..32 {
            assert_refused(&asking.join_next().await.unwrap().unwrap(), 503, "shed");
        }
        origin.has(8).await;
        let figures = gateway.status().await;
        assert_eq!(
            (&figures["limit"]["limit"], &figures["limit"]["in_flight"]),
            (&8.into(), &8.into())
        );
        assert_eq!(figures["shed"], 32 * wave);
        assert_eq!(asking.len(), 8);

        gate.send_replace(true);
        for answer in asking.join_all().await {
            assert_eq!(status(&answer), 200, "{answer}");
        }
        gateway.until(|status| status["limit"]["in_flight"] == 0).await;
    }
    assert_eq!((origin.most(), origin.calls()), (8, 16));
    let figures = gateway.status().await;
    // A refusal of ours is no failure: neither of a key nor of the origin.
    assert_eq!(
        (&figures["failures_remembered"], &figures["origin_failures"]),
        (&0.into(), &0.into())
    );
}

#[tokio::test]
async fn reads_and_grpc_leave_the_last_of_twenty_places_to_what_changes_something() {
    let (origin, gate) = held().await;
    let gateway = Gateway::before(origin.addr, &["--limit", "20"]);
    let mut asking: JoinSet<_> = (0..19).map(|key| get(gateway.addr, &format!("/{key}"))).collect();
    origin.has(19).await;
    assert_refused(&get(gateway.addr, "/19").await, 503, "shed");
    assert_grpc_refused(gateway.addr, "14", "shed").await;

    let addr = gateway.addr;
    let post = "POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n";
    asking.spawn(async move { ask(addr, post).await });
    origin.has(20).await;
    assert_refused(&ask(addr, post).await, 503, "shed");
    gate.send_replace(true);
    for answer in asking.join_all().await {
        assert_eq!(status(&answer), 200, "{answer}");
    }
    assert_eq!((origin.most(), origin.calls()), (20, 20));
    assert_eq!(gateway.status().await["shed"], 3);
}

#[tokio::test]
async fn without_the_flag_the_limit_is_1024_and_off_is_none() {
    // Of 1,024 places reads fill 95 %.
    for (flags, reach, limit) in [
        (&[][..], 973, serde_json::json!(1_024)),
        (&["--limit", "off"], 1_100, serde_json::Value::Null),
    ] {
        let (origin, gate) = held().await;
        let url = format!("h2c://{}", origin.addr);
        let gateway = Gateway::start(&[&["--origin", &url][..], flags].concat());
        let mut asking = JoinSet::new();
        // A connection has room for 250 requests.
        for connection in 0..5 {
            let stream = TcpStream::connect(gateway.addr).await.unwrap();
            let (sender, running) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .handshake(TokioIo::new(stream))
                .await
                .unwrap();
            tokio::spawn(running);
            for key in 0..220 {
                let mut sender = sender.clone();
                let uri = format!("http://a/{connection}/{key}");
                let request = Request::get(uri).body(Full::<Bytes>::default()).unwrap();
                asking.spawn(async move { sender.send_request(request).await.unwrap().status() });
            }
        }
        origin.has(reach).await;
        for _ in reach..1_100 {
            assert_eq!(asking.join_next().await.unwrap().unwrap(), 503, "{flags:?}");
        }
        let figures = gateway.status().await;
        assert_eq!(
            (&figures["limit"]["limit"], &figures["shed"]),
            (&limit, &(1_100 - reach).into())
        );
        assert_eq!(figures["limit"]["in_flight"], reach, "{flags:?}");
        gate.send_replace(true);
        assert!(asking.join_all().await.iter().all(|status| *status == 200), "{flags:?}");
        assert_eq!(origin.most(), reach);
    }
}

#[tokio::test]
async fn while_the_limit_is_full_hits_are_answered_and_stale_answers_where_they_may_be() {
    for (flags, code) in [(&["--stale-if-error", "1h"][..], 200), (&[], 503)] {
        let (origin, gate) = held().await;
        let gateway = Gateway::before(origin.addr, &[&["--limit", "1"][..], flags].concat());
        gate.send_replace(true);
        gateway.get("/hot").await;
        gateway.get("/stale").await;
        gate.send_replace(false);
        let holding = tokio::spawn(get(gateway.addr, "/held"));
        origin.has(1).await;
        for _ in 0..20 {
            assert_eq!(field(&get(gateway.addr, "/hot").await, "cache-status"), "seawall; hit");
            assert_refused(&get(gateway.addr, "/cold").await, 503, "shed");
            let stale = get(gateway.addr, "/stale").await;
            assert_eq!(status(&stale), code, "{stale}");
            assert!(code == 503 || stale.contains("; detail=stale-if-error\r\n"), "{stale}");
        }
        assert_eq!(origin.calls(), 3, "{flags:?}");
        gate.send_replace(true);
        holding.await.unwrap();
        gateway.until(|status| status["limit"]["in_flight"] == 0).await;
        // At once, since nobody holds a refusal of ours against the key.
        let fetched = gateway.get("/stale").await;
        assert!(field(&fetched, "cache-status").contains("fwd-status=200"), "{fetched}");
    }
}
