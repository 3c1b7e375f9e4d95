//! What is remembered of a failing key, for how long, and what ends it.

use std::time::{Duration, SystemTime};

use seawall::{Cache, CacheLayer, Rejected, cache::CacheService};
use tokio::time::advance;
use tower::{Layer, timeout::Timeout};

use crate::{
    Does, GOOD, SECOND, Seen, Told, get, refused,
    support::{BoxedOrigin, Req, cache_builder, call, with},
};

/// A cache over an origin, and all that is to be known of the two.
struct Stack {
    told: Told,
    seen: Seen,
    cache: Cache,
    service: CacheService<BoxedOrigin>,
}

fn stack(does: Does) -> Stack {
    stack_with(does, |layer| layer)
}

fn stack_with(does: Does, set: impl FnOnce(CacheLayer) -> CacheLayer) -> Stack {
    let seen = Seen::default();
    let cache = cache_builder().fetch_deadline(SECOND).observer(seen.clone()).build();
    let (told, inner) = Told::origin(does);
    let service = set(CacheLayer::new(cache.clone())).layer(inner);
    Stack { told, seen, cache, service }
}

/// One with an answer that has been stale for a second, and may be given for a day.
async fn stale(does: Does) -> Stack {
    let mut stack = stack_with(GOOD, |layer| layer.stale_if_error(86_400 * SECOND));
    call(&mut stack.service, get("/")).await.unwrap();
    advance(61 * SECOND).await;
    stack.told.to(does);
    stack
}

const DOWN: [Does; 5] = [
    Does::Fails,
    Does::Hangs,
    Does::Answers(502, &[]),
    Does::Answers(503, &[]),
    Does::Answers(504, &[]),
];

