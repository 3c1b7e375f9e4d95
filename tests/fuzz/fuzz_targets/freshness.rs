//! Storing and reuse (RFC 9111 §3, §4.2), with the times, ages and dates that no one expects:
//! numbers, then the fields of the response, of the request that fetched it, and of another.
//!
//! The numbers: when the request left and when its response arrived, in seconds; the nanoseconds of
//! both; the seconds that the response has been stored, and how many more it will be; its status;
//! the longest lifetime; bits that choose the profile.
#![no_main]

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AGE, AUTHORIZATION, CACHE_CONTROL, COOKIE, EXPIRES, SET_COOKIE},
};
use libfuzzer_sys::fuzz_target;
use seawall::rfc9111::{
    Ask, Demand, Exchange, Keep, Lifetime, MaxStale, Profile, Reuse, Vary,
    age::{age_field, date_field, initial_age},
    freshness::{self, Freshness},
    keep, reuse, targeted,
};
use seawall_fuzz::{fields, numbers, sections, time};

const LONGEST: Duration = Duration::from_secs(1 << 31);

fuzz_target!(|data: &[u8]| {
    let [figures, response, request, later] = sections(data);
    let [sent, received, nanos, resident, more, status, longest, bits] = numbers(figures);
    let exchange = Exchange { sent: time(sent, nanos / 7), received: time(received, nanos) };
    let resident = Duration::new(resident.unsigned_abs(), 999_999_999);
    let older = resident.saturating_add(Duration::from_secs(more.unsigned_abs()));
    let status = status.unsigned_abs() % 500 + 100;
    let status = StatusCode::from_u16(status as u16).expect("100 to 599");
    let profile = profile(longest, bits);
    let (response, request, later) = (fields(response), fields(request), fields(later));

    let directives = targeted::governing(&profile, &response);
    let lifetime = Lifetime::learn(&profile, &directives, status, &response, exchange);
    learned(&lifetime, &profile, status, &response, exchange);
    kept(&lifetime, &profile, &request, status, &response, exchange);
    let asks = [Ask::from_fields(&later), Ask::default()];
    for ask in &asks {
        for resident in [Duration::ZERO, resident, Duration::MAX] {
            reused(&lifetime, resident, ask);
        }
        // What is fresh was so before, unless the credentials are against it.
        if reuse(&lifetime, older, ask) == Reuse::Fresh {
            assert_eq!(reuse(&lifetime, resident, ask), Reuse::Fresh);
        }
    }
    stricter(&lifetime, resident, &later);
    shorter(&lifetime, &profile, status, &response, exchange, resident);
});

fn profile(longest: i64, bits: i64) -> Profile {
    let base = if bits & 1 == 0 { Profile::safe() } else { Profile::reverse_proxy() };
    let longest = Duration::from_secs(longest.unsigned_abs());
    let base = if bits & 2 == 0 { base } else { base.max_lifetime(longest) };
    let base = if bits & 4 == 0 { base } else { base.max_error_lifetime(Some(longest / 2)) };
    let base = if bits & 8 == 0 { base } else { base.heuristic(true) };
    if bits & 16 == 0 { base } else { base.strict_s_maxage(bits & 32 == 0) }
}

