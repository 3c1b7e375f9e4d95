//! Requests for a range: what goes to the origin, and what a stored part answers (RFC 9111 §3.3).

use seawall::Profile;

use crate::{
    origin::{DIGITS, V1, V2, World, assert_whole, later, part, ranged, scripted},
    support::{get, head, with},
};

#[tokio::test(start_paused = true)]
async fn a_miss_with_one_range_goes_to_the_origin_as_it_is_and_is_stored() {
    let mut world = World::new();
    let read = world.range("2-5").await;
    assert_eq!(part(&read), (206, Some("bytes 2-5/10"), "2345"));
    assert_eq!(read.cache_status(), "fwd=uri-miss; fwd-status=206; stored");
    assert_eq!(world.origin.last().range(), (Some("bytes=2-5"), None));
    assert_eq!(world.calls(), 1);

    later(7).await;
    let read = world.range("2-5").await;
    assert_eq!(part(&read), (206, Some("bytes 2-5/10"), "2345"));
    assert_eq!(read.cache_status(), "hit");
    assert_eq!((world.calls(), world.cache.figures().records), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn whatever_lies_within_a_stored_part_is_cut_from_it() {
    for (stored, asked, range, body) in [
        ("2-5", "2-5", "2-5", "2345"),
        ("2-5", "3-4", "3-4", "34"),
        ("2-5", "2-2", "2-2", "2"),
        ("2-5", "5-5", "5-5", "5"),
        ("6-", "7-", "7-9", "789"),
        ("6-", "6-100", "6-9", "6789"),
        ("6-", "-2", "8-9", "89"),
        ("-4", "-4", "6-9", "6789"),
        ("-4", "9-9", "9-9", "9"),
        ("0-8", "0-0", "0-0", "0"),
    ] {
        let mut world = World::new();
        world.range(stored).await;
        later(7).await;
        let read = world.range(asked).await;
        let content_range = format!("bytes {range}/10");
        assert_eq!(part(&read), (206, Some(&*content_range), body), "{stored} {asked}");
        let length = body.len().to_string();
        for (name, value) in [
            ("content-length", &*length),
            ("etag", "\"v1\""),
            ("age", "7"),
            ("cache-control", "max-age=600"),
            ("cache-status", "seawall; hit"),
        ] {
            assert_eq!(read.field(name), Some(value), "{stored} {asked} {name}");
        }
        assert_eq!(world.calls(), 1, "{stored} {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_lies_beyond_a_stored_part_is_asked_of_the_origin_as_it_is() {
    for (asked, range, body) in [
        ("1-4", "1-4", "1234"),
        ("4-6", "4-6", "456"),
        ("4-", "4-9", "456789"),
        ("-1", "9-9", "9"),
        ("0-1", "0-1", "01"),
        ("0-", "0-9", DIGITS),
    ] {
        let mut world = World::new();
        world.range("2-5").await;
        let read = world.range(asked).await;
        let content_range = format!("bytes {range}/10");
        assert_eq!(part(&read), (206, Some(&*content_range), body), "{asked}");
        assert_eq!(read.cache_status(), "fwd=partial; fwd-status=206; stored", "{asked}");
        let range = format!("bytes={asked}");
        assert_eq!(world.origin.last().range(), (Some(&*range), None), "{asked}");
        assert_eq!(world.calls(), 2, "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_beyond_the_end_is_the_origins_to_refuse_and_nobody_elses_answer() {
    let mut world = World::new();
    world.range("2-5").await;
    let read = world.range("10-").await;
    assert_eq!((read.status(), read.field("content-range")), (416, Some("bytes */10")));
    assert_eq!(read.cache_status(), "fwd=partial; fwd-status=416");
    assert_eq!(world.calls(), 2);
    assert!(world.holds("2-5").await);
}

#[tokio::test(start_paused = true)]
async fn in_the_safe_profile_a_range_is_fetched_whole() {
    for profile in [Profile::safe(), Profile::reverse_proxy().store_partial(false)] {
        let mut world = World::with(profile);
        let read = world.range("2-5").await;
        assert_eq!(part(&read), (206, Some("bytes 2-5/10"), "2345"));
        assert_eq!(world.origin.last().range(), (None, None));
        assert_whole(&world.get().await, DIGITS);
        assert_eq!(world.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_without_ranges_answers_a_range_with_the_whole_and_that_is_stored() {
    let mut world = World::new();
    world.origin.next(Ok(scripted(200, &[V1], DIGITS)));
    let read = world.range("2-5").await;
    assert_eq!(part(&read), (206, Some("bytes 2-5/10"), "2345"));
    assert_whole(&world.get().await, DIGITS);
    assert_eq!(part(&world.range("8-9").await), (206, Some("bytes 8-9/10"), "89"));
    assert_eq!(world.calls(), 1);
}

/// RFC 9110 §13.1.5.
#[tokio::test(start_paused = true)]
async fn a_stored_part_answers_a_condition_on_its_range_where_that_names_its_tag() {
    for (if_range, status, hits) in [
        ("\"v1\"", 206, true),
        ("\"v0\"", 200, false),
        ("W/\"v1\"", 200, false),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 200, false),
    ] {
        let mut world = World::new();
        world.range("2-5").await;
        let read = world.ask(with(ranged("3-4"), "if-range", if_range)).await;
        assert_eq!(read.status(), status, "{if_range}");
        assert_eq!(read.text(), if status == 206 { "34" } else { DIGITS }, "{if_range}");
        assert_eq!(read.cache_status() == "hit", hits, "{if_range}");
        if !hits {
            assert_eq!(world.origin.last().range(), (Some("bytes=3-4"), Some(if_range)));
            assert!(world.holds_all().await, "the 200 took the place of the part");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_names_the_new_content_gets_that_and_so_does_everyone_after() {
    let mut world = World::new();
    world.range("2-5").await;
    world.origin.has("abcdefghij", V2);
    let read = world.ask(with(ranged("3-4"), "if-range", "\"v2\"")).await;
    assert_eq!(part(&read), (206, Some("bytes 3-4/10"), "de"));
    assert!(!world.holds("2-5").await);
    assert_eq!(world.range("3-4").await.text(), "de");
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_one_range_alone_is_not_answered_from_a_part() {
    let head_request = || with(head("/"), "range", "bytes=3-4");
    for (request, status, body) in [
        (with(get("/"), "range", "bytes=3-3,4-4"), 200, DIGITS),
        (with(get("/"), "range", "items=3-4"), 200, DIGITS),
        (with(with(get("/"), "range", "bytes=3-3"), "range", "bytes=4-4"), 200, DIGITS),
        (with(ranged("3-4"), "if-none-match", "\"v1\""), 304, ""),
        (with(ranged("3-4"), "if-none-match", "\"v0\""), 206, "34"),
        (with(ranged("3-4"), "if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"), 206, "34"),
        (head_request(), 200, ""),
        (head("/"), 200, ""),
    ] {
        let mut world = World::new();
        world.range("2-5").await;
        let said = format!("{} {:?}", request.method(), request.headers());
        let read = world.ask(request).await;
        assert_eq!((read.status(), read.text()), (status, body), "{said}");
        assert_ne!(read.cache_status(), "hit", "{said}");
        assert_eq!(read.field("content-range").is_some(), status == 206, "{said}");
        assert_eq!(world.origin.last().range(), (None, None), "{said}");
        assert_eq!(world.origin.last().field("if-none-match"), None, "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_gets_what_a_part_holds_and_no_more() {
    let mut world = World::new();
    world.range("2-5").await;
    assert!(world.holds("2-5").await && world.holds("4-4").await);
    assert!(!world.holds("2-6").await && !world.holds("-1").await && !world.holds("10-").await);
    assert!(!world.holds_all().await);
    let read = world.try_ask(with(head("/"), "cache-control", "only-if-cached")).await;
    assert!(read.is_err(), "{read:?}");
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_wants_its_answer_validated_is_not_answered_from_a_part() {
    for directive in ["no-cache", "max-age=0", "max-age=3", "min-fresh=700"] {
        let mut world = World::new();
        world.range("2-5").await;
        later(5).await;
        let read = world.ask(with(ranged("2-5"), "cache-control", directive)).await;
        assert_eq!(part(&read), (206, Some("bytes 2-5/10"), "2345"), "{directive}");
        assert_eq!(world.calls(), 2, "{directive}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_that_is_too_long_for_a_flight_of_its_own_is_cut_from_the_whole() {
    let mut world = World::new();
    let long = format!("{}2-5", "0".repeat(300));
    assert_eq!(part(&world.range(&long).await), (206, Some("bytes 2-5/10"), "2345"));
    assert_eq!(world.origin.last().range(), (None, None));
    assert!(world.holds_all().await);
}
