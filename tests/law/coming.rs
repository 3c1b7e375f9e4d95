//! HEAD that updates a GET, stored answers to POST, bodies that end with their connection
//! (RFC 9111 §4.3.5; RFC 9110 §9.3.3; RFC 9112 §6.3).

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Empty;
use seawall::{CacheLayer, Profile};
use tokio::time::sleep;
use tower::Layer;

use crate::{
    script::{
        Outcome::{self, Fetched, Hit, Validated},
        SECOND, Stack, in_both, says,
    },
    support::{
        Req,
        bodies::{Step, Steps},
        cache, call, get, head, origin, streamed, with,
    },
};

// ===== §4.3.5: HEAD =====

/// What becomes of a GET `wait` seconds after a HEAD was answered so, and of its field `x-new`.
async fn after_head(
    policy: Profile,
    stored: &'static [&'static str],
    (status, lines): (u16, &'static [&'static str]),
    wait: u32,
) -> (Outcome, bool) {
    let mut stack = Stack::new(policy, move |_, request: &Req| {
        Ok(match *request.method() {
            Method::HEAD => says(status, lines, ""),
            _ => says(200, stored, "0123456789"),
        })
    });
    stack.ask(get("/")).await;
    stack.ask(with(head("/"), "cache-control", "no-cache")).await;
    assert_eq!(stack.calls(), 2);
    sleep(wait * SECOND).await;
    let before = stack.calls();
    let read = stack.ask(get("/")).await;
    let outcome = match stack.calls() - before {
        0 => Hit,
        _ if stack.last().1.contains_key(header::IF_NONE_MATCH) => Validated,
        _ => Fetched,
    };
    assert_eq!(read.text(), "0123456789");
    (outcome, read.field("x-new").is_some())
}

const STORED: &[&str] = &[
    "cache-control: max-age=60",
    "etag: \"1\"",
    "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
    "content-length: 10",
];

#[tokio::test(start_paused = true)]
async fn section_4_3_5_a_head_with_equal_validators_and_length_updates_the_stored_get() {
    type Lines = &'static [&'static str];
    let rows: [Lines; 3] = [
        &["cache-control: max-age=600", "x-new: 1", "etag: \"1\""],
        &["cache-control: max-age=600", "x-new: 1", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT"],
        &[
            "cache-control: max-age=600",
            "x-new: 1",
            "etag: \"1\"",
            "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
            "content-length: 10",
        ],
    ];
    for lines in rows {
        for (profile, policy, expected) in in_both([(Hit, true), (Hit, true)]) {
            // Longer than was said before.
            let got = after_head(policy, STORED, (200, lines), 300).await;
            assert_eq!(got, expected, "{lines:?}, {profile}");
        }
    }
}

