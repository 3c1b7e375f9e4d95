//! Numbers of seconds (RFC 9111 §1.2.2), as directives and Age name them.

use std::time::Duration;

/// The longest time a directive or an Age can name (RFC 9111 §1.2.2): 2^31 seconds.
pub(super) const LONGEST: Duration = Duration::from_secs(1 << 31);

/// A number of seconds: digits and nothing else, held to [`LONGEST`].
pub(super) fn digits(text: impl Iterator<Item = u8>) -> Option<Duration> {
    let mut seconds = None;
    for byte in text {
        let digit = u64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        let next = seconds.unwrap_or(0_u64) * 10 + digit;
        seconds = Some(next.min(LONGEST.as_secs()));
    }
    seconds.map(Duration::from_secs)
}

/// §4.2.1: where a directive is said twice, the most restrictive reading holds.
pub(super) fn least(known: &mut Option<Duration>, said: Duration) {
    *known = Some(known.map_or(said, |before| before.min(said)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_1_2_2_a_number_of_seconds_is_digits_held_to_2_31() {
        for (text, read) in [
            ("0", Some(0)),
            ("60", Some(60)),
            ("0060", Some(60)),
            ("2147483647", Some((1 << 31) - 1)),
            ("2147483648", Some(1 << 31)),
            ("2147483649", Some(1 << 31)),
            ("18446744073709551616", Some(1 << 31)),
            ("99999999999999999999999999999999999999999999", Some(1 << 31)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            ("1e3", None),
            ("1 0", None),
            ("0x10", None),
            ("99999999999999999999999999x", None),
            ("\u{661}", None),
        ] {
            assert_eq!(digits(text.bytes()), read.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn section_4_2_1_of_two_times_the_shorter_holds() {
        for (times, holds) in
            [(&[][..], None), (&[5], Some(5)), (&[5, 9], Some(5)), (&[9, 5, 7], Some(5))]
        {
            let mut known = None;
            times.iter().for_each(|&time| least(&mut known, Duration::from_secs(time)));
            assert_eq!(known, holds.map(Duration::from_secs), "{times:?}");
        }
    }
}
