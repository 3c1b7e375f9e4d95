//! Stale answers that requests and answers ask for (RFC 5861, RFC 9111 §4.2.4), and `immutable`
//! (RFC 8246), beyond what `tests/stale/forbidden.rs` and `tests/stale/windows.rs` have.

use seawall::{BoxError, Profile};
use tokio::time::sleep;

use crate::{
    script::{
        Outcome::{Fetched, Hit, Validated},
        SECOND, Stack, asking, in_both, says,
    },
    support::{Read, get},
};

/// How the origin fails.
#[derive(Clone, Copy, Debug)]
enum Fails {
    With(u16),
    /// It cannot be reached.
    Unreachable,
}
use Fails::{Unreachable, With};

/// Answers once with these directives, and then fails.
async fn failing(policy: Profile, control: &str, fails: Fails) -> Stack {
    let control = format!("cache-control: {control}");
    let mut stack = Stack::new(policy, move |call, _| match fails {
        _ if call == 0 => Ok(says(200, &[&control, "etag: \"a\""], "good")),
        With(status) => Ok(says(status, &[], "bad")),
        Unreachable => Err(BoxError::from("connection refused")),
    });
    stack.ask(get("/")).await;
    stack
}

/// What a caller gets 20 s after `max-age=10` was over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gets {
    Stale,
    Failure,
}
use Gets::{Failure, Stale};

