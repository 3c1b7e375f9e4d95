//! Freshness (RFC 9111 §4.2): how long a response is good, how old it is, whether that will do.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{AGE, DATE, EXPIRES, HeaderMap, HeaderValue, LAST_MODIFIED};

use super::cache_control::{LONGEST, MaxStale, RequestDirectives, ResponseDirectives, digits};
use super::profile::Profile;
use super::storing::is_heuristically_cacheable;
use super::{Exchange, date};

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

/// When a stored response may not be reused without validation.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL};
/// use seawall::rfc9111::{Demand, Exchange, Lifetime, Profile, ResponseDirectives};
/// use std::time::SystemTime;
///
/// # let now = SystemTime::now();
/// # let exchange = Exchange { sent: now, received: now };
/// for (says, demand) in [
///     ("max-age=60", Demand::None),
///     ("max-age=60, must-revalidate", Demand::WhenStale),
///     ("no-cache", Demand::Always),
/// ] {
///     let headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(says))]);
///     let directives = ResponseDirectives::from_fields(&headers);
///     let learned =
///         Lifetime::learn(&Profile::safe(), &directives, StatusCode::OK, &headers, exchange);
///     assert_eq!(learned.demand, demand);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It makes no demand: it may be served stale where a policy or the client allows.
    None,
    /// Once it is stale.
    WhenStale,
    /// Each time.
    Always,
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
            demand: demand(profile, directives),
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

fn demand(profile: &Profile, directives: &ResponseDirectives) -> Demand {
    let names_stale =
        directives.stale_while_revalidate.is_some() || directives.stale_if_error.is_some();
    // §5.2.2.10: s-maxage implies proxy-revalidate.
    let by_s_maxage = directives.s_maxage.is_some() && (profile.strict_s_maxage || !names_stale);
    if directives.no_cache {
        Demand::Always
    } else if directives.must_revalidate || directives.proxy_revalidate || by_s_maxage {
        Demand::WhenStale
    } else {
        Demand::None
    }
}

/// The age that a response arrives with (§5.1): the first member of the first Age line.
///
/// What is not a number of seconds counts as zero, what is beyond 2^31 as 2^31.
#[must_use]
pub fn age_field(headers: &HeaderMap) -> Duration {
    let line = headers.get(AGE).map_or(&[][..], HeaderValue::as_bytes);
    let first = line.split(|&byte| byte == b',').next().unwrap_or_default();
    digits(first.trim_ascii().iter().copied()).unwrap_or_default()
}

/// The time of the first Date line, where it is a date.
#[must_use]
pub fn date_field(headers: &HeaderMap, received: SystemTime) -> Option<SystemTime> {
    date::parse_at(headers.get(DATE)?.as_bytes(), received)
}

/// The age of a response at its arrival (§4.2.3): by the origin's clock, or by what the caches on
/// the way say and the exchange took, whichever is more.
#[must_use]
pub fn initial_age(age: Duration, date: Option<SystemTime>, exchange: Exchange) -> Duration {
    let since = |then| exchange.received.duration_since(then).unwrap_or_default();
    // RFC 9110 §6.6.1: a response without Date is dated by its arrival.
    let apparent = date.map_or(Duration::ZERO, since);
    apparent.max(age.saturating_add(since(exchange.sent)))
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
    let explicit = directives
        .s_maxage
        .or(directives.max_age)
        .or_else(|| if directives.targeted { None } else { expires(headers, date, received) });
    if let Some(said) = explicit {
        return Freshness::Explicit(said.min(longest));
    }
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

/// §5.3: what is not exactly one date lies in the past.
fn expires(headers: &HeaderMap, date: SystemTime, received: SystemTime) -> Option<Duration> {
    let mut lines = headers.get_all(EXPIRES).iter();
    let first = lines.next()?;
    let at = date::parse_at(first.as_bytes(), received).filter(|_| lines.next().is_none());
    let left = at.and_then(|at| at.duration_since(date).ok());
    Some(left.unwrap_or_default().min(LONGEST))
}

/// What a request brings to the question whether a stored response answers it.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{CACHE_CONTROL, COOKIE}};
/// use seawall::rfc9111::Ask;
///
/// let ask = Ask::from_fields(&HeaderMap::from_iter([
///     (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
///     (COOKIE, HeaderValue::from_static("session=1")),
/// ]));
/// assert!(ask.directives.no_cache && ask.cookie && !ask.authorization);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Its Cache-Control or Pragma.
    pub directives: RequestDirectives,
    /// Whether it has Authorization.
    pub authorization: bool,
    /// Whether it has Cookie.
    pub cookie: bool,
}

