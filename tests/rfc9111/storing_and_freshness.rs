//! Properties of the rules of RFC 9111 that hold for all header fields.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{AGE, CACHE_CONTROL, DATE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use proptest::prelude::*;
use seawall::rfc9111::{
    Ask, Exchange, Keep, Lifetime, Profile, RequestDirectives, ResponseDirectives, Reuse, date,
    keep, reuse, stored_head,
};

const NAMES: [&str; 14] = [
    "age",
    "authorization",
    "cache-control",
    "cdn-cache-control",
    "connection",
    "cookie",
    "date",
    "etag",
    "expires",
    "last-modified",
    "pragma",
    "set-cookie",
    "vary",
    "x-forwarded-host",
];

fn profiles() -> impl Strategy<Value = Profile> {
    prop_oneof![Just(Profile::safe()), Just(Profile::reverse_proxy())]
}

fn any_value() -> impl Strategy<Value = HeaderValue> {
    let byte = prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff, Just(b'\t'), Just(b'"'), Just(b',')];
    prop::collection::vec(byte, 0..48)
        .prop_filter_map("no header value", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

fn moment() -> impl Strategy<Value = SystemTime> {
    // 1985 to 2032, so that a span of the other generators fits around it.
    (500_000_000_u64..1_950_000_000).prop_map(|at| UNIX_EPOCH + Duration::from_secs(at))
}

fn date_value(at: SystemTime) -> HeaderValue {
    HeaderValue::from_bytes(&date::format(at)).expect("a date is ASCII")
}

/// A directive in some letter case, as origins and clients write them or nearly so.
fn directive() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "max-age",
        "s-maxage",
        "no-store",
        "no-cache",
        "private",
        "public",
        "must-revalidate",
        "proxy-revalidate",
        "must-understand",
        "immutable",
        "stale-while-revalidate",
        "stale-if-error",
        "max-stale",
        "min-fresh",
        "only-if-cached",
        "unheard-of",
    ]);
    let argument = prop_oneof![
        4 => Just(String::new()),
        4 => (0_u32..5000).prop_map(|seconds| format!("={seconds}")),
        1 => (0_u32..5000).prop_map(|seconds| format!("=\"{seconds}\"")),
        1 => "=\"[a-z, \\\\-]{0,12}\"",
        1 => "[=' a-z0-9]{0,6}",
    ];
    (name, argument).prop_map(|(name, argument)| format!("{name}{argument}"))
}

/// Lines that matter to freshness, plausible or odd.
fn line() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let directives = || {
        prop::collection::vec(directive(), 1..4).prop_map(|all| {
            HeaderValue::from_bytes(all.join(", ").as_bytes()).expect("directives are ASCII")
        })
    };
    let name = |name: &'static str| Just(HeaderName::from_static(name));
    prop_oneof![
        4 => (name("cache-control"), directives()),
        2 => (name("cdn-cache-control"), directives()),
        2 => (name("expires"), moment().prop_map(date_value)),
        2 => (name("last-modified"), moment().prop_map(date_value)),
        2 => (name("date"), moment().prop_map(date_value)),
        2 => (name("etag"), Just(HeaderValue::from_static("\"a\""))),
        2 => (name("age"), (0_u64..9000).prop_map(HeaderValue::from)),
        1 => (prop::sample::select(&NAMES[..]).prop_map(HeaderName::from_static), any_value()),
    ]
}

fn head() -> impl Strategy<Value = HeaderMap> {
    prop::collection::vec(line(), 0..7).prop_map(|lines| {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        headers
    })
}

fn status() -> impl Strategy<Value = StatusCode> {
    prop_oneof![Just(200), Just(404), 100_u16..1000]
        .prop_filter_map("no status", |code| StatusCode::from_u16(code).ok())
}

fn left(lifetime: &Lifetime, resident: Duration) -> Duration {
    lifetime.fresh_for.saturating_sub(lifetime.current_age(resident))
}

