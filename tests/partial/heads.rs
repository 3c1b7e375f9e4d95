//! What the answer to a HEAD tells of the stored answer to GET (RFC 9111 §4.3.5).

use seawall::Profile;
use tokio::time::sleep;

use crate::{
    origin::{DIGITS, SECOND, V2, World, assert_whole, later, scripted, settled},
    support::{Req, asked, get, head, with},
};

const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
const MINUTE: (&str, &str) = ("cache-control", "max-age=60");
const STORED: &[(&str, &str)] = &[MINUTE, ("etag", "\"v1\""), ("last-modified", EARLY)];

/// It goes to the origin whatever is stored.
fn asks_anew() -> Req {
    with(head("/"), "cache-control", "no-cache")
}

async fn begun() -> World {
    let mut world = World::new();
    world.origin.says(STORED);
    world.get().await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_head_that_names_the_same_content_updates_what_is_stored() {
    let rows: [&[(&str, &str)]; 6] = [
        &[("etag", "\"v1\"")],
        &[("last-modified", EARLY)],
        &[("content-length", "10")],
        &[("etag", "\"v1\""), ("last-modified", EARLY)],
        &[("etag", "\"v1\""), ("content-length", "10")],
        &[("etag", "\"v1\""), ("last-modified", EARLY), ("content-length", "10")],
    ];
    for fields in rows {
        for stale in [false, true] {
            let mut world = begun().await;
            later(if stale { 70 } else { 50 }).await;
            let more = [("cache-control", "max-age=100"), ("x-new", "yes")];
            world.origin.next(Ok(scripted(200, &[&more, fields], "")));
            let read = world.ask(asks_anew()).await;
            assert_eq!((read.status(), read.text()), (200, ""), "{fields:?}");
            assert_eq!(read.field("content-length"), Some("10"), "{fields:?}");
            assert_eq!(world.origin.last().method, "HEAD");
            assert_eq!(world.origin.last().field("if-none-match"), None);
            later(99).await;
            let read = world.get().await;
            assert_whole(&read, DIGITS);
            assert_eq!((read.cache_status(), read.field("age")), ("hit", Some("99")), "{fields:?}");
            assert_eq!((read.field("x-new"), read.field("etag")), (Some("yes"), Some("\"v1\"")));
            assert_eq!(read.field("cache-control"), Some("max-age=100"));
            assert_eq!(world.calls(), 2, "{fields:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_names_other_content_makes_what_is_stored_stale() {
    let rows: [&[(&str, &str)]; 7] = [
        &[("etag", "\"v2\"")],
        &[("etag", "W/\"v1\"")],
        &[("last-modified", LATE)],
        &[("content-length", "11")],
        &[("etag", "\"v1\""), ("last-modified", LATE)],
        &[("etag", "\"v1\""), ("content-length", "11")],
        &[("etag", "\"v2\""), ("last-modified", EARLY), ("content-length", "10")],
    ];
    for fields in rows {
        let mut world = begun().await;
        world.origin.next(Ok(scripted(200, &[&[MINUTE], fields], "")));
        let read = world.ask(asks_anew()).await;
        assert_eq!(read.status(), 200);
        for (name, value) in fields {
            assert_eq!(read.field(name), Some(*value), "the client gets what came");
        }
        assert!(!world.holds_all().await, "{fields:?}");
        assert_whole(&world.get().await, DIGITS);
        assert_eq!(world.origin.last().field("if-none-match"), Some("\"v1\""), "{fields:?}");
        assert_eq!(world.calls(), 3);
        assert!(world.holds_all().await, "it was validated: {fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_cannot_be_compared_changes_nothing() {
    for (status, fields) in [
        (200, &[MINUTE, ("x-new", "yes")][..]),
        (200, &[("cache-control", "no-store")]),
        (404, &[MINUTE, ("etag", "\"v2\"")]),
        (204, &[MINUTE, ("etag", "\"v2\"")]),
        (503, &[("etag", "\"v2\"")]),
    ] {
        let mut world = begun().await;
        world.origin.next(Ok(scripted(status, &[fields], "")));
        world.try_ask(asks_anew()).await.unwrap();
        later(20).await;
        let read = world.get().await;
        assert_whole(&read, DIGITS);
        assert_eq!((read.cache_status(), read.field("x-new")), ("hit", None), "{fields:?}");
        later(50).await;
        assert!(!world.holds_all().await, "its time is what it was");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_may_not_be_stored_gives_what_is_stored_no_new_life() {
    for control in ["no-store", "private, max-age=60"] {
        let mut world = begun().await;
        let fields = [("cache-control", control), ("etag", "\"v1\""), ("x-new", "yes")];
        world.origin.next(Ok(scripted(200, &[&fields], "")));
        later(50).await;
        let read = world.ask(asks_anew()).await;
        assert_eq!((read.status(), read.field("x-new")), (200, Some("yes")), "{control}");
        later(20).await;
        assert!(!world.holds_all().await, "{control}");
        let read = world.get().await;
        assert_eq!(read.field("x-new"), None, "{control}");
        assert_whole(&read, DIGITS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_of_one_variant_tells_nothing_of_another() {
    let mut world = World::new();
    let says = |tag| [MINUTE, ("etag", tag), ("vary", "accept-language")];
    let speaking = |request, language: &str| with(request, "accept-language", language);
    for (language, tag) in [("en", "\"en\""), ("de", "\"de\"")] {
        world.origin.says(&says(tag));
        world.ask(speaking(get("/"), language)).await;
    }
    world.origin.next(Ok(scripted(200, &[&says("\"en2\"")], "")));
    world.ask(speaking(asks_anew(), "en")).await;
    later(30).await;
    world.origin.next(Ok(scripted(200, &[&says("\"de\"")], "")));
    world.ask(speaking(asks_anew(), "de")).await;
    later(40).await;
    for (language, held) in [("en", false), ("de", true)] {
        let request = with(speaking(get("/"), language), "cache-control", "only-if-cached");
        assert_eq!(world.try_ask(request).await.is_ok(), held, "{language}");
    }
    // One that varies by something else cannot stay where it lies.
    let fields = [MINUTE, ("etag", "\"de\""), ("vary", "accept")];
    world.origin.next(Ok(scripted(200, &[&fields], "")));
    world.ask(speaking(asks_anew(), "de")).await;
    let request = with(speaking(get("/"), "de"), "cache-control", "only-if-cached");
    assert!(world.try_ask(request).await.is_err());
}

/// The HEAD is asked second and answered last; what it compares itself with is gone by then.
#[tokio::test(start_paused = true)]
async fn a_head_does_not_touch_what_a_get_has_stored_meanwhile() {
    for tag in ["\"v1\"", "\"v3\""] {
        let mut world = begun().await;
        world.origin.next(Ok(scripted(200, &[V2], "abcdefghij")));
        let fields = [MINUTE, ("etag", tag), ("x-new", "yes")];
        world.origin.next(Ok(scripted(200, &[&fields], "")));
        let newer = asked(&world.service, with(get("/"), "cache-control", "no-cache"));
        sleep(SECOND / 2).await;
        let head = asked(&world.service, asks_anew());
        assert_whole(&newer.await.unwrap().unwrap(), "abcdefghij");
        assert_eq!(head.await.unwrap().unwrap().status(), 200);
        settled().await;
        later(500).await;
        let read = world.get().await;
        assert_whole(&read, "abcdefghij");
        assert_eq!(read.cache_status(), "hit", "{tag}");
        assert_eq!((read.field("etag"), read.field("x-new")), (Some("\"v2\""), None), "{tag}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_of_what_is_not_a_200_tells_nothing() {
    let mut world = World::with(Profile::reverse_proxy());
    world.origin.next(Ok(scripted(404, &[&[MINUTE, ("etag", "\"v1\"")]], "gone")));
    world.get().await;
    world.origin.next(Ok(scripted(
        200,
        &[&[MINUTE, ("etag", "\"v1\""), ("content-length", "10")]],
        "",
    )));
    assert_eq!(world.ask(asks_anew()).await.status(), 200);
    later(58).await;
    let read = world.get().await;
    assert_eq!((read.status(), read.cache_status()), (404, "hit"));
    later(1).await;
    assert!(!world.holds_all().await);
}
