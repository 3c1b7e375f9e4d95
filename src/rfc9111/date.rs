//! HTTP dates (RFC 9110 §5.6.7): the three layouts that recipients must read, the one to write.
//!
//! The layout is exact (no second space, no other zone than GMT), the case of letters is not:
//! what is accepted here counts as explicit freshness, so a lax reading would store more than the
//! origin meant.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const WEEKDAYS: [&[u8]; 7] =
    [b"Thursday", b"Friday", b"Saturday", b"Sunday", b"Monday", b"Tuesday", b"Wednesday"];
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
/// Days of a common year that lie before each month.
const DAYS_BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const DAY: i64 = 24 * 60 * 60;
/// Days from 0000-01-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_528;
/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// Reads a date in any of the three layouts; a two-digit year below 70 is of this century.
///
/// ```
/// use seawall::rfc9111::date;
///
/// let imf = date::parse(b"Sun, 06 Nov 1994 08:49:37 GMT");
/// assert!(imf.is_some());
/// assert_eq!(imf, date::parse(b"Sunday, 06-Nov-94 08:49:37 GMT"));
/// assert_eq!(imf, date::parse(b"Sun Nov  6 08:49:37 1994"));
/// ```
#[must_use]
pub fn parse(value: &[u8]) -> Option<SystemTime> {
    let (year, rest) = layout(value)?;
    let year = match year {
        Year::Full(year) => year,
        Year::Short(year) if year < 70 => 2000 + year,
        Year::Short(year) => 1900 + year,
    };
    rest.in_year(year)
}

/// Reads a date; with a two-digit year, one more than 50 years after `now` is of the century before.
#[must_use]
pub fn parse_at(value: &[u8], now: SystemTime) -> Option<SystemTime> {
    let (year, rest) = layout(value)?;
    let year = match year {
        Year::Full(year) => year,
        // RFC 9110 §5.6.7: the latest year with these two digits that is not too far ahead.
        Year::Short(year) => {
            let horizon = civil_year(seconds(now).div_euclid(DAY)) + 50;
            let latest = horizon - (horizon - year).rem_euclid(100);
            let in_this = layout(&format(now)).is_some_and(|(_, now)| rest.is_after(&now));
            if latest == horizon && in_this { latest - 100 } else { latest }
        }
    };
    rest.in_year(year)
}

/// Writes a date as IMF-fixdate, to the second below; years are held to 0000–9999.
#[must_use]
pub fn format(at: SystemTime) -> [u8; 29] {
    let at = seconds(at).clamp(-EPOCH_DAYS * DAY, LAST_SECOND);
    let (days, second) = (at.div_euclid(DAY), at.rem_euclid(DAY));
    let year = civil_year(days);
    let of_year = days - days_to(year);
    let starts = |month: usize| DAYS_BEFORE[month] + i64::from(month > 1 && leap(year));
    let month = (0..12).rev().find(|&month| starts(month) <= of_year).unwrap_or(0);

    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let weekday = WEEKDAYS[days.rem_euclid(7).unsigned_abs() as usize % 7];
    out[..3].copy_from_slice(&weekday[..3]);
    out[8..11].copy_from_slice(MONTHS[month]);
    two_digits(&mut out, 5, of_year - starts(month) + 1);
    two_digits(&mut out, 12, year / 100);
    two_digits(&mut out, 14, year % 100);
    two_digits(&mut out, 17, second / 3600);
    two_digits(&mut out, 20, second / 60 % 60);
    two_digits(&mut out, 23, second % 60);
    out
}

fn two_digits(out: &mut [u8; 29], at: usize, number: i64) {
    out[at] = b'0' + (number / 10 % 10).unsigned_abs() as u8;
    out[at + 1] = b'0' + (number % 10).unsigned_abs() as u8;
}

enum Year {
    Full(i64),
    Short(i64),
}

/// All of a date but its year.
struct InYear {
    month: usize,
    day: i64,
    second: i64,
}

impl InYear {
    /// Whether it comes later in a year.
    fn is_after(&self, other: &Self) -> bool {
        (self.month, self.day, self.second) > (other.month, other.day, other.second)
    }

    fn in_year(&self, year: i64) -> Option<SystemTime> {
        let length = match self.month {
            1 => 28 + i64::from(leap(year)),
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        };
        if self.day < 1 || self.day > length {
            return None;
        }
        let leap_day = i64::from(self.month > 1 && leap(year));
        let days = days_to(year) + DAYS_BEFORE[self.month] + leap_day + self.day - 1;
        let at = days * DAY + self.second;
        let distance = Duration::from_secs(at.unsigned_abs());
        // Where the platform's clock knows no time before 1970, such a date is 1970.
        let moved = if at < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        moved.or(Some(UNIX_EPOCH))
    }
}

fn layout(value: &[u8]) -> Option<(Year, InYear)> {
    if value.get(3) == Some(&b' ') {
        return asctime(value);
    }
    let comma = value.iter().position(|&byte| byte == b',')?;
    let (weekday, rest) = (&value[..comma], value[comma..].strip_prefix(b", ")?);
    let short = comma == 3;
    // `06 Nov 1994 08:49:37 GMT` or `06-Nov-94 08:49:37 GMT`.
    let (gap, length) = if short { (b' ', 24) } else { (b'-', 22) };
    if !is_weekday(weekday, short) || rest.len() != length || rest[2] != gap || rest[6] != gap {
        return None;
    }
    let year = if short {
        Year::Full(number(&rest[7..9])? * 100 + number(&rest[9..11])?)
    } else {
        Year::Short(number(&rest[7..9])?)
    };
    let clock = &rest[length - 13..];
    if clock[0] != b' ' || !clock[9..].eq_ignore_ascii_case(b" GMT") {
        return None;
    }
    let (month, day) = (month(&rest[3..6])?, number(&rest[..2])?);
    Some((year, InYear { month, day, second: time_of_day(&clock[1..9])? }))
}