fn is_within_a_step(wait: Duration, step: Duration) -> bool {
    wait <= step && wait >= step.mul_f64(0.9)
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_down_is_asked_again_when_the_step_is_over_and_not_before() {
    for does in DOWN {
        let Stack { told, seen, cache, mut service } = stack(does);
        let first = call(&mut service, get("/")).await;
        assert!(first.is_err() || first.is_ok_and(|read| read.status() >= 502), "{does:?}");
        assert_eq!((told.calls.count(), cache.figures().failing), (1, 1), "{does:?}");
        let wait = seen.last_wait();
        assert!(is_within_a_step(wait, SECOND / 4), "{does:?}: {wait:?}");
        assert_eq!(refused(call(&mut service, get("/")).await), wait, "{does:?}");
        let left = Duration::from_millis(1);
        advance(wait - left).await;
        assert_eq!(refused(call(&mut service, get("/")).await), left, "{does:?}");
        assert_eq!((told.calls.count(), seen.count("Refused")), (1, 2), "{does:?}");
        advance(left).await;
        let again = call(&mut service, get("/")).await;
        assert!(!again.is_err_and(|error| Rejected::find(&*error).is_some()), "{does:?}");
        assert_eq!(told.calls.count(), 2, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_a_layer_below_is_remembered_like_one_of_the_cache() {
    let (told, inner) = Told::origin(Does::Hangs);
    let cache = cache_builder().build();
    let mut service = CacheLayer::new(cache.clone()).layer(Timeout::new(inner, SECOND));
    call(&mut service, get("/")).await.unwrap_err();
    assert_eq!(cache.figures().failing, 1);
    refused(call(&mut service, get("/")).await);
    assert_eq!(told.calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_one_requests_fault_is_not_remembered_and_neither_is_a_refusal() {
    let one_fault = [500, 404, 429].map(|status| Does::Answers(status, &[]));
    for does in [&one_fault[..], &[Does::Panics, Does::Refuses]].concat() {
        let Stack { told, seen, cache, mut service } = stack(does);
        for calls in 1..=5 {
            let _ = call(&mut service, get("/")).await;
            assert_eq!(told.calls.count(), calls, "{does:?}");
        }
        assert_eq!((cache.figures().failing, seen.waits().len()), (0, 0), "{does:?}");
        told.to(GOOD);
        assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 200, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn steps_double_to_two_seconds_and_to_thirty_where_there_is_a_stale_answer() {
    let steps = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000];
    for (with_stale, longest) in [(false, 2_000), (true, 30_000)] {
        for does in DOWN {
            let mut stack = if with_stale { stale(does).await } else { stack(does) };
            let before = stack.told.calls.count();
            for (calls, step) in steps.into_iter().enumerate() {
                let answer = call(&mut stack.service, get("/")).await;
                assert_eq!(answer.is_ok_and(|read| read.status() == 200), with_stale, "{does:?}");
                let wait = stack.seen.last_wait();
                let step = Duration::from_millis(step.min(longest));
                assert!(is_within_a_step(wait, step), "{does:?}: {wait:?} for {step:?}");
                let left = Duration::from_millis(1);
                advance(wait - left).await;
                let _ = call(&mut stack.service, get("/")).await;
                assert_eq!(stack.told.calls.count() - before, calls + 1, "{does:?}");
                advance(left).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_fail_together_do_not_come_back_together() {
    let Stack { seen, mut service, .. } = stack(Does::Fails);
    for key in 0..200 {
        call(&mut service, get(&format!("/{key}"))).await.unwrap_err();
    }
    let waits = seen.waits();
    assert_eq!(waits.len(), 200);
    assert!(waits.iter().all(|&wait| is_within_a_step(wait, SECOND / 4)), "{waits:?}");
    let (first, last) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    println!("200 keys come back between {first:?} and {last:?}");
    assert!(*last - *first > Duration::from_millis(10), "{first:?} {last:?}");
}

#[tokio::test(start_paused = true)]
async fn any_good_answer_ends_what_is_remembered_and_the_steps_begin_anew() {
    let storable: crate::Fields = &[("cache-control", "max-age=60")];
    for (status, fields) in [(200, storable), (404, storable), (301, storable)] {
        let Stack { told, seen, cache, mut service } = stack(Does::Fails);
        for _ in 0..3 {
            call(&mut service, get("/")).await.unwrap_err();
            advance(seen.last_wait()).await;
        }
        assert!(is_within_a_step(seen.last_wait(), SECOND), "{:?}", seen.waits());
        told.to(Does::Answers(status, fields));
        assert_eq!(call(&mut service, get("/")).await.unwrap().status(), status);
        assert_eq!(cache.figures().failing, 0, "{status}");
        advance(61 * SECOND).await;
        told.to(Does::Fails);
        call(&mut service, get("/")).await.unwrap_err();
        assert!(is_within_a_step(seen.last_wait(), SECOND / 4), "{status}: {:?}", seen.waits());
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_that_is_not_kept_ends_what_is_remembered_too() {
    for (status, fields) in [
        (200, &[("cache-control", "no-store")][..]),
        (200, &[("cache-control", "private")]),
        (200, &[]),
        (404, &[]),
        (429, &[]),
    ] {
        let Stack { told, seen, cache, mut service } = stack(Does::Fails);
        call(&mut service, get("/")).await.unwrap_err();
        advance(seen.last_wait()).await;
        told.to(Does::Answers(status, fields));
        for calls in 2..5 {
            assert_eq!(call(&mut service, get("/")).await.unwrap().status(), status);
            assert_eq!(told.calls.count(), calls, "{status} {fields:?}");
        }
        assert_eq!(cache.figures().failing, 0, "{status} {fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_304_ends_what_is_remembered() {
    let fields: crate::Fields = &[("cache-control", "max-age=60"), ("etag", "\"1\"")];
    let Stack { told, seen, cache, mut service } = stack(Does::Answers(200, fields));
    call(&mut service, get("/")).await.unwrap();
    advance(61 * SECOND).await;
    told.to(Does::Answers(503, &[]));
    assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 503);
    advance(seen.last_wait()).await;
    told.to(Does::Answers(304, fields));
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "answer 0");
    assert_eq!((seen.count("Freshened"), cache.figures().failing), (1, 0));
}

fn personal() -> [Req; 3] {
    let fields = [("cookie", "a=b"), ("authorization", "Basic YTpi"), ("x-forwarded-host", "b")];
    fields.map(|(name, value)| with(get("/"), name, value))
}

#[tokio::test(start_paused = true)]
async fn what_a_personal_request_met_is_not_held_against_an_anonymous_one() {
    for request in personal() {
        let Stack { told, mut service, .. } = stack(Does::Answers(503, &[]));
        let fields = request.headers().clone();
        let _ = call(&mut service, request).await;
        let mut again = get("/");
        *again.headers_mut() = fields;
        refused(call(&mut service, again).await);
        told.to(GOOD);
        assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 200);
        assert_eq!(told.calls.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_to_a_personal_request_ends_what_is_remembered_for_all() {
    for request in personal() {
        let Stack { told, seen, cache, mut service } = stack(Does::Fails);
        call(&mut service, get("/")).await.unwrap_err();
        advance(seen.last_wait()).await;
        told.to(Does::Answers(200, &[("cache-control", "private")]));
        assert_eq!(call(&mut service, request).await.unwrap().status(), 200);
        assert_eq!(cache.figures().failing, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_to_an_anonymous_request_ends_what_is_remembered_for_all() {
    for request in personal() {
        let Stack { told, mut service, .. } = stack(Does::Fails);
        let mut again = get("/");
        *again.headers_mut() = request.headers().clone();
        call(&mut service, request).await.unwrap_err();
        // It is kept, and not for those with credentials.
        told.to(GOOD);
        assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 200);
        let name = format!("{:?}", again.headers());
        let read = call(&mut service, again).await;
        let read = read.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(read.status(), 200, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_failing_keys_is_remembered_within_a_bound() {
    let Stack { cache, mut service, .. } = stack(Does::Fails);
    let mut most = 0;
    for key in 0..200_000 {
        call(&mut service, get(&format!("/{key}"))).await.unwrap_err();
        if key % 5_000 == 0 {
            most = most.max(cache.figures().failing);
        }
    }
    most = most.max(cache.figures().failing);
    println!("200,000 failing keys: {most} remembered at most");
    assert!((60_000..=65_536).contains(&most), "{most}");
    refused(call(&mut service, get("/199999")).await);
}

#[tokio::test(start_paused = true)]
async fn what_the_origin_asks_for_is_waited_for_up_to_the_longest_step() {
    for (with_stale, longest) in [(false, 2 * SECOND), (true, 30 * SECOND)] {
        for asked in ["60", "3600", "99999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            let asked: &'static [_] = vec![("retry-after", asked)].leak();
            let does = Does::Answers(503, asked);
            let mut stack = if with_stale { stale(does).await } else { stack(does) };
            let _ = call(&mut stack.service, get("/")).await;
            let wait = stack.seen.last_wait();
            assert!(is_within_a_step(wait, longest), "{asked:?}: {wait:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_origin_asks_for_says_nothing_where_it_makes_no_sense() {
    for asked in ["0", "-5", "soon", "", "Fri, 31 Dec 1999 23:59:59 GMT", "1.5"] {
        let asked: &'static [_] = vec![("retry-after", asked)].leak();
        let Stack { seen, mut service, .. } = stack(Does::Answers(503, asked));
        let _ = call(&mut service, get("/")).await;
        assert!(is_within_a_step(seen.last_wait(), SECOND / 4), "{asked:?}: {:?}", seen.waits());
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_is_not_asked_before_the_time_that_it_named() {
    let date = SystemTime::now() + 20 * SECOND;
    let date = seawall::rfc9111::date::format(date);
    let date = std::str::from_utf8(&date).unwrap().to_owned();
    // A date has no parts of a second.
    for (asked, least, with_stale) in [
        ("1".to_owned(), SECOND, false),
        ("20".to_owned(), 20 * SECOND, true),
        (date, 18 * SECOND, true),
    ] {
        let asked: &'static [_] = vec![("retry-after", &*asked.leak())].leak();
        let does = Does::Answers(503, asked);
        // More than once: what is drawn at random may be next to nothing.
        for _ in 0..10 {
            let mut stack = if with_stale { stale(does).await } else { stack(does) };
            let _ = call(&mut stack.service, get("/")).await;
            let wait = stack.seen.last_wait();
            assert!(wait >= least, "{asked:?}: {wait:?}");
        }
    }
}

// Who has the origin's answer to itself may ask once more: a next answer may be a good one.
#[tokio::test(start_paused = true)]
async fn one_caller_alone_is_given_a_second_try_of_an_origin_that_answers() {
    let lone = || crate::support::get("/");
    for status in [502, 503, 504] {
        let Stack { told, cache, mut service, .. } = stack(Does::Answers(status, &[]));
        for _ in 0..2 {
            assert_eq!(call(&mut service, lone()).await.unwrap().status(), status);
        }
        refused(call(&mut service, lone()).await);
        assert_eq!((told.calls.count(), cache.figures().failing), (2, 1), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_caller_alone_waits_like_others_where_the_origin_asks_for_it_or_gives_no_answer() {
    for does in [Does::Answers(503, &[("retry-after", "1")]), Does::Fails, Does::Hangs] {
        let Stack { told, mut service, .. } = stack(does);
        let _ = call(&mut service, crate::support::get("/")).await;
        refused(call(&mut service, crate::support::get("/")).await);
        assert_eq!(told.calls.count(), 1, "{does:?}");
    }
}
