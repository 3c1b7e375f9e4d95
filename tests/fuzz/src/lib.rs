//! What the targets share: how text becomes fields, numbers and times.
//!
//! Inputs are text, so that a seed and a finding can be read: lines of fields, in sections with an
//! empty line between them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

pub mod directives;

/// The sections of an input; an input with fewer has empty ones at its end.
pub fn sections<const N: usize>(mut data: &[u8]) -> [&[u8]; N] {
    let mut sections = [&data[..0]; N];
    for (at, section) in sections.iter_mut().enumerate() {
        let end = data.windows(2).position(|pair| pair == b"\n\n").filter(|_| at + 1 < N);
        *section = &data[..end.unwrap_or(data.len())];
        data = end.map_or(&[], |end| &data[end + 2..]);
    }
    sections
}

/// The lines of a section that can be the value of a field.
pub fn values(section: &[u8]) -> Vec<HeaderValue> {
    if section.is_empty() {
        return Vec::new();
    }
    section.split(|&byte| byte == b'\n').flat_map(HeaderValue::from_bytes).collect()
}

/// One field with these lines.
pub fn field<'a>(name: &HeaderName, lines: impl IntoIterator<Item = &'a HeaderValue>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines {
        fields.append(name, line.clone());
    }
    fields
}

/// `name: value` lines; what is none is left out.
pub fn fields(section: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in section.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let value = line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]);
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

/// A value that is made of pieces of values.
pub fn value(bytes: impl AsRef<[u8]>) -> HeaderValue {
    HeaderValue::from_bytes(bytes.as_ref()).expect("pieces of values")
}

/// All lines as one (RFC 9110 §5.3).
pub fn joined(lines: &[HeaderValue]) -> HeaderValue {
    value(lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]))
}

/// The same lines, each with its bytes changed.
pub fn mapped(lines: &[HeaderValue], change: impl Fn(&[u8]) -> Vec<u8>) -> Vec<HeaderValue> {
    lines.iter().map(|line| value(change(line.as_bytes()))).collect()
}

/// A line with space about each comma.
pub fn spaced(line: &[u8]) -> Vec<u8> {
    line.split(|&byte| byte == b',').collect::<Vec<_>>().join(&b" \t,\t "[..])
}

/// Decimal numbers, in any company; those that are missing are zero, those beyond are held.
pub fn numbers<const N: usize>(text: &[u8]) -> [i64; N] {
    let mut numbers = [0; N];
    let words = text.split(|byte| !byte.is_ascii_digit() && *byte != b'-');
    for (number, word) in numbers.iter_mut().zip(words.filter(|word| !word.is_empty())) {
        let digits = word.iter().filter(|byte| byte.is_ascii_digit());
        let read = digits.fold(0_i64, |sum, digit| {
            sum.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
        });
        // The smallest is one further out than the largest.
        *number =
            if word[0] == b'-' { (-read).saturating_sub((read == i64::MAX).into()) } else { read };
    }
    numbers
}

/// So many seconds after 1970, or before it.
pub fn time(seconds: i64, nanos: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    let nanos = Duration::from_nanos(nanos.unsigned_abs() % 1_000_000_000);
    let whole = whole.expect("seconds fit an i64");
    whole.checked_add(nanos).unwrap_or(whole)
}
