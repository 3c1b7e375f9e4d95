//! Records from a remote store, and answers given from them. The first byte says how, bit by bit; what
//! follows is what is behind the key in a record, which is put before it with a checksum that is right. With
//! its first bit set, all of it is the record.
#![no_main]

use std::{
    cell::RefCell,
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use libfuzzer_sys::fuzz_target;
use seawall::{
    BoxError, Cache, CacheLayer,
    rfc9111::Profile,
    store::{Key, Record, Store, Unreadable},
};
use tower::{Layer, ServiceExt, service_fn};
use xxhash_rust::xxh3::xxh3_64;

const RAW: u8 = 1;
/// What is stored is at hand without waiting.
const NEAR: u8 = 2;
/// The origin validates, fails, or answers anew.
const VALIDATES: u8 = 4;
const FAILS: u8 = 8;
/// What is asked, in the other four bits: here for nothing but what is stored.
const ONLY_IF_CACHED: u8 = 8;

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fuzz_target!(|data: &[u8]| {
    let Some((&how, rest)) = data.split_first() else { return };
    let key = key();
    let bytes = if how & RAW != 0 { rest.to_vec() } else { sealed(key, rest) };
    let bytes = Bytes::from(bytes);
    if is_read(key, &bytes) {
        is_answered(how, key, &bytes);
    }
});

/// Behind the beginning that every record under this key has.
fn sealed(key: &Key, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(key.as_bytes().len()).expect("a short key");
    let follows = [&length.to_be_bytes()[..], key.as_bytes(), rest].concat();
    [b"swl\x01", &xxh3_64(&follows).to_be_bytes()[..], &follows].concat()
}

/// Whether it is a record; one that is none is a miss like any other.
fn is_read(key: &Key, bytes: &Bytes) -> bool {
    let record = match Record::from_bytes(key, bytes.clone()) {
        Ok(record) => record,
        Err(why) => {
            assert_eq!(matches!(why, Unreadable::NotARecord), !is_one(bytes), "{why}");
            return false;
        }
    };
    // A body that is compressed takes the most.
    assert!(record.weight() <= 4_096 + 300 * bytes.len() as u64);
    assert!(record.time_to_live() <= Duration::from_secs(366 * 24 * 60 * 60));
    if let Record::Entry(entry) = &record {
        assert_eq!(entry.key(), key);
        assert!(!entry.status().is_informational() && entry.status() != StatusCode::NOT_MODIFIED);
    }
    if let Some(again) = record.to_bytes(key) {
        let found = Record::from_bytes(key, again.clone()).expect("what was just written");
        // Each time it is up to a millisecond older, and none is of before 1970.
        let once_more = found.to_bytes(key).map(|bytes| bytes.len());
        assert!(once_more.is_none_or(|length| length == again.len()));
    }
    true
}

fn is_one(bytes: &[u8]) -> bool {
    bytes.len() >= 12 && bytes.starts_with(b"swl")
}

fn is_answered(how: u8, key: &Key, bytes: &Bytes) {
    let store = Stored { key: key.clone(), bytes: bytes.clone(), is_near: how & NEAR != 0 };
    let origin = service_fn(move |request: Request<Empty<Bytes>>| async move {
        let answer = Response::builder().header("cache-control", "max-age=60");
        let asked = |name| request.headers().get(name).filter(|_| how & VALIDATES != 0);
        let answer = match how & FAILS {
            _ if asked("if-none-match").is_some_and(|tag| tag == "\"v1\"") => {
                answer.status(304).header("etag", "\"v1\"")
            }
            _ if asked("range").is_some() => {
                let part = answer.status(206).header("content-range", "bytes 4-6/7");
                part.header("etag", "\"v1\"")
            }
            0 => answer.status(200),
            _ => answer.status(503),
        };
        Ok::<_, Infallible>(answer.body(Full::<Bytes>::from("new")).expect("an answer"))
    });
    let profile = Profile::reverse_proxy().lenient_content_range(true).tail_without_validator(true);
    let service = CacheLayer::new(Cache::new(store))
        .policy(profile)
        .stale_if_error(Duration::from_secs(1 << 40))
        .layer(origin);
    let mut request = Request::get(URI).body(Empty::<Bytes>::new()).expect("a request");
    let (name, value) = match how >> 4 {
        1 => ("range", "bytes=1-3"),
        2 => ("range", "bytes=-3"),
        3 => ("range", "bytes=0-"),
        4 => ("if-none-match", "\"v1\""),
        5 => ("if-modified-since", "Mon, 21 Sep 2026 15:46:39 GMT"),
        6 => ("cache-control", "no-cache"),
        7 => ("cache-control", "max-stale"),
        ONLY_IF_CACHED => ("cache-control", "only-if-cached"),
        9 => ("accept-language", "de, en;q=0.5"),
        10 => ("authorization", "Basic x"),
        11 => ("cookie", "a=b"),
        _ => ("accept", "*/*"),
    };
    request.headers_mut().insert(name, HeaderValue::from_static(value));
    if how >> 4 == 15 {
        *request.method_mut() = Method::HEAD;
    }
    let is_head = request.method() == Method::HEAD;
    let answered = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let answer = service.oneshot(request).await;
            if how >> 4 == ONLY_IF_CACHED && answer.is_err() {
                return None;
            }
            let (parts, body) = answer.expect("an answer").into_parts();
            Some((parts, body.collect().await.expect("a body")))
        })
    });
    let Some((parts, body)) = answered else { return };
    assert!(!parts.status.is_informational());
    assert!(
        [Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3]
            .contains(&parts.version)
    );
    assert!(!is_head || body.to_bytes().is_empty());

    // As it would be sent: no field begins another.
    WRITTEN.with_borrow_mut(|out| {
        out.clear();
        for (name, value) in &parts.headers {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let lines = out.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        assert_eq!(lines.count(), parts.headers.len());
        let ends = out.iter().filter(|&&byte| matches!(byte, b'\r' | b'\0')).count();
        assert_eq!(ends, parts.headers.len());
    });
}

