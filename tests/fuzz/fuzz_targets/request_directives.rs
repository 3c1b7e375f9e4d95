//! Cache-Control and Pragma of requests (RFC 9111 §5.2.1, §5.4): each line of the input is one of
//! the field.
#![no_main]

use std::time::Duration;

use http::{
    HeaderValue,
    header::{CACHE_CONTROL, PRAGMA},
};
use libfuzzer_sys::fuzz_target;
use seawall::rfc9111::{Ask, MaxStale, RequestDirectives};
use seawall_fuzz::{
    directives::{self, Directive, LONGEST, least, seconds},
    field, joined, mapped, spaced, values,
};

fuzz_target!(|data: &[u8]| {
    let lines = values(data);
    let asked = read(&lines);
    assert_eq!(Ask::from_fields(&field(&CACHE_CONTROL, &lines)).directives, asked);

    // What is asked does not depend on how it is written.
    assert_eq!(read(&[joined(&lines)]), asked, "joined");
    assert_eq!(read(&mapped(&lines, <[u8]>::to_ascii_uppercase)), asked, "upper case");
    assert_eq!(read(&mapped(&lines, <[u8]>::to_ascii_lowercase)), asked, "lower case");
    assert_eq!(read(&mapped(&lines, spaced)), asked, "spaces about commas");

    // A directive that restricts does, whatever stands before it, and changes nothing else.
    type Restrict = fn(&mut RequestDirectives);
    let restrictions: [(&'static str, Restrict); 7] = [
        ("no-store", |asked| asked.no_store = true),
        ("no-cache", |asked| asked.no_cache = true),
        ("only-if-cached", |asked| asked.only_if_cached = true),
        ("max-age=0", |asked| asked.max_age = Some(Duration::ZERO)),
        ("max-stale=0", |asked| asked.max_stale = MaxStale::UpTo(Duration::ZERO)),
        ("min-fresh", |asked| asked.min_fresh = Some(Duration::from_secs(LONGEST))),
        ("stale-if-error=x", |asked| asked.stale_if_error = Some(Duration::ZERO)),
    ];
    for (directive, restrict) in restrictions {
        let mut expected = asked;
        restrict(&mut expected);
        let mut more = lines.clone();
        more.push(HeaderValue::from_static(directive));
        assert_eq!(read(&more), expected, "{directive} appended");
    }

    // Where the grammar holds, the field asks what the grammar does.
    let all: Option<Vec<_>> = lines.iter().map(|line| directives::read(line.as_bytes())).collect();
    if let Some(all) = all {
        assert_eq!(asked, modelled(&all.concat()), "by the grammar");
        let reversed: Vec<_> = lines.iter().rev().cloned().collect();
        assert_eq!(read(&reversed), asked, "lines reversed");
    }

    // Pragma asks one thing, and only where there is no Cache-Control.
    let mut fields = field(&PRAGMA, &lines);
    let by_pragma = RequestDirectives::from_fields(&fields);
    let mut expected = RequestDirectives::default();
    expected.no_cache = asked.no_cache;
    assert_eq!(by_pragma, expected, "Pragma");
    fields.insert(CACHE_CONTROL, HeaderValue::from_static(""));
    assert_eq!(RequestDirectives::from_fields(&fields), RequestDirectives::default());
});

fn read(lines: &[HeaderValue]) -> RequestDirectives {
    RequestDirectives::from_fields(&field(&CACHE_CONTROL, lines))
}

fn modelled(all: &[Directive]) -> RequestDirectives {
    let mut asked = RequestDirectives::default();
    for (name, argument) in all {
        let time = seconds(argument.as_deref());
        match name.as_str() {
            "no-store" => asked.no_store = true,
            "no-cache" => asked.no_cache = true,
            "only-if-cached" => asked.only_if_cached |= argument.is_none(),
            "max-age" => asked.max_age = least(asked.max_age, time.unwrap_or_default()),
            "stale-if-error" => {
                asked.stale_if_error = least(asked.stale_if_error, time.unwrap_or_default());
            }
            "min-fresh" => {
                let time = time.unwrap_or(Duration::from_secs(LONGEST));
                asked.min_fresh = Some(asked.min_fresh.map_or(time, |known| known.max(time)));
            }
            "max-stale" => {
                let bound = argument.is_some().then(|| time.unwrap_or_default());
                asked.max_stale = match (asked.max_stale, bound) {
                    (MaxStale::UpTo(known), Some(bound)) => MaxStale::UpTo(known.min(bound)),
                    (known @ MaxStale::UpTo(_), None) => known,
                    (_, Some(bound)) => MaxStale::UpTo(bound),
                    (_, None) => MaxStale::Any,
                };
            }
            _ => {}
        }
    }
    asked
}
