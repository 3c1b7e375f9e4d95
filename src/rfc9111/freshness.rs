//! How long a response is fresh (RFC 9111 §4.2.1, §4.2.2), and all else that storing learns of that.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{HeaderMap, LAST_MODIFIED};

use super::{
    Exchange,
    age::{age_field, date_field, initial_age},
    date,
    expires::expires,
    profile::Profile,
    response_directives::ResponseDirectives,
    stale::Demand,
};

/// What storing a response learned of its lifetime, so that a later decision parses nothing.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::{AGE, CACHE_CONTROL}};
/// use seawall::rfc9111::{Exchange, Lifetime, Profile, ResponseDirectives};
/// use std::time::{Duration, SystemTime};
///
/// let headers = HeaderMap::from_iter([
///     (CACHE_CONTROL, HeaderValue::from_static("max-age=60")),
///     (AGE, HeaderValue::from_static("20")), // it comes through another cache
/// ]);
/// let directives = ResponseDirectives::from_fields(&headers);
/// let now = SystemTime::now();
/// let exchange = Exchange { sent: now, received: now };
/// let learned =
///     Lifetime::learn(&Profile::safe(), &directives, StatusCode::OK, &headers, exchange);
/// assert_eq!(learned.fresh_for, Duration::from_secs(60));
/// assert_eq!(learned.current_age(Duration::from_secs(5)), Duration::from_secs(25));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The age at the moment the response arrived.
    pub initial_age: Duration,
    /// The age up to which the response is fresh; zero where nothing says so.
    pub fresh_for: Duration,
    /// Whether the response itself names its lifetime.
    pub explicit: bool,
    /// When the response demands to be validated.
    pub demand: Demand,
    /// How long it may be served stale while it is validated (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// How long it may be served stale if the origin fails (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
    /// Whether it may answer a request with Authorization (RFC 9111 §3.5).
    pub for_authorization: bool,
    /// Whether it may answer a request with Cookie.
    pub for_cookies: bool,
}

impl Lifetime {
    /// The same for a body whose end nothing proves: no longer than `longest`, and never stale.
    #[must_use]
    pub fn unproven(self, longest: Duration) -> Self {
        Self {
            fresh_for: self.fresh_for.min(longest),
            demand: if self.demand == Demand::None { Demand::WhenStale } else { self.demand },
            stale_while_revalidate: None,
            stale_if_error: None,
            ..self
        }
    }

    /// Reads all that a response says of its lifetime.
    #[must_use]
    pub fn learn(
        profile: &Profile,
        directives: &ResponseDirectives,
        status: StatusCode,
        headers: &HeaderMap,
        exchange: Exchange,
    ) -> Self {
        let date = date_field(headers, exchange.received);
        let freshness = lifetime(directives, headers, status, profile, exchange.received);
        let shared = directives.public || directives.s_maxage.is_some();
        Self {
            initial_age: initial_age(age_field(headers), date, exchange),
            fresh_for: freshness.fresh_for(),
            explicit: matches!(freshness, Freshness::Explicit(_)),
            demand: Demand::of(profile, directives),
            stale_while_revalidate: directives.stale_while_revalidate,
            stale_if_error: directives.stale_if_error,
            for_authorization: shared || directives.must_revalidate,
            for_cookies: shared || !profile.cookies_matter,
        }
    }

    /// The age after the response was stored for the given time (§4.2.3).
    #[must_use]
    pub fn current_age(&self, resident: Duration) -> Duration {
        self.initial_age.saturating_add(resident)
    }
}

/// Where a response's lifetime comes from.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::LAST_MODIFIED};
/// use seawall::rfc9111::{Freshness, Profile, ResponseDirectives, date, freshness::lifetime};
/// use std::time::Duration;
///
/// let received = date::parse(b"Mon, 07 Nov 1994 00:00:00 GMT").expect("a date");
/// let modified = HeaderValue::from_static("Sun, 06 Nov 1994 23:50:00 GMT");
/// let headers = HeaderMap::from_iter([(LAST_MODIFIED, modified)]);
/// let none = ResponseDirectives::default();
/// let says = |profile| lifetime(&none, &headers, StatusCode::OK, &profile, received);
/// assert_eq!(says(Profile::safe()), Freshness::Unknown);
/// let minute = Duration::from_secs(60); // a tenth of the time since it was modified
/// assert_eq!(says(Profile::reverse_proxy()), Freshness::Heuristic(minute));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The response says so, by a directive or by Expires.
    Explicit(Duration),
    /// Guessed from Last-Modified (§4.2.2).
    Heuristic(Duration),
    /// Nothing tells.
    Unknown,
}

