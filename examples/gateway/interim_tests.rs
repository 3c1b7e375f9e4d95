use std::convert::Infallible;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{mpsc, oneshot},
    task::yield_now,
};

use super::*;

const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\n\r\n";

fn written(status: u16, fields: &[(&'static str, &'static str)]) -> Option<String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let status = StatusCode::from_u16(status).unwrap();
    head(status, Version::HTTP_11, headers).map(|head| String::from_utf8(head).unwrap())
}

/// What the client finds in the pipe, without waiting.
async fn come(client: &mut DuplexStream) -> String {
    let mut bytes = [0; 4096];
    let read = tokio::select! {
        biased;
        read = client.read(&mut bytes) => read.unwrap(),
        () = yield_now() => 0,
    };
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// What the client reads, up to the end of `text`.
async fn until(client: &mut DuplexStream, text: &str) -> String {
    let mut read = String::new();
    while !read.ends_with(text) {
        read.push(client.read_u8().await.unwrap().into());
    }
    read
}

// ===== heads =====

#[test]
fn a_head_is_passed_on_without_what_is_for_one_hop() {
    for (status, fields, expected) in [
        (102, &[][..], "102 Processing\r\nvia: 1.1 seawall\r\n"),
        (
            103,
            &[("link", "</a>; rel=preload"), ("link", "</b>")],
            "103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>\r\nvia: 1.1 seawall\r\n",
        ),
        (199, &[], "199 \r\nvia: 1.1 seawall\r\n"),
        (
            103,
            &[("connection", "close, x-hop"), ("x-hop", "1"), ("keep-alive", "1"), ("te", "x")],
            "103 Early Hints\r\nvia: 1.1 seawall\r\n",
        ),
        (
            103,
            &[("content-length", "5"), ("upgrade", "h2c"), ("proxy-authenticate", "x")],
            "103 Early Hints\r\nvia: 1.1 seawall\r\n",
        ),
        (103, &[("transfer-encoding", "chunked")], "103 Early Hints\r\nvia: 1.1 seawall\r\n"),
    ] {
        let expected = format!("HTTP/1.1 {expected}\r\n");
        assert_eq!(written(status, fields), Some(expected), "{status} {fields:?}");
    }
    let value = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    let headers = HeaderMap::from_iter([(header::LINK, value)]);
    let raw = head(StatusCode::EARLY_HINTS, Version::HTTP_10, headers).unwrap();
    assert_eq!(raw, b"HTTP/1.1 103 Early Hints\r\nlink: caf\xe9\r\nvia: 1.0 seawall\r\n\r\n");
}

#[test]
fn what_is_not_for_the_client_is_not_passed_on() {
    for status in [100, 101, 200, 404] {
        assert_eq!(written(status, &[]), None, "{status}");
    }
    let long = |bytes| HeaderMap::from_iter([(header::LINK, "x".repeat(bytes).parse().unwrap())]);
    let pass = |headers| head(StatusCode::EARLY_HINTS, Version::HTTP_11, headers);
    let around = "HTTP/1.1 103 Early Hints\r\nlink: \r\nvia: 1.1 seawall\r\n\r\n".len();
    assert_eq!(pass(long(MAX_HEAD - around)).unwrap().len(), MAX_HEAD);
    assert_eq!(pass(long(MAX_HEAD - around + 1)), None);
}

// ===== turns =====

#[tokio::test]
async fn a_head_goes_before_the_next_byte_and_only_in_its_turn() {
    let (io, mut client) = duplex(4096);
    let (mut wire, interim) = into(io);
    interim.pass(0, HINT);
    let first = interim.begin();
    wire.flush().await.unwrap();
    interim.pass(first.number, HINT);
    interim.pass(first.number, HINT);
    let number = first.number;
    drop(first);
    interim.pass(number, HINT);
    wire.write_all(b"final").await.unwrap();
    wire.flush().await.unwrap();
    let hint = String::from_utf8_lossy(HINT);
    assert_eq!(come(&mut client).await, format!("{hint}{hint}final"));

    let second = interim.begin();
    wire.flush().await.unwrap();
    interim.pass(number, HINT);
    wire.flush().await.unwrap();
    assert_eq!(come(&mut client).await, "");
    interim.pass(second.number, HINT);
    wire.flush().await.unwrap();
    assert_eq!(come(&mut client).await, hint);
}

#[tokio::test]
async fn a_head_waits_for_the_rest_of_what_hyper_writes() {
    for (was_idle, is_answered_first) in [(false, false), (false, true), (true, false)] {
        let (io, mut client) = duplex(4096);
        let (mut wire, interim) = into(io);
        let turn = interim.begin();
        if was_idle {
            wire.flush().await.unwrap();
        } else {
            interim.pass(turn.number, HINT);
        }
        wire.write_all(b"re").await.unwrap();
        interim.pass(turn.number, HINT);
        wire.write_all(b"st").await.unwrap();
        assert_eq!(come(&mut client).await, "rest");
        if is_answered_first {
            drop(turn);
        }
        wire.flush().await.unwrap();
        wire.write_all(b"final").await.unwrap();
        let count = if is_answered_first { 0 } else { 2 - usize::from(was_idle) };
        let hints = String::from_utf8_lossy(HINT).repeat(count);
        assert_eq!(come(&mut client).await, format!("{hints}final"));
    }
}

#[tokio::test]
async fn what_waits_for_a_client_that_does_not_read_is_bounded_and_whole() {
    let (io, mut client) = duplex(10);
    let (mut wire, interim) = into(io);
    let turn = interim.begin();
    wire.flush().await.unwrap();
    for _ in 0..10_000 {
        interim.pass(turn.number, HINT);
    }
    let most = MAX_DUE / HINT.len();
    assert_eq!(interim.lock().bytes.len(), most * HINT.len());
    drop(turn);
    let writing = tokio::spawn(async move {
        wire.write_all(b"final").await.unwrap();
    });
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    writing.await.unwrap();
    assert_eq!(all, [HINT.repeat(most).as_slice(), b"final"].concat());
}

#[tokio::test]
async fn only_http_1_1_requests_have_a_turn() {
    let (_, interim) = into(tokio::io::empty());
    for (version, has) in
        [(Version::HTTP_10, false), (Version::HTTP_11, true), (Version::HTTP_2, false)]
    {
        let mut request = Request::new(());
        *request.version_mut() = version;
        assert_eq!(interim.turn(&mut request).is_some(), has, "{version:?}");
        assert_eq!(request.extensions().is_empty(), !has, "{version:?}");
    }
}

// ===== with hyper =====

struct Call {
    turn: u64,
    request: Request<Incoming>,
    answer: oneshot::Sender<Response<Full<Bytes>>>,
}

/// hyper on one end of a pipe of so many bytes; each request with its turn.
fn serve(pipe: usize) -> (DuplexStream, Interim, mpsc::UnboundedReceiver<Call>) {
    let (io, client) = duplex(pipe);
    let (wire, interim) = into(io);
    let (tell, told) = mpsc::unbounded_channel();
    let begin = interim.clone();
    let service = hyper::service::service_fn(move |request| {
        let turn = begin.begin();
        let (answer, answered) = oneshot::channel();
        tell.send(Call { turn: turn.number, request, answer }).unwrap();
        async move {
            let response = answered.await.unwrap();
            drop(turn);
            Ok::<_, Infallible>(response)
        }
    });
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(wire), service));
    (client, interim, told)
}

