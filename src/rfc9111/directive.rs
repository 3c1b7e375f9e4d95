//! How directives are written (RFC 9111 §5.2): a list (RFC 9110 §5.6.1) of tokens, each with an
//! argument or without, and the argument a token or a quoted string alike.
//!
//! Where a field is malformed, the most restrictive reading holds (§4.2.1).

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::delta_seconds::digits;

/// What follows a directive's name.
pub(super) enum Argument<'a> {
    Absent,
    Token(&'a [u8]),
    /// What is between the quotes, its escapes not yet resolved.
    Quoted(&'a [u8]),
    Malformed,
}

impl Argument<'_> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The argument's text; nothing where it has none.
    fn text(&self) -> impl Iterator<Item = u8> {
        let (text, escapes) = match self {
            Self::Token(text) => (*text, false),
            Self::Quoted(text) => (*text, true),
            Self::Absent | Self::Malformed => (&[][..], false),
        };
        let mut rest = text.iter().copied();
        std::iter::from_fn(move || match rest.next()? {
            b'\\' if escapes => rest.next(),
            byte => Some(byte),
        })
    }

    pub(super) fn valid_seconds(&self) -> Option<Duration> {
        digits(self.text())
    }

    /// §4.2.1: invalid freshness information is stale.
    pub(super) fn seconds(&self) -> Duration {
        self.valid_seconds().unwrap_or_default()
    }

    /// Adds the field names of a qualified directive; false where it is not qualified.
    pub(super) fn names_into(&self, names: &mut Vec<HeaderName>) -> bool {
        match self {
            Self::Token(text) => field_names(text, names),
            Self::Quoted(_) => field_names(&self.text().collect::<Vec<_>>(), names),
            Self::Absent | Self::Malformed => false,
        }
    }
}

/// Calls `take` with the lower-case name and the argument of every member of a field.
pub(super) fn each_member(
    headers: &HeaderMap,
    field: &HeaderName,
    mut take: impl FnMut(&[u8], Argument<'_>),
) {
    let lines = || headers.get_all(field).iter().map(HeaderValue::as_bytes);
    if lines().all(|line| open_quote(line).is_none()) {
        lines().for_each(|line| each_member_of(line, &mut take));
    } else {
        // RFC 9110 §5.3: a quoted string may go on in the next line.
        each_member_of(&lines().collect::<Vec<_>>().join(&b','), &mut take);
    }
}

fn each_member_of(text: &[u8], take: &mut impl FnMut(&[u8], Argument<'_>)) {
    // A quote that nothing closes hides no directive: it is a character like any other.
    let quotes_end = open_quote(text).unwrap_or(text.len());
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if at < quotes_end => quoted = !quoted,
            b',' if !quoted => {
                member(&text[start..at], take);
                start = at + 1;
            }
            _ => {}
        }
    }
    member(&text[start..], take);
}

fn member(text: &[u8], take: &mut impl FnMut(&[u8], Argument<'_>)) {
    let text = text.trim_ascii();
    let (name, argument) = match text.iter().position(|&byte| byte == b'=') {
        Some(at) => (&text[..at], argument(&text[at + 1..])),
        None => (text, Argument::Absent),
    };
    // RFC 9110 §5.6.6 has no space around the sign; a known directive with one is malformed.
    let trimmed = name.trim_ascii_end();
    let argument = if trimmed.len() < name.len() { Argument::Malformed } else { argument };
    // No directive known here is longer.
    let mut lower = [0; 24];
    if let Some(lower) = lower.get_mut(..trimmed.len()) {
        lower.copy_from_slice(trimmed);
        lower.make_ascii_lowercase();
        take(lower, argument);
    }
}

fn argument(text: &[u8]) -> Argument<'_> {
    if let Some(rest) = text.strip_prefix(b"\"") {
        return match rest.strip_suffix(b"\"") {
            Some(inner) if is_quotable(inner) => Argument::Quoted(inner),
            _ => Argument::Malformed,
        };
    }
    if !text.is_empty() && text.iter().copied().all(is_token) {
        Argument::Token(text)
    } else {
        Argument::Malformed
    }
}

/// Whether the text has no quote and no backslash at its end but escaped ones.
fn is_quotable(text: &[u8]) -> bool {
    let mut escaped = false;
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return false,
            _ => {}
        }
    }
    !escaped
}

/// Where a quoted string begins that does not end.
fn open_quote(text: &[u8]) -> Option<usize> {
    let (mut open, mut escaped) = (None, false);
    for (at, &byte) in text.iter().enumerate() {
        match (byte, open) {
            _ if escaped => escaped = false,
            (b'\\', Some(_)) => escaped = true,
            (b'"', None) => open = Some(at),
            (b'"', Some(_)) => open = None,
            _ => {}
        }
    }
    open
}

