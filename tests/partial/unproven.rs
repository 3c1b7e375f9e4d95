//! Bodies that end with their connection: whether they are all there nobody can tell.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, Version};
use seawall::{Profile, observe::Event};

use crate::{
    origin::{AnyBody, DIGITS, World, assert_whole, later, scripted},
    support::{
        bodies::{Step, Steps},
        boxed, cache, cache_builder, get, head,
        sockets::{
            Upstream,
            client::{Answer, get as ask},
            eventually,
            origin::{Play, bytes, scripted as plays},
            serve_cached,
        },
        streamed, with,
    },
};

const LONG: &[(&str, &str)] = &[("cache-control", "max-age=86400"), ("etag", "\"v1\"")];

/// A 200 of HTTP/1.1 with neither a length nor chunks.
fn unframed(fields: &[(&str, &str)]) -> Response<AnyBody> {
    streamed(fields, Steps::new([Step::Data(Bytes::from(DIGITS))])).map(boxed)
}

async fn begun(profile: Profile, fields: &[(&str, &str)]) -> World {
    let mut world = World::with(profile);
    world.origin.says(fields);
    world.origin.next(Ok(unframed(fields)));
    assert_eq!(world.get().await.text(), DIGITS);
    world
}

#[tokio::test(start_paused = true)]
async fn the_safe_profile_does_not_store_them_and_a_reverse_proxy_for_a_minute() {
    let mut world = begun(Profile::safe(), LONG).await;
    assert!(!world.holds_all().await);
    let mut world =
        begun(Profile::safe().max_unproven_lifetime(Some(Duration::from_secs(5))), LONG).await;
    later(4).await;
    assert!(world.holds_all().await);
    later(1).await;
    assert!(!world.holds_all().await);
    for fields in [
        LONG,
        &[("cache-control", "s-maxage=86400")],
        &[("cdn-cache-control", "max-age=86400")],
        &[("expires", "Fri, 01 Jan 2100 00:00:00 GMT")],
        &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
    ] {
        let mut world = begun(Profile::reverse_proxy(), fields).await;
        later(59).await;
        assert_whole(&world.get().await, DIGITS);
        assert_eq!(world.calls(), 1, "{fields:?}");
        later(1).await;
        assert!(!world.holds_all().await, "{fields:?}");
    }
    let mut world = begun(Profile::reverse_proxy(), &[("cache-control", "max-age=10")]).await;
    later(10).await;
    assert!(!world.holds_all().await, "what is shorter stays so");
    let age = [("cache-control", "max-age=600"), ("age", "50")];
    let mut world = begun(Profile::reverse_proxy(), &age).await;
    later(9).await;
    assert!(world.holds_all().await);
    later(1).await;
    assert!(!world.holds_all().await, "the time before it came counts");
}

#[tokio::test(start_paused = true)]
async fn what_says_where_it_ends_is_not_meant() {
    let chunked = [LONG, &[("transfer-encoding", "chunked")]].concat();
    let sized = scripted(200, &[LONG, &[("content-length", "10")]], DIGITS);
    for answer in [unframed(&chunked), scripted(200, &[LONG], DIGITS), sized] {
        let mut world = World::new();
        world.origin.next(Ok(answer));
        world.get().await;
        later(80_000).await;
        assert!(world.holds_all().await);
    }
    let mut world = World::new();
    let mut http10 = unframed(LONG);
    *http10.version_mut() = Version::HTTP_10;
    world.origin.next(Ok(http10));
    world.get().await;
    assert!(world.holds_all().await);
    later(60).await;
    assert!(!world.holds_all().await);
}

#[tokio::test(start_paused = true)]
async fn they_are_never_served_stale() {
    const STALE: &[(&str, &str)] = &[
        ("cache-control", "max-age=86400, stale-while-revalidate=86400, stale-if-error=86400"),
        ("etag", "\"v1\""),
    ];
    let mut world = begun(Profile::reverse_proxy(), STALE).await;
    later(61).await;
    // The origin cannot be reached, or fails; and the client would take it stale.
    world.origin.next(Err("connection refused".into()));
    assert!(world.try_ask(get("/")).await.is_err());
    later(60).await;
    world.origin.next(Ok(scripted(503, &[], "down")));
    assert_eq!(world.get().await.status(), 503);
    later(60).await;
    world.origin.next(Ok(scripted(503, &[], "down")));
    let request = with(get("/"), "cache-control", "max-stale, stale-if-error=999999");
    assert_eq!(world.ask(request).await.status(), 503);
    later(60).await;
    let read = world.get().await;
    assert_eq!(read.cache_status(), "fwd=stale; fwd-status=304", "it was validated");
}

