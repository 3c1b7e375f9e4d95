//! What it costs to decide that a stored response answers a request: by what was read of it when it was
//! stored, beside reading it again. Nothing is allocated in any row but those that read again.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{
    hint::black_box,
    time::{Duration, UNIX_EPOCH},
};

use divan::{AllocProfiler, Bencher};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::HeaderName};
use seawall::rfc9111::{
    Ask, Exchange, Keep, Lifetime, Names, Profile, State, Vary, keep, range::select_by, reuse,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let lines = lines.iter();
    HeaderMap::from_iter(
        lines
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
    )
}

fn response() -> HeaderMap {
    fields(&[
        ("cache-control", "public, max-age=3600, stale-while-revalidate=60"),
        ("content-length", "1024"),
        ("content-type", "application/json"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("etag", "\"5d8c72a5edda8d6a\""),
        ("last-modified", "Sat, 05 Nov 1994 08:49:37 GMT"),
        ("server", "origin/1.0"),
        ("vary", "accept-encoding"),
    ])
}

const REQUESTS: [&str; 4] = ["plain", "directives", "conditional", "range"];

fn request(kind: &str) -> HeaderMap {
    let mut request = fields(&[
        ("host", "api.example.com"),
        ("user-agent", "bench/1.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
    ]);
    let own = match kind {
        "directives" => fields(&[("cache-control", "max-age=600, min-fresh=5")]),
        "conditional" => fields(&[("if-none-match", "\"x\", \"5d8c72a5edda8d6a\"")]),
        "range" => fields(&[("range", "bytes=0-99"), ("if-range", "\"5d8c72a5edda8d6a\"")]),
        _ => HeaderMap::new(),
    };
    request.extend(own);
    request
}

/// What a cache keeps of a response to decide by.
struct Stored {
    lifetime: Lifetime,
    state: State,
    names: Names,
}

fn stored(response: &HeaderMap) -> Stored {
    // Sun, 06 Nov 1994 08:49:37 GMT
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
    let exchange = Exchange { sent: now, received: now };
    let profile = Profile::safe();
    let kept = keep(&profile, &Method::GET, &HeaderMap::new(), StatusCode::OK, response, exchange);
    let Keep::For(lifetime) = kept else { panic!("{kept:?}") };
    let Vary::Names(names) = Vary::from_fields(response) else { panic!("it varies") };
    Stored { lifetime, state: State::of(response), names }
}

fn decided(stored: &Stored, request: &HeaderMap) -> usize {
    let mut written = 0;
    stored.names.write_variant(request, &mut |piece| written += piece.len());
    let ask = Ask::from_fields(request);
    black_box(reuse(&stored.lifetime, Duration::from_secs(5), &ask));
    black_box(stored.state.not_modified(request));
    black_box(select_by(request, &stored.state, 1_024));
    written
}

#[divan::bench(args = REQUESTS)]
fn by_what_was_read(bencher: Bencher<'_, '_>, kind: &str) {
    let (stored, request) = (stored(&response()), request(kind));
    bencher.bench_local(|| black_box(decided(black_box(&stored), black_box(&request))));
}

#[divan::bench(args = REQUESTS)]
fn reading_the_response_again(bencher: Bencher<'_, '_>, kind: &str) {
    let (response, request) = (response(), request(kind));
    bencher.bench_local(|| black_box(decided(&stored(black_box(&response)), black_box(&request))));
}
