//! Properties of variants, validation, ranges and `Cache-Status`, for any fields that can be sent.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::{collection::vec, option, prelude::*, sample::select as one_of};
use seawall::rfc9111::{
    cache_status::{CACHE_STATUS, Fwd, Member, joined},
    range::{Selected, content_range, select, unsatisfied_range},
    updating::freshen,
    validation::{Validators, not_modified, not_modified_fields, strip},
    vary::{Names, Vary},
};

const NAMES: [&str; 6] =
    ["accept", "accept-encoding", "accept-language", "authorization", "cookie", "foo"];

fn names(of: &[&'static str]) -> Names {
    of.iter().map(|name| HeaderName::from_static(name)).collect()
}

fn variant(names: &Names, request: &HeaderMap) -> Vec<u8> {
    let mut bytes = Vec::new();
    names.write_variant(request, &mut |piece| bytes.extend_from_slice(piece));
    bytes
}

fn value(text: impl AsRef<[u8]>) -> HeaderValue {
    HeaderValue::from_bytes(text.as_ref()).expect("a field value")
}

/// Any bytes that can stand in a field, with what has a meaning here more often than by chance.
fn any_value() -> impl Strategy<Value = HeaderValue> {
    let piece = prop_oneof![
        one_of(vec![
            "\"",
            ",",
            " ",
            "\t",
            "\\",
            "*",
            "W/",
            "\"a\"",
            "a",
            "-",
            "=",
            ";",
            "bytes=",
            "0",
            "9",
            "18446744073709551616",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "GMT",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..4),
    ];
    vec(piece, 0..8).prop_map(|pieces| value(pieces.concat()))
}

/// Any fields among those that the rules read.
fn any_fields() -> impl Strategy<Value = HeaderMap> {
    let name = one_of(vec![
        "accept-language",
        "age",
        "cache-status",
        "content-length",
        "cookie",
        "date",
        "etag",
        "foo",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "last-modified",
        "range",
        "vary",
    ]);
    vec((name, any_value()), 0..12).prop_map(|lines| {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(name, value);
        }
        fields
    })
}

/// The members of a list, few enough to be equal now and then.
fn members() -> impl Strategy<Value = Vec<&'static str>> {
    vec(one_of(vec!["a", "b", "A", "ab", "a b", "\"a, b\"", "\"a,b\"", "\"\\\", \"", "é"]), 0..4)
}

/// One way of many to write a list: the spaces around a comma, and whether a line ends at it.
fn written(members: Vec<&'static str>) -> impl Strategy<Value = Vec<String>> {
    let space = || one_of(vec!["", " ", "\t", "  "]);
    let comma = (space(), one_of(vec![",", ",,", ", ,", "\n"]), space());
    (vec(comma, members.len()), space(), option::of(Just(","))).prop_map(
        move |(commas, space, last)| {
            let mut text = space.to_owned();
            for (at, (member, (before, comma, after))) in members.iter().zip(&commas).enumerate() {
                if at > 0 {
                    text.extend([*before, *comma, *after]);
                }
                text.push_str(member);
            }
            text.push_str(last.unwrap_or(""));
            text.split('\n').map(str::to_owned).collect()
        },
    )
}

fn request(name: &'static str, lines: &[String]) -> HeaderMap {
    let mut request = HeaderMap::new();
    for line in lines {
        request.append(name, value(line));
    }
    request
}

/// What is left of a field when all that means nothing is taken away.
fn normalised(name: &str, members: &[&str]) -> Vec<String> {
    let lower = matches!(name, "accept-encoding" | "accept-language");
    let mut members: Vec<_> = members
        .iter()
        .map(|member| if lower { member.to_ascii_lowercase() } else { (*member).to_owned() })
        .collect();
    if name == "accept-language" {
        members.sort();
    }
    members
}

