//! Structured dictionaries (RFC 9651 §3.2) and lists of strings (§3.1), as far as fields are made of them.

use super::directive::is_token;

/// A value of a structured field, as far as directives tell them apart.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    Boolean(bool),
    Integer(i64),
    /// A string or a token.
    Text(Vec<u8>),
    /// A decimal, byte sequence, date, display string or inner list: no directive has one.
    Other,
}

/// Parses the text of a dictionary (RFC 9651 §4.2); none where it is no dictionary.
///
/// Members of the same name all come, in their order: of them the last counts (§3.2).
pub(super) fn dictionary(text: &[u8]) -> Option<Vec<(&[u8], Item)>> {
    Parser { rest: text }.dictionary()
}

/// The strings of a list (RFC 9651 §4.2.1), without their parameters; none where it is no list, or has
/// a member of another type.
pub(super) fn strings(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut parser = Parser { rest: text };
    let mut all = Vec::new();
    parser.skip(b" ");
    while let Some(byte) = parser.peek() {
        if byte != b'"' {
            return None;
        }
        let Item::Text(string) = parser.string()? else { return None };
        all.push(string);
        parser.parameters()?;
        if !parser.comma()? {
            break;
        }
    }
    Some(all)
}

/// RFC 9651 §4.2; every step is none where the text is not what it should be.
struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    /// §4.2 and §4.2.2.
    fn dictionary(mut self) -> Option<Vec<(&'a [u8], Item)>> {
        let mut members = Vec::new();
        self.skip(b" ");
        while !self.rest.is_empty() {
            let key = self.key()?;
            let item = if self.take(b'=') { self.member()? } else { Item::Boolean(true) };
            self.parameters()?;
            members.push((key, item));
            if !self.comma()? {
                break;
            }
        }
        Some(members)
    }

    /// Whether another member follows.
    fn comma(&mut self) -> Option<bool> {
        self.skip(b" \t");
        if self.rest.is_empty() {
            return Some(false);
        }
        if !self.take(b',') {
            return None;
        }
        self.skip(b" \t");
        // A comma at the end is an error.
        self.peek()?;
        Some(true)
    }

    /// §4.2.1.1; the caller reads the parameters.
    fn member(&mut self) -> Option<Item> {
        if self.take(b'(') { self.inner_list() } else { self.bare_item() }
    }

    /// §4.2.1.2, after the parenthesis.
    fn inner_list(&mut self) -> Option<Item> {
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Some(Item::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.peek()?, b' ' | b')') {
                return None;
            }
        }
    }

    /// §4.2.3.2.
    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// §4.2.3.3; keys are lower case.
    fn key(&mut self) -> Option<&'a [u8]> {
        if !matches!(self.peek()?, b'a'..=b'z' | b'*') {
            return None;
        }
        Some(self.run(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*')))
    }

    /// §4.2.3.1.
    fn bare_item(&mut self) -> Option<Item> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => {
                let token = self.run(|byte| is_token(byte) || matches!(byte, b':' | b'/'));
                Some(Item::Text(token.to_vec()))
            }
            b':' => self.byte_sequence(),
            b'?' => self.boolean(),
            b'%' => self.display_string(),
            b'@' => {
                self.rest = &self.rest[1..];
                matches!(self.number()?, Item::Integer(_)).then_some(Item::Other)
            }
            _ => None,
        }
    }

    /// §4.2.4: up to 15 digits, or up to 12 with up to three more behind a point.
    fn number(&mut self) -> Option<Item> {
        let negative = self.take(b'-');
        let digits = self.run(|byte| byte.is_ascii_digit());
        if self.take(b'.') {
            let fraction = self.run(|byte| byte.is_ascii_digit());
            let sizes = (1..=12).contains(&digits.len()) && (1..=3).contains(&fraction.len());
            return sizes.then_some(Item::Other);
        }
        if !(1..=15).contains(&digits.len()) {
            return None;
        }
        let number = digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(Item::Integer(if negative { -number } else { number }))
    }

    /// §4.2.5.
    fn string(&mut self) -> Option<Item> {
        let mut text = Vec::new();
        self.next();
        loop {
            match self.next()? {
                b'"' => return Some(Item::Text(text)),
                b'\\' => match self.next()? {
                    escaped @ (b'"' | b'\\') => text.push(escaped),
                    _ => return None,
                },
                plain @ 0x20..=0x7e => text.push(plain),
                _ => return None,
            }
        }
    }

    /// §4.2.7.
    fn byte_sequence(&mut self) -> Option<Item> {
        self.next();
        let digits = self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
        let padding = self.run(|byte| byte == b'=');
        // RFC 4648 §4: the last group has two digits at least; padding may be missing.
        let padded =
            matches!((digits.len() % 4, padding.len()), (0 | 2 | 3, 0) | (2, 1 | 2) | (3, 1));
        (self.take(b':') && padded).then_some(Item::Other)
    }

    /// §4.2.10: UTF-8, whose bytes beyond printable ASCII are two lower-case digits each.
    fn display_string(&mut self) -> Option<Item> {
        let mut text = Vec::new();
        self.next();
        if !self.take(b'"') {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        loop {
            match self.next()? {
                b'"' => return String::from_utf8(text).is_ok().then_some(Item::Other),
                b'%' => text.push(digit(self.next()?)? << 4 | digit(self.next()?)?),
                plain @ 0x20..=0x7e => text.push(plain),
                _ => return None,
            }
        }
    }

    /// §4.2.8.
    fn boolean(&mut self) -> Option<Item> {
        self.next();
        match self.next()? {
            b'0' => Some(Item::Boolean(false)),
            b'1' => Some(Item::Boolean(true)),
            _ => None,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        if next {
            self.rest = &self.rest[1..];
        }
        next
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.run(|byte| bytes.contains(&byte));
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&byte| !belongs(byte)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9651_4_2_2_what_is_no_dictionary_is_refused_whole() {
        for text in [
            "max-age=60,",
            "max-age=60,,no-store",
            ",max-age=60",
            "\tmax-age=60",
            "Max-Age=60",
            "max-age =60",
            "max-age= 60",
            "max-age=",
            "max-age=60 no-store",
            "1a=2",
            "-a",
            "=1",
        ] {
            assert_eq!(dictionary(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn rfc9651_4_2_3_1_an_item_that_is_malformed_is_no_item() {
        for item in [
            // §4.2.4: numbers have so many digits and no more.
            "1234567890123456",
            "6.",
            ".6",
            "6.1234",
            "1234567890123.1",
            "--6",
            "-",
            "+6",
            "'60'",
            // §4.2.10: display strings are UTF-8 in lower-case digits.
            "%x",
            "%\"open",
            "%\"%C3%A9\"",
            "%\"%c3\"",
            "%\"%f\"",
            "%\"\u{e9}\"",
            // §4.2.7: base64, with padding or without.
            ":c:",
            ":YQ=:=",
            ":YWJj=:",
            ":YQ===:",
            // §4.2.5: strings are printable ASCII, with two escapes.
            "\"open",
            "\"\\n\"",
            "\"\\",
            "\"\u{e9}\"",
            "\"\t\"",
            // §4.2.7, §4.2.8, §4.2.9: byte sequences, Booleans, dates.
            ":!:",
            ":YQ",
            "?2",
            "?",
            "@1.5",
            "@",
            // §4.2.1.2: inner lists.
            "(1 2",
            "(1,2)",
            "(1\"x\")",
            "(1\t2)",
            "((1))",
            // §4.2.3.2: parameters.
            "1;B",
            "1;",
            "1;=c",
            "1;b=",
            "1;b=(1)",
            "1 ;b",
        ] {
            assert_eq!(dictionary(format!("a={item}").as_bytes()), None, "{item}");
        }
    }

    #[test]
    fn rfc9651_4_2_3_1_every_type_of_item_is_read() {
        let string = |text: &str| Item::Text(text.as_bytes().to_vec());
        for (item, read) in [
            ("0", Item::Integer(0)),
            ("-0", Item::Integer(0)),
            ("-1", Item::Integer(-1)),
            ("007", Item::Integer(7)),
            ("999999999999999", Item::Integer(999_999_999_999_999)),
            ("-999999999999999", Item::Integer(-999_999_999_999_999)),
            ("1.5", Item::Other),
            ("123456789012.123", Item::Other),
            ("\"\"", string("")),
            ("\"q\\\"\\\\\"", string("q\"\\")),
            ("tok/en:x", string("tok/en:x")),
            ("*", string("*")),
            ("::", Item::Other),
            (":YQ==:", Item::Other),
            (":YQ:", Item::Other),
            (":YWI=:", Item::Other),
            (":YWJj:", Item::Other),
            ("?0", Item::Boolean(false)),
            ("?1", Item::Boolean(true)),
            ("@-5", Item::Other),
            ("%\"\"", Item::Other),
            ("%\"caf%c3%a9 %22 \\\"", Item::Other),
            ("()", Item::Other),
            ("( 1  \"2\";p   t )", Item::Other),
        ] {
            let text = format!("a={item}");
            let members = dictionary(text.as_bytes());
            assert_eq!(members, Some(vec![(&b"a"[..], read)]), "{item}");
        }
    }

    #[test]
    fn rfc9651_3_2_members_come_in_their_order_and_without_their_parameters() {
        for (text, read) in [
            ("", &[][..]),
            ("  ", &[]),
            ("a", &[("a", Item::Boolean(true))]),
            ("*k_.-9=1", &[("*k_.-9", Item::Integer(1))]),
            ("a;x;y=\"z\"; w=1", &[("a", Item::Boolean(true))]),
            ("a=60;a=5", &[("a", Item::Integer(60))]),
            ("a=1,b=2", &[("a", Item::Integer(1)), ("b", Item::Integer(2))]),
            (" a=1 ,\tb ", &[("a", Item::Integer(1)), ("b", Item::Boolean(true))]),
            ("a=1, a=2", &[("a", Item::Integer(1)), ("a", Item::Integer(2))]),
        ] {
            let members = dictionary(text.as_bytes()).unwrap();
            assert!(
                members
                    .iter()
                    .map(|(key, item)| (*key, item))
                    .eq(read.iter().map(|(key, item)| (key.as_bytes(), item))),
                "{text}"
            );
        }
    }
}
