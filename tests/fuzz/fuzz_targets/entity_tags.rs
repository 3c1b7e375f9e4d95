//! Entity tags and what is asked with them (RFC 9110 §8.8.3, §13; RFC 9111 §4.3): two tags on a
//! line each, then the fields of a request, those that are stored, and those of a 304.
#![no_main]

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AGE, CONTENT_LENGTH, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
        IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
    },
};
use libfuzzer_sys::fuzz_target;
use seawall::rfc9111::{
    Validators, date,
    range::{Selected, select},
    updating::freshen,
    validation::{not_modified, not_modified_fields, strip},
};
use seawall_fuzz::{field, fields, sections, value, values};

fuzz_target!(|data: &[u8]| {
    let [tags, request, stored, update] = sections(data);
    let tags: Vec<_> = values(tags).into_iter().take(3).collect();
    for one in &tags {
        for other in &tags {
            compare(one, other);
        }
    }
    let (request, stored, update) = (fields(request), fields(stored), fields(update));
    ask(&request, &stored);
    answer(&request, &stored);
    for (stored, update) in [(&stored, &update), (&update, &stored), (&stored, &stored)] {
        freshened(stored, update, |_| true);
        freshened(stored, update, |name| name != LAST_MODIFIED && name != "x");
    }
});

fn is_tag(tag: &HeaderValue) -> bool {
    Validators::of(&field(&ETAG, [tag])).etag.is_some()
}

/// Whether `asked` matches the `stored` tag by the weak comparison.
fn weakly(asked: &HeaderValue, stored: &HeaderValue) -> bool {
    not_modified(&field(&IF_NONE_MATCH, [asked]), &field(&ETAG, [stored]))
}

/// The same by the strong one.
fn strongly(asked: &HeaderValue, stored: &HeaderValue) -> bool {
    let mut request = field(&IF_RANGE, [asked]);
    request.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
    select(&request, &field(&ETAG, [stored]), 2) != Selected::Whole
}

/// RFC 9110 §8.8.3.2.
fn compare(one: &HeaderValue, other: &HeaderValue) {
    assert!(!strongly(one, other) || weakly(one, other), "strong implies weak");
    assert!(!is_tag(one) || weakly(one, one), "a tag is itself");
    assert!(!weakly(one, one) || is_tag(one) || one.as_bytes().trim_ascii() == b"*");
    if !is_tag(one) || !is_tag(other) {
        assert!(!strongly(one, other));
        return;
    }
    assert_eq!(weakly(one, other), weakly(other, one), "weak comparison is symmetric");
    assert_eq!(strongly(one, other), strongly(other, one), "strong comparison is symmetric");
    let opaque = |tag: &HeaderValue| {
        let tag = tag.as_bytes().trim_ascii();
        tag.strip_prefix(b"W/").filter(|rest| rest.starts_with(b"\"")).unwrap_or(tag).to_vec()
    };
    assert_eq!(weakly(one, other), opaque(one) == opaque(other));
    let [first, second] = [one, other].map(opaque);
    if first.starts_with(b"\"") {
        let weak = value([b"W/", &first[..]].concat());
        assert!(is_tag(&weak) && !strongly(&weak, &weak) && weakly(&weak, &value(&first)));
        assert!(!strongly(&weak, other) && !strongly(other, &weak));
        assert_eq!(weakly(&weak, other), first == second);
        assert_eq!(strongly(&value(&first), &value(&second)), first == second);
    }
}

/// A cache asks with what it has, and with nothing of its client's.
fn ask(request: &HeaderMap, stored: &HeaderMap) {
    let validators = Validators::of(stored);
    assert_eq!(validators.is_empty(), validators == Validators::default());
    let mut asks = request.clone();
    validators.apply(&mut asks);
    assert_eq!(asks.get(IF_NONE_MATCH), validators.etag.as_ref());
    assert_eq!(asks.get(IF_MODIFIED_SINCE), validators.last_modified.as_ref());
    assert!(
        [IF_NONE_MATCH, IF_MODIFIED_SINCE]
            .iter()
            .all(|name| asks.get_all(name).iter().count() <= 1)
    );
    let gone = [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE];
    assert!(!gone.iter().any(|name| asks.contains_key(name)));
    if validators.etag.is_some() {
        assert!(not_modified(&asks, stored), "what is stored is what is asked about");
    }
    // What is not a condition goes to the origin as it came.
    let conditions = [IF_NONE_MATCH, IF_MODIFIED_SINCE].into_iter().chain(gone);
    let mut rest = request.clone();
    for name in conditions {
        asks.remove(&name);
        rest.remove(&name);
    }
    assert_eq!(asks, rest);

    let mut stripped = request.clone();
    strip(&mut stripped);
    assert!(!not_modified(&stripped, stored));
    assert_eq!(stripped.get(IF_MATCH), request.get(IF_MATCH));
}

