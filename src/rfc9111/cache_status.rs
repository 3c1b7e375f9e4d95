//! Telling what the cache did with a request (RFC 9211).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The `Cache-Status` field.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went forward (RFC 9211 §2.2).
///
/// ```
/// use seawall::rfc9111::cache_status::{Fwd, Member};
///
/// assert_eq!(Member::forwarded(Fwd::Stale).value(), "seawall; fwd=stale");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fwd {
    /// The cache was told not to handle the request.
    Bypass,
    /// The semantics of its method ask for it.
    Method,
    /// Nothing is stored for its URI.
    UriMiss,
    /// What is stored for its URI are other variants.
    VaryMiss,
    /// Nothing that is stored could answer.
    Miss,
    /// What is stored was stale.
    Stale,
    /// What is stored was fresh, but the request's own directives asked for more.
    Request,
    /// Only a part of what it needs is stored.
    Partial,
}

/// What this cache did with one request: its member of `Cache-Status`.
///
/// ```
/// use http::StatusCode;
/// use seawall::rfc9111::cache_status::{Fwd, Member};
///
/// assert_eq!(Member::hit().value(), "seawall; hit");
///
/// let stored = Member::forwarded(Fwd::UriMiss).fwd_status(StatusCode::OK).stored();
/// assert_eq!(stored.value(), "seawall; fwd=uri-miss; fwd-status=200; stored");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Absent in a hit.
    fwd: Option<Fwd>,
    fwd_status: Option<StatusCode>,
    is_stored: bool,
    is_collapsed: bool,
    detail: Option<&'static str>,
}

impl Member {
    /// Answered from the cache, and nothing went forward.
    #[must_use]
    pub const fn hit() -> Self {
        Self { fwd: None, fwd_status: None, is_stored: false, is_collapsed: false, detail: None }
    }

    /// Sent on, for this reason.
    #[must_use]
    pub const fn forwarded(fwd: Fwd) -> Self {
        let mut member = Self::hit();
        member.fwd = Some(fwd);
        member
    }

    /// The status that came back, if the client is told another. Says nothing of a hit.
    #[must_use]
    pub const fn fwd_status(mut self, status: StatusCode) -> Self {
        self.fwd_status = if self.fwd.is_some() { Some(status) } else { None };
        self
    }

    /// What came back was stored. Says nothing of a hit.
    #[must_use]
    pub const fn stored(mut self) -> Self {
        self.is_stored = self.fwd.is_some();
        self
    }

    /// It shared its way with other requests. Says nothing of a hit.
    #[must_use]
    pub const fn collapsed(mut self) -> Self {
        self.is_collapsed = self.fwd.is_some();
        self
    }

    /// A word of this cache's own on what happened: best a token (RFC 9651 §3.3.4).
    #[must_use]
    pub const fn detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// The member as a field of its own; allocates only for a status or a detail.
    #[must_use]
    pub fn value(&self) -> HeaderValue {
        match self.text() {
            Cow::Borrowed(text) => HeaderValue::from_static(text),
            Cow::Owned(text) => visible(text.into_bytes()),
        }
    }

    /// The member after those of the caches closer to the origin (RFC 9211 §2).
    #[must_use]
    pub fn after(&self, below: Option<&HeaderValue>) -> HeaderValue {
        match below.filter(|below| !below.as_bytes().trim_ascii().is_empty()) {
            None => self.value(),
            Some(below) => visible([below.as_bytes(), b", ", self.text().as_bytes()].concat()),
        }
    }

    fn text(&self) -> Cow<'static, str> {
        let alone = Self { fwd_status: None, detail: None, ..*self };
        if alone == *self {
            return Cow::Borrowed(self.frequent());
        }
        let mut text = String::with_capacity(64);
        text.push_str(Self { is_stored: false, is_collapsed: false, ..alone }.frequent());
        if let Some(status) = self.fwd_status {
            text.push_str("; fwd-status=");
            text.push_str(status.as_str());
        }
        if self.is_stored {
            text.push_str("; stored");
        }
        if self.is_collapsed {
            text.push_str("; collapsed");
        }
        if let Some(detail) = self.detail {
            text.push_str("; detail=");
            push_item(&mut text, detail);
        }
        Cow::Owned(text)
    }

    /// Every combination without status and detail.
    const fn frequent(self) -> &'static str {
        macro_rules! forwarded {
            ($fwd:literal) => {
                match (self.is_stored, self.is_collapsed) {
                    (false, false) => concat!("seawall; fwd=", $fwd),
                    (true, false) => concat!("seawall; fwd=", $fwd, "; stored"),
                    (false, true) => concat!("seawall; fwd=", $fwd, "; collapsed"),
                    (true, true) => concat!("seawall; fwd=", $fwd, "; stored; collapsed"),
                }
            };
        }
        match self.fwd {
            None => "seawall; hit",
            Some(Fwd::Bypass) => forwarded!("bypass"),
            Some(Fwd::Method) => forwarded!("method"),
            Some(Fwd::UriMiss) => forwarded!("uri-miss"),
            Some(Fwd::VaryMiss) => forwarded!("vary-miss"),
            Some(Fwd::Miss) => forwarded!("miss"),
            Some(Fwd::Stale) => forwarded!("stale"),
            Some(Fwd::Request) => forwarded!("request"),
            Some(Fwd::Partial) => forwarded!("partial"),
        }
    }
}

