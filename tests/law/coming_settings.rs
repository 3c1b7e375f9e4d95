//! Settings of a profile that neither profile has on both sides: each turned in both, and the
//! leniencies beyond the law, which are off in both.

use http::{Method, Request};
use http_body_util::Empty;
use seawall::Profile;

use crate::{
    script::{
        Outcome::{Fetched, Hit},
        Stack, in_both, says,
    },
    support::{Read, Req, get, with},
};

const FRESH: &str = "cache-control: max-age=600";

fn part(range: &str) -> Req {
    with(get("/"), "range", range)
}

/// An origin whose first answer is a part, and whose others are the whole or what comes after six.
fn parted(policy: Profile, lines: &'static [&'static str], text: &'static str) -> Stack {
    Stack::new(policy, move |call, request: &Req| {
        Ok(match request.headers().get("range").map(|range| range.to_str().unwrap()) {
            _ if call == 0 => says(206, &[&[FRESH], lines].concat(), text),
            Some(range) if range.starts_with("bytes=6-") => {
                says(206, &[FRESH, "content-range: bytes 6-9/10"], "6789")
            }
            _ => says(200, &[FRESH], "abcdefghij"),
        })
    })
}

#[tokio::test(start_paused = true)]
async fn store_partial_decides_whether_parts_are_stored() {
    for (stores, outcome) in [(true, Hit), (false, Fetched)] {
        for (profile, policy, expected) in in_both([outcome, outcome]) {
            let lines: &[&str] = &["etag: \"v\"", "content-range: bytes 0-5/10"];
            let mut stack = parted(policy.store_partial(stores), lines, "012345");
            stack.ask(part("bytes=0-5")).await;
            stack.ask(part("bytes=1-2")).await;
            let got = if stack.calls() == 1 { Hit } else { Fetched };
            assert_eq!(got, expected, "{stores}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn store_post_decides_whether_answers_to_post_are_stored() {
    const TARGET: &str = "http://example.com/a";
    for (stores, text) in [(true, "posted"), (false, "got")] {
        for (profile, policy, expected) in in_both([text, text]) {
            let mut stack = Stack::new(policy.store_post(stores), |_, request: &Req| {
                let posted = request.method() == Method::POST;
                let text = if posted { "posted" } else { "got" };
                Ok(says(200, &[FRESH, "content-location: /a"], text))
            });
            stack.ask(Request::post(TARGET).body(Empty::new()).unwrap()).await;
            let read = stack.ask(Request::get(TARGET).body(Empty::new()).unwrap()).await;
            assert_eq!(read.text(), expected, "{stores}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lenient_content_range_keeps_a_part_that_is_shorter_than_it_says() {
    for (lenient, outcomes) in [(false, [Fetched, Fetched]), (true, [Fetched, Hit])] {
        for (profile, policy, expected) in in_both(outcomes) {
            let lines: &[&str] = &["etag: \"v\"", "content-range: bytes 4-9/10"];
            let mut stack = parted(policy.lenient_content_range(lenient), lines, "45678");
            let first = stack.ask(part("bytes=4-9")).await;
            assert_eq!((first.status(), first.text()), (206, "45678"), "{profile}");
            stack.ask(part("bytes=4-9")).await;
            let got = if stack.calls() == 1 { Hit } else { Fetched };
            assert_eq!(got, expected, "{lenient}, {profile}");
            // It is no whole, with or without what comes before it.
            assert_eq!(stack.ask(get("/")).await.text(), "abcdefghij", "{lenient}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tail_without_validator_asks_for_the_rest_of_a_part_that_has_none() {
    // What comes cannot be combined: the whole is asked for after that.
    for (lenient, calls) in [(false, [2, 2]), (true, [2, 3])] {
        for (profile, policy, calls) in in_both(calls) {
            let policy = policy.tail_without_validator(lenient);
            let mut stack = parted(policy, &["content-range: bytes 0-5/10"], "012345");
            stack.ask(part("bytes=0-5")).await;
            let whole: Read = stack.ask(get("/")).await;
            assert_eq!((whole.status(), whole.text()), (200, "abcdefghij"), "{lenient}, {profile}");
            assert_eq!(stack.calls(), calls, "{lenient}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn language_by_quality_takes_the_stored_language_that_is_liked_best() {
    for (asks, liked) in [
        ("fr;q=0.5, de;q=1.0", true),
        ("de, en;q=0.9", true),
        ("DE", true),
        ("de;q=0.5, fr", false),
        ("fr", false),
        ("de;q=0", false),
    ] {
        for lenient in [false, true] {
            let outcome = if lenient && liked { Hit } else { Fetched };
            for (profile, policy, expected) in in_both([outcome, outcome]) {
                let lines = [FRESH, "vary: accept-language", "content-language: de"];
                let mut stack = Stack::says(policy.language_by_quality(lenient), 200, &lines);
                stack.ask(with(get("/"), "accept-language", "en, de")).await;
                let got = stack.outcome(with(get("/"), "accept-language", asks)).await;
                assert_eq!(got, expected, "{asks}, {lenient}, {profile}");
            }
        }
    }
}
