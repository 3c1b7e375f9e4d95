//! Targeted Cache-Control fields (RFC 9213): directives for some caches only.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{
    delta_seconds::LONGEST,
    dictionary::{Item, dictionary},
    directive::field_names,
    profile::Profile,
    response_directives::ResponseDirectives,
};

/// The directives that govern a response: those of the first usable field of the profile's
/// targets, otherwise those of Cache-Control.
///
/// A field that is empty or no dictionary counts as absent (RFC 9213 §2.1, §2.2).
#[must_use]
pub fn governing(profile: &Profile, headers: &HeaderMap) -> ResponseDirectives {
    let targeted = profile.targets.iter().find_map(|field| from_target(headers, field));
    targeted.unwrap_or_else(|| ResponseDirectives::from_fields(headers))
}

/// The directives of one targeted field; none where it is absent, empty or no dictionary.
#[must_use]
pub fn from_target(headers: &HeaderMap, field: &HeaderName) -> Option<ResponseDirectives> {
    let mut lines = headers.get_all(field).iter().map(HeaderValue::as_bytes);
    let first = lines.next()?;
    let joined;
    let text = match lines.next() {
        None => first,
        Some(second) => {
            let all: Vec<_> = [first, second].into_iter().chain(lines).collect();
            joined = all.join(&b',');
            &joined
        }
    };
    let members = dictionary(text)?;
    (!members.is_empty()).then(|| directives(&members))
}

/// A later member of the same name replaces the earlier (RFC 9651 §3.2); one of the wrong type
/// is as if absent (RFC 9213 §2.1).
fn directives(members: &[(&[u8], Item)]) -> ResponseDirectives {
    let mut said = ResponseDirectives { targeted: true, ..ResponseDirectives::default() };
    let (mut not_cached, mut private) = (Vec::new(), Vec::new());
    for (name, item) in members {
        let flag = matches!(item, Item::Boolean(true));
        let seconds = match item {
            Item::Integer(seconds) => Some(delta(*seconds)),
            _ => None,
        };
        let unqualified = |left_out: &mut Vec<HeaderName>| {
            left_out.clear();
            match item {
                Item::Text(names) => !field_names(names, left_out),
                _ => flag,
            }
        };
        match *name {
            b"max-age" => said.max_age = seconds,
            b"s-maxage" => said.s_maxage = seconds,
            b"stale-while-revalidate" => said.stale_while_revalidate = seconds,
            b"stale-if-error" => said.stale_if_error = seconds,
            b"no-cache" => said.no_cache = unqualified(&mut not_cached),
            b"private" => said.private = unqualified(&mut private),
            b"no-store" => said.no_store = flag,
            b"public" => said.public = flag,
            b"must-revalidate" => said.must_revalidate = flag,
            b"proxy-revalidate" => said.proxy_revalidate = flag,
            b"must-understand" => said.must_understand = flag,
            b"immutable" => said.immutable = flag,
            b"no-transform" => said.no_transform = flag,
            _ => {}
        }
    }
    said.left_out = not_cached.into_iter().chain(private).collect();
    said
}

