//! Stale answers through layers upon layers: who refreshes, and what the others give meanwhile.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall::{BoxError, CacheLayer, StaleWhileRevalidateLayer, marks::Refresh};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::Layer;

use super::{
    AnyService, CacheA, CacheB, CoalesceC, CoalesceD, Kind, Layers, Respond, SECOND, StaleA,
    StaleB, assert_told_once, erased,
};
use crate::support::{BoxedOrigin, Calls, Read, answer, answer_status, at_once, call, get, origin};

/// An origin that takes 400 ms and notes which of its calls were refreshes.
fn noting(control: &'static str) -> (Calls, Arc<Mutex<Vec<bool>>>, BoxedOrigin) {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&noted);
    let (calls, inner) = origin(move |call, request| {
        notes.lock().unwrap().push(request.extensions().get::<Refresh>().is_some());
        async move {
            sleep(Duration::from_millis(400)).await;
            Ok(answer(&[("cache-control", control)], format!("answer {call}")))
        }
    });
    (calls, noted, inner)
}

/// All who ask at once, and how long they waited.
async fn asked_at_once(service: &AnyService, count: usize) -> (Vec<Read>, Duration) {
    let began = Instant::now();
    let answers = at_once(service, (0..count).map(|_| get("/")));
    let answers = timeout(60 * SECOND, answers).await.expect("it hangs");
    (answers.into_iter().map(Result::unwrap).collect(), began.elapsed())
}

/// Every order of some of these, each at most once.
fn orders(of: &[Kind]) -> Vec<Vec<Kind>> {
    let mut all = vec![vec![]];
    for (at, &first) in of.iter().enumerate() {
        let rest = orders(&[&of[..at], &of[at + 1..]].concat());
        all.extend(rest.into_iter().map(|rest| [&[first], &*rest].concat()));
    }
    all
}

/// Those that have a cache in them: over one store, and over two.
fn orders_with_a_cache() -> Vec<Vec<Kind>> {
    let mut all = orders(&[CoalesceC, CacheA, StaleA, Respond]);
    all.extend(orders(&[CoalesceC, CacheA, StaleB, Respond]));
    all.retain(|kinds| kinds.iter().any(|kind| kind.is_cache()));
    all.sort_by_key(|kinds| format!("{kinds:?}"));
    all.dedup();
    all
}

