//! Targeted fields (RFC 9213): which one counts, and what of it.

use http::HeaderName;
use seawall::Profile;

use crate::{
    script::{
        Outcome::{self, Fetched, Hit, Validated},
        Stack, asking, in_both,
    },
    support::get,
};

/// Lines, and what becomes of a GET 30 s after them: `CDN-Cache-Control` addresses the reverse
/// proxy alone.
type Row<'a> = (&'a [&'a str], [Outcome; 2]);

async fn check(rows: &[Row<'_>]) {
    for (lines, outcomes) in rows {
        for (profile, policy, expected) in in_both(*outcomes) {
            let outcome = Stack::says(policy, 200, lines).after(30).await;
            assert_eq!(outcome, expected, "{lines:?}, {profile}");
        }
    }
}

const KEPT: &str = "cache-control: max-age=60";
const UNKEPT: &str = "cache-control: no-store";

#[tokio::test(start_paused = true)]
async fn rfc_9213_section_2_1_it_counts_in_place_of_cache_control_expires_and_pragma() {
    check(&[
        (&["cdn-cache-control: max-age=60"], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60", UNKEPT], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60", "cache-control: private"], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60", "cache-control: max-age=0"], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60", "expires: 0"], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60", "pragma: no-cache"], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=10", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age=10", "expires: {60}"], [Hit, Fetched]),
        (&["cdn-cache-control: no-store", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: private", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: no-cache", "etag: \"a\"", KEPT], [Hit, Validated]),
        (&["cdn-cache-control: s-maxage=60, max-age=0", UNKEPT], [Fetched, Hit]),
        // It says nothing of freshness, and nothing else is asked.
        (&["cdn-cache-control: must-revalidate", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: public", "expires: {60}"], [Hit, Fetched]),
        (&["cdn-cache-control: unheard-of", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: unheard-of=\"x, y\";z, max-age=60", UNKEPT], [Fetched, Hit]),
        // A guess is no word of Cache-Control's.
        (&["cdn-cache-control: public", "date: {0}", "last-modified: {-1000}"], [Validated, Hit]),
        // Other dictionaries address other caches.
        (&["surrogate-control: max-age=60", UNKEPT], [Fetched, Fetched]),
        (&["acme-cache-control: no-store", KEPT], [Hit, Hit]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn rfc_9213_section_2_2_what_is_empty_or_no_dictionary_is_as_if_absent() {
    for value in [
        "",
        " ",
        "max-age=60,",
        ",max-age=60",
        "max-age=60,, public",
        "max-age=60;;",
        "max-age=60; ",
        "max-age= 60",
        "max-age =60",
        "max-age=",
        "max-age=60 public",
        "Max-Age=60",
        "max-age='60'",
        "max-age=\"60",
        "max-age=60.",
        "max-age=1234567890123456",
        "max-age=?2",
        "max-age=(1 2",
        "max-age=60, no-store=:x",
        "max-age=60, no-store=@x",
        "=60",
    ] {
        let line = format!("cdn-cache-control: {value}");
        check(&[(&[&line, KEPT], [Hit, Hit]), (&[&line, UNKEPT], [Fetched, Fetched])]).await;
        check(&[(&[&line, "expires: {60}"], [Hit, Hit])]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9213_section_2_1_a_member_of_the_wrong_type_is_ignored_and_the_field_still_counts() {
    check(&[
        (&["cdn-cache-control: max-age=\"60\"", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age=sixty", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age=60.0", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age=?1", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age=(60)", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age=:NjA=:", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age=-1", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: s-maxage=\"0\", max-age=60", UNKEPT], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60, no-store=1", UNKEPT], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60, no-store=?0", UNKEPT], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60, no-store=?1", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age=60, private=1", UNKEPT], [Fetched, Hit]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn rfc_9213_section_2_1_lines_are_one_dictionary_in_which_the_last_of_a_name_counts() {
    check(&[
        (&["cdn-cache-control: max-age=60", "cdn-cache-control: public", UNKEPT], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60", "cdn-cache-control: no-store", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age=0, max-age=60", UNKEPT], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60, max-age=0", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: max-age=60, max-age=x", KEPT], [Hit, Fetched]),
        (&["cdn-cache-control: no-store, no-store=?0, max-age=60", UNKEPT], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60;x=1;y=\"z\"", UNKEPT], [Fetched, Hit]),
        (&["cdn-cache-control: max-age=60\t,  public", UNKEPT], [Fetched, Hit]),
        // One line that is none spoils the dictionary.
        (&["cdn-cache-control: max-age=60", "cdn-cache-control: !", UNKEPT], [Fetched, Fetched]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn rfc_9213_section_2_2_the_first_usable_field_of_the_list_counts() {
    const ACME: HeaderName = HeaderName::from_static("acme-cache-control");
    const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
    const ACME_KEPT: &str = "acme-cache-control: max-age=60";
    let rows: [(&[&str], Outcome); 6] = [
        (&[ACME_KEPT, "cdn-cache-control: no-store", UNKEPT], Hit),
        (&["cdn-cache-control: no-store", ACME_KEPT, UNKEPT], Hit),
        (&["acme-cache-control: no-store", "cdn-cache-control: max-age=60", KEPT], Fetched),
        (&["acme-cache-control: ", "cdn-cache-control: max-age=60", UNKEPT], Hit),
        (&["acme-cache-control: !", "cdn-cache-control: !", KEPT], Hit),
        (&[KEPT], Hit),
    ];
    for (lines, expected) in rows {
        for (profile, policy, ()) in in_both([(), ()]) {
            let policy: Profile = policy.targets([ACME, CDN]);
            let outcome = Stack::says(policy, 200, lines).after(30).await;
            assert_eq!(outcome, expected, "{lines:?}, {profile}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9213_section_2_1_it_governs_staleness_too() {
    let lines = ["cdn-cache-control: max-age=10, must-revalidate", "cache-control: max-age=10"];
    for (profile, policy, expected) in in_both([Hit, Fetched]) {
        let mut stack = Stack::says(policy, 200, &lines);
        stack.ask(get("/")).await;
        tokio::time::sleep(20 * crate::script::SECOND).await;
        assert_eq!(stack.outcome(asking("max-stale")).await, expected, "{profile}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_9213_section_2_it_is_handed_on_to_the_next_cache() {
    const SAYS: &str = "max-age=60, stale-if-error=5";
    for (profile, policy, ()) in in_both([(), ()]) {
        let line = format!("cdn-cache-control: {SAYS}");
        let mut stack = Stack::says(policy, 200, &[&line, KEPT]);
        for _ in 0..2 {
            let read = stack.ask(get("/")).await;
            assert_eq!(read.field("cdn-cache-control"), Some(SAYS), "{profile}");
            assert_eq!(read.field("cache-control"), Some("max-age=60"), "{profile}");
        }
        assert_eq!(stack.calls(), 1);
    }
}