/// A time below zero is invalid and thus stale (RFC 9111 §4.2.1).
fn delta(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::super::rows::{field, fields, seconds};
    use super::*;

    fn said(lines: &[&str]) -> Option<ResponseDirectives> {
        let name = HeaderName::from_static("cdn-cache-control");
        from_target(&field("cdn-cache-control", lines), &name)
    }

    #[test]
    fn rfc9213_2_1_every_directive_is_read() {
        let targeted = || ResponseDirectives { targeted: true, ..ResponseDirectives::default() };
        let time = Some(seconds(5));
        for (text, read) in [
            ("max-age=5", ResponseDirectives { max_age: time, ..targeted() }),
            ("s-maxage=5", ResponseDirectives { s_maxage: time, ..targeted() }),
            (
                "stale-while-revalidate=5",
                ResponseDirectives { stale_while_revalidate: time, ..targeted() },
            ),
            ("stale-if-error=5", ResponseDirectives { stale_if_error: time, ..targeted() }),
            ("no-store", ResponseDirectives { no_store: true, ..targeted() }),
            ("no-cache", ResponseDirectives { no_cache: true, ..targeted() }),
            ("private", ResponseDirectives { private: true, ..targeted() }),
            ("public", ResponseDirectives { public: true, ..targeted() }),
            ("must-revalidate", ResponseDirectives { must_revalidate: true, ..targeted() }),
            ("proxy-revalidate", ResponseDirectives { proxy_revalidate: true, ..targeted() }),
            ("must-understand", ResponseDirectives { must_understand: true, ..targeted() }),
            ("immutable", ResponseDirectives { immutable: true, ..targeted() }),
            ("no-transform", ResponseDirectives { no_transform: true, ..targeted() }),
            ("no-store=?1", ResponseDirectives { no_store: true, ..targeted() }),
            ("max-age=5;max-age=9", ResponseDirectives { max_age: time, ..targeted() }),
            ("unheard-of", targeted()),
        ] {
            assert_eq!(said(&[text]), Some(read), "{text}");
        }
    }

    #[test]
    fn rfc9213_2_1_a_member_of_the_wrong_type_is_ignored_by_itself() {
        for text in [
            "max-age=\"60\"",
            "max-age=60.0",
            "max-age",
            "max-age=?1",
            "max-age=(60)",
            "no-store=1",
            "no-store=?0",
            "no-store=\"x\"",
            "no-cache=1",
            "private=(a b)",
        ] {
            let said = said(&[&format!("{text}, s-maxage=5")]).unwrap();
            let alone = ResponseDirectives {
                targeted: true,
                s_maxage: Some(seconds(5)),
                ..ResponseDirectives::default()
            };
            assert_eq!(said, alone, "{text}");
        }
    }

    #[test]
    fn rfc9213_2_1_what_is_empty_or_no_dictionary_is_as_if_absent() {
        for lines in [
            &[][..],
            &[""],
            &["  "],
            &["max-age=60,"],
            &["Max-Age=60"],
            &["max-age=60", "a=\"open"],
        ] {
            assert_eq!(said(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn section_4_2_1_seconds_below_zero_are_stale_and_too_many_are_held() {
        for (text, age) in [
            ("max-age=-1", 0),
            ("max-age=-999999999999999", 0),
            ("max-age=000000000000060", 60),
            ("max-age=2147483649", 1 << 31),
            ("max-age=999999999999999", 1 << 31),
        ] {
            assert_eq!(said(&[text]).unwrap().max_age, Some(seconds(age)), "{text}");
        }
    }

    #[test]
    fn rfc9651_3_2_the_last_of_equal_members_counts_and_lines_are_one_list() {
        let said = said(&["no-store, max-age=5", "max-age=60, no-store=?0, private=\"a, b\""]);
        let said = said.unwrap();
        assert_eq!(said.max_age, Some(seconds(60)));
        assert!(!said.no_store && !said.private);
        assert_eq!(said.left_out.len(), 2);
    }

    #[test]
    fn section_5_2_2_4_and_5_2_2_7_qualified_directives_leave_fields_out() {
        for (text, names, forbids) in [
            ("no-cache=\"a, b\"", &["a", "b"][..], false),
            ("private=a", &["a"], false),
            ("private=\"\"", &[], true),
            ("no-cache=\"a b\"", &[], true),
        ] {
            let said = said(&[text]).unwrap();
            assert_eq!(said.left_out.iter().collect::<Vec<_>>(), names, "{text}");
            assert_eq!(said.no_cache || said.private, forbids, "{text}");
        }
    }

    #[test]
    fn rfc9213_2_2_the_first_usable_target_comes_before_the_others_and_cache_control() {
        let targets = ["our-cache-control", "cdn-cache-control"].map(HeaderName::from_static);
        let (plain, ours) = (Profile::safe(), Profile::safe().targets(targets));
        let (our, cdn) = ("our-cache-control: max-age=5", "cdn-cache-control: max-age=10");
        let cache_control = "cache-control: max-age=20";
        for (lines, addressed, not) in [
            (&[our, cdn, cache_control][..], 5, 20),
            (&[cdn, our, cache_control], 5, 20),
            (&[cdn, cache_control], 10, 20),
            (&["our-cache-control: Not=ours", cdn, cache_control], 10, 20),
            (&["our-cache-control: ", cdn, cache_control], 10, 20),
            (&["our-cache-control: Not=ours", cache_control], 20, 20),
            (&["another-cache-control: max-age=1", cache_control], 20, 20),
        ] {
            let said = |profile| governing(profile, &fields(lines)).max_age;
            assert_eq!(said(&ours), Some(seconds(addressed)), "{lines:?}");
            assert_eq!(said(&plain), Some(seconds(not)), "{lines:?}");
        }
        let no_store = fields(&[cdn, "cache-control: no-store"]);
        assert!(governing(&ours, &no_store).targeted && !governing(&ours, &no_store).no_store);
        assert!(!governing(&plain, &no_store).targeted && governing(&plain, &no_store).no_store);
    }
}
