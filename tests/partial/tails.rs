//! A plain GET where a part is stored: the rest is asked for, and the client gets one whole.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use seawall::{Cache, Invalidation, Profile};
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

use crate::{
    origin::{AnyBody, DIGITS, SECOND, V1, V2, World, assert_whole, later, part, ranged, settled},
    support::{
        asked, bodies::Step, bodies::Steps, boxed, cache_builder, get, head, streamed, with,
    },
};

pub(crate) const TAIL: &[(&str, &str)] = &[("content-range", "bytes 4-9/10")];

pub(crate) fn assert_nothing_is_left(cache: &Cache) {
    let figures = cache.figures();
    let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
    assert_eq!(left, (0, 0, 0, 0), "{figures:?}");
}

/// A 206 whose body does these steps.
pub(crate) fn tail(
    fields: &[(&str, &str)],
    steps: impl IntoIterator<Item = Step>,
) -> Response<AnyBody> {
    let mut response = streamed(&[V1, fields].concat(), Steps::new(steps)).map(boxed);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    response
}

pub(crate) fn data(text: &'static str) -> Step {
    Step::Data(Bytes::from(text))
}

/// A world in which `0123` is stored.
pub(crate) async fn begun() -> World {
    let mut world = World::new();
    world.range("0-3").await;
    world
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_asked_for_and_the_client_gets_the_whole() {
    let mut world = begun().await;
    later(20).await;
    let read = world.get().await;
    assert_whole(&read, DIGITS);
    assert_eq!(read.field("content-length"), Some("10"));
    assert_eq!(read.cache_status(), "fwd=partial; fwd-status=206; stored");
    assert_eq!(world.origin.last().range(), (Some("bytes=4-"), Some("\"v1\"")));
    assert_eq!(world.calls(), 2);

    later(599).await;
    let read = world.get().await;
    assert_whole(&read, DIGITS);
    assert_eq!((read.cache_status(), read.field("age")), ("hit", Some("599")));
    assert_eq!(part(&world.range("2-6").await), (206, Some("bytes 2-6/10"), "23456"));
    assert_eq!(world.cache.figures().records, 1);
    assert_eq!(world.calls(), 2);
    assert_nothing_is_left(&world.cache);
}

#[tokio::test(start_paused = true)]
async fn a_stale_part_is_completed_too() {
    let mut world = begun().await;
    later(10_000).await;
    assert_whole(&world.get().await, DIGITS);
    assert_eq!(world.origin.last().range(), (Some("bytes=4-"), Some("\"v1\"")));
    assert!(world.holds_all().await);
}

#[tokio::test(start_paused = true)]
async fn what_else_asks_for_the_whole_is_cut_from_it() {
    for (request, status, body) in [
        (with(get("/"), "range", "bytes=1-2,5-6"), 200, DIGITS),
        (with(get("/"), "if-none-match", "\"v0\""), 200, DIGITS),
        (with(get("/"), "if-none-match", "\"v1\""), 304, ""),
        (with(ranged("3-4"), "if-none-match", "\"v0\""), 206, "34"),
        (with(get("/"), "cache-control", "no-cache"), 200, DIGITS),
    ] {
        let mut world = begun().await;
        let said = format!("{:?}", request.headers());
        let read = world.ask(request).await;
        assert_eq!((read.status(), read.text()), (status, body), "{said}");
        let last = world.origin.last();
        assert_eq!(last.range(), (Some("bytes=4-"), Some("\"v1\"")), "{said}");
        assert_eq!(last.field("if-none-match"), None, "{said}");
        assert!(world.holds_all().await, "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_rest_cannot_be_combined_the_whole_is_asked_for() {
    const WEAK: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("etag", "W/\"v1\"")];
    const NONE: &[(&str, &str)] = &[("cache-control", "max-age=600")];
    for (range, fields) in [("2-5", V1), ("6-", V1), ("0-3", WEAK), ("0-3", NONE)] {
        let mut world = World::new();
        world.origin.says(fields);
        world.range(range).await;
        assert_whole(&world.get().await, DIGITS);
        assert_eq!(world.origin.last().range(), (None, None), "{range} {fields:?}");
        assert!(world.holds_all().await);
        assert_eq!(world.calls(), 2, "{range} {fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_can_ask_only_once_asks_for_the_whole() {
    let mut world = World::once(Profile::reverse_proxy());
    world.range("0-3").await;
    let read = world.get().await;
    assert_whole(&read, DIGITS);
    assert_eq!(read.cache_status(), "fwd=partial; fwd-status=200; stored");
    assert_eq!(world.origin.last().range(), (None, None));
    assert!(world.holds_all().await);
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_validator_the_lenient_ask_for_a_rest_and_then_for_the_whole() {
    let mut world = World::with(Profile::reverse_proxy().tail_without_validator(true));
    world.origin.says(&[("cache-control", "max-age=600")]);
    world.range("0-3").await;
    assert_whole(&world.get().await, DIGITS);
    assert_eq!(world.calls(), 3);
    assert_eq!(world.origin.state().asked[1].range(), (Some("bytes=4-"), None));
    assert_eq!(world.origin.last().range(), (None, None));
    assert!(world.holds_all().await);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_has_changed_answers_with_its_whole() {
    let mut world = begun().await;
    world.origin.has("abcdefghij", V2);
    let read = world.get().await;
    assert_whole(&read, "abcdefghij");
    assert_eq!(read.cache_status(), "fwd=partial; fwd-status=200; stored");
    assert_eq!(world.calls(), 2);
    assert_whole(&world.get().await, "abcdefghij");
    assert_eq!(part(&world.range("0-3").await), (206, Some("bytes 0-3/10"), "abcd"));
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_beginning_is_there_at_once_and_the_rest_frame_by_frame_for_all_who_read_along() {
    let mut world = begun().await;
    let wait = || Step::Wait(5 * SECOND);
    let steps = [wait(), data("45"), wait(), data("6"), data("78"), wait(), data("9")];
    world.origin.next(Ok(tail(&[TAIL, &[("content-length", "6")]].concat(), steps)));
    let began = Instant::now();
    let service = world.service.clone();
    let leader = service.clone().oneshot(get("/")).await.unwrap();
    assert_eq!((leader.status().as_u16(), began.elapsed()), (200, SECOND));
    assert_eq!(leader.headers()["content-length"], "10");
    let mut leader = leader.into_body();
    let first = leader.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((&*first, began.elapsed()), (&b"0123"[..], SECOND));

    // One who comes in the middle has the beginning as well, and one who wants a range its bytes.
    sleep(7 * SECOND).await;
    let second = asked(&service, get("/"));
    let beside = asked(&service, with(ranged("3-6"), "if-none-match", "\"v0\""));
    settled().await;
    let next = leader.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((&*next, began.elapsed()), (&b"45"[..], 8 * SECOND));
    let rest = leader.collect().await.unwrap().to_bytes();
    assert_eq!((&*rest, began.elapsed()), (&b"6789"[..], 16 * SECOND));
    let second = second.await.unwrap().unwrap();
    assert_whole(&second, DIGITS);
    assert_eq!(second.cache_status(), "fwd=partial; fwd-status=200; collapsed");
    assert_eq!(part(&beside.await.unwrap().unwrap()), (206, Some("bytes 3-6/10"), "3456"));
    settled().await;
    assert_eq!(world.calls(), 2);
    assert!(world.holds_all().await);
    assert_nothing_is_left(&world.cache);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_does_not_take_the_rest_from_the_others() {
    let mut world = begun().await;
    world.origin.next(Ok(tail(TAIL, [data("45"), Step::Wait(SECOND), data("6789")])));
    let leader = world.service.clone().oneshot(get("/")).await.unwrap();
    let follower = asked(&world.service, get("/"));
    settled().await;
    drop(leader);
    assert_whole(&follower.await.unwrap().unwrap(), DIGITS);
    settled().await;
    assert!(world.holds_all().await);
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_whole_that_would_be_too_large_is_not_asked_for_in_part() {
    let mut world = World::over(cache_builder().max_body(9), Profile::reverse_proxy());
    world.range("0-3").await;
    assert_whole(&world.get().await, DIGITS);
    assert_eq!(world.origin.last().range(), (None, None));
    assert!(world.holds("0-3").await);
}

#[tokio::test(start_paused = true)]
async fn what_is_invalidated_while_its_rest_is_on_its_way_is_not_stored() {
    let mut world = begun().await;
    let leader = asked(&world.service, get("/"));
    sleep(SECOND / 2).await;
    world.cache.invalidator().invalidate(&Invalidation::everything()).await;
    world.origin.has("abcdefghij", V2);
    let after = asked(&world.service, get("/"));
    assert_whole(&leader.await.unwrap().unwrap(), DIGITS);
    assert_whole(&after.await.unwrap().unwrap(), "abcdefghij");
    settled().await;
    assert_whole(&world.get().await, "abcdefghij");
    assert_eq!(world.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_head_does_not_complete_a_part() {
    let mut world = begun().await;
    let read = world.ask(head("/")).await;
    assert_eq!((read.status(), read.field("content-length")), (200, Some("10")));
    assert_eq!(world.origin.last().range(), (None, None));
    assert!(world.holds("0-3").await);
}
