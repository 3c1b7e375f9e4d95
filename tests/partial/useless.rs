//! A plain GET where a part is stored, and what comes is not the rest of it.

use std::time::Duration;

use http::Response;
use seawall::{Profile, Reason, Rejected};
use tokio::time::{Instant, sleep};

use crate::{
    origin::{AnyBody, DIGITS, SECOND, V2, World, assert_whole, later, scripted, settled},
    support::{asked, bodies::Step, cache_builder, get, with},
    tails::{TAIL, assert_nothing_is_left, begun, data, tail},
};

/// What came instead of the rest: status, fields, body.
type Useless = (u16, &'static [(&'static str, &'static str)], &'static str);

const USELESS: &[Useless] = &[
    (206, &[("etag", "\"v2\""), ("content-range", "bytes 4-9/10")], "efghij"),
    (206, &[("etag", "W/\"v1\""), ("content-range", "bytes 4-9/10")], "efghij"),
    (206, &[("content-range", "bytes 4-9/10")], "456789"),
    (206, &[("etag", "\"v1\""), ("content-range", "bytes 5-9/10")], "56789"),
    (206, &[("etag", "\"v1\""), ("content-range", "bytes 3-9/10")], "3456789"),
    (206, &[("etag", "\"v1\""), ("content-range", "bytes 0-9/10")], "0123456789"),
    (206, &[("etag", "\"v1\""), ("content-range", "bytes 4-8/10")], "45678"),
    (206, &[("etag", "\"v1\""), ("content-range", "bytes 4-9/11")], "456789"),
    (206, &[("etag", "\"v1\""), ("content-range", "bytes 4-8/9")], "45678"),
    (206, &[("etag", "\"v1\""), ("content-range", "bytes 4-9/*")], "456789"),
    (206, &[("etag", "\"v1\"")], "456789"),
    (206, &[("etag", "\"v1\""), ("content-type", "multipart/byteranges; boundary=a")], "--a"),
    (416, &[("content-range", "bytes */4")], ""),
    (416, &[("content-range", "bytes */4"), ("cache-control", "max-age=600")], "too far"),
];

