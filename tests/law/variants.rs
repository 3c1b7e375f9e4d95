//! Variants (RFC 9111 §4.1): which of them answers, and what has none.

use http::header;
use tokio::time::sleep;

use crate::{
    script::{
        Outcome::{Fetched, Hit},
        SECOND, Stack, in_both, says,
    },
    support::{Req, get, with},
};

#[tokio::test(start_paused = true)]
async fn section_4_1_an_absent_field_matches_an_absent_one_and_no_empty_one() {
    let requests = [
        get("/"),
        with(get("/"), "x-v", ""),
        with(get("/"), "x-v", "a"),
        with(get("/"), "x-w", "a"),
        with(with(get("/"), "x-v", "a"), "x-w", ""),
    ];
    for (profile, policy, ()) in in_both([(), ()]) {
        let lines = ["cache-control: max-age=600", "vary: x-v, X-W"];
        let mut stack = Stack::says(policy, 200, &lines);
        for expected in [Fetched, Hit] {
            for request in &requests {
                let got = stack.outcome(request.clone()).await;
                assert_eq!(got, expected, "{:?}, {profile}", request.headers());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_1_a_star_on_any_line_is_never_stored() {
    let rows: [(&[&str], _); 8] = [
        (&["vary: *"], [Fetched, Fetched]),
        (&["vary: x-v, *"], [Fetched, Fetched]),
        (&["vary: *, x-v"], [Fetched, Fetched]),
        (&["vary: x-v", "vary: *"], [Fetched, Fetched]),
        (&["vary: *", "vary: x-v"], [Fetched, Fetched]),
        (&["vary: ", "vary:  ,*, "], [Fetched, Fetched]),
        (&["vary: "], [Hit, Hit]),
        (&["vary: x-v", "vary: x-w"], [Hit, Hit]),
    ];
    for (lines, outcomes) in rows {
        for (profile, policy, expected) in in_both(outcomes) {
            let lines: Vec<_> =
                lines.iter().chain(&["cache-control: max-age=600"]).copied().collect();
            assert_eq!(
                Stack::says(policy, 200, &lines).after(1).await,
                expected,
                "{lines:?}, {profile}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_1_each_line_of_vary_names_fields() {
    for (profile, policy, ()) in in_both([(), ()]) {
        let lines = ["cache-control: max-age=600", "vary: x-v", "vary: x-w"];
        let mut stack = Stack::says(policy, 200, &lines);
        stack.ask(with(get("/"), "x-v", "1")).await;
        for (request, expected) in [
            (with(get("/"), "x-v", "1"), Hit),
            (with(with(get("/"), "x-v", "1"), "x-w", "1"), Fetched),
            (get("/"), Fetched),
        ] {
            assert_eq!(stack.outcome(request).await, expected, "{profile}");
        }
    }
}

/// Two stored answers that both match a last request: one by `x-a`, one by `x-b`.
async fn of_two(
    policy: seawall::Profile,
    first_date: &'static str,
    second_date: &'static str,
) -> String {
    let mut stack = Stack::new(policy, move |call, _| {
        let (date, vary) =
            if call == 0 { (first_date, "vary: x-a") } else { (second_date, "vary: x-b") };
        Ok(says(200, &["cache-control: max-age=600", date, vary], format!("answer {call}")))
    });
    let asks = |a: &str, b: &str| -> Req { with(with(get("/"), "x-a", a), "x-b", b) };
    stack.ask(asks("1", "1")).await;
    sleep(SECOND).await;
    stack.ask(asks("2", "2")).await;
    let read = stack.ask(asks("1", "2")).await;
    assert_eq!(stack.calls(), 2);
    read.text().to_owned()
}

#[tokio::test(start_paused = true)]
async fn section_4_1_of_several_that_match_the_one_that_came_last_counts_where_dates_agree() {
    for (profile, policy, ()) in in_both([(), ()]) {
        assert_eq!(of_two(policy, "date: {-60}", "date: {-30}").await, "answer 1", "{profile}");
    }
}

// FAILS: the one that was received last counts, whatever its Date.
#[tokio::test(start_paused = true)]
async fn section_4_1_of_several_that_match_the_one_with_the_latest_date_counts() {
    for (profile, policy, ()) in in_both([(), ()]) {
        assert_eq!(of_two(policy, "date: {-30}", "date: {-60}").await, "answer 0", "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_1_an_answer_of_another_variant_replaces_none() {
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = Stack::new(policy, |_, request: &Req| {
            let language = request.headers()[header::ACCEPT_LANGUAGE].to_str().unwrap().to_owned();
            Ok(says(200, &["cache-control: max-age=600", "vary: accept-language"], language))
        });
        let asks = |language| with(get("/"), "accept-language", language);
        for language in ["de", "en", "de", "en"] {
            assert_eq!(stack.ask(asks(language)).await.text(), language, "{profile}");
        }
        assert_eq!(stack.calls(), 2, "{profile}");
    }
}
