//! `Cache-Status` (RFC 9211), a structured list: numbers that choose a member, the word it is given
//! as its detail, and the lines of the caches below.
#![no_main]

use std::{cell::RefCell, collections::HashSet};

use http::{HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use seawall::rfc9111::cache_status::{CACHE_STATUS, Fwd, Member, joined};
use seawall_fuzz::{field, numbers, sections, values};
use sfv::{BareItem, Item, List, ListEntry, Parser};

const FWD: [(Fwd, &str); 8] = [
    (Fwd::Bypass, "bypass"),
    (Fwd::Method, "method"),
    (Fwd::UriMiss, "uri-miss"),
    (Fwd::VaryMiss, "vary-miss"),
    (Fwd::Miss, "miss"),
    (Fwd::Stale, "stale"),
    (Fwd::Request, "request"),
    (Fwd::Partial, "partial"),
];

fuzz_target!(|data: &[u8]| {
    let [choice, detail, below] = sections(data);
    let [fwd, status, marks] = numbers(choice).map(i64::unsigned_abs);
    let fwd = FWD.get(usize::try_from(fwd % 9).expect("below nine"));
    let status = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let mut member = fwd.map_or(Member::hit(), |(fwd, _)| Member::forwarded(*fwd));
    if let Some(status) = status {
        member = member.fwd_status(status);
    }
    if marks & 1 != 0 {
        member = member.stored();
    }
    if marks & 2 != 0 {
        member = member.collapsed();
    }
    let detail = std::str::from_utf8(detail).ok().filter(|_| marks & 4 != 0).and_then(interned);
    if let Some(detail) = detail {
        member = member.detail(detail);
    }

    // What we write is one member, and says what it was told to.
    let own = list(&member.value()).expect("a list");
    let [ListEntry::Item(item)] = &own[..] else { panic!("one item: {own:?}") };
    says(item, fwd.map(|(_, name)| *name), status, marks, detail);

    // It comes after what the caches below say, which stays as it is.
    let lines = values(below);
    let all = joined(&field(&CACHE_STATUS, &lines));
    let after = member.after(all.as_ref());
    assert_eq!(all.is_none(), lines.iter().all(|line| line.as_bytes().trim_ascii().is_empty()));
    match &all {
        None => assert_eq!(after, member.value()),
        Some(all) => {
            assert!(after.as_bytes().starts_with(all.as_bytes()));
            assert!(after.as_bytes().ends_with(member.value().as_bytes()));
        }
    }
    let said: Option<Vec<List>> = lines.iter().map(list).collect();
    if let Some(said) = said {
        let mut said = said.concat();
        assert_eq!(all.as_ref().map_or(Some(vec![]), list), Some(said.clone()), "lines joined");
        said.extend(own);
        assert_eq!(list(&after), Some(said), "and our member");
    }
});

fn list(line: &HeaderValue) -> Option<List> {
    Parser::new(line.as_bytes()).parse().ok()
}

fn says(
    item: &Item,
    fwd: Option<&str>,
    status: Option<StatusCode>,
    marks: u64,
    detail: Option<&str>,
) {
    let token = |item: &BareItem| item.as_token().map(|token| token.as_str().to_owned());
    let parameter = |name: &str| item.params.get(name);
    let is_set = |name| parameter(name) == Some(&BareItem::Boolean(true));
    assert_eq!(token(&item.bare_item).as_deref(), Some("seawall"));
    assert_eq!(is_set("hit"), fwd.is_none());
    assert_eq!(parameter("fwd").and_then(token).as_deref(), fwd);
    assert_eq!(is_set("stored"), fwd.is_some() && marks & 1 != 0);
    assert_eq!(is_set("collapsed"), fwd.is_some() && marks & 2 != 0);
    let told = parameter("fwd-status").map(|code| i64::from(code.as_integer().expect("a number")));
    assert_eq!(told, status.filter(|_| fwd.is_some()).map(|status| status.as_u16().into()));
    let told = parameter("detail").map(|item| match item {
        BareItem::Token(token) => token.as_str().to_owned(),
        BareItem::String(text) => text.as_str().to_owned(),
        other => panic!("neither token nor string: {other:?}"),
    });
    let printable =
        |text: &str| text.chars().filter(|letter| (' '..='~').contains(letter)).collect();
    assert_eq!(told, detail.map(printable));
}

/// A detail is a constant: so many different ones are tried, and no more.
fn interned(text: &str) -> Option<&'static str> {
    const MOST: usize = 300_000;
    thread_local!(static KNOWN: RefCell<HashSet<&'static str>> = RefCell::default());
    KNOWN.with_borrow_mut(|known| match known.get(text) {
        Some(same) => Some(*same),
        None if known.len() < MOST && text.len() <= 64 => {
            let kept: &'static str = Box::leak(text.into());
            known.insert(kept);
            Some(kept)
        }
        None => None,
    })
}
