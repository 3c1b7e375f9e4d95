//! What becomes of heads on the wire.

use http::Request;
use http_body_util::BodyExt;

use super::support::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive, x-hop\r\n\
                  keep-alive: timeout=5\r\nx-hop: 1\r\nx-end: 1\r\nvia: 1.0 inner\r\n\r\nok";

#[tokio::test]
async fn hop_by_hop_fields_end_here_both_ways() {
    let (origin, mut told) = scripted(OK).await;
    let gateway = Gateway::before(origin, &[]);
    let head = "GET /a?b HTTP/1.1\r\nHost: Shop.example\r\nConnection: x-mine\r\nx-mine: 1\r\n\
                Keep-Alive: 5\r\nProxy-Authorization: Basic x\r\nx-kept: 1\r\nVia: 1.0 outer\r\n";
    let answer = ask(gateway.addr, head).await;
    let sent = told.recv().await.unwrap();
    assert!(sent.starts_with("GET /a?b HTTP/1.1\r\n"), "{sent}");
    for field in
        ["host: Shop.example\r\n", "x-kept: 1\r\n", "via: 1.0 outer\r\nvia: 1.1 seawall\r\n"]
    {
        assert!(sent.contains(field), "{field} in {sent}");
    }
    for field in ["x-mine", "keep-alive", "proxy-authorization"] {
        assert!(!sent.contains(field), "{field} in {sent}");
    }
    assert!(sent.contains("te: trailers\r\n") && sent.contains("connection: te\r\n"), "{sent}");
    assert_eq!(status(&answer), 200);
    assert!(answer.contains("x-end: 1\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(answer.contains("via: 1.0 inner\r\nvia: 1.1 seawall\r\n"), "{answer}");
    assert!(!answer.contains("x-hop") && !answer.contains("keep-alive"), "{answer}");
    assert_eq!(answer.matches("cache-status: seawall; ").count(), 1, "{answer}");
}

#[tokio::test]
async fn the_origin_is_told_who_asks_and_strangers_are_not_believed() {
    let (origin, mut told) = scripted(OK).await;
    let gateway = Gateway::before(origin, &[]);
    let head = "GET / HTTP/1.1\r\nhost: a:81\r\nForwarded: for=1.1.1.1;host=evil\r\n\
                X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-Prefix: /evil\r\nX-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\n\
                X-HTTP-Method-Override: DELETE\r\n";
    ask(gateway.addr, head).await;
    let sent = told.recv().await.unwrap();
    for field in [
        "forwarded: for=127.0.0.1;host=\"a:81\";proto=http\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-host: a:81\r\n",
        "x-forwarded-proto: http\r\n",
        "host: a:81\r\n",
    ] {
        assert!(sent.contains(field), "{field} in {sent}");
    }
    assert!(
        !sent.contains("evil") && !sent.contains("1.1.1.1") && !sent.contains("DELETE"),
        "{sent}"
    );
}

#[tokio::test]
async fn trusted_proxies_are_believed() {
    let (origin, mut told) = scripted(OK).await;
    let args = ["--trusted-proxy", "192.0.2.0/24", "--trusted-proxy", "127.0.0.1"];
    let gateway = Gateway::before(origin, &args);
    let head = "GET / HTTP/1.1\r\nhost: inner\r\nX-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n\
                X-Forwarded-Host: shop.example, edge\r\nX-Forwarded-Proto: https, http\r\n\
                X-Original-URL: /kept\r\n";
    ask(gateway.addr, head).await;
    let sent = told.recv().await.unwrap();
    for field in [
        "forwarded: for=127.0.0.1;host=\"shop.example\";proto=https\r\n",
        "x-forwarded-for: 1.1.1.1, 192.0.2.7, 127.0.0.1\r\n",
        "x-forwarded-host: shop.example\r\n",
        "x-forwarded-proto: https\r\n",
        "host: shop.example\r\n",
        "x-original-url: /kept\r\n",
    ] {
        assert!(sent.contains(field), "{field} in {sent}");
    }
    let split = "GET / HTTP/1.1\r\nhost: a\r\nForwarded: host=b\r\nX-Forwarded-Host: c\r\n";
    assert_eq!(status(&ask(gateway.addr, split).await), 400);
}

#[tokio::test]
async fn what_no_proxy_here_can_do_is_said() {
    let gateway = Gateway::start(&[]);
    let connect = ask(gateway.addr, "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n").await;
    assert_eq!(status(&connect), 501);
    assert!(connect.contains("CONNECT is not supported"), "{connect}");
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    let mut stream = tokio::net::TcpStream::connect(gateway.addr).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, upgrade.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "Upgrade is not supported").await;
    assert_eq!(status(&answer), 501);
    assert_eq!(gateway.status().await["origin_calls"], 0);
}

#[tokio::test]
async fn requests_that_mean_nothing_certain_are_400() {
    let (origin, _told) = scripted(OK).await;
    let gateway = Gateway::before(origin, &[]);
    for head in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        "GET / HTTP/1.1\r\nhost: user@a\r\n",
        "GET http://a/ HTTP/1.1\r\nhost: b\r\n",
        "GET http://user@a/ HTTP/1.1\r\nhost: a\r\n",
        "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n",
        "GET a HTTP/1.1\r\nhost: a\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: cookie\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n",
        "what is this\r\n",
    ] {
        assert_eq!(status(&ask(gateway.addr, head).await), 400, "{head}");
    }
    let big = format!("GET / HTTP/1.1\r\nhost: a\r\nx-big: {}\r\n", "x".repeat(100_000));
    assert_eq!(status(&ask(gateway.addr, &big).await), 431);
    assert_eq!(gateway.status().await["origin_calls"], 0);
    assert_eq!(status(&ask(gateway.addr, "GET / HTTP/1.1\r\nhost: a\r\n").await), 200);
    assert_eq!(status(&ask(gateway.addr, "GET / HTTP/1.0\r\n").await), 200);
    assert_eq!(status(&ask(gateway.addr, "GET http://a/ HTTP/1.1\r\nhost: a\r\n").await), 200);
}

#[tokio::test]
async fn http2_is_spoken_on_both_sides_and_the_host_kept() {
    let echo = h2_origin(|request: Request<(bytes::Bytes, _)>| {
        let seen = format!("{} {:?}", request.uri(), request.headers());
        http::Response::new(http_body_util::Full::from(seen).boxed())
    });
    let gateway = Gateway::start(&["--origin", &format!("h2c://{}", echo.await)]);
    let request = Request::get("http://shop.example/a?b").body(nothing()).unwrap();
    let answer = ask_h2(gateway.addr, request).await;
    assert_eq!(answer.headers()["via"], "2 seawall");
    let seen = answer.into_body().collect().await.unwrap().to_bytes();
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.starts_with("http://shop.example/a?b "), "{seen}");
    assert!(seen.contains("\"via\": \"2 seawall\"") && !seen.contains("\"host\""), "{seen}");

    let over_1 = ask(gateway.addr, "GET /c HTTP/1.1\r\nhost: Other.example\r\n").await;
    assert!(over_1.contains("http://other.example/c") || over_1.contains("http://Other.example/c"));
    assert!(over_1.starts_with("HTTP/1.1 200 OK"), "{over_1}");
    assert!(over_1.contains("\"via\": \"1.1 seawall\""), "{over_1}");
}
