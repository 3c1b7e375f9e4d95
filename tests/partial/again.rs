//! A 304 about another answer than the one stored (RFC 9111 §4.3.4).

use seawall::Profile;

use crate::{
    origin::{DIGITS, V2, World, assert_whole, later, part, ranged, scripted},
    support::{at_once, get, with},
};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const OTHER: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("etag", "\"v2\"")];

/// A world with something stale in it, whose origin has changed.
async fn changed(mut world: World, fields: &[(&str, &str)]) -> World {
    world.origin.says(fields);
    world.get().await;
    later(60).await;
    world.origin.has("abcdefghij", V2);
    world.origin.next(Ok(scripted(304, &[OTHER], "")));
    world
}

#[tokio::test(start_paused = true)]
async fn who_can_ask_again_asks_without_condition_and_gets_the_new() {
    for fields in [
        &[("cache-control", "max-age=60"), ("etag", "\"v1\"")][..],
        &[("cache-control", "max-age=60"), ("etag", "W/\"v1\""), ("last-modified", MODIFIED)],
        &[("cache-control", "max-age=60"), ("last-modified", MODIFIED)],
    ] {
        let mut world = changed(World::new(), fields).await;
        let mut request = with(get("/"), "accept-language", "de");
        request.extensions_mut().insert(7_u32);
        let read = world.ask(request).await;
        assert_whole(&read, "abcdefghij");
        assert_eq!(read.cache_status(), "fwd=stale; fwd-status=200; stored", "{fields:?}");
        let asked = world.origin.state().asked.clone();
        let conditions = |number: usize| {
            let one = &asked[number];
            (one.field("if-none-match").is_some(), one.field("if-modified-since").is_some())
        };
        assert_ne!(conditions(1), (false, false), "{fields:?}");
        assert_eq!(conditions(2), (false, false), "{fields:?}");
        assert_eq!(asked[2].field("accept-language"), Some("de"), "it is the same request");
        assert_eq!((asked[1].beside, asked[2].beside), (Some(7), Some(7)));
        let read = world.get().await;
        assert_whole(&read, "abcdefghij");
        assert_eq!((read.cache_status(), world.calls()), ("hit", 3));
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_get_the_new_and_each_what_it_asked_for() {
    let world = changed(World::new(), &[("cache-control", "max-age=60"), ("etag", "\"v1\"")]).await;
    let requests = (0..300).map(|number| match number % 3 {
        0 => get("/"),
        1 => ranged("2-5"),
        _ => with(get("/"), "if-none-match", "\"v2\""),
    });
    for (number, read) in at_once(&world.service, requests).await.into_iter().enumerate() {
        let read = read.unwrap();
        match number % 3 {
            0 => assert_whole(&read, "abcdefghij"),
            1 => assert_eq!(part(&read), (206, Some("bytes 2-5/10"), "cdef")),
            _ => assert_eq!((read.status(), read.text()), (304, "")),
        }
    }
    assert_eq!(world.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_can_ask_only_once_fails_and_the_next_one_gets_the_new() {
    let stored = [("cache-control", "max-age=60"), ("etag", "\"v1\"")];
    let mut world = changed(World::once(Profile::reverse_proxy()), &stored).await;
    let error = world.try_ask(get("/")).await.unwrap_err();
    assert!(error.source().unwrap().to_string().contains("304"), "{error:?}");
    assert_eq!(world.calls(), 2);
    assert!(!world.holds_all().await);
    assert_whole(&world.get().await, "abcdefghij");
}

#[tokio::test(start_paused = true)]
async fn what_comes_of_the_second_call_is_the_answer_whatever_it_is() {
    for (status, body) in [(404, "gone"), (503, "down"), (200, "uncacheable")] {
        let stored = [("cache-control", "max-age=60"), ("etag", "\"v1\"")];
        let mut world = changed(World::new(), &stored).await;
        world.origin.next(Ok(scripted(status, &[&[("cache-control", "no-store")]], body)));
        let read = world.get().await;
        assert_eq!((read.status(), read.text()), (status, body));
        assert_eq!(world.calls(), 3);
        assert!(!world.holds_all().await);
    }
    let stored = [("cache-control", "max-age=60"), ("etag", "\"v1\"")];
    let mut world = changed(World::new(), &stored).await;
    world.origin.next(Err("connection reset".into()));
    assert!(world.try_ask(get("/")).await.is_err());
    assert_eq!(world.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_304_about_what_is_stored_is_not_asked_again() {
    for (stored, told) in [
        ("\"v1\"", Some("\"v1\"")),
        ("\"v1\"", Some("W/\"v1\"")),
        ("W/\"v1\"", Some("\"v1\"")),
        ("\"v1\"", None),
    ] {
        let mut world = World::new();
        world.origin.says(&[("cache-control", "max-age=60"), ("etag", stored)]);
        world.get().await;
        later(60).await;
        let fields: Vec<_> = told.iter().map(|tag| ("etag", *tag)).collect();
        world.origin.next(Ok(scripted(304, &[&fields], "")));
        assert_whole(&world.get().await, DIGITS);
        assert_eq!(world.calls(), 2, "{stored} {told:?}");
        assert!(world.holds_all().await, "{stored} {told:?}");
    }
}
