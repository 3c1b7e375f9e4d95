//! Parts and putting them together (RFC 9111 §3.3, §3.4): how many bytes of a part are held, and
//! bits that choose the profile; then a request, the fields of the part, and those of another.
#![no_main]

use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, RANGE},
};
use libfuzzer_sys::fuzz_target;
use seawall::rfc9111::{
    Profile, State,
    combining::{combined, head_of_both, tail},
    incomplete::{Part, agrees, within},
    range::{Selected, select},
};
use seawall_fuzz::{fields, numbers, sections};

fuzz_target!(|data: &[u8]| {
    let [figures, request, stored, new] = sections(data);
    let [held, bits] = numbers(figures).map(i64::cast_unsigned);
    let (request, stored, new) = (fields(request), fields(stored), fields(new));
    let profile = Profile::reverse_proxy()
        .lenient_content_range(bits & 1 != 0)
        .tail_without_validator(bits & 2 != 0);
    for fields in [&stored, &new] {
        let part = Part::from_fields(fields);
        if let Some(said) = modelled(fields) {
            assert_eq!(part, said);
        }
        if let Some(part) = part {
            is_told(part, fields);
            answers(&profile, part, &request, fields, held);
            asks_for_the_rest(&profile, part, fields);
            assert!(agrees(&profile, part, part.length()));
            assert!(
                held == part.length()
                    || agrees(&profile, part, held) == (bits & 1 != 0 && held > 0)
            );
        }
    }
    let both = combined(&stored, &new);
    assert_eq!(both, combined(&new, &stored));
    if let Some(both) = both {
        let parts = [&stored, &new].map(Part::from_fields).map(|part| part.expect("two parts"));
        assert!(parts.iter().all(|part| part.total == both.total));
        assert_eq!(both.first, parts[0].first.min(parts[1].first));
        assert_eq!(both.last, parts[0].last.max(parts[1].last));
        let without_gap = u128::from(parts[0].length()) + u128::from(parts[1].length());
        assert!(u128::from(both.length()) <= without_gap);
        assert!(
            stored.get(ETAG) == new.get(ETAG)
                && stored[ETAG].as_bytes().trim_ascii().starts_with(b"\"")
        );
    }
});

/// What is told of a part leads to it again.
fn is_told(part: Part, fields: &HeaderMap) {
    assert!(part.first <= part.last && part.last < part.total);
    assert_eq!(part.is_all(), part.length() == part.total);
    // Of the same state as itself it always is.
    let Ok(mut told) = head_of_both(fields, fields, part) else { return };
    assert_eq!(told[CONTENT_LENGTH].to_str().unwrap().parse(), Ok(part.length()));
    assert_eq!(told.contains_key(CONTENT_RANGE), !part.is_all());
    assert_eq!(Part::from_fields(&told), (!part.is_all()).then_some(part));
    told.insert(CONTENT_RANGE, part.content_range());
    assert_eq!(Part::from_fields(&told), Some(part));
}

/// A slice lies in what is held, and is what the whole would have been asked for.
fn answers(profile: &Profile, part: Part, request: &HeaderMap, stored: &HeaderMap, held: u64) {
    let whole = select(request, stored, part.total);
    let expected = match &whole {
        Selected::Part(range) => part.first <= *range.start() && *range.end() <= part.last,
        Selected::Whole | Selected::Unsatisfiable => false,
    };
    let slice = within(request, &State::of(stored), part, part.length());
    assert_eq!(slice.is_some(), expected);
    if let Some(slice) = slice {
        assert_eq!(slice.skip, slice.range.start() - part.first);
        assert_eq!(Selected::Part(slice.range), whole);
    }
    if agrees(profile, part, held)
        && let Some(slice) = within(request, &State::of(stored), part, held)
    {
        let (first, last) = (*slice.range.start(), *slice.range.end());
        assert!(first <= last && last < part.total, "{slice:?} of {part:?}");
        let end = u128::from(slice.skip) + u128::from(last - first) + 1;
        assert!(end <= u128::from(held), "{slice:?} of {held}");
    }
}

/// The rest begins where the part ends, and comes only of the same representation.
fn asks_for_the_rest(profile: &Profile, part: Part, stored: &HeaderMap) {
    let Some(rest) = tail(profile, stored, part, part.length()) else { return };
    assert!(part.first == 0 && !part.is_all());
    assert_eq!(rest.range, format!("bytes={}-", part.last + 1));
    let tag = stored.get(ETAG).filter(|tag| tag.as_bytes().trim_ascii().starts_with(b"\""));
    assert!(rest.if_range.is_none() || rest.if_range.as_ref() == tag);
    let mut asks = HeaderMap::new();
    let if_range = rest.if_range.clone();
    rest.apply(&mut asks);
    assert_eq!(asks.get(IF_RANGE), if_range.as_ref());
    let missing = part.last + 1..=part.total - 1;
    assert!(asks.contains_key(RANGE));
    assert_eq!(select(&asks, stored, part.total), Selected::Part(missing));
}

/// RFC 9110 §14.4; none where numbers are beyond those that are counted with.
fn modelled(fields: &HeaderMap) -> Option<Option<Part>> {
    let mut lines = fields.get_all(CONTENT_RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Some(None) };
    let Ok(text) = std::str::from_utf8(line.as_bytes()) else { return Some(None) };
    let read = || {
        let (unit, rest) = text.trim_matches([' ', '\t']).split_once(' ')?;
        let (range, total) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let all = [first, last, total];
        (unit.eq_ignore_ascii_case("bytes") && all.iter().all(is_number)).then_some(all)
    };
    let Some(all) = read() else { return Some(None) };
    let [first, last, total] = all.map(|number| number.parse().ok());
    let part = Part { first: first?, last: last?, total: total? };
    Some(Some(part).filter(|part| part.first <= part.last && part.last < part.total))
}
