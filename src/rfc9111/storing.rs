//! Storing (RFC 9111 §3): which responses a shared cache keeps, and why not the others.

use http::header::{AUTHORIZATION, COOKIE, ETAG, HeaderMap, LAST_MODIFIED, SET_COOKIE};
use http::{Method, StatusCode};

use super::freshness::{Lifetime, is_heuristically_cacheable};
use super::profile::Profile;
use super::refusal::Refusal;
use super::request_directives::RequestDirectives;
use super::response_directives::ResponseDirectives;
use super::stale::Demand;
use super::vary::Vary;
use super::{Exchange, incomplete, targeted};

/// The most fields by which the variants of one response may differ.
const MOST_VARY_NAMES: usize = 8;

/// Whether a response is stored.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CACHE_CONTROL};
/// use seawall::rfc9111::{Exchange, Keep, Profile, Refusal, keep};
/// use std::time::{Duration, SystemTime};
///
/// let kept = |says| {
///     let response = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(says))]);
///     let now = SystemTime::now();
///     let (profile, exchange) = (Profile::safe(), Exchange { sent: now, received: now });
///     keep(&profile, &Method::GET, &HeaderMap::new(), StatusCode::OK, &response, exchange)
/// };
/// assert_eq!(kept("no-store"), Keep::No(Refusal::NoStore));
/// let Keep::For(lifetime) = kept("max-age=60") else { panic!("nothing is against it") };
/// assert_eq!(lifetime.fresh_for, Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is not.
    No(Refusal),
    /// It is; what storing learned of its lifetime.
    For(Lifetime),
}

/// Decides whether the response to a request is stored (§3).
///
/// A fault of the response is named before a fault of the request, so that
/// [`Refusal::by_request`] tells whether to try again with the next one.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CACHE_CONTROL};
/// use seawall::rfc9111::{Exchange, Keep, Profile, Refusal, keep};
/// use std::time::SystemTime;
///
/// let now = SystemTime::now();
/// let exchange = Exchange { sent: now, received: now };
/// let mut response = HeaderMap::new();
/// response.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60, private"));
/// let request = HeaderMap::new();
/// let kept = keep(&Profile::safe(), &Method::GET, &request, StatusCode::OK, &response, exchange);
/// assert_eq!(kept, Keep::No(Refusal::Private));
/// ```
#[must_use]
pub fn keep(
    profile: &Profile,
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    exchange: Exchange,
) -> Keep {
    if method != Method::GET {
        return Keep::No(Refusal::Method);
    }
    let directives = targeted::governing(profile, response);
    let lifetime = Lifetime::learn(profile, &directives, status, response, exchange);
    // What the response says of itself comes first: who shares an answer that is not stored asks
    // whether anything but its status was against it.
    let refused = by_directives(status, &directives)
        .or_else(|| by_fields(profile, response, &lifetime))
        .or_else(|| by_use(status, response, &lifetime))
        .or_else(|| by_status(profile, status, response, &directives, &lifetime))
        .or_else(|| by_request(profile, request, &lifetime));
    refused.map_or(Keep::For(lifetime), Keep::No)
}

fn by_status(
    profile: &Profile,
    status: StatusCode,
    response: &HeaderMap,
    directives: &ResponseDirectives,
    lifetime: &Lifetime,
) -> Option<Refusal> {
    if status == StatusCode::PARTIAL_CONTENT {
        return (!incomplete::is_storable(profile, response)).then_some(Refusal::PartialContent);
    }
    // A 304, 412 or 416 is about what one request asked for beside the key: its conditions, its range.
    let of_all = !matches!(status.as_u16(), 304 | 412 | 416);
    let final_status = !status.is_informational() && of_all;
    let by_default = is_heuristically_cacheable(status);
    let on_demand = profile.any_status && (lifetime.explicit || directives.public);
    let storable = final_status && (by_default || on_demand);
    (!storable).then_some(Refusal::Status)
}

fn by_directives(status: StatusCode, directives: &ResponseDirectives) -> Option<Refusal> {
    // §5.2.2.3: must-understand replaces no-store where the status is understood.
    if directives.must_understand && !is_understood(status) {
        Some(Refusal::MustUnderstand)
    } else if directives.no_store && !directives.must_understand {
        Some(Refusal::NoStore)
    } else {
        directives.private.then_some(Refusal::Private)
    }
}

fn by_fields(profile: &Profile, response: &HeaderMap, lifetime: &Lifetime) -> Option<Refusal> {
    let set_cookie_allowed = profile.store_set_cookie && lifetime.explicit;
    if response.contains_key(SET_COOKIE) && !set_cookie_allowed {
        return Some(Refusal::SetCookie);
    }
    match Vary::from_fields(response) {
        Vary::None => None,
        Vary::Any => Some(Refusal::VaryStar),
        Vary::Names(names) if names.names_credentials() && !profile.vary_on_credentials => {
            Some(Refusal::VaryOnCredentials)
        }
        Vary::Names(names) if names.len() > MOST_VARY_NAMES => Some(Refusal::TooManyVaryNames),
        Vary::Names(_) => None,
    }
}

