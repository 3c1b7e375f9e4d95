//! Deciding that a stored response answers a request allocates nothing: one test, alone in its process,
//! since it watches all that is allocated there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    hint::black_box,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header::HeaderName};
use peak_alloc::PeakAlloc;
use seawall::rfc9111::{
    Ask, Exchange, Keep, Profile, Reuse, State, Vary, keep,
    range::{Selected, select_by},
    reuse,
};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let lines = lines.iter();
    HeaderMap::from_iter(
        lines
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
    )
}

/// The most that was allocated at once while `decide` ran.
fn allocated_by<T>(decide: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let decided = decide();
    (decided, ALLOCATED.peak_usage() - before)
}

#[test]
fn a_decision_allocates_nothing_whatever_is_asked() {
    // Sun, 06 Nov 1994 08:49:37 GMT
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
    let exchange = Exchange { sent: now, received: now };
    let stored = fields(&[
        ("cache-control", "public, max-age=3600, stale-while-revalidate=60"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("etag", "W/\"5d8c72a5edda8d6a\""),
        ("last-modified", "Sat, 05 Nov 1994 08:49:37 GMT"),
        ("vary", "accept, accept-encoding, accept-language"),
    ]);
    let profile = Profile::reverse_proxy();
    let kept = keep(&profile, &Method::GET, &HeaderMap::new(), StatusCode::OK, &stored, exchange);
    let Keep::For(lifetime) = kept else { panic!("{kept:?}") };
    let (state, Vary::Names(names)) = (State::of(&stored), Vary::from_fields(&stored)) else {
        panic!("it varies")
    };
    for asked in [
        &[][..],
        &[("cache-control", "max-age=60, min-fresh=5, max-stale=\"10\", x=\"a, b\"")],
        &[("pragma", "no-cache")],
        &[("if-none-match", "\"a\", W/\"b\", W/\"5d8c72a5edda8d6a\"")],
        &[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")],
        &[("range", "bytes=0-99"), ("if-range", "Sat, 05 Nov 1994 08:49:37 GMT")],
        &[("accept", "a, b"), ("accept-encoding", "GZIP , br"), ("accept-language", "de, en")],
        &[("authorization", "Bearer x"), ("cookie", "id=1")],
    ] {
        let request = fields(asked);
        let (decided, bytes) = allocated_by(|| {
            let mut variant = 0;
            names.write_variant(&request, &mut |piece| variant += piece.len());
            let ask = Ask::from_fields(black_box(&request));
            let reuse = reuse(black_box(&lifetime), Duration::from_secs(5), &ask);
            let modified = !state.not_modified(&request);
            (variant, reuse, modified, select_by(&request, &state, 1_000))
        });
        assert_eq!(bytes, 0, "{asked:?}: {decided:?}");
        // It is a decision, and not always the same.
        let (variant, reuse, modified, selected) = decided;
        assert!(variant > 0);
        let first = asked.first().map(|(name, _)| *name);
        assert_eq!(reuse == Reuse::Fresh, first != Some("pragma"), "{asked:?}");
        assert_eq!(modified, !first.is_some_and(|name| name.starts_with("if-")), "{asked:?}");
        assert_eq!(selected == Selected::Whole, first != Some("range"), "{asked:?}");
    }
    // It would be seen.
    let (_, bytes) = allocated_by(|| black_box(Box::new([0_u8; 100])));
    assert!(bytes >= 100);
}
