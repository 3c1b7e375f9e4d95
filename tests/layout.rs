//! Records as bytes, and back: through a cache whose store keeps nothing but bytes, beside one that keeps
//! everything as it is.
#![cfg(feature = "remote")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use proptest::{collection::vec, option, prelude::*, sample::select};
use seawall::{
    BoxError, Cache, CacheLayer, Invalidation,
    observe::Event,
    rfc9111::{Profile, date},
    store::{Entry, Key, Memory, Record, Store, Unreadable},
};
use support::{Calls, Read, Req, boxed, call, get, with};
use tower::{Layer, service_fn};

/// Keeps bytes, under names.
#[derive(Clone, Default)]
struct Far(Arc<Mutex<HashMap<String, Bytes>>>);

impl Store for Far {
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        let found = self.0.lock().unwrap().get(&key.name()).cloned();
        Ok(found.map(|bytes| Record::from_bytes(key, bytes)).transpose()?)
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        let bytes = record.to_bytes(&key).expect("all that a cache stores can be stored far");
        self.0.lock().unwrap().insert(key.name(), bytes);
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.0.lock().unwrap().remove(&key.name());
        Ok(())
    }
}

/// What an origin answers with.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    fields: Vec<(String, HeaderValue)>,
    body: Vec<u8>,
    trailers: Option<Vec<(String, HeaderValue)>>,
}

fn plain(status: u16, lines: &[(&str, &str)], body: &str) -> Answer {
    let line = |(name, value): &(&str, &str)| (name.to_string(), value.parse().unwrap());
    let fields = lines.iter().map(line).collect();
    Answer { status, fields, body: body.into(), trailers: None }
}

fn map(lines: &[(String, HeaderValue)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(name.parse::<HeaderName>().unwrap(), value.clone());
    }
    fields
}

/// A service over `cache` and an origin that always says the same, and counts how often.
fn service(
    cache: Cache,
    answer: &Answer,
    calls: &Calls,
) -> impl tower::Service<
    Req,
    Response = Response<impl http_body::Body<Data = Bytes, Error: Into<BoxError>>>,
    Error = BoxError,
> {
    let (answer, calls) = (answer.clone(), calls.clone());
    let origin = service_fn(move |_: Request<Empty<Bytes>>| {
        calls.add();
        let answer = answer.clone();
        async move {
            let mut response = Response::new(match answer.trailers {
                None => boxed(Full::new(Bytes::from(answer.body))),
                Some(lines) => {
                    let trailers = async move { Some(Ok(map(&lines))) };
                    boxed(Full::new(Bytes::from(answer.body)).with_trailers(trailers))
                }
            });
            *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
            *response.headers_mut() = map(&answer.fields);
            Ok::<_, Infallible>(response)
        }
    });
    CacheLayer::new(cache).policy(Profile::reverse_proxy()).layer(origin)
}

/// What `second` is answered with once `first` was: by a cache in memory, and by one that finds nothing but
/// the bytes of the first; and how often the origin was called.
async fn both(answer: &Answer, first: &Req, second: &Req) -> [(Read, usize); 2] {
    let copy = |request: &Req| {
        let mut copy = Request::new(Empty::new());
        *copy.uri_mut() = request.uri().clone();
        *copy.method_mut() = request.method().clone();
        *copy.headers_mut() = request.headers().clone();
        copy
    };
    let calls = Calls::default();
    let memory = Cache::new(Memory::default());
    call(&mut service(memory.clone(), answer, &calls), copy(first)).await.unwrap();
    settled().await;
    let near = call(&mut service(memory, answer, &calls), copy(second)).await.unwrap();
    let near = (near, calls.count());

    let (calls, far) = (Calls::default(), Far::default());
    call(&mut service(Cache::new(far.clone()), answer, &calls), copy(first)).await.unwrap();
    settled().await;
    let found = call(&mut service(Cache::new(far), answer, &calls), copy(second)).await.unwrap();
    [near, (found, calls.count())]
}

/// What is written behind an answer is written.
async fn settled() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn assert_alike([(near, near_calls), (far, far_calls)]: &[(Read, usize); 2]) {
    assert_eq!(near_calls, far_calls);
    assert_eq!(near.parts.status, far.parts.status);
    assert_eq!(near.parts.version, far.parts.version);
    assert_eq!(near.body, far.body);
    assert_eq!(near.trailers, far.trailers);
    let without_age = |read: &Read| {
        let mut fields = read.parts.headers.clone();
        fields.remove("age");
        let secret = |value: &HeaderValue| (value.clone(), value.is_sensitive());
        let mut lines: Vec<_> =
            fields.iter().map(|(name, value)| (name.to_string(), secret(value))).collect();
        // The lines of one name in their order.
        lines.sort_by(|(one, _), (other, _)| one.cmp(other));
        lines
    };
    assert_eq!(without_age(near), without_age(far));
    // Not younger for having been far, and not by more than this took older.
    let age = |read: &Read| read.field("age").map(|age| age.parse::<u64>().unwrap());
    match (age(near), age(far)) {
        (Some(near), Some(far)) => assert!((near..near + 5).contains(&far), "{near} {far}"),
        (near, far) => assert_eq!(near, far),
    }
}

