//! Whether a stored response answers a request (RFC 9111 §4), as its directives (§5.2.1) ask.

use std::time::Duration;

use http::header::HeaderMap;

use super::{
    freshness::Lifetime,
    request_directives::{MaxStale, RequestDirectives},
    stale::Demand,
};

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
    // §3.5, and cookies by the profile: what is for all answers them too.
    if (ask.authorization && !lifetime.for_authorization) || (ask.cookie && !lifetime.for_cookies) {
        return Reuse::NotForThisRequest;
    }
    let age = lifetime.current_age(resident);
    // §5.2.1.1; a coarse clock must not let an answer pass for one of age zero.
    let too_old = asked.max_age.is_some_and(|most| most.is_zero() || age > most);
    // §5.2.1.4, §5.2.2.4: no-cache, said by either side.
    if asked.no_cache || too_old || lifetime.demand == Demand::Always {
        return Reuse::Validate;
    }
    // §4.2: fresh means the lifetime exceeds the age.
    if lifetime.fresh_for > age {
        let left = lifetime.fresh_for - age;
        // §5.2.1.3: what is left of the lifetime is no less than was asked for.
        let enough = asked.min_fresh.is_none_or(|least| left >= least);
        return if enough { Reuse::Fresh } else { Reuse::Validate };
    }
    let stale_for = age - lifetime.fresh_for;
    // §4.2.4: stale responses stay unsent where either side forbids them.
    if lifetime.demand == Demand::WhenStale || asked.min_fresh.is_some() {
        return Reuse::Validate;
    }
    // §5.2.1.2; a response that never said how long it is fresh is not known to be within any bound.
    let known = lifetime.explicit || !lifetime.fresh_for.is_zero();
    match asked.max_stale {
        MaxStale::Any if known => Reuse::MaxStale(stale_for),
        MaxStale::UpTo(most) if known && stale_for <= most => Reuse::MaxStale(stale_for),
        _ => Reuse::Stale(stale_for),
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

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::rows::{fields, now, seconds};
    use super::super::{Exchange, profile::Profile, targeted::governing};
    use super::*;

    fn learned(profile: &Profile, lines: &[&str]) -> Lifetime {
        let headers = fields(lines);
        let exchange = Exchange { sent: now(), received: now() };
        let directives = governing(profile, &headers);
        Lifetime::learn(profile, &directives, StatusCode::OK, &headers, exchange)
    }

    /// Each row: the response, for how long it has been stored, what is asked, and what follows.
    fn reused(rows: &[(&str, u64, &str, Reuse)]) {
        for &(response, resident, request, expected) in rows {
            let lifetime = learned(&Profile::safe(), &[response]);
            let ask = Ask::from_fields(&fields(&[&format!("cache-control: {request}")]));
            let is = reuse(&lifetime, seconds(resident), &ask);
            assert_eq!(is, expected, "{response}, {resident} s, {request}");
        }
    }

    const MAX_AGE: &str = "cache-control: max-age=60";

    #[test]
    fn section_4_2_fresh_is_what_lives_longer_than_its_age() {
        use Reuse::*;
        reused(&[
            (MAX_AGE, 0, "", Fresh),
            (MAX_AGE, 59, "", Fresh),
            (MAX_AGE, 60, "", Stale(seconds(0))),
            (MAX_AGE, 65, "", Stale(seconds(5))),
            ("cache-control: max-age=0", 0, "", Stale(seconds(0))),
            ("etag: \"a\"", 5, "", Stale(seconds(5))),
        ]);
    }

    #[test]
    fn section_4_2_3_ages_beyond_all_bounds_are_stale() {
        let lifetime = learned(&Profile::safe(), &["age: 2147483648", MAX_AGE]);
        for (resident, reused) in [
            (seconds(0), Reuse::Stale(seconds((1 << 31) - 60))),
            (Duration::MAX, Reuse::Stale(Duration::MAX - seconds(60))),
        ] {
            assert_eq!(reuse(&lifetime, resident, &Ask::default()), reused, "{resident:?}");
        }
    }

    #[test]
    fn section_4_2_4_nothing_stale_answers_where_either_side_forbids_it() {
        use Reuse::*;
        let strict = "cache-control: max-age=60, must-revalidate";
        let proxy = "cache-control: max-age=60, proxy-revalidate";
        let shared = "cache-control: s-maxage=60";
        reused(&[
            (strict, 5, "", Fresh),
            (strict, 65, "", Validate),
            (strict, 65, "max-stale", Validate),
            (proxy, 5, "", Fresh),
            (proxy, 65, "max-stale", Validate),
            (shared, 5, "", Fresh),
            (shared, 65, "max-stale", Validate),
            (MAX_AGE, 65, "min-fresh=0", Validate),
        ]);
    }

    #[test]
    fn section_5_2_1_1_nothing_older_than_max_age_answers() {
        use Reuse::*;
        reused(&[
            (MAX_AGE, 5, "max-age=5", Fresh),
            (MAX_AGE, 6, "max-age=5", Validate),
            (MAX_AGE, 0, "max-age=0", Validate),
            (MAX_AGE, 5, "max-age=soon", Validate),
            (MAX_AGE, 65, "max-age=99", Stale(seconds(5))),
            (MAX_AGE, 65, "max-age=62, max-stale", Validate),
            (MAX_AGE, 65, "max-age=65, max-stale", MaxStale(seconds(5))),
        ]);
    }

    #[test]
    fn section_5_2_1_2_max_stale_takes_what_is_known_to_be_within_it() {
        use Reuse::*;
        reused(&[
            (MAX_AGE, 65, "max-stale", MaxStale(seconds(5))),
            (MAX_AGE, 65, "max-stale=5", MaxStale(seconds(5))),
            (MAX_AGE, 65, "max-stale=4", Stale(seconds(5))),
            (MAX_AGE, 65, "max-stale=0", Stale(seconds(5))),
            (MAX_AGE, 60, "max-stale=0", MaxStale(seconds(0))),
            (MAX_AGE, 5, "max-stale=4", Fresh),
            ("cache-control: max-age=0", 5, "max-stale=5", MaxStale(seconds(5))),
            ("etag: \"a\"", 5, "max-stale", Stale(seconds(5))),
        ]);
    }

    #[test]
    fn section_5_2_1_3_min_fresh_asks_for_a_rest_of_the_lifetime() {
        use Reuse::*;
        reused(&[
            (MAX_AGE, 50, "min-fresh=10", Fresh),
            (MAX_AGE, 51, "min-fresh=10", Validate),
            (MAX_AGE, 65, "min-fresh=10", Validate),
            (MAX_AGE, 65, "min-fresh=10, max-stale", Validate),
            (MAX_AGE, 0, "min-fresh=soon", Validate),
        ]);
    }

    #[test]
    fn section_5_2_1_4_and_5_2_2_4_no_cache_is_validated_each_time() {
        use Reuse::*;
        reused(&[
            (MAX_AGE, 5, "no-cache", Validate),
            (MAX_AGE, 65, "no-cache, max-stale", Validate),
            ("cache-control: no-cache, max-age=60", 5, "", Validate),
            ("cache-control: no-cache, max-age=60", 65, "max-stale", Validate),
            ("cache-control: no-cache=\"a\", max-age=60", 5, "", Fresh),
            // RFC 8246 speaks to clients: their word still counts.
            ("cache-control: max-age=60, immutable", 5, "no-cache", Validate),
        ]);
    }

    #[test]
    fn section_3_5_credentials_are_answered_only_with_what_is_for_all() {
        use Reuse::*;
        for (response, request, safe, reverse_proxy) in [
            ("max-age=60", "authorization: x", NotForThisRequest, NotForThisRequest),
            (
                "max-age=60, proxy-revalidate",
                "authorization: x",
                NotForThisRequest,
                NotForThisRequest,
            ),
            ("max-age=60, public", "authorization: x", Fresh, Fresh),
            ("max-age=60, must-revalidate", "authorization: x", Fresh, Fresh),
            ("s-maxage=60", "authorization: x", Fresh, Fresh),
            ("max-age=60", "cookie: a=1", NotForThisRequest, Fresh),
            ("max-age=60, must-revalidate", "cookie: a=1", NotForThisRequest, Fresh),
            ("max-age=60, public", "cookie: a=1", Fresh, Fresh),
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
    fn section_5_4_pragma_asks_for_validation() {
        let ask = Ask::from_fields(&fields(&["pragma: no-cache"]));
        assert_eq!(
            reuse(&learned(&Profile::safe(), &[MAX_AGE]), seconds(5), &ask),
            Reuse::Validate
        );
    }
}