/// Refuses what no later request could be answered with.
fn by_use(status: StatusCode, response: &HeaderMap, lifetime: &Lifetime) -> Option<Refusal> {
    let error = status.as_u16() >= 400;
    let fresh = !lifetime.fresh_for.is_zero() && lifetime.demand != Demand::Always;
    let serves_stale = lifetime.demand == Demand::None
        && (lifetime.stale_while_revalidate.is_some() || lifetime.stale_if_error.is_some());
    let validator = response.contains_key(ETAG) || response.contains_key(LAST_MODIFIED);
    // An error without a lifetime of its own is not worth a validation each time.
    let validates = validator && (lifetime.explicit || !error);
    let said = lifetime.explicit || lifetime.demand != Demand::None;
    let refusal = if said { Refusal::NeverFresh } else { Refusal::NoFreshnessNoValidator };
    (!fresh && !serves_stale && !validates).then_some(refusal)
}

fn by_request(profile: &Profile, request: &HeaderMap, lifetime: &Lifetime) -> Option<Refusal> {
    if RequestDirectives::from_fields(request).no_store {
        Some(Refusal::RequestNoStore)
    } else if request.contains_key(AUTHORIZATION) && !lifetime.for_authorization {
        Some(Refusal::Authorization)
    } else if request.contains_key(COOKIE) && !lifetime.for_cookies {
        Some(Refusal::RequestCookie)
    } else if profile.unkeyed_fields_matter && request.keys().any(|name| is_unkeyed(name.as_str()))
    {
        Some(Refusal::UnkeyedField)
    } else {
        None
    }
}

/// Fields of a request that change what some origins answer, though no key holds them.
pub(crate) fn is_unkeyed(name: &str) -> bool {
    match name.strip_prefix("x-forwarded-") {
        Some(what) => what != "for",
        None => matches!(
            name,
            "forwarded" | "x-original-url" | "x-rewrite-url" | "x-http-method-override"
        ),
    }
}