fn today() -> String {
    String::from_utf8(date::format(SystemTime::now()).to_vec()).unwrap()
}

#[tokio::test]
async fn what_was_far_is_answered_with_as_if_it_had_been_near_all_the_time() {
    let date = today();
    let date = ("date", date.as_str());
    let (minute, tag) = (("cache-control", "max-age=60"), ("etag", "\"v1\""));
    let secret = {
        let mut secret = plain(200, &[minute, date, ("x-token", "a")], "secret");
        secret.fields[2].1.set_sensitive(true);
        secret
    };
    let trailers = Answer {
        trailers: Some(vec![
            ("x-checksum".to_owned(), HeaderValue::from_static("1")),
            ("x-checksum".to_owned(), HeaderValue::from_static("2")),
        ]),
        ..plain(200, &[minute, date, ("trailer", "x-checksum")], "with trailers")
    };
    let links = plain(200, &[minute, date, ("link", "<1>"), ("x-a", "1"), ("link", "<2>")], "");
    let below = [minute, date, ("cache-status", "a; hit"), ("cache-status", "b; fwd=miss")];
    let part = plain(206, &[minute, date, tag, ("content-range", "bytes 2-6/10")], "cdefg");
    let varies = plain(200, &[minute, date, ("vary", "accept, x-device")], "varies");
    let range = |range| with(get("/"), "range", range);
    for (name, answer, first, second, calls) in [
        ("plain", plain(200, &[minute, date, tag], "body"), get("/"), get("/"), 1),
        ("empty", plain(204, &[minute, date], ""), get("/"), get("/"), 1),
        ("an error", plain(404, &[minute, date], "none"), get("/"), get("/"), 1),
        ("an odd status", plain(599, &[minute, date], "odd"), get("/"), get("/"), 1),
        ("repeated", links, get("/"), get("/"), 1),
        ("sensitive", secret, get("/"), get("/"), 1),
        ("trailers", trailers, get("/"), get("/"), 1),
        ("below", plain(200, &below, "below"), get("/"), get("/"), 1),
        (
            "a range",
            plain(200, &[minute, date, tag], "0123456789"),
            get("/"),
            range("bytes=2-4"),
            1,
        ),
        (
            "validated",
            plain(200, &[minute, date, tag], "body"),
            get("/"),
            { with(get("/"), "if-none-match", "\"v1\"") },
            1,
        ),
        ("of a part", part.clone(), range("bytes=2-6"), range("bytes=3-4"), 1),
        ("beyond a part", part, range("bytes=2-6"), range("bytes=3-7"), 2),
        (
            "a variant",
            varies.clone(),
            with(get("/"), "accept", "a"),
            with(get("/"), "accept", "a"),
            1,
        ),
        (
            "another variant",
            varies,
            with(get("/"), "accept", "a"),
            with(get("/"), "accept", "b"),
            2,
        ),
        ("aged", plain(200, &[minute, date, ("age", "50")], "aged"), get("/"), get("/"), 1),
        ("stale", plain(200, &[minute, date, tag, ("age", "60")], "stale"), get("/"), get("/"), 2),
        (
            "once",
            plain(200, &[("cache-control", "no-cache"), date, tag], "v"),
            get("/"),
            get("/"),
            2,
        ),
    ] {
        let answers = both(&answer, &first, &second).await;
        println!("{name}: {:?}", answers[0].0.field("cache-status"));
        assert_alike(&answers);
        assert_eq!(answers[1].1, calls, "{name}");
    }
}

fn lines(most: usize) -> impl Strategy<Value = Vec<(String, HeaderValue)>> {
    let name = prop_oneof![
        select(&["content-type", "link", "server", "x-a", "cache-tag", "etag"][..])
            .prop_map(ToOwned::to_owned),
        "x-[a-z0-9_-]{1,70}",
    ];
    let value = vec(prop_oneof![Just(b'\t'), 32..127_u8, 128..=255_u8], 0..60);
    let value = (value, any::<bool>()).prop_map(|(bytes, sensitive)| {
        let mut value = HeaderValue::from_bytes(&bytes).unwrap();
        value.set_sensitive(sensitive);
        value
    });
    vec((name, value), 0..most)
}

