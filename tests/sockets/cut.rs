//! Answers that are cut: whoever reads them sees it, and nothing of them is kept.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::BodyExt;
use seawall::Profile;

use crate::support::{
    cache,
    sockets::{
        Upstream,
        client::{Client, get, http2, request},
        eventually, frames,
        origin::{Play, bytes, scripted, scripted_http2},
        serve_before, serve_cached,
    },
};

const TEXT: &str = "abcdefghijklmnopqrstuvwxyz";

const SIZED: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 26\r\n\r\n\
    abcdefghijklmnopqrstuvwxyz";

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\
    trailer: x-sum\r\n\r\n\
    5\r\nabcde\r\n1\r\nf\r\na\r\nghijklmnop\r\na;of=ten\r\nqrstuvwxyz\r\n0\r\nx-sum: 26\r\n\r\n";

/// What a reader made of an answer.
#[derive(Debug)]
struct Seen {
    status: Option<u16>,
    body: Bytes,
    /// The body has come to an end that looks like one.
    clean: bool,
}

impl Seen {
    /// An error, by its status or by an end that is none; of the body at most its beginning.
    fn is_an_error(&self) -> bool {
        match self.status {
            // 503: the call before has failed, and the key is left alone for a moment.
            None | Some(502 | 503) => true,
            Some(200) => !self.clean && TEXT.as_bytes().starts_with(&self.body),
            Some(_) => false,
        }
    }

    fn is_whole(&self) -> bool {
        self.status == Some(200) && self.clean && self.body == TEXT
    }
}

async fn seen_over_http1(addr: SocketAddr, path: &str) -> Seen {
    let mut client = Client::connect(addr).await;
    client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    match client.answer_if_any(false).await {
        None => Seen { status: None, body: Bytes::new(), clean: false },
        Some(answer) => {
            Seen { status: Some(answer.status), body: answer.body.into(), clean: answer.whole }
        }
    }
}

async fn seen_over_http2(addr: SocketAddr, path: &str) -> Seen {
    let Ok(answer) = http2(addr).await.send_request(request(path)).await else {
        return Seen { status: None, body: Bytes::new(), clean: false };
    };
    let status = Some(answer.status().as_u16());
    let (mut body, mut read) = (answer.into_body(), Vec::new());
    let clean = loop {
        match body.frame().await {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => read.extend(frame.into_data().unwrap_or_default()),
        }
    };
    Seen { status, body: read.into(), clean }
}

/// Two callers at once of each version: who leads is chance, and what they see must not be.
///
/// Without a scheme in the target an HTTP/1.1 request has a key of its own.
async fn seen_by_all(addr: SocketAddr, path: &str) -> [Seen; 4] {
    let (one, two, three, four) = tokio::join!(
        seen_over_http1(addr, path),
        seen_over_http1(addr, path),
        seen_over_http2(addr, path),
        seen_over_http2(addr, path),
    );
    [one, two, three, four]
}