#[tokio::test(start_paused = true)]
async fn a_failing_origin_is_called_once_for_a_hundred_callers_in_any_order_of_layers() {
    for kinds in orders_with_a_cache() {
        let (calls, inner) = origin(|_, _| async {
            sleep(Duration::from_millis(50)).await;
            Ok::<_, BoxError>(answer_status(503, &[], "out of order"))
        });
        let layers = Layers::new();
        let service = layers.stack(&kinds, inner);
        for round in 0..3 {
            let began = Instant::now();
            let answers = timeout(60 * SECOND, at_once(&service, (0..100).map(|_| get("/")))).await;
            for answer in answers.unwrap_or_else(|_| panic!("{kinds:?} hangs")) {
                match answer {
                    Ok(read) => assert_eq!(read.status(), 503, "{kinds:?}"),
                    Err(error) => assert!(
                        round > 0 && seawall::Rejected::find(&*error).is_some(),
                        "{kinds:?}: {error}"
                    ),
                }
            }
            assert_eq!(calls.count(), 1, "{kinds:?}");
            let waited = Duration::from_millis(if round == 0 { 50 } else { 0 });
            assert!(began.elapsed() <= waited + Duration::from_millis(1), "{kinds:?}");
            advance(Duration::from_millis(50)).await;
        }
        sleep(SECOND / 4).await;
        let _ = timeout(60 * SECOND, at_once(&service, (0..100).map(|_| get("/")))).await.unwrap();
        assert_eq!(calls.count(), 2, "{kinds:?}: one more after the back-off");
        layers.assert_nothing_is_left(&kinds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_at_the_moment_of_expiry_are_one_call_in_any_order_of_layers() {
    for kinds in orders_with_a_cache() {
        let (calls, noted, inner) = noting("max-age=10");
        let layers = Layers::new();
        let mut service = layers.stack(&kinds, inner);
        call(&mut service, get("/")).await.unwrap();
        advance(10 * SECOND).await;
        let (answers, waited) = asked_at_once(&service, 1_000).await;
        let at_once = kinds.iter().any(|kind| kind.is_stale());
        for read in &answers {
            assert_eq!(read.status(), 200, "{kinds:?}");
            assert_told_once(&kinds, read);
            let (body, age) = if at_once { ("answer 0", 10) } else { ("answer 1", 0) };
            assert_eq!(read.text(), body, "{kinds:?}");
            // The clock on the wall goes on, and a `Date` has whole seconds.
            let said: u64 = read.field("age").unwrap_or("0").parse().unwrap();
            assert!((age..=age + 1).contains(&said), "{kinds:?}: {said}");
        }
        assert_eq!(waited.is_zero(), at_once, "{kinds:?}: {waited:?}");
        sleep(SECOND).await;
        assert_eq!(*noted.lock().unwrap(), [false, at_once], "{kinds:?}");
        // Nothing goes round: it is asked for again and again, and there is no third call.
        for _ in 0..3 {
            let read = call(&mut service, get("/")).await.unwrap();
            assert_eq!(read.text(), "answer 1", "{kinds:?}");
            assert_told_once(&kinds, &read);
            advance(SECOND).await;
        }
        assert_eq!(calls.count(), 2, "{kinds:?}");
        layers.assert_nothing_is_left(&kinds);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_layers_over_one_cache_the_larger_window_holds_in_either_order() {
    for stale_outside in [true, false] {
        for (of_cache, of_stale) in [(0, 60), (5, 60), (60, 5)] {
            let (calls, noted, inner) = noting("max-age=10");
            let layers = Layers::new();
            let cache = &layers.caches[0];
            let plain = CacheLayer::new(cache.clone()).stale_while_revalidate(of_cache * SECOND);
            let stale = StaleWhileRevalidateLayer::new(cache.clone(), of_stale * SECOND);
            let mut service = match stale_outside {
                true => erased(stale.layer(plain.layer(inner))),
                false => erased(plain.layer(stale.layer(inner))),
            };
            let case = format!("cache {of_cache} s, stale {of_stale} s, outside: {stale_outside}");
            call(&mut service, get("/")).await.unwrap();
            advance(65 * SECOND).await;
            let (answers, waited) = asked_at_once(&service, 10).await;
            assert!(waited.is_zero(), "{case}: {waited:?}");
            for read in answers {
                assert_eq!(read.cache_status(), "hit; detail=stale-while-revalidate", "{case}");
                assert_eq!(read.field("age"), Some("65"), "{case}");
            }
            sleep(SECOND).await;
            assert_eq!(*noted.lock().unwrap(), [false, true], "{case}");
            advance(71 * SECOND).await;
            let read = call(&mut service, get("/")).await.unwrap();
            assert_eq!((read.text(), calls.count()), ("answer 2", 3), "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_stays_stale_where_the_cache_below_gave_it_stale() {
    for kinds in [
        &[CacheA, StaleB][..],
        &[CoalesceC, CacheA, StaleB],
        &[CacheA, CoalesceC, StaleB],
        &[CacheA, StaleB, CoalesceC],
        &[CoalesceC, CacheA, CoalesceD, StaleB],
        &[Respond, CacheA, StaleB],
    ] {
        let (calls, noted, inner) = noting("max-age=10");
        let layers = Layers::new();
        let mut service = layers.stack(kinds, inner);
        call(&mut service, get("/")).await.unwrap();
        advance(12 * SECOND).await;
        let stale = call(&mut service, get("/")).await.unwrap();
        assert_eq!((stale.text(), stale.field("age")), ("answer 0", Some("12")), "{kinds:?}");
        // It was not stored above as if it were new.
        sleep(SECOND).await;
        let fresh = call(&mut service, get("/")).await.unwrap();
        assert_eq!(fresh.text(), "answer 1", "{kinds:?}");
        assert!(fresh.field("age").unwrap().parse::<u64>().unwrap() <= 1, "{kinds:?}");
        assert_eq!((calls.count(), &**noted.lock().unwrap()), (2, &[false, true][..]), "{kinds:?}");
        layers.assert_nothing_is_left(kinds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_goes_through_the_caches_below_to_the_origin() {
    for kinds in [
        &[StaleA, CacheB][..],
        &[StaleA, StaleB],
        &[CoalesceC, StaleA, CacheB],
        &[StaleA, CoalesceC, CacheB],
        &[StaleA, CacheB, CoalesceC],
        &[CoalesceC, StaleA, CoalesceD, StaleB],
        &[StaleA, Respond, StaleB],
    ] {
        let (calls, noted, inner) = noting("max-age=10, stale-while-revalidate=60");
        let layers = Layers::new();
        let mut service = layers.stack(kinds, inner);
        for round in 1..=5 {
            call(&mut service, get("/")).await.unwrap();
            advance(12 * SECOND).await;
            let (answers, waited) = asked_at_once(&service, 10).await;
            assert!(waited.is_zero(), "{kinds:?}: {waited:?}");
            for stale in answers {
                assert_eq!(stale.text(), format!("answer {}", round - 1), "{kinds:?}");
                assert_eq!(stale.cache_status(), "hit; detail=stale-while-revalidate", "{kinds:?}");
            }
            sleep(SECOND).await;
            assert_eq!(calls.count(), 1 + round, "{kinds:?}");
            assert!(noted.lock().unwrap()[1..].iter().all(|refresh| *refresh), "{kinds:?}");
            let fresh = call(&mut service, get("/")).await.unwrap();
            assert_eq!(fresh.text(), format!("answer {round}"), "{kinds:?}");
            assert_eq!(fresh.cache_status(), "hit", "{kinds:?}");
        }
        layers.assert_nothing_is_left(kinds);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_refreshed_ahead_through_a_cache_below_is_new_and_does_not_go_round() {
    let (calls, noted, inner) = noting("max-age=100");
    let layers = Layers::new();
    let ahead = layers.stale(0).refresh_at(0.5).beta(0.0).jitter(0.0);
    let mut service = erased(ahead.layer(layers.stack(&[CacheB], inner)));
    call(&mut service, get("/")).await.unwrap();
    for round in 1..=3 {
        advance(50 * SECOND).await;
        for _ in 0..5 {
            let due = call(&mut service, get("/")).await.unwrap();
            assert_eq!(
                (due.text(), due.cache_status()),
                (&*format!("answer {}", round - 1), "hit")
            );
        }
        sleep(SECOND).await;
        for _ in 0..5 {
            let fresh = call(&mut service, get("/")).await.unwrap();
            assert_eq!((fresh.text(), fresh.cache_status()), (&*format!("answer {round}"), "hit"));
            assert!(fresh.field("age").unwrap().parse::<u64>().unwrap() <= 1);
        }
        sleep(SECOND).await;
        assert_eq!(calls.count(), 1 + round);
    }
    assert!(noted.lock().unwrap()[1..].iter().all(|refresh| *refresh));
}