prop_compose! {
    fn answers()(
        status in select(&[200_u16, 200, 204, 301, 404, 410, 501][..]),
        lifetime in 1_u32..100_000,
        age in option::of(0_u32..100_000),
        fields in lines(8),
        body in vec(any::<u8>(), 0..2_000),
        trailers in option::of(lines(3)),
    ) -> Answer {
        let mut all = vec![
            ("cache-control".to_owned(), HeaderValue::try_from(format!("max-age={lifetime}")).unwrap()),
            ("date".to_owned(), HeaderValue::try_from(today()).unwrap()),
        ];
        all.extend(age.map(|age| ("age".to_owned(), age.into())));
        all.extend(fields);
        let body = if status == 204 { Vec::new() } else { body };
        Answer { status, fields: all, body, trailers }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_answer_is_the_same_from_far(answer in answers()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_alike(&runtime.block_on(both(&answer, &get("/"), &get("/"))));
    }
}

#[tokio::test]
async fn what_was_invalidated_is_not_found_again_in_what_is_far() {
    let answer = plain(200, &[("cache-control", "max-age=60"), ("cache-tag", "shoes")], "body");
    for (what, expected) in [
        (Invalidation::tag("shoes"), 2),
        (Invalidation::uri(&"http://example.com/".parse().unwrap()).unwrap(), 2),
        (Invalidation::everything(), 2),
        (Invalidation::tag("shoes").soft(), 2),
        (Invalidation::tag("boots"), 1),
    ] {
        let (calls, cache) = (Calls::default(), Cache::new(Far::default()));
        let mut service = service(cache.clone(), &answer, &calls);
        call(&mut service, get("/")).await.unwrap();
        settled().await;
        cache.invalidator().invalidate(&what).await;
        call(&mut service, get("/")).await.unwrap();
        assert_eq!(calls.count(), expected, "{what:?}");
        settled().await;
        call(&mut service, get("/")).await.unwrap();
        assert_eq!(calls.count(), expected, "{what:?}: what came later is alive");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_a_miss_that_is_told_of_and_replaced() {
    let answer = plain(200, &[("cache-control", "max-age=60")], "body");
    type Change = fn(&mut Vec<u8>);
    let cases: [(Change, Unreadable); 4] = [
        (|bytes| bytes[0] ^= 1, Unreadable::NotARecord),
        (|bytes| bytes[3] = 2, Unreadable::Version(2)),
        (|bytes| bytes[40] ^= 1, Unreadable::Damaged),
        (|bytes| bytes.truncate(11), Unreadable::NotARecord),
    ];
    for (change, expected) in cases {
        let (calls, far) = (Calls::default(), Far::default());
        call(&mut service(Cache::new(far.clone()), &answer, &calls), get("/")).await.unwrap();
        settled().await;
        for bytes in far.0.lock().unwrap().values_mut() {
            let mut changed = bytes.to_vec();
            change(&mut changed);
            *bytes = changed.into();
        }
        let told = Arc::<Mutex<Vec<Unreadable>>>::default();
        let hears = Arc::clone(&told);
        let cache = Cache::builder(far).observer(move |event: &Event<'_>| {
            if let Event::UnreadableEntry(why) = event {
                hears.lock().unwrap().push(*why);
            }
        });
        let mut service = service(cache.build(), &answer, &calls);
        for count in [2, 2] {
            let read = call(&mut service, get("/")).await.unwrap();
            assert_eq!((read.text(), calls.count()), ("body", count), "{expected:?}");
            settled().await;
        }
        assert!(told.lock().unwrap().contains(&expected), "{expected:?}");
    }
}

#[tokio::test]
async fn what_a_store_that_is_not_remote_was_given_does_not_become_bytes() {
    let given = Arc::<Mutex<Vec<Option<Bytes>>>>::default();
    struct Near(Arc<Mutex<Vec<Option<Bytes>>>>, bool);
    impl Store for Near {
        fn is_remote(&self) -> bool {
            self.1
        }
        async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> {
            Ok(None)
        }
        async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
            self.0.lock().unwrap().push(record.to_bytes(&key));
            Ok(())
        }
        async fn remove(&self, _: &Key) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let answer = plain(200, &[("cache-control", "max-age=60")], "body");
    for is_remote in [true, false] {
        let cache = Cache::new(Near(Arc::clone(&given), is_remote));
        call(&mut service(cache, &answer, &Calls::default()), get("/")).await.unwrap();
        settled().await;
        let written = given.lock().unwrap().pop().unwrap();
        assert_eq!(written.is_some(), is_remote, "it could not be invalidated");
    }
}

#[test]
fn a_record_says_for_how_long_a_store_needs_it() {
    let answer = plain(200, &[("cache-control", "max-age=60")], "body");
    let far = Far::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cache = Cache::new(far.clone());
        call(&mut service(cache, &answer, &Calls::default()), get("/")).await.unwrap();
        settled().await;
    });
    let bytes = far.0.lock().unwrap().values().next().unwrap().clone();
    // The key is the first run of a record.
    let length = u32::from_be_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let key = Key::from(&bytes[16..16 + length]);
    assert!(far.0.lock().unwrap().contains_key(&key.name()));
    let record = Record::from_bytes(&key, bytes).unwrap();
    let (day, minute) = (Duration::from_secs(24 * 60 * 60), Duration::from_secs(60));
    let kept = record.time_to_live();
    assert!(kept <= day + minute && kept > day, "{kept:?}");
    let Record::Entry(entry) = &record else { panic!("an answer") };
    assert_eq!((Entry::status(entry), &entry.body()[..]), (StatusCode::OK, &b"body"[..]));
}