proptest! {
    #[test]
    fn variants_are_equal_exactly_where_the_normalised_fields_are(
        one in vec(option::of(members()), NAMES.len()),
        other in vec(option::of(members()), NAMES.len()),
        nominated in proptest::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len()),
    ) {
        let parts = |values: &[Option<Vec<&'static str>>]| {
            let mut request = HeaderMap::new();
            let mut model = Vec::new();
            for (&name, members) in NAMES.iter().zip(values) {
                if let Some(members) = members {
                    let separator = if name == "cookie" { "; " } else { "," };
                    request.insert(name, value(members.join(separator)));
                }
                if nominated.contains(&name) {
                    model.push(members.as_ref().map(|members| normalised(name, members)));
                }
            }
            (variant(&names(&nominated), &request), model)
        };
        let ((bytes, model), (other_bytes, other_model)) = (parts(&one), parts(&other));
        prop_assert_eq!(bytes == other_bytes, model == other_model);
    }

    #[test]
    fn variants_of_other_names_are_never_equal(
        one in proptest::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len()),
        other in proptest::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len()),
        fields in any_fields(),
        other_fields in any_fields(),
    ) {
        let (one, other) = (names(&one), names(&other));
        let is_equal = variant(&one, &fields) == variant(&other, &other_fields);
        prop_assert!(one == other || !is_equal);
    }

    #[test]
    fn spaces_and_lines_change_no_variant(
        name in one_of(vec!["accept", "accept-encoding", "accept-language", "foo"]),
        (members, lines) in members()
            .prop_flat_map(|members| (Just(members.clone()), written(members))),
    ) {
        let names = names(&[name]);
        let plain = request(name, &[members.join(",")]);
        prop_assert_eq!(variant(&names, &plain), variant(&names, &request(name, &lines)));
    }

    #[test]
    fn the_order_of_languages_changes_no_variant(
        (one, other) in vec("[a-cA-C]{1,3}(;q=0\\.[1-9])?", 0..6)
            .prop_flat_map(|members| (Just(members.clone()), Just(members).prop_shuffle())),
    ) {
        let names = names(&["accept-language"]);
        let (one, other) = (request("accept-language", &one), request("accept-language", &other));
        prop_assert_eq!(variant(&names, &one), variant(&names, &other));
    }

    #[test]
    fn the_lines_of_a_cookie_change_no_variant(cookies in vec("[a-c]=[a-c, ]{0,3}[a-c]", 1..4)) {
        let names = names(&["cookie"]);
        let plain = request("cookie", &[cookies.join("; ")]);
        prop_assert_eq!(variant(&names, &plain), variant(&names, &request("cookie", &cookies)));
    }

    #[test]
    fn the_names_are_sorted_and_each_stands_once(lines in vec("[a-cA-C, ]{0,9}", 0..4)) {
        match Vary::from_fields(&request("vary", &lines)) {
            Vary::Names(names) => {
                let names: Vec<_> = names.iter().map(HeaderName::as_str).collect();
                prop_assert!(names.is_sorted_by(|one, next| one < next), "{:?}", names);
            }
            Vary::None => {
                prop_assert!(lines.iter().all(|line| !line.contains(char::is_alphabetic)));
            }
            Vary::Any => prop_assert!(
                lines.iter().flat_map(|line| line.split(',')).any(|name| name.trim().contains(' '))
            ),
        }
    }

    #[test]
    fn a_part_lies_within_the_whole(
        first in option::of(any::<u64>()),
        last in option::of(any::<u64>()),
        (small, total) in (any::<bool>(), any::<u64>()),
    ) {
        let held = |number: u64| if small { number % 16 } else { number };
        let (first, last, total) = (first.map(held), last.map(held), held(total));
        let text = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let range = format!("bytes={}-{}", text(first), text(last));
        let selected = select(&request("range", &[range]), &HeaderMap::new(), total);
        let end = total.saturating_sub(1);
        let expected = match (first, last) {
            (None, None) => Selected::Whole,
            (Some(first), Some(last)) if first > last => Selected::Whole,
            (Some(first), _) if first >= total => Selected::Unsatisfiable,
            (Some(first), last) => Selected::Part(first..=last.map_or(end, |last| last.min(end))),
            (None, Some(0)) => Selected::Unsatisfiable,
            (None, Some(_)) if total == 0 => Selected::Whole,
            (None, Some(length)) => Selected::Part(total - length.min(total)..=end),
        };
        prop_assert_eq!(selected, expected);
    }

    #[test]
    fn no_part_is_out_of_bounds_whatever_is_asked(
        asked in any_fields(),
        stored in any_fields(),
        range in any_value(),
        total in prop_oneof![Just(0), 0..20_u64, Just(u64::MAX), any::<u64>()],
    ) {
        let mut asked = asked;
        asked.insert("range", range);
        if let Selected::Part(part) = select(&asked, &stored, total) {
            prop_assert!(part.start() <= part.end() && *part.end() < total);
            let told = format!("bytes {}-{}/{total}", part.start(), part.end());
            prop_assert_eq!(content_range(&part, total), told);
        }
        prop_assert_eq!(unsatisfied_range(total), format!("bytes */{total}"));
    }

    #[test]
    fn what_was_asked_with_our_validators_is_not_modified(stored in any_fields()) {
        let validators = Validators::of(&stored);
        let mut asked = HeaderMap::new();
        validators.apply(&mut asked);
        prop_assert_eq!(asked.is_empty(), validators.is_empty());
        if validators.etag.is_some() {
            prop_assert!(not_modified(&asked, &stored));
        }
    }

    #[test]
    fn a_tag_is_found_wherever_it_stands(
        before in vec("\"[a-z, ]{0,4}\"", 0..3),
        tag in "(W/)?\"[a-z, ]{0,4}\"",
        after in vec("(W/)?\"[a-z, ]{0,4}\"", 0..3),
        separator in one_of(vec![",", ", ", " , ", ",,"]),
    ) {
        let list: Vec<_> = before.into_iter().chain([tag.clone()]).chain(after).collect();
        let asked = request("if-none-match", &[list.join(separator)]);
        prop_assert!(not_modified(&asked, &request("etag", std::slice::from_ref(&tag))));
        let other = request("etag", &["\"OTHER\"".to_owned()]);
        prop_assert!(!not_modified(&asked, &other));
    }

    #[test]
    fn freshening_twice_is_freshening_once(stored in any_fields(), update in any_fields()) {
        if let Ok(once) = freshen(&stored, &update, |name| name != "foo") {
            prop_assert_eq!(freshen(&once, &update, |name| name != "foo"), Ok(once.clone()));
            for fixed in ["foo", "content-length"] {
                prop_assert!(once.get_all(fixed).iter().eq(stored.get_all(fixed)));
            }
            for told in ["age", "cookie", "date", "vary"] {
                if update.contains_key(told) {
                    prop_assert!(once.get_all(told).iter().eq(update.get_all(told)));
                }
            }
        }
    }

    #[test]
    fn nothing_panics(asked in any_fields(), stored in any_fields()) {
        if let Vary::Names(names) = Vary::from_fields(&stored) {
            variant(&names, &asked);
        }
        let _ = not_modified(&asked, &stored);
        let told = not_modified_fields(&stored);
        prop_assert!(told.keys().all(|name| stored.contains_key(name)));
        let mut stripped = asked.clone();
        strip(&mut stripped);
        prop_assert!(!not_modified(&stripped, &stored));
        let mut applied = asked;
        Validators::of(&stored).apply(&mut applied);
        prop_assert!(!applied.contains_key("range") && !applied.contains_key("if-range"));
    }

    #[test]
    fn our_member_ends_the_list_whatever_stands_below(fields in any_fields()) {
        let below = joined(&fields);
        prop_assert!(below.is_none() || fields.contains_key(CACHE_STATUS));
        let member = Member::forwarded(Fwd::Miss).collapsed();
        let after = member.after(below.as_ref());
        prop_assert!(after.as_bytes().ends_with(b"seawall; fwd=miss; collapsed"));
        if let Some(below) = below {
            prop_assert!(after.as_bytes().starts_with(below.as_bytes()));
        }
    }
}
