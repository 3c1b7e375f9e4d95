//! Cache groups (RFC 9875), which are structured lists of strings (RFC 9651).
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use seawall::rfc9111::groups::{CACHE_GROUP_INVALIDATION, CACHE_GROUPS, invalidated, of};
use seawall_fuzz::{field, sections, value, values};
use sfv::{BareItem, List, ListEntry, Parser};

fuzz_target!(|data: &[u8]| {
    let [lines] = sections(data);
    let lines = values(lines);
    let groups = of(&field(&CACHE_GROUPS, &lines));
    assert_eq!(invalidated(&field(&CACHE_GROUP_INVALIDATION, &lines)), groups);
    if lines.is_empty() {
        return assert!(groups.is_empty());
    }
    // Where a string is cut in two, what stands between lines is in it: a comma, and nothing else.
    let whole = value(lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b','));
    assert_eq!(of(&field(&CACHE_GROUPS, &[whole.clone()])), groups, "joined");

    let list: Result<List, _> = Parser::new(whole.as_bytes()).parse();
    let strings = list.ok().and_then(|list| {
        let strings = list.iter().map(|member| match member {
            ListEntry::Item(item) => match &item.bare_item {
                BareItem::String(text) => Some(text.as_str().as_bytes().to_vec()),
                _ => None,
            },
            ListEntry::InnerList(_) => None,
        });
        strings.collect::<Option<Vec<_>>>()
    });
    assert_eq!(groups, strings.unwrap_or_default());
});