async fn cut_everywhere(whole: &'static str, end: Play) {
    // The path says where to cut.
    let origin = scripted(move |_, head| {
        let at: usize = head["GET /".len()..].split_once(' ').unwrap().0.parse().unwrap();
        vec![bytes(&whole[..at]), end.clone()]
    })
    .await;
    let cache = cache();
    let addr = serve_before(&cache, origin.addr).await;
    for at in 0..whole.len() {
        for seen in seen_by_all(addr, &format!("/{at}")).await {
            assert!(seen.is_an_error(), "cut at byte {at} of {}: {seen:?}", whole.len());
        }
        assert_eq!(cache.figures().records, 0, "cut at byte {at}");
    }
    assert_eq!((cache.figures().flights, cache.figures().filling), (0, 0));
    for seen in seen_by_all(addr, &format!("/{}", whole.len())).await {
        assert!(seen.is_whole(), "{seen:?}");
    }
    assert_eq!(cache.figures().records, 2, "what is not cut is kept under both keys");
    println!("cut at each of {} bytes; {} calls", whole.len(), origin.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sized_answer_cut_at_any_byte_is_an_error_and_not_stored() {
    let _alone = crate::alone().await;
    cut_everywhere(SIZED, Play::Close).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sized_answer_reset_at_any_byte_is_an_error_and_not_stored() {
    let _alone = crate::alone().await;
    cut_everywhere(SIZED, Play::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_answer_cut_at_any_byte_is_an_error_and_not_stored() {
    let _alone = crate::alone().await;
    cut_everywhere(CHUNKED, Play::Close).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_answer_reset_at_any_byte_is_an_error_and_not_stored() {
    let _alone = crate::alone().await;
    cut_everywhere(CHUNKED, Play::Reset).await;
}

/// Plays frames after a head of HTTP/2, with and without a length.
///
/// An HTTP/1.1 reader that has a body of the declared length can be told nothing any more.
async fn cut_over_http2(name: &str, after: &[Play], told_too_late: bool) {
    for length in [None, Some("26")] {
        let mut fields = vec![("cache-control", "max-age=60"), ("trailer", "x-sum")];
        fields.extend(length.map(|length| ("content-length", length)));
        let script = [vec![bytes(frames::head(&fields))], after.to_vec()].concat();
        let origin = scripted_http2(move |_| script.clone()).await;
        let cache = cache();
        let upstream = Upstream::http2(origin.addr);
        let addr = serve_cached(&cache, Profile::safe(), upstream).await;
        for (at, seen) in seen_by_all(addr, "/").await.into_iter().enumerate() {
            let late = told_too_late && length.is_some() && at < 2;
            let right = seen.is_an_error() || (late && seen.is_whole());
            assert!(right, "{name}, length {length:?}, reader {at}: {seen:?}");
        }
        assert_eq!(cache.figures().records, 0, "{name}, length {length:?}");
        // What was recorded is given back when the last server task has let go of it.
        let at_rest = || (cache.figures().flights, cache.figures().filling) == (0, 0);
        eventually("given back", at_rest).await;
    }
}

fn first() -> Play {
    bytes(frames::data(0, &TEXT[..13]))
}

fn second() -> Play {
    bytes(frames::data(0, &TEXT[13..]))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_answer_that_is_reset_midway_is_an_error_and_not_stored() {
    let _alone = crate::alone().await;
    let internal = || bytes(frames::reset(frames::INTERNAL_ERROR));
    let cancel = || bytes(frames::reset(frames::CANCEL));
    let away = |last, code| bytes(frames::goaway(last, code));
    let cases: [(&str, Vec<Play>); 8] = [
        ("internal error after the head", vec![internal()]),
        ("internal error midway", vec![first(), internal()]),
        ("cancelled after the head", vec![cancel()]),
        ("cancelled midway", vec![first(), cancel()]),
        ("connection closed midway", vec![first(), Play::Close]),
        ("connection reset midway", vec![first(), Play::Reset]),
        ("failed midway", vec![first(), away(0, frames::INTERNAL_ERROR), Play::Close]),
        ("gone away after it midway", vec![first(), away(1, frames::NO_ERROR), Play::Close]),
    ];
    for (name, after) in cases {
        cut_over_http2(name, &after, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_answer_whose_trailers_never_come_is_an_error_and_not_stored() {
    let _alone = crate::alone().await;
    let cases: [(&str, Vec<Play>); 3] = [
        ("reset", vec![first(), second(), bytes(frames::reset(frames::INTERNAL_ERROR))]),
        ("cancelled", vec![first(), second(), bytes(frames::reset(frames::CANCEL))]),
        ("closed", vec![first(), second(), Play::Close]),
    ];
    for (name, after) in cases {
        cut_over_http2(name, &after, true).await;
    }
}

/// RFC 9113 §8.1: a server may reset a stream without an error once it has sent a complete answer.
/// Before that, such a reset is no end of one, though a client may take it for that.
#[tokio::test(flavor = "multi_thread")]
async fn an_http2_answer_reset_midway_without_an_error_is_not_stored_as_if_it_were_whole() {
    let _alone = crate::alone().await;
    let reset = || bytes(frames::reset(frames::NO_ERROR));
    let away = || bytes(frames::goaway(0, frames::NO_ERROR));
    let cases: [(&str, Vec<Play>); 4] = [
        ("after the head", vec![reset()]),
        ("midway", vec![first(), reset()]),
        ("instead of trailers", vec![first(), second(), reset()]),
        ("gone away from it midway", vec![first(), away(), Play::Close]),
    ];
    for (name, after) in cases {
        let script =
            [vec![bytes(frames::head(&[("cache-control", "max-age=60")]))], after].concat();
        let origin = scripted_http2(move |_| script.clone()).await;
        let cache = cache();
        let upstream = Upstream::http2(origin.addr);
        let addr = serve_cached(&cache, Profile::safe(), upstream).await;
        seen_by_all(addr, "/").await;
        assert_eq!(cache.figures().records, 0, "{name}");
        let seen = seen_over_http1(addr, "/").await;
        assert!(origin.calls() >= 2, "{name}: answered from storage: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_answer_that_ends_as_it_should_is_stored_with_its_trailers() {
    let _alone = crate::alone().await;
    let origin = scripted_http2(|_| {
        let head = frames::head(&[("cache-control", "max-age=60"), ("trailer", "x-sum")]);
        vec![bytes(head), first(), second(), bytes(frames::trailers(&[("x-sum", "26")]))]
    })
    .await;
    let cache = cache();
    let upstream = Upstream::http2(origin.addr);
    let addr = serve_cached(&cache, Profile::safe(), upstream).await;
    for expected in ["seawall; fwd=uri-miss; fwd-status=200; stored", "seawall; hit"] {
        let answer = http2(addr).await.send_request(request("/")).await.unwrap();
        assert_eq!(answer.headers()["cache-status"], expected);
        let read = answer.into_body().collect().await.unwrap();
        assert_eq!(read.trailers().unwrap()["x-sum"], "26");
        assert_eq!(read.to_bytes(), TEXT);
    }
    assert_eq!(origin.calls(), 1);
}

/// A body that only its connection ends may have been cut anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_with_its_connection_is_passed_on_and_stored_by_a_reverse_proxy_alone() {
    let _alone = crate::alone().await;
    let heads = [
        ("HTTP/1.1 200 OK\r\n", true),
        ("HTTP/1.0 200 OK\r\n", true),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n", true),
        // RFC 9112 §6.3: chunked is not the last coding, so the connection's end is the body's.
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n", true),
        // What is stored has no transfer coding: it would be taken for its content.
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: GZIP\r\n", false),
    ];
    for (profile, keeps) in [(Profile::safe(), false), (Profile::reverse_proxy(), true)] {
        for (head, plain) in heads {
            let stored = keeps && plain;
            let whole = format!("{head}cache-control: max-age=60\r\n\r\n{TEXT}");
            let origin = scripted(move |_, _| vec![bytes(&whole), Play::Close]).await;
            let cache = cache();
            let upstream = Upstream::http1(origin.addr);
            let addr = serve_cached(&cache, profile.clone(), upstream).await;
            for calls in 1..=2 {
                let answer = get(addr, "/").await;
                // Codings that nobody knows may be refused, but never kept.
                let passed = answer.whole && answer.text() == TEXT;
                assert!(passed || answer.status == 502, "{head:?}: {answer:?}");
                let expected = if stored { 1 } else { calls };
                assert_eq!(origin.calls(), expected, "{head:?}: {answer:?}");
                // Until then others may still have it from the flight.
                eventually("landed", || cache.figures().flights == 0).await;
                let records = u64::from(stored);
                assert_eq!(cache.figures().records, records, "{head:?}: {answer:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_beside_a_transfer_coding_cuts_nothing_short() {
    let _alone = crate::alone().await;
    let lengths = ["content-length: 5\r\n", "content-length: 26\r\n", "content-length: 100\r\n"];
    for length in lengths {
        let whole = CHUNKED.replace("trailer: x-sum\r\n", length);
        let origin = scripted(move |_, _| vec![bytes(&whole), Play::Close]).await;
        let cache = cache();
        let addr = serve_before(&cache, origin.addr).await;
        for _ in 0..2 {
            for seen in seen_by_all(addr, "/").await {
                assert!(seen.is_whole() || seen.is_an_error(), "{length:?}: {seen:?}");
            }
        }
    }
}
