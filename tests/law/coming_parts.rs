//! Parts that are stored, and combined (RFC 9111 §3.3, §3.4; RFC 9110 §15.3.7).

use http::{HeaderMap, header};
use seawall::Profile;
use tokio::time::sleep;

use crate::{
    script::{
        Outcome::{Fetched, Hit},
        SECOND, Stack, in_both, says,
    },
    support::{Read, Req, Res, get, head, with},
};

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

const UP_TO_5: Parts = Parts { content_range: "bytes 0-5/10", part: "012345", ..FROM_4 };

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
    /// Stored, where it is; the origin was asked once.
    async fn stored(self, policy: Profile) -> Stack {
        let mut stack = Stack::new(policy, move |call, request: &Req| {
            if call > 0 {
                return Ok(ranged(request.headers(), self.later));
            }
            let range = format!("content-range: {}", self.content_range);
            let lines: Vec<_> = self.first.iter().chain([&&*range]).copied().collect();
            Ok(says(206, &lines, self.part))
        });
        let asked = self.content_range.replace("bytes ", "bytes=");
        let read = stack.ask(part(asked.split('/').next().unwrap())).await;
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
        let mut stack = UP_TO_5.stored(policy).await;
        let whole = stack.ask(get("/")).await;
        assert_eq!(of_part(&whole), (200, None, DIGITS), "{profile}");
        assert_eq!(whole.field("content-length").unwrap_or("10"), "10", "{profile}");
        let (_, asked) = stack.last();
        let asked = |name| asked.get(name).map_or("", |it| it.to_str().unwrap());
        assert_eq!(asked("range").starts_with("bytes=6-"), completes, "{profile}");
        assert_eq!(asked("if-range"), if completes { "\"v\"" } else { "" }, "{profile}");
        // From now on the whole is stored.
        assert_eq!(stack.outcome(get("/")).await, Hit, "{profile}");
        assert_eq!(stack.ask(part("bytes=4-7")).await.text(), "4567", "{profile}");
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
            let parts = Parts { first: lines, later: lines, ..UP_TO_5 };
            let mut stack = parts.stored(policy).await;
            assert_eq!(of_part(&stack.ask(get("/")).await), (200, None, DIGITS), "{profile}");
            assert!(!stack.last().1.contains_key(header::RANGE), "{lines:?}, {profile}");
        }
    }
}

/// Whoever is asked for the rest of a part has another state of it by now.
#[tokio::test(start_paused = true)]
async fn section_3_4_what_cannot_be_combined_is_fetched_whole() {
    const SAME: &str = "etag: \"v\"";
    let rows: [(&[&str], &str); 6] = [
        (&["etag: \"w\"", "content-range: bytes 6-9/10"], "ghij"),
        (&["content-range: bytes 6-9/10"], "6789"),
        (&["etag: W/\"v\"", "content-range: bytes 6-9/10"], "6789"),
        (&[SAME, "content-range: bytes 6-9/11"], "6789"),
        (&[SAME, "content-range: bytes 7-9/10"], "789"),
        (&[SAME, "content-range: bytes 6-9/10"], "678"),
    ];
    for (lines, tail) in rows {
        let mut stack = Stack::new(Profile::reverse_proxy(), move |call, request: &Req| {
            let fresh = "cache-control: max-age=600";
            Ok(match request.headers().contains_key("range") {
                _ if call == 0 => {
                    says(206, &[fresh, SAME, "content-range: bytes 0-5/10"], "012345")
                }
                true => says(206, &[&[fresh], lines].concat(), tail),
                false => says(200, &[fresh, "etag: \"w\""], "abcdefghij"),
            })
        });
        stack.ask(part("bytes=0-5")).await;
        let whole = stack.ask(get("/")).await;
        assert_eq!(of_part(&whole), (200, None, "abcdefghij"), "{lines:?}");
        assert_eq!(stack.calls(), 3, "{lines:?}");
        assert_eq!(stack.ask(get("/")).await.text(), "abcdefghij", "{lines:?}");
        assert_eq!(stack.calls(), 3, "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_4_whoever_is_asked_for_the_rest_may_answer_with_the_whole() {
    for (profile, policy, ()) in in_both([(), ()]) {
        let later: &[&str] = &["cache-control: max-age=600", "etag: \"w\""];
        let mut stack = Parts { later, ..UP_TO_5 }.stored(policy).await;
        let whole = stack.ask(get("/")).await;
        assert_eq!(of_part(&whole), (200, None, DIGITS), "{profile}");
        assert_eq!((whole.field("etag"), stack.calls()), (Some("\"w\""), 2), "{profile}");
        assert_eq!(stack.outcome(get("/")).await, Hit, "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_4_two_parts_of_one_strong_tag_are_one_and_of_others_are_not() {
    type Lines = &'static [&'static str];
    const OTHER: &[&str] = &["cache-control: max-age=600", "etag: \"w\""];
    const WEAK: &[&str] = &["cache-control: max-age=600", "etag: W/\"v\""];
    // The tags of the first part and of the second; the second part; whether both make the whole.
    let rows: [(Lines, Lines, &str, _); 5] = [
        (FROM_4.first, FROM_4.first, "bytes=0-3", [Fetched, Hit]),
        (FROM_4.first, FROM_4.first, "bytes=0-1", [Fetched, Fetched]),
        (FROM_4.first, OTHER, "bytes=0-3", [Fetched, Fetched]),
        (FROM_4.first, WEAK, "bytes=0-3", [Fetched, Fetched]),
        (WEAK, WEAK, "bytes=0-3", [Fetched, Fetched]),
    ];
    for (first, second, range, outcomes) in rows {
        for (profile, policy, expected) in in_both(outcomes) {
            let mut stack = Stack::new(policy, move |call, request: &Req| {
                let (range, lines) = match call {
                    0 => (Some("bytes=4-9"), first),
                    1 => (Some(range), second),
                    _ => (request.headers().get("range").map(|it| it.to_str().unwrap()), second),
                };
                let mut asked = request.headers().clone();
                if let Some(range) = range {
                    asked.insert("range", range.parse().unwrap());
                }
                Ok(ranged(&asked, lines))
            });
            stack.ask(part("bytes=4-9")).await;
            stack.ask(part(range)).await;
            assert_eq!(stack.calls(), 2, "{range}, {profile}");
            let whole = stack.ask(get("/")).await;
            let row = format!("{first:?}, {second:?} {range}, {profile}");
            assert_eq!(of_part(&whole), (200, None, DIGITS), "{row}");
            let outcome = if stack.calls() == 2 { Hit } else { Fetched };
            assert_eq!(outcome, expected, "{row}");
        }
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
