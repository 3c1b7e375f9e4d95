//! Cache-Control (RFC 9111 §5.2): what responses allow and requests ask.
//!
//! Where a field is malformed or contradicts itself, the most restrictive reading holds (§4.2.1).

use std::time::Duration;

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, PRAGMA};

/// The longest time a directive or an Age can name (RFC 9111 §1.2.2): 2^31 seconds.
pub(super) const LONGEST: Duration = Duration::from_secs(1 << 31);

/// What a response says about its storing and reuse (§5.2.2).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
/// use seawall::rfc9111::ResponseDirectives;
/// use std::time::Duration;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(CACHE_CONTROL, HeaderValue::from_static("Public, max-age=\"60\""));
/// let directives = ResponseDirectives::from_fields(&headers);
/// assert!(directives.public);
/// assert_eq!(directives.max_age, Some(Duration::from_secs(60)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseDirectives {
    /// Fresh for this long (§5.2.2.1).
    pub max_age: Option<Duration>,
    /// Fresh for this long in a shared cache; comes before `max_age` (§5.2.2.10).
    pub s_maxage: Option<Duration>,
    /// Not to be stored (§5.2.2.5).
    pub no_store: bool,
    /// Not to be reused without validation (§5.2.2.4); the form without field names.
    pub no_cache: bool,
    /// Not for a shared cache (§5.2.2.7); the form without field names.
    pub private: bool,
    /// Storable where it otherwise would not be (§5.2.2.9).
    pub public: bool,
    /// Not to be reused stale without validation (§5.2.2.2).
    pub must_revalidate: bool,
    /// The same for shared caches only (§5.2.2.8).
    pub proxy_revalidate: bool,
    /// Storable only by who understands the status code (§5.2.2.3).
    pub must_understand: bool,
    /// Does not change while fresh (RFC 8246 §2).
    pub immutable: bool,
    /// Not to be transformed (§5.2.2.6).
    pub no_transform: bool,
    /// May be served this long after it became stale, while validated (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// May be served this long after it became stale, if the origin fails (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
    /// Response fields that `no-cache="…"` or `private="…"` name: they stay out of the store.
    pub left_out: Box<[HeaderName]>,
    /// Said by a targeted field (RFC 9213), in place of Cache-Control and Expires.
    pub targeted: bool,
}

impl ResponseDirectives {
    /// Reads all Cache-Control lines of a response.
    #[must_use]
    pub fn from_fields(headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        let mut left_out = Vec::new();
        each_member(headers, &CACHE_CONTROL, |name, argument| match name {
            b"max-age" => least(&mut said.max_age, argument.seconds()),
            b"s-maxage" => least(&mut said.s_maxage, argument.seconds()),
            b"no-store" => said.no_store = true,
            b"no-cache" => said.no_cache |= !argument.names_into(&mut left_out),
            b"private" => said.private |= !argument.names_into(&mut left_out),
            b"must-revalidate" => said.must_revalidate = true,
            b"proxy-revalidate" => said.proxy_revalidate = true,
            b"no-transform" => said.no_transform = true,
            // These widen what a cache may do, so an argument they cannot have voids them.
            b"public" => said.public |= argument.is_absent(),
            b"must-understand" => said.must_understand |= argument.is_absent(),
            b"immutable" => said.immutable |= argument.is_absent(),
            b"stale-while-revalidate" => {
                least(&mut said.stale_while_revalidate, argument.seconds());
            }
            b"stale-if-error" => least(&mut said.stale_if_error, argument.seconds()),
            _ => {}
        });
        said.left_out = left_out.into_boxed_slice();
        said
    }
}

/// What a request asks of the caches on its way (§5.2.1).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
/// use seawall::rfc9111::RequestDirectives;
/// use std::time::Duration;
///
/// let asks = HeaderValue::from_static("max-age=60, only-if-cached");
/// let asked = RequestDirectives::from_fields(&HeaderMap::from_iter([(CACHE_CONTROL, asks)]));
/// assert_eq!(asked.max_age, Some(Duration::from_secs(60)));
/// assert!(asked.only_if_cached && !asked.no_cache);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestDirectives {
    /// Neither the request nor its response is to be stored (§5.2.1.5).
    pub no_store: bool,
    /// Nothing stored without validation (§5.2.1.4); also `Pragma: no-cache` (§5.4).
    pub no_cache: bool,
    /// Nothing older than this (§5.2.1.1).
    pub max_age: Option<Duration>,
    /// Stale responses welcome, and how stale (§5.2.1.2).
    pub max_stale: MaxStale,
    /// Nothing that is not fresh for this long yet (§5.2.1.3).
    pub min_fresh: Option<Duration>,
    /// A stored response or none (§5.2.1.7).
    pub only_if_cached: bool,
    /// A response stale for at most this long rather than an error (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}

