//! A client's own conditions and ranges (RFC 9111 §4.3.2; RFC 9110 §13, §14), beyond what
//! `tests/parts.rs` asks in every place.

use http::header;
use tokio::time::sleep;

use crate::{
    script::{
        Outcome::{Fetched, Hit},
        SECOND, Stack, at, dated, in_both, says,
    },
    support::{Req, get, head, with},
};

const CHANGED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

fn with_all(mut request: Req, fields: &[(&'static str, &str)]) -> Req {
    for (name, value) in fields {
        request = with(request, name, value);
    }
    request
}

/// The status that a hit has for a request with these fields, where these lines are stored.
async fn assert_hits(lines: &[&str], rows: &[(&[(&'static str, &str)], u16)]) {
    for (profile, policy, ()) in in_both([(), ()]) {
        let lines: Vec<_> = lines.iter().chain(&["cache-control: max-age=600"]).copied().collect();
        let mut stack = Stack::says(policy, 200, &lines);
        stack.ask(get("/")).await;
        for (fields, status) in rows {
            let read = stack.ask(with_all(get("/"), fields)).await;
            let row = format!("{lines:?}: {fields:?}, {profile}");
            assert_eq!((read.status(), read.cache_status()), (*status, "hit"), "{row}");
        }
        assert_eq!(stack.calls(), 1);
    }
}

const INM: &str = "if-none-match";
const IMS: &str = "if-modified-since";

#[tokio::test(start_paused = true)]
async fn section_4_3_2_if_none_match_is_compared_weakly_over_all_its_lines() {
    let modified = format!("last-modified: {CHANGED}");
    assert_hits(
        &["etag: W/\"a\"", &modified],
        &[
            (&[(INM, "\"a\"")], 304),
            (&[(INM, "W/\"a\"")], 304),
            (&[(INM, "W/\"b\", W/\"a\"")], 304),
            (&[(INM, "\"b\""), (INM, "\"a\"")], 304),
            (&[(INM, "\"b, \", \"a\"")], 304),
            (&[(INM, "\"b,\"a\",\"")], 200),
            (&[(INM, " , ,\"a\",")], 304),
            (&[(INM, "*")], 304),
            (&[(INM, "\"*\"")], 200),
            (&[(INM, "\"A\"")], 200),
            (&[(INM, "\"b\"")], 200),
            (&[(INM, "")], 200),
            // With it the date is not looked at.
            (&[(INM, "\"b\""), (IMS, CHANGED)], 200),
            (&[(INM, "\"a\""), (IMS, BEFORE)], 304),
        ],
    )
    .await;
    // Nothing has a tag that the stored answer has not, but `*` is for anything.
    assert_hits(&[&modified], &[(&[(INM, "\"a\"")], 200), (&[(INM, "*")], 304)]).await;
}

#[tokio::test(start_paused = true)]
async fn section_4_3_2_if_modified_since_is_one_date_in_any_form_against_the_last_modification() {
    let modified = format!("last-modified: {CHANGED}");
    assert_hits(
        &[&modified],
        &[
            (&[(IMS, CHANGED)], 304),
            (&[(IMS, "Sunday, 06-Nov-94 08:49:37 GMT")], 304),
            (&[(IMS, "Sun Nov  6 08:49:37 1994")], 304),
            (&[(IMS, "Mon, 07 Nov 1994 00:00:00 GMT")], 304),
            (&[(IMS, BEFORE)], 200),
            (&[(IMS, "0")], 200),
            (&[(IMS, "Sun, 06 Nov 1994 08:49:37 +0000")], 200),
            (&[(IMS, CHANGED), (IMS, CHANGED)], 200),
        ],
    )
    .await;
    // Without it, Date stands in, or the time of receipt.
    let (later, earlier) = (at(30), at(-60));
    let date = dated("date: {-30}");
    assert_hits(&[&date], &[(&[(IMS, &later)], 304), (&[(IMS, &earlier)], 200)]).await;
    assert_hits(&["x: 1"], &[(&[(IMS, &later)], 304), (&[(IMS, &earlier)], 200)]).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_9110_section_15_4_5_a_304_has_the_fields_of_the_200_that_a_cache_needs_and_no_others()
{
    let lines = [
        "cache-control: max-age=600",
        "etag: \"a\"",
        "content-location: /a",
        "date: {0}",
        "expires: {600}",
        "vary: x-v",
        "last-modified: {-1000}",
        "content-type: text/plain",
        "content-language: de",
        "x-other: 1",
    ];
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = Stack::says(policy, 200, &lines);
        let whole = stack.ask(get("/")).await;
        let read = stack.ask(with(get("/"), INM, "\"a\"")).await;
        assert_eq!((read.status(), read.body.len()), (304, 0), "{profile}");
        for name in ["cache-control", "content-location", "date", "etag", "expires", "vary"] {
            assert_eq!(read.field(name), whole.field(name), "{name}, {profile}");
            assert!(read.field(name).is_some(), "{name}, {profile}");
        }
        for name in ["content-type", "content-language", "content-length", "x-other"] {
            assert_eq!(read.field(name), None, "{name}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_2_what_the_origin_alone_can_judge_goes_there_as_it_came() {
    for (name, value) in [
        ("if-match", "\"a\""),
        ("if-match", "\"b\", W/\"c\""),
        ("if-match", "*"),
        ("if-unmodified-since", CHANGED),
    ] {
        for (profile, policy, ()) in in_both([(), ()]) {
            let mut stack = Stack::new(policy, |call, request: &Req| {
                let judges = call > 0 && !request.headers().contains_key("x-plain");
                let lines = ["cache-control: max-age=600", "etag: \"a\""];
                Ok(says(if judges { 412 } else { 200 }, &lines, format!("answer {call}")))
            });
            stack.ask(get("/")).await;
            let others =
                [(INM, "\"a\""), (IMS, CHANGED), ("range", "bytes=0-1"), ("if-range", "\"a\"")];
            let read = stack.ask(with_all(with(get("/"), name, value), &others)).await;
            assert_eq!(read.status(), 412, "{name}: {value}, {profile}");
            let (_, sent) = stack.last();
            assert_eq!(sent[name], value, "{profile}");
            for (other, value) in others {
                assert_eq!(sent[other], value, "{other}, {profile}");
            }
            // Its 412 is no answer to anyone else.
            let hit = stack.ask(get("/")).await;
            assert_eq!((hit.text(), hit.cache_status()), ("answer 0", "hit"), "{profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9110_section_13_1_5_if_range_needs_the_one_strong_validator_of_what_is_stored() {
    const PART: (&str, &str) = ("range", "bytes=2-4");
    const IF: &str = "if-range";
    let modified = format!("last-modified: {CHANGED}");
    assert_hits(
        &["etag: \"a\"", &modified, "date: {0}"],
        &[
            (&[PART, (IF, "\"a\"")], 206),
            (&[PART, (IF, "\"A\"")], 200),
            (&[PART, (IF, "W/\"a\"")], 200),
            (&[PART, (IF, "\"a\", \"b\"")], 200),
            (&[PART, (IF, "*")], 200),
            (&[PART, (IF, "\"a\""), (IF, "\"a\"")], 200),
            // A date is strong where nothing else can have happened in its second.
            (&[PART, (IF, CHANGED)], 206),
            (&[PART, (IF, BEFORE)], 200),
            // Newer than what is stored is another state all the same.
            (&[PART, (IF, "Mon, 07 Nov 1994 00:00:00 GMT")], 200),
            (&[PART, (IF, "whenever")], 200),
            // Without a range it means nothing.
            (&[(IF, "\"b\"")], 200),
        ],
    )
    .await;
    let same_second = dated("{-60}");
    let (date, changed) = (format!("date: {same_second}"), format!("last-modified: {same_second}"));
    assert_hits(
        &["etag: W/\"a\"", &date, &changed],
        &[
            (&[PART, (IF, "W/\"a\"")], 200),
            (&[PART, (IF, "\"a\"")], 200),
            (&[PART, (IF, &same_second)], 200),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn rfc_9110_section_14_2_only_a_stored_200_is_cut_and_only_for_a_get() {
    const RANGE: (&str, &str) = ("range", "bytes=0-1");
    for status in [203, 300, 301, 404, 410] {
        for (profile, policy, ()) in in_both([(), ()]) {
            let mut stack =
                Stack::says(policy, status, &["cache-control: max-age=60", "etag: \"a\""]);
            stack.ask(get("/")).await;
            for fields in [&[RANGE][..], &[(INM, "\"b\"")], &[("range", "bytes=900-")]] {
                let read = stack.ask(with_all(get("/"), fields)).await;
                assert_eq!((read.status(), read.text()), (status, "answer 0"), "{profile}");
            }
            assert_eq!(stack.calls(), 1, "{status}, {profile}");
        }
    }
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = Stack::says(policy, 200, &["cache-control: max-age=60"]);
        stack.ask(get("/")).await;
        let read = stack.ask(with_all(head("/"), &[RANGE])).await;
        assert_eq!((read.status(), read.field("content-length")), (200, Some("8")), "{profile}");
        assert_eq!(read.field("content-range"), None, "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9110_section_14_2_a_range_of_what_is_stale_is_cut_once_that_is_validated() {
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = Stack::says(policy, 200, &["cache-control: max-age=10", "etag: \"a\""]);
        stack.ask(get("/")).await;
        sleep(20 * SECOND).await;
        let read = stack.ask(with(get("/"), "range", "bytes=-1")).await;
        let got = (read.status(), read.text(), read.field("content-range"));
        assert_eq!(got, (206, "0", Some("bytes 7-7/8")), "{profile}");
        assert!(!stack.last().1.contains_key(header::RANGE), "{profile}");
        let beyond = stack.ask(with(get("/"), "range", "bytes=8-")).await;
        assert_eq!((beyond.status(), beyond.field("content-range")), (416, Some("bytes */8")));
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_2_a_condition_of_a_request_that_finds_nothing_is_answered_from_the_whole() {
    for (condition, status) in [("\"a\"", 304), ("*", 304), ("\"b\"", 200)] {
        for (profile, policy, expected) in in_both([Hit, Hit]) {
            let mut stack = Stack::says(policy, 200, &["cache-control: max-age=60", "etag: \"a\""]);
            let read = stack.ask(with(get("/"), INM, condition)).await;
            assert_eq!(read.status(), status, "{condition}, {profile}");
            assert_eq!(stack.outcome(get("/")).await, expected, "{condition}, {profile}");
        }
    }
    // Of an answer that is not stored, neither.
    for (profile, policy, expected) in in_both([Fetched, Fetched]) {
        let mut stack = Stack::says(policy, 200, &["cache-control: no-store", "etag: \"a\""]);
        let read = stack.ask(with(get("/"), INM, "\"b\"")).await;
        assert_eq!(read.status(), 200, "{profile}");
        assert_eq!(stack.outcome(get("/")).await, expected, "{profile}");
    }
}

/// A tag may have any byte above those of ASCII (RFC 9110 §8.8.3), and goes back as it came.
#[tokio::test(start_paused = true)]
async fn rfc_9110_section_8_8_3_a_tag_of_any_bytes_is_compared_and_sent_byte_for_byte() {
    let (tag, other) = ("\"ü\"", "\"ä\"");
    let etag = format!("etag: {tag}");
    assert_hits(&[&etag], &[(&[(INM, tag)], 304), (&[(INM, other)], 200)]).await;
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = Stack::says(policy, 200, &["cache-control: max-age=10", &etag]);
        stack.ask(get("/")).await;
        sleep(20 * SECOND).await;
        assert_eq!(stack.ask(get("/")).await.text(), "answer 0", "{profile}");
        assert_eq!(stack.last().1[INM].as_bytes(), tag.as_bytes(), "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_2_a_head_is_told_what_a_get_would_be() {
    for (profile, policy, ()) in in_both([(), ()]) {
        let lines = ["cache-control: max-age=60", "etag: \"a\"", "last-modified: {-60}"];
        let mut stack = Stack::says(policy, 200, &lines);
        stack.ask(get("/")).await;
        for (condition, status) in [("\"a\"", 304), ("*", 304), ("\"b\"", 200)] {
            let read = stack.ask(with(head("/"), INM, condition)).await;
            let got = (read.status(), read.text(), read.field("etag"));
            assert_eq!(got, (status, "", Some("\"a\"")), "{condition}, {profile}");
        }
        assert_eq!(stack.calls(), 1);
    }
}