impl Ask {
    /// Reads what a request's fields ask.
    #[must_use]
    pub fn from_fields(headers: &HeaderMap) -> Self {
        Self {
            directives: RequestDirectives::from_fields(headers),
            authorization: headers.contains_key(http::header::AUTHORIZATION),
            cookie: headers.contains_key(http::header::COOKIE),
        }
    }
}

/// Whether a stored response answers a request.
///
/// ```
/// use seawall::rfc9111::Reuse;
/// use std::time::Duration;
///
/// /// May it be sent in place of an error of the origin?
/// fn stands_in(stored: Reuse, stale_if_error: Duration) -> bool {
///     match stored {
///         Reuse::Fresh | Reuse::MaxStale(_) => true,
///         Reuse::Stale(stale_for) => stale_for <= stale_if_error,
///         Reuse::Validate | Reuse::NotForThisRequest => false,
///     }
/// }
/// let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
/// assert!(stands_in(Reuse::Stale(minute), hour));
/// assert!(!stands_in(Reuse::Validate, hour));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It is fresh and nothing is against it.
    Fresh,
    /// It has been stale for this long, and the client takes it so (`max-stale`).
    MaxStale(Duration),
    /// It has been stale for this long; nothing forbids to serve it where a policy allows.
    Stale(Duration),
    /// It must be validated first, and may not be served instead of an error.
    Validate,
    /// It may not answer a request with these credentials.
    NotForThisRequest,
}