/// The law would have it updated; but nothing says that its content is still that of the resource.
#[tokio::test(start_paused = true)]
async fn section_4_3_5_a_head_without_a_validator_leaves_the_stored_get_as_it_is() {
    type Lines = &'static [&'static str];
    let rows: [Lines; 2] = [
        &["cache-control: max-age=600", "x-new: 1"],
        &["cache-control: max-age=600", "x-new: 1", "content-length: 10"],
    ];
    for lines in rows {
        for (profile, policy, ()) in in_both([(), ()]) {
            let got = after_head(policy, STORED, (200, lines), 300).await;
            assert_eq!(got, (Validated, false), "{lines:?}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_5_a_head_that_differs_makes_the_stored_get_stale() {
    type Lines = &'static [&'static str];
    let rows: [Lines; 5] = [
        &["cache-control: max-age=600", "x-new: 1", "etag: \"2\""],
        &["cache-control: max-age=600", "x-new: 1", "etag: W/\"2\""],
        &["cache-control: max-age=600", "x-new: 1", "content-length: 11"],
        &["cache-control: max-age=600", "x-new: 1", "etag: \"1\"", "content-length: 11"],
        &["cache-control: max-age=600", "x-new: 1", "last-modified: Mon, 07 Nov 1994 08:49:37 GMT"],
    ];
    for lines in rows {
        for (profile, policy, expected) in in_both([(Validated, false), (Validated, false)]) {
            let got = after_head(policy, STORED, (200, lines), 1).await;
            assert_eq!(got, expected, "{lines:?}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_4_3_5_a_head_that_fails_says_nothing_of_the_stored_get() {
    for status in [204, 301, 404, 410, 500, 503] {
        for (profile, policy, expected) in in_both([(Hit, false), (Hit, false)]) {
            let lines: &[&str] = &["cache-control: max-age=600", "etag: \"2\"", "x-new: 1"];
            let got = after_head(policy, STORED, (status, lines), 1).await;
            assert_eq!(got, expected, "{status}, {profile}");
        }
    }
}

// ===== RFC 9110 §9.3.3: POST =====

fn post(uri: &str) -> Req {
    Request::post(uri).body(Empty::new()).unwrap()
}

const TARGET: &str = "http://example.com/a?b";

/// An answer to a POST, and what becomes of a GET after it.
fn posted(policy: Profile, status: u16, lines: &'static [&'static str]) -> Stack {
    Stack::new(policy, move |_, request: &Req| {
        Ok(match *request.method() {
            Method::POST => says(status, lines, "posted"),
            _ => says(200, &["cache-control: max-age=600"], "got"),
        })
    })
}

#[tokio::test(start_paused = true)]
async fn rfc_9110_section_9_3_3_a_post_is_stored_with_a_lifetime_under_its_own_uri_alone() {
    type Lines = &'static [&'static str];
    const FRESH: &str = "cache-control: max-age=600";
    let rows: [(u16, Lines, _); 12] = [
        (200, &[FRESH, "content-location: /a?b"], [Fetched, Hit]),
        (200, &[FRESH, "content-location: a?b"], [Fetched, Hit]),
        (200, &[FRESH, "content-location: http://example.com/a?b"], [Fetched, Hit]),
        (200, &["expires: {600}", "content-location: /a?b"], [Fetched, Hit]),
        (200, &[FRESH], [Fetched, Fetched]),
        (200, &[FRESH, "content-location: /a"], [Fetched, Fetched]),
        (200, &[FRESH, "content-location: http://example.org/a?b"], [Fetched, Fetched]),
        (200, &[FRESH, "location: /a?b"], [Fetched, Fetched]),
        // A guess is not what it takes.
        (
            200,
            &["date: {0}", "last-modified: {-1000}", "content-location: /a?b"],
            [Fetched, Fetched],
        ),
        (200, &["cache-control: private, max-age=600", "content-location: /a?b"], [Fetched; 2]),
        (200, &["cache-control: no-store", "content-location: /a?b"], [Fetched; 2]),
        (500, &["content-location: /a?b"], [Fetched; 2]),
    ];
    for (status, lines, outcomes) in rows {
        for (profile, policy, expected) in in_both(outcomes) {
            let mut stack = posted(policy, status, lines);
            let row = format!("{status} {lines:?}, {profile}");
            assert_eq!(stack.ask(post(TARGET)).await.text(), "posted", "{row}");
            sleep(SECOND).await;
            let before = stack.calls();
            let read = stack.ask(Request::get(TARGET).body(Empty::new()).unwrap()).await;
            let hit = stack.calls() == before;
            assert_eq!(hit, expected == Hit, "{row}");
            assert_eq!(read.text(), if hit { "posted" } else { "got" }, "{row}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9110_section_9_3_3_a_stored_post_answers_get_and_head_and_no_post() {
    for (profile, policy, kept) in in_both([false, true]) {
        let lines: &[&str] = &["cache-control: max-age=600", "content-location: /a?b"];
        let mut stack = posted(policy, 200, lines);
        let of = |method: Method| Request::builder().method(method).uri(TARGET);
        // What was stored before is not true any more.
        stack.ask(of(Method::GET).body(Empty::new()).unwrap()).await;
        for calls in 2..4 {
            stack.ask(post(TARGET)).await;
            assert_eq!(stack.calls(), calls, "{profile}");
        }
        sleep(SECOND).await;
        let read = stack.ask(of(Method::GET).body(Empty::new()).unwrap()).await;
        assert_eq!(read.text(), if kept { "posted" } else { "got" }, "{profile}");
        let before = stack.calls();
        stack.ask(of(Method::HEAD).body(Empty::new()).unwrap()).await;
        assert_eq!(stack.calls(), before, "{profile}");
    }
}

// ===== RFC 9112 §6.3: bodies that end with their connection =====

#[tokio::test(start_paused = true)]
async fn rfc_9112_section_6_3_what_may_have_been_cut_is_kept_for_a_minute_at_most() {
    for (control, wait, outcomes) in [
        ("max-age=600", 30, [Fetched, Hit]),
        ("max-age=600", 58, [Fetched, Hit]),
        ("max-age=600", 62, [Fetched, Fetched]),
        ("max-age=10", 5, [Fetched, Hit]),
        ("max-age=10", 15, [Fetched, Fetched]),
        ("no-store", 1, [Fetched, Fetched]),
    ] {
        for (profile, policy, expected) in in_both(outcomes) {
            let (calls, inner) = origin(move |_, _| async move {
                let step = Step::Data(Bytes::from_static(b"until it ends"));
                Ok(streamed(&[("cache-control", control)], Steps::new([step])))
            });
            let mut service = CacheLayer::new(cache()).policy(policy).layer(inner);
            call(&mut service, get("/")).await.unwrap();
            sleep(Duration::from_secs(wait)).await;
            let read = call(&mut service, get("/")).await.unwrap();
            assert_eq!(read.text(), "until it ends", "{profile}");
            let outcome = if calls.count() == 1 { Hit } else { Fetched };
            assert_eq!(outcome, expected, "{control} after {wait} s, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9112_section_6_3_what_was_cut_for_all_to_see_is_never_kept() {
    for (profile, policy, ()) in in_both([(), ()]) {
        let (calls, inner) = origin(move |_, _| async move {
            let steps = [Step::Data(Bytes::from_static(b"begun")), Step::Fail];
            Ok(streamed(&[("cache-control", "max-age=600")], Steps::new(steps)))
        });
        let mut service = CacheLayer::new(cache()).policy(policy).layer(inner);
        for expected in 1..3 {
            assert!(call(&mut service, get("/")).await.is_err(), "{profile}");
            sleep(3 * SECOND).await;
            assert_eq!(calls.count(), expected, "{profile}");
        }
    }
}