/// Adds a comma-separated list of field names; false, and nothing added, where it is not one.
pub(super) fn field_names(list: &[u8], names: &mut Vec<HeaderName>) -> bool {
    let before = names.len();
    for name in list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        match HeaderName::from_bytes(name) {
            Ok(name) => names.push(name),
            // §5.6.1.2 of RFC 9110: empty members count for nothing.
            Err(_) if name.is_empty() => {}
            Err(_) => {
                names.truncate(before);
                return false;
            }
        }
    }
    names.len() > before
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::header::CACHE_CONTROL;

    use super::super::rows::field;
    use super::*;

    /// What the members of these lines are, one after another.
    fn members(lines: &[&str]) -> Vec<String> {
        let mut read = Vec::new();
        each_member(&field("cache-control", lines), &CACHE_CONTROL, |name, argument| {
            let name = String::from_utf8_lossy(name).into_owned();
            let text = String::from_utf8(argument.text().collect()).unwrap();
            read.push(match argument {
                Argument::Absent => name,
                Argument::Token(_) => format!("{name} is {text}"),
                Argument::Quoted(_) => format!("{name} quotes {text}"),
                Argument::Malformed => format!("{name} is malformed"),
            });
        });
        read.retain(|member| !member.is_empty());
        read
    }

    #[test]
    fn section_5_2_a_directive_is_a_name_and_an_argument_in_either_form() {
        for (line, read) in [
            ("a", "a"),
            ("A-b", "a-b"),
            ("a=1", "a is 1"),
            ("a=B", "a is B"),
            ("a='1'", "a is '1'"),
            ("a=\"1\"", "a quotes 1"),
            ("a=\"\"", "a quotes "),
            ("a=\"b c\"", "a quotes b c"),
            ("a=", "a is malformed"),
            ("a=b=c", "a is malformed"),
            ("a=b c", "a is malformed"),
            ("a=1;x", "a is malformed"),
            ("a=\"1\"x", "a is malformed"),
        ] {
            assert_eq!(members(&[line]), [read], "{line}");
        }
        assert!(members(&["a-directive-longer-than-any-that-is-known=1"]).is_empty());
    }

    #[test]
    fn rfc9110_5_6_1_empty_members_count_for_nothing_and_lines_are_one_list() {
        for (lines, read) in [
            (&[][..], &[][..]),
            (&[""], &[]),
            (&[" , ,\t"], &[]),
            (&[" , ,a, ,b,"], &["a", "b"]),
            (&["a,b"], &["a", "b"]),
            (&["a", "", "b"], &["a", "b"]),
            (&["a\t,\tb"], &["a", "b"]),
        ] {
            assert_eq!(members(lines), read, "{lines:?}");
        }
    }

    #[test]
    fn rfc9110_5_6_4_a_quoted_string_hides_commas_and_escapes_quotes() {
        for (lines, read) in [
            (&["a=\"b, c\", d"][..], &["a quotes b, c", "d"][..]),
            (&["a=\"b\\\", c\", d"], &["a quotes b\", c", "d"]),
            (&["a=\"b\\c\""], &["a quotes bc"]),
            (&["a=\"b\\\\\", c"], &["a quotes b\\", "c"]),
            // It may go on in the next line (RFC 9110 §5.3).
            (&["a=\"b", "c\", d"], &["a quotes b,c", "d"]),
            // A quote that nothing closes hides no directive.
            (&["a=\"b, c"], &["a is malformed", "c"]),
            (&["a=\"b\\\", c"], &["a is malformed", "c"]),
            (&["a=\"b\", c=\"d, e"], &["a quotes b", "c is malformed", "e"]),
        ] {
            assert_eq!(members(lines), read, "{lines:?}");
        }
    }

    #[test]
    fn rfc9110_5_6_6_no_space_stands_around_the_sign() {
        for line in ["a =1", "a\t=1", "a= 1", "a = 1", "a =\"1\""] {
            assert_eq!(members(&[line]), ["a is malformed"], "{line}");
        }
    }

    #[test]
    fn section_4_2_1_what_is_no_number_of_seconds_is_zero() {
        for (argument, seconds) in [
            (Argument::Token(b"60"), 60),
            (Argument::Quoted(b"60"), 60),
            (Argument::Quoted(b"6\\0"), 60),
            (Argument::Quoted(b" 60"), 0),
            (Argument::Quoted(b""), 0),
            (Argument::Token(b"60x"), 0),
            (Argument::Absent, 0),
            (Argument::Malformed, 0),
        ] {
            assert_eq!(argument.seconds(), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn rfc9110_5_1_a_list_of_field_names_holds_nothing_else() {
        for (list, names) in [
            ("a", &["a"][..]),
            ("Set-Cookie", &["set-cookie"]),
            (" a ,, b", &["a", "b"]),
            ("a, b c", &[]),
            ("a, \"b\"", &[]),
            (",", &[]),
            ("", &[]),
        ] {
            let mut read = Vec::new();
            assert_eq!(field_names(list.as_bytes(), &mut read), !names.is_empty(), "{list}");
            assert_eq!(read, names, "{list}");
        }
    }
}
