//! Parts that meet parts, and wholes (RFC 9111 §3.4, RFC 9110 §15.3.7.3).

use seawall::Profile;
use tokio::time::sleep;

use crate::{
    origin::{DIGITS, SECOND, V1, V2, World, assert_whole, later, part, ranged, scripted, settled},
    support::{asked, get, head, with},
};

#[tokio::test(start_paused = true)]
async fn parts_of_one_strong_tag_that_touch_grow_into_one() {
    for (ranges, held) in [
        (&["2-3", "4-5"][..], "2-5"),
        (&["4-5", "2-3"], "2-5"),
        (&["2-4", "3-6"], "2-6"),
        (&["3-6", "2-4"], "2-6"),
        (&["2-7", "1-8"], "1-8"),
        (&["2-3", "4-5", "6-7"], "2-7"),
        (&["2-3", "1-1", "4-"], "1-9"),
        (&["0-3", "-7"], "0-9"),
    ] {
        let mut world = World::new();
        for range in ranges {
            world.range(range).await;
        }
        assert_eq!(world.calls(), ranges.len(), "{ranges:?}");
        let (first, last) = held.split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let read = world.range(held).await;
        let content_range = format!("bytes {held}/10");
        assert_eq!(part(&read), (206, Some(&*content_range), &DIGITS[first..=last]), "{ranges:?}");
        assert_eq!(read.cache_status(), "hit", "{ranges:?}");
        assert_eq!((world.calls(), world.cache.figures().records), (ranges.len(), 1));
    }
}

/// A client that reads on in small steps.
#[tokio::test(start_paused = true)]
async fn what_is_read_from_its_beginning_on_is_the_whole_in_the_end() {
    const STEP: usize = 2_048;
    const STEPS: usize = 200;
    let mut world = World::new();
    world.origin.has(vec![b'x'; STEP * STEPS], V1);
    for step in 0..STEPS {
        world.range(&format!("{}-{}", step * STEP, (step + 1) * STEP - 1)).await;
    }
    assert_eq!(world.calls(), STEPS);
    assert!(world.holds_all().await);
}

#[tokio::test(start_paused = true)]
async fn of_parts_with_a_gap_between_them_the_newer_stays() {
    let mut world = World::new();
    world.range("0-2").await;
    world.range("4-6").await;
    assert!(!world.holds("0-2").await && world.holds("4-6").await);
    world.range("3-3").await;
    assert!(world.holds("3-6").await && !world.holds("2-6").await);
}

