//! What is stale is given where a flag or the answer itself allows it, and says so.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::support::*;

/// An answer that has been stale for ten seconds when it arrives.
const STALE: &str =
    "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nage: 70\r\ncontent-length: 3\r\n\r\nold";
/// It asks for more patience than a key ever has, so that no test is too slow for a back-off.
const DOWN: &str =
    "HTTP/1.1 503 Service Unavailable\r\nretry-after: 20\r\ncontent-length: 4\r\n\r\ndown";

const AT_ONCE: &str = "seawall; hit; detail=stale-while-revalidate";
const IF_ERROR: &str = "seawall; fwd=stale; fwd-status=503; detail=stale-if-error";
const NOT_ASKED: &str = "seawall; hit; detail=stale-if-error";

fn age(answer: &str) -> u64 {
    field(answer, "age").parse().unwrap_or_else(|_| panic!("{answer}"))
}

fn retry_after(answer: &str) -> u64 {
    field(answer, "retry-after").parse().unwrap_or_else(|_| panic!("{answer}"))
}

// ===== --stale-while-revalidate =====

#[tokio::test]
async fn a_stale_answer_is_given_at_once_within_the_flags_window() {
    for (flags, expected) in [
        (&["--stale-while-revalidate", "1m"][..], AT_ONCE),
        (&["--stale-while-revalidate", "5s"], "seawall; fwd=stale; fwd-status=200; stored"),
        (&["--stale-while-revalidate", "0"], "seawall; fwd=stale; fwd-status=200; stored"),
        (&[], "seawall; fwd=stale; fwd-status=200; stored"),
    ] {
        let (origin, _told) = scripted(STALE).await;
        let gateway = Gateway::before(origin, flags);
        gateway.get("/").await;
        let answer = gateway.get("/").await;
        assert_eq!(field(&answer, "cache-status"), expected, "{flags:?}");
        let stale = u64::from(expected == AT_ONCE);
        if stale == 1 {
            assert!((70..80).contains(&age(&answer)), "{answer}");
        }
        gateway.until(|status| status["origin_calls"] == 2).await;
        let status = gateway.status().await;
        assert_eq!(
            (&status["stale_hits"], &status["refreshes"], &status["misses"], &status["hits"]),
            (&stale.into(), &stale.into(), &(2 - stale).into(), &0.into()),
            "{flags:?}"
        );
    }
}

#[tokio::test]
async fn what_the_answer_says_of_being_stale_holds_over_the_flags() {
    for (says, expected) in [
        ("max-age=60, stale-while-revalidate=5", "seawall; fwd=stale; fwd-status=503"),
        ("max-age=60, must-revalidate", "seawall; fwd=stale; fwd-status=503"),
        ("max-age=60, stale-while-revalidate=30", AT_ONCE),
    ] {
        let (origin, answers, _told) = changing(&STALE.replace("max-age=60", says)).await;
        let flags = ["--stale-while-revalidate", "1m", "--stale-if-error", "0"];
        let gateway = Gateway::before(origin, &flags);
        gateway.get("/").await;
        answers.send_replace(DOWN.to_owned());
        assert_eq!(field(&gateway.get("/").await, "cache-status"), expected, "{says}");
    }
}

/// Ten answers that are fresh for ten more seconds of ten thousand: with a window nearly each is due
/// to be refreshed.
#[tokio::test]
async fn without_a_window_what_is_fresh_is_never_refreshed() {
    let nearly = STALE.replace("max-age=60", "max-age=10000").replace("age: 70", "age: 9990");
    for (window, refreshes) in [("0", 0..=0), ("1m", 1..=10)] {
        let (origin, _says, _told) = changing(&nearly).await;
        let gateway = Gateway::before(origin, &["--stale-while-revalidate", window]);
        for path in 0..10 {
            gateway.get(&format!("/{path}")).await;
            let hit = gateway.get(&format!("/{path}")).await;
            assert_eq!(field(&hit, "cache-status"), "seawall; hit", "{window}");
        }
        let status = gateway.status().await;
        assert_eq!(status["hits"], 10);
        assert!(refreshes.contains(&status["refreshes"].as_u64().unwrap()), "{window}: {status}");
    }
}

// ===== --stale-if-error =====

#[tokio::test]
async fn where_the_origin_fails_a_stale_answer_is_given_within_the_flags_window() {
    for (flags, code) in [
        (&["--stale-if-error", "1m"][..], 200),
        (&["--stale-if-error", "5s"], 503),
        (&["--stale-if-error", "0"], 503),
        (&[], 503),
    ] {
        let (origin, answers, mut told) = changing(STALE).await;
        let gateway = Gateway::before(origin, flags);
        gateway.get("/").await;
        answers.send_replace(DOWN.to_owned());
        let first = gateway.get("/").await;
        let second = gateway.get("/").await;
        assert_eq!((status(&first), status(&second)), (code, code), "{flags:?}");
        if code == 200 {
            assert_eq!(field(&first, "cache-status"), IF_ERROR);
            assert!((70..80).contains(&age(&first)), "{first}");
        } else {
            // Not the origin's: nothing is stale, and the key is tried again in two seconds at most.
            assert!((1..=2).contains(&retry_after(&second)), "{second}");
        }
        let mut calls = 0;
        while told.try_recv().is_ok() {
            calls += 1;
        }
        assert_eq!(calls, 2, "{flags:?}");
        let figures = gateway.status().await;
        assert_eq!(figures["failures_remembered"], 1, "{flags:?}");
        let stale = if code == 200 { 2 } else { 0 };
        assert_eq!(figures["stale_hits"], stale, "{flags:?}");
    }
}