/// How stale a response a request takes.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
/// use seawall::rfc9111::{MaxStale, RequestDirectives};
/// use std::time::Duration;
///
/// for (asks, takes) in [
///     ("max-age=0", MaxStale::None),
///     ("max-stale", MaxStale::Any),
///     ("max-stale=60", MaxStale::UpTo(Duration::from_secs(60))),
/// ] {
///     let asks = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(asks))]);
///     assert_eq!(RequestDirectives::from_fields(&asks).max_stale, takes);
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxStale {
    /// Not stale.
    #[default]
    None,
    /// Stale for any time.
    Any,
    /// Stale for at most this long.
    UpTo(Duration),
}

impl RequestDirectives {
    /// Reads all Cache-Control lines of a request, or where it has none, Pragma.
    #[must_use]
    pub fn from_fields(headers: &HeaderMap) -> Self {
        let mut asked = Self::default();
        if !headers.contains_key(CACHE_CONTROL) {
            each_member(headers, &PRAGMA, |name, _| asked.no_cache |= name == b"no-cache");
            return asked;
        }
        each_member(headers, &CACHE_CONTROL, |name, argument| match name {
            b"no-store" => asked.no_store = true,
            b"no-cache" => asked.no_cache = true,
            b"only-if-cached" => asked.only_if_cached |= argument.is_absent(),
            b"max-age" => least(&mut asked.max_age, argument.seconds()),
            b"stale-if-error" => least(&mut asked.stale_if_error, argument.seconds()),
            b"min-fresh" => {
                // Unlike elsewhere the longest time is the most restrictive.
                let least_fresh = argument.valid_seconds().unwrap_or(LONGEST);
                asked.min_fresh = asked.min_fresh.max(Some(least_fresh));
            }
            b"max-stale" => asked.max_stale.tighten(&argument),
            _ => {}
        });
        asked
    }
}

impl MaxStale {
    fn tighten(&mut self, argument: &Argument<'_>) {
        *self = match (*self, argument.is_absent()) {
            (Self::UpTo(before), false) => Self::UpTo(before.min(argument.seconds())),
            (before @ Self::UpTo(_), true) => before,
            (_, false) => Self::UpTo(argument.seconds()),
            (_, true) => Self::Any,
        };
    }
}