/// Decides whether a response stored for the time `resident` answers a request (§4).
///
/// ```
/// use seawall::rfc9111::{Ask, Demand, Lifetime, Reuse, reuse};
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// let lifetime = Lifetime {
///     initial_age: Duration::ZERO,
///     fresh_for: minute,
///     explicit: true,
///     demand: Demand::None,
///     stale_while_revalidate: None,
///     stale_if_error: None,
///     for_authorization: false,
///     for_cookies: true,
/// };
/// assert_eq!(reuse(&lifetime, Duration::ZERO, &Ask::default()), Reuse::Fresh);
/// assert_eq!(reuse(&lifetime, 2 * minute, &Ask::default()), Reuse::Stale(minute));
/// ```
#[must_use]
pub fn reuse(lifetime: &Lifetime, resident: Duration, ask: &Ask) -> Reuse {
    let asked = &ask.directives;
    if (ask.authorization && !lifetime.for_authorization) || (ask.cookie && !lifetime.for_cookies) {
        return Reuse::NotForThisRequest;
    }
    let age = lifetime.current_age(resident);
    // A coarse clock must not let an answer pass for one of age zero.
    let too_old = asked.max_age.is_some_and(|most| most.is_zero() || age > most);
    if asked.no_cache || too_old || lifetime.demand == Demand::Always {
        return Reuse::Validate;
    }
    // §4.2: fresh means the lifetime exceeds the age.
    if lifetime.fresh_for > age {
        let left = lifetime.fresh_for - age;
        let enough = asked.min_fresh.is_none_or(|least| left >= least);
        return if enough { Reuse::Fresh } else { Reuse::Validate };
    }
    let stale_for = age - lifetime.fresh_for;
    if lifetime.demand == Demand::WhenStale || asked.min_fresh.is_some() {
        return Reuse::Validate;
    }
    // A response that never said how long it is fresh is not known to be within any bound.
    let known = lifetime.explicit || !lifetime.fresh_for.is_zero();
    match asked.max_stale {
        MaxStale::Any if known => Reuse::MaxStale(stale_for),
        MaxStale::UpTo(most) if known && stale_for <= most => Reuse::MaxStale(stale_for),
        _ => Reuse::Stale(stale_for),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::header::HeaderName;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    fn now() -> SystemTime {
        UNIX_EPOCH + seconds(784_111_777)
    }

    /// `name: value` lines.
    fn fields(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn learned(profile: &Profile, lines: &[&str]) -> Lifetime {
        let headers = fields(lines);
        let exchange = Exchange { sent: now(), received: now() };
        let directives = super::super::targeted::governing(profile, &headers);
        Lifetime::learn(profile, &directives, StatusCode::OK, &headers, exchange)
    }

    const DATE_NOW: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT";
    const MINUTE_AHEAD: &str = "expires: Sun, 06 Nov 1994 08:50:37 GMT";

    #[test]
    fn age_is_the_first_number_of_the_first_line() {
        for (lines, age) in [
            (&["age: 7"][..], 7),
            (&["age: 7, 0"], 7),
            (&["age: 0,7"], 0),
            (&["age: 7", "age: 9"], 7),
            (&["age: 2147483648"], 1 << 31),
            (&["age: 99999999999999999999999"], 1 << 31),
            (&["age: -7"], 0),
            (&["age: 7.0"], 0),
            (&["age: 7;x=1"], 0),
            (&["age: old"], 0),
            (&["age: "], 0),
            (&[], 0),
        ] {
            assert_eq!(age_field(&fields(lines)), seconds(age), "{lines:?}");
        }
    }

    #[test]
    fn the_larger_of_the_two_ages_is_the_age_at_arrival() {
        let exchange = Exchange { sent: now() - seconds(3), received: now() };
        for (age, date, initial) in [
            (0, None, 3),
            (10, None, 13),
            (10, Some(now() - seconds(20)), 20),
            (10, Some(now() - seconds(5)), 13),
            (0, Some(now() + seconds(100)), 3),
        ] {
            assert_eq!(initial_age(seconds(age), date, exchange), seconds(initial));
        }
        let turned_back = Exchange { sent: now(), received: now() - seconds(3) };
        assert_eq!(initial_age(seconds(1), None, turned_back), seconds(1));
    }

    #[test]
    fn the_first_source_of_a_lifetime_counts() {
        use Freshness::*;
        let modified = "last-modified: Sun, 06 Nov 1994 08:48:37 GMT";
        for (lines, lifetime_is) in [
            (&["cache-control: max-age=5, s-maxage=7", MINUTE_AHEAD][..], Explicit(seconds(7))),
            (&["cache-control: max-age=5", MINUTE_AHEAD], Explicit(seconds(5))),
            (&[DATE_NOW, MINUTE_AHEAD], Explicit(seconds(60))),
            (&[MINUTE_AHEAD], Explicit(seconds(60))),
            (&["date: today", MINUTE_AHEAD], Explicit(seconds(60))),
            (&["date: Sun, 06 Nov 1994 08:50:38 GMT", MINUTE_AHEAD], Explicit(seconds(0))),
            (&["expires: 0", modified], Explicit(seconds(0))),
            (&[MINUTE_AHEAD, MINUTE_AHEAD], Explicit(seconds(0))),
            (&["expires: Fri, 31 Dec 9999 23:59:59 GMT"], Explicit(seconds(365 * 86400))),
            (&[modified, DATE_NOW], Heuristic(seconds(6))),
            (&["last-modified: Sun, 06 Nov 1994 08:50:37 GMT"], Unknown),
            (&["last-modified: once"], Unknown),
            (&["cdn-cache-control: max-age=9", "cache-control: max-age=5"], Explicit(seconds(9))),
            (&["cdn-cache-control: public", MINUTE_AHEAD], Unknown),
            (&[], Unknown),
        ] {
            let (headers, profile) = (fields(lines), Profile::reverse_proxy());
            let directives = super::super::targeted::governing(&profile, &headers);
            let is = lifetime(&directives, &headers, StatusCode::OK, &profile, now());
            assert_eq!(is, lifetime_is, "{lines:?}");
        }
    }

    #[test]
    fn nothing_is_guessed_in_the_safe_profile_nor_for_other_statuses() {
        let headers = fields(&["last-modified: Sun, 06 Nov 1994 08:48:37 GMT"]);
        let guessed = |profile: &Profile, status, directives: &ResponseDirectives| {
            lifetime(directives, &headers, status, profile, now()) != Freshness::Unknown
        };
        let (none, proxy) = (ResponseDirectives::default(), Profile::reverse_proxy());
        assert!(!guessed(&Profile::safe(), StatusCode::OK, &none));
        assert!(guessed(&proxy, StatusCode::OK, &none));
        assert!(!guessed(&proxy, StatusCode::FOUND, &none));
        let public = ResponseDirectives { public: true, ..none };
        assert!(guessed(&proxy, StatusCode::FOUND, &public));
    }

    #[test]
    fn s_maxage_demands_validation_as_the_profile_says() {
        use Demand::*;
        for (line, safe, strict) in [
            ("max-age=5", None, None),
            ("s-maxage=5", WhenStale, WhenStale),
            ("s-maxage=5, stale-if-error=5", None, WhenStale),
            ("s-maxage=5, stale-while-revalidate=5", None, WhenStale),
            ("s-maxage=5, stale-if-error=5, proxy-revalidate", WhenStale, WhenStale),
            ("max-age=5, must-revalidate", WhenStale, WhenStale),
            ("max-age=5, must-revalidate, no-cache", Always, Always),
        ] {
            let line = format!("cache-control: {line}");
            let demand = |profile| learned(&profile, &[&line]).demand;
            assert_eq!(demand(Profile::safe()), safe, "{line}");
            assert_eq!(demand(Profile::reverse_proxy()), strict, "{line}");
        }
    }

    #[test]
    fn responses_and_requests_together_decide_reuse() {
        use Reuse::*;
        let max_age = "cache-control: max-age=60";
        for (response, resident, request, reused) in [
            (max_age, 59, "", Fresh),
            (max_age, 60, "", Stale(seconds(0))),
            (max_age, 65, "", Stale(seconds(5))),
            (max_age, 5, "no-cache", Validate),
            (max_age, 0, "max-age=0", Validate),
            (max_age, 5, "max-age=5", Fresh),
            (max_age, 6, "max-age=5", Validate),
            (max_age, 50, "min-fresh=10", Fresh),
            (max_age, 51, "min-fresh=10", Validate),
            (max_age, 65, "min-fresh=10", Validate),
            (max_age, 65, "max-stale", MaxStale(seconds(5))),
            (max_age, 65, "max-stale=5", MaxStale(seconds(5))),
            (max_age, 65, "max-stale=4", Stale(seconds(5))),
            (max_age, 5, "max-stale=4", Fresh),
            ("cache-control: max-age=60, must-revalidate", 5, "", Fresh),
            ("cache-control: max-age=60, must-revalidate", 65, "max-stale", Validate),
            ("cache-control: s-maxage=60", 65, "max-stale", Validate),
            ("cache-control: no-cache, max-age=60", 5, "", Validate),
            ("cache-control: max-age=60, immutable", 5, "no-cache", Validate),
            ("etag: \"a\"", 5, "max-stale", Stale(seconds(5))),
        ] {
            let lifetime = learned(&Profile::safe(), &[response]);
            let ask = Ask::from_fields(&fields(&[&format!("cache-control: {request}")]));
            let is = reuse(&lifetime, seconds(resident), &ask);
            assert_eq!(is, reused, "{response}, {resident} s, {request}");
        }
    }

    #[test]
    fn credentials_are_answered_only_with_what_is_for_all() {
        use Reuse::*;
        for (response, request, safe, reverse_proxy) in [
            ("max-age=60", "authorization: x", NotForThisRequest, NotForThisRequest),
            ("max-age=60, public", "authorization: x", Fresh, Fresh),
            ("max-age=60, must-revalidate", "authorization: x", Fresh, Fresh),
            ("max-age=60", "cookie: a=1", NotForThisRequest, Fresh),
            ("max-age=60, must-revalidate", "cookie: a=1", NotForThisRequest, Fresh),
            ("s-maxage=60", "cookie: a=1", Fresh, Fresh),
        ] {
            let ask = Ask::from_fields(&fields(&[request]));
            let line = format!("cache-control: {response}");
            let is = |profile| reuse(&learned(&profile, &[&line]), seconds(5), &ask);
            assert_eq!(is(Profile::safe()), safe, "{response}, {request}");
            assert_eq!(is(Profile::reverse_proxy()), reverse_proxy, "{response}, {request}");
        }
    }

    #[test]
    fn ages_beyond_all_bounds_are_stale() {
        let lifetime = learned(&Profile::safe(), &["age: 2147483648", "cache-control: max-age=60"]);
        assert_eq!(lifetime.current_age(Duration::MAX), Duration::MAX);
        let reused = reuse(&lifetime, Duration::MAX, &Ask::default());
        assert_eq!(reused, Reuse::Stale(Duration::MAX - seconds(60)));
    }
}
