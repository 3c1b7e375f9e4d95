//! Interim responses of the origin reach the client whose request they belong to, and nobody else.

use std::{net::SocketAddr, sync::Arc};

use http::Request;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};

use super::support::*;

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";
const PASSED: &str =
    "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\nvia: 1.1 seawall\r\n\r\n";
const KEPT: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\nbody";

/// An origin that says at once what comes before the bar in `says`, and the rest when it is let go.
struct Pausing {
    addr: SocketAddr,
    told: mpsc::UnboundedReceiver<String>,
    go: Arc<Semaphore>,
}

impl Pausing {
    async fn start(says: impl Fn(&str) -> String + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        let go = Arc::new(Semaphore::new(0));
        let may = Arc::clone(&go);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (says, tell, may) = (says.clone(), tell.clone(), Arc::clone(&may));
                tokio::spawn(async move {
                    while let Some(head) = read_head(&mut stream).await {
                        let answer = says(&head);
                        let (first, rest) = answer.split_once('|').unwrap();
                        stream.write_all(first.as_bytes()).await.unwrap();
                        let _ = tell.send(head);
                        may.acquire().await.unwrap().forget();
                        stream.write_all(rest.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self { addr, told, go }
    }

    fn go(&self) {
        self.go.add_permits(1);
    }
}

async fn send(addr: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

/// All that is still to come.
async fn rest(mut stream: TcpStream) -> String {
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("an end").unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The origin goes on only once the hints have been read.
#[tokio::test]
async fn hints_come_while_the_origin_still_thinks_and_are_not_kept() {
    let origin = Pausing::start(|_| format!("{HINTS}|{KEPT}")).await;
    let gateway = Gateway::before(origin.addr, &[]);
    let mut stream = send(gateway.addr, &get("/")).await;
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, PASSED);
    origin.go();
    let answer = read_until(&mut stream, "\r\n\r\nbody").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("cache-status: seawall; fwd=uri-miss"), "{answer}");
    assert!(!answer.contains("link"), "{answer}");

    gateway.until(|status| status["flights"] == 0).await;
    stream.write_all(get("/").as_bytes()).await.unwrap();
    let hit = read_until(&mut stream, "\r\n\r\nbody").await;
    assert!(hit.starts_with("HTTP/1.1 200 OK\r\n") && !hit.contains("link"), "{hit}");
    assert_eq!(field(&hit, "cache-status"), "seawall; hit");
    assert_eq!(rest(stream).await, "");
}

#[tokio::test]
async fn each_is_passed_on_but_those_between_two_hops() {
    let chunked = "HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked\r\n\r\n";
    let hop = "HTTP/1.1 103 Early Hints\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\r\n";
    let long = format!("HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n", "x".repeat(8 << 10));
    let via = |head: &str| format!("HTTP/1.1 {head}\r\nvia: 1.1 seawall\r\n\r\n");
    for (interim, expected) in [
        ("HTTP/1.1 102 Processing\r\n\r\n", via("102 Processing")),
        ("HTTP/1.1 102 Still at it\r\n\r\n", via("102 Processing")),
        ("HTTP/1.1 142 What\r\nx: y\r\n\r\n", via("142 \r\nx: y")),
        (&format!("HTTP/1.1 102 Processing\r\n\r\n{HINTS}"), via("102 Processing") + PASSED),
        (&HINTS.repeat(20), PASSED.repeat(20)),
        ("HTTP/1.1 100 Continue\r\n\r\n", String::new()),
        (&format!("HTTP/1.1 100 Continue\r\n\r\n{HINTS}"), PASSED.to_owned()),
        (hop, via("103 Early Hints")),
        (chunked, via("103 Early Hints")),
        ("HTTP/1.1 103 Early Hints\r\ncontent-length: 9\r\n\r\n", via("103 Early Hints")),
        (&long, String::new()),
    ] {
        let (origin, _says, _told) = changing(&format!("{interim}{KEPT}")).await;
        let gateway = Gateway::before(origin, &[]);
        for method in ["GET", "POST"] {
            let answer = gateway.ask(&format!("{method} / HTTP/1.1\r\nhost: a\r\n")).await;
            let last = answer.strip_prefix(&*expected).unwrap_or_else(|| panic!("{answer}"));
            assert!(last.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(last.ends_with("\r\n\r\nbody"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_100_is_our_own_and_once_at_most() {
    let says = format!("HTTP/1.1 100 Continue\r\n\r\n{HINTS}{KEPT}");
    let (origin, _says, _told) = changing(&says).await;
    let gateway = Gateway::before(origin, &[]);
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n";
    let answer = talk(gateway.addr, format!("{head}connection: close\r\n\r\nhi").as_bytes()).await;
    assert!(answer.matches("HTTP/1.1 100 Continue\r\n\r\n").count() <= 1, "{answer}");
    assert_eq!(answer.matches(PASSED).count(), 1, "{answer}");
    assert!(answer.ends_with("\r\n\r\nbody"), "{answer}");
}

#[tokio::test]
async fn clients_that_cannot_have_them_are_answered_without() {
    let (origin, _says, _told) = changing(&format!("{HINTS}{KEPT}")).await;
    let gateway = Gateway::before(origin, &[]);
    let answer = gateway.ask("GET /1.0 HTTP/1.0\r\nhost: a\r\n").await;
    assert!(answer.ends_with("\r\n\r\nbody") && !answer.contains("link"), "{answer}");
    assert_eq!(status(&answer), 200);

    let request = Request::get("http://a/h2c").body(nothing()).unwrap();
    let answer = ask_h2(gateway.addr, request).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get("link")), (200, None));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "body");
}

#[tokio::test]
async fn head_has_hints_too() {
    let answer = KEPT.strip_suffix("body").unwrap();
    let (origin, _says, _told) = changing(&format!("{HINTS}{answer}")).await;
    let gateway = Gateway::before(origin, &[]);
    let answer = gateway.ask("HEAD / HTTP/1.1\r\nhost: a\r\n").await;
    let last = answer.strip_prefix(PASSED).unwrap_or_else(|| panic!("{answer}"));
    assert!(last.starts_with("HTTP/1.1 200 OK\r\n") && last.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn followers_have_the_answer_alone_and_so_has_a_leader_that_left() {
    for stays in [true, false] {
        // The second head comes once the answer is let go: nobody may be there for it.
        let mut origin = Pausing::start(|_| format!("{HINTS}|{HINTS}{KEPT}")).await;
        let gateway = Gateway::before(origin.addr, &[]);
        let mut leader = send(gateway.addr, &get("/")).await;
        origin.told.recv().await.unwrap();
        assert_eq!(read_until(&mut leader, "\r\n\r\n").await, PASSED);
        let follower = send(gateway.addr, &get("/")).await;
        gateway.until(|status| status["followers"] == 1).await;
        let leader = stays.then_some(leader);
        origin.go();
        let mut follower = follower;
        let answer = read_until(&mut follower, "\r\n\r\nbody").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.contains("link"), "{answer}");
        assert!(field(&answer, "cache-status").contains("collapsed"), "{answer}");
        if let Some(mut leader) = leader {
            let answer = read_until(&mut leader, "\r\n\r\nbody").await;
            assert!(answer.starts_with(&format!("{PASSED}HTTP/1.1 200 OK\r\n")), "{answer}");
        }
        assert_eq!(rest(follower).await, "");
        assert_eq!(gateway.status().await["origin_calls"], 1);
    }
}

/// The client has had its stale answer: what the origin says of the refresh is not for it.
#[tokio::test]
async fn a_refresh_writes_nothing_into_the_connection_it_came_from() {
    let stale = KEPT.replace("content-length", "age: 70\r\ncontent-length");
    let mut origin = Pausing::start(move |head| match head.contains("GET /other ") {
        true => format!("|{KEPT}"),
        false => format!("{HINTS}|{HINTS}{stale}"),
    })
    .await;
    let gateway = Gateway::before(origin.addr, &["--stale-while-revalidate", "1m"]);
    let mut stream = send(gateway.addr, &get("/")).await;
    origin.go();
    let miss = read_until(&mut stream, "\r\n\r\nbody").await;
    assert_eq!(miss.matches(PASSED).count(), 2, "{miss}");
    gateway.until(|status| status["flights"] == 0).await;

    stream.write_all(get("/").as_bytes()).await.unwrap();
    let stale = read_until(&mut stream, "\r\n\r\nbody").await;
    assert!(stale.starts_with("HTTP/1.1 200 OK\r\n") && !stale.contains("link"), "{stale}");
    assert_eq!(field(&stale, "cache-status"), "seawall; hit; detail=stale-while-revalidate");
    origin.told.recv().await.unwrap();
    origin.told.recv().await.unwrap();

    // The connection waits for another answer while the refresh has its second hints.
    stream.write_all(get("/other").as_bytes()).await.unwrap();
    assert!(origin.told.recv().await.unwrap().starts_with("GET /other "));
    origin.go();
    gateway.until(|status| status["flights"] == 1).await;
    origin.go();
    let other = read_until(&mut stream, "\r\n\r\nbody").await;
    assert!(other.starts_with("HTTP/1.1 200 OK\r\n") && !other.contains("link"), "{other}");
    assert_eq!(rest(stream).await, "");
    assert_eq!(gateway.status().await["refreshes"], 1);
}

#[tokio::test]
async fn pipelined_requests_have_each_its_own_before_its_answer() {
    let says = |head: &str| {
        let path = head.split(' ').nth(1).unwrap();
        format!("HTTP/1.1 103 Early Hints\r\nlink: <{path}>\r\n\r\n|{KEPT}")
    };
    let mut origin = Pausing::start(says).await;
    let gateway = Gateway::before(origin.addr, &[]);
    let paths = ["/a", "/b", "/c"];
    let mut stream = send(gateway.addr, &paths.map(get).concat()).await;
    for path in paths {
        let hints = read_until(&mut stream, "\r\n\r\n").await;
        let expected = format!("103 Early Hints\r\nlink: <{path}>\r\nvia: 1.1 seawall\r\n\r\n");
        assert_eq!(hints, format!("HTTP/1.1 {expected}"));
        assert!(origin.told.recv().await.unwrap().starts_with(&format!("GET {path} ")));
        origin.go();
        let answer = read_some(&mut stream, "\r\n\r\nbody").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert_eq!(rest(stream).await, "");
}

/// Reads up to the end of the text and no further.
async fn read_some(stream: &mut TcpStream, text: &str) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.ends_with(text.as_bytes()) {
            bytes.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(LONG, read).await.unwrap_or_else(|_| panic!("no {text:?}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_no_origin() {
    let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n", "x".repeat(4000));
    let passed = hint.replace("\r\n\r\n", "\r\nvia: 1.1 seawall\r\n\r\n");
    const MANY: usize = 10_000;
    let (origin, _says, _told) = changing(&format!("{}{KEPT}", hint.repeat(MANY))).await;
    let gateway = Gateway::before(origin, &[]);
    let mut stream = send(gateway.addr, &get("/")).await;
    gateway.until(|status| status["misses"] == 1 && status["flights"] == 0).await;
    assert_eq!(gateway.status().await["entries"], 1);

    let all = read_until(&mut stream, "\r\n\r\nbody").await;
    let last = all.trim_start_matches(&*passed);
    assert!(last.starts_with("HTTP/1.1 200 OK\r\n"), "{}", &last[..200]);
    let count = (all.len() - last.len()) / passed.len();
    assert!((1..MANY).contains(&count), "{count}");
    assert_eq!(rest(stream).await, "");
}

#[tokio::test]
async fn an_origin_that_only_hints_is_a_broken_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::before(listener.local_addr().unwrap(), &[]);
    let mut stream = send(gateway.addr, &get("/")).await;
    let (mut origin, _) = listener.accept().await.unwrap();
    read_head(&mut origin).await.unwrap();
    origin.write_all(HINTS.as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, PASSED);
    drop((origin, listener));
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert_eq!(status(&answer), 502, "{answer}");
}