/// §4.2.1 to §4.2.3.
fn learned(
    lifetime: &Lifetime,
    profile: &Profile,
    status: StatusCode,
    response: &HeaderMap,
    exchange: Exchange,
) {
    let directives = targeted::governing(profile, response);
    let (age, date) = (age_field(response), date_field(response, exchange.received));
    assert!(age <= LONGEST);
    let round_trip = exchange.received.duration_since(exchange.sent).unwrap_or_default();
    let apparent = date.and_then(|date| exchange.received.duration_since(date).ok());
    assert_eq!(
        lifetime.initial_age,
        apparent.unwrap_or_default().max(age.saturating_add(round_trip))
    );
    let huge = initial_age(Duration::MAX, date, exchange);
    assert_eq!(huge, Duration::MAX, "ages are held, they never come round");
    assert_eq!(lifetime.current_age(Duration::MAX), Duration::MAX);

    let says = freshness::lifetime(&directives, response, status, profile, exchange.received);
    assert_eq!(lifetime.fresh_for, says.fresh_for());
    let is_told = directives.max_age.is_some() || directives.s_maxage.is_some();
    let expires = response.contains_key(EXPIRES) && !directives.targeted;
    assert_eq!(lifetime.explicit, is_told || expires);
    match says {
        Freshness::Explicit(fresh_for) => {
            assert!(fresh_for <= LONGEST);
            let told = directives.s_maxage.or(directives.max_age);
            assert!(told.is_none_or(|told| fresh_for <= told));
        }
        Freshness::Heuristic(fresh_for) => {
            assert!(!lifetime.explicit);
            let date = date.unwrap_or(exchange.received);
            let modified = &response[http::header::LAST_MODIFIED];
            let modified = modified.to_str().expect("a date");
            let modified = seawall::rfc9111::date::parse_at(modified.as_bytes(), exchange.received);
            let unchanged = date.duration_since(modified.expect("a date")).expect("before");
            assert!(fresh_for <= unchanged / 10);
        }
        Freshness::Unknown => assert_eq!(lifetime.fresh_for, Duration::ZERO),
    }
    let demanded = directives.must_revalidate || directives.proxy_revalidate;
    match lifetime.demand {
        Demand::Always => assert!(directives.no_cache),
        Demand::WhenStale => {
            assert!(!directives.no_cache && (demanded || directives.s_maxage.is_some()))
        }
        Demand::None => assert!(!directives.no_cache && !demanded),
    }
}

/// §3.
fn kept(
    lifetime: &Lifetime,
    profile: &Profile,
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    exchange: Exchange,
) {
    let kept = |method: &Method, request: &HeaderMap, response: &HeaderMap| {
        keep(profile, method, request, status, response, exchange)
    };
    assert!(
        matches!(kept(&Method::POST, request, response), Keep::No(refusal) if refusal.by_request())
    );
    let ours = kept(&Method::GET, request, response);
    let nobodys = kept(&Method::GET, &HeaderMap::new(), response);
    match (ours, nobodys) {
        (Keep::For(learned), other) => {
            assert_eq!(learned, *lifetime);
            assert_eq!(other, ours, "a request without fields has none against it");
        }
        (Keep::No(refusal), Keep::No(other)) => assert_eq!(refusal, other),
        (Keep::No(refusal), Keep::For(_)) => assert!(refusal.by_request()),
    }
    if let Keep::For(_) = ours {
        let directives = targeted::governing(profile, response);
        assert!(!directives.private && (!directives.no_store || directives.must_understand));
        assert!(!status.is_informational() && status != StatusCode::NOT_MODIFIED);
        assert!(Vary::from_fields(response) != Vary::Any);
        assert!(!request.contains_key(AUTHORIZATION) || lifetime.for_authorization);
        assert!(!request.contains_key(COOKIE) || lifetime.for_cookies);
        assert!(!response.contains_key(SET_COOKIE) || lifetime.explicit);
        assert!(!Ask::from_fields(request).directives.no_store);
        if !directives.targeted {
            let with = |directive| {
                let mut response = response.clone();
                response.append(CACHE_CONTROL, HeaderValue::from_static(directive));
                kept(&Method::GET, request, &response)
            };
            assert!(matches!(with("private"), Keep::No(_)));
            assert!(directives.must_understand || matches!(with("no-store"), Keep::No(_)));
        }
    }
}

