//! How long an answer is given stale and kept: by its own word, else by the layer's.

use seawall::{
    Cache, CacheLayer, Rejected, StaleWhileRevalidateLayer, cache::CacheService, marks::Refresh,
};
use tokio::time::{Instant, advance, sleep};
use tower::Layer;

use crate::{
    Mood, Moody, assert_nothing_is_left, millis, seconds,
    support::{BoxedOrigin, Read, at_once, cache, call, get, with},
};

const AT_ONCE: &str = "hit; detail=stale-while-revalidate";

async fn read(service: &mut CacheService<BoxedOrigin>) -> Read {
    call(service, get("/")).await.unwrap()
}

/// An answer of ten seconds that says `control`, in the nth second after it was fresh.
async fn stale(
    control: &'static str,
    nth: u64,
    layer: impl FnOnce(Cache) -> CacheLayer,
) -> (Moody, CacheService<BoxedOrigin>) {
    let origin = Moody::says(&[("cache-control", control), ("etag", "\"a\"")]);
    let mut service = layer(cache()).layer(origin.service.clone());
    read(&mut service).await;
    advance(seconds(10 + nth) - millis(500)).await;
    (origin, service)
}

#[tokio::test(start_paused = true)]
async fn all_who_ask_for_what_is_stale_are_answered_at_once_with_one_refresh_behind() {
    let origin = Moody::says(&[("cache-control", "max-age=10")]);
    let cache = cache();
    let layer = StaleWhileRevalidateLayer::new(cache.clone(), seconds(60));
    let mut service = layer.layer(origin.service.clone());
    read(&mut service).await;
    advance(seconds(12)).await;
    origin.is(Mood::Slow(millis(400)));
    let began = Instant::now();
    for answer in at_once(&service, (0..1_000).map(|_| get("/"))).await {
        let answer = answer.unwrap();
        assert_eq!((answer.text(), answer.field("age")), ("answer 0", Some("12")));
        assert_eq!(answer.cache_status(), AT_ONCE);
    }
    assert_eq!(began.elapsed(), millis(0));
    assert_eq!((origin.calls.count(), cache.figures().refreshes), (2, 1));
    sleep(millis(401)).await;
    let fresh = read(&mut service).await;
    assert_eq!(
        (fresh.text(), fresh.cache_status(), fresh.field("age")),
        ("answer 1", "hit", Some("0"))
    );
    assert_eq!(origin.calls.count(), 2);
    assert_nothing_is_left(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_asks_for_what_is_newer_than_the_stored_answer_and_carries_its_mark() {
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (validator, condition) in [
        (Some(("etag", "\"a\"")), Some("if-none-match")),
        (Some(("last-modified", DATE)), Some("if-modified-since")),
        (None, None),
    ] {
        for callers in [
            &[][..],
            &[("if-none-match", "\"other\"")],
            &[("if-modified-since", "Mon, 07 Nov 1994 08:49:37 GMT")],
            &[("range", "bytes=0-2")],
            &[("range", "bytes=0-2"), ("if-range", "\"a\"")],
        ] {
            let said: Vec<_> =
                [("cache-control", "max-age=10")].into_iter().chain(validator).collect();
            let origin = Moody::says(&said);
            let layer = StaleWhileRevalidateLayer::new(cache(), seconds(60));
            let mut service = layer.layer(origin.service.clone());
            read(&mut service).await;
            assert!(!origin.last_asked().refresh);
            advance(seconds(11)).await;
            let request =
                callers.iter().fold(get("/"), |request, (name, value)| with(request, name, value));
            let answered = call(&mut service, with(request, "x-callers-own", "1")).await.unwrap();
            assert_eq!(answered.cache_status(), AT_ONCE, "{callers:?}");
            sleep(millis(1)).await;
            let asked = origin.last_asked();
            assert_eq!(origin.calls.count(), 2);
            assert!(asked.refresh && asked.has("x-callers-own"), "{asked:?}");
            for name in ["if-none-match", "if-modified-since", "range", "if-range"] {
                assert_eq!(
                    asked.has(name),
                    Some(name) == condition,
                    "{name} of {callers:?}: {asked:?}"
                );
            }
            let fresh = read(&mut service).await;
            let body = if condition.is_some() { "answer 0" } else { "answer 1" };
            assert_eq!((fresh.status(), fresh.text(), fresh.cache_status()), (200, body, "hit"));
            let age: u64 = fresh.field("age").unwrap().parse().unwrap();
            assert!(age <= 1, "a 304 makes it young again: {age}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_cut_to_what_its_caller_asked_for() {
    let (_, mut service) =
        stale("max-age=10", 1, |cache| CacheLayer::new(cache).stale_while_revalidate(seconds(60)))
            .await;
    let part = call(&mut service, with(get("/"), "range", "bytes=0-2")).await.unwrap();
    assert_eq!((part.status(), part.text(), part.cache_status()), (206, "ans", AT_ONCE));
}

#[tokio::test(start_paused = true)]
async fn the_windows_of_an_answer_win_over_those_of_the_layer_and_a_plain_cache_honours_them() {
    for (control, window, stale_for, expected) in [
        ("max-age=10", 60, 1, true),
        ("max-age=10", 60, 60, true),
        ("max-age=10", 60, 61, false),
        ("max-age=10", 0, 1, false),
        ("max-age=10, stale-while-revalidate=5", 60, 5, true),
        ("max-age=10, stale-while-revalidate=5", 60, 6, false),
        ("max-age=10, stale-while-revalidate=0", 60, 1, false),
        ("max-age=10, stale-while-revalidate=100", 60, 100, true),
        ("max-age=10, stale-while-revalidate=100", 60, 101, false),
        ("max-age=10, stale-while-revalidate=5", 0, 5, true),
        ("max-age=10, stale-while-revalidate=5", 0, 6, false),
        // It says nothing of what is to be while it is revalidated.
        ("max-age=10, stale-if-error=5", 60, 60, true),
        ("max-age=10, stale-if-error=100", 0, 1, false),
    ] {
        let layer = |cache| CacheLayer::new(cache).stale_while_revalidate(seconds(window));
        let (origin, mut service) = stale(control, stale_for, layer).await;
        let answered = read(&mut service).await;
        let case = format!("{control} after {stale_for} s, by the layer {window} s");
        assert_eq!(answered.cache_status() == AT_ONCE, expected, "{case}");
        sleep(millis(1)).await;
        assert_eq!((origin.calls.count(), origin.last_asked().refresh), (2, expected), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn for_how_long_an_answer_is_given_when_the_origin_fails_is_its_own_word_else_the_layers() {
    for (control, window, stale_for, expected) in [
        ("max-age=10", 60, 60, true),
        ("max-age=10", 60, 61, false),
        ("max-age=10", 0, 1, false),
        ("max-age=10, stale-if-error=5", 60, 5, true),
        ("max-age=10, stale-if-error=5", 60, 6, false),
        ("max-age=10, stale-if-error=0", 60, 1, false),
        ("max-age=10, stale-if-error=100", 60, 100, true),
        ("max-age=10, stale-if-error=100", 60, 101, false),
        ("max-age=10, stale-if-error=5", 0, 5, true),
        ("max-age=10, stale-while-revalidate=0", 60, 60, true),
    ] {
        for mood in [Mood::Answering(500), Mood::Answering(503), Mood::Unreachable] {
            let layer = |cache| CacheLayer::new(cache).stale_if_error(seconds(window));
            let (origin, mut service) = stale(control, stale_for, layer).await;
            origin.is(mood);
            let answered = call(&mut service, get("/")).await;
            let case = format!("{control} after {stale_for} s, by the layer {window} s, {mood:?}");
            match answered {
                Ok(read) if expected => {
                    assert_eq!((read.status(), read.text()), (200, "answer 0"), "{case}");
                    let age = (9 + stale_for).to_string();
                    assert_eq!(read.field("age"), Some(&*age), "{case}");
                    assert!(read.cache_status().ends_with("detail=stale-if-error"), "{case}");
                }
                Ok(read) => assert_eq!(Mood::Answering(read.status()), mood, "{case}"),
                Err(error) => {
                    assert!(!expected && mood == Mood::Unreachable, "{case}: {error}");
                    assert!(Rejected::find(&*error).is_none(), "{case}: {error}");
                }
            }
            assert_eq!(origin.calls.count(), 2, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_for_the_longest_of_its_windows_and_then_not_even_validated() {
    for (control, windows, kept) in [
        ("max-age=10", [0, 0, 100], 100),
        ("max-age=10", [200, 0, 100], 200),
        ("max-age=10", [0, 300, 100], 300),
        ("max-age=10", [0, 0, 1], 1),
        ("max-age=10, stale-while-revalidate=200", [0, 0, 100], 200),
        ("max-age=10, stale-if-error=300", [200, 0, 100], 300),
        ("max-age=10, stale-if-error=5, stale-while-revalidate=5", [200, 300, 100], 100),
    ] {
        for (stale_for, validated) in [(kept, true), (kept + 1, false)] {
            let [while_revalidate, if_error, keep] = windows.map(seconds);
            let layer = |cache| {
                CacheLayer::new(cache)
                    .stale_while_revalidate(while_revalidate)
                    .stale_if_error(if_error)
                    .keep_stale(keep)
            };
            let (origin, mut service) = stale(control, stale_for, layer).await;
            let answered = read(&mut service).await;
            sleep(millis(1)).await;
            let case = format!("{control} with {windows:?} after {stale_for} s");
            assert_eq!(origin.last_asked().has("if-none-match"), validated, "{case}");
            let body = if validated { "answer 0" } else { "answer 1" };
            assert_eq!(answered.text(), body, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_be_validated_is_kept_no_longer_than_anything_else() {
    for control in ["max-age=10, must-revalidate", "max-age=10, proxy-revalidate", "s-maxage=10"] {
        for (stale_for, validated) in [(100, true), (101, false)] {
            let layer = |cache| CacheLayer::new(cache).keep_stale(seconds(100));
            let (origin, mut service) = stale(control, stale_for, layer).await;
            read(&mut service).await;
            let asked = origin.last_asked();
            assert_eq!(asked.has("if-none-match"), validated, "{control} after {stale_for} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_request_to_validate_is_not_answered_stale_at_once() {
    for directive in ["no-cache", "max-age=0", "max-age=11", "min-fresh=1"] {
        let (origin, mut service) = stale("max-age=10", 5, |cache| {
            CacheLayer::new(cache).stale_while_revalidate(seconds(60))
        })
        .await;
        let request = with(get("/"), "cache-control", directive);
        let answered = call(&mut service, request).await.unwrap();
        assert_eq!(answered.field("age").unwrap_or("0"), "0", "{directive}");
        assert_eq!(origin.calls.count(), 2, "{directive}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_comes_from_above_is_not_answered_from_storage() {
    let (origin, mut service) = stale("max-age=10", 5, |cache| {
        CacheLayer::new(cache).stale_while_revalidate(seconds(60)).stale_if_error(seconds(60))
    })
    .await;
    let mut refresh = get("/");
    refresh.extensions_mut().insert(Refresh);
    let answered = call(&mut service, refresh.clone()).await.unwrap();
    assert_eq!((origin.calls.count(), answered.field("age").unwrap_or("0")), (2, "0"));
    assert!(origin.last_asked().has("if-none-match") && origin.last_asked().refresh);
    // Whoever refreshes has a stale answer of its own.
    origin.is(Mood::Answering(503));
    let failed = call(&mut service, refresh).await.unwrap();
    assert_eq!((origin.calls.count(), failed.status()), (3, 503));
}

#[tokio::test(start_paused = true)]
async fn a_validated_answer_is_as_young_as_a_new_one_at_any_moment_of_a_second() {
    for validator in [None, Some(("etag", "\"a\""))] {
        let said: Vec<_> = [("cache-control", "max-age=10")].into_iter().chain(validator).collect();
        let origin = Moody::says(&said);
        let mut service = CacheLayer::new(cache()).layer(origin.service.clone());
        read(&mut service).await;
        for _ in 0..10 {
            advance(seconds(11)).await;
            read(&mut service).await;
            advance(millis(300)).await;
            assert_eq!(read(&mut service).await.field("age"), Some("0"), "{validator:?}");
            // HTTP's own clock does not stand still with tokio's, and its seconds are what matters.
            std::thread::sleep(millis(100));
        }
        assert_eq!(origin.calls.count(), 11);
    }
}