proptest! {
    #[test]
    fn no_header_value_makes_a_rule_panic(
        profile in profiles(),
        lines in prop::collection::vec((prop::sample::select(&NAMES[..]), any_value()), 0..8),
        code in 100_u16..1000,
        sent in any::<i64>(),
        received in any::<i64>(),
        resident in any::<Duration>(),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        let at = |seconds: i64| {
            let distance = Duration::from_secs(seconds.unsigned_abs());
            let moved = if seconds < 0 {
                UNIX_EPOCH.checked_sub(distance)
            } else {
                UNIX_EPOCH.checked_add(distance)
            };
            moved.unwrap_or(UNIX_EPOCH)
        };
        let exchange = Exchange { sent: at(sent), received: at(received) };
        let status = StatusCode::from_u16(code).expect("a status has three digits");
        let kept = keep(&profile, &Method::GET, &headers, status, &headers, exchange);
        if let Keep::For(lifetime) = kept {
            let _ = reuse(&lifetime, resident, &Ask::from_fields(&headers));
        }
        let directives = ResponseDirectives::from_fields(&headers);
        prop_assert!(stored_head(&headers, &directives, &profile).len() <= headers.len());
        for value in headers.values() {
            let _ = date::parse_at(value.as_bytes(), exchange.received);
        }
        let _ = date::format(exchange.sent);
    }

    #[test]
    fn an_answer_is_never_fresher_by_having_been_stored(
        profile in profiles(),
        status in status(),
        mut response in head(),
        received in moment(),
        delays in (0_u64..5, 0_u64..5),
        resident in 0_u64..200_000,
    ) {
        // RFC 9110 §6.6.1: who stores a response without Date adds it.
        let dated = response.get(DATE).is_some_and(|at| date::parse(at.as_bytes()).is_some());
        if !dated {
            response.insert(DATE, date_value(received));
        }
        let exchange = Exchange { sent: received - Duration::from_secs(delays.0), received };
        let request = HeaderMap::new();
        let first = keep(&profile, &Method::GET, &request, status, &response, exchange);
        let Keep::For(first) = first else { return Ok(()) };
        let resident = Duration::from_secs(resident);

        let directives = ResponseDirectives::from_fields(&response);
        let mut copy = stored_head(&response, &directives, &profile);
        prop_assume!(copy.contains_key(DATE));
        copy.insert(AGE, HeaderValue::from(first.current_age(resident).as_secs()));
        let seen = received + resident + Duration::from_secs(delays.1);
        let exchange = Exchange { sent: received + resident, received: seen };
        let second = keep(&profile, &Method::GET, &request, status, &copy, exchange);
        if let Keep::For(second) = second {
            prop_assert!(left(&second, Duration::ZERO) <= left(&first, resident));
        }
    }

    #[test]
    fn what_was_not_fresh_does_not_become_fresh_by_waiting(
        profile in profiles(),
        response in head(),
        asked in prop::collection::vec(directive(), 0..3),
        received in moment(),
        early in any::<u32>(),
        later in any::<u32>(),
    ) {
        let exchange = Exchange { sent: received, received };
        let request = HeaderMap::new();
        let kept = keep(&profile, &Method::GET, &request, StatusCode::OK, &response, exchange);
        let Keep::For(lifetime) = kept else { return Ok(()) };
        let mut request = HeaderMap::new();
        request.insert(
            CACHE_CONTROL,
            HeaderValue::from_bytes(asked.join(",").as_bytes()).expect("directives are ASCII"),
        );
        let ask = Ask::from_fields(&request);
        let early = Duration::from_secs(early.into());
        let later = early + Duration::from_secs(later.into());
        if reuse(&lifetime, early, &ask) != Reuse::Fresh {
            prop_assert_ne!(reuse(&lifetime, later, &ask), Reuse::Fresh);
        }
    }

    #[test]
    fn a_date_is_read_as_it_was_written(seconds in -62_167_219_200_i64..=253_402_300_799) {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let at = if seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
        let text = date::format(at);
        prop_assert_eq!(date::parse(&text), Some(at));
        prop_assert_eq!(date::parse(&text.to_ascii_uppercase()), Some(at));
        prop_assert_eq!(date::format(date::parse(&text).expect("just read")), text);
    }

    #[test]
    fn no_text_is_a_date_that_cannot_be_written(text in "[A-Za-z]{3,9},? ?[0-9A-Za-z: -]{16,26}") {
        if let Some(at) = date::parse(text.as_bytes()) {
            prop_assert_eq!(date::parse(&date::format(at)), Some(at));
        }
    }

    #[test]
    fn directives_mean_the_same_in_any_case_and_over_any_lines(
        all in prop::collection::vec((directive(), any::<bool>(), any::<bool>()), 1..6),
    ) {
        let (mut one, mut many) = (String::new(), vec![String::new()]);
        for (at, (directive, upper, new_line)) in all.iter().enumerate() {
            if at > 0 {
                one.push_str(", ");
                if *new_line { many.push(String::new()) } else { many.last_mut().expect("begun").push(',') }
            }
            one.push_str(directive);
            let cased = if *upper { directive.to_uppercase() } else { directive.clone() };
            many.last_mut().expect("begun").push_str(&cased);
        }
        let mut joined = HeaderMap::new();
        joined.insert(CACHE_CONTROL, HeaderValue::from_str(&one).expect("ASCII"));
        let mut split = HeaderMap::new();
        for line in many {
            split.append(CACHE_CONTROL, HeaderValue::from_str(&line).expect("ASCII"));
        }
        let same = ResponseDirectives::from_fields(&joined);
        prop_assert_eq!(same, ResponseDirectives::from_fields(&split));
        let same = RequestDirectives::from_fields(&joined);
        prop_assert_eq!(same, RequestDirectives::from_fields(&split));
    }

    #[test]
    fn directives_mean_the_same_wherever_lines_are_split(
        value in "[a-z =0-9,\"\\\\-]{0,40}",
        directives in prop::collection::vec(directive(), 0..3),
        at in any::<prop::sample::Index>(),
    ) {
        let text = format!("{value},{}", directives.join(","));
        let commas: Vec<_> = text.match_indices(',').map(|(at, _)| at).collect();
        let (before, after) = text.split_at(*at.get(&commas));
        let mut joined = HeaderMap::new();
        joined.insert(CACHE_CONTROL, HeaderValue::from_str(&text).expect("ASCII"));
        let mut split = HeaderMap::new();
        split.append(CACHE_CONTROL, HeaderValue::from_str(before).expect("ASCII"));
        split.append(CACHE_CONTROL, HeaderValue::from_str(&after[1..]).expect("ASCII"));
        let same = ResponseDirectives::from_fields(&joined);
        prop_assert_eq!(same, ResponseDirectives::from_fields(&split));
    }
}
