//! Starting and stopping.

use std::time::Duration;

use tokio::{net::TcpStream, time::Instant};

use super::support::*;

#[test]
fn what_is_wrong_at_the_start_is_one_line_and_exit_code_2() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases: [&[&str]; 19] = [
        &["--nonsense"],
        &["--breaker", "0%"],
        &["--limit", "none"],
        &["--quota", "5"],
        &["--stale-while-revalidate", "60"],
        &["--stale-if-error", "1 m"],
        &["--keep-stale", "for ever"],
        &["--keep-stale", "200000d"],
        &["--tag-header", "Surrogate Key"],
        &["--redis", "localhost"],
        &["--origin", "https://example.com"],
        &["--origin", "localhost:80"],
        &["--memory", "1MB"],
        &["--drain", "soon"],
        &["--trusted-proxy", "everyone"],
        &["--listen", &taken],
        &["--listen", "127.0.0.1:0", "--admin", &taken],
        &["--admin", "0.0.0.0:0"],
        &["--listen", "127.0.0.1:0", "--admin-token-file", "/does/not/exist"],
    ];
    for args in cases {
        let output = run(args, &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert_eq!(run(&["--help"], &[]).status.code(), Some(0));
}

#[test]
fn a_flag_whose_feature_is_not_in_the_build_names_the_command_that_has_it() {
    for (flag, value, feature, is_there) in [
        ("--redis", "redis://:secret@127.0.0.1", "redis", cfg!(feature = "redis")),
        ("--redis", "rediss://:secret@127.0.0.1", "redis-tls", cfg!(feature = "redis-tls")),
        ("--memcached", "127.0.0.1:11211", "memcached", cfg!(feature = "memcached")),
    ] {
        if is_there {
            continue;
        }
        let output = run(&["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", flag, value], &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        let command =
            format!("cargo run --release --features {feature} --example gateway -- {flag} ");
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.contains(&command) && !error.contains("secret"), "{error}");
        assert!(output.stdout.is_empty(), "{flag}");
    }
}

#[test]
fn the_environment_is_read_and_the_command_line_wins() {
    let output = run(&[], &[("SEAWALL_MEMORY", "many")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--memory"));
    for (name, flag) in [
        ("SEAWALL_STALE_WHILE_REVALIDATE", "--stale-while-revalidate"),
        ("SEAWALL_STALE_IF_ERROR", "--stale-if-error"),
        ("SEAWALL_KEEP_STALE", "--keep-stale"),
        ("SEAWALL_TAG_HEADER", "--tag-header"),
    ] {
        let output = run(&[], &[(name, "not this")]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(flag) && error.lines().count() == 1, "{name}: {error}");
    }
    let args = ["--memory", "1MiB", "--drain", "never"];
    let output = run(&args, &[("SEAWALL_MEMORY", "many")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--drain"));
}

#[tokio::test]
async fn without_flags_there_is_a_demo_origin() {
    let gateway = Gateway::start(&[]);
    for (path, code, has) in [
        ("/products/7", 200, "etag: \"product-7-1\""),
        ("/recommendations/7", 200, "stale-while-revalidate"),
        ("/promotions/7", 200, "surrogate-key: promotions promotion-7"),
        ("/reviews/7", 200, "max-age"),
        ("/price/7", 200, "no-store"),
        ("/me", 200, "private"),
        ("/fail?status=418", 418, ""),
        ("/fail", 503, ""),
        ("/drip?seconds=0", 200, ""),
        ("/nowhere", 404, ""),
        ("/outage?seconds=10", 200, ""),
        ("/products/7", 200, "cache-status: seawall; hit"),
        ("/products/8", 503, ""),
        ("/outage?seconds=0", 200, ""),
        ("/products/7", 200, ""),
    ] {
        let answer = ask(gateway.addr, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n")).await;
        assert_eq!(status(&answer), code, "{path}");
        assert!(answer.contains(has), "{path}: {answer}");
    }
    let head = "GET /products/7 HTTP/1.1\r\nhost: a\r\nif-none-match: \"product-7-1\"\r\n";
    assert_eq!(status(&ask(gateway.addr, head).await), 304);
}

#[tokio::test]
async fn an_origin_that_is_not_there_yet_is_no_reason_not_to_start() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::before(free, &[]);
    assert_eq!(status(&ask(gateway.addr, "GET / HTTP/1.1\r\nhost: a\r\n").await), 502);
    let h2c = Gateway::start(&["--origin", &format!("h2c://{free}")]);
    assert_eq!(status(&ask(h2c.addr, "GET / HTTP/1.1\r\nhost: a\r\n").await), 502);
    assert_eq!(h2c.status().await["origin_failures"], 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_told_to_stop_gateway_finishes_what_runs() {
    let mut gateway = Gateway::start(&[]);
    let ready = "GET /ready HTTP/1.1\r\nhost: localhost\r\n";
    assert_eq!(status(&ask(gateway.admin, ready).await), 200);
    let (addr, admin) = (gateway.addr, gateway.admin);
    let running = tokio::spawn(ask(addr, "GET /drip?seconds=2 HTTP/1.1\r\nhost: a\r\n"));
    while gateway.status().await["origin_in_flight"] != 1 {
        tokio::task::yield_now().await;
    }
    gateway.signal("-TERM");
    while status(&ask(admin, ready).await) != 503 {
        tokio::task::yield_now().await;
    }
    assert_eq!(gateway.status().await["draining"], true);
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(running.await.unwrap().contains("drop 20\n"));
    assert_eq!(gateway.ended().await, Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn what_does_not_finish_is_left_after_the_drain() {
    for signal in ["-TERM", "-INT"] {
        let mut gateway = Gateway::start(&["--drain", "300ms"]);
        let running = tokio::spawn(ask(gateway.addr, "GET /hang HTTP/1.1\r\nhost: a\r\n"));
        while gateway.status().await["origin_in_flight"] != 1 {
            tokio::task::yield_now().await;
        }
        let told = Instant::now();
        gateway.signal(signal);
        assert_eq!(gateway.ended().await, Some(0));
        assert!((300..3_000).contains(&told.elapsed().as_millis()), "{:?}", told.elapsed());
        let answer = running.await.unwrap();
        assert!(answer.is_empty() || status(&answer) == 502, "{answer}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn idle_clients_do_not_delay_the_end() {
    let mut gateway = Gateway::start(&["--drain", "1m"]);
    let _silent = TcpStream::connect(gateway.addr).await.unwrap();
    let mut idle = TcpStream::connect(gateway.addr).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut idle, b"GET /me HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, "basket").await;
    let told = Instant::now();
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await, Some(0));
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
}

#[tokio::test]
async fn an_http2_origin_that_hangs_up_is_called_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(http::Response::new(nothing()))
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let connection = hyper::server::conn::http2::Builder::new(executor)
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            let _ = tokio::time::timeout(Duration::from_millis(100), connection).await;
        }
    });
    let gateway = Gateway::start(&["--origin", &format!("h2c://{origin}")]);
    for _ in 0..3 {
        assert_eq!(status(&ask(gateway.addr, "GET / HTTP/1.1\r\nhost: a\r\n").await), 200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