/// Who is told that nothing changed.
fn answer(request: &HeaderMap, stored: &HeaderMap) {
    let is_304 = not_modified(request, stored);
    let mut request = request.clone();
    if request.contains_key(IF_NONE_MATCH) {
        request.remove(IF_MODIFIED_SINCE);
        assert_eq!(not_modified(&request, stored), is_304, "a date counts only without tags");
        request.append(IF_NONE_MATCH, HeaderValue::from_static(r#""another""#));
        assert!(!is_304 || not_modified(&request, stored), "a tag more takes nothing back");
        request.append(IF_NONE_MATCH, HeaderValue::from_static("*"));
        assert!(not_modified(&request, stored));
    } else if let Some(since) = request.get(IF_MODIFIED_SINCE).filter(|_| is_304) {
        let since = date::parse(since.as_bytes()).expect("it counted");
        let later = since + std::time::Duration::from_secs(1);
        request.insert(IF_MODIFIED_SINCE, value(date::format(later)));
        assert!(
            not_modified(&request, stored)
                || later > date::parse(b"Fri, 31 Dec 9999 23:59:59 GMT").unwrap()
        );
    }
    let told = not_modified_fields(stored);
    assert!(told.iter().all(|(name, line)| stored.get_all(name).iter().any(|one| one == line)));
    assert!(!told.contains_key(CONTENT_LENGTH) && told.get(ETAG) == stored.get(ETAG));
}

/// RFC 9111 §3.2 and §4.3.4.
fn freshened(stored: &HeaderMap, update: &HeaderMap, kept: fn(&HeaderName) -> bool) {
    let tags = (stored.get(ETAG), update.get(ETAG));
    let Ok(fresh) = freshen(stored, update, kept) else {
        let Some(after) = tags.1 else {
            let date = |fields: &HeaderMap| date::parse(fields.get(LAST_MODIFIED)?.as_bytes());
            let dates = (date(stored), date(update));
            assert!(dates.0.is_some() && dates.1.is_some() && dates.0 != dates.1, "another date");
            return;
        };
        let before = tags.0;
        assert_ne!(before, Some(after), "the same tag is no other");
        let names_it = before.is_some_and(|before| is_tag(after) && weakly(after, before));
        assert!(!names_it, "a tag that matches is no other");
        return;
    };
    let all = |fields: &HeaderMap, name: &HeaderName| -> Vec<HeaderValue> {
        fields.get_all(name).iter().cloned().collect()
    };
    assert_eq!(all(&fresh, &CONTENT_LENGTH), all(stored, &CONTENT_LENGTH));
    for name in stored.keys().chain(update.keys()).chain(fresh.keys()) {
        if *name == CONTENT_LENGTH || *name == ETAG {
            continue;
        }
        let from = if update.contains_key(name) && kept(name) { update } else { stored };
        let expected =
            if *name == AGE && !update.contains_key(AGE) { vec![] } else { all(from, name) };
        assert_eq!(all(&fresh, name), expected, "{name}");
    }
    match tags {
        // The stored bytes are those of the stored tag, or of one that promises less.
        (Some(before), Some(after)) if before != after => {
            assert!(weakly(after, before));
            assert!(!strongly(&fresh[ETAG], &fresh[ETAG]) || strongly(before, before));
        }
        (None, Some(after)) => assert!(!strongly(after, after), "a strong tag is of other bytes"),
        _ => assert_eq!(all(&fresh, &ETAG), all(stored, &ETAG)),
    }
    // A second time, the same 304 says nothing new.
    assert_eq!(freshen(&fresh, update, kept).as_ref(), Ok(&fresh));
}