/// The final statuses that RFC 9110 §15 defines and that ask nothing special of a cache.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

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

    fn kept(profile: &Profile, request: &[&str], status: u16, response: &[&str]) -> Keep {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let exchange = Exchange { sent: now, received: now };
        let status = StatusCode::from_u16(status).unwrap();
        keep(profile, &Method::GET, &fields(request), status, &fields(response), exchange)
    }

    /// In the safe profile and in the other; none where it is kept.
    fn refusals(request: &[&str], status: u16, response: &[&str]) -> [Option<Refusal>; 2] {
        [Profile::safe(), Profile::reverse_proxy()].map(|profile| {
            match kept(&profile, request, status, response) {
                Keep::No(refusal) => Some(refusal),
                Keep::For(_) => None,
            }
        })
    }

    const MINUTE: &str = "cache-control: max-age=60";

    #[test]
    fn section_3_what_responses_say_decides() {
        use Refusal::*;
        for (response, safe, reverse_proxy) in [
            (&[MINUTE][..], None, None),
            (&["cache-control: no-store, max-age=60"], Some(NoStore), Some(NoStore)),
            (&["cache-control: private, max-age=60"], Some(Private), Some(Private)),
            (&["cache-control: private=\"a\", max-age=60"], None, None),
            (&["cache-control: no-store, must-understand, max-age=60"], None, None),
            (&[MINUTE, "set-cookie: a=1"], Some(SetCookie), None),
            (&["etag: \"a\"", "set-cookie: a=1"], Some(SetCookie), Some(SetCookie)),
            (&[MINUTE, "vary: accept"], None, None),
            (&[MINUTE, "vary: accept, *"], Some(VaryStar), Some(VaryStar)),
            (&[MINUTE, "vary: cookie"], Some(VaryOnCredentials), None),
            (&[MINUTE, "vary: authorization"], Some(VaryOnCredentials), None),
            (&[MINUTE, "vary: a, b, c, d, e, f, g, h, a"], None, None),
            (
                &[MINUTE, "vary: a, b, c, d, e, f, g, h, i"],
                Some(TooManyVaryNames),
                Some(TooManyVaryNames),
            ),
            (&[], Some(NoFreshnessNoValidator), Some(NoFreshnessNoValidator)),
            (
                &["cache-control: public"],
                Some(NoFreshnessNoValidator),
                Some(NoFreshnessNoValidator),
            ),
            (&["cache-control: no-cache, max-age=60"], Some(NeverFresh), Some(NeverFresh)),
            (&["cache-control: no-cache", "etag: \"a\""], None, None),
            (&["etag: \"a\""], None, None),
            (&["cache-control: max-age=0, stale-while-revalidate=5"], None, None),
            (&["expires: 0"], Some(NeverFresh), Some(NeverFresh)),
            (&["cache-control: max-age=0"], Some(NeverFresh), Some(NeverFresh)),
            (&["cdn-cache-control: no-store", MINUTE], None, Some(NoStore)),
        ] {
            assert_eq!(refusals(&[], 200, response), [safe, reverse_proxy], "{response:?}");
        }
    }

    #[test]
    fn section_3_statuses_are_stored_as_the_profile_says() {
        use Refusal::*;
        for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(refusals(&[], status, &[MINUTE]), [None, None], "{status}");
        }
        for status in [201, 302, 307, 403, 500, 503, 599, 799] {
            assert_eq!(refusals(&[], status, &[MINUTE]), [Some(Status), None], "{status}");
            let tagged = refusals(&[], status, &["etag: \"a\""]);
            let refusal = if status < 400 { Status } else { NoFreshnessNoValidator };
            assert_eq!(tagged, [Some(refusal), Some(refusal)], "{status}");
        }
        for status in [100, 103, 304] {
            assert_eq!(refusals(&[], status, &[MINUTE]), [Some(Status), Some(Status)], "{status}");
        }
        assert_eq!(refusals(&[], 206, &[MINUTE]), [Some(PartialContent); 2]);
        let understood = ["cache-control: must-understand, max-age=60"];
        assert_eq!(refusals(&[], 599, &understood), [Some(MustUnderstand); 2]);
        assert_eq!(refusals(&[], 404, &["etag: \"a\""]), [Some(NoFreshnessNoValidator); 2]);
    }

    #[test]
    fn section_3_5_what_requests_bring_decides_last_and_for_them_only() {
        use Refusal::*;
        let public = "cache-control: public, max-age=60";
        let shared = "cache-control: s-maxage=60";
        let strict = "cache-control: max-age=60, must-revalidate";
        for (request, response, safe, reverse_proxy) in [
            ("cache-control: no-store", public, Some(RequestNoStore), Some(RequestNoStore)),
            ("authorization: x", MINUTE, Some(Authorization), Some(Authorization)),
            ("authorization: x", public, None, None),
            ("authorization: x", shared, None, None),
            ("authorization: x", strict, None, None),
            ("cookie: a=1", MINUTE, Some(RequestCookie), None),
            ("cookie: a=1", strict, Some(RequestCookie), None),
            ("cookie: a=1", public, None, None),
            ("cookie: a=1", shared, None, None),
            ("forwarded: for=x", MINUTE, Some(UnkeyedField), None),
            ("x-forwarded-host: x", MINUTE, Some(UnkeyedField), None),
            ("x-forwarded-unheard-of: x", MINUTE, Some(UnkeyedField), None),
            ("x-original-url: /", MINUTE, Some(UnkeyedField), None),
            ("x-rewrite-url: /", MINUTE, Some(UnkeyedField), None),
            ("x-http-method-override: PUT", MINUTE, Some(UnkeyedField), None),
            ("x-forwarded-for: x", MINUTE, None, None),
        ] {
            let refused = refusals(&[request], 200, &[response]);
            assert_eq!(refused, [safe, reverse_proxy], "{request}");
            assert!(refused.iter().flatten().all(Refusal::by_request), "{request}");
            let refused = refusals(&[request], 200, &["cache-control: private"]);
            assert_eq!(refused, [Some(Private); 2], "{request}");
        }
    }

    #[test]
    fn section_3_only_the_answers_to_get_are_stored() {
        let now = UNIX_EPOCH;
        let exchange = Exchange { sent: now, received: now };
        for method in [Method::HEAD, Method::POST, Method::PUT] {
            let response = fields(&[MINUTE]);
            let kept =
                keep(&Profile::safe(), &method, &fields(&[]), StatusCode::OK, &response, exchange);
            assert_eq!(kept, Keep::No(Refusal::Method));
        }
    }

    #[test]
    fn section_3_without_a_lifetime_a_validator_is_kept_to_be_asked_each_time() {
        let Keep::For(lifetime) = kept(&Profile::safe(), &[], 200, &["etag: \"a\""]) else {
            panic!("kept");
        };
        assert!(lifetime.fresh_for.is_zero() && !lifetime.explicit);
    }

    #[test]
    fn section_4_2_1_errors_live_no_longer_than_the_profile_says() {
        let hour = ["cache-control: max-age=3600"];
        for (status, profile, seconds) in [
            (404, Profile::safe(), 60),
            (200, Profile::safe(), 3600),
            (404, Profile::reverse_proxy(), 3600),
            (200, Profile::reverse_proxy().max_lifetime(Duration::from_secs(5)), 5),
        ] {
            let Keep::For(lifetime) = kept(&profile, &[], status, &hour) else { panic!("kept") };
            assert_eq!(lifetime.fresh_for, Duration::from_secs(seconds));
        }
    }
}