/// All `Cache-Status` lines as one, or none if there are none.
#[must_use]
pub fn joined(fields: &HeaderMap) -> Option<HeaderValue> {
    let mut lines =
        fields.get_all(CACHE_STATUS).iter().filter(|line| !line.as_bytes().trim_ascii().is_empty());
    let first = lines.next()?;
    let Some(second) = lines.next() else { return Some(first.clone()) };
    let mut all = first.as_bytes().to_vec();
    for line in std::iter::once(second).chain(lines) {
        all.extend_from_slice(b", ");
        all.extend_from_slice(line.as_bytes());
    }
    Some(visible(all))
}

fn visible(bytes: Vec<u8>) -> HeaderValue {
    HeaderValue::try_from(bytes).expect("pieces of field values and printable ASCII")
}

/// A token as it is, anything else as a string of what is printable in it (RFC 9651 §4.1.6).
fn push_item(text: &mut String, item: &str) {
    let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    let begins = item.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'*');
    if begins && item.bytes().all(in_token) {
        text.push_str(item);
        return;
    }
    text.push('"');
    for letter in item.chars().filter(|letter| matches!(letter, ' '..='~')) {
        if matches!(letter, '"' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9211_2_a_member_says_what_happened() {
        let (fresh, same) = (StatusCode::OK, StatusCode::NOT_MODIFIED);
        let to = Member::forwarded;
        for (member, expected) in [
            (Member::hit(), "seawall; hit"),
            (Member::hit().stored().collapsed().fwd_status(fresh), "seawall; hit"),
            (Member::hit().detail("near"), "seawall; hit; detail=near"),
            (to(Fwd::Bypass), "seawall; fwd=bypass"),
            (to(Fwd::Method), "seawall; fwd=method"),
            (to(Fwd::UriMiss), "seawall; fwd=uri-miss"),
            (to(Fwd::VaryMiss), "seawall; fwd=vary-miss"),
            (to(Fwd::Miss), "seawall; fwd=miss"),
            (to(Fwd::Stale), "seawall; fwd=stale"),
            (to(Fwd::Request), "seawall; fwd=request"),
            (to(Fwd::Partial), "seawall; fwd=partial"),
            (to(Fwd::UriMiss).stored(), "seawall; fwd=uri-miss; stored"),
            (to(Fwd::UriMiss).collapsed(), "seawall; fwd=uri-miss; collapsed"),
            (to(Fwd::Miss).collapsed().stored(), "seawall; fwd=miss; stored; collapsed"),
            (
                to(Fwd::Stale).stored().fwd_status(same),
                "seawall; fwd=stale; fwd-status=304; stored",
            ),
            (
                to(Fwd::Miss).detail("no-store").collapsed().stored().fwd_status(fresh),
                "seawall; fwd=miss; fwd-status=200; stored; collapsed; detail=no-store",
            ),
        ] {
            assert_eq!(member.value(), expected);
            assert_eq!(member.after(None), expected);
        }
    }

    #[test]
    fn rfc9211_2_8_a_detail_that_is_no_token_is_quoted() {
        for (detail, expected) in [
            ("a/b:c", "seawall; hit; detail=a/b:c"),
            ("*", "seawall; hit; detail=*"),
            ("two words", r#"seawall; hit; detail="two words""#),
            ("1st", r#"seawall; hit; detail="1st""#),
            ("", r#"seawall; hit; detail="""#),
            (r#"a"\b"#, r#"seawall; hit; detail="a\"\\b""#),
            ("a\r\nüb", r#"seawall; hit; detail="ab""#),
        ] {
            assert_eq!(Member::hit().detail(detail).value(), expected);
        }
    }

    #[test]
    fn rfc9211_2_our_member_comes_after_those_closer_to_the_origin() {
        for (below, expected) in [
            ("near; hit", "near; hit, seawall; hit"),
            ("a, b; fwd=miss", "a, b; fwd=miss, seawall; hit"),
            ("", "seawall; hit"),
            (" ", "seawall; hit"),
        ] {
            let below = HeaderValue::from_static(below);
            assert_eq!(Member::hit().after(Some(&below)), expected);
        }
    }

    #[test]
    fn rfc9211_2_all_lines_are_joined_in_their_order() {
        for (lines, expected) in [
            (&[][..], None),
            (&["", " "], None),
            (&["a; hit"], Some("a; hit")),
            (&["a; hit", "", "b", "c"], Some("a; hit, b, c")),
        ] {
            let mut fields = HeaderMap::new();
            for line in lines {
                fields.append(CACHE_STATUS, HeaderValue::from_static(line));
            }
            assert_eq!(joined(&fields), expected.map(HeaderValue::from_static));
        }
    }
}
