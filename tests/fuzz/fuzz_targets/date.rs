//! Dates (RFC 9110 §5.6.7): the first line is one to read, the second has numbers: a time in
//! seconds and nanoseconds, a time that is now, and another.
#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use seawall::rfc9111::{
    date::{format, parse, parse_at},
    retry_after::retry_after,
};
use seawall_fuzz::{numbers, time};

/// The first second of the year 0, and that of the year 10000.
const YEARS: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

fuzz_target!(|data: &[u8]| {
    let (text, rest) = match data.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &data[..0]),
    };
    let [seconds, nanos, now, other] = numbers(rest);
    read(text, time(now, 0));
    write(seconds, nanos, other);
    layouts(seconds, time(now, 0));
});

fn read(text: &[u8], now: SystemTime) {
    let (at, at_now) = (parse(text), parse_at(text, now));
    assert_eq!(at.is_some(), at_now.is_some(), "one layout, two ways to read its year");
    assert_eq!(parse(&text.to_ascii_uppercase()), at);
    assert_eq!(parse(&text.to_ascii_lowercase()), at);

    // The other reader knows no weekday but the right one, and no leap second.
    if let Ok(text) = std::str::from_utf8(text)
        && text.trim() == text
        && text.split(':').next().is_some_and(|head| head.rfind(' ') == head.len().checked_sub(3))
        && let Ok(theirs) = httpdate::parse_http_date(text)
    {
        assert_eq!(at, Some(theirs), "{text}");
    }

    if let Ok(value) = HeaderValue::from_bytes(text) {
        let trimmed = text.trim_ascii();
        let is_number = !trimmed.is_empty() && trimmed.iter().all(u8::is_ascii_digit);
        let wait = retry_after(&value, now);
        if is_number {
            let digits = std::str::from_utf8(trimmed).expect("digits");
            assert_eq!(wait, Some(Duration::from_secs(digits.parse().unwrap_or(u64::MAX))));
        } else {
            let then = parse_at(trimmed, now);
            assert_eq!(wait, then.and_then(|then| then.duration_since(now).ok()));
        }
    }

    let Some(at) = at else { return };
    let written = format(at);
    let again = parse(&written).expect("what we write, we read");
    assert_eq!(format(again), written);
    let is_within = at < time(YEARS.end, 0);
    assert!(!is_within || again == at);

    // What was read is what stands there: nothing but the weekday is taken on trust.
    let is_leap_second = text.windows(3).any(|window| window == b":60");
    if text.len() == 29 && is_within && !is_leap_second {
        assert!(written[4..].eq_ignore_ascii_case(&text[4..]));
        assert_eq!(at_now, Some(at), "a year of four digits needs no present");
    }
}

fn write(seconds: i64, nanos: i64, other: i64) {
    let at = time(seconds, nanos);
    let written = format(at);
    let held = time(seconds.clamp(YEARS.start, YEARS.end - 1), 0);
    assert_eq!(parse(&written), Some(held));
    assert_eq!(parse_at(&written, time(other, 0)), Some(held));

    let text = std::str::from_utf8(&written).expect("ASCII");
    if (0..YEARS.end).contains(&seconds) {
        assert_eq!(text, httpdate::fmt_http_date(at));
    }

    // Weekdays, months and days come back every 400 years, which are whole weeks.
    const CYCLE: i64 = 146_097 * 24 * 60 * 60;
    if YEARS.contains(&seconds) && YEARS.contains(&(seconds + CYCLE)) {
        let later = format(time(seconds + CYCLE, 0));
        assert_eq!((&later[..12], &later[16..]), (&written[..12], &written[16..]));
        let year = |text: &[u8; 29]| std::str::from_utf8(&text[12..16]).unwrap().parse::<u16>();
        assert_eq!(year(&later).unwrap(), year(&written).unwrap() + 400);
    }

    // What is later is not written as earlier.
    let (one, two) = (seconds.min(other), seconds.max(other));
    assert!(parse(&format(time(one, 0))) <= parse(&format(time(two, 0))));
}

/// The same second in the two older layouts.
fn layouts(seconds: i64, now: SystemTime) {
    if !YEARS.contains(&seconds) {
        return;
    }
    let at = time(seconds, 0);
    let imf = String::from_utf8(format(at).into()).expect("ASCII");
    let (weekday, day, month) = (&imf[..3], &imf[5..7], &imf[8..11]);
    let (year, clock) = (&imf[12..16], &imf[17..25]);
    for day in [day.to_owned(), format!("{:>2}", day.trim_start_matches('0'))] {
        let asctime = format!("{weekday} {month} {day} {clock} {year}");
        assert_eq!(parse(asctime.as_bytes()), Some(at), "{asctime}");
        assert_eq!(parse_at(asctime.as_bytes(), now), Some(at), "{asctime}");
    }
    let weekday = WEEKDAYS.iter().find(|name| name.starts_with(weekday)).expect("a weekday");
    let short = format!("{weekday}, {day}-{month}-{} {clock} GMT", &year[2..]);
    if (1970..2070).contains(&year.parse::<u16>().expect("a year")) {
        assert_eq!(parse(short.as_bytes()), Some(at), "{short}");
    }

    // Two digits of a year: the same two come back, and not more than 50 years ahead of now.
    let is_within = |at: SystemTime| {
        let seconds = match at.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_secs().try_into().unwrap_or(i64::MAX),
            Err(before) => -before.duration().as_secs().try_into().unwrap_or(i64::MAX),
        };
        YEARS.contains(&seconds)
    };
    let Some(read) = parse_at(short.as_bytes(), now) else {
        // The 29th of February of a year that has none.
        assert!(day == "29" && month == "Feb");
        return;
    };
    if is_within(read) && is_within(now) {
        let (of_read, of_now) = (calendar(read), calendar(now));
        assert_eq!(of_read.0 % 100, year.parse::<i32>().expect("a year") % 100);
        let horizon = (of_now.0 + 50, of_now.1, of_now.2);
        // FAILS: the year alone is compared, so that the rest of the 50th year counts (seed `ahead`).
        assert!(of_read <= horizon, "{short} is read as in {of_read:?}, beyond {horizon:?}");
        assert!(of_read.0 >= horizon.0 - 100, "{short} is read as in {of_read:?}");
    }
}

/// Year, month, and all that is less.
fn calendar(at: SystemTime) -> (i32, usize, String) {
    let imf = String::from_utf8(format(at).into()).expect("ASCII");
    let month = MONTHS.iter().position(|month| *month == &imf[8..11]).expect("a month");
    let year = imf[12..16].parse().expect("a year");
    (year, month, format!("{}{}", &imf[5..7], &imf[17..25]))
}
