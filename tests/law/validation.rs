//! Validation (RFC 9111 §3.2, §4.3): what the origin is asked with, and what its answer changes.

use http::{Method, header};
use tokio::time::sleep;

use crate::{
    script::{
        Outcome::{Fetched, Hit, Validated},
        SECOND, Stack, asking, in_both, then,
    },
    support::{get, with},
};

const OLD: &[&str] = &["cache-control: max-age=10", "etag: \"1\""];

#[tokio::test(start_paused = true)]
async fn section_4_3_1_the_origin_is_asked_with_all_validators_and_none_of_the_clients_conditions()
{
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LM: &str = "last-modified: Sun, 06 Nov 1994 08:49:37 GMT";
    type Lines = &'static [&'static str];
    let rows: [(Lines, Option<&str>, Option<&str>); 5] = [
        (&["etag: \"1\"", LM], Some("\"1\""), Some(MODIFIED)),
        (&["etag: W/\"1\""], Some("W/\"1\""), None),
        (&[LM], None, Some(MODIFIED)),
        (&["etag: \"\""], Some("\"\""), None),
        (&["x-none: 1"], None, None),
    ];
    for (lines, etag, modified) in rows {
        for (profile, policy, ()) in in_both([(), ()]) {
            let lines: Vec<_> =
                lines.iter().chain(&["cache-control: max-age=10"]).copied().collect();
            let mut stack = Stack::says(policy, 200, &lines);
            stack.ask(get("/")).await;
            sleep(20 * SECOND).await;
            let mut request = with(get("/"), "if-none-match", "\"client\"");
            for (name, value) in [
                ("if-modified-since", "Mon, 07 Nov 1994 08:49:37 GMT"),
                ("range", "bytes=0-1"),
                ("if-range", "\"client\""),
                ("accept-language", "de"),
                ("x-own", "kept"),
            ] {
                request = with(request, name, value);
            }
            stack.ask(request).await;
            let (method, sent) = stack.last();
            let of = |name| sent.get_all(name).iter().map(|it| it.to_str().unwrap()).next_back();
            assert_eq!(method, Method::GET);
            assert_eq!(of(header::IF_NONE_MATCH), etag, "{lines:?}, {profile}");
            assert_eq!(of(header::IF_MODIFIED_SINCE), modified, "{lines:?}, {profile}");
            assert_eq!((of(header::RANGE), of(header::IF_RANGE)), (None, None), "{profile}");
            // What may select a variant goes along.
            assert_eq!(of(header::ACCEPT_LANGUAGE), Some("de"), "{profile}");
            assert_eq!(sent["x-own"], "kept", "{profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_3_a_full_answer_replaces_what_was_stale_with_all_its_fields() {
    let first: &[&str] = &["cache-control: max-age=10", "etag: \"1\"", "x-old: 1", "vary: x-v"];
    let second: &[&str] = &["cache-control: max-age=60", "etag: \"2\"", "x-new: 1"];
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = then(policy, first, (200, second));
        assert_eq!(stack.after(20).await, Validated, "{profile}");
        sleep(30 * SECOND).await;
        let hit = stack.ask(get("/")).await;
        let got = (hit.text(), hit.field("age"), hit.cache_status());
        assert_eq!(got, ("new", Some("30"), "hit"), "{profile}");
        let fields = (hit.field("etag"), hit.field("x-new"), hit.field("x-old"), hit.field("vary"));
        assert_eq!(fields, (Some("\"2\""), Some("1"), None, None), "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_4_a_304_makes_fresh_for_as_long_as_it_says_or_as_was_said_before() {
    type Lines = &'static [&'static str];
    let rows: [(Lines, u32, _); 12] = [
        (&["etag: \"1\""], 8, [Hit, Hit]),
        (&["etag: \"1\""], 12, [Validated, Validated]),
        // Without any validator it can only be about what was asked.
        (&[], 8, [Hit, Hit]),
        (&["cache-control: max-age=100"], 80, [Hit, Hit]),
        (&["cache-control: max-age=100", "age: 50"], 40, [Hit, Hit]),
        (&["cache-control: max-age=100", "age: 50"], 60, [Validated, Validated]),
        (&["cache-control: max-age=2"], 4, [Validated, Validated]),
        (&["cache-control: s-maxage=100, max-age=0"], 80, [Hit, Hit]),
        // In place of the directives that were stored, not beside them.
        (&["cache-control: public"], 1, [Validated, Validated]),
        (&["cache-control: public", "expires: {100}"], 80, [Hit, Hit]),
        (&["cache-control: no-cache"], 1, [Validated, Validated]),
        (&["cache-control: no-store"], 1, [Fetched, Fetched]),
    ];
    for (lines, wait, outcomes) in rows {
        for (profile, policy, expected) in in_both(outcomes) {
            let mut stack = then(policy, OLD, (304, lines));
            assert_eq!(stack.after(20).await, Validated, "{lines:?}, {profile}");
            sleep(wait * SECOND).await;
            let later = stack.outcome(get("/")).await;
            assert_eq!(later, expected, "{lines:?} {wait} s, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_4_the_client_of_a_validation_gets_the_stored_answer_and_its_own_304() {
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = Stack::says(policy, 200, OLD);
        stack.ask(get("/")).await;
        for (condition, status, text) in [("\"1\"", 304, ""), ("\"0\"", 200, "answer 0")] {
            sleep(20 * SECOND).await;
            let read = stack.ask(with(get("/"), "if-none-match", condition)).await;
            assert_eq!((read.status(), read.text()), (status, text), "{profile}");
            assert_eq!(stack.last().1["if-none-match"], "\"1\"", "{profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_4_a_304_that_forbids_to_store_ends_what_was_stored() {
    type Lines = &'static [&'static str];
    let rows: [(Lines, _); 5] = [
        (&["cache-control: private, max-age=60"], [Fetched, Fetched]),
        (&["cache-control: no-store, max-age=60"], [Fetched, Fetched]),
        (&["cache-control: max-age=60", "vary: *"], [Fetched, Fetched]),
        (&["cache-control: max-age=60", "cdn-cache-control: no-store"], [Hit, Fetched]),
        (&["cache-control: no-store", "cdn-cache-control: max-age=60"], [Fetched, Hit]),
    ];
    for (lines, outcomes) in rows {
        for (profile, policy, expected) in in_both(outcomes) {
            let mut stack = then(policy, OLD, (304, lines));
            assert_eq!(stack.after(20).await, Validated, "{lines:?}, {profile}");
            assert_eq!(stack.outcome(get("/")).await, expected, "{lines:?}, {profile}");
        }
    }
}

/// RFC 9110 §8.8.3: only a tag in quotes can be sent back, and `*` would match anything.
#[tokio::test(start_paused = true)]
async fn section_4_3_1_a_tag_that_matches_anything_is_no_validator() {
    for (etag, outcomes) in [("*", [Fetched, Fetched]), ("\"a\", \"b\"", [Fetched, Fetched])] {
        for (profile, policy, expected) in in_both(outcomes) {
            let line = format!("etag: {etag}");
            let mut stack = Stack::says(policy, 200, &["cache-control: max-age=10", &line]);
            assert_eq!(stack.after(20).await, expected, "{etag}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_3_whoever_asked_for_validation_gets_the_new_answer_and_later_ones_too() {
    let new: &[&str] = &["cache-control: max-age=60", "etag: \"2\""];
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = then(policy, OLD, (200, new));
        stack.ask(get("/")).await;
        assert_eq!(stack.ask(asking("no-cache")).await.text(), "new", "{profile}");
        sleep(30 * SECOND).await;
        assert_eq!(stack.ask(get("/")).await.text(), "new", "{profile}");
        assert_eq!(stack.calls(), 2, "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_3_any_other_answer_to_a_validation_is_the_clients() {
    type Lines = &'static [&'static str];
    let rows: [(u16, Lines, _); 8] = [
        (200, &["cache-control: max-age=60"], [Hit, Hit]),
        (200, &["cache-control: no-store"], [Fetched, Fetched]),
        (203, &["cache-control: max-age=60"], [Hit, Hit]),
        (301, &["cache-control: max-age=60"], [Hit, Hit]),
        (302, &["cache-control: max-age=60"], [Fetched, Hit]),
        (404, &["cache-control: max-age=60"], [Hit, Hit]),
        (410, &["cache-control: max-age=60"], [Hit, Hit]),
        (403, &["cache-control: max-age=60"], [Fetched, Hit]),
    ];
    for (status, lines, outcomes) in rows {
        for (profile, policy, expected) in in_both(outcomes) {
            let mut stack = then(policy, OLD, (status, lines));
            stack.ask(get("/")).await;
            sleep(20 * SECOND).await;
            let read = stack.ask(get("/")).await;
            assert_eq!((read.status(), read.text()), (status, "new"), "{lines:?}, {profile}");
            let before = stack.calls();
            let later = stack.ask(get("/")).await;
            assert_ne!(later.text(), "old", "{status} {lines:?}, {profile}");
            let hit = stack.calls() == before;
            assert_eq!(hit, expected == Hit, "{status} {lines:?}, {profile}");
        }
    }
}
