//! Cache-Control as its grammar has it (RFC 9111 §5.2), for lines that keep to it.

use std::time::Duration;

/// A directive's name in lower case, and its argument without quotes and escapes.
pub type Directive = (String, Option<Vec<u8>>);

/// The directives of a line; none where the line breaks the grammar.
pub fn read(mut line: &[u8]) -> Option<Vec<Directive>> {
    let mut all = Vec::new();
    loop {
        line = line.trim_ascii_start();
        if !line.is_empty() && line[0] != b',' {
            let (directive, rest) = directive(line)?;
            all.push(directive);
            line = rest.trim_ascii_start();
        }
        match line.split_first() {
            None => return Some(all),
            Some((b',', rest)) => line = rest,
            Some(_) => return None,
        }
    }
}

fn directive(text: &[u8]) -> Option<(Directive, &[u8])> {
    let (name, rest) = token(text)?;
    let name = String::from_utf8(name.to_ascii_lowercase()).ok()?;
    let Some(rest) = rest.strip_prefix(b"=") else { return Some(((name, None), rest)) };
    let (argument, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => rest_of_quoted(quoted)?,
        None => token(rest).map(|(token, rest)| (token.to_vec(), rest))?,
    };
    Some(((name, Some(argument)), rest))
}

fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_tchar = |byte: &u8| byte.is_ascii_graphic() && !br#"(),/:;<=>?@[\]{}""#.contains(byte);
    let end = text.iter().position(|byte| !is_tchar(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn rest_of_quoted(mut text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut unescaped = Vec::new();
    loop {
        match text {
            [b'"', rest @ ..] => return Some((unescaped, rest)),
            [] | [b'\\'] => return None,
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                unescaped.push(*byte);
                text = rest;
            }
        }
    }
}

/// The longest time that a directive can name (RFC 9111 §1.2.2).
pub const LONGEST: u64 = 1 << 31;

/// A number of seconds; none where it is not one.
pub fn seconds(argument: Option<&[u8]>) -> Option<Duration> {
    let text = std::str::from_utf8(argument?).ok()?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX).min(LONGEST)))
}

/// The shorter of two times, where there are two.
pub fn least(known: Option<Duration>, said: Duration) -> Option<Duration> {
    Some(known.map_or(said, |known| known.min(said)))
}