#[tokio::test]
async fn a_key_that_failed_is_left_alone_and_answered_from_what_is_stale() {
    let (origin, answers, mut told) = changing(STALE).await;
    let gateway = Gateway::before(origin, &["--stale-if-error", "1h"]);
    gateway.get("/").await;
    answers.send_replace(DOWN.to_owned());
    assert_eq!(field(&gateway.get("/").await, "cache-status"), IF_ERROR);
    for _ in 0..20 {
        let answer = gateway.get("/").await;
        assert_eq!((status(&answer), field(&answer, "cache-status")), (200, NOT_ASKED));
        assert!(age(&answer) >= 70, "{answer}");
    }
    assert_eq!(gateway.status().await["origin_calls"], 2);
    assert!(told.try_recv().is_ok() && told.try_recv().is_ok() && told.try_recv().is_err());
}

// ===== --keep-stale =====

/// The other profile gives what it has for as long as it is kept, if nobody can be reached.
#[tokio::test]
async fn what_is_stale_is_kept_for_as_long_as_the_flag_says() {
    for (flags, code) in [
        (&["--keep-stale", "1h"][..], 200),
        (&[], 200),
        (&["--keep-stale", "5s"], 504),
        (&["--keep-stale", "0"], 504),
    ] {
        let (origin, answers, _told) = changing(STALE).await;
        let mut all = vec!["--profile", "reverse-proxy", "--timeout", "300ms"];
        all.extend(flags);
        let gateway = Gateway::before(origin, &all);
        gateway.get("/").await;
        answers.send_replace(String::new());
        let answer = gateway.get("/").await;
        assert_eq!(status(&answer), code, "{flags:?}: {answer}");
        if code == 200 {
            assert_eq!(field(&answer, "cache-status"), "seawall; fwd=stale; detail=stale-if-error");
            assert!((70..80).contains(&age(&answer)), "{answer}");
        }
    }
}

// ===== the demo origin's outage =====

#[tokio::test]
async fn in_an_outage_what_was_cached_is_given_stale_and_what_was_not_is_503() {
    let gateway = Gateway::start(&["--stale-if-error", "1h"]);
    // Fresh for a second, given at once for another, and after that only if nothing else is there.
    let path = "/products/7?max-age=1";
    assert_eq!(status(&gateway.get(path).await), 200);
    let fetched = Instant::now();
    assert_eq!(status(&gateway.get("/outage?seconds=60").await), 200);
    sleep(Duration::from_millis(2_500)).await;

    for expected in ["seawall; fwd=stale; fwd-status=503; detail=stale-if-error", NOT_ASKED] {
        let least = fetched.elapsed().as_secs();
        let answer = gateway.get(path).await;
        assert_eq!((status(&answer), field(&answer, "cache-status")), (200, expected), "{answer}");
        assert!((least..=least + 2).contains(&age(&answer)), "{least} s: {answer}");
        assert!(answer.contains("\"id\":\"7\""), "{answer}");
    }
    for expected in ["seawall; fwd=uri-miss; fwd-status=503", "seawall; detail=backed-off"] {
        let answer = gateway.get("/products/8").await;
        assert_eq!((status(&answer), field(&answer, "cache-status")), (503, expected), "{answer}");
        assert!(retry_after(&answer) >= 1, "{answer}");
    }
    let figures = gateway.status().await;
    assert_eq!((&figures["stale_hits"], &figures["failures_remembered"]), (&2.into(), &2.into()));
}

#[tokio::test]
async fn in_an_outage_a_stale_answer_within_its_own_window_is_given_at_once() {
    let gateway = Gateway::start(&[]);
    gateway.get("/products/7").await;
    gateway.get("/outage?seconds=60").await;
    gateway.invalidate("tag=product-7&soft").await;
    let answer = gateway.get("/products/7").await;
    assert_eq!((status(&answer), field(&answer, "cache-status")), (200, AT_ONCE));
    gateway.until(|status| status["failures_remembered"] == 1).await;
    let figures = gateway.status().await;
    assert_eq!((&figures["stale_hits"], &figures["refreshes"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn an_outage_is_asked_for_by_get_or_post_and_can_be_ended_and_asked_for_again() {
    let gateway = Gateway::start(&[]);
    for method in ["GET", "POST"] {
        let outage = async |seconds: u64| {
            let head = format!("{method} /outage?seconds={seconds} HTTP/1.1\r\nhost: a\r\n");
            status(&gateway.ask(&head).await)
        };
        // Never kept: what it is answered with is the origin's word, in an outage and out of it.
        for (seconds, code) in [(60, 503), (0, 200), (60, 503), (30, 503), (0, 200)] {
            assert_eq!(outage(seconds).await, 200, "{method} {seconds}");
            let answer = gateway.ask("OPTIONS /me HTTP/1.1\r\nhost: a\r\n").await;
            assert_eq!(status(&answer), code, "{method} {seconds}");
            let in_time = code == 200 || (1..=seconds).contains(&retry_after(&answer));
            assert!(in_time, "{answer}");
        }
    }
}

#[tokio::test]
async fn after_an_outage_a_stale_answer_is_fetched_anew() {
    let gateway = Gateway::start(&["--stale-if-error", "1h"]);
    gateway.get("/products/7").await;
    gateway.get("/outage?seconds=1").await;
    gateway.invalidate("tag=product-7&soft").await;
    let recovered = async {
        while field(&gateway.get("/products/7").await, "cache-status") != "seawall; hit" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, recovered).await.expect("a fresh answer");
    assert_eq!(gateway.status().await["failures_remembered"], 0);
}
