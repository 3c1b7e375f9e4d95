//! Answers of origins that do not say what they mean, or not what was asked.

use bytes::Bytes;
use seawall::Profile;

use crate::{
    origin::{AnyBody, DIGITS, V1, World, assert_whole, later, part, ranged, requested, scripted},
    support::{bodies::Step, bodies::Steps, boxed, cache_builder, get, head, streamed, with},
};

type Fields = &'static [(&'static str, &'static str)];

/// A 206 in one frame, of a length that is not known before its end.
fn unsized_part(fields: &[(&str, &str)], body: &'static str) -> http::Response<AnyBody> {
    let steps = Steps::new([Step::Data(Bytes::from(body))]);
    let mut response = streamed(&[V1, fields].concat(), steps).map(boxed);
    *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
    response
}

/// RFC 9110 §14.4, §15.3.7.
#[tokio::test(start_paused = true)]
async fn a_206_whose_range_is_not_known_is_passed_on_and_not_stored() {
    let rows: [Fields; 9] = [
        &[],
        &[("content-range", "bytes 4-9/*")],
        &[("content-range", "bytes */10")],
        &[("content-range", "bytes 9-4/10")],
        &[("content-range", "bytes 4-10/10")],
        &[("content-range", "items 4-9/10")],
        &[("content-range", "4-9/10")],
        &[("content-range", "bytes 4-9/10"), ("content-range", "bytes 4-9/10")],
        &[("content-type", "multipart/byteranges; boundary=x")],
    ];
    for fields in rows {
        let mut world = World::new();
        world.origin.next(Ok(scripted(206, &[V1, fields], "456789")));
        let read = world.range("4-9").await;
        let said = fields.iter().find(|(name, _)| *name == "content-range").map(|field| field.1);
        assert_eq!(part(&read), (206, said, "456789"), "{fields:?}");
        assert_eq!(read.cache_status(), "fwd=uri-miss; fwd-status=206", "{fields:?}");
        assert_eq!(world.cache.figures().records, 0, "{fields:?}");
        assert_whole(&world.get().await, DIGITS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_206_of_another_length_than_its_range_is_passed_on_and_stored_by_the_lenient_alone() {
    let lenient = Profile::reverse_proxy().lenient_content_range(true);
    for (range, body, profile, stored) in [
        ("bytes 4-9/10", "45678", Profile::reverse_proxy(), false),
        ("bytes 4-9/10", "456789a", Profile::reverse_proxy(), false),
        ("bytes 4-9/10", "", Profile::reverse_proxy(), false),
        ("bytes 4-9/10", "", lenient.clone(), false),
        ("bytes 4-9/10", "45678", lenient.clone(), true),
        ("bytes 4-9/10", "456789", lenient.clone(), true),
        ("bytes 4-9/10", "456789", Profile::reverse_proxy(), true),
    ] {
        let length = body.len().to_string();
        let range = ("content-range", range);
        for unsized_one in [false, true] {
            let mut world = World::with(profile.clone());
            let answer = match unsized_one {
                true => unsized_part(&[range], body),
                false => scripted(206, &[V1, &[range], &[("content-length", &length)]], body),
            };
            world.origin.next(Ok(answer));
            let read = world.range("4-9").await;
            assert_eq!(part(&read), (206, Some(range.1), body), "{profile:?}");
            assert_eq!(world.holds("4-5").await, stored, "{body} {unsized_one} {profile:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_leniently_is_never_combined() {
    let mut world = World::with(Profile::reverse_proxy().lenient_content_range(true));
    world.origin.next(Ok(scripted(206, &[V1, &[("content-range", "bytes 0-4/10")]], "0123")));
    world.range("0-4").await;
    world.range("5-9").await;
    assert!(!world.holds_all().await && !world.holds("4-5").await && world.holds("5-9").await);
    // Nor is the rest of it asked for.
    world.origin.next(Ok(scripted(206, &[V1, &[("content-range", "bytes 0-4/10")]], "0123")));
    world.range("0-4").await;
    assert_whole(&world.get().await, DIGITS);
    assert_eq!(world.origin.last().range(), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_206_that_nobody_asked_for_is_its_callers_alone() {
    let unasked = || Ok(scripted(206, &[V1, &[("content-range", "bytes 2-5/10")]], "2345"));
    for request in [
        get("/"),
        head("/"),
        requested("POST"),
        with(get("/"), "range", "bytes=2-2,4-5"),
        with(get("/"), "if-none-match", "\"v1\""),
        with(ranged("2-5"), "if-none-match", "\"v0\""),
    ] {
        let mut world = World::new();
        world.origin.next(unasked());
        let said = format!("{} {:?}", request.method(), request.headers());
        let read = world.ask(request).await;
        assert_eq!(read.status(), 206, "{said}");
        assert!(!read.cache_status().contains("stored"), "{said}");
        assert_eq!(world.cache.figures().records, 0, "{said}");
        assert_whole(&world.get().await, DIGITS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_another_range_than_was_asked_for_is_stored_as_what_it_says_to_be() {
    let mut world = World::new();
    world.origin.next(Ok(scripted(206, &[V1, &[("content-range", "bytes 6-8/10")]], "678")));
    assert_eq!(part(&world.range("2-5").await), (206, Some("bytes 6-8/10"), "678"));
    assert!(world.holds("6-8").await && !world.holds("2-5").await);
    assert_eq!(world.range("2-5").await.text(), "2345");
    assert!(world.holds("2-8").await);
}

// FAILS: a 416 to the range that went to the origin is stored as the answer to any GET of the URI.
/// RFC 9110 §15.5.17: it is about the range, and says nothing of the representation.
#[tokio::test(start_paused = true)]
async fn a_416_answers_nobody_else_however_long_it_is_good_for() {
    let fields = [("content-range", "bytes */10"), ("cache-control", "max-age=600")];
    let mut world = World::new();
    world.origin.next(Ok(scripted(416, &[&fields], "")));
    assert_eq!(world.range("10-").await.status(), 416);
    assert_whole(&world.get().await, DIGITS);
}
// FAILS: the same, in the place of the part.
#[tokio::test(start_paused = true)]
async fn a_416_leaves_a_stored_part_where_it_is() {
    let fields = [("content-range", "bytes */10"), ("cache-control", "max-age=600")];
    let mut world = World::new();
    world.range("2-5").await;
    world.origin.next(Ok(scripted(416, &[&fields], "")));
    assert_eq!(world.range("10-").await.status(), 416);
    assert_eq!(part(&world.range("2-5").await), (206, Some("bytes 2-5/10"), "2345"));
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_cut_is_an_error_and_not_stored() {
    let mut world = World::new();
    let steps = [Step::Data(Bytes::from("23")), Step::Fail];
    let fields = [V1, &[("content-range", "bytes 2-5/10"), ("content-length", "4")]].concat();
    let mut answer = streamed(&fields, Steps::new(steps)).map(boxed);
    *answer.status_mut() = http::StatusCode::PARTIAL_CONTENT;
    world.origin.next(Ok(answer));
    assert!(world.try_ask(ranged("2-5")).await.is_err());
    later(60).await;
    assert_eq!(world.cache.figures().records, 0);
    assert_eq!(world.range("2-5").await.text(), "2345");
}

// FAILS: the same for a key that is left alone, whose requests go as they came; also where parts are
// not stored at all.
#[tokio::test(start_paused = true)]
async fn a_416_for_a_key_that_is_left_alone_answers_nobody_else_either() {
    let fields = [("content-range", "bytes */2000"), ("cache-control", "max-age=600")];
    let large = "x".repeat(2_000);
    let mut answered = Vec::new();
    for partial in [true, false] {
        let profile = Profile::reverse_proxy().store_partial(partial);
        let mut world = World::over(cache_builder().max_body(1_000), profile);
        world.origin.has(large.clone(), V1);
        world.get().await;
        world.origin.next(Ok(scripted(416, &[&fields], "")));
        assert_eq!(world.range("2000-").await.status(), 416);
        answered.push(world.get().await.status());
    }
    assert_eq!(answered, [200, 200]);
}
