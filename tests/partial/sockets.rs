//! Parts over real connections: as hyper frames them on both sides.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::HOST};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use seawall::{BoxError, Cache, CacheLayer, Profile, RespondLayer, UriKey, cache::Again};
use tokio::{net::TcpStream, sync::Semaphore};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::{
    origin::DIGITS,
    support::{
        Req, cache,
        sockets::{
            client::{Answer, Client, ask},
            eventually,
            origin::{Play, Scripted, bytes, scripted},
            serve,
        },
    },
};

/// One call to the origin at `addr`, on a connection of its own.
async fn send(addr: SocketAddr, mut request: Req) -> Result<Response<Incoming>, BoxError> {
    let authority = request.uri().authority().map(ToString::to_string);
    if let Some(authority) = authority {
        request.headers_mut().insert(HOST, HeaderValue::from_str(&authority)?);
        *request.uri_mut() = request.uri().path().parse()?;
    }
    let stream = TokioIo::new(TcpStream::connect(addr).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// Serves the origin at `origin` as a reverse proxy that can ask a second time.
async fn serve_before(cache: &Cache, origin: SocketAddr) -> SocketAddr {
    let key = Again::new(UriKey::new(), Empty::<Bytes>::new);
    let layer = CacheLayer::new(cache.clone()).policy(Profile::reverse_proxy()).key(key);
    let service = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(layer)
        .service(service_fn(move |request: Req| send(origin, request)));
    serve(service_fn(move |request: Request<Incoming>| {
        service.clone().oneshot(request.map(|_| Empty::new()))
    }))
    .await
}

/// What an origin was asked: `Range` and `If-Range`.
type Seen = Arc<Mutex<Vec<(Option<String>, Option<String>)>>>;

/// An origin that answers its calls one after the other with these scripts, the last for ever.
async fn playing(scripts: Vec<Vec<Play>>) -> (Scripted, Seen) {
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let origin = scripted(move |call, head| {
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .into_iter()
                .find(|line| line.0.eq_ignore_ascii_case(name))
                .map(|line| line.1.into())
        };
        noted.lock().unwrap().push((field("range"), field("if-range")));
        scripts[call.min(scripts.len() - 1)].clone()
    })
    .await;
    (origin, seen)
}

async fn whole(addr: SocketAddr) -> Answer {
    ask(addr, "GET / HTTP/1.1\r\nhost: a\r\n").await
}

async fn range(addr: SocketAddr, range: &str) -> Answer {
    ask(addr, &format!("GET / HTTP/1.1\r\nhost: a\r\nrange: bytes={range}\r\n")).await
}

async fn at_rest(cache: &Cache) {
    let ends = || cache.figures().flights == 0 && cache.figures().filling == 0;
    eventually("at rest", ends).await;
}

const HEAD: &str = "HTTP/1.1 206 Partial Content\r\netag: \"v1\"\r\ncache-control: max-age=600\r\n";

fn sized(range: &str) -> Vec<Play> {
    let (first, last) = range.split_once('-').unwrap();
    let text = &DIGITS[first.parse().unwrap()..=last.parse().unwrap()];
    let length = text.len();
    let head = format!("{HEAD}content-range: bytes {range}/10\r\ncontent-length: {length}\r\n\r\n");
    vec![bytes(head), bytes(text)]
}

fn is_whole(answer: &Answer) {
    assert_eq!((answer.status, answer.text(), answer.whole), (200, DIGITS, true), "{answer:?}");
    assert_eq!(answer.field("content-range"), None);
    assert_eq!(answer.fields("content-length"), ["10"], "{}", answer.head);
    assert_eq!(answer.field("transfer-encoding"), None, "{}", answer.head);
}

/// The first four bytes are stored; `rest` comes for the others.
async fn completed(rest: Vec<Play>) {
    completed_after(sized("0-3"), rest).await;
}

async fn completed_after(first: Vec<Play>, rest: Vec<Play>) {
    let (origin, seen) = playing(vec![first, rest]).await;
    let cache = cache();
    let addr = serve_before(&cache, origin.addr).await;
    let first = range(addr, "0-3").await;
    assert_eq!((first.status, first.text()), (206, "0123"));
    at_rest(&cache).await;
    let slice = range(addr, "1-2").await;
    assert_eq!((slice.status, slice.text(), slice.is_hit()), (206, "12", true));
    assert_eq!(slice.field("content-range"), Some("bytes 1-2/10"));

    // On one connection, so that wrong framing would show in the next answer.
    let mut client = Client::connect(addr).await;
    is_whole(&client.ask("GET / HTTP/1.1\r\nhost: a\r\n").await);
    at_rest(&cache).await;
    is_whole(&client.ask("GET / HTTP/1.1\r\nhost: a\r\n").await);
    let asked = seen.lock().unwrap().clone();
    assert_eq!(asked[1], (Some("bytes=4-".to_owned()), Some("\"v1\"".to_owned())));
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_completed_by_a_rest_with_a_length() {
    completed(sized("4-9")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_completed_by_a_rest_that_ends_with_its_connection() {
    let rest = format!("{HEAD}content-range: bytes 4-9/10\r\n\r\n456789");
    completed(vec![bytes(rest), Play::Close]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_may_come_in_chunks_or_end_with_its_connection() {
    let head = || format!("{HEAD}content-range: bytes 0-3/10\r\n");
    let chunked = head() + "transfer-encoding: chunked\r\n\r\n1\r\n0\r\n3\r\n123\r\n0\r\n\r\n";
    completed_after(vec![bytes(chunked)], sized("4-9")).await;
    let closing = head() + "\r\n0123";
    completed_after(vec![bytes(closing), Play::Close], sized("4-9")).await;
}

// FAILS: the 200 that is made of a chunked 206 has its `Transfer-Encoding` beside the `Content-Length`
// of the whole (RFC 9112 §6.2); hyper refuses to write that, and the client gets nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_completed_by_a_rest_in_chunks() {
    let rest = format!(
        "{HEAD}content-range: bytes 4-9/10\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\n45\r\n4\r\n6789\r\n0\r\n\r\n"
    );
    completed(vec![bytes(rest)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rest_that_is_cut_is_an_error_and_the_next_asks_once_more() {
    let head = || format!("{HEAD}content-range: bytes 4-9/10\r\n");
    let pause = Play::Wait(Duration::from_millis(20));
    for end in [Play::Close, Play::Reset] {
        for framing in
            ["content-length: 6\r\n\r\n", "transfer-encoding: chunked\r\n\r\n2\r\n", "\r\n"]
        {
            let cut = vec![bytes(head() + framing + "45"), pause.clone(), end.clone()];
            let (origin, _) = playing(vec![sized("0-3"), cut, sized("4-9")]).await;
            let cache = cache();
            let addr = serve_before(&cache, origin.addr).await;
            range(addr, "0-3").await;
            at_rest(&cache).await;
            let mut client = Client::connect(addr).await;
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let answer = client.answer_if_any(false).await;
            assert!(answer.is_none_or(|answer| !answer.whole || answer.status == 502), "{framing}");
            at_rest(&cache).await;
            is_whole(&whole(addr).await);
            assert_eq!(origin.calls(), 3, "{framing}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_reads_along_has_all_of_it() {
    let gate = Arc::new(Semaphore::new(0));
    let head = format!("{HEAD}content-range: bytes 4-9/10\r\ncontent-length: 6\r\n\r\n45");
    let rest = vec![bytes(head), Play::Gate(Arc::clone(&gate)), bytes("6789")];
    let (origin, _) = playing(vec![sized("0-3"), rest]).await;
    let cache = cache();
    let addr = serve_before(&cache, origin.addr).await;
    range(addr, "0-3").await;
    at_rest(&cache).await;
    let mut leader = Client::connect(addr).await;
    leader.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(leader.sees("\r\n\r\n012345", Duration::from_secs(20)).await);
    let follower = tokio::spawn(whole(addr));
    eventually("followed", || cache.figures().followers > 0).await;
    gate.add_permits(1);
    assert!(leader.sees("6789", Duration::from_secs(20)).await);
    is_whole(&follower.await.unwrap());
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_has_no_such_range_any_more_is_asked_for_the_whole() {
    let gone = "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-range: bytes */3\r\n\
        content-length: 0\r\n\r\n";
    let new = "HTTP/1.1 200 OK\r\netag: \"v2\"\r\ncache-control: max-age=600\r\n\
        content-length: 3\r\n\r\nabc";
    let (origin, seen) = playing(vec![sized("0-3"), vec![bytes(gone)], vec![bytes(new)]]).await;
    let cache = cache();
    let addr = serve_before(&cache, origin.addr).await;
    range(addr, "0-3").await;
    at_rest(&cache).await;
    for _ in 0..2 {
        let answer = whole(addr).await;
        assert_eq!((answer.status, answer.text()), (200, "abc"));
        at_rest(&cache).await;
    }
    assert_eq!(seen.lock().unwrap()[2], (None, None));
    assert_eq!(origin.calls(), 3);
}
