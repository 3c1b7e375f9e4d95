//! What the operator can ask, and who may.

use super::support::*;

async fn code(addr: std::net::SocketAddr, request: &str) -> u16 {
    status(&ask(addr, request).await)
}

#[tokio::test]
async fn the_routes_are_these() {
    let gateway = Gateway::start(&[]);
    let metrics = if cfg!(feature = "metrics") { 200 } else { 404 };
    for (request, expected) in [
        ("GET /status", 200),
        ("HEAD /status", 200),
        ("GET /ready", 200),
        ("GET /metrics", metrics),
        ("GET /", 404),
        ("POST /invalidate?all", 200),
        ("POST /invalidated?all", 404),
        ("POST /status", 405),
        ("DELETE /ready", 405),
    ] {
        let head = format!("{request} HTTP/1.1\r\nhost: localhost\r\n");
        assert_eq!(code(gateway.admin, &head).await, expected, "{request}");
    }
    let request = http::Request::get("http://localhost/ready").body(nothing()).unwrap();
    assert_eq!(ask_h2(gateway.admin, request).await.status(), 200, "over h2c too");
}

#[tokio::test]
async fn the_status_counts_since_the_start() {
    let gateway = Gateway::start(&[]);
    for request in ["GET /me", "GET /fail?status=500", "OPTIONS *"] {
        ask(gateway.addr, &format!("{request} HTTP/1.1\r\nhost: a\r\n")).await;
    }
    let status = gateway.status().await;
    let count = |name: &str| status[name].as_u64().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!((count("requests"), count("origin_calls"), count("origin_failures")), (3, 2, 1));
    assert_eq!(count("origin_in_flight"), 0);
    for name in ["uptime_ms", "hits", "misses", "passes", "followers", "entries", "bytes"] {
        count(name);
    }
    for name in ["flights", "uncacheable_remembered"] {
        count(name);
    }
    assert_eq!(status["draining"], false);
    // These move in the tests of what they count.
    for name in ["stale_hits", "refreshes", "failures_remembered"] {
        assert_eq!(count(name), 0, "{name}");
    }
    assert_eq!(status["journal"]["position"], 0);
}

#[tokio::test]
async fn without_a_token_only_this_machine_is_served() {
    let gateway = Gateway::start(&[]);
    for (fields, expected) in [
        ("host: localhost\r\n", 200),
        ("host: 127.0.0.1:8081\r\n", 200),
        ("host: [::1]:8081\r\n", 200),
        ("host: rebound.example\r\n", 403),
        ("host: localhost.evil.example\r\n", 403),
        ("host: localhost\r\nhost: evil.example\r\n", 403),
        ("host: localhost\r\norigin: http://localhost\r\n", 403),
        ("host: localhost\r\norigin: null\r\n", 403),
        ("", 403),
    ] {
        let head = format!("GET /status HTTP/1.1\r\n{fields}");
        assert_eq!(code(gateway.admin, &head).await, expected, "{fields:?}");
    }
    let target = "GET http://evil.example/status HTTP/1.1\r\nhost: localhost\r\n";
    assert_eq!(code(gateway.admin, target).await, 403);
}

#[tokio::test]
async fn with_a_token_it_must_be_sent() {
    let file = std::env::temp_dir().join(format!("gateway-token-{}", std::process::id()));
    std::fs::write(&file, "s3cret\n").unwrap();
    let gateway = Gateway::start(&["--admin-token-file", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    for (fields, expected) in [
        ("authorization: Bearer s3cret\r\n", 200),
        ("authorization: bearer s3cret\r\norigin: http://console.example\r\n", 200),
        ("", 401),
        ("authorization: Bearer\r\n", 401),
        ("authorization: Bearer s3cre\r\n", 401),
        ("authorization: Bearer s3crets\r\n", 401),
        ("authorization: Basic s3cret\r\n", 401),
        ("authorization: Bearer s3cret\r\nauthorization: Bearer s3cret\r\n", 401),
    ] {
        let head = format!("GET /status HTTP/1.1\r\nhost: ops.example\r\n{fields}");
        assert_eq!(code(gateway.admin, &head).await, expected, "{fields:?}");
    }
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn the_layers_metrics_are_among_those_that_are_exported() {
    let gateway = Gateway::start(&[]);
    for _ in 0..2 {
        ask(gateway.addr, "GET /products/1 HTTP/1.1\r\nhost: a\r\n").await;
    }
    let text = ask(gateway.admin, "GET /metrics HTTP/1.1\r\nhost: localhost\r\n").await;
    for line in ["seawall_misses_total 1", "seawall_hits_total 1", "seawall_stored_total 1"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
