//! Answers to POST that answer a later GET (RFC 9110 §9.3.3).

use bytes::Bytes;
use http::Uri;
use seawall::{Invalidation, Profile};
use tokio::time::sleep;
use tower::ServiceExt;

use crate::{
    origin::{DIGITS, SECOND, V1, World, assert_whole, later, part, requested, scripted, settled},
    support::{Req, asked, at_once, bodies::Step, bodies::Steps, boxed, get, head, streamed, with},
};

const TEN: (&str, &str) = ("cache-control", "max-age=600");
const ITSELF: (&str, &str) = ("content-location", "/");

fn post() -> Req {
    requested("POST")
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_post_that_is_the_target_itself_answers_get_and_head() {
    for location in ["/", "http://example.com/", "//example.com", "?", "http://example.com:80/#a"] {
        let mut world = World::new();
        let fields = [TEN, ("content-location", location), ("etag", "\"p\"")];
        world.origin.next(Ok(scripted(200, &[&fields], "posted")));
        let read = world.ask(post()).await;
        assert_eq!((read.status(), read.text()), (200, "posted"), "{location}");
        if location == "?" {
            // An empty query is a query: another URI.
            assert_eq!(read.cache_status(), "fwd=method; fwd-status=200");
            continue;
        }
        assert_eq!(read.cache_status(), "fwd=method; fwd-status=200; stored", "{location}");
        later(7).await;
        let read = world.get().await;
        assert_whole(&read, "posted");
        assert_eq!((read.cache_status(), read.field("age")), ("hit", Some("7")));
        let read = world.ask(head("/")).await;
        assert_eq!((read.status(), read.field("content-length")), (200, Some("6")));
        assert_eq!(part(&world.range("1-2").await), (206, Some("bytes 1-2/6"), "os"));
        let read = world.ask(with(get("/"), "if-none-match", "\"p\"")).await;
        assert_eq!((read.status(), world.calls()), (304, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn it_never_answers_another_post() {
    let mut world = World::new();
    for body in ["first", "second"] {
        world.origin.next(Ok(scripted(200, &[&[TEN, ITSELF]], body)));
        assert_eq!(world.ask(post()).await.text(), body);
        assert_whole(&world.get().await, body);
    }
    assert_eq!(world.calls(), 2);
    let posts = (0..10).map(|_| post());
    at_once(&world.service, posts).await;
    assert_eq!(world.calls(), 12);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_a_plain_success_with_both_fields_is_not_stored() {
    let reverse_proxy = Profile::reverse_proxy;
    let safe = || Profile::safe().store_post(true);
    type Fields = &'static [(&'static str, &'static str)];
    let rows: [(Profile, u16, Fields, bool); 24] = [
        (reverse_proxy(), 200, &[TEN, ITSELF], true),
        (safe(), 200, &[TEN, ITSELF], true),
        (reverse_proxy(), 200, &[("expires", "Fri, 01 Jan 2100 00:00:00 GMT"), ITSELF], true),
        (reverse_proxy(), 200, &[("cdn-cache-control", "max-age=9"), ITSELF], true),
        (Profile::safe(), 200, &[TEN, ITSELF], false),
        (reverse_proxy().store_post(false), 200, &[TEN, ITSELF], false),
        (reverse_proxy(), 200, &[TEN], false),
        (reverse_proxy(), 200, &[TEN, ("location", "/")], false),
        (reverse_proxy(), 200, &[TEN, ("content-location", "/other")], false),
        (reverse_proxy(), 200, &[TEN, ("content-location", "http://example.org/")], false),
        (reverse_proxy(), 200, &[TEN, ITSELF, ITSELF], false),
        (reverse_proxy(), 200, &[ITSELF, ("etag", "\"a\"")], false),
        (
            reverse_proxy(),
            200,
            &[ITSELF, ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
            false,
        ),
        (reverse_proxy(), 200, &[ITSELF, ("cache-control", "public")], false),
        (reverse_proxy(), 200, &[ITSELF, ("cache-control", "max-age=9, no-store")], false),
        (reverse_proxy(), 200, &[ITSELF, ("cache-control", "max-age=9, private")], false),
        (reverse_proxy(), 200, &[ITSELF, ("cache-control", "max-age=0")], false),
        (reverse_proxy(), 200, &[TEN, ITSELF, ("vary", "*")], false),
        (reverse_proxy(), 200, &[TEN, ITSELF, ("set-cookie", "a=b")], true),
        (safe(), 200, &[TEN, ITSELF, ("set-cookie", "a=b")], false),
        (reverse_proxy(), 404, &[TEN, ITSELF], false),
        (reverse_proxy(), 500, &[TEN, ITSELF], false),
        (reverse_proxy(), 303, &[TEN, ITSELF], false),
        (reverse_proxy(), 206, &[TEN, ITSELF, ("content-range", "bytes 0-5/6")], false),
    ];
    for (profile, status, fields, stored) in rows {
        let mut world = World::with(profile.clone());
        world.origin.next(Ok(scripted(status, &[fields], "posted")));
        let read = world.ask(post()).await;
        assert_eq!((read.status(), read.text()), (status, "posted"), "{fields:?}");
        assert_eq!(read.cache_status().ends_with("; stored"), stored, "{fields:?}");
        assert_eq!(world.holds_all().await, stored, "{status} {fields:?} {profile:?}");
        assert_eq!(world.cache.figures().remembered, 0, "of GET it says nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_request_forbids_to_store_is_not_stored() {
    let (reverse_proxy, safe) = (Profile::reverse_proxy(), Profile::safe().store_post(true));
    for (name, control, by_reverse_proxy, by_safe) in [
        ("x", "max-age=600", true, true),
        ("cache-control", "max-age=600", false, false),
        ("authorization", "max-age=600", false, false),
        ("authorization", "public, max-age=600", true, true),
        ("cookie", "max-age=600", true, false),
        ("cookie", "public, max-age=600", true, true),
        ("x-forwarded-host", "max-age=600", true, false),
    ] {
        for (profile, stored) in [(&reverse_proxy, by_reverse_proxy), (&safe, by_safe)] {
            let mut world = World::with(profile.clone());
            let fields = [ITSELF, ("cache-control", control)];
            world.origin.next(Ok(scripted(200, &[&fields], "posted")));
            assert_eq!(world.ask(with(post(), name, "no-store")).await.text(), "posted");
            assert_eq!(world.holds_all().await, stored, "{name} {control} {profile:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_before_is_gone_and_the_answer_stands() {
    for part in [false, true] {
        let mut world = World::new();
        match part {
            true => drop(world.range("0-3").await),
            false => drop(world.get().await),
        }
        world.origin.next(Ok(scripted(200, &[&[TEN, ITSELF]], "posted")));
        world.ask(post()).await;
        assert_whole(&world.get().await, "posted");
        assert_eq!(world.calls(), 2);
        // One that is not kept still ends what was there.
        world.origin.next(Ok(scripted(200, &[&[TEN]], "posted again")));
        world.ask(post()).await;
        assert!(!world.holds_all().await);
        assert_whole(&world.get().await, DIGITS);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_leaves_what_was_stored() {
    let mut world = World::new();
    world.get().await;
    world.origin.next(Ok(scripted(400, &[&[TEN, ITSELF]], "no")));
    assert_eq!(world.ask(post()).await.status(), 400);
    world.origin.next(Err("connection reset".into()));
    assert_eq!(world.try_ask(post()).await.unwrap_err().to_string(), "connection reset");
    assert_whole(&world.get().await, DIGITS);
    assert_eq!(world.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn it_is_a_variant_where_it_says_so() {
    let mut world = World::new();
    let fields = [TEN, ITSELF, ("vary", "accept-language")];
    world.origin.next(Ok(scripted(200, &[&fields], "gepostet")));
    world.ask(with(post(), "accept-language", "de")).await;
    let read = world.ask(with(get("/"), "accept-language", "de")).await;
    assert_eq!((read.text(), read.cache_status()), ("gepostet", "hit"));
    let read = world.ask(with(get("/"), "accept-language", "en")).await;
    assert_eq!((read.text(), world.calls()), (DIGITS, 2));
}

#[tokio::test(start_paused = true)]
async fn its_body_is_handed_on_frame_by_frame_and_stored_at_its_end() {
    let mut world = World::new();
    let steps = |end| {
        let data = |text| Step::Data(Bytes::from(text));
        Steps::new([data("pos"), Step::Wait(SECOND), end])
    };
    let answer = |end| Ok(streamed(&[TEN, ITSELF, ("content-length", "6")], steps(end)).map(boxed));
    world.origin.next(answer(Step::Data(Bytes::from("ted"))));
    assert_eq!(world.ask(post()).await.text(), "posted");
    assert_whole(&world.get().await, "posted");

    world.origin.next(answer(Step::Fail));
    assert!(world.try_ask(post()).await.is_err());
    assert!(!world.holds_all().await);

    // A client that leaves has posted all the same.
    world.get().await;
    world.origin.next(answer(Step::Data(Bytes::from("ted"))));
    drop(world.service.clone().oneshot(post()).await.unwrap());
    sleep(2 * SECOND).await;
    let read = world.get().await;
    assert_ne!((read.text(), read.cache_status()), (DIGITS, "hit"));
}

/// Which of two changes came last at the origin is not known.
#[tokio::test(start_paused = true)]
async fn with_another_change_meanwhile_it_is_not_stored() {
    for method in ["PUT", "POST", "DELETE"] {
        let mut world = World::new();
        world.origin.next(Ok(scripted(200, &[&[TEN, ITSELF]], "posted")));
        world.origin.next(Ok(scripted(204, &[], "")));
        let first = asked(&world.service, post());
        sleep(SECOND / 2).await;
        let second = asked(&world.service, requested(method));
        assert_eq!(first.await.unwrap().unwrap().text(), "posted");
        second.await.unwrap().unwrap();
        settled().await;
        assert!(!world.holds_all().await, "{method} ended after it");

        world.origin.next(Ok(scripted(204, &[], "")));
        world.origin.next(Ok(scripted(200, &[&[TEN, ITSELF]], "posted")));
        let first = asked(&world.service, requested(method));
        sleep(SECOND / 2).await;
        let second = asked(&world.service, post());
        first.await.unwrap().unwrap();
        assert_eq!(second.await.unwrap().unwrap().text(), "posted");
        settled().await;
        assert!(!world.holds_all().await, "{method} ended within it");
    }
}

/// A POST that takes a second, and another for its body; after so much of it `what` is invalidated.
async fn is_stored_after(what: &Invalidation, seconds: f64) -> bool {
    let mut world = World::new();
    let data = |text| Step::Data(Bytes::from(text));
    let steps = Steps::new([data("pos"), Step::Wait(SECOND), data("ted")]);
    let fields = [TEN, ITSELF, ("content-length", "6"), ("surrogate-key", "t")];
    world.origin.next(Ok(streamed(&fields, steps).map(boxed)));
    let posting = asked(&world.service, post());
    sleep(SECOND.mul_f64(seconds)).await;
    world.cache.invalidator().invalidate(what).await;
    assert_eq!(posting.await.unwrap().unwrap().text(), "posted");
    settled().await;
    world.holds_all().await
}

#[tokio::test(start_paused = true)]
async fn what_is_invalidated_meanwhile_is_not_stored() {
    let uri = || Invalidation::uri(&Uri::from_static("http://example.com/")).unwrap();
    for what in [uri(), Invalidation::everything()] {
        for soft in [false, true] {
            let what = if soft { what.clone().soft() } else { what.clone() };
            assert!(!is_stored_after(&what, 0.5).await, "{what:?}");
            assert!(!is_stored_after(&what, 1.5).await, "{what:?}");
        }
    }
    assert!(!is_stored_after(&Invalidation::tag("t"), 1.5).await);
    assert!(is_stored_after(&Invalidation::tag("u"), 1.5).await);
}

// FAILS: whether it was alone is asked of its key and its URI; its tags are not known before its
// answer, and an invalidation of these while the origin answered is forgotten.
#[tokio::test(start_paused = true)]
async fn what_is_invalidated_by_its_tag_while_the_origin_answers_is_not_stored() {
    assert!(!is_stored_after(&Invalidation::tag("t"), 0.5).await);
}

#[tokio::test(start_paused = true)]
async fn a_get_that_began_before_it_does_not_bring_back_what_it_changed() {
    let mut world = World::new();
    world.origin.next(Ok(streamed(
        &[V1, &[("content-length", "3")]].concat(),
        Steps::new([Step::Wait(5 * SECOND), Step::Data(Bytes::from("old"))]),
    )
    .map(boxed)));
    let before = asked(&world.service, get("/"));
    settled().await;
    world.origin.next(Ok(scripted(200, &[&[TEN, ITSELF]], "posted")));
    assert_eq!(world.ask(post()).await.text(), "posted");
    assert_whole(&world.get().await, "posted");
    assert_eq!(before.await.unwrap().unwrap().text(), "old");
    settled().await;
    assert_whole(&world.get().await, "posted");
    assert_eq!(world.calls(), 2);
}
