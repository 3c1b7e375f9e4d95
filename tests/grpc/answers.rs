//! Which answers are kept: whole ones that say themselves that all went well, and for how long.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Empty;
use seawall::{
    BoxError, CacheLayer, Policy, Profile, Rejected,
    policy::Answered,
    rfc9111::{Keep, Refusal},
};
use tokio::time::{Instant, advance};
use tower::{Layer, Service, service_fn};

use crate::{
    scripted::{Body, Origin, answer, ask, behind, call, framed, good, key, trailers},
    shop::FIND,
    support::{
        Calls,
        bodies::{Step, Steps},
        cache,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// Whether an answer is kept, and what its caller made of it: its body, and whether it ended well.
async fn kept(of: impl Fn() -> Response<Steps> + Clone + Send + 'static) -> (bool, Option<Bytes>) {
    let (origin, inner) = Origin::new(move |_| of());
    let cache = cache();
    let service = behind(&cache, inner);
    let first = ask(&service, call(b"7")).await.ok().map(|read| read.body);
    let _ = ask(&service, call(b"7")).await;
    let figures = cache.figures();
    assert_eq!((figures.flights, figures.followers, figures.filling), (0, 0, 0));
    assert_eq!(figures.records, u64::from(origin.calls.count() == 1 && figures.failing == 0));
    (figures.records == 1, first)
}

#[tokio::test(start_paused = true)]
async fn an_answer_cut_at_any_byte_is_not_kept_however_it_ends() {
    let whole = framed(b"a shoe in two frames");
    let half = whole.len() / 2;
    for at in 0..=whole.len() {
        let came = whole.slice(..at);
        let steps = move || {
            let (one, other) = (came.slice(..at.min(half)), came.slice(at.min(half)..));
            vec![Step::Data(one), Step::Data(other)]
        };
        let ends: [fn() -> Option<Step>; 3] =
            [|| None, || Some(trailers(&[("grpc-status", "0")])), || Some(Step::Fail)];
        for (end, name) in ends.into_iter().zip(["none", "trailers", "error"]) {
            let steps = steps.clone();
            let (kept, came) =
                kept(move || answer(&[], steps().into_iter().chain(end()).collect::<Vec<_>>()))
                    .await;
            let good = at == whole.len() && name == "trailers";
            assert_eq!(kept, good, "cut at byte {at}, end: {name}");
            let expected = (name != "error").then(|| whole.slice(..at));
            assert_eq!(came, expected, "cut at byte {at}, end: {name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_trailers_that_say_so_make_a_good_answer() {
    for (fields, is) in [
        (&[("grpc-status", "0")][..], true),
        (&[("grpc-status", "0"), ("x-call", "1")], true),
        (&[], false),
        (&[("x-call", "1")], false),
        (&[("grpc-status", "5")], false),
        (&[("grpc-status", "14")], false),
        (&[("grpc-status", "zero")], false),
        (&[("grpc-status", "0"), ("grpc-status", "5")], false),
    ] {
        let steps = move || [Step::Data(framed(b"a shoe")), trailers(fields)];
        let (kept, came) = kept(move || answer(&[], steps())).await;
        assert_eq!(kept, is, "{fields:?}");
        assert_eq!(came, Some(framed(b"a shoe")), "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_one_message_is_kept() {
    let bad = Bytes::from_static(b"\x02\0\0\0\0");
    let two = Bytes::from([framed(b"a shoe"), framed(b"a boot")].concat());
    for body in [two, Bytes::new(), bad, framed(b"a shoe").slice(..4)] {
        let came = body.clone();
        let steps = move || [Step::Data(body.clone()), trailers(&[("grpc-status", "0")])];
        assert_eq!(kept(move || answer(&[], steps())).await, (false, Some(came)));
    }
    assert!(kept(|| answer(&[], good())).await.0);
}

#[tokio::test(start_paused = true)]
async fn heads_that_are_not_of_a_good_answer_are_not_kept() {
    let heads: [&[(&str, &str)]; 9] = [
        &[("content-type", "text/html")],
        &[("content-type", "application/grpc-web")],
        &[("grpc-status", "0")],
        &[("content-length", "12")],
        &[("cache-control", "no-store")],
        &[("cache-control", "private")],
        &[("cache-control", "no-cache"), ("etag", "\"a\"")],
        &[("cache-control", "max-age=0")],
        &[("set-cookie", "a=b")],
    ];
    for head in heads {
        assert!(!kept(move || answer(head, good())).await.0, "{head:?}");
    }
    for status in [201, 204, 301, 304, 404, 500, 503] {
        let of = move || {
            let mut answer = answer(&[], good());
            *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
            answer
        };
        assert!(!kept(of).await.0, "{status}");
    }
    assert!(kept(|| answer(&[("content-length", "11")], good())).await.0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_for_the_time_of_its_method_or_for_the_shorter_one_that_it_names() {
    for (head, seconds) in [
        (&[][..], 60),
        (&[("cache-control", "max-age=5")], 5),
        (&[("cache-control", "max-age=3600")], 60),
        (&[("cache-control", "public, s-maxage=7")], 7),
        (&[("age", "50")], 10),
    ] {
        let (origin, inner) = Origin::new(move |_| answer(head, good()));
        let service = behind(&cache(), inner);
        ask(&service, call(b"7")).await.unwrap();
        advance(Duration::from_secs(seconds) - SECOND / 10).await;
        ask(&service, call(b"7")).await.unwrap();
        assert_eq!(origin.calls.count(), 1, "{head:?}");
        advance(SECOND / 5).await;
        ask(&service, call(b"7")).await.unwrap();
        assert_eq!(origin.calls.count(), 2, "{head:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_may_be_shorter_than_a_second_or_none() {
    for (lifetime, before, kept) in [
        (SECOND / 2, SECOND / 2, true),
        (SECOND * 3 / 2, SECOND, true),
        (Duration::ZERO, Duration::ZERO, false),
    ] {
        let (origin, inner) = Origin::good();
        let key = key().method(FIND, lifetime);
        let service = CacheLayer::new(cache()).key(key).layer(inner);
        ask(&service, call(b"7")).await.unwrap();
        advance(before.saturating_sub(SECOND / 10)).await;
        ask(&service, call(b"7")).await.unwrap();
        assert_eq!(origin.calls.count() == 1, kept, "{lifetime:?}");
        advance(SECOND * 6 / 10).await;
        let calls = origin.calls.count();
        ask(&service, call(b"7")).await.unwrap();
        assert_eq!(origin.calls.count(), calls + 1, "{lifetime:?}");
    }
}

/// A policy that keeps nothing.
struct Nothing(Profile);

impl Policy for Nothing {
    fn keep(&self, _: &Answered<'_>) -> Keep {
        Keep::No(Refusal::NoStore)
    }

    fn profile(&self) -> &Profile {
        &self.0
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_call_is_not_the_policys_to_say() {
    for profile in [Profile::safe(), Profile::reverse_proxy()] {
        let (origin, inner) = Origin::good();
        let layer = CacheLayer::new(cache()).policy(Nothing(profile)).key(key());
        let service = layer.layer(inner);
        for _ in 0..2 {
            ask(&service, call(b"7")).await.unwrap();
        }
        assert_eq!(origin.calls.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_trailers_alone_is_at_its_end_with_its_head_for_whoever_gets_it() {
    // One that is shared, and one that is not.
    for (status, asked) in [("14", 1), ("5", 2)] {
        let calls = Calls::default();
        let counted = calls.clone();
        let closed = service_fn(move |_: Request<Body>| {
            counted.add();
            let head = Response::builder().header("content-type", "application/grpc");
            let head = head.header("grpc-status", status).header("grpc-message", "closed");
            async move { Ok::<_, BoxError>(head.body(Empty::<Bytes>::new())?) }
        });
        let mut service = CacheLayer::new(cache()).key(key()).layer(closed);
        let (one, other) = (service.call(call(b"7")), service.call(call(b"7")));
        let (one, other) = tokio::join!(one, other);
        for response in [one, other] {
            let response = response.unwrap();
            assert!(response.body().is_end_stream(), "{response:?}");
            assert_eq!(response.headers()["grpc-status"], status);
            assert_eq!(response.headers()["grpc-message"], "closed");
        }
        assert_eq!(calls.count(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_alone_that_are_shared_are_at_their_end_before_the_origin_says_so() {
    let head = [("grpc-status", "14")];
    let (_, inner) =
        Origin::new(move |_| answer(&head, []).map(|_| Steps::new([Step::Wait(SECOND)]).sized(0)));
    let mut service = behind(&cache(), inner);
    let began = Instant::now();
    let (one, other) = (service.call(call(b"7")), service.call(call(b"7")));
    let (one, other) = tokio::join!(one, other);
    assert!(one.unwrap().body().is_end_stream() && other.unwrap().body().is_end_stream());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_is_kept_though_nothing_but_its_trailers_says_where_it_ends() {
    // As a service in the same process makes it: HTTP/1.1 by default, and of no length.
    let (origin, inner) = Origin::new(|_| {
        let mut answer = answer(&[], good());
        *answer.version_mut() = http::Version::HTTP_11;
        answer
    });
    let service = behind(&cache(), inner);
    for _ in 0..2 {
        let read = ask(&service, call(b"7")).await.unwrap();
        assert_eq!(read.trailers.unwrap()["grpc-status"], "0");
    }
    assert_eq!(origin.calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_asks_to_be_left_alone_is() {
    for (pushback, waits) in [("1500", Some(1_500)), ("-1", None), ("soon", None)] {
        let closed = [("grpc-status", "14"), ("grpc-retry-pushback-ms", pushback)];
        let (origin, inner) = Origin::new(move |_| answer(&closed, []));
        let service = behind(&cache(), inner);
        ask(&service, call(b"7")).await.unwrap();
        let next = ask(&service, call(b"7")).await;
        assert_eq!(origin.calls.count(), if waits.is_some() { 1 } else { 2 }, "{pushback}");
        if let Some(millis) = waits {
            let error = next.unwrap_err();
            let refusal = Rejected::find(&*error).unwrap();
            assert_eq!(refusal.wait(), Some(Duration::from_millis(millis)));
        }
    }
}
