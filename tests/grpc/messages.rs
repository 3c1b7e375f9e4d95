//! Which bodies are unary calls; what is none reaches the origin as it was sent.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use seawall::{FetchError, Rejected};
use tokio::time::{Instant, advance};
use tower::{Service, ServiceExt, service_fn, util::BoxCloneService};

use crate::{
    scripted::{
        Body, Origin, answer, ask, behind, call, call_of, framed, get, good, trailers, with,
    },
    shop::FIND,
    support::{
        bodies::{Step, Steps},
        cache, cache_builder,
    },
};

fn steps(pieces: &[&[u8]]) -> Vec<Step> {
    pieces.iter().map(|piece| Step::Data(Bytes::copy_from_slice(piece))).collect()
}

#[tokio::test(start_paused = true)]
async fn one_message_is_a_call_in_however_many_frames_it_comes() {
    let (origin, inner) = Origin::good();
    let service = behind(&cache(), inner);
    let whole = framed(b"a shoe, please");
    for at in 0..=whole.len() {
        let (one, other) = whole.split_at(at);
        let body = Steps::new(steps(&[one, b"", other, b""]));
        ask(&service, call_of(body)).await.unwrap();
        ask(&service, call_of(Steps::new(steps(&whole.chunks(1).collect::<Vec<_>>()))))
            .await
            .unwrap();
    }
    assert_eq!(origin.calls.count(), 1);
    let got = origin.last();
    assert_eq!((got.body, got.trailers, got.error), (whole, None, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_one_whole_message_passes_as_it_came() {
    let one = framed(b"a shoe");
    let two = [one.clone(), framed(b"a boot")].concat();
    let long = framed(&[b'x'; 9_000]);
    let longest = framed(&[b'x'; (8 << 10) - 5]);
    let bodies: [(&str, Vec<&[u8]>); 13] = [
        ("nothing", vec![]),
        ("empty frames", vec![b"", b""]),
        ("less than a prefix", vec![&one[..4]]),
        ("a prefix alone", vec![&one[..5]]),
        ("a message cut short", vec![&one[..10]]),
        ("two in a frame", vec![&two]),
        ("two in two frames", vec![&two[..11], &two[11..]]),
        ("two, and no end between", vec![&two[..7], &two[7..13], &two[13..]]),
        ("a byte too many", vec![&two[..12]]),
        ("a byte too many in a frame of its own", vec![&two[..11], &two[11..12]]),
        ("an unknown flag", vec![b"\x02\0\0\0\x01x"]),
        ("too long", vec![&long[..100], &long[100..8_000], &long[8_000..]]),
        ("too long for a key, with the rest of it", vec![&longest]),
    ];
    for (name, pieces) in bodies {
        let (origin, inner) = Origin::good();
        let cache = cache();
        let service = behind(&cache, inner);
        for calls in 1..=2 {
            let read = ask(&service, call_of(Steps::new(steps(&pieces)))).await.unwrap();
            assert_eq!(read.cache_status(), "fwd=bypass; fwd-status=200", "{name}");
            assert_eq!(read.body, framed(b"a shoe"), "{name}");
            let got = origin.last();
            assert_eq!((&*got.body, got.error), (&*pieces.concat(), None), "{name}");
            assert_eq!(origin.calls.count(), calls, "{name}");
        }
        assert_eq!((cache.figures().records, cache.figures().filling), (0, 0), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_and_trailers_pass_behind_what_was_read() {
    let one = framed(b"a shoe");
    for at in [0, 3, 7, 11] {
        let (origin, inner) = Origin::good();
        let service = behind(&cache(), inner);
        let begun = || steps(&[&one[..at]]);
        let failing = Steps::new(begun().into_iter().chain([Step::Fail]));
        ask(&service, call_of(failing)).await.unwrap();
        let got = origin.last();
        assert_eq!((&*got.body, got.error.as_deref()), (&one[..at], Some("the body failed")));

        let ended = begun().into_iter().chain([trailers(&[("x-sum", "11")])]);
        ask(&service, call_of(Steps::new(ended))).await.unwrap();
        let got = origin.last();
        assert_eq!((&*got.body, got.error), (&one[..at], None));
        assert_eq!(got.trailers.unwrap()["x-sum"], "11");
        assert_eq!(origin.calls.count(), 2);
    }
}

/// What an origin saw of a body: when it was called and when frames came, in seconds.
#[derive(Clone, Debug)]
struct Seen {
    at: Vec<u64>,
    read: Vec<u8>,
}

/// What an origin behind a cache sees of this body.
async fn seen(body: Vec<Step>) -> Seen {
    let began = Instant::now();
    let called = service_fn(move |request: http::Request<Body>| async move {
        let mut body = request.into_body();
        let mut seen = Seen { at: vec![began.elapsed().as_secs()], read: Vec::new() };
        while let Some(frame) = body.frame().await {
            seen.read.extend(frame?.into_data().unwrap());
            seen.at.push(began.elapsed().as_secs());
        }
        let mut answer = answer(&[], good());
        answer.extensions_mut().insert(seen);
        Ok(answer)
    });
    let cache = cache();
    let service = behind(&cache, BoxCloneService::new(called));
    let response = service.oneshot(call_of(Steps::new(body))).await.unwrap();
    assert_eq!(cache.figures().records, 0);
    response.extensions().get::<Seen>().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_passes_after_ten_seconds_and_goes_on() {
    let one = framed(b"a shoe");
    for (at, frames) in [(0, vec![60, 60]), (7, vec![10, 60, 60]), (11, vec![10, 60])] {
        let mut body = steps(&[&one[..at]]);
        body.push(Step::Wait(Duration::from_secs(60)));
        body.extend(steps(&[&one[at..], b"and more"]).into_iter().skip(usize::from(at == 11)));
        let seen = seen(body).await;
        assert_eq!(seen.read, [&one[..], b"and more"].concat());
        assert_eq!((seen.at[0], &seen.at[1..]), (10, &*frames), "cut at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_be_no_call_any_more_passes_without_waiting_for_more() {
    let one = framed(b"a shoe");
    let two = [&one[..], &one[..]].concat();
    let long = 9_000_u32.to_be_bytes();
    let begun: [Vec<&[u8]>; 6] = [
        vec![&two],
        vec![&one, b"\0"],
        vec![&two[..12]],
        vec![b"\x02\0\0\0\x01"],
        vec![b"\0", &long],
        vec![&[0; 9_000]],
    ];
    for pieces in begun {
        let mut body = steps(&pieces);
        body.push(Step::Wait(Duration::from_secs(60)));
        let seen = seen(body).await;
        assert_eq!((seen.at[0], seen.at[1]), (0, 0), "{pieces:?}");
        assert_eq!(seen.read, pieces.concat());
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_while_it_is_read_leaves_nothing_behind() {
    let (origin, inner) = Origin::good();
    let cache = cache();
    let mut service = behind(&cache, inner);
    let hangs =
        || call_of(Steps::new(steps(&[&framed(b"a shoe")[..7]]).into_iter().chain([Step::Hang])));
    let (mut leaving, mut staying) = (service.call(hangs()), service.call(hangs()));
    for reading in [&mut leaving, &mut staying] {
        assert!(polled(reading).is_pending());
    }
    assert_eq!(cache.figures().filling, 14);
    drop(leaving);
    assert_eq!((cache.figures().filling, cache.figures().flights), (7, 0));
    // Others are not concerned.
    ask(&service, call(b"a shoe")).await.unwrap();
    assert_eq!(origin.calls.count(), 1);
    drop(staying);
    assert_eq!((cache.figures().filling, origin.calls.count()), (0, 1));
}

fn polled<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn what_is_read_counts_against_the_fill_budget() {
    let (origin, inner) = Origin::good();
    let cache = cache_builder().fill_budget(40).build();
    let service = behind(&cache, inner);
    for calls in 1..=2 {
        let read = ask(&service, call(&[b'x'; 50])).await.unwrap();
        assert_eq!(read.cache_status(), "fwd=bypass; fwd-status=200");
        assert_eq!(&origin.last().body[5..], [b'x'; 50]);
        assert_eq!(origin.calls.count(), calls);
    }
    for _ in 0..2 {
        ask(&service, call(b"a shoe")).await.unwrap();
    }
    assert_eq!((origin.calls.count(), cache.figures().filling), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_request_asks_of_caches_holds_for_calls() {
    let (origin, inner) = Origin::good();
    let service = behind(&cache(), inner);
    let asking = |what| with(call(b"7"), "cache-control", what);
    let refused = ask(&service, asking("only-if-cached")).await.unwrap_err();
    assert!(Rejected::find(&*refused).is_some() && FetchError::find(&*refused).is_none());
    assert_eq!(origin.calls.count(), 0);
    ask(&service, call(b"7")).await.unwrap();
    let hit = ask(&service, asking("only-if-cached")).await.unwrap();
    assert_eq!(hit.cache_status(), "hit");
    ask(&service, asking("no-store")).await.unwrap();
    ask(&service, asking("no-cache")).await.unwrap();
    assert_eq!(origin.calls.count(), 3);
    advance(Duration::from_secs(59)).await;
    // What `no-cache` has fetched is kept.
    assert_eq!(ask(&service, call(b"7")).await.unwrap().cache_status(), "hit");
}

#[tokio::test(start_paused = true)]
async fn ranges_and_conditions_reach_the_origin_and_cut_nothing() {
    let (origin, inner) = Origin::good();
    let service = behind(&cache(), inner);
    let fields = [
        ("range", "bytes=0-1"),
        ("if-none-match", "*"),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("if-match", "\"a\""),
        ("content-length", "6"),
    ];
    let cutting =
        || fields.into_iter().fold(call(b"7"), |call, (name, value)| with(call, name, value));
    for expected in ["fwd=uri-miss; fwd-status=200; stored", "hit"] {
        let read = ask(&service, cutting()).await.unwrap();
        assert_eq!((read.status(), read.cache_status()), (200, expected));
        assert_eq!(read.body, framed(b"a shoe"));
    }
    for (name, value) in fields {
        assert_eq!(origin.last().fields[name], value);
    }
    assert_eq!(ask(&service, call(b"7")).await.unwrap().cache_status(), "hit");
    assert_eq!(origin.calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_call_has_the_key_of_its_uri() {
    let (origin, inner) = Origin::new(|call| {
        let body = Steps::new([Step::Data(Bytes::from(call.to_string()))]).sized(1);
        answer(&[("cache-control", "max-age=60")], []).map(|_| body)
    });
    let service = behind(&cache(), inner);
    for path in [FIND, "/"] {
        let page = || get(path);
        ask(&service, page()).await.unwrap();
        assert_eq!(ask(&service, page()).await.unwrap().cache_status(), "hit", "{path}");
    }
    let calls = origin.calls.count();
    // A call of the same URI is not answered with a page, nor does it pass for one.
    ask(&service, call_of(Empty::new())).await.unwrap();
    ask(&service, call(b"")).await.unwrap();
    assert_eq!(origin.calls.count(), calls + 2);
    let page = get(FIND);
    assert_eq!(ask(&service, page).await.unwrap().cache_status(), "hit");
}