#[tokio::test(start_paused = true)]
async fn a_304_or_a_head_gives_them_a_minute_more_and_no_window() {
    const STALE: &[(&str, &str)] =
        &[("cache-control", "max-age=86400, stale-while-revalidate=86400"), ("etag", "\"v1\"")];
    for by_head in [false, true] {
        let mut world = begun(Profile::reverse_proxy(), LONG).await;
        world.origin.says(STALE);
        later(60).await;
        let request = if by_head { head("/") } else { get("/") };
        world.ask(request).await;
        assert_eq!(world.calls(), 2);
        later(59).await;
        assert_whole(&world.get().await, DIGITS);
        assert_eq!(world.calls(), 2, "{by_head}");
        later(1).await;
        assert!(!world.holds_all().await, "{by_head}");
        world.origin.next(Err("connection refused".into()));
        assert!(world.try_ask(get("/")).await.is_err(), "{by_head}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_ends_with_its_connection_says_how_long_it_is() {
    for (body, stored) in [("2345", true), ("234", false)] {
        let mut world = World::new();
        let fields = [LONG, &[("content-range", "bytes 2-5/10")]].concat();
        let mut answer = streamed(&fields, Steps::new([Step::Data(Bytes::from(body))])).map(boxed);
        *answer.status_mut() = http::StatusCode::PARTIAL_CONTENT;
        world.origin.next(Ok(answer));
        assert_eq!(world.range("2-5").await.text(), body);
        later(80_000).await;
        assert_eq!(world.holds("2-5").await, stored, "{body}");
    }
}

// ===== over sockets =====

/// Two answers in a row, of an origin that plays this.
async fn twice(profile: Profile, script: Vec<Play>) -> (usize, [Answer; 2]) {
    let origin = plays(move |_, _| script.clone()).await;
    let cache = cache();
    let addr = serve_cached(&cache, profile, Upstream::http1(origin.addr)).await;
    let first = ask(addr, "/").await;
    let ends = || {
        let figures = cache.figures();
        figures.flights == 0 && figures.filling == 0
    };
    eventually("at rest", ends).await;
    let second = ask(addr, "/").await;
    (origin.calls(), [first, second])
}

const HEAD: &str = "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncache-control: max-age=86400, \
    stale-while-revalidate=86400, stale-if-error=86400\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn over_sockets_the_end_of_the_connection_is_the_end_for_a_reverse_proxy_alone() {
    for (profile, age, calls) in [
        (Profile::safe(), 0, 2),
        (Profile::reverse_proxy(), 0, 1),
        (Profile::reverse_proxy(), 30, 1),
        (Profile::reverse_proxy(), 60, 2),
        (Profile::reverse_proxy().max_unproven_lifetime(None), 0, 2),
    ] {
        let script = vec![bytes(format!("{HEAD}age: {age}\r\n\r\n{DIGITS}")), Play::Close];
        let (asked, answers) = twice(profile.clone(), script).await;
        assert_eq!(asked, calls, "{profile:?} {age}");
        for answer in &answers {
            assert_eq!((answer.status, answer.text()), (200, DIGITS), "{profile:?} {age}");
        }
        assert_eq!(answers[1].is_hit(), calls == 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sockets_a_reset_is_an_end_of_nothing() {
    for profile in [Profile::safe(), Profile::reverse_proxy()] {
        let gate = Duration::from_millis(20);
        let script = vec![bytes(format!("{HEAD}\r\n01234")), Play::Wait(gate), Play::Reset];
        let (asked, answers) = twice(profile.clone(), script).await;
        assert_eq!(asked, 2, "{profile:?}");
        for answer in &answers {
            assert!(!answer.whole || answer.status == 502, "{answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_why_they_are_not_stored() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    let builder = cache_builder().observer(move |event: &Event<'_>| {
        if let Event::NotStored(refusal) = event {
            noted.lock().unwrap().push(format!("{refusal:?}"));
        }
    });
    let mut world = World::over(builder, Profile::safe());
    world.origin.next(Ok(unframed(LONG)));
    world.get().await;
    assert_eq!(*told.lock().unwrap(), ["Unframed"]);
}
