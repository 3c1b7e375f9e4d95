//! Responses to POST: which answer a later GET, and what a POST leaves behind.

use http::Method;
use seawall::{Cache, CacheLayer, Invalidation, Profile, store::Memory};
use tokio::time::sleep;
use tower::Layer;

use crate::{
    millis,
    scripted::{ask, layer},
    support::{
        BoxedOrigin, Calls, Read, Req, answer, answer_status, asked, cache, call, get, origin, with,
    },
};

/// All that it takes for a GET to be answered with it.
const POSTED: [(&str, &str); 4] = [
    ("cache-control", "max-age=60"),
    ("content-location", "/x"),
    ("etag", "\"posted\""),
    ("surrogate-key", "shoes"),
];

/// Answers a POST of `/x` after a while, and any that says so at once.
fn posted() -> (Calls, BoxedOrigin) {
    origin(|_, request: Req| async move {
        let at_once = request.headers().contains_key("x-at-once");
        Ok(match *request.method() {
            Method::POST if !at_once => {
                sleep(millis(100)).await;
                answer(&POSTED, "posted")
            }
            Method::GET => answer(&[("cache-control", "max-age=60")], "got"),
            _ => answer(&[], ""),
        })
    })
}

/// What happens while a POST is under way.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    TagInvalidated,
    UriInvalidated,
    /// Another unsafe request of its URI comes and is answered.
    Changed(&'static Method),
    SwitchedOff,
}

/// What a GET gets after a POST; `fetched`: and before it there was another.
async fn got_after(meanwhile: Meanwhile, fetched: bool) -> Read {
    let (_, inner) = posted();
    let cache = cache();
    let mut service = layer(cache.clone()).layer(inner);
    if fetched {
        call(&mut service, get("/x")).await.unwrap();
    }
    let posting = asked(&service, ask(Method::POST, "/x"));
    sleep(millis(50)).await;
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::TagInvalidated => {
            cache.invalidator().invalidate(&Invalidation::tag("shoes")).await;
        }
        Meanwhile::UriInvalidated => {
            let uri = Invalidation::uri(&"http://example.com/x".parse().unwrap()).unwrap();
            cache.invalidator().invalidate(&uri).await;
        }
        Meanwhile::Changed(method) => {
            let other = with(ask(method.clone(), "/x"), "x-at-once", "1");
            call(&mut service, other).await.unwrap();
        }
        Meanwhile::SwitchedOff => cache.switch().off_where(|asked| asked.method == Method::POST),
    }
    assert_eq!(posting.await.unwrap().unwrap().text(), "posted");
    call(&mut service, get("/x")).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_posted_is_stored_where_nothing_happened_meanwhile() {
    for fetched in [false, true] {
        let read = got_after(Meanwhile::Nothing, fetched).await;
        assert_eq!(read.text(), "posted", "fetched before: {fetched}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_posted_is_not_stored_where_it_was_changed_or_invalidated_meanwhile() {
    for meanwhile in [
        Meanwhile::TagInvalidated,
        Meanwhile::UriInvalidated,
        Meanwhile::Changed(&Method::POST),
        Meanwhile::Changed(&Method::PUT),
        Meanwhile::SwitchedOff,
    ] {
        for fetched in [false, true] {
            let read = got_after(meanwhile, fetched).await;
            assert_eq!(read.text(), "got", "{meanwhile:?}, fetched before: {fetched}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_to_a_post_but_a_plain_200_is_one_to_a_get() {
    const COOKIE: [(&str, &str); 1] = [("set-cookie", "user=a")];
    for (status, more) in [(200, &COOKIE[..]), (201, &[]), (202, &[]), (204, &[]), (205, &[])] {
        let (_, inner) = origin(move |_, request: Req| async move {
            let text = if matches!(status, 204 | 205) { "" } else { "posted" };
            Ok(match *request.method() {
                Method::POST => answer_status(status, &[&POSTED, more].concat(), text),
                _ => answer(&[("cache-control", "max-age=60")], "got"),
            })
        });
        let mut service = layer(cache()).layer(inner);
        let answered = call(&mut service, ask(Method::POST, "/x")).await.unwrap();
        assert_eq!(answered.status(), status);
        let read = call(&mut service, get("/x")).await.unwrap();
        assert_eq!((read.status(), read.text()), (200, "got"), "{status} {more:?}");
        assert_eq!(read.field("set-cookie"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn posts_to_what_was_never_fetched_take_no_place_in_the_journal() {
    for profile in [Profile::safe(), Profile::reverse_proxy()] {
        let (_, inner) = origin(|_, _| async { Ok(answer(&[], "done")) });
        // What others may have stored is not known to be none.
        let cache = Cache::new(Memory::default());
        let mut service = CacheLayer::new(cache.clone()).policy(profile.clone()).layer(inner);
        let before = cache.figures().position;
        for number in 0..100 {
            call(&mut service, ask(Method::POST, &format!("/{number}"))).await.unwrap();
        }
        assert_eq!(cache.figures().position, before, "{profile:?}");
        // What was fetched takes one.
        call(&mut service, get("/x")).await.unwrap();
        call(&mut service, ask(Method::POST, "/x")).await.unwrap();
        assert!(cache.figures().position > before, "{profile:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_caches_each_keeps_what_was_posted() {
    let (calls, inner) = posted();
    let mut service = layer(cache()).layer(layer(cache()).layer(inner));
    call(&mut service, get("/x")).await.unwrap();
    call(&mut service, ask(Method::POST, "/x")).await.unwrap();
    let read = call(&mut service, get("/x")).await.unwrap();
    // The outer one's own: the inner one would have been asked for it, and have said so.
    assert_eq!((read.text(), read.cache_status(), calls.count()), ("posted", "hit", 2));
}
