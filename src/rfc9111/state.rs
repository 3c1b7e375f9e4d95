//! What a stored response answers conditions with (RFC 9111 §4.3.2, RFC 9110 §13): read once.

use std::time::SystemTime;

use http::{
    HeaderMap, HeaderValue,
    header::{DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED},
};

use super::date;
use super::entity_tag::{EntityTag, OwnedTag, tags};

/// The state of a resource that a stored response shows, as far as conditions can name it.
///
/// A cache reads it when it stores a response, and judges each request by it without parsing anything
/// but the request.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{ETAG, IF_NONE_MATCH}};
/// use seawall::rfc9111::State;
///
/// let state = State::of(&HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"v1\""))]));
/// let asks = |tag| HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(tag))]);
/// assert!(state.not_modified(&asks("\"v0\", W/\"v1\"")));
/// assert!(!state.not_modified(&asks("\"v2\"")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    tag: Option<OwnedTag>,
    /// `Last-Modified`, or what stands in for it.
    modified: Option<SystemTime>,
    /// Whether it is that.
    has_modified: bool,
    date: Option<SystemTime>,
}

impl State {
    /// Reads it from the fields of a response.
    #[must_use]
    pub fn of(response: &HeaderMap) -> Self {
        let date = response.get(DATE).and_then(|value| date::parse(value.as_bytes()));
        let modified = response.get(LAST_MODIFIED).map(|value| value.as_bytes());
        let modified = match modified {
            Some(modified) => at(modified, date),
            // Without Last-Modified, Date stands in for it (RFC 9111 §4.3.2).
            None => date,
        };
        let tag = response.get(ETAG).and_then(|value| EntityTag::parse(value.as_bytes()));
        let has_modified = response.contains_key(LAST_MODIFIED);
        Self { tag: tag.map(OwnedTag::from), modified, has_modified, date }
    }

    /// What it takes in memory beside itself, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.tag.as_ref().map_or(0, |tag| tag.tag().length())
    }

    /// Its `Date`.
    #[must_use]
    pub fn date(&self) -> Option<SystemTime> {
        self.date
    }

    /// Whether the client already has what is stored, and is owed a 304 (RFC 9111 §4.3.2, RFC 9110
    /// §13.2.2): of a GET or HEAD, and a stored 200.
    #[must_use]
    pub fn not_modified(&self, request: &HeaderMap) -> bool {
        // RFC 9110 §13.1.3: with If-None-Match, the date is not looked at.
        if request.contains_key(IF_NONE_MATCH) {
            return self.none_match_fails(request);
        }
        let mut dates = request.get_all(IF_MODIFIED_SINCE).iter();
        let (Some(since), None) = (dates.next(), dates.next()) else { return false };
        match (at(since.as_bytes(), self.modified), self.modified) {
            (Some(since), Some(modified)) => modified <= since,
            _ => false,
        }
    }

    fn none_match_fails(&self, request: &HeaderMap) -> bool {
        let lines = || request.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes);
        // `*` stands alone, and says: whatever you have.
        if lines().any(|line| line.trim_ascii() == b"*") {
            return true;
        }
        let Some(stored) = &self.tag else { return false };
        lines().flat_map(tags).any(|tag| tag.matches_weakly(stored.tag()))
    }

    /// Whether the part that the client has belongs to what is stored (RFC 9110 §13.1.5); true without
    /// `If-Range`.
    #[must_use]
    pub fn if_range_holds(&self, request: &HeaderMap) -> bool {
        let mut lines = request.get_all(IF_RANGE).iter();
        let asked = match (lines.next(), lines.next()) {
            (None, _) => return true,
            (Some(only), None) => only.as_bytes().trim_ascii(),
            _ => return false,
        };
        // A quote among the first three bytes makes it an entity tag.
        if asked.iter().take(3).any(|&byte| byte == b'"') {
            return match (EntityTag::parse(asked), &self.tag) {
                (Some(asked), Some(stored)) => asked.matches_strongly(stored.tag()),
                _ => false,
            };
        }
        match (at(asked, self.modified), self.modified, self.date) {
            // RFC 9110 §8.8.2.2: a date is strong once nothing else can happen in its second.
            (Some(asked), Some(modified), Some(date)) => {
                self.has_modified && asked == modified && modified < date
            }
            _ => false,
        }
    }
}

/// A date, whose year may have two digits: then of the century that fits `around` (RFC 9110 §5.6.7).
fn at(value: &[u8], around: Option<SystemTime>) -> Option<SystemTime> {
    match around {
        Some(around) => date::parse_at(value, around),
        None => date::parse(value),
    }
}
