//! What is near, and what it costs to find what is not: look-ups and writes, counted where they arrive.

use seawall::store::{Key, Store};

use crate::{
    contents::body,
    place::{Origin, Row, looked_up},
    records::record,
    support::{Calls, answer, answer_status, at_once, boxed, get, origin, with},
};

fn key() -> Key {
    Key::from(&b"key"[..])
}

pub(crate) async fn what_is_near_is_at_hand_at_once(row: &Row) {
    let place = row.shared().await;
    let store = place.open().await;
    let peek = |key: &Key| body(store.peek(key.as_bytes()));
    assert_eq!(peek(&key()), None);
    store.put(key(), record("one").await).await.unwrap();
    assert_eq!(peek(&key()).unwrap(), "one");
    assert_eq!(peek(&Key::from(&b"other"[..])), None);
    assert_eq!(store.figures().records, 1);
    store.put(key(), record("two").await).await.unwrap();
    assert_eq!(peek(&key()).unwrap(), "two");
    store.remove(&key()).await.unwrap();
    assert_eq!(peek(&key()), None);
    assert_eq!(store.figures().records, 0);
    place.settled().await;
}

pub(crate) async fn what_is_found_far_is_near_from_then_on(row: &Row) {
    let place = row.alone().await;
    place.open().await.put(key(), record("value").await).await.unwrap();
    let next = place.open().await;
    assert!(next.peek(key().as_bytes()).is_none());
    let before = place.shelf().reads();
    assert_eq!(body(next.get(&key()).await.unwrap()).unwrap(), "value");
    assert_eq!(body(next.peek(key().as_bytes())).unwrap(), "value");
    assert_eq!(body(next.get(&key()).await.unwrap()).unwrap(), "value");
    assert_eq!(place.shelf().reads() - before, 1);
}

pub(crate) async fn where_nothing_is_near_nothing_is_at_hand(row: &Row) {
    let place = row.shared().await;
    let store = place.open().await;
    store.put(key(), record("value").await).await.unwrap();
    for _ in 0..2 {
        assert!(store.peek(key().as_bytes()).is_none());
        assert_eq!(body(store.get(&key()).await.unwrap()).unwrap(), "value");
        place.settled().await;
    }
    assert!(store.is_remote());
    assert_eq!(store.figures().records, 0);
}

pub(crate) async fn of_many_look_ups_at_once_one_goes_far(row: &Row) {
    let place = row.alone().await;
    place.open().await.put(key(), record("value").await).await.unwrap();
    let next = place.open().await;
    for (wanted, found) in [(key(), Some("value")), (Key::from(&b"missing"[..]), None)] {
        let before = place.shelf().reads();
        for body in looked_up(&next, (0..100).map(|_| wanted.clone())).await {
            assert_eq!(body, found.map(Into::into));
        }
        assert_eq!(place.shelf().reads() - before, 1, "{found:?}");
    }
}

pub(crate) async fn of_many_callers_at_once_one_looks_far_and_nobody_calls_the_origin(row: &Row) {
    let place = row.alone().await;
    let (calls, origin) = lasting("max-age=600", "");
    place.process(&origin).await.ask(get("/")).await;
    let next = place.process(&origin).await;
    let before = place.shelf().reads();
    for read in at_once(&next.service, (0..100).map(|_| get("/"))).await {
        assert_eq!(read.unwrap().text(), "0");
    }
    assert_eq!((calls.count(), place.shelf().reads() - before), (1, 1));
}

/// Is never changed: a condition is answered with a 304, in which its age is another.
fn lasting(control: &'static str, age_at_first: &'static str) -> (Calls, Origin) {
    origin(move |call, request| async move {
        let mut fields = vec![("cache-control", control), ("etag", "\"v\"")];
        let is_known = request.headers().contains_key("if-none-match");
        if !is_known && !age_at_first.is_empty() {
            fields.push(("age", age_at_first));
        }
        let status = if is_known { 304 } else { 200 };
        let text = if is_known { String::new() } else { call.to_string() };
        Ok(answer_status(status, &fields, text).map(boxed))
    })
}

pub(crate) async fn what_gains_little_by_being_validated_is_not_written_again(row: &Row) {
    // Of 1,000 seconds so many had passed when it was stored.
    for (age, writes) in [("", 0), ("50", 0), ("150", 1), ("900", 1)] {
        let place = row.alone().await;
        let (calls, origin) = lasting("max-age=1000", age);
        let process = place.process(&origin).await;
        process.ask(get("/")).await;
        place.settled().await;
        let before = place.shelf().writes();
        let read = process.ask(with(get("/"), "cache-control", "no-cache")).await;
        assert!(read.cache_status().contains("fwd-status=304"), "{}", read.cache_status());
        place.settled().await;
        assert_eq!(place.shelf().writes() - before, writes, "{age}");
        // Near it is as good as new in any case.
        assert_eq!(process.ask(get("/")).await.field("age"), Some("0"), "{age}");
        assert_eq!(calls.count(), 2);
    }
}

pub(crate) async fn what_is_validated_and_has_changed_is_written_again(row: &Row) {
    let place = row.alone().await;
    let (_, origin) = origin(|call, request| async move {
        let fields =
            [("cache-control", "max-age=1000"), ("etag", "\"v\""), ("x-call", &call.to_string())];
        let is_known = request.headers().contains_key("if-none-match");
        Ok(if is_known { answer_status(304, &fields, "") } else { answer(&fields, "body") }
            .map(boxed))
    });
    let process = place.process(&origin).await;
    process.ask(get("/")).await;
    place.settled().await;
    process.ask(with(get("/"), "cache-control", "no-cache")).await;
    let next = place.process(&origin).await;
    let read = next.ask(get("/")).await;
    assert_eq!(
        (read.cache_status(), read.field("x-call"), read.text()),
        ("hit", Some("1"), "body")
    );
}
