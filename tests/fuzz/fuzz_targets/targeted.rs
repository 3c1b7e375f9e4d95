//! Targeted fields (RFC 9213), which are structured dictionaries (RFC 9651): lines of one such
//! field, then lines of another, then those of Cache-Control.
#![no_main]

use std::time::Duration;

use http::{HeaderName, HeaderValue, header::CACHE_CONTROL};
use libfuzzer_sys::fuzz_target;
use seawall::rfc9111::{
    Profile, ResponseDirectives,
    targeted::{from_target, governing},
};
use seawall_fuzz::{directives::LONGEST, field, joined, mapped, sections, values};
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

const ONE: HeaderName = HeaderName::from_static("cdn-cache-control");
const OTHER: HeaderName = HeaderName::from_static("seawall-cache-control");

fuzz_target!(|data: &[u8]| {
    let [one, other, plain] = sections(data);
    let (one, other, plain) = (values(one), values(other), values(plain));
    let said = read(&one);
    if let Some(expected) = expected(&one) {
        // FAILS: base64 is not looked at (seed `base64`), and there are no display strings
        // (seed `display`).
        assert_eq!(said, expected);
    }

    // What is said does not depend on how it is cut into lines.
    if !one.is_empty() {
        assert_eq!(read(&[joined(&one)]), said, "joined");
    }
    if let Some(said) = &said {
        // Of several lines the end of one may lie in a string, which knows no tab.
        let with_space = mapped(&[joined(&one)], |line| [b" ", line, b" \t"].concat());
        assert_eq!(read(&with_space).as_ref(), Some(said), "with space");
        appended(&one, said);
    }

    // The first usable field governs, Cache-Control where none is.
    let mut fields = field(&ONE, &one);
    fields.extend(field(&OTHER, &other));
    fields.extend(field(&CACHE_CONTROL, &plain));
    let by_plain = ResponseDirectives::from_fields(&fields);
    assert!(!by_plain.targeted);
    let profile = |targets: &[HeaderName]| Profile::safe().targets(targets.iter().cloned());
    let governs = |targets: &[HeaderName]| sorted(governing(&profile(targets), &fields));
    let [first, second] = [&ONE, &OTHER].map(|name| from_target(&fields, name).map(sorted));
    assert_eq!(governs(&[]), sorted(by_plain.clone()));
    assert_eq!(governs(&[ONE]), first.clone().unwrap_or(sorted(by_plain.clone())));
    assert_eq!(governs(&[ONE, OTHER]), first.or(second).unwrap_or(sorted(by_plain)));
});

fn read(lines: &[HeaderValue]) -> Option<ResponseDirectives> {
    from_target(&field(&ONE, lines), &ONE).map(sorted)
}

fn sorted(mut said: ResponseDirectives) -> ResponseDirectives {
    said.left_out.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    said
}

/// A later member replaces an earlier, so that one which restricts always does.
fn appended(lines: &[HeaderValue], said: &ResponseDirectives) {
    type Restrict = fn(&mut ResponseDirectives);
    let restrictions: [(&'static str, Restrict); 4] = [
        ("no-store", |said| said.no_store = true),
        ("must-revalidate;a", |said| said.must_revalidate = true),
        ("max-age=0", |said| said.max_age = Some(Duration::ZERO)),
        ("s-maxage=-1;b=2", |said| said.s_maxage = Some(Duration::ZERO)),
    ];
    for (member, restrict) in restrictions {
        let mut expected = said.clone();
        restrict(&mut expected);
        let mut more = lines.to_vec();
        more.push(HeaderValue::from_static(member));
        assert_eq!(read(&more), Some(expected), "{member} appended");
    }
    for member in ["private", "no-cache"] {
        let mut more = lines.to_vec();
        more.push(HeaderValue::from_static(member));
        let more = read(&more).expect("a dictionary still");
        assert!(if member == "private" { more.private } else { more.no_cache });
    }
}

/// What another reader of dictionaries makes of the lines; the outer none where it is no judge.
#[expect(clippy::option_option, reason = "whether there is a judgement, and what it is")]
fn expected(lines: &[HeaderValue]) -> Option<Option<ResponseDirectives>> {
    let text = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b","[..]);
    let dictionary: Option<Dictionary> = Parser::new(&text).parse().ok();
    Some(dictionary.filter(|all| !all.is_empty()).as_ref().map(modelled))
}

/// RFC 9213 §2.1: a member of the wrong type is as if absent.
fn modelled(dictionary: &Dictionary) -> ResponseDirectives {
    let item = |name: &str| match dictionary.get(name) {
        Some(ListEntry::Item(Item { bare_item, .. })) => Some(bare_item),
        Some(ListEntry::InnerList(_)) | None => None,
    };
    let flag = |name| matches!(item(name), Some(BareItem::Boolean(true)));
    let time = |name| match item(name) {
        Some(BareItem::Integer(seconds)) => {
            let seconds = u64::try_from(i64::from(*seconds)).unwrap_or(0);
            Some(Duration::from_secs(seconds.min(LONGEST)))
        }
        _ => None,
    };
    let mut left_out = Vec::new();
    let mut unqualified = |name| {
        let text = match item(name) {
            Some(BareItem::String(text)) => text.as_str(),
            Some(BareItem::Token(text)) => text.as_str(),
            _ => return flag(name),
        };
        let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
        match members.map(str::parse).collect::<Result<Vec<HeaderName>, _>>() {
            Ok(names) if !names.is_empty() => {
                left_out.extend(names);
                false
            }
            _ => true,
        }
    };
    let mut said = ResponseDirectives::default();
    said.targeted = true;
    said.max_age = time("max-age");
    said.s_maxage = time("s-maxage");
    said.stale_while_revalidate = time("stale-while-revalidate");
    said.stale_if_error = time("stale-if-error");
    said.no_cache = unqualified("no-cache");
    said.private = unqualified("private");
    said.no_store = flag("no-store");
    said.public = flag("public");
    said.must_revalidate = flag("must-revalidate");
    said.proxy_revalidate = flag("proxy-revalidate");
    said.must_understand = flag("must-understand");
    said.immutable = flag("immutable");
    said.no_transform = flag("no-transform");
    said.left_out = left_out.into();
    sorted(said)
}
