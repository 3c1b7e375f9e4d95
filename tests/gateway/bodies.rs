//! Bodies stream both ways, with their trailers, and end in time.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use super::support::*;

const TRAILERS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                        5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n";
const UNDECLARED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                          5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n";

#[tokio::test]
async fn trailers_of_an_http1_origin_reach_http1_clients_that_take_them() {
    let (origin, _told) = scripted(TRAILERS).await;
    let gateway = Gateway::before(origin, &[]);
    let wants = "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n";
    let answer = ask(gateway.addr, wants).await;
    assert!(answer.contains("trailer: x-sum\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"), "{answer}");
    let plain = ask(gateway.addr, "GET / HTTP/1.1\r\nhost: a\r\n").await;
    assert!(plain.ends_with("\r\n5\r\nhello\r\n0\r\n\r\n"), "{plain}");
}

#[tokio::test]
async fn trailers_of_an_http1_origin_reach_http2_clients() {
    for script in [TRAILERS, UNDECLARED] {
        let (origin, _told) = scripted(script).await;
        let gateway = Gateway::before(origin, &[]);
        let request = Request::get("http://a/").body(nothing()).unwrap();
        let answer = ask_h2(gateway.addr, request).await.into_body().collect().await.unwrap();
        assert_eq!(answer.trailers().unwrap()["x-sum"], "42");
        assert_eq!(answer.to_bytes(), "hello");
    }
}