/// `Sun Nov  6 08:49:37 1994`.
fn asctime(value: &[u8]) -> Option<(Year, InYear)> {
    let gaps = value.len() == 24 && [3, 7, 10, 19].iter().all(|&at| value[at] == b' ');
    if !gaps || !is_weekday(&value[..3], true) {
        return None;
    }
    let day = match value[8] {
        b' ' => number(&value[9..10])?,
        _ => number(&value[8..10])?,
    };
    let year = Year::Full(number(&value[20..22])? * 100 + number(&value[22..24])?);
    let second = time_of_day(&value[11..19])?;
    Some((year, InYear { month: month(&value[4..7])?, day, second }))
}

/// `08:49:37`; a leap second is read as the second after.
fn time_of_day(text: &[u8]) -> Option<i64> {
    let (hour, minute, second) = (number(&text[..2])?, number(&text[3..5])?, number(&text[6..8])?);
    let within = hour < 24 && minute < 60 && second < 61 && text[2] == b':' && text[5] == b':';
    within.then_some(hour * 3600 + minute * 60 + second)
}

fn is_weekday(text: &[u8], short: bool) -> bool {
    WEEKDAYS.iter().any(|name| {
        let name = if short { &name[..3] } else { name };
        name.eq_ignore_ascii_case(text)
    })
}

fn month(text: &[u8]) -> Option<usize> {
    MONTHS.iter().position(|name| name.eq_ignore_ascii_case(text))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970-01-01 to the first of January of `year`.
fn days_to(year: i64) -> i64 {
    // The years before this one that had a leap day; year 0 is one of them.
    let before = year - 1;
    let leap_days = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) + 1;
    year * 365 + leap_days - EPOCH_DAYS
}

/// The year in which the given day, counted from 1970-01-01, lies.
fn civil_year(days: i64) -> i64 {
    // 400 years have 146 097 days; the estimate is off by one year at most.
    let estimate = (days + EPOCH_DAYS).saturating_mul(400).div_euclid(146_097);
    if days < days_to(estimate) {
        estimate - 1
    } else if days >= days_to(estimate + 1) {
        estimate + 1
    } else {
        estimate
    }
}

/// Whole seconds since 1970, rounded down, held to ± some 300 000 years.
fn seconds(at: SystemTime) -> i64 {
    const FAR: u64 = 1 << 43;
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs().min(FAR).cast_signed(),
        Err(before) => {
            let before = before.duration();
            let part = u64::from(before.subsec_nanos() > 0);
            -before.as_secs().saturating_add(part).min(FAR).cast_signed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn rfc9110_5_6_7_the_three_layouts_are_read_whatever_the_case() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "SUN, 06 nov 1994 08:49:37 gMt",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "sunday, 06-NOV-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(at(784_111_777)), "{text}");
        }
    }

    #[test]
    fn rfc9110_5_6_7_anything_else_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov  1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 1900 08:49:37 GMT",
            "Sun, 29 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nvm 1994 08:49:37 GMT",
            "Xun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            " Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun, 06 Nov 1994\u{a0}08:49:37 GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn rfc9110_5_6_7_a_two_digit_year_is_at_most_fifty_years_ahead() {
        let year = |text: &[u8], now| {
            String::from_utf8(format(parse_at(text, now).unwrap())[12..16].to_vec()).unwrap()
        };
        let in_2026 = at(1_780_000_000);
        assert_eq!(year(b"Thursday, 18-Aug-50 02:01:18 GMT", in_2026), "2050");
        // It is May.
        assert_eq!(year(b"Thursday, 18-Apr-76 02:01:18 GMT", in_2026), "2076");
        assert_eq!(year(b"Thursday, 18-Aug-76 02:01:18 GMT", in_2026), "1976");
        assert_eq!(year(b"Thursday, 18-Aug-77 02:01:18 GMT", in_2026), "1977");
        assert_eq!(year(b"Thursday, 18-Aug-00 02:01:18 GMT", in_2026), "2000");
        assert_eq!(year(b"Thursday, 18-Aug-10 02:01:18 GMT", at(2_840_140_800)), "2010");
        assert_eq!(year(b"Wednesday, 01-Jan-10 00:00:00 GMT", at(2_840_140_800)), "2110");
    }

    #[test]
    fn rfc9110_5_6_7_leap_days_and_the_ends_of_years_are_written_as_they_were_read() {
        for text in [
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Tue, 29 Feb 2000 12:00:00 GMT",
            "Thu, 29 Feb 2024 23:59:59 GMT",
            "Sun, 31 Dec 2023 23:59:59 GMT",
            "Mon, 01 Jan 2024 00:00:00 GMT",
            "Tue, 31 Dec 2024 23:59:59 GMT",
            "Mon, 01 Mar 2100 00:00:00 GMT",
            "Sat, 01 Jan 0000 00:00:00 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            let read = parse(text.as_bytes()).unwrap();
            assert_eq!(std::str::from_utf8(&format(read)).unwrap(), text);
        }
    }

    #[test]
    fn rfc9110_5_6_7_times_beyond_the_years_of_the_format_are_held_to_them() {
        let far = UNIX_EPOCH + Duration::from_secs(1 << 60);
        assert_eq!(&format(far)[..], b"Fri, 31 Dec 9999 23:59:59 GMT");
        let early = UNIX_EPOCH - Duration::from_secs(1 << 60);
        assert_eq!(&format(early)[..], b"Sat, 01 Jan 0000 00:00:00 GMT");
        assert_eq!(&format(UNIX_EPOCH - Duration::from_nanos(1))[17..25], b"23:59:59");
    }
}
