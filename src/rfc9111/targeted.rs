//! Targeted Cache-Control fields (RFC 9213), and the structured dictionaries they are (RFC 9651).

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::cache_control::{LONGEST, ResponseDirectives, field_names, is_token};
use super::profile::Profile;

/// The directives that govern a response: those of the first usable field of the profile's
/// targets, otherwise those of Cache-Control.
///
/// A field that is empty or no dictionary counts as absent (RFC 9213 §2.1, §2.2).
#[must_use]
pub fn governing(profile: &Profile, headers: &HeaderMap) -> ResponseDirectives {
    let targeted = profile.targets.iter().find_map(|field| from_target(headers, field));
    targeted.unwrap_or_else(|| ResponseDirectives::from_fields(headers))
}

/// The directives of one targeted field; none where it is absent, empty or no dictionary.
#[must_use]
pub fn from_target(headers: &HeaderMap, field: &HeaderName) -> Option<ResponseDirectives> {
    let mut lines = headers.get_all(field).iter().map(HeaderValue::as_bytes);
    let first = lines.next()?;
    let joined;
    let text = match lines.next() {
        None => first,
        Some(second) => {
            let all: Vec<_> = [first, second].into_iter().chain(lines).collect();
            joined = all.join(&b',');
            &joined
        }
    };
    let members = Parser { rest: text }.dictionary()?;
    (!members.is_empty()).then(|| directives(&members))
}

/// A later member of the same name replaces the earlier (RFC 9651 §3.2); one of the wrong type
/// is as if absent (RFC 9213 §2.1).
fn directives(members: &[(&[u8], Item)]) -> ResponseDirectives {
    let mut said = ResponseDirectives { targeted: true, ..ResponseDirectives::default() };
    let mut left_out = Vec::new();
    for (at, (name, item)) in members.iter().enumerate() {
        if members[at + 1..].iter().any(|(later, _)| later == name) {
            continue;
        }
        let flag = matches!(item, Item::Boolean(true));
        let seconds = match item {
            Item::Integer(seconds) => Some(delta(*seconds)),
            _ => None,
        };
        let mut unqualified = || match item {
            Item::Text(names) => !field_names(names, &mut left_out),
            _ => flag,
        };
        match *name {
            b"max-age" => said.max_age = seconds,
            b"s-maxage" => said.s_maxage = seconds,
            b"stale-while-revalidate" => said.stale_while_revalidate = seconds,
            b"stale-if-error" => said.stale_if_error = seconds,
            b"no-cache" => said.no_cache = unqualified(),
            b"private" => said.private = unqualified(),
            b"no-store" => said.no_store = flag,
            b"public" => said.public = flag,
            b"must-revalidate" => said.must_revalidate = flag,
            b"proxy-revalidate" => said.proxy_revalidate = flag,
            b"must-understand" => said.must_understand = flag,
            b"immutable" => said.immutable = flag,
            b"no-transform" => said.no_transform = flag,
            _ => {}
        }
    }
    said.left_out = left_out.into_boxed_slice();
    said
}

/// A time below zero is invalid and thus stale (RFC 9111 §4.2.1).
fn delta(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST)
}

/// A value of a structured field, as far as directives tell them apart.
#[derive(Debug, PartialEq)]
enum Item {
    Boolean(bool),
    Integer(i64),
    /// A string or a token.
    Text(Vec<u8>),
    /// A decimal, byte sequence, date or inner list: no directive has one.
    Other,
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
            self.skip(b" \t");
            if self.rest.is_empty() {
                break;
            }
            if !self.take(b',') {
                return None;
            }
            self.skip(b" \t");
            // A comma at the end is an error.
            self.peek()?;
        }
        Some(members)
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
        self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.take(b':').then_some(Item::Other)
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

    fn said(lines: &[&str]) -> Option<ResponseDirectives> {
        let field = HeaderName::from_static("cdn-cache-control");
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(field.clone(), HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        from_target(&headers, &field)
    }

    #[test]
    fn what_is_empty_or_no_dictionary_is_as_if_absent() {
        for text in [
            "",
            "  ",
            "max-age=60,",
            "max-age=60,,no-store",
            "Max-Age=60",
            "max-age =60",
            "max-age= 60",
            "max-age=1234567890123456",
            "max-age=6.",
            "max-age=6.1234",
            "max-age=1234567890123.1",
            "max-age=--6",
            "max-age=60 no-store",
            "a=\"open",
            "a=\"\\n\"",
            "a=\"\u{e9}\"",
            "a=:!:",
            "a=:YQ",
            "a=?2",
            "a=@1.5",
            "a=(1 2",
            "a=(1,2)",
            "a=(1\"x\")",
            "a;B",
            "a=b;=c",
            "a='60'",
        ] {
            assert_eq!(said(&[text]), None, "{text}");
        }
        assert_eq!(said(&[]), None);
    }

    #[test]
    fn every_type_of_item_is_read_and_parameters_are_ignored() {
        let text = "a=-1, b=1.5;x;y=\"z\", c=\"q\\\"\\\\\", d=tok/en:x, e=:YQ==:, f=?0, g=@-5,\th, \
                    i=(1 \"2\";p   t), j=(), *k_.-9=*, max-age=60;max-age=5";
        assert_eq!(said(&[text]).unwrap().max_age, Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_member_of_the_wrong_type_is_ignored_by_itself() {
        let only = |text: &str| {
            let said = said(&[text]).unwrap();
            assert!(said.targeted);
            ResponseDirectives { targeted: false, ..said }
        };
        for text in [
            "max-age=\"60\"",
            "max-age=60.0",
            "max-age",
            "max-age=?1",
            "max-age=(60)",
            "no-store=1",
            "no-store=?0",
            "no-store=\"x\"",
            "private=(a b)",
            "unheard-of",
        ] {
            assert_eq!(only(text), ResponseDirectives::default(), "{text}");
        }
    }

    #[test]
    fn seconds_below_zero_are_stale_and_too_many_are_held() {
        let age = |text: &str| said(&[text]).unwrap().max_age.unwrap();
        assert_eq!(age("max-age=-1"), Duration::ZERO);
        assert_eq!(age("max-age=999999999999999"), LONGEST);
        assert_eq!(age("max-age=000000000000060"), Duration::from_secs(60));
    }

    #[test]
    fn the_last_of_equal_members_counts_and_lines_are_one_list() {
        let said = said(&["no-store, max-age=5", "max-age=60, no-store=?0, private=\"a, b\""]);
        let said = said.unwrap();
        assert_eq!(said.max_age, Some(Duration::from_secs(60)));
        assert!(!said.no_store && !said.private);
        assert_eq!(said.left_out.len(), 2);
    }

    #[test]
    fn the_first_usable_target_comes_before_the_others_and_cache_control() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("our-cache-control", "Not=ours"),
            ("cdn-cache-control", "max-age=10"),
            ("cache-control", "no-store"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let targets = ["our-cache-control", "cdn-cache-control"].map(HeaderName::from_static);
        let said = governing(&Profile::safe().targets(targets), &headers);
        assert!(said.targeted && !said.no_store);
        assert!(governing(&Profile::safe(), &headers).no_store);
    }
}
