//! An origin that fails, and callers who want nothing older than themselves: who asks it again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use seawall::{BoxError, Cache, CacheLayer, CoalesceLayer, FetchError};
use support::{
    answer, asked, at_once,
    bodies::{Step, Steps},
    cache, get, origin, streamed, with,
};
use tokio::time::sleep;
use tower::Layer;

fn assert_nothing_is_left(cache: &Cache) {
    let figures = cache.figures();
    let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
    assert_eq!(left, (0, 0, 0, 0), "{figures:?}");
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_without_an_answer_is_asked_once_and_all_learn_why() {
    let (calls, inner) = origin(|_, _| async {
        sleep(Duration::from_millis(50)).await;
        Err::<support::Res, BoxError>("connection refused".into())
    });
    let (cache, coalesce) = (cache(), CoalesceLayer::new());
    for service in
        [CacheLayer::new(cache.clone()).layer(inner.clone()), coalesce.layer(inner.clone())]
    {
        let before = calls.count();
        for answer in at_once(&service, (0..50).map(|_| get("/"))).await {
            let error = answer.unwrap_err();
            assert_eq!(error.source().unwrap().to_string(), "connection refused");
        }
        assert_eq!(calls.count() - before, 1);
    }
    assert_nothing_is_left(&cache);
    assert_nothing_is_left(coalesce.cache());
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_answers_with_a_server_error_is_asked_once() {
    for status in [500, 502, 503, 504] {
        for fields in [&[][..], &[("cache-control", "no-store")]] {
            let (calls, inner) = origin(move |_, _| async move {
                sleep(Duration::from_millis(50)).await;
                Ok(support::answer_status(status, fields, "out of order"))
            });
            let (cache, coalesce) = (cache(), CoalesceLayer::new());
            for (place, service) in
                [CacheLayer::new(cache.clone()).layer(inner.clone()), coalesce.layer(inner.clone())]
                    .into_iter()
                    .enumerate()
            {
                let before = calls.count();
                let answers = at_once(&service, (0..50).map(|_| get("/"))).await;
                let mut refused = 0;
                for answer in answers {
                    match answer {
                        Ok(read) => {
                            assert_eq!((read.status(), read.text()), (status, "out of order"))
                        }
                        Err(error) => {
                            let status = status.try_into().unwrap();
                            assert_eq!(
                                FetchError::find(&*error),
                                Some(&FetchError::Status(status))
                            );
                            refused += 1;
                        }
                    }
                }
                // An answer that says `no-store` is for the one who asked; the others learn of it.
                let expected = if fields.is_empty() { 0 } else { 49 };
                assert_eq!(refused, expected, "{status} {fields:?} in place {place}");
                assert_eq!(calls.count() - before, 1, "{status} {fields:?} in place {place}");
            }
            assert_nothing_is_left(&cache);
            assert_nothing_is_left(coalesce.cache());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_error_without_a_length_is_shared_as_well() {
    let (calls, inner) = origin(|_, _| async {
        sleep(Duration::from_millis(50)).await;
        let body = Steps::new([
            Step::Data("out of ".into()),
            Step::Wait(Duration::from_millis(5)),
            Step::Data("order".into()),
        ]);
        let mut response = streamed(&[], body);
        *response.status_mut() = http::StatusCode::BAD_GATEWAY;
        Ok(response)
    });
    let service = CacheLayer::new(cache()).layer(inner);
    for read in at_once(&service, (0..50).map(|_| get("/"))).await {
        let read = read.unwrap();
        assert_eq!((read.status(), read.text()), (502, "out of order"));
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn reloads_at_once_are_one_call_and_its_answer_replaces_what_was_stored() {
    for reload in ["no-cache", "max-age=0"] {
        let (calls, inner) = origin(|call, _| async move {
            sleep(Duration::from_millis(50)).await;
            Ok(answer(&[("cache-control", "max-age=600")], format!("answer {call}")))
        });
        let mut service = CacheLayer::new(cache()).layer(inner);
        support::call(&mut service, get("/")).await.unwrap();
        let requests = (0..50).map(|_| with(get("/"), "cache-control", reload));
        for read in at_once(&service, requests).await {
            assert_eq!(read.unwrap().text(), "answer 1", "{reload}");
        }
        assert_eq!(support::call(&mut service, get("/")).await.unwrap().text(), "answer 1");
        assert_eq!(calls.count(), 2, "{reload}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_not_answered_by_a_fetch_that_began_before_it() {
    let (calls, inner) = origin(|call, _| async move {
        sleep(Duration::from_millis(50)).await;
        Ok(answer(&[("cache-control", "max-age=600")], format!("answer {call}")))
    });
    let (cache, coalesce) = (cache(), CoalesceLayer::new());
    for mut service in
        [CacheLayer::new(cache.clone()).layer(inner.clone()), coalesce.layer(inner.clone())]
    {
        let before = calls.count();
        let earlier = asked(&service, get("/"));
        sleep(Duration::from_millis(20)).await;
        let reload = with(get("/"), "cache-control", "no-cache");
        let read = support::call(&mut service, reload).await.unwrap();
        assert_eq!(read.text(), format!("answer {}", before + 1));
        assert_eq!(earlier.await.unwrap().unwrap().text(), format!("answer {before}"));
        assert_eq!(calls.count() - before, 2);
    }
    assert_nothing_is_left(&cache);
    assert_nothing_is_left(coalesce.cache());
}

#[tokio::test(start_paused = true)]
async fn reloads_that_come_one_after_another_are_fewer_calls_than_callers() {
    let (calls, inner) = origin(|call, _| async move {
        sleep(Duration::from_millis(50)).await;
        Ok(answer(&[("cache-control", "max-age=600")], format!("answer {call}")))
    });
    let service = CacheLayer::new(cache()).layer(inner);
    let mut callers = Vec::new();
    for _ in 0..45 {
        callers.push(asked(&service, with(get("/"), "cache-control", "no-cache")));
        sleep(Duration::from_millis(1)).await;
    }
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    println!("45 reloads within one fetch of 50 ms: {} calls", calls.count());
    assert!(calls.count() < 45, "{}", calls.count());
}
