//! What is put is got: every byte of it, by whoever put it and by the next.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version};
use seawall::store::{Key, Record, Store};

use crate::{
    place::{Boxed, Origin, Place, Process, Row},
    records::record,
    support::{
        Calls, Read, answer, answer_status,
        bodies::{Step, Steps},
        boxed, get, origin, with,
    },
};

type Made = Response<Boxed>;

const MINUTE: (&str, &str) = ("cache-control", "max-age=60");

fn full(
    response: Response<
        impl http_body::Body<Data = Bytes, Error: Into<seawall::BoxError>> + Send + 'static,
    >,
) -> Made {
    response.map(boxed)
}

/// Fields in an order of their own, some of them twice, with bytes that are no text.
fn fields() -> Made {
    let mut response =
        answer(&[MINUTE, ("x-b", "1"), ("x-a", "2"), ("content-type", "text/plain")], "body");
    let map = response.headers_mut();
    let other: Vec<u8> = (b' '..=b'~').chain(0x80..=0xff).collect();
    for (name, value) in [
        ("x-b", &b"3"[..]),
        ("x-empty", b""),
        ("x-a", &other),
        ("etag", b"W/\"\xfe\""),
        ("x-b", b"3"),
        ("link", b"</a>; rel=preload"),
        ("link", b"</b>"),
    ] {
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    full(response)
}

fn of_version(version: Version) -> Made {
    let mut response = answer(&[MINUTE], "body");
    *response.version_mut() = version;
    full(response)
}

fn of_length(length: usize) -> Made {
    // No two parts of it are alike for as long as a piece of a power of two.
    let piece: Vec<u8> = (0..=250).collect();
    let mut body = piece.repeat(length / piece.len() + 1);
    body.truncate(length);
    full(answer(&[MINUTE], body))
}

fn with_trailers() -> Made {
    let mut trailers = HeaderMap::new();
    for (name, value) in
        [("grpc-status", &b"0"[..]), ("x-bin", b"\xff\x80"), ("grpc-message", b""), ("x-bin", b"2")]
    {
        trailers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    let steps = [Step::Data("two ".into()), Step::Data("frames".into()), Step::Trailers(trailers)];
    full(
        answer(&[MINUTE, ("content-type", "application/octet-stream")], "")
            .map(|_| Steps::new(steps)),
    )
}

/// What the origin has, by path; `largest` bytes of body are the most that this store takes.
fn made(path: &str, largest: usize) -> Made {
    match path.trim_start_matches('/').split_once('-').unwrap_or((&path[1..], "")) {
        ("fields", _) => fields(),
        ("trailers", _) => with_trailers(),
        ("status", status) => {
            full(answer_status(status.parse().unwrap(), &[MINUTE], status.to_owned()))
        }
        ("version", "1.0") => of_version(Version::HTTP_10),
        ("version", "1.1") => of_version(Version::HTTP_11),
        ("version", "2") => of_version(Version::HTTP_2),
        ("length", "largest") => of_length(largest),
        ("length", length) => of_length(length.parse().unwrap()),
        _ => panic!("{path}"),
    }
}

const PATHS: &[&str] = &[
    "/fields",
    "/trailers",
    "/status-200",
    "/status-203",
    "/status-301",
    "/status-404",
    "/status-410",
    "/version-1.0",
    "/version-1.1",
    "/version-2",
    "/length-0",
    "/length-1",
    "/length-65537",
    "/length-largest",
];

fn everything(largest: usize) -> (Calls, Origin) {
    origin(move |_, request| async move { Ok(made(request.uri().path(), largest)) })
}

/// All of an answer that does not depend on when it is given.
type All =
    (u16, Version, Vec<(HeaderName, HeaderValue)>, Bytes, Option<Vec<(HeaderName, HeaderValue)>>);

fn all_of(read: &Read) -> All {
    let list = |map: &HeaderMap| {
        map.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
    };
    let mut head = list(&read.parts.headers);
    head.retain(|(name, _)| !["age", "date", "cache-status"].contains(&name.as_str()));
    (read.status(), read.parts.version, head, read.body.clone(), read.trailers.as_ref().map(list))
}

async fn assert_served(place: &Place, process: &Process, says: &str) {
    let largest = place.shelf().largest();
    for path in PATHS {
        let expected = all_of(&crate::support::read(made(path, largest)).await.unwrap());
        let read = process.ask(get(path)).await;
        assert!(read.cache_status().starts_with(says), "{path}: {}", read.cache_status());
        assert!(all_of(&read) == expected, "{path}: {:?} is not {expected:?}", all_of(&read));
    }
    place.settled().await;
}

pub(crate) async fn what_was_stored_is_served_again_byte_by_byte(row: &Row) {
    let place = row.shared().await;
    let (calls, origin) = everything(place.shelf().largest());
    let process = place.process(&origin).await;
    assert_served(&place, &process, "fwd=uri-miss").await;
    assert_served(&place, &process, "hit").await;
    assert_eq!(calls.count(), PATHS.len());
}

pub(crate) async fn what_one_process_stored_the_next_serves_byte_by_byte(row: &Row) {
    let place = row.shared().await;
    let (calls, origin) = everything(place.shelf().largest());
    let first = place.process(&origin).await;
    assert_served(&place, &first, "fwd=uri-miss").await;
    drop(first);
    let second = place.process(&origin).await;
    for _ in 0..2 {
        assert_served(&place, &second, "hit").await;
    }
    assert_eq!(calls.count(), PATHS.len());
}

pub(crate) async fn each_variant_is_found_by_the_next_process(row: &Row) {
    let place = row.shared().await;
    let (calls, origin) = origin(|_, request| async move {
        let language = request.headers()["accept-language"].to_str().unwrap().to_owned();
        Ok(full(answer(&[MINUTE, ("vary", "accept-language, accept")], language)))
    });
    let asks = |language| with(with(get("/"), "accept-language", language), "accept", "*/*");
    let languages = ["de", "en", "fr-CA", ""];
    for says in ["fwd=", "hit"] {
        let process = place.process(&origin).await;
        for language in languages {
            let read = process.ask(asks(language)).await;
            assert!(read.cache_status().starts_with(says), "{language}: {}", read.cache_status());
            assert_eq!(read.text(), language);
            place.settled().await;
        }
    }
    assert_eq!(calls.count(), languages.len());
}

/// The body of an answer.
pub(crate) fn body(found: Option<Record>) -> Option<Bytes> {
    match found {
        Some(Record::Entry(entry)) => Some(entry.body().clone()),
        Some(other) => panic!("not an answer: {other:?}"),
        None => None,
    }
}

pub(crate) async fn the_latest_of_what_is_put_is_there_and_nothing_that_was_removed(row: &Row) {
    let place = row.shared().await;
    let store = place.open().await;
    let (key, other) = (Key::from(&b"key"[..]), Key::from(&b"other"[..]));
    assert_eq!(body(store.get(&key).await.unwrap()), None);
    store.put(other.clone(), record("other").await).await.unwrap();
    // In no hurry, and at once.
    for waits in [true, false] {
        for value in ["one", "two", "three"] {
            store.put(key.clone(), record(value).await).await.unwrap();
            if waits {
                place.settled().await;
            }
            assert_eq!(body(store.get(&key).await.unwrap()).unwrap(), value);
        }
        place.settled().await;
        assert_eq!(body(store.get(&key).await.unwrap()).unwrap(), "three");
        store.remove(&key).await.unwrap();
        if waits {
            place.settled().await;
        }
        assert_eq!(body(store.get(&key).await.unwrap()), None);
        place.settled().await;
        assert_eq!(body(store.get(&key).await.unwrap()), None);
    }
    assert_eq!(body(store.get(&other).await.unwrap()).unwrap(), "other");
    // To remove what is not there is no error.
    store.remove(&key).await.unwrap();
    place.settled().await;
}

pub(crate) async fn the_latest_of_what_is_put_is_there_for_the_next_process(row: &Row) {
    let place = row.shared().await;
    let key = Key::from(&b"key"[..]);
    let first = place.open().await;
    for value in ["one", "two", "three"] {
        first.put(key.clone(), record(value).await).await.unwrap();
    }
    let second = place.open().await;
    assert_eq!(body(second.get(&key).await.unwrap()).unwrap(), "three");
    first.remove(&key).await.unwrap();
    let third = place.open().await;
    assert_eq!(body(third.get(&key).await.unwrap()), None);
}