/// §4.2: fresh is what is younger than its lifetime, and nothing else is.
fn reused(lifetime: &Lifetime, resident: Duration, ask: &Ask) {
    let age = lifetime.current_age(resident);
    let asked = &ask.directives;
    let is_fresh = age < lifetime.fresh_for;
    let verdict = reuse(lifetime, resident, ask);
    match verdict {
        Reuse::Fresh => {
            assert!(is_fresh && lifetime.demand != Demand::Always && !asked.no_cache);
            assert!(asked.max_age.is_none_or(|most| age <= most && !most.is_zero()));
            assert!(asked.min_fresh.is_none_or(|least| lifetime.fresh_for - age >= least));
        }
        Reuse::MaxStale(stale_for) | Reuse::Stale(stale_for) => {
            assert!(!is_fresh && lifetime.demand == Demand::None);
            assert!(!asked.no_cache && asked.min_fresh.is_none());
            assert_eq!(lifetime.fresh_for.checked_add(stale_for), Some(age));
            let is_taken = match asked.max_stale {
                MaxStale::None => false,
                MaxStale::Any => true,
                MaxStale::UpTo(most) => stale_for <= most,
            };
            assert!(is_taken || verdict == Reuse::Stale(stale_for));
        }
        Reuse::Validate => assert!(
            !is_fresh
                || lifetime.demand == Demand::Always
                || asked.no_cache
                || asked.max_age.is_some()
                || asked.min_fresh.is_some()
        ),
        Reuse::NotForThisRequest => assert!(ask.authorization || ask.cookie),
    }
    assert!(
        !ask.authorization || lifetime.for_authorization || verdict == Reuse::NotForThisRequest
    );
    assert!(!ask.cookie || lifetime.for_cookies || verdict == Reuse::NotForThisRequest);
}

/// A request that asks for more is answered by less.
fn stricter(lifetime: &Lifetime, resident: Duration, request: &HeaderMap) {
    let before = reuse(lifetime, resident, &Ask::from_fields(request));
    for directive in ["no-cache", "max-age=0", "max-age=60", "min-fresh=60", "min-fresh"] {
        let mut request = request.clone();
        request.append(CACHE_CONTROL, HeaderValue::from_static(directive));
        let after = reuse(lifetime, resident, &Ask::from_fields(&request));
        let is_same = after == before || after == Reuse::Validate;
        // Pragma is not looked at where there is Cache-Control.
        assert!(is_same || request.contains_key("pragma"), "{directive}: {before:?} {after:?}");
        let is_never_fresh = ["no-cache", "max-age=0"].contains(&directive);
        assert!(!is_never_fresh || [Reuse::Validate, Reuse::NotForThisRequest].contains(&after));
    }
}

/// A response that restricts itself is not fresh for longer, and one that is older is not younger.
fn shorter(
    lifetime: &Lifetime,
    profile: &Profile,
    status: StatusCode,
    response: &HeaderMap,
    exchange: Exchange,
    resident: Duration,
) {
    if targeted::governing(profile, response).targeted {
        return;
    }
    let learn = |response: &HeaderMap| {
        let directives = targeted::governing(profile, response);
        Lifetime::learn(profile, &directives, status, response, exchange)
    };
    for directive in ["max-age=0", "s-maxage=0", "no-cache", "must-revalidate", "max-age=x"] {
        let mut response = response.clone();
        response.append(CACHE_CONTROL, HeaderValue::from_static(directive));
        let less = learn(&response);
        assert!(less.fresh_for <= lifetime.fresh_for, "{directive}");
        let was_fresh = reuse(lifetime, resident, &Ask::default()) == Reuse::Fresh;
        let is_fresh = reuse(&less, resident, &Ask::default()) == Reuse::Fresh;
        assert!(was_fresh || !is_fresh, "{directive}");
        assert!(directive != "no-cache" || !is_fresh);
    }
    let mut older = response.clone();
    older.insert(AGE, HeaderValue::from_static("99999999999999999999"));
    assert!(learn(&older).initial_age >= LONGEST);
    older.insert(AGE, HeaderValue::from_static("-1"));
    assert!(learn(&older).initial_age <= lifetime.initial_age);
}
