//! Ranges of a stored whole (RFC 9110 §14): its length, then the request's fields (a line without
//! a name is a `Range`), then those that are stored.
#![no_main]

use std::ops::RangeInclusive;

use http::{
    HeaderMap, HeaderValue,
    header::{ETAG, IF_NONE_MATCH, IF_RANGE, RANGE},
};
use libfuzzer_sys::fuzz_target;
use seawall::rfc9111::{
    range::{Selected, content_range, select, unsatisfied_range},
    validation::not_modified,
};
use seawall_fuzz::{field, fields, numbers, sections, value};

fuzz_target!(|data: &[u8]| {
    let [total, asked, stored] = sections(data);
    let total = numbers::<1>(total)[0].cast_unsigned();
    let stored = fields(stored);
    let mut request = fields(asked);
    for line in asked.split(|&byte| byte == b'\n') {
        if let Ok(line) = HeaderValue::from_bytes(line)
            && line.as_bytes().get(..5).is_some_and(|unit| unit.eq_ignore_ascii_case(b"bytes"))
        {
            request.append(RANGE, line);
        }
    }
    assert_eq!(unsatisfied_range(total), format!("bytes */{total}"));

    let selected = select(&request, &stored, total);
    if let Selected::Part(part) = &selected {
        is_within(part, &request, &stored, total);
    }

    // Without a condition, a request gets what its one range says.
    let mut without = request.clone();
    without.remove(IF_RANGE);
    let unconditional = select(&without, &stored, total);
    assert_eq!(unconditional, select(&without, &HeaderMap::new(), total));
    let lines: Vec<_> = request.get_all(RANGE).iter().collect();
    match lines[..] {
        [line] => assert_eq!(unconditional, modelled(line.as_bytes(), total)),
        _ => assert_eq!(unconditional, Selected::Whole),
    }
    for line in lines {
        let mut shouted =
            HeaderMap::from_iter([(RANGE, value(line.as_bytes().to_ascii_uppercase()))]);
        let mut plain = field(&RANGE, [line]);
        assert_eq!(select(&shouted, &stored, total), select(&plain, &stored, total));
        plain.insert(IF_RANGE, HeaderValue::from_static(r#"W/"a""#));
        shouted.insert(IF_RANGE, HeaderValue::from_static("*"));
        assert_eq!(select(&plain, &stored, total), Selected::Whole, "a weak tag");
        assert_eq!(select(&shouted, &stored, total), Selected::Whole, "no tag, no date");
    }

    // A condition allows the part, or it does not: it never makes another of it.
    assert!(selected == unconditional || selected == Selected::Whole);
    if selected != Selected::Whole && request.contains_key(IF_RANGE) {
        holds(&request, &stored);
    }
});

/// The part lies in the whole, is told as it is, and asking for what was told leads to it again.
fn is_within(part: &RangeInclusive<u64>, request: &HeaderMap, stored: &HeaderMap, total: u64) {
    let (first, last) = (*part.start(), *part.end());
    assert!(first <= last && last < total);
    let told = content_range(part, total);
    let text = told.to_str().expect("ASCII").strip_prefix("bytes ").expect("its unit");
    let (range, length) = text.split_once('/').expect("a length");
    let (from, to) = range.split_once('-').expect("two ends");
    assert_eq!([from, to, length].map(|number| number.parse()), [Ok(first), Ok(last), Ok(total)]);

    let mut again = request.clone();
    let mut ranges = vec![format!("bytes={range}"), format!("bytes=,\t{range} ,")];
    if last == total - 1 {
        ranges.push(format!("bytes={first}-"));
        ranges.push(format!("bytes=-{}", total - first));
    }
    for range in ranges {
        again.insert(RANGE, value(range));
        assert_eq!(select(&again, stored, total), Selected::Part(part.clone()));
    }
}

/// RFC 9110 §13.1.5: one strong tag that is the stored one, or a date.
fn holds(request: &HeaderMap, stored: &HeaderMap) {
    let condition = &request[IF_RANGE];
    assert_eq!(request.get_all(IF_RANGE).iter().count(), 1);
    let is_tag = condition.as_bytes().trim_ascii().starts_with(b"\"");
    let tag = stored.get(ETAG).map(|tag| tag.as_bytes().trim_ascii());
    if is_tag {
        assert_eq!(tag, Some(condition.as_bytes().trim_ascii()));
        let weakly = field(&IF_NONE_MATCH, [condition]);
        assert!(not_modified(&weakly, stored), "what matches strongly matches weakly");
    } else {
        let date = httpdate_like(condition);
        assert!(date, "{condition:?}");
    }
}

fn httpdate_like(value: &HeaderValue) -> bool {
    seawall::rfc9111::date::parse(value.as_bytes().trim_ascii()).is_some()
}

/// RFC 9110 §14.1.1 and §14.1.2, for one range of bytes; anything else selects the whole.
fn modelled(line: &[u8], total: u64) -> Selected {
    let whole = || {
        let text = std::str::from_utf8(line).ok()?;
        let (unit, set) = text.split_once('=')?;
        let mut ranges = set.split(',').map(|range| range.trim_matches([' ', '\t']));
        let mut ranges = ranges.by_ref().filter(|range| !range.is_empty());
        let (Some(range), None) = (ranges.next(), ranges.next()) else { return None };
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| {
                text.trim_start_matches('0').parse::<u128>().unwrap_or_else(|_| {
                    // No digits are left of a zero; more than fit are more than any length.
                    if text.bytes().all(|byte| byte == b'0') { 0 } else { u128::MAX }
                })
            })
        };
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let total = u128::from(total);
        if first.is_empty() {
            let length = number(last)?;
            return match (length, total) {
                (0, _) => Some(Selected::Unsatisfiable),
                (_, 0) => None,
                _ => Some(part((total.saturating_sub(length), total - 1))),
            };
        }
        // Numbers beyond those that are counted with are compared as they are written.
        let digits = |text: &str| {
            let text = text.trim_start_matches('0').to_owned();
            (text.len(), text)
        };
        let is_less = !last.is_empty() && digits(last) < digits(first);
        let first = number(first)?;
        let last = if last.is_empty() { u128::MAX } else { number(last)? };
        if is_less {
            return None;
        }
        Some(if first < total {
            part((first, last.min(total - 1)))
        } else {
            Selected::Unsatisfiable
        })
    };
    whole().unwrap_or(Selected::Whole)
}

fn part((first, last): (u128, u128)) -> Selected {
    let within = |at| u64::try_from(at).expect("within the length");
    Selected::Part(within(first)..=within(last))
}
