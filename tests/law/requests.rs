//! What a request asks of a cache (RFC 9111 §5.2.1, §5.4).

use tokio::time::sleep;

use crate::{
    script::{
        Outcome::{self, Fetched, Hit, Refused, Validated},
        SECOND, Stack, asking, in_both,
    },
    support::{Req, get, head, with},
};

/// A stored answer with these directives, so old.
type Stored = (&'static str, u32);

/// What becomes of `request` where `stored` is.
async fn outcomes(stored: Stored, request: impl Fn() -> Req, expected: [Outcome; 2]) {
    for (profile, policy, expected) in in_both(expected) {
        let (control, age) = stored;
        let control = format!("cache-control: {control}");
        let mut stack = Stack::says(policy, 200, &[&control, "etag: \"a\""]);
        stack.ask(get("/")).await;
        sleep(age * SECOND).await;
        let request = request();
        let row = format!("{control} after {age} s: {:?}, {profile}", request.headers());
        assert_eq!(stack.outcome(request).await, expected, "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_5_2_1_7_only_if_cached_is_answered_from_storage_or_with_504() {
    for (stored, control, expected) in [
        (("max-age=60", 30), "only-if-cached", [Hit, Hit]),
        (("max-age=60", 30), "max-age=40, only-if-cached", [Hit, Hit]),
        (("max-age=60", 30), "max-age=20, only-if-cached", [Refused, Refused]),
        (("max-age=60", 30), "min-fresh=40, only-if-cached", [Refused, Refused]),
        (("max-age=60", 30), "no-cache, only-if-cached", [Refused, Refused]),
        (("max-age=60", 90), "only-if-cached", [Refused, Refused]),
        (("max-age=60", 90), "max-stale, only-if-cached", [Hit, Hit]),
        (("max-age=60", 90), "max-stale=20, only-if-cached", [Refused, Refused]),
        (("max-age=60, must-revalidate", 90), "max-stale, only-if-cached", [Refused, Refused]),
        (("no-cache", 1), "only-if-cached", [Refused, Refused]),
        (("no-store", 1), "only-if-cached", [Refused, Refused]),
        (("max-age=60, stale-if-error=60", 90), "only-if-cached", [Refused, Refused]),
    ] {
        outcomes(stored, || asking(control), expected).await;
    }
    let head_only = || with(head("/"), "cache-control", "only-if-cached");
    outcomes(("max-age=60", 30), head_only, [Hit, Hit]).await;
    outcomes(("max-age=60", 90), head_only, [Refused, Refused]).await;
}

#[tokio::test(start_paused = true)]
async fn section_5_2_1_7_with_nothing_stored_it_is_504_and_the_origin_is_not_asked() {
    for (profile, policy, expected) in in_both([Refused, Refused]) {
        let lines = ["cache-control: max-age=60", "vary: x-v"];
        let mut stack = Stack::says(policy, 200, &lines);
        for request in
            [asking("only-if-cached"), with(head("/"), "cache-control", "only-if-cached")]
        {
            assert_eq!(stack.outcome(request).await, expected, "{profile}");
        }
        // Another variant is nothing.
        stack.ask(with(get("/"), "x-v", "1")).await;
        let other = with(asking("only-if-cached"), "x-v", "2");
        assert_eq!(stack.outcome(other).await, expected, "{profile}");
        assert_eq!(stack.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn section_5_2_1_7_only_if_cached_goes_to_no_origin_whatever_else_is_asked() {
    let no_store = || asking("only-if-cached, no-store");
    outcomes(("no-store", 1), no_store, [Refused, Refused]).await;
    let if_match = || with(asking("only-if-cached"), "if-match", "\"a\"");
    outcomes(("no-store", 1), if_match, [Refused, Refused]).await;
    let for_two_hosts = || with(asking("only-if-cached"), "host", "another.example");
    outcomes(("no-store", 1), for_two_hosts, [Refused, Refused]).await;
}

#[tokio::test(start_paused = true)]
async fn section_5_2_1_2_max_stale_is_bare_met_exceeded_or_forbidden() {
    const PLAIN: Stored = ("max-age=10", 30);
    for (stored, control, expected) in [
        (PLAIN, "x", [Validated, Validated]),
        (PLAIN, "max-stale", [Hit, Hit]),
        (PLAIN, "MAX-STALE", [Hit, Hit]),
        (PLAIN, "max-stale=21", [Hit, Hit]),
        (PLAIN, "max-stale=\"21\"", [Hit, Hit]),
        (PLAIN, "max-stale=19", [Validated, Validated]),
        (PLAIN, "max-stale=0", [Validated, Validated]),
        (PLAIN, "max-stale=soon", [Validated, Validated]),
        (PLAIN, "max-stale=", [Validated, Validated]),
        (PLAIN, "max-stale=1.5", [Validated, Validated]),
        (PLAIN, "max-stale, max-stale=19", [Validated, Validated]),
        (PLAIN, "max-stale=19, max-stale=60", [Validated, Validated]),
        (PLAIN, "max-stale=60, max-age=31", [Hit, Hit]),
        (PLAIN, "max-stale=60, max-age=29", [Validated, Validated]),
        (PLAIN, "max-stale=60, no-cache", [Validated, Validated]),
        (PLAIN, "max-stale=60, min-fresh=1", [Validated, Validated]),
        // It asks for stale answers; a fresh one is none the worse.
        (("max-age=60", 30), "max-stale=1", [Hit, Hit]),
        (("max-age=10, must-revalidate", 30), "max-stale", [Validated, Validated]),
        (("max-age=10, proxy-revalidate", 30), "max-stale", [Validated, Validated]),
        (("max-age=10, no-cache", 5), "max-stale", [Validated, Validated]),
        (("s-maxage=10", 30), "max-stale", [Validated, Validated]),
        (("s-maxage=10, max-age=600", 30), "max-stale=60", [Validated, Validated]),
        // Whoever names a time for stale answers means it, says the one profile.
        (("s-maxage=10, stale-if-error=60", 30), "max-stale", [Hit, Validated]),
        (("s-maxage=10, must-revalidate, stale-if-error=60", 30), "max-stale", [Validated; 2]),
        // Of what never said how long it is fresh nobody knows how stale it is.
        (("public", 30), "max-stale", [Validated, Validated]),
        (("max-age=0, public", 30), "max-stale", [Hit, Hit]),
    ] {
        outcomes(stored, || asking(control), expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn section_5_2_1_3_min_fresh_asks_for_more_than_what_is_left() {
    for (stored, control, expected) in [
        (("max-age=60", 30), "min-fresh=29", [Hit, Hit]),
        (("max-age=60", 30), "min-fresh=31", [Validated, Validated]),
        (("max-age=60", 30), "min-fresh=\"29\"", [Hit, Hit]),
        (("max-age=60", 30), "min-fresh=0", [Hit, Hit]),
        (("max-age=60", 30), "min-fresh=much", [Validated, Validated]),
        (("max-age=60", 30), "min-fresh", [Validated, Validated]),
        (("max-age=60", 30), "min-fresh=5, min-fresh=40", [Validated, Validated]),
        (("max-age=60", 90), "min-fresh=0", [Validated, Validated]),
        (("max-age=60, stale-while-revalidate=60", 90), "min-fresh=1", [Validated, Validated]),
    ] {
        outcomes(stored, || asking(control), expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn section_5_2_1_1_max_age_bounds_the_age_that_the_answer_already_had() {
    for (control, expected) in [
        ("max-age=46", [Hit, Hit]),
        ("max-age=44", [Validated, Validated]),
        ("max-age=\"46\"", [Hit, Hit]),
        ("max-age=0", [Validated, Validated]),
        ("max-age=-1", [Validated, Validated]),
        ("max-age=old", [Validated, Validated]),
        ("max-age=46, max-age=44", [Validated, Validated]),
        ("s-maxage=1", [Hit, Hit]),
    ] {
        for (profile, policy, expected) in in_both(expected) {
            let lines = ["cache-control: max-age=100", "age: 40", "etag: \"a\""];
            let mut stack = Stack::says(policy, 200, &lines);
            stack.ask(get("/")).await;
            sleep(5 * SECOND).await;
            assert_eq!(stack.outcome(asking(control)).await, expected, "{control}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_5_2_1_4_no_cache_asks_the_origin_and_what_comes_is_for_all() {
    for control in ["no-cache", "max-age=0", "no-cache, max-age=60", "No-Cache=\"x\""] {
        for (profile, policy, expected) in in_both([Fetched, Fetched]) {
            let mut stack = Stack::says(policy, 200, &["cache-control: max-age=60"]);
            assert_eq!(stack.ask(get("/")).await.text(), "answer 0");
            assert_eq!(stack.outcome(asking(control)).await, expected, "{control}, {profile}");
            let later = stack.ask(get("/")).await;
            assert_eq!((later.text(), later.cache_status()), ("answer 1", "hit"), "{profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_5_2_1_5_what_is_fetched_with_no_store_is_not_stored_and_replaces_nothing() {
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = Stack::says(policy, 200, &["cache-control: max-age=60"]);
        assert_eq!(stack.ask(asking("no-store")).await.text(), "answer 0", "{profile}");
        assert_eq!(stack.ask(get("/")).await.text(), "answer 1", "{profile}");
        stack.ask(asking("no-store, no-cache")).await;
        let hit = stack.ask(get("/")).await;
        assert_eq!((hit.text(), hit.cache_status()), ("answer 1", "hit"), "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_5_4_pragma_counts_in_a_request_without_cache_control_and_nowhere_else() {
    let pragma = |value| with(get("/"), "pragma", value);
    const STORED: Stored = ("max-age=60", 5);
    for (value, expected) in [
        ("no-cache", [Validated, Validated]),
        ("No-Cache", [Validated, Validated]),
        ("x, no-cache", [Validated, Validated]),
        ("x=\"no-cache\"", [Hit, Hit]),
        ("no-store", [Hit, Hit]),
        ("max-age=0", [Hit, Hit]),
    ] {
        outcomes(STORED, || pragma(value), expected).await;
    }
    for control in ["max-age=60", "max-stale", "x", ""] {
        let both = || with(pragma("no-cache"), "cache-control", control);
        outcomes(STORED, both, [Hit, Hit]).await;
    }
    for line in ["cache-control: max-age=60", "expires: {60}"] {
        for (profile, policy, expected) in in_both([Hit, Hit]) {
            let mut stack = Stack::says(policy, 200, &["pragma: no-cache", line]);
            assert_eq!(stack.after(5).await, expected, "{line}, {profile}");
        }
    }
}
