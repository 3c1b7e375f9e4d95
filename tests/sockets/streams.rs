//! Streams without an end: what the origin sends is there before it sends the next.

use std::sync::Arc;

use http_body_util::BodyExt;
use tokio::{sync::Semaphore, time::timeout};

use crate::support::{
    cache,
    sockets::{
        LONG,
        client::{Client, http2, request},
        origin::{Play, Scripted, bytes, scripted},
        serve_before,
    },
};

const EVENTS: usize = 5;

/// What is never kept, whatever it is.
const STREAMS: [(&str, &str); 4] = [
    ("events", "content-type: text/event-stream\r\ncache-control: no-store\r\n"),
    ("events of which nothing is said", "content-type: text/event-stream\r\n"),
    ("a private stream", "content-type: application/x-ndjson\r\ncache-control: private\r\n"),
    ("a stream with a cookie", "cache-control: max-age=60\r\nset-cookie: a=b\r\n"),
];

fn event(number: usize) -> String {
    format!("data: event {number}\n\n")
}

/// Sends its head, and an event each time that it may; it never ends.
async fn events(fields: &str, gate: &Arc<Semaphore>, chunked: bool) -> Scripted {
    let coding = if chunked { "transfer-encoding: chunked\r\n" } else { "" };
    let head = format!("HTTP/1.1 200 OK\r\n{coding}{fields}\r\n");
    let gate = Arc::clone(gate);
    scripted(move |_, _| {
        let mut script = vec![bytes(&head)];
        for number in 0..EVENTS {
            let event = event(number);
            script.push(Play::Gate(Arc::clone(&gate)));
            script.push(match chunked {
                true => bytes(format!("{:x}\r\n{event}\r\n", event.len())),
                false => bytes(event),
            });
        }
        script.push(Play::Hang);
        script
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_and_each_event_of_a_stream_arrive_before_the_next_is_sent() {
    let _alone = crate::alone().await;
    for (name, fields) in STREAMS {
        for chunked in [true, false] {
            let gate = Arc::new(Semaphore::new(0));
            let origin = events(fields, &gate, chunked).await;
            let cache = cache();
            let addr = serve_before(&cache, origin.addr).await;
            let mut client = Client::connect(addr).await;
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(client.head().await.status, 200, "{name}");
            for number in 0..EVENTS {
                gate.add_permits(1);
                assert!(client.sees(&event(number), LONG).await, "{name}: event {number}");
            }
            assert_eq!((cache.figures().records, cache.figures().filling), (0, 0), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_the_head_and_each_event_arrive_before_the_next_is_sent() {
    let _alone = crate::alone().await;
    for (name, fields) in STREAMS {
        let gate = Arc::new(Semaphore::new(0));
        let origin = events(fields, &gate, true).await;
        let addr = serve_before(&cache(), origin.addr).await;
        let answer = http2(addr).await.send_request(request("/"));
        let mut body = timeout(LONG, answer).await.expect("a head").unwrap().into_body();
        for number in 0..EVENTS {
            gate.add_permits(1);
            let frame = timeout(LONG, body.frame()).await.expect("an event").unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), event(number), "{name}");
        }
    }
}

/// The head of a stream that nobody may share tells so: nobody waits for its end.
#[tokio::test(flavor = "multi_thread")]
async fn everyone_who_asks_for_an_uncacheable_stream_has_one_of_his_own_at_once() {
    let _alone = crate::alone().await;
    for (name, fields) in STREAMS {
        let gate = Arc::new(Semaphore::new(0));
        let origin = events(fields, &gate, true).await;
        let addr = serve_before(&cache(), origin.addr).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = Client::connect(addr).await;
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            clients.push(client);
        }
        for client in &mut clients {
            assert_eq!(client.head().await.status, 200, "{name}");
        }
        assert_eq!(origin.calls(), 3, "{name}");
        gate.add_permits(3);
        for client in &mut clients {
            assert!(client.sees(&event(0), LONG).await, "{name}");
        }
    }
}

/// One that may be kept is recorded for others, and its first caller sees nothing of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_may_be_kept_reaches_its_first_caller_as_it_is_sent() {
    let _alone = crate::alone().await;
    let gate = Arc::new(Semaphore::new(0));
    let fields = "content-type: text/event-stream\r\ncache-control: max-age=60\r\n";
    let origin = events(fields, &gate, true).await;
    let addr = serve_before(&cache(), origin.addr).await;
    let mut client = Client::connect(addr).await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    for number in 0..EVENTS {
        gate.add_permits(1);
        assert!(client.sees(&event(number), LONG).await, "event {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_an_endless_stream_ends_the_call_for_it() {
    let _alone = crate::alone().await;
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        tokio::io::AsyncReadExt::read(&mut stream, &mut request).await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\ncache-control: no-store\r\n\r\nfirst";
        tokio::io::AsyncWriteExt::write_all(&mut stream, head).await.unwrap();
        // The call ends where its connection does.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        ended.send(()).unwrap();
    });
    let addr = serve_before(&cache(), origin).await;
    let mut client = Client::connect(addr).await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.sees("first", LONG).await);
    client.reset();
    timeout(LONG, ends.recv()).await.expect("the call's end").unwrap();
}
