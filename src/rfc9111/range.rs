//! Answering a part from a stored whole (RFC 9110 §14).

use std::ops::RangeInclusive;

use http::{HeaderMap, HeaderValue, header::RANGE};

use super::state::State;

/// How much of a stored 200 answers a request.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::RANGE};
/// use seawall::rfc9111::range::{Selected, content_range, select};
///
/// let mut request = HeaderMap::new();
/// request.insert(RANGE, HeaderValue::from_static("bytes=-3"));
/// let Selected::Part(part) = select(&request, &HeaderMap::new(), 10) else { panic!("a part") };
/// assert_eq!(part, 7..=9);
/// assert_eq!(content_range(&part, 10), "bytes 7-9/10");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// All of it, with 200: no range was asked for, or none that is answered.
    Whole,
    /// These bytes, first and last included, with 206.
    Part(RangeInclusive<u64>),
    /// Nothing, with 416: the range begins beyond the end.
    Unsatisfiable,
}

/// What a GET asks of a stored 200 that is `total` bytes long.
///
/// One range of bytes is answered. Several at once, other units and what cannot be read are
/// ignored, as the law allows (§14.2). Conditions come first: a request that is owed a 304 is not
/// asked about here.
#[must_use]
pub fn select(request: &HeaderMap, stored: &HeaderMap, total: u64) -> Selected {
    select_by(request, &State::of(stored), total)
}

/// [`select`] by what was read of the stored response before.
#[must_use]
pub fn select_by(request: &HeaderMap, stored: &State, total: u64) -> Selected {
    asked(request, stored).map_or(Selected::Whole, |asked| asked.of(total))
}

/// The one range that a GET asks for, where it still wants that of what is stored.
pub(super) fn asked(request: &HeaderMap, stored: &State) -> Option<Asked> {
    only(request).filter(|_| stored.if_range_holds(request))
}

/// Whether a GET asks for one range of bytes, of whatever representation.
#[must_use]
pub fn is_single(request: &HeaderMap) -> bool {
    only(request).is_some()
}

fn only(request: &HeaderMap) -> Option<Asked> {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    single(line.as_bytes())
}

/// The `Content-Range` of a 206.
#[must_use]
pub fn content_range(part: &RangeInclusive<u64>, total: u64) -> HeaderValue {
    ascii(format!("bytes {}-{}/{total}", part.start(), part.end()))
}

/// The `Content-Range` of a 416.
#[must_use]
pub fn unsatisfied_range(total: u64) -> HeaderValue {
    ascii(format!("bytes */{total}"))
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("letters, digits and marks of ASCII")
}

/// One range as it was asked for, of a length not yet known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    From { first: u64, last: u64 },
    Last(u64),
}

impl Asked {
    pub(super) fn of(self, total: u64) -> Selected {
        let end = total.saturating_sub(1);
        match self {
            Self::From { first, last } if first < total => Selected::Part(first..=last.min(end)),
            Self::From { .. } | Self::Last(0) => Selected::Unsatisfiable,
            // §14.1.2 calls it satisfiable, but no Content-Range can say "none of none".
            Self::Last(_) if total == 0 => Selected::Whole,
            Self::Last(length) => Selected::Part(total.saturating_sub(length)..=end),
        }
    }
}

/// The only range in a `Range`, if it is one of bytes.
fn single(line: &[u8]) -> Option<Asked> {
    let (unit, set) = line.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    // RFC 9110 §5.6.1: members of a list may be empty.
    let mut ranges = set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let range = ranges.by_ref().find(|range| !range.is_empty())?;
    if ranges.any(|another| !another.is_empty()) {
        return None;
    }
    let dash = range.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (&range[..dash], &range[dash + 1..]);
    if first.is_empty() {
        return number(last).map(Asked::Last);
    }
    if !last.is_empty() && is_less(last, first) {
        return None;
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    Some(Asked::From { first, last })
}

/// Compares numbers however many digits they have.
fn is_less(one: &[u8], other: &[u8]) -> bool {
    let [one, other] = [one, other].map(|digits| {
        let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
        &digits[zeros..]
    });
    (one.len(), one) < (other.len(), other)
}

/// A number, held to the largest there is.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = digits.iter().map(|digit| u64::from(digit - b'0'));
    Some(digits.fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(digit)))
}

#[cfg(test)]
mod tests {
    use http::header::{DATE, ETAG, IF_RANGE, LAST_MODIFIED};

    use super::*;