impl Freshness {
    /// The lifetime; zero where nothing tells.
    #[must_use]
    pub fn fresh_for(self) -> Duration {
        match self {
            Self::Explicit(lifetime) | Self::Heuristic(lifetime) => lifetime,
            Self::Unknown => Duration::ZERO,
        }
    }
}

/// The lifetime of a response (§4.2.1, §4.2.2), held to the longest the profile allows.
#[must_use]
pub fn lifetime(
    directives: &ResponseDirectives,
    headers: &HeaderMap,
    status: StatusCode,
    profile: &Profile,
    received: SystemTime,
) -> Freshness {
    let of_errors = profile.max_error_lifetime.filter(|_| status.as_u16() >= 400);
    let longest = of_errors.unwrap_or(Duration::MAX).min(profile.max_lifetime);
    let date = date_field(headers, received).unwrap_or(received);
    // §4.2.1: the first of these that is there counts.
    let explicit = directives
        .s_maxage
        .or(directives.max_age)
        .or_else(|| if directives.targeted { None } else { expires(headers, date, received) });
    if let Some(said) = explicit {
        return Freshness::Explicit(said.min(longest));
    }
    // §4.2.2: a guess stands in for nothing that is said, and only where the status allows one.
    let may_guess = profile.heuristic && (directives.public || is_heuristically_cacheable(status));
    match headers.get(LAST_MODIFIED).filter(|_| may_guess) {
        Some(modified) => match date::parse_at(modified.as_bytes(), received) {
            Some(modified) if modified < date => {
                let unchanged = date.duration_since(modified).unwrap_or_default();
                Freshness::Heuristic((unchanged / 10).min(longest))
            }
            _ => Freshness::Unknown,
        },
        None => Freshness::Unknown,
    }
}

/// RFC 9110 §15.1.
pub(super) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

#[cfg(test)]
mod tests {
    use super::super::rows::{fields, now, seconds};
    use super::super::targeted::governing;
    use super::*;

    const DATE_NOW: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT";
    const MINUTE_AHEAD: &str = "expires: Sun, 06 Nov 1994 08:50:37 GMT";
    const MINUTE_AGO: &str = "last-modified: Sun, 06 Nov 1994 08:48:37 GMT";

    fn said(profile: &Profile, status: u16, lines: &[&str]) -> Freshness {
        let (headers, status) = (fields(lines), StatusCode::from_u16(status).unwrap());
        lifetime(&governing(profile, &headers), &headers, status, profile, now())
    }

    #[test]
    fn section_4_2_1_the_first_source_of_a_lifetime_counts() {
        use Freshness::*;
        for (lines, lifetime_is) in [
            (&["cache-control: max-age=5, s-maxage=7", MINUTE_AHEAD][..], Explicit(seconds(7))),
            (&["cache-control: s-maxage=3, max-age=5"], Explicit(seconds(3))),
            (&["cache-control: max-age=5", MINUTE_AHEAD], Explicit(seconds(5))),
            (&["cache-control: max-age=soon", MINUTE_AHEAD], Explicit(seconds(0))),
            (&["cache-control: public", MINUTE_AHEAD], Explicit(seconds(60))),
            (&[DATE_NOW, MINUTE_AHEAD], Explicit(seconds(60))),
            (&["date: Sun, 06 Nov 1994 08:48:37 GMT", MINUTE_AHEAD], Explicit(seconds(120))),
            (&["date: Sun, 06 Nov 1994 08:50:38 GMT", MINUTE_AHEAD], Explicit(seconds(0))),
            // Without a date of its own, that of its arrival.
            (&[MINUTE_AHEAD], Explicit(seconds(60))),
            (&["date: today", MINUTE_AHEAD], Explicit(seconds(60))),
            (&[MINUTE_AHEAD, MINUTE_AHEAD], Explicit(seconds(0))),
            // No response is fresh for longer than the profile allows.
            (&["expires: Fri, 31 Dec 9999 23:59:59 GMT"], Explicit(seconds(365 * 86400))),
            (&["cache-control: max-age=2147483648"], Explicit(seconds(365 * 86400))),
            // RFC 9213 §2.1: a targeted field in place of Cache-Control and of Expires.
            (&["cdn-cache-control: max-age=9", "cache-control: max-age=5"], Explicit(seconds(9))),
            (&["cdn-cache-control: public", MINUTE_AHEAD], Unknown),
            (&[], Unknown),
        ] {
            assert_eq!(said(&Profile::reverse_proxy(), 200, lines), lifetime_is, "{lines:?}");
        }
    }

