//! Cache groups (RFC 9875): what is invalidated together.

use http::{Method, Request};
use http_body_util::Empty;
use seawall::Profile;

use crate::{
    script::{
        Outcome::{Fetched, Hit},
        Stack, in_both, says,
    },
    support::Req,
};

fn request(method: &str, uri: &str) -> Req {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Request::builder().method(method).uri(uri).body(Empty::new()).unwrap()
}

/// Stores answers in the groups that their query names, `x` for a quote; a change is answered with
/// this status and these lines.
fn grouped(policy: Profile, status: u16, lines: &'static [&'static str]) -> Stack {
    Stack::new(policy, move |call, request: &Req| {
        let marked = request.headers().contains_key("x-marked");
        Ok(if request.method() == Method::GET && !marked {
            let groups = request.uri().query().unwrap_or("").replace('x', "\"").replace('&', ", ");
            let groups = format!("cache-groups: {groups}");
            says(200, &["cache-control: max-age=600", &groups], format!("answer {call}"))
        } else {
            says(status, lines, "")
        })
    })
}

const HERE: &str = "http://example.com/stored";
const ELSEWHERE: &str = "http://other.example/stored";

/// Whether what has these groups is invalidated by a change elsewhere on its origin.
async fn assert_goes(lines: &'static [&'static str], groups: &str, goes: bool) {
    let expected = if goes { Fetched } else { Hit };
    for (profile, policy, expected) in in_both([expected, expected]) {
        let mut stack = grouped(policy, 200, lines);
        let stored = format!("{HERE}?{groups}");
        stack.ask(request("GET", &stored)).await;
        assert_eq!(stack.outcome(request("GET", &stored)).await, Hit);
        stack.ask(request("POST", "http://example.com/change")).await;
        let outcome = stack.outcome(request("GET", &stored)).await;
        assert_eq!(outcome, expected, "{lines:?}: {groups}, {profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9875_section_3_a_change_invalidates_the_groups_that_it_names() {
    for (lines, groups) in [
        (&["cache-group-invalidation: \"a\""][..], "xax"),
        (&["cache-group-invalidation: \"a\""], "xbx&xax"),
        (&["cache-group-invalidation: \"b\", \"a\""], "xax"),
        (&["cache-group-invalidation: \"b\"", "cache-group-invalidation: \"a\""], "xax"),
        (&["cache-group-invalidation: \"a\";p=1"], "xax"),
        (&["cache-group-invalidation: \"a\""], "xax;p=1"),
    ] {
        assert_goes(lines, groups, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9875_section_2_1_a_group_is_a_string_of_one_origin_compared_by_its_letters() {
    for (lines, groups) in [
        (&["cache-group-invalidation: \"b\""][..], "xax"),
        (&["cache-group-invalidation: \"A\""], "xax"),
        (&["cache-group-invalidation: \"a \""], "xax"),
        (&["cache-group-invalidation: \"\""], "xax"),
        // Neither a list of strings nor one that begins like it.
        (&["cache-group-invalidation: a"], "xax"),
        (&["cache-group-invalidation: \"a"], "xax"),
        (&["cache-group-invalidation: \"a\","], "xax"),
        (&["cache-group-invalidation: \"a\" \"b\""], "xax"),
        (&["cache-group-invalidation: \"a\""], "a"),
        (&["cache-group-invalidation: \"a\""], ""),
    ] {
        assert_goes(lines, groups, false).await;
    }
    for (profile, policy, expected) in in_both([Hit, Hit]) {
        let mut stack = grouped(policy, 200, &["cache-group-invalidation: \"a\""]);
        let stored = format!("{ELSEWHERE}?xax");
        stack.ask(request("GET", &stored)).await;
        stack.ask(request("POST", "http://example.com/change")).await;
        assert_eq!(stack.outcome(request("GET", &stored)).await, expected, "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9875_section_3_nothing_safe_and_nothing_that_failed_invalidates_a_group() {
    for (method, status) in [
        ("GET", 200),
        ("HEAD", 200),
        ("OPTIONS", 200),
        ("TRACE", 200),
        ("GET", 404),
        ("POST", 400),
        ("POST", 404),
        ("DELETE", 500),
        ("UNHEARD-OF", 503),
    ] {
        for (profile, policy, expected) in in_both([Hit, Hit]) {
            let mut stack = grouped(policy, status, &["cache-group-invalidation: \"a\""]);
            let stored = format!("{HERE}?xax");
            stack.ask(request("GET", &stored)).await;
            let mut other = request(method, "http://example.com/other");
            other.headers_mut().insert("x-marked", "1".parse().unwrap());
            stack.ask(other).await;
            assert_eq!(stack.calls(), 2);
            let outcome = stack.outcome(request("GET", &stored)).await;
            assert_eq!(outcome, expected, "{method} {status}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9875_section_2_2_1_what_a_change_invalidates_takes_its_group_along_and_no_group_of_that()
 {
    for (profile, policy, ()) in in_both([(), ()]) {
        let mut stack = grouped(policy, 204, &[]);
        let [target, sibling, cousin, stranger] = ["a?xax", "b?xax&xbx", "c?xbx", "d?xdx"]
            .map(|path| format!("http://example.com/{path}"));
        for uri in [&target, &sibling, &cousin, &stranger] {
            stack.ask(request("GET", uri)).await;
        }
        stack.ask(request("PUT", &target)).await;
        for (uri, expected) in
            [(&cousin, Hit), (&stranger, Hit), (&target, Fetched), (&sibling, Fetched)]
        {
            let outcome = stack.outcome(request("GET", uri)).await;
            assert_eq!(outcome, expected, "{uri}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9875_section_2_a_304_puts_what_it_updates_into_its_own_groups() {
    for (change, goes) in [("\"b\"", true), ("\"a\"", false)] {
        let expected = if goes { Fetched } else { Hit };
        for (profile, policy, expected) in in_both([expected, expected]) {
            let mut stack = Stack::new(policy, move |_, request: &Req| {
                let fresh = ["cache-control: max-age=600", "etag: \"1\""];
                let validates = request.headers().contains_key("if-none-match");
                Ok(match *request.method() {
                    Method::GET if validates => {
                        says(304, &[fresh[0], fresh[1], "cache-groups: \"b\""], "")
                    }
                    Method::GET => says(200, &[fresh[0], fresh[1], "cache-groups: \"a\""], "x"),
                    _ => says(204, &[&format!("cache-group-invalidation: {change}")], ""),
                })
            });
            stack.ask(request("GET", HERE)).await;
            let mut reload = request("GET", HERE);
            reload.headers_mut().insert("cache-control", "no-cache".parse().unwrap());
            stack.ask(reload).await;
            stack.ask(request("POST", "http://example.com/change")).await;
            let outcome = stack.outcome(request("GET", HERE)).await;
            assert_eq!(outcome, expected, "{change}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9875_section_2_at_least_32_groups_of_32_letters_are_heeded() {
    let group = |number: usize| format!("{number:a>32}");
    let groups: Vec<_> = (0..32).map(|number| format!("x{}x", group(number))).collect();
    let named: Vec<_> =
        (0..32).rev().map(|number| format!("\"b{}\"", &group(number)[1..])).collect();
    for number in [0, 15, 31] {
        for (profile, policy, expected) in in_both([Fetched, Fetched]) {
            let last = format!("\"{}\"", group(number));
            let all: Vec<_> = named[..31].iter().chain([&last]).cloned().collect();
            let line = format!("cache-group-invalidation: {}", all.join(", "));
            let stored = format!("{HERE}?{}", groups.join("&"));
            let mut stack = Stack::new(policy, move |_, request: &Req| {
                let groups = request.uri().query().unwrap_or("").replace('x', "\"");
                let groups = format!("cache-groups: {}", groups.replace('&', ", "));
                Ok(match *request.method() {
                    Method::GET => says(200, &["cache-control: max-age=600", &groups], "stored"),
                    _ => says(200, &[&line], ""),
                })
            });
            stack.ask(request("GET", &stored)).await;
            stack.ask(request("POST", "http://example.com/change")).await;
            let outcome = stack.outcome(request("GET", &stored)).await;
            assert_eq!(outcome, expected, "{number}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9875_section_2_2_1_what_is_gone_takes_nothing_along() {
    for (profile, policy, expected) in in_both([Hit, Hit]) {
        let mut stack = grouped(policy, 204, &[]);
        let [target, sibling] = ["a?xax", "b?xax"].map(|path| format!("http://example.com/{path}"));
        stack.ask(request("GET", &target)).await;
        stack.ask(request("POST", &target)).await;
        stack.ask(request("GET", &sibling)).await;
        // It is invalidated by now, and not stored any more.
        stack.ask(request("POST", &target)).await;
        assert_eq!(stack.outcome(request("GET", &sibling)).await, expected, "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9875_section_2_a_304_that_says_nothing_of_groups_leaves_them() {
    for (profile, policy, expected) in in_both([Fetched, Fetched]) {
        let mut stack = Stack::new(policy, |_, request: &Req| {
            // The field is not stored, and its groups are known all the same.
            let control = "cache-control: max-age=600, private=\"cache-groups\"";
            let validates = request.headers().contains_key("if-none-match");
            Ok(match *request.method() {
                Method::GET if validates => says(304, &[control, "etag: \"1\""], ""),
                Method::GET => says(200, &[control, "etag: \"1\"", "cache-groups: \"a\""], "x"),
                _ => says(204, &["cache-group-invalidation: \"a\""], ""),
            })
        });
        stack.ask(request("GET", HERE)).await;
        let mut reload = request("GET", HERE);
        reload.headers_mut().insert("cache-control", "no-cache".parse().unwrap());
        stack.ask(reload).await;
        assert_eq!(stack.outcome(request("GET", HERE)).await, Hit, "{profile}");
        stack.ask(request("POST", "http://example.com/change")).await;
        assert_eq!(stack.outcome(request("GET", HERE)).await, expected, "{profile}");
    }
}
