//! How old a response is (RFC 9111 §4.2.3), by its Age (§5.1) and its Date.

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, HeaderMap, HeaderValue};

use super::{Exchange, date, delta_seconds::digits};

/// The age that a response arrives with (§5.1): the first member of the first Age line.
///
/// What is not a number of seconds counts as zero, what is beyond 2^31 as 2^31.
#[must_use]
pub fn age_field(headers: &HeaderMap) -> Duration {
    let line = headers.get(AGE).map_or(&[][..], HeaderValue::as_bytes);
    let first = line.split(|&byte| byte == b',').next().unwrap_or_default();
    digits(first.trim_ascii().iter().copied()).unwrap_or_default()
}

/// The time of the first Date line, where it is a date.
#[must_use]
pub fn date_field(headers: &HeaderMap, received: SystemTime) -> Option<SystemTime> {
    date::parse_at(headers.get(DATE)?.as_bytes(), received)
}

/// The age of a response at its arrival (§4.2.3): by the origin's clock, or by what the caches on
/// the way say and the exchange took, whichever is more.
#[must_use]
pub fn initial_age(age: Duration, date: Option<SystemTime>, exchange: Exchange) -> Duration {
    let since = |then| exchange.received.duration_since(then).unwrap_or_default();
    // RFC 9110 §6.6.1: a response without Date is dated by its arrival.
    let apparent = date.map_or(Duration::ZERO, since);
    apparent.max(age.saturating_add(since(exchange.sent)))
}

#[cfg(test)]
mod tests {
    use super::super::rows::{field, fields, now, seconds};
    use super::*;

    #[test]
    fn section_5_1_age_is_the_first_number_of_the_first_line() {
        for (lines, age) in [
            (&["7"][..], 7),
            (&["007"], 7),
            (&["7, 0"], 7),
            (&["0,7"], 0),
            (&["7", "9"], 7),
            (&["old", "9"], 0),
            (&["2147483647"], (1 << 31) - 1),
            (&["2147483648"], 1 << 31),
            (&["99999999999999999999999"], 1 << 31),
            (&["-7"], 0),
            (&["+7"], 0),
            (&["7.0"], 0),
            (&["7;x=1"], 0),
            (&["old"], 0),
            (&[", 7"], 0),
            (&[""], 0),
            (&[], 0),
        ] {
            assert_eq!(age_field(&field("age", lines)), seconds(age), "{lines:?}");
        }
    }

    #[test]
    fn rfc9110_6_6_1_date_is_that_of_the_first_line() {
        let minute_ago = "date: Sun, 06 Nov 1994 08:48:37 GMT";
        for (lines, date) in [
            (&[minute_ago][..], Some(now() - seconds(60))),
            (&[minute_ago, "date: today"], Some(now() - seconds(60))),
            (&["date: today", minute_ago], None),
            (&["date: 0"], None),
            (&[], None),
        ] {
            assert_eq!(date_field(&fields(lines), now()), date, "{lines:?}");
        }
    }

    #[test]
    fn section_4_2_3_the_larger_of_the_two_ages_is_the_age_at_arrival() {
        let most = Duration::MAX;
        let (ago, ahead) = (|of| Some(now() - seconds(of)), |of| Some(now() + seconds(of)));
        for (age, date, took, initial) in [
            (seconds(0), None, 0, seconds(0)),
            (seconds(0), None, 3, seconds(3)),
            (seconds(10), None, 3, seconds(13)),
            // The apparent age, where it is more than what the caches on the way say.
            (seconds(10), ago(20), 3, seconds(20)),
            (seconds(10), ago(13), 3, seconds(13)),
            (seconds(10), ago(5), 3, seconds(13)),
            // A clock ahead of ours makes no age below zero.
            (seconds(0), ahead(100), 3, seconds(3)),
            (seconds(0), ahead(100), 0, seconds(0)),
            // §1.2.2: more than can be counted is the most that can.
            (seconds(1 << 31), None, 3, seconds((1 << 31) + 3)),
            (most, None, 3, most),
            (most, ago(20), 3, most),
        ] {
            let exchange = Exchange { sent: now() - seconds(took), received: now() };
            assert_eq!(initial_age(age, date, exchange), initial, "{age:?} {date:?} {took}");
        }
    }

    #[test]
    fn section_4_2_3_a_clock_that_was_turned_back_adds_nothing() {
        let exchange = Exchange { sent: now(), received: now() - seconds(3) };
        assert_eq!(initial_age(seconds(1), None, exchange), seconds(1));
    }
}