fn got(read: &Read) -> Gets {
    match read.text() {
        "good" => {
            assert_eq!((read.status(), read.field("age")), (200, Some("30")));
            assert!(read.cache_status().contains("stale-if-error"), "{read:?}");
            Stale
        }
        _ => {
            assert!(read.status() >= 400, "{read:?}");
            Failure
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_5861_section_4_stale_if_error_counts_in_the_answer_and_in_the_request() {
    for (control, asks, fails, outcomes) in [
        ("max-age=10, stale-if-error=60", "x", With(500), [Stale, Stale]),
        ("max-age=10, stale-if-error=60", "x", With(502), [Stale, Stale]),
        ("max-age=10, stale-if-error=60", "x", With(503), [Stale, Stale]),
        ("max-age=10, stale-if-error=60", "x", With(504), [Stale, Stale]),
        ("max-age=10, stale-if-error=60", "x", Unreachable, [Stale, Stale]),
        ("max-age=10, stale-if-error=\"60\"", "x", With(503), [Stale, Stale]),
        ("max-age=10, stale-if-error=15", "x", With(503), [Failure, Failure]),
        ("max-age=10, stale-if-error=soon", "x", With(503), [Failure, Failure]),
        // §4: an error is one of four statuses.
        ("max-age=10, stale-if-error=60", "x", With(501), [Failure, Failure]),
        ("max-age=10, stale-if-error=60", "x", With(505), [Failure, Failure]),
        ("max-age=10, stale-if-error=60", "x", With(404), [Failure, Failure]),
        ("max-age=10, stale-if-error=60", "x", With(429), [Failure, Failure]),
        // The request asks where the answer does not.
        ("max-age=10", "stale-if-error=60", With(500), [Stale, Stale]),
        ("max-age=10", "stale-if-error=60", With(504), [Stale, Stale]),
        ("max-age=10", "stale-if-error=60", Unreachable, [Stale, Stale]),
        ("max-age=10", "stale-if-error=15", With(503), [Failure, Failure]),
        ("max-age=10", "stale-if-error=60", With(404), [Failure, Failure]),
        ("max-age=10", "stale-if-error=60, no-cache", With(503), [Failure, Failure]),
        ("max-age=10, must-revalidate", "stale-if-error=60", With(503), [Failure, Failure]),
        ("max-age=10, proxy-revalidate", "stale-if-error=60", Unreachable, [Failure, Failure]),
        ("no-cache, max-age=10", "stale-if-error=60", With(503), [Failure, Failure]),
        ("s-maxage=10", "stale-if-error=60", With(503), [Failure, Failure]),
        ("s-maxage=10, stale-if-error=15", "stale-if-error=60", With(503), [Stale, Failure]),
        // Where nobody asks: §4.2.4 of RFC 9111 lets the one profile, for want of any answer.
        ("max-age=10", "x", With(503), [Failure, Failure]),
        ("max-age=10", "x", Unreachable, [Failure, Stale]),
        ("max-age=10", "stale-if-error=15", Unreachable, [Failure, Stale]),
    ] {
        for (profile, policy, expected) in in_both(outcomes) {
            let mut stack = failing(policy, control, fails).await;
            sleep(30 * SECOND).await;
            let read = stack.ask(asking(asks)).await;
            assert_eq!(got(&read), expected, "{control}; {asks}; {fails:?}, {profile}");
            assert_eq!(stack.calls(), 2, "the origin is asked first");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_8246_immutable_is_not_validated_while_it_is_fresh_unless_that_is_asked_for() {
    for (control, age, asks, outcomes) in [
        ("max-age=60, immutable", 30, "x", [Hit, Hit]),
        ("max-age=60, immutable", 30, "max-stale=0", [Hit, Hit]),
        // §2: a signal of the client that it wants validation.
        ("max-age=60, immutable", 30, "no-cache", [Validated, Validated]),
        // It says nothing of what is stale, and nothing of how long that is not so.
        ("max-age=10, immutable", 30, "x", [Validated, Validated]),
        ("immutable", 1, "x", [Validated, Validated]),
        ("max-age=60, immutable, no-cache", 1, "x", [Validated, Validated]),
        // With an argument it cannot have it is another directive.
        ("max-age=60, immutable=1", 30, "x", [Hit, Hit]),
    ] {
        for (profile, policy, expected) in in_both(outcomes) {
            let line = format!("cache-control: {control}");
            let mut stack = Stack::says(policy, 200, &[&line, "etag: \"a\""]);
            stack.ask(get("/")).await;
            sleep(age * SECOND).await;
            let outcome = stack.outcome(asking(asks)).await;
            assert_eq!(outcome, expected, "{control} after {age} s: {asks}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_5861_section_3_a_window_ends_and_the_answer_behind_it_is_for_the_next() {
    for (control, age, outcomes) in [
        ("max-age=10, stale-while-revalidate=30", 30, [Hit, Hit]),
        ("max-age=10, stale-while-revalidate=30", 45, [Fetched, Fetched]),
        ("max-age=10, stale-while-revalidate=\"30\"", 30, [Hit, Hit]),
        ("max-age=10, stale-while-revalidate=long", 30, [Fetched, Fetched]),
        ("max-age=10, stale-while-revalidate", 30, [Fetched, Fetched]),
        ("max-age=10, stale-while-revalidate=60, stale-while-revalidate=5", 30, [Fetched; 2]),
        // §3 knows it in answers alone.
        ("max-age=10", 30, [Fetched, Fetched]),
    ] {
        for (profile, policy, expected) in in_both(outcomes) {
            let line = format!("cache-control: {control}");
            let mut stack = Stack::says(policy, 200, &[&line]);
            stack.ask(get("/")).await;
            sleep(age * SECOND).await;
            let before = stack.calls();
            let first = stack.ask(asking("stale-while-revalidate=60")).await;
            let stale = first.text() == "answer 0";
            assert_eq!(stale, expected == Hit, "{control} after {age} s, {profile}");
            sleep(SECOND).await;
            // One way or the other it was fetched once.
            assert_eq!(stack.ask(get("/")).await.text(), "answer 1", "{control}, {profile}");
            assert_eq!(stack.calls() - before, 1, "{control}, {profile}");
        }
    }
}

/// RFC 9111 §5.5: it is obsolete, and a cache makes none.
#[tokio::test(start_paused = true)]
async fn section_5_5_no_warning_is_generated_for_whatever_is_stale() {
    for (control, asks) in [
        ("max-age=10", "max-stale"),
        ("max-age=10, stale-while-revalidate=600", "x"),
        ("max-age=10, stale-if-error=600", "x"),
        ("max-age=10", "stale-if-error=600"),
    ] {
        for (profile, policy, ()) in in_both([(), ()]) {
            let mut stack = failing(policy, control, With(503)).await;
            sleep(100 * SECOND).await;
            let read = stack.ask(asking(asks)).await;
            assert_eq!((read.text(), read.field("age")), ("good", Some("100")), "{profile}");
            assert_eq!(read.field("warning"), None, "{control}, {profile}");
        }
    }
    // Nor for a guess of more than a day.
    let mut stack =
        Stack::says(Profile::reverse_proxy(), 200, &["date: {0}", "last-modified: {-2000000}"]);
    stack.ask(get("/")).await;
    sleep(100_000 * SECOND).await;
    let hit = stack.ask(get("/")).await;
    assert_eq!((hit.cache_status(), hit.field("warning")), ("hit", None));
    // What the origin says stays its own.
    for (profile, policy, ()) in in_both([(), ()]) {
        let lines = ["cache-control: max-age=60", "warning: 299 - \"old\""];
        let mut stack = Stack::says(policy, 200, &lines);
        stack.ask(get("/")).await;
        let hit = stack.ask(get("/")).await;
        assert_eq!(hit.field("warning"), Some("299 - \"old\""), "{profile}");
    }
}
