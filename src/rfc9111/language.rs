//! Choosing a variant by its language: not one of the ways of RFC 9111 §4.1, and so a
//! [setting](super::Profile::language_by_quality).

use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT_LANGUAGE, CONTENT_LANGUAGE},
};

use super::vary::Names;

/// The one language that a request likes best (RFC 9110 §12.5.4); none where it likes two alike, any,
/// or what cannot be read.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ACCEPT_LANGUAGE};
/// use seawall::rfc9111::language::preferred;
///
/// let asks = |value| HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static(value))]);
/// assert_eq!(preferred(&asks("fr;q=0.5, de;q=1.0")), Some("de"));
/// assert_eq!(preferred(&asks("fr, de")), None);
/// ```
#[must_use]
pub fn preferred(request: &HeaderMap) -> Option<&str> {
    let (mut best, mut most, mut alone) = (None, 0, false);
    for line in request.get_all(ACCEPT_LANGUAGE) {
        for member in line.to_str().ok()?.split(',').map(str::trim) {
            if member.is_empty() {
                continue;
            }
            let (language, quality) = match member.split_once(';') {
                None => (member, 1000),
                Some((language, weight)) => (language.trim_end(), quality(weight.trim_start())?),
            };
            if quality > most {
                (best, most, alone) = (Some(language), quality, true);
            } else if quality == most {
                alone = false;
            }
        }
    }
    best.filter(|language| alone && *language != "*")
}

/// A weight in thousandths (RFC 9110 §12.4.2).
fn quality(weight: &str) -> Option<u32> {
    let value = weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="))?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction.bytes().chain(*b"000").take(3);
    let thousandths = thousandths.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// Whether a stored response is in this language, and in no other.
#[must_use]
pub fn speaks(stored: &HeaderMap, language: &str) -> bool {
    let mut lines = stored.get_all(CONTENT_LANGUAGE).iter().map(HeaderValue::as_bytes);
    let (line, more) = (lines.next(), lines.next());
    more.is_none()
        && line.is_some_and(|line| line.trim_ascii().eq_ignore_ascii_case(language.as_bytes()))
}

/// Whether the request would select the variant that `names` wrote as `variant`, were it not for its
/// `Accept-Language`.
#[must_use]
pub fn differs_in_language_alone(names: &Names, request: &HeaderMap, variant: &[u8]) -> bool {
    if !names.iter().any(|name| *name == ACCEPT_LANGUAGE) {
        return false;
    }
    // What each field wrote begins with its name, so that one can be left out of both.
    let mut rest = variant;
    for name in names.iter() {
        let mut written = Vec::new();
        Names::from_iter([name.clone()])
            .write_variant(request, &mut |piece| written.extend_from_slice(piece));
        if *name == ACCEPT_LANGUAGE {
            let Some(after) = Names::after(name, rest) else { return false };
            rest = after;
        } else {
            let Some(after) = rest.strip_prefix(&*written) else { return false };
            rest = after;
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::super::rows::named as fields;
    use super::*;

    #[test]
    fn rfc9110_12_5_4_the_language_with_the_greatest_weight_is_preferred() {
        for (asked, expected) in [
            ("de", Some("de")),
            ("fr;q=0.5, de;q=1.0", Some("de")),
            ("fr;q=0.501,de ; q=0.5", Some("fr")),
            ("de, fr;q=0.9, *;q=0.1", Some("de")),
            ("fr;q=0, de;Q=0.001", Some("de")),
            ("de, fr", None),
            ("fr;q=0.5, de;q=0.500", None),
            ("*", None),
            ("*, de;q=0.5", None),
            ("de;q=0", None),
            ("de;q=1.001", None),
            ("de;q=0.0001", None),
            ("de;q=x", None),
            ("de;level=1", None),
            ("", None),
        ] {
            assert_eq!(preferred(&fields(&[(ACCEPT_LANGUAGE, asked)])), expected, "{asked}");
        }
        assert_eq!(preferred(&fields(&[])), None);
        let lines = [(ACCEPT_LANGUAGE, "fr;q=0.2"), (ACCEPT_LANGUAGE, "de;q=0.3")];
        assert_eq!(preferred(&fields(&lines)), Some("de"));
    }

    #[test]
    fn section_4_1_a_response_speaks_one_language() {
        for (said, expected) in [
            (&["de"][..], true),
            (&[" DE "], true),
            (&["de, fr"], false),
            (&["de", "fr"], false),
            (&["de-AT"], false),
            (&[], false),
        ] {
            let said: Vec<_> = said.iter().map(|line| (CONTENT_LANGUAGE, *line)).collect();
            assert_eq!(speaks(&fields(&said), "de"), expected, "{said:?}");
        }
    }

    #[test]
    fn section_4_1_only_the_language_may_differ() {
        let names = Names::from_iter([ACCEPT, ACCEPT_LANGUAGE]);
        let written = |request: &HeaderMap| {
            let mut bytes = Vec::new();
            names.write_variant(request, &mut |piece| bytes.extend_from_slice(piece));
            bytes
        };
        let stored = written(&fields(&[(ACCEPT, "a"), (ACCEPT_LANGUAGE, "en, de")]));
        for (request, expected) in [
            (&[(ACCEPT, "a"), (ACCEPT_LANGUAGE, "fr;q=0.5, de")][..], true),
            (&[(ACCEPT, "a")], true),
            (&[(ACCEPT, "b"), (ACCEPT_LANGUAGE, "de")], false),
            (&[(ACCEPT_LANGUAGE, "de")], false),
        ] {
            let same = differs_in_language_alone(&names, &fields(request), &stored);
            assert_eq!(same, expected, "{request:?}");
        }
        let request = fields(&[(ACCEPT, "a")]);
        assert!(!differs_in_language_alone(&Names::from_iter([ACCEPT]), &request, &stored));
        assert!(!differs_in_language_alone(&names, &request, &stored[..stored.len() - 1]));
        assert!(!differs_in_language_alone(&names, &request, b""));
    }
}