#[tokio::test]
async fn trailers_pass_http2_both_ways() {
    let echo = h2_origin(|request| {
        let (body, trailers) = request.into_body();
        assert_eq!(body, "question");
        assert_eq!(trailers.unwrap()["x-asked"], "1");
        Response::builder()
            .header("trailer", "grpc-status")
            .body(with_trailers("answer", "grpc-status", "0"))
            .unwrap()
    })
    .await;
    let gateway = Gateway::start(&["--origin", &format!("h2c://{echo}")]);
    let body = with_trailers("question", "x-asked", "1");
    let request = Request::post("http://a/").body(body).unwrap();
    let answer = ask_h2(gateway.addr, request).await.into_body().collect().await.unwrap();
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(answer.to_bytes(), "answer");

    let over_1 = b"POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close\r\n\
                   transfer-encoding: chunked\r\n\r\n8\r\nquestion\r\n0\r\nx-asked: 1\r\n\r\n";
    let answer = talk(gateway.addr, over_1).await;
    assert!(answer.ends_with("6\r\nanswer\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn request_trailers_reach_an_http1_origin() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::before(listener.local_addr().unwrap(), &[]);
    let request = Request::post("http://a/")
        .header("trailer", "x-asked")
        .body(with_trailers("question", "x-asked", "1"))
        .unwrap();
    let asked = tokio::spawn(ask_h2(gateway.addr, request));
    let (mut stream, _) = listener.accept().await.unwrap();
    let sent = read_until(&mut stream, "\r\n0\r\nx-asked: 1\r\n\r\n").await;
    assert!(sent.contains("transfer-encoding: chunked") && sent.contains("question"), "{sent}");
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert_eq!(asked.await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_body_on_get_is_no_less_a_body() {
    let (origin, mut told) = scripted("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = Gateway::before(origin, &[]);
    let get =
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(status(&talk(gateway.addr, get).await), 200);
    assert!(told.recv().await.unwrap().contains("transfer-encoding: chunked\r\n"));
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_is_not_passed_on() {
    let both = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n\
                5\r\nhello\r\n0\r\n\r\n";
    let (origin, _told) = scripted(both).await;
    let gateway = Gateway::before(origin, &[]);
    let answer = ask(gateway.addr, "GET / HTTP/1.1\r\nhost: a\r\n").await;
    assert!(!answer.contains("content-length"), "{answer}");
    assert!(status(&answer) == 502 || answer.contains("5\r\nhello\r\n0\r\n"), "{answer}");
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let gateway = Gateway::start(&[]);
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    let began = Instant::now();
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_until(&mut stream, "{\"count\":1}").await;
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    read_until(&mut stream, "{\"count\":2}").await;
    let second = began.elapsed().as_millis();
    assert!((900..1_900).contains(&second), "{second}");
    assert_eq!(gateway.status().await["origin_in_flight"], 1);
    drop(stream);
    while gateway.status().await["origin_in_flight"] != 0 {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_upload_arrives_as_it_is_sent_and_may_take_longer_than_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::before(listener.local_addr().unwrap(), &["--timeout", "500ms"]);
    let mut client = TcpStream::connect(gateway.addr).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n";
    client.write_all(head).await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    read_head(&mut origin).await.unwrap();
    for byte in [b"a", b"b", b"c", b"d"] {
        sleep(Duration::from_millis(250)).await;
        client.write_all(byte).await.unwrap();
        let mut got = [0];
        origin.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, byte);
    }
    origin.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nthen").await.unwrap();
    assert_eq!(status(&read_until(&mut client, "then").await), 200);
}

#[tokio::test]
async fn a_client_that_stops_sending_is_told_so() {
    let (origin, _told) = scripted("").await;
    let gateway = Gateway::before(origin, &["--timeout", "300ms"]);
    let half = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\nab";
    assert_eq!(status(&talk(gateway.addr, half).await), 408);
    assert_eq!(gateway.status().await["origin_failures"], 0);
}

#[tokio::test]
async fn a_silent_origin_is_504() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let muted = mute.local_addr().unwrap();
    tokio::spawn(async move {
        let service = hyper::service::service_fn(|_| {
            std::future::pending::<Result<Response<Sent>, std::convert::Infallible>>()
        });
        let (stream, _) = mute.accept().await.unwrap();
        let executor = hyper_util::rt::TokioExecutor::new();
        let io = hyper_util::rt::TokioIo::new(stream);
        hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service).await
    });
    let (quiet, _told) = scripted("").await;
    for origin in [format!("http://{quiet}"), format!("h2c://{muted}")] {
        let gateway = Gateway::start(&["--origin", &origin, "--timeout", "300ms"]);
        let began = Instant::now();
        let answer = ask(gateway.addr, "GET / HTTP/1.1\r\nhost: a\r\n").await;
        assert_eq!(status(&answer), 504, "{origin}");
        assert!((300..2_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        let status = gateway.status().await;
        assert_eq!(
            (&status["origin_failures"], &status["origin_in_flight"]),
            (&1.into(), &0.into())
        );
    }
}

#[tokio::test]
async fn an_origin_that_makes_no_sense_is_502() {
    for script in ["what is this\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n"] {
        let (origin, _told) = scripted(script).await;
        let gateway = Gateway::before(origin, &["--timeout", "2s"]);
        let answer = ask(gateway.addr, "GET / HTTP/1.1\r\nhost: a\r\n").await;
        assert_eq!(status(&answer), 502, "{script:?} {answer}");
    }
}

#[tokio::test]
async fn a_body_that_stops_midway_is_not_passed_off_as_whole() {
    let (origin, _told) =
        scripted("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel").await;
    let gateway = Gateway::before(origin, &["--timeout", "300ms"]);
    let began = Instant::now();
    let answer = ask(gateway.addr, "GET / HTTP/1.1\r\nhost: a\r\n").await;
    assert_eq!(status(&answer), 200);
    assert!(answer.contains("hel") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    assert!((300..2_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(gateway.status().await["origin_failures"], 1);
    let request = Request::get("http://a/").body(nothing()).unwrap();
    assert!(ask_h2(gateway.addr, request).await.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_back_the_origin() {
    const ALL: usize = 256 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::before(listener.local_addr().unwrap(), &["--timeout", "500ms"]);
    let mut client = TcpStream::connect(gateway.addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    read_head(&mut origin).await.unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ALL}\r\n\r\n");
    origin.write_all(head.as_bytes()).await.unwrap();
    let (block, mut sent) = (vec![b'x'; 1 << 16], 0);
    while let Ok(wrote) = tokio::time::timeout(Duration::from_secs(1), origin.write(&block)).await {
        sent += wrote.unwrap();
        assert!(sent < ALL / 2, "the gateway takes all there is");
    }
    // Twice the timeout has passed with nobody reading: that is the client's pace, not silence.
    let rest = tokio::spawn(async move {
        while sent < ALL {
            let part = block.len().min(ALL - sent);
            origin.write_all(&block[..part]).await.unwrap();
            sent += part;
        }
        origin
    });
    let mut got = 0;
    let mut buffer = vec![0; 1 << 20];
    while got < ALL {
        let read = client.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "cut off at {got}");
        got += read;
    }
    rest.await.unwrap();
}
