//! Less than the whole: HEAD, ranges, conditions, for a leader, a follower and a hit alike.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, Method, header};
use seawall::{Cache, CacheLayer, CoalesceLayer};
use support::{
    BoxedOrigin, Calls, Read, Req, answer, asked, at_once,
    bodies::{Step, Steps},
    cache, call, get, head, origin, streamed, with,
};
use tokio::{
    task::yield_now,
    time::{advance, sleep},
};
use tower::Layer;

const SECOND: Duration = Duration::from_secs(1);
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const FIELDS: &[(&str, &str)] =
    &[("cache-control", "max-age=600"), ("etag", "\"v1\""), ("last-modified", MODIFIED)];

/// What an origin was asked: methods and fields.
type Seen = Arc<Mutex<Vec<(Method, HeaderMap)>>>;

/// An origin of ten digits that takes a second, knows no ranges and no conditions, and has no body
/// for a HEAD.
fn digits() -> (Calls, Seen, BoxedOrigin) {
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let (calls, inner) = origin(move |_, request| {
        noted.lock().unwrap().push((request.method().clone(), request.headers().clone()));
        async move {
            sleep(SECOND).await;
            let whole =
                answer(FIELDS, if request.method() == Method::HEAD { "" } else { "0123456789" });
            let (mut parts, body) = whole.into_parts();
            parts.headers.insert("content-length", 10.into());
            Ok(http::Response::from_parts(parts, body))
        }
    });
    (calls, seen, inner)
}

fn assert_nothing_is_left(cache: &Cache) {
    let figures = cache.figures();
    let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
    assert_eq!(left, (0, 0, 0, 0), "{figures:?}");
}

/// The same request as a leader, as a follower of another's GET, and answered from storage.
async fn in_every_place(request: impl Fn() -> Req) -> [Read; 3] {
    let (calls, seen, inner) = digits();
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).layer(inner.clone());
    let leader = call(&mut service.clone(), request()).await.unwrap();
    sleep(SECOND).await;
    assert_nothing_is_left(&cache);
    let hit = call(&mut service.clone(), request()).await.unwrap();
    assert_eq!(calls.count(), 1, "the leader's fetch filled the cache");

    let service = CacheLayer::new(support::cache()).layer(inner);
    let other = asked(&service, get("/"));
    yield_now().await;
    let follower = call(&mut service.clone(), request()).await.unwrap();
    assert_eq!(other.await.unwrap().unwrap().text(), "0123456789");
    assert_eq!(calls.count(), 2, "it was a follower");
    for (_, fields) in seen.lock().unwrap().iter() {
        for name in
            [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE]
        {
            assert!(
                !fields.contains_key(&name),
                "the fetch is unconditional and whole: {fields:?}"
            );
        }
    }
    [leader, follower, hit]
}