#[tokio::test(start_paused = true)]
async fn what_does_not_go_with_the_part_makes_the_whole_asked_for_again() {
    for (status, fields, body) in USELESS {
        let mut world = begun().await;
        world.origin.has("abcdefghij", V2);
        let fields = if fields.iter().any(|(name, _)| *name == "cache-control") {
            fields.to_vec()
        } else {
            [&[("cache-control", "max-age=600")], *fields].concat()
        };
        world.origin.next(Ok(scripted(*status, &[&fields], *body)));
        let request = with(get("/"), "accept-language", "de");
        let read = world.ask(request).await;
        assert_whole(&read, "abcdefghij");
        assert_eq!(read.cache_status(), "fwd=partial; fwd-status=200; stored", "{fields:?}");
        assert_eq!(world.calls(), 3, "{fields:?}");
        let last = world.origin.last();
        assert_eq!((last.range(), last.field("if-none-match")), ((None, None), None), "{fields:?}");
        assert_eq!(last.field("accept-language"), Some("de"), "{fields:?}");
        assert_whole(&world.get().await, "abcdefghij");
        assert_eq!(world.calls(), 3, "{fields:?}");
        assert_nothing_is_left(&world.cache);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_go_with_the_part_ends_it_even_where_nothing_new_is_stored() {
    for (status, fields, body) in USELESS {
        for second in [200, 404, 500] {
            let mut world = begun().await;
            let fields = [&[("cache-control", "max-age=600")], *fields].concat();
            world.origin.next(Ok(scripted(*status, &[&fields], *body)));
            world.origin.next(Ok(scripted(second, &[&[("cache-control", "no-store")]], "new")));
            let read = world.ask(get("/")).await;
            assert_eq!((read.status(), read.text()), (second, "new"), "{fields:?}");
            assert!(!world.holds("0-3").await, "{fields:?} {second}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_may_not_be_kept_with_its_beginning_makes_the_whole_asked_for() {
    for fields in [
        &[("cache-control", "no-store")][..],
        &[("cache-control", "private, max-age=600")],
        &[("cache-control", "max-age=600"), ("vary", "accept")],
        &[("cache-control", "max-age=600"), ("vary", "*")],
    ] {
        let mut world = begun().await;
        world.origin.next(Ok(scripted(206, &[&[("etag", "\"v1\"")], fields, TAIL], "456789")));
        assert_whole(&world.get().await, DIGITS);
        assert_eq!(world.calls(), 3, "{fields:?}");
        assert_eq!(world.origin.last().range(), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_is_cut_is_an_error_for_all_who_read_it_and_nothing_is_stored() {
    let long = || tail(TAIL, [data("45"), Step::Wait(SECOND), data("67890")]);
    let short = || tail(TAIL, [data("45"), Step::Wait(SECOND), data("678")]);
    let failing = || tail(TAIL, [data("45"), Step::Wait(SECOND), Step::Fail]);
    let panicking = || tail(TAIL, [data("45"), Step::Wait(SECOND), Step::Panic]);
    let none = || tail(TAIL, [Step::Wait(SECOND)]);
    let answers: [&dyn Fn() -> Response<AnyBody>; 5] = [&long, &short, &failing, &panicking, &none];
    for (which, answer) in answers.iter().enumerate() {
        let mut world = begun().await;
        world.origin.next(Ok(answer()));
        let leader = asked(&world.service, get("/"));
        sleep(SECOND + Duration::from_millis(500)).await;
        let follower = asked(&world.service, get("/"));
        assert!(leader.await.unwrap().is_err(), "{which}");
        assert!(follower.await.unwrap().is_err(), "{which}");
        settled().await;
        assert!(!world.holds_all().await && !world.holds("0-5").await, "{which}");
        assert_eq!(world.calls(), 2, "{which}");
        assert_nothing_is_left(&world.cache);
        later(60).await;
        assert_whole(&world.get().await, DIGITS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_instead_of_the_rest_is_passed_on_and_the_part_stays() {
    for status in [500, 502, 503, 504] {
        let mut world = begun().await;
        world.origin.next(Ok(scripted(status, &[], "down")));
        let read = world.ask(get("/")).await;
        assert_eq!((read.status(), read.text()), (status, "down"));
        assert!(world.holds("0-3").await && !world.holds_all().await);
        later(60).await;
        assert_whole(&world.get().await, DIGITS);
        assert_eq!(world.origin.last().range(), (Some("bytes=4-"), Some("\"v1\"")));
    }
    let mut world = begun().await;
    world.origin.next(Err("connection reset".into()));
    let error = world.try_ask(get("/")).await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "connection reset");
    assert!(world.holds("0-3").await && !world.holds_all().await);
    assert_nothing_is_left(&world.cache);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_second_call_is_the_answer() {
    for failure in [Some(503), None] {
        let mut world = begun().await;
        world.origin.next(Ok(scripted(416, &[], "")));
        world.origin.next(match failure {
            Some(status) => Ok(scripted(status, &[], "down")),
            None => Err("connection reset".into()),
        });
        let read = world.try_ask(get("/")).await;
        match (failure, read) {
            (Some(status), Ok(read)) => assert_eq!((read.status(), read.text()), (status, "down")),
            (None, Err(error)) => {
                assert_eq!(error.source().unwrap().to_string(), "connection reset");
            }
            (_, read) => panic!("{read:?}"),
        }
        assert_eq!(world.calls(), 3);
        assert_nothing_is_left(&world.cache);
    }
}

#[tokio::test(start_paused = true)]
async fn both_calls_have_one_deadline() {
    let builder = cache_builder().fetch_deadline(SECOND + SECOND / 2);
    let mut world = World::over(builder, Profile::reverse_proxy());
    world.range("0-3").await;
    world.origin.next(Ok(scripted(416, &[], "")));
    let began = Instant::now();
    assert!(world.try_ask(get("/")).await.is_err());
    assert_eq!(began.elapsed(), SECOND + SECOND / 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_layer_below_is_its_callers_and_the_part_stays() {
    for second in [false, true] {
        for as_response in [false, true] {
            let mut world = begun().await;
            if second {
                world.origin.next(Ok(scripted(416, &[], "")));
            }
            let refusal = Rejected::new(Reason::CircuitOpen);
            world.origin.next(match as_response {
                false => Err(refusal.into()),
                true => {
                    let mut busy = scripted(503, &[], "busy");
                    busy.extensions_mut().insert(refusal);
                    Ok(busy)
                }
            });
            match world.try_ask(get("/")).await {
                Ok(read) => {
                    assert_eq!((as_response, read.status(), read.text()), (true, 503, "busy"))
                }
                Err(error) => {
                    let refused = Rejected::find(&*error).map(Rejected::reason);
                    assert_eq!((as_response, refused), (false, Some(Reason::CircuitOpen)));
                }
            }
            assert_eq!(world.calls(), if second { 3 } else { 2 });
            assert_eq!(world.holds("0-3").await, !second, "{as_response}");
            assert!(!world.holds_all().await);
            assert_nothing_is_left(&world.cache);
            assert_whole(&world.get().await, DIGITS);
        }
    }
}