    const CHANGED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn asking(range: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(RANGE, HeaderValue::from_static(range))])
    }

    #[test]
    fn rfc9110_14_1_2_one_range_of_bytes_is_cut_from_the_whole() {
        for (range, total, expected) in [
            ("bytes=0-1", 10, 0..=1),
            ("bytes=0-0", 10, 0..=0),
            ("bytes=9-9", 10, 9..=9),
            ("bytes=3-", 10, 3..=9),
            ("bytes=3-99", 10, 3..=9),
            ("bytes=-1", 10, 9..=9),
            ("bytes=-10", 10, 0..=9),
            ("bytes=-99", 10, 0..=9),
            ("BYTES=0-1", 10, 0..=1),
            ("bytes= ,0-1 ,", 10, 0..=1),
            ("bytes=007-08", 10, 7..=8),
            ("bytes=0-99999999999999999999999999", 10, 0..=9),
            ("bytes=-99999999999999999999999999", 10, 0..=9),
            ("bytes=0-", u64::MAX, 0..=u64::MAX - 1),
        ] {
            let selected = select(&asking(range), &HeaderMap::new(), total);
            assert_eq!(selected, Selected::Part(expected), "{range}");
        }
    }

    #[test]
    fn rfc9110_15_5_17_a_range_beyond_the_end_cannot_be_satisfied() {
        for (range, total) in [
            ("bytes=10-", 10),
            ("bytes=10-11", 10),
            ("bytes=99999999999999999999999999-", u64::MAX),
            ("bytes=-0", 10),
            ("bytes=-0", 0),
            ("bytes=0-", 0),
        ] {
            let selected = select(&asking(range), &HeaderMap::new(), total);
            assert_eq!(selected, Selected::Unsatisfiable, "{range}");
        }
    }

    #[test]
    fn rfc9110_14_2_what_is_no_single_range_of_bytes_gets_the_whole() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=5",
            "bytes=5-4",
            "bytes=999999999999999999999999-99999999999999999999",
            "bytes=0-1,3-4",
            "bytes=0-1,-1",
            "bytes=a-b",
            "bytes=0x1-2",
            "bytes=0 - 1",
            "bytes=+1-2",
            "bytes=--1",
            "bytes=1-2-3",
            "bytes =0-1",
            "bytes: 0-1",
            "items=0-1",
        ] {
            assert_eq!(select(&asking(range), &HeaderMap::new(), 10), Selected::Whole, "{range}");
        }
        let mut twice = asking("bytes=0-1");
        twice.append(RANGE, HeaderValue::from_static("bytes=0-1"));
        assert_eq!(select(&twice, &HeaderMap::new(), 10), Selected::Whole);
        assert_eq!(select(&HeaderMap::new(), &HeaderMap::new(), 10), Selected::Whole);
    }

    #[test]
    fn rfc9110_14_1_2_the_end_of_nothing_is_all_of_it() {
        assert_eq!(select(&asking("bytes=-1"), &HeaderMap::new(), 0), Selected::Whole);
    }

    #[test]
    fn rfc9110_13_1_5_a_part_is_cut_only_from_what_the_client_has_the_rest_of() {
        for (etag, date, if_range, is_cut) in [
            (r#""a""#, LATER, r#""a""#, true),
            (r#""a""#, LATER, r#""b""#, false),
            (r#""a""#, LATER, r#"W/"a""#, false),
            (r#"W/"a""#, LATER, r#"W/"a""#, false),
            (r#"W/"a""#, LATER, r#""a""#, false),
            (r#""a""#, LATER, r#""a", "b""#, false),
            ("a", LATER, "a", false),
            (r#""a""#, LATER, "*", false),
            (r#""a""#, LATER, "", false),
            (r#""a""#, LATER, CHANGED, true),
            (r#""a""#, LATER, "Sunday, 06-Nov-94 08:49:37 GMT", true),
            (r#""a""#, LATER, LATER, false),
            (r#""a""#, CHANGED, CHANGED, false),
            (r#""a""#, "", CHANGED, false),
        ] {
            let stored = HeaderMap::from_iter([
                (ETAG, HeaderValue::from_static(etag)),
                (LAST_MODIFIED, HeaderValue::from_static(CHANGED)),
                (DATE, HeaderValue::from_static(date)),
            ]);
            let mut request = asking("bytes=0-1");
            request.insert(IF_RANGE, HeaderValue::from_static(if_range));
            let expected = if is_cut { Selected::Part(0..=1) } else { Selected::Whole };
            assert_eq!(select(&request, &stored, 10), expected, "{etag} {if_range}");
        }
    }

    #[test]
    fn rfc9110_13_1_5_two_conditions_are_none_that_holds() {
        let etag = HeaderValue::from_static(r#""a""#);
        let stored = HeaderMap::from_iter([(ETAG, etag.clone())]);
        let mut request = asking("bytes=0-1");
        request.append(IF_RANGE, etag.clone());
        assert_eq!(select(&request, &stored, 10), Selected::Part(0..=1));
        request.append(IF_RANGE, etag);
        assert_eq!(select(&request, &stored, 10), Selected::Whole);
    }

    #[test]
    fn rfc9110_13_2_2_a_condition_that_fails_hides_that_the_range_is_beyond_the_end() {
        let mut request = asking("bytes=99-");
        request.insert(IF_RANGE, HeaderValue::from_static(r#""a""#));
        assert_eq!(select(&request, &HeaderMap::new(), 10), Selected::Whole);
    }

    #[test]
    fn rfc9110_14_4_parts_are_told_by_their_first_and_last_byte() {
        assert_eq!(content_range(&(0..=1), 11), "bytes 0-1/11");
        assert_eq!(unsatisfied_range(11), "bytes */11");
        let most = format!("bytes 0-{0}/{0}", u64::MAX);
        assert_eq!(content_range(&(0..=u64::MAX), u64::MAX), most);
    }
}