/// What follows a directive's name.
enum Argument<'a> {
    Absent,
    Token(&'a [u8]),
    /// What is between the quotes, its escapes not yet resolved.
    Quoted(&'a [u8]),
    Malformed,
}

impl Argument<'_> {
    fn is_absent(&self) -> bool {
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

    fn valid_seconds(&self) -> Option<Duration> {
        digits(self.text())
    }

    /// §4.2.1: invalid freshness information is stale.
    fn seconds(&self) -> Duration {
        self.valid_seconds().unwrap_or_default()
    }

    /// Adds the field names of a qualified directive; false where it is not qualified.
    fn names_into(&self, names: &mut Vec<HeaderName>) -> bool {
        match self {
            Self::Token(text) => field_names(text, names),
            Self::Quoted(_) => field_names(&self.text().collect::<Vec<_>>(), names),
            Self::Absent | Self::Malformed => false,
        }
    }
}

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

fn least(known: &mut Option<Duration>, said: Duration) {
    *known = Some(known.map_or(said, |before| before.min(said)));
}

/// Calls `take` with the lower-case name and the argument of every member of a field.
fn each_member(headers: &HeaderMap, field: &HeaderName, mut take: impl FnMut(&[u8], Argument<'_>)) {
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

/// RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    fn said(line: &str) -> ResponseDirectives {
        ResponseDirectives::from_fields(&fields(&[line]))
    }

    fn asked(line: &str) -> RequestDirectives {
        RequestDirectives::from_fields(&fields(&[line]))
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_number_of_seconds_is_digits_in_a_token_or_in_quotes() {
        for (line, age) in [
            ("max-age=3600", Some(3600)),
            ("MAX-AGE=3600", Some(3600)),
            (" , ,max-age=3600,", Some(3600)),
            ("max-age=003600", Some(3600)),
            ("max-age=\"3600\"", Some(3600)),
            ("max-age=\"36\\00\"", Some(3600)),
            ("max-age=2147483649", Some(1 << 31)),
            ("max-age=99999999999999999999999999", Some(1 << 31)),
            ("max-age='3600'", Some(0)),
            ("max-age=3600.0", Some(0)),
            ("max-age=-1", Some(0)),
            ("max-age=a3600", Some(0)),
            ("max-age=3600a", Some(0)),
            ("max-age =3600", Some(0)),
            ("max-age= 3600", Some(0)),
            ("max-age=\" 3600\"", Some(0)),
            ("max-age=\"3600\"x", Some(0)),
            ("max-age=\"3600", Some(0)),
            ("max-age=\"\"", Some(0)),
            ("max-age=", Some(0)),
            ("max-age", Some(0)),
            ("max-age=3600;x", Some(0)),
            ("max-age=1, max-age=1800", Some(1)),
            ("max-age=1800, max-age=1", Some(1)),
            ("extension=\"max-age=3600\", max-age=1", Some(1)),
            ("max-age=\"1\", extension=\"max-age=3600\"", Some(1)),
            ("extension=\"a\\\", max-age=3600\"", None),
            ("extension=max-age=3600", None),
            ("xmax-age=3600", None),
            ("", None),
            ("a-directive-longer-than-any-that-is-known=1", None),
        ] {
            assert_eq!(said(line).max_age, age.map(seconds), "{line}");
        }
    }

    #[test]
    fn a_quote_that_nothing_closes_hides_no_directive() {
        assert!(said("extension=\"open, no-store").no_store);
        assert!(said("extension=\"open\\\", no-store").no_store);
        assert!(!said("extension=\"closed, no-store\"").no_store);
    }

    #[test]
    fn a_quoted_string_may_go_on_in_the_next_line() {
        let lines = fields(&["extension=\"open, max-age=5", "no-store\", public"]);
        let said = ResponseDirectives::from_fields(&lines);
        assert!(said.public && !said.no_store && said.max_age.is_none());
    }

    #[test]
    fn an_argument_leaves_a_restriction_standing_and_voids_a_permission() {
        let said =
            said("no-store=1, must-revalidate=x, public=1, immutable=x, must-understand=\"\"");
        assert!(said.no_store && said.must_revalidate);
        assert!(!said.public && !said.immutable && !said.must_understand);
    }

    #[test]
    fn qualified_directives_leave_fields_out_and_forbid_nothing() {
        for (line, names) in [
            ("no-cache=\"Set-Cookie\"", &["set-cookie"][..]),
            ("private=set-cookie", &["set-cookie"]),
            ("no-cache=\" a ,, b\", private=\"c\"", &["a", "b", "c"]),
        ] {
            let said = said(line);
            assert!(!said.no_cache && !said.private, "{line}");
            assert_eq!(said.left_out.iter().collect::<Vec<_>>(), names, "{line}");
        }
    }

    #[test]
    fn a_qualified_directive_with_no_valid_names_is_unqualified() {
        for line in
            ["no-cache=\"\"", "no-cache=\"a, b c\"", "no-cache=", "no-cache=\"a", "no-cache"]
        {
            let said = said(line);
            assert!(said.no_cache && said.left_out.is_empty(), "{line}");
        }
        assert!(said("private, private=\"a\"").private);
    }

    #[test]
    fn the_directives_of_requests_are_read() {
        let asked = asked("no-store, No-Cache, max-age=\"5\", only-if-cached, stale-if-error=7");
        assert!(asked.no_store && asked.no_cache && asked.only_if_cached);
        assert_eq!((asked.max_age, asked.stale_if_error), (Some(seconds(5)), Some(seconds(7))));
    }

    #[test]
    fn of_conflicting_wishes_the_most_restrictive_holds() {
        for (line, most) in [
            ("no-store", MaxStale::None),
            ("max-stale", MaxStale::Any),
            ("max-stale=9", MaxStale::UpTo(seconds(9))),
            ("max-stale, max-stale=9", MaxStale::UpTo(seconds(9))),
            ("max-stale=9, max-stale=3, max-stale", MaxStale::UpTo(seconds(3))),
            ("max-stale=x", MaxStale::UpTo(seconds(0))),
        ] {
            assert_eq!(asked(line).max_stale, most, "{line}");
        }
        assert_eq!(asked("min-fresh=3, min-fresh=9").min_fresh, Some(seconds(9)));
        assert_eq!(asked("min-fresh=soon").min_fresh, Some(LONGEST));
    }

    #[test]
    fn pragma_counts_where_a_request_has_no_cache_control() {
        let mut headers = HeaderMap::new();
        headers.insert(PRAGMA, HeaderValue::from_static("x, NO-CACHE"));
        assert!(RequestDirectives::from_fields(&headers).no_cache);
        assert!(!ResponseDirectives::from_fields(&headers).no_cache);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
        assert!(!RequestDirectives::from_fields(&headers).no_cache);
    }
}