/// One record, which was written by nobody knows whom.
struct Stored {
    key: Key,
    bytes: Bytes,
    is_near: bool,
}

impl Store for Stored {
    fn peek(&self, key: &[u8]) -> Option<Record> {
        if self.is_near && key == self.key.as_bytes() {
            return Record::from_bytes(&self.key, self.bytes.clone()).ok();
        }
        None
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        if *key != self.key {
            return Ok(None);
        }
        Ok(Some(Record::from_bytes(key, self.bytes.clone())?))
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        if let Some(bytes) = record.to_bytes(&key) {
            Record::from_bytes(&key, bytes)?;
        }
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        assert!(key.as_bytes().starts_with(self.key.as_bytes()), "a key of somebody else");
        Ok(())
    }
}

const URI: &str = "http://example.com/";

/// The key that the layer looks under.
fn key() -> &'static Key {
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Option<Key>>>);

    impl Store for Seen {
        async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
            *self.0.lock().expect("no panic holds it") = Some(key.clone());
            Ok(None)
        }

        async fn put(&self, _: Key, _: Record) -> Result<(), BoxError> {
            Ok(())
        }

        async fn remove(&self, _: &Key) -> Result<(), BoxError> {
            Ok(())
        }
    }

    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| {
        let seen = Seen::default();
        let origin = service_fn(|_: Request<Empty<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("new")))
        });
        let service = CacheLayer::new(seen.clone()).layer(origin);
        let request = Request::get(URI).body(Empty::<Bytes>::new()).expect("a request");
        let answer = RUNTIME.with(|runtime| runtime.block_on(service.oneshot(request)));
        drop(answer.expect("an answer"));
        let key = seen.0.lock().expect("no panic holds it").take();
        key.expect("it was looked for")
    })
}
