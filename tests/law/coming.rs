//! HEAD that updates a GET, parts that are stored and combined, answers to POST, bodies that end
//! with their connection (RFC 9111 §3.3, §3.4, §4.3.5; RFC 9110 §9.3.3; RFC 9112 §6.3).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
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
        Read, Req, Res,
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
    let rows: [Lines; 5] = [
        &["cache-control: max-age=600", "x-new: 1"],
        &["cache-control: max-age=600", "x-new: 1", "etag: \"1\""],
        &["cache-control: max-age=600", "x-new: 1", "content-length: 10"],
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

// ===== §3.3, §3.4: parts =====

const DIGITS: &str = "0123456789";

/// First a part, whatever is asked for; then what is asked for, of these lines.
#[derive(Clone, Copy)]
struct Parts {
    content_range: &'static str,
    part: &'static str,
    first: &'static [&'static str],
    later: &'static [&'static str],
}

const FROM_4: Parts = Parts {
    content_range: "bytes 4-9/10",
    part: "456789",
    first: &["cache-control: max-age=600", "etag: \"v\""],
    later: &["cache-control: max-age=600", "etag: \"v\""],
};

/// The part of the ten digits that is asked for.
fn ranged(request: &HeaderMap, lines: &[&str]) -> Res {
    let whole = || says(200, lines, DIGITS);
    let tag = lines.iter().find_map(|line| line.strip_prefix("etag: "));
    if request.get("if-range").is_some_and(|it| Some(it.to_str().unwrap()) != tag) {
        return whole();
    }
    let Some(range) = request.get("range").map(|it| it.to_str().unwrap()) else { return whole() };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, last.min(9)),
        (Ok(first), Err(_)) => (first, 9),
        (Err(_), Ok(last)) => (10 - last, 9),
        _ => return whole(),
    };
    let told = format!("content-range: bytes {first}-{last}/10");
    let lines: Vec<_> = lines.iter().chain([&&*told]).copied().collect();
    says(206, &lines, &DIGITS[first..=last])
}

impl Parts {
    async fn stored(self, policy: Profile) -> Stack {
        let mut stack = Stack::new(policy, move |call, request: &Req| {
            if call > 0 {
                return Ok(ranged(request.headers(), self.later));
            }
            let range = format!("content-range: {}", self.content_range);
            let lines: Vec<_> = self.first.iter().chain([&&*range]).copied().collect();
            Ok(says(206, &lines, self.part))
        });
        let read = stack.ask(part("bytes=4-9")).await;
        assert_eq!((read.status(), read.text()), (206, self.part));
        stack
    }
}

fn part(range: &str) -> Req {
    with(get("/"), "range", range)
}

fn of_part(read: &Read) -> (u16, Option<&str>, &str) {
    (read.status(), read.field("content-range"), read.text())
}

