//! How long to wait before asking again (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use http::HeaderValue;

use super::date::parse_at;

/// How long a `Retry-After` asks to wait from `now` on: seconds, or a date that is not past
/// (RFC 9110 §10.2.3).
#[must_use]
pub fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let value = value.as_bytes().trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return parse_at(value, now)?.duration_since(now).ok();
    }
    // More seconds than can be counted are as many as can.
    let digit = |seconds: u64, digit: &u8| {
        seconds.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    };
    Some(Duration::from_secs(value.iter().fold(0, digit)))
}

#[cfg(test)]
mod tests {
    use super::super::rows::{now, seconds, text};
    use super::*;

    #[test]
    fn rfc9110_10_2_3_a_wait_is_a_number_of_seconds_or_a_date_ahead() {
        for (value, wait) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 120\t", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:36 GMT", None),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("120s", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(&text(value), now()), wait.map(seconds), "{value}");
        }
    }
}