#[tokio::test(start_paused = true)]
async fn a_range_is_cut_for_leader_follower_and_hit_alike() {
    for (range, status, content_range, body) in [
        ("bytes=2-4", 206, Some("bytes 2-4/10"), "234"),
        ("bytes=0-0", 206, Some("bytes 0-0/10"), "0"),
        ("bytes=7-", 206, Some("bytes 7-9/10"), "789"),
        ("bytes=-3", 206, Some("bytes 7-9/10"), "789"),
        ("bytes=5-1000", 206, Some("bytes 5-9/10"), "56789"),
        ("bytes=10-", 416, Some("bytes */10"), ""),
        ("bytes=4-2", 200, None, "0123456789"),
        ("bytes=0-1,4-5", 200, None, "0123456789"),
        ("items=0-1", 200, None, "0123456789"),
    ] {
        for read in in_every_place(|| with(get("/"), "range", range)).await {
            let got = (read.status(), read.field("content-range"), read.text());
            assert_eq!(got, (status, content_range, body), "{range}");
            if status != 416 {
                let length = body.len().to_string();
                assert_eq!(read.field("content-length"), Some(&*length), "{range}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_with_a_condition_is_cut_only_where_the_answer_is_the_one_that_was_meant() {
    for (if_range, status) in [("\"v1\"", 206), ("\"v0\"", 200), ("W/\"v1\"", 200)] {
        let request = || with(with(get("/"), "range", "bytes=2-4"), "if-range", if_range);
        for read in in_every_place(request).await {
            assert_eq!(read.status(), status, "{if_range}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_the_answer_already_is_told_so_as_leader_follower_and_hit() {
    for (name, value, status) in [
        ("if-none-match", "\"v1\"", 304),
        ("if-none-match", "\"v0\", W/\"v1\"", 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"v0\"", 200),
        ("if-modified-since", MODIFIED, 304),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT", 200),
    ] {
        for read in in_every_place(|| with(get("/"), name, value)).await {
            assert_eq!(read.status(), status, "{name}: {value}");
            assert_eq!(read.body.len(), if status == 304 { 0 } else { 10 }, "{name}: {value}");
            assert_eq!(read.field("etag"), Some("\"v1\""), "{name}: {value}");
            assert_eq!(read.parts.headers.get_all("cache-status").iter().count(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_goes_before_a_range() {
    let request = || with(with(get("/"), "range", "bytes=2-4"), "if-none-match", "\"v1\"");
    for read in in_every_place(request).await {
        assert_eq!((read.status(), read.text()), (304, ""));
    }
}

#[tokio::test(start_paused = true)]
async fn followers_of_one_fetch_each_get_the_part_that_they_asked_for() {
    let (calls, _, inner) = digits();
    let service = CacheLayer::new(cache()).layer(inner);
    let requests = (0..10).map(|n| with(get("/"), "range", &format!("bytes={n}-{n}")));
    for (n, read) in at_once(&service, requests).await.into_iter().enumerate() {
        let read = read.unwrap();
        assert_eq!((read.status(), read.text()), (206, &*n.to_string()));
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_range_of_what_has_no_length_yet_is_the_whole_and_later_a_part() {
    let (calls, inner) = origin(|_, _| async {
        Ok(streamed(FIELDS, Steps::new([Step::Data("01234".into()), Step::Data("56789".into())])))
    });
    let mut service = CacheLayer::new(cache()).store_unframed(true).layer(inner);
    let first = call(&mut service, with(get("/"), "range", "bytes=2-4")).await.unwrap();
    assert_eq!((first.status(), first.text()), (200, "0123456789"));
    let hit = call(&mut service, with(get("/"), "range", "bytes=2-4")).await.unwrap();
    assert_eq!((hit.status(), hit.text(), calls.count()), (206, "234", 1));
}

#[tokio::test(start_paused = true)]
async fn with_nothing_to_look_in_parts_and_conditions_go_to_the_origin_as_they_came() {
    for (name, value) in [("range", "bytes=2-4"), ("if-none-match", "\"v1\"")] {
        let (calls, seen, inner) = digits();
        let service = CoalesceLayer::new().layer(inner);
        for answer in at_once(&service, (0..3).map(|_| with(get("/"), name, value))).await {
            answer.unwrap();
        }
        assert_eq!(calls.count(), 3);
        assert!(seen.lock().unwrap().iter().all(|(_, fields)| fields[name] == value));
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_follows_a_get_or_is_answered_from_its_answer() {
    let [leader, follower, hit] = {
        let (calls, _, inner) = digits();
        let service = CacheLayer::new(cache()).layer(inner);
        let leader = asked(&service, get("/"));
        yield_now().await;
        let follower = call(&mut service.clone(), head("/")).await.unwrap();
        let leader = leader.await.unwrap().unwrap();
        let hit = call(&mut service.clone(), head("/")).await.unwrap();
        assert_eq!(calls.count(), 1);
        [leader, follower, hit]
    };
    assert_eq!(leader.text(), "0123456789");
    for read in [follower, hit] {
        assert_eq!((read.status(), read.text()), (200, ""));
        assert_eq!(
            (read.field("content-length"), read.field("etag")),
            (Some("10"), Some("\"v1\""))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_never_fills_what_a_get_is_answered_from() {
    let (calls, seen, inner) = digits();
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).layer(inner);
    for read in at_once(&service, (0..10).map(|_| head("/"))).await {
        let read = read.unwrap();
        assert_eq!((read.status(), read.field("content-length")), (200, Some("10")));
        assert_eq!(read.text(), "");
    }
    assert_eq!((calls.count(), cache.figures().records), (1, 0));
    let whole = call(&mut service.clone(), get("/")).await.unwrap();
    assert_eq!((whole.text(), calls.count()), ("0123456789", 2));
    let methods: Vec<_> = seen.lock().unwrap().iter().map(|(method, _)| method.clone()).collect();
    assert_eq!(methods, [Method::HEAD, Method::GET]);
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_get_does_not_follow_a_head() {
    let (calls, _, inner) = digits();
    let (cached, coalesce) = (CacheLayer::new(cache()), CoalesceLayer::new());
    for service in [cached.layer(inner.clone()), coalesce.layer(inner.clone())] {
        let before = calls.count();
        let first = asked(&service, head("/"));
        yield_now().await;
        assert_eq!(call(&mut service.clone(), get("/")).await.unwrap().text(), "0123456789");
        assert_eq!(first.await.unwrap().unwrap().text(), "");
        assert_eq!(calls.count() - before, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_does_not_wait_for_the_body_of_a_get_without_a_length() {
    let (_, inner) = origin(|_, request| async move {
        let body = Steps::new([Step::Data("body".into()), Step::Wait(20 * SECOND)]);
        let body = if request.method() == Method::HEAD { Steps::new([]) } else { body };
        Ok(streamed(FIELDS, body))
    });
    let service = CacheLayer::new(cache()).store_unframed(true).layer(inner);
    let whole = asked(&service, get("/"));
    sleep(SECOND).await;
    let began = tokio::time::Instant::now();
    assert_eq!(call(&mut service.clone(), head("/")).await.unwrap().status(), 200);
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(whole.await.unwrap().unwrap().text(), "body");
}

/// An origin with an entity tag that answers a condition with 304.
fn validating(control: &'static str) -> (Calls, BoxedOrigin) {
    origin(move |_, request| async move {
        sleep(SECOND).await;
        let known = request.headers().get("if-none-match").is_some_and(|tag| tag == "\"v1\"");
        let fields = [("cache-control", control), ("etag", "\"v1\"")];
        Ok(if known {
            support::answer_status(304, &fields, "")
        } else {
            answer(&fields, "0123456789")
        })
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_is_validated_once_for_all_who_ask() {
    let (calls, inner) = validating("max-age=10");
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    advance(11 * SECOND).await;
    for read in at_once(&service, (0..50).map(|_| get("/"))).await {
        let read = read.unwrap();
        assert_eq!((read.status(), read.text()), (200, "0123456789"));
    }
    assert_eq!(calls.count(), 2);
    assert!(call(&mut service, get("/")).await.unwrap().cache_status().starts_with("hit"));
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn reloads_at_once_share_one_validation() {
    let (calls, inner) = validating("max-age=600");
    let mut service = CacheLayer::new(cache()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    sleep(SECOND).await;
    let reload = || with(get("/"), "cache-control", "no-cache");
    for read in at_once(&service, (0..50).map(|_| reload())).await {
        let read = read.unwrap();
        assert_eq!((read.status(), read.text()), (200, "0123456789"));
    }
    assert_eq!(calls.count(), 2);
}