    #[test]
    fn section_4_2_2_a_tenth_of_the_time_unchanged_is_guessed_where_nothing_is_said() {
        use Freshness::*;
        for (lines, lifetime_is) in [
            (&[MINUTE_AGO, DATE_NOW][..], Heuristic(seconds(6))),
            (&[MINUTE_AGO], Heuristic(seconds(6))),
            (&[MINUTE_AGO, "date: Sun, 06 Nov 1994 08:48:47 GMT"], Heuristic(seconds(1))),
            (&["last-modified: Thu, 01 Jan 1970 00:00:00 GMT"], Heuristic(seconds(365 * 86400))),
            (&["last-modified: Sun, 06 Nov 1994 08:49:37 GMT"], Unknown),
            (&["last-modified: Sun, 06 Nov 1994 08:50:37 GMT"], Unknown),
            (&["last-modified: once"], Unknown),
            // Explicit freshness, whatever it is, leaves nothing to guess.
            (&[MINUTE_AGO, MINUTE_AHEAD], Explicit(seconds(60))),
            (&[MINUTE_AGO, "expires: 0"], Explicit(seconds(0))),
            (&[MINUTE_AGO, "cache-control: max-age=0"], Explicit(seconds(0))),
            (&[MINUTE_AGO, "cache-control: s-maxage=5"], Explicit(seconds(5))),
            (&[MINUTE_AGO, "cache-control: max-age=soon"], Explicit(seconds(0))),
            (&[MINUTE_AGO, "cdn-cache-control: max-age=0"], Explicit(seconds(0))),
        ] {
            assert_eq!(said(&Profile::reverse_proxy(), 200, lines), lifetime_is, "{lines:?}");
            if let Heuristic(_) = lifetime_is {
                assert_eq!(said(&Profile::safe(), 200, lines), Unknown, "{lines:?}");
            }
        }
    }

    #[test]
    fn section_4_2_2_it_is_guessed_for_statuses_that_allow_it_and_for_what_is_public() {
        let guessed = |status, lines: &[&str]| {
            said(&Profile::reverse_proxy(), status, lines) != Freshness::Unknown
        };
        for (status, by_default) in [
            (200, true),
            (203, true),
            (204, true),
            (300, true),
            (301, true),
            (308, true),
            (404, true),
            (405, true),
            (410, true),
            (414, true),
            (501, true),
            (201, false),
            (302, false),
            (307, false),
            (403, false),
            (500, false),
            (503, false),
            (599, false),
        ] {
            assert_eq!(guessed(status, &[MINUTE_AGO]), by_default, "{status}");
            assert!(guessed(status, &[MINUTE_AGO, "cache-control: public"]), "{status}");
        }
    }

    #[test]
    fn section_4_2_a_response_is_learned_whole() {
        let headers = fields(&[
            "cache-control: public, max-age=60, stale-while-revalidate=5, stale-if-error=7",
            "age: 20",
        ]);
        let exchange = Exchange { sent: now() - seconds(3), received: now() };
        let (profile, directives) = (Profile::safe(), ResponseDirectives::from_fields(&headers));
        let learned = Lifetime::learn(&profile, &directives, StatusCode::OK, &headers, exchange);
        let expected = Lifetime {
            initial_age: seconds(23),
            fresh_for: seconds(60),
            explicit: true,
            demand: Demand::None,
            stale_while_revalidate: Some(seconds(5)),
            stale_if_error: Some(seconds(7)),
            for_authorization: true,
            for_cookies: true,
        };
        assert_eq!(learned, expected);
    }

    #[test]
    fn section_4_2_3_the_time_in_the_store_adds_to_the_age_without_overflow() {
        let lifetime = |initial_age| Lifetime {
            initial_age,
            fresh_for: seconds(60),
            explicit: true,
            demand: Demand::None,
            stale_while_revalidate: None,
            stale_if_error: None,
            for_authorization: false,
            for_cookies: false,
        };
        for (initial, resident, age) in [
            (seconds(0), seconds(0), seconds(0)),
            (seconds(20), seconds(5), seconds(25)),
            (seconds(1 << 31), seconds(5), seconds((1 << 31) + 5)),
            (seconds(1), Duration::MAX, Duration::MAX),
            (Duration::MAX, Duration::MAX, Duration::MAX),
        ] {
            assert_eq!(lifetime(initial).current_age(resident), age, "{initial:?} {resident:?}");
        }
    }
}