#[tokio::test(start_paused = true)]
async fn parts_that_leave_nothing_out_are_the_whole() {
    for ranges in [["0-4", "5-9"], ["5-", "0-4"], ["0-6", "-6"], ["0-8", "9-"]] {
        let mut world = World::new();
        for range in ranges {
            world.range(range).await;
        }
        later(3).await;
        let read = world.get().await;
        assert_whole(&read, DIGITS);
        assert_eq!((read.cache_status(), read.field("age")), ("hit", Some("3")), "{ranges:?}");
        let read = world.ask(with(get("/"), "if-none-match", "\"v1\"")).await;
        assert_eq!(read.status(), 304);
        let read = world.ask(head("/")).await;
        assert_eq!((read.status(), read.field("content-length")), (200, Some("10")));
        assert_eq!(part(&world.range("3-6").await), (206, Some("bytes 3-6/10"), "3456"));
        assert_eq!(part(&world.range("10-").await), (416, Some("bytes */10"), ""));
        assert_eq!(world.calls(), 2, "{ranges:?}");

        later(600).await;
        assert_whole(&world.get().await, DIGITS);
        assert_eq!(world.origin.last().field("if-none-match"), Some("\"v1\""), "{ranges:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn parts_that_may_not_be_combined_replace_each_other() {
    const NONE: &[(&str, &str)] = &[("cache-control", "max-age=600")];
    const WEAK: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("etag", "W/\"v1\"")];
    const BARE: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("etag", "v1")];
    const TWO: &[(&str, &str)] =
        &[("cache-control", "max-age=600"), ("etag", "\"v1\""), ("etag", "\"v2\"")];
    const MODIFIED: &[(&str, &str)] =
        &[("cache-control", "max-age=600"), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
    for (before, after, content) in [
        (V1, V2, DIGITS),
        (V1, WEAK, DIGITS),
        (WEAK, V1, DIGITS),
        (WEAK, WEAK, DIGITS),
        (NONE, NONE, DIGITS),
        (V1, NONE, DIGITS),
        (NONE, V1, DIGITS),
        (BARE, BARE, DIGITS),
        (TWO, TWO, DIGITS),
        (MODIFIED, MODIFIED, DIGITS),
        (V1, V1, "0123456789ab"),
    ] {
        let mut world = World::new();
        world.origin.says(before);
        world.range("2-5").await;
        world.origin.has(content, after);
        let read = world.range("4-7").await;
        assert_eq!((read.status(), read.text()), (206, "4567"), "{before:?} {after:?}");
        assert_eq!(read.cache_status(), "fwd=partial; fwd-status=206; stored");
        assert!(!world.holds("2-5").await, "{before:?} {after:?}");
        assert!(!world.holds("2-7").await, "{before:?} {after:?}");
        assert!(world.holds("4-7").await, "{before:?} {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_combined_has_the_fields_and_the_lifetime_of_the_newer_part() {
    let mut world = World::new();
    world.range("0-4").await;
    later(300).await;
    world.origin.says(&[("cache-control", "max-age=500"), ("etag", "\"v1\""), ("x-new", "yes")]);
    world.range("3-6").await;
    later(450).await;
    let read = world.range("0-6").await;
    assert_eq!(part(&read), (206, Some("bytes 0-6/10"), "0123456"));
    assert_eq!((read.field("x-new"), read.field("age")), (Some("yes"), Some("450")));
    assert_eq!(read.field("cache-control"), Some("max-age=500"));
    later(50).await;
    assert!(!world.holds("0-6").await);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_whole_answers_ranges_and_a_stale_one_is_validated_whole() {
    let mut world = World::new();
    world.get().await;
    assert_eq!(part(&world.range("2-5").await), (206, Some("bytes 2-5/10"), "2345"));
    assert_eq!(world.calls(), 1);
    later(600).await;
    let read = world.range("2-5").await;
    assert_eq!(part(&read), (206, Some("bytes 2-5/10"), "2345"));
    let asked = world.origin.last();
    assert_eq!((asked.range(), asked.field("if-none-match")), ((None, None), Some("\"v1\"")));
    assert!(world.holds_all().await);

    // And where it has changed, the new one is the whole as well.
    later(600).await;
    world.origin.has("abcdefghij", V2);
    assert_eq!(part(&world.range("2-5").await), (206, Some("bytes 2-5/10"), "cdef"));
    assert_eq!(world.origin.last().range(), (None, None));
    assert_whole(&world.get().await, "abcdefghij");
    assert_eq!(world.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_comes_after_a_whole_does_not_take_its_place() {
    for (control, fresh) in [("max-age=600", true), ("no-cache", false)] {
        let mut world = World::new();
        // The origin takes a second to answer: the range is asked for first and comes last.
        let range = asked(&world.service, ranged("2-5"));
        sleep(SECOND / 2).await;
        world.origin.says(&[("cache-control", control), ("etag", "\"v1\"")]);
        let whole = asked(&world.service, get("/"));
        assert_eq!(range.await.unwrap().unwrap().text(), "2345");
        assert_whole(&whole.await.unwrap().unwrap(), DIGITS);
        settled().await;
        assert_eq!(world.holds_all().await, fresh, "the whole takes the place of the part");

        later(600).await;
        world.origin.next(Ok(scripted(206, &[V1, &[("content-range", "bytes 2-5/10")]], "2345")));
        let read = world.ask(ranged("2-5")).await;
        assert_eq!(world.origin.last().field("if-none-match"), Some("\"v1\""), "{control}");
        assert_eq!(read.status(), 206);
        // A part nobody asked for is passed on, and what is stored stays.
        world.get().await;
        assert_eq!(world.origin.last().field("if-none-match"), Some("\"v1\""), "{control}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_stored_while_a_range_was_on_its_way_stays() {
    for control in ["max-age=600", "no-cache", "max-age=1"] {
        let mut world = World::new();
        world.origin.says(&[("cache-control", control), ("etag", "\"v1\"")]);
        let whole = asked(&world.service, get("/"));
        sleep(SECOND / 2).await;
        world.origin.says(V1);
        let range = asked(&world.service, ranged("2-5"));
        assert_whole(&whole.await.unwrap().unwrap(), DIGITS);
        let read = range.await.unwrap().unwrap();
        assert_eq!(read.text(), "2345");
        settled().await;
        later(1).await;
        let read = world.get().await;
        assert_whole(&read, DIGITS);
        if control == "max-age=600" {
            assert_eq!(read.cache_status(), "hit");
        } else {
            let last = world.origin.last();
            assert_eq!(last.field("if-none-match"), Some("\"v1\""), "{control}");
            assert_eq!(last.range(), (None, None), "{control}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_takes_the_place_of_a_part_whatever_it_is() {
    for (status, body) in [(200, DIGITS), (404, "nothing here"), (301, "")] {
        let mut world = World::once(Profile::reverse_proxy());
        world.range("2-5").await;
        world.origin.next(Ok(scripted(status, &[V2], body)));
        assert_eq!(world.get().await.status(), status);
        let read = world.range("2-5").await;
        assert_eq!(read.cache_status(), "hit");
        assert_eq!(read.status(), if status == 200 { 206 } else { status });
        assert_eq!(world.calls(), 2);
    }
}
#[tokio::test(start_paused = true)]
async fn one_part_that_has_every_byte_is_the_whole() {
    for range in ["0-", "0-9", "-10", "0-99"] {
        let mut world = World::new();
        assert_eq!(part(&world.range(range).await), (206, Some("bytes 0-9/10"), DIGITS));
        assert_eq!(part(&world.range("3-6").await), (206, Some("bytes 3-6/10"), "3456"));
        assert_whole(&world.get().await, DIGITS);
        assert_eq!(world.calls(), 1, "{range}");
    }
}

/// An origin that names what it varies by in one kind of answer alone.
#[tokio::test(start_paused = true)]
async fn a_part_does_not_take_the_place_of_a_whole_by_what_it_varies_by() {
    let varying: &[(&str, &str)] = &[("vary", "accept-language")];
    let speaking = |request, language: &str| with(request, "accept-language", language);
    let held = |language| with(speaking(get("/"), language), "cache-control", "only-if-cached");
    // A whole that varies, and a part that does not.
    let mut world = World::new();
    world.origin.says(&[V1, varying].concat());
    world.ask(speaking(get("/"), "en")).await;
    world.origin.says(V1);
    assert_eq!(world.ask(speaking(ranged("2-5"), "de")).await.text(), "2345");
    let first = world.try_ask(held("en")).await.is_ok();

    // A part that varies, asked for before a whole that does not was stored.
    let mut world = World::new();
    world.origin.says(V1);
    let whole = asked(&world.service, speaking(get("/"), "en"));
    sleep(SECOND / 2).await;
    world.origin.says(&[V1, varying].concat());
    let range = asked(&world.service, speaking(ranged("2-5"), "en"));
    assert_whole(&whole.await.unwrap().unwrap(), DIGITS);
    assert_eq!(range.await.unwrap().unwrap().text(), "2345");
    settled().await;
    let second = world.try_ask(held("en")).await.is_ok();
    assert_eq!((first, second), (true, true));
}
