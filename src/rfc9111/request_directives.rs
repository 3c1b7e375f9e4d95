//! The directives of requests (RFC 9111 §5.2.1): what a client asks of the caches on its way.

use std::time::Duration;

use http::header::{CACHE_CONTROL, HeaderMap, PRAGMA};

use super::{
    delta_seconds::{LONGEST, least},
    directive::{Argument, each_member},
};

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

#[cfg(test)]
mod tests {
    use super::super::rows::{field, fields, seconds};
    use super::*;

    fn asked(line: &str) -> RequestDirectives {
        RequestDirectives::from_fields(&field("cache-control", &[line]))
    }

    #[test]
    fn section_5_2_1_every_directive_is_read_whatever_its_case() {
        let none = RequestDirectives::default;
        for (line, read) in [
            ("Max-Age=5", RequestDirectives { max_age: Some(seconds(5)), ..none() }),
            ("max-age=\"5\"", RequestDirectives { max_age: Some(seconds(5)), ..none() }),
            ("max-age=x", RequestDirectives { max_age: Some(seconds(0)), ..none() }),
            ("MAX-stale", RequestDirectives { max_stale: MaxStale::Any, ..none() }),
            ("Min-Fresh=5", RequestDirectives { min_fresh: Some(seconds(5)), ..none() }),
            ("No-Cache", RequestDirectives { no_cache: true, ..none() }),
            ("no-cache=\"a\"", RequestDirectives { no_cache: true, ..none() }),
            ("NO-STORE", RequestDirectives { no_store: true, ..none() }),
            ("Only-If-Cached", RequestDirectives { only_if_cached: true, ..none() }),
            ("only-if-cached=1", none()),
            // RFC 5861 §4.
            ("Stale-If-Error=5", RequestDirectives { stale_if_error: Some(seconds(5)), ..none() }),
            // §5.2.1.6: nothing is transformed here.
            ("no-transform", none()),
            ("public, s-maxage=5, x", none()),
        ] {
            assert_eq!(asked(line), read, "{line}");
        }
    }

    #[test]
    fn section_5_2_1_1_and_5_2_1_3_of_conflicting_times_the_most_restrictive_holds() {
        for (line, most, least) in [
            ("max-age=9, max-age=3", Some(3), None),
            ("max-age=3, max-age=x", Some(0), None),
            ("min-fresh=3, min-fresh=9", None, Some(9)),
            ("min-fresh=9, min-fresh=3", None, Some(9)),
            ("min-fresh=soon", None, Some(LONGEST.as_secs())),
            ("min-fresh", None, Some(LONGEST.as_secs())),
        ] {
            assert_eq!(asked(line).max_age, most.map(seconds), "{line}");
            assert_eq!(asked(line).min_fresh, least.map(seconds), "{line}");
        }
    }

    #[test]
    fn section_5_2_1_2_max_stale_is_bounded_where_any_of_its_repeats_is() {
        for (line, most) in [
            ("no-store", MaxStale::None),
            ("max-stale", MaxStale::Any),
            ("max-stale, max-stale", MaxStale::Any),
            ("max-stale=9", MaxStale::UpTo(seconds(9))),
            ("max-stale, max-stale=9", MaxStale::UpTo(seconds(9))),
            ("max-stale=9, max-stale=3, max-stale", MaxStale::UpTo(seconds(3))),
            ("max-stale=x", MaxStale::UpTo(seconds(0))),
            ("max-stale=", MaxStale::UpTo(seconds(0))),
        ] {
            assert_eq!(asked(line).max_stale, most, "{line}");
        }
    }

    #[test]
    fn section_5_4_pragma_counts_only_without_cache_control() {
        for (lines, no_cache) in [
            (&["pragma: no-cache"][..], true),
            (&["pragma: x, NO-CACHE"], true),
            (&["pragma: x", "pragma: no-cache"], true),
            (&["pragma: x"], false),
            (&["pragma: no-store"], false),
            (&["pragma: no-cache", "cache-control: max-age=5"], false),
            (&["pragma: no-cache", "cache-control: "], false),
            (&["pragma: x", "cache-control: no-cache"], true),
            (&[], false),
        ] {
            let asked = RequestDirectives::from_fields(&fields(lines));
            assert_eq!(asked.no_cache, no_cache, "{lines:?}");
            assert!(!asked.no_store, "{lines:?}");
        }
    }
}