#[tokio::test]
async fn hyper_writes_a_head_while_its_service_thinks() {
    let (mut client, interim, mut calls) = serve(4096);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let call = calls.recv().await.unwrap();
    let mut hint = vec![0; HINT.len()];
    for _ in 0..3 {
        interim.pass(call.turn, HINT);
        client.read_exact(&mut hint).await.unwrap();
        assert_eq!(hint, HINT);
    }
    interim.pass(call.turn, HINT);
    call.answer.send(Response::new(Full::from("ok"))).unwrap();
    client.read_exact(&mut hint).await.unwrap();
    assert_eq!(hint, HINT);
    assert_eq!(until(&mut client, "\r\n\r\nok").await.find("HTTP/1.1 200 OK\r\n"), Some(0));
}

/// While the first answer is being written, to a client that reads slowly, the rest of the first
/// request has been read, and the second request too.
#[tokio::test]
async fn a_head_does_not_fall_into_the_answer_before() {
    let (mut client, interim, mut calls) = serve(64);
    client.write_all(b"POST /1 HTTP/1.1\r\ncontent-length: 4\r\n\r\n").await.unwrap();
    let first = calls.recv().await.unwrap();
    let body = "x".repeat(1000);
    let reading = tokio::spawn(first.request.into_body().collect());
    first.answer.send(Response::new(Full::from(body.clone()))).unwrap();
    let mut answer = String::from(char::from(client.read_u8().await.unwrap()));
    client.write_all(b"bodyGET /2 HTTP/1.1\r\n\r\n").await.unwrap();
    reading.await.unwrap().unwrap();
    let second = calls.recv().await.unwrap();
    interim.pass(second.turn, HINT);

    let hint = String::from_utf8_lossy(HINT);
    answer.push_str(&until(&mut client, &hint).await);
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(rest, format!("{body}{hint}"));
    second.answer.send(Response::new(Full::from("second"))).unwrap();
    assert_eq!(until(&mut client, "\r\n\r\nsecond").await.find("HTTP/1.1 200 OK\r\n"), Some(0));
}
