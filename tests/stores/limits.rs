//! How long a server keeps a record, and how much of one it takes.

use std::time::Duration;

use seawall::store::{Key, Store};

use crate::{
    contents::body,
    place::Row,
    records::{record, record_with},
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn key() -> Key {
    Key::from(&b"key"[..])
}

pub(crate) async fn a_server_keeps_a_record_for_as_long_as_it_is_of_use(row: &Row) {
    let place = row.shared().await;
    let store = place.open().await;
    for (control, kept, expected) in [
        ("max-age=60", Duration::ZERO, 60 * SECOND),
        ("max-age=60", DAY, DAY + 60 * SECOND),
        ("max-age=2591000", Duration::ZERO, 2_591_000 * SECOND),
        // From thirty days on Memcached would take it for a date.
        ("max-age=2592000", Duration::ZERO, 30 * DAY),
        ("max-age=2592001", Duration::ZERO, 30 * DAY + SECOND),
        ("max-age=3456000", DAY, 41 * DAY),
        // What is asked for longer is kept for a year.
        ("max-age=99999999", Duration::ZERO, 365 * DAY),
        ("max-age=2147483648", Duration::ZERO, 365 * DAY),
    ] {
        let record = record_with(control, "value", |layer| layer.keep_stale(kept)).await;
        store.put(key(), record).await.unwrap();
        place.settled().await;
        let left = place.shelf().keys()[&place.wire(&key())].expect("an expiry");
        // It counts in whole seconds, and its clock is not ours.
        let slack = 5 * SECOND;
        assert!(left <= expected + slack && left + slack > expected, "{control}: {left:?}");
        assert!(place.open().await.get(&key()).await.unwrap().is_some(), "{control}");
    }
}

pub(crate) async fn what_is_too_large_is_passed_by_and_what_was_there_is_gone(row: &Row) {
    let place = row.shared().await;
    let store = place.open().await;
    for (size, taken) in [(999_000, true), (1_000_000, false), (1_020_000, false), (1, true)] {
        store.put(key(), record("before").await).await.unwrap();
        place.settled().await;
        assert!(place.shelf().value(&place.wire(&key())).is_some());
        // It may be told that it was not taken.
        let _ = store.put(key(), record(vec![b'x'; size]).await).await;
        place.settled().await;
        let found = body(place.open().await.get(&key()).await.unwrap());
        assert_eq!(found.map(|found| found.len()), taken.then_some(size));
        assert_eq!(place.shelf().value(&place.wire(&key())).is_some(), taken, "{size}");
        // It is no failure of the server: the next is taken.
        store.put(key(), record("after").await).await.unwrap();
        place.settled().await;
        assert_eq!(body(place.open().await.get(&key()).await.unwrap()).unwrap(), "after");
    }
}

pub(crate) async fn who_compresses_and_who_does_not_read_each_others(row: &Row) {
    let place = row.shared().await;
    let mut compressing = place.settings.clone();
    compressing.compress_above = Some(1_000);
    let (small, large) = ("x".repeat(1_000), "x".repeat(100_000));
    let random: Vec<u8> = {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..100_000).map(|_| next()).collect()
    };
    for (writes, reads) in [(&compressing, &place.settings), (&place.settings, &compressing)] {
        for (value, shrinks) in
            [(small.as_bytes(), false), (large.as_bytes(), true), (&random, false)]
        {
            let store = place.open_with(writes).await;
            store.put(key(), record(value.to_vec()).await).await.unwrap();
            place.settled().await;
            let stored = place.shelf().value(&place.wire(&key())).unwrap().len();
            let shrinks = shrinks && writes.compress_above.is_some();
            assert_eq!(stored < value.len(), shrinks, "{stored} of {}", value.len());
            let next = place.open_with(reads).await;
            assert!(body(next.get(&key()).await.unwrap()).unwrap() == value);
        }
    }
}
