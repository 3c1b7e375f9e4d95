//! What the tables of the tests are written in: fields as lines, times in seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The fields of `name: value` lines, repeats in their order.
pub(super) fn fields(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), text(value));
    }
    headers
}

/// The same of pairs.
pub(super) fn named(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

/// One field, of any number of lines.
pub(super) fn field(name: &'static str, lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(HeaderName::from_static(name), text(line));
    }
    headers
}

/// A value, which need not be ASCII.
pub(super) fn text(value: &str) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap()
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Sun, 06 Nov 1994 08:49:37 GMT.
pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + seconds(784_111_777)
}