#[tokio::test(start_paused = true)]
async fn section_3_3_a_stored_part_answers_what_lies_within_it() {
    for (range, told, text) in [
        ("bytes=4-9", "bytes 4-9/10", "456789"),
        ("bytes=5-7", "bytes 5-7/10", "567"),
        ("bytes=6-", "bytes 6-9/10", "6789"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=9-99", "bytes 9-9/10", "9"),
    ] {
        for (profile, policy, expected) in in_both([Fetched, Hit]) {
            let mut stack = FROM_4.stored(policy).await;
            let read = stack.ask(part(range)).await;
            assert_eq!(of_part(&read), (206, Some(told), text), "{range}, {profile}");
            let hit = if stack.calls() == 1 { Hit } else { Fetched };
            assert_eq!(hit, expected, "{range}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_3_a_part_is_fresh_and_stale_like_any_answer() {
    type Lines = &'static [&'static str];
    let rows: [(Lines, u32, _); 5] = [
        (&["cache-control: max-age=60", "etag: \"v\""], 30, [Fetched, Hit]),
        (&["cache-control: max-age=60", "etag: \"v\""], 90, [Fetched, Fetched]),
        (&["cache-control: no-store", "etag: \"v\""], 1, [Fetched, Fetched]),
        (&["cache-control: private, max-age=60", "etag: \"v\""], 1, [Fetched, Fetched]),
        // §4.2.2: 206 is cacheable by default.
        (&["date: {0}", "last-modified: {-1000}"], 80, [Fetched, Hit]),
    ];
    for (first, wait, outcomes) in rows {
        for (profile, policy, expected) in in_both(outcomes) {
            let mut stack = Parts { first, ..FROM_4 }.stored(policy).await;
            sleep(wait * SECOND).await;
            let read = stack.ask(part("bytes=5-7")).await;
            assert_eq!(read.text(), "567", "{first:?}, {profile}");
            let hit = if stack.calls() == 1 { Hit } else { Fetched };
            assert_eq!(hit, expected, "{first:?} {wait} s, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_3_a_part_never_answers_as_the_whole_or_for_what_it_has_not() {
    for (profile, policy, ()) in in_both([(), ()]) {
        for (request, expected) in [
            (get("/"), (200, None, DIGITS)),
            (part("bytes=0-1"), (206, Some("bytes 0-1/10"), "01")),
            (part("bytes=2-6"), (206, Some("bytes 2-6/10"), "23456")),
            (part("bytes=0-0,9-9"), (200, None, DIGITS)),
        ] {
            let mut stack = FROM_4.stored(policy.clone()).await;
            let row = format!("{:?}, {profile}", request.headers());
            let read = stack.ask(request).await;
            assert_eq!(of_part(&read), expected, "{row}");
            assert!(stack.calls() > 1, "{row}");
        }
        let mut stack = FROM_4.stored(policy).await;
        assert_eq!(stack.ask(head("/")).await.status(), 200, "{profile}");
        assert_eq!(stack.calls(), 2, "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_4_a_part_is_completed_with_what_is_missing_under_its_strong_tag() {
    for (profile, policy, completes) in in_both([false, true]) {
        let mut stack = FROM_4.stored(policy).await;
        let whole = stack.ask(get("/")).await;
        assert_eq!(of_part(&whole), (200, None, DIGITS), "{profile}");
        assert_eq!(whole.field("content-length").unwrap_or("10"), "10", "{profile}");
        let (_, asked) = stack.last();
        let asked = |name| asked.get(name).map(|it| it.to_str().unwrap().to_owned());
        let expected = completes.then(|| ("bytes=0-3".to_owned(), "\"v\"".to_owned()));
        assert_eq!(asked("range").zip(asked("if-range")), expected, "{profile}");
        // From now on the whole is stored.
        assert_eq!(stack.outcome(get("/")).await, Hit, "{profile}");
        assert_eq!(stack.ask(part("bytes=0-5")).await.text(), "012345", "{profile}");
        assert_eq!(stack.calls(), 2, "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_4_what_has_no_strong_tag_is_fetched_whole() {
    type Lines = &'static [&'static str];
    let rows: [Lines; 3] = [
        &["cache-control: max-age=600", "etag: W/\"v\""],
        &["cache-control: max-age=600"],
        &["cache-control: max-age=600", "last-modified: {-60}", "date: {0}"],
    ];
    for lines in rows {
        for (profile, policy, ()) in in_both([(), ()]) {
            let mut stack = Parts { first: lines, later: lines, ..FROM_4 }.stored(policy).await;
            assert_eq!(of_part(&stack.ask(get("/")).await), (200, None, DIGITS), "{profile}");
            assert!(!stack.last().1.contains_key(header::RANGE), "{lines:?}, {profile}");
        }
    }
}

/// What is asked for the rest of a part answers with another state of it.
#[tokio::test(start_paused = true)]
async fn section_3_4_what_cannot_be_combined_is_fetched_whole() {
    type Answer = fn(&HeaderMap) -> Res;
    const NEW: &[&str] = &["cache-control: max-age=600", "etag: \"w\""];
    let rows: [(&str, Answer); 5] = [
        ("another tag", |_| says(206, &[NEW[0], NEW[1], "content-range: bytes 0-3/10"], "abcd")),
        ("no tag", |_| says(206, &[NEW[0], "content-range: bytes 0-3/10"], "0123")),
        ("a weak tag", |_| {
            says(206, &[NEW[0], "etag: W/\"v\"", "content-range: bytes 0-3/10"], "0123")
        }),
        ("another length", |_| {
            says(206, &[NEW[0], "etag: \"v\"", "content-range: bytes 0-3/11"], "0123")
        }),
        ("another part", |_| {
            says(206, &[NEW[0], "etag: \"v\"", "content-range: bytes 0-1/10"], "01")
        }),
    ];
    for (what, answer) in rows {
        let policy = Profile::reverse_proxy();
        let mut stack = Stack::new(policy, move |call, request: &Req| {
            Ok(match request.headers().contains_key("range") {
                _ if call == 0 => {
                    says(206, &[NEW[0], "etag: \"v\"", "content-range: bytes 4-9/10"], "456789")
                }
                true => answer(request.headers()),
                false => says(200, NEW, "abcdefghij"),
            })
        });
        stack.ask(part("bytes=4-9")).await;
        let whole = stack.ask(get("/")).await;
        assert_eq!(of_part(&whole), (200, None, "abcdefghij"), "{what}");
        assert_eq!(stack.calls(), 3, "{what}");
        assert_eq!(stack.ask(get("/")).await.text(), "abcdefghij", "{what}");
        assert_eq!(stack.calls(), 3, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_3_a_part_that_does_not_fit_its_content_range_is_not_stored() {
    for (content_range, text) in [
        ("bytes 4-9/10", "45678"),
        ("bytes 4-9/10", "4567890"),
        ("bytes 4-9/9", "456789"),
        ("bytes 9-4/10", "456789"),
        ("items 4-9/10", "456789"),
        ("bytes */10", "456789"),
        ("4-9/10", "456789"),
    ] {
        for (profile, policy, ()) in in_both([(), ()]) {
            let mut stack = Parts { content_range, part: text, ..FROM_4 }.stored(policy).await;
            stack.ask(part("bytes=5-7")).await;
            assert_eq!(stack.calls(), 2, "{content_range}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_3_several_parts_in_one_answer_are_not_stored() {
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = Stack::new(policy, |_, _| {
            let lines = [
                "cache-control: max-age=600",
                "etag: \"v\"",
                "content-type: multipart/byteranges; boundary=x",
            ];
            Ok(says(206, &lines, "--x\r\ncontent-range: bytes 0-0/10\r\n\r\n0\r\n--x--"))
        });
        stack.ask(part("bytes=0-0,9-9")).await;
        for range in ["bytes=0-0", "bytes=0-0,9-9"] {
            assert_eq!(stack.outcome(part(range)).await, Fetched, "{range}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_3_a_part_takes_no_place_from_the_whole() {
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = Stack::new(policy, |call, request: &Req| {
            let lines = ["cache-control: max-age=600", "etag: \"v\""];
            Ok(match call {
                0 => says(200, &lines, DIGITS),
                // Whatever it was asked for.
                _ => {
                    let mut asked = request.headers().clone();
                    asked.insert("range", "bytes=0-1".parse().unwrap());
                    ranged(&asked, &lines)
                }
            })
        });
        stack.ask(get("/")).await;
        stack.ask(with(part("bytes=0-1"), "cache-control", "no-store")).await;
        stack.ask(with(part("bytes=0-1"), "cookie", "a=b")).await;
        let before = stack.calls();
        let whole = stack.ask(get("/")).await;
        assert_eq!(of_part(&whole), (200, None, DIGITS), "{profile}");
        assert_eq!(stack.calls(), before, "{profile}");
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
