//! Cache-Control of responses (RFC 9111 §5.2.2): each line of the input is one of the field.
#![no_main]

use http::{HeaderName, HeaderValue, header::CACHE_CONTROL};
use libfuzzer_sys::fuzz_target;
use seawall::rfc9111::ResponseDirectives;
use seawall_fuzz::{
    directives::{self, Directive, least, seconds},
    field, joined, mapped, spaced, value, values,
};

fuzz_target!(|data: &[u8]| {
    let lines = values(data);
    let said = read(&lines);

    // What is said does not depend on how it is written.
    assert_eq!(read(&[joined(&lines)]), said, "joined");
    assert_eq!(read(&mapped(&lines, <[u8]>::to_ascii_uppercase)), said, "upper case");
    assert_eq!(read(&mapped(&lines, <[u8]>::to_ascii_lowercase)), said, "lower case");
    assert_eq!(read(&mapped(&lines, spaced)), said, "spaces about commas");
    assert_eq!(read(&[value(written(&said))]), said, "written and read again");

    // A directive that restricts does, whatever stands before it, and changes nothing else.
    type Restrict = fn(&mut ResponseDirectives);
    let restrictions: [(&'static str, Restrict); 6] = [
        ("no-store", |said| said.no_store = true),
        ("private", |said| said.private = true),
        ("no-cache", |said| said.no_cache = true),
        ("must-revalidate", |said| said.must_revalidate = true),
        ("max-age=0", |said| said.max_age = Some(Default::default())),
        ("s-maxage=x", |said| said.s_maxage = Some(Default::default())),
    ];
    for (directive, restrict) in restrictions {
        let mut expected = said.clone();
        restrict(&mut expected);
        let mut more = lines.clone();
        more.push(HeaderValue::from_static(directive));
        assert_eq!(read(&more), expected, "{directive} appended");
    }

    // Where the grammar holds, the field says what the grammar does.
    let all: Option<Vec<_>> = lines.iter().map(|line| directives::read(line.as_bytes())).collect();
    if let Some(all) = all {
        assert_eq!(said, modelled(&all.concat()), "by the grammar");
        let reversed: Vec<_> = lines.iter().rev().cloned().collect();
        assert_eq!(read(&reversed), said, "lines reversed");
    }
});

/// What the lines say; the order of field names means nothing.
fn read(lines: &[HeaderValue]) -> ResponseDirectives {
    sorted(ResponseDirectives::from_fields(&field(&CACHE_CONTROL, lines)))
}

fn sorted(mut said: ResponseDirectives) -> ResponseDirectives {
    assert!(!said.targeted);
    said.left_out.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    said
}

fn modelled(all: &[Directive]) -> ResponseDirectives {
    let mut said = ResponseDirectives::default();
    let mut left_out = Vec::new();
    for (name, argument) in all {
        let argument = argument.as_deref();
        let time = || seconds(argument).unwrap_or_default();
        let mut unqualified = || match names(argument) {
            Some(names) => {
                left_out.extend(names);
                false
            }
            None => true,
        };
        match name.as_str() {
            "max-age" => said.max_age = least(said.max_age, time()),
            "s-maxage" => said.s_maxage = least(said.s_maxage, time()),
            "stale-while-revalidate" => {
                said.stale_while_revalidate = least(said.stale_while_revalidate, time());
            }
            "stale-if-error" => said.stale_if_error = least(said.stale_if_error, time()),
            "no-store" => said.no_store = true,
            "must-revalidate" => said.must_revalidate = true,
            "proxy-revalidate" => said.proxy_revalidate = true,
            "no-transform" => said.no_transform = true,
            "no-cache" => said.no_cache |= unqualified(),
            "private" => said.private |= unqualified(),
            "public" => said.public |= argument.is_none(),
            "must-understand" => said.must_understand |= argument.is_none(),
            "immutable" => said.immutable |= argument.is_none(),
            _ => {}
        }
    }
    said.left_out = left_out.into();
    sorted(said)
}

/// The field names of an argument that is a list of them.
fn names(argument: Option<&[u8]>) -> Option<Vec<HeaderName>> {
    let members = argument?.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let names: Option<Vec<_>> = members
        .filter(|member| !member.is_empty())
        .map(|member| HeaderName::from_bytes(member).ok())
        .collect();
    names.filter(|names| !names.is_empty())
}

/// The plainest line that says the same.
fn written(said: &ResponseDirectives) -> String {
    let mut all = Vec::new();
    for (name, time) in [
        ("max-age", said.max_age),
        ("s-maxage", said.s_maxage),
        ("stale-while-revalidate", said.stale_while_revalidate),
        ("stale-if-error", said.stale_if_error),
    ] {
        all.extend(time.map(|time| format!("{name}={}", time.as_secs())));
    }
    for (name, is_said) in [
        ("no-store", said.no_store),
        ("no-cache", said.no_cache),
        ("private", said.private),
        ("public", said.public),
        ("must-revalidate", said.must_revalidate),
        ("proxy-revalidate", said.proxy_revalidate),
        ("must-understand", said.must_understand),
        ("immutable", said.immutable),
        ("no-transform", said.no_transform),
    ] {
        all.extend(is_said.then(|| name.to_owned()));
    }
    if !said.left_out.is_empty() {
        let names: Vec<_> = said.left_out.iter().map(HeaderName::as_str).collect();
        all.push(format!("private=\"{}\"", names.join(", ")));
    }
    all.join(", ")
}
