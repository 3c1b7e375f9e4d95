//! The tags of answers (`Surrogate-Key`, `Cache-Tag`), through the cache that reads them: lines of
//! either field, then the tag that is invalidated.
#![no_main]

use std::{collections::HashSet, convert::Infallible, sync::Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::CACHE_CONTROL};
use http_body_util::{BodyExt, Empty, Full};
use libfuzzer_sys::fuzz_target;
use seawall::{Cache, CacheLayer, Invalidation, store::Memory};
use seawall_fuzz::{field, sections, values};
use tower::{Layer, ServiceExt, service_fn};

/// More tags than this, and an answer is not stored.
const MOST_TAGS: usize = 64;
const FIELDS: [HeaderName; 2] =
    [HeaderName::from_static("surrogate-key"), HeaderName::from_static("cache-tag")];

/// What the origin answers with, beside its lifetime.
static TAGS: Mutex<Option<HeaderMap>> = Mutex::new(None);

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    static CACHE: Cache = Cache::new(Memory::bytes(1 << 20));
}

fuzz_target!(|data: &[u8]| {
    let [keys, tags, asked] = sections(data);
    let mut fields = field(&FIELDS[0], &values(keys));
    fields.extend(field(&FIELDS[1], &values(tags)));
    let all: Vec<_> = fields.values().flat_map(|line| words(line.as_bytes())).collect();
    *TAGS.lock().expect("no panic holds it") = Some(fields);

    RUNTIME.with(|runtime| {
        CACHE.with(|cache| runtime.block_on(invalidate(cache, &all, asked)));
    });
});

async fn invalidate(cache: &Cache, tags: &[Vec<u8>], asked: &[u8]) {
    // What an earlier input left is gone.
    let uri = Invalidation::uri(&"http://a/".parse().expect("a URI")).expect("with an authority");
    cache.invalidator().invalidate(&uri).await;
    assert!(!is_hit(cache).await);
    if tags.len() > MOST_TAGS {
        assert!(!is_hit(cache).await, "it could not be invalidated by all of its tags");
        return;
    }
    assert!(is_hit(cache).await);
    invalidated(cache, "").await;

    // It is gone by each of its tags; by others only where their hashes meet.
    for tag in tags.iter().flat_map(|tag| std::str::from_utf8(tag)).collect::<HashSet<_>>() {
        assert!(invalidated(cache, tag).await, "{tag:?}");
    }
    if let Ok(asked) = std::str::from_utf8(asked) {
        let is_tag = tags.iter().any(|tag| tag == asked.as_bytes());
        assert!(invalidated(cache, asked).await || !is_tag);
    }
}

/// Whether the answer is gone after this; it is back when this returns.
async fn invalidated(cache: &Cache, tag: &str) -> bool {
    cache.invalidator().invalidate(&Invalidation::tag(tag)).await;
    let was_hit = is_hit(cache).await;
    assert!(was_hit || is_hit(cache).await);
    !was_hit
}

async fn is_hit(cache: &Cache) -> bool {
    let origin = service_fn(|_: Request<Empty<Bytes>>| async {
        let mut answer = Response::new(Full::<Bytes>::from("a"));
        if let Some(tags) = &*TAGS.lock().expect("no panic holds it") {
            answer.headers_mut().extend(tags.clone());
        }
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        Ok::<_, Infallible>(answer)
    });
    let service = CacheLayer::new(cache.clone()).layer(origin);
    let request = Request::get("http://a/").body(Empty::new()).expect("a request");
    let answer = service.oneshot(request).await.expect("an answer");
    let is_hit = answer.headers()["cache-status"].as_bytes().ends_with(b"hit");
    answer.into_body().collect().await.expect("a body");
    is_hit
}

/// Tags are words, whatever stands between them.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    for &byte in line {
        match byte {
            b' ' | b'\t' | b',' => words.push(Vec::new()),
            _ => words.last_mut().expect("never empty").push(byte),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
