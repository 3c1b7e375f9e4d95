//! What goes on behind a caller's back: it holds nobody up, and it ends.

use std::time::Duration;

use seawall::store::{Key, Store};
use tokio::{
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use crate::{
    contents::body,
    place::{Place, Row, alive, eventually, looked_up, once},
    records::record,
    support::{answer, boxed, get, origin},
};

/// Frozen until it is dropped.
struct Frozen<'p>(&'p Place);

impl<'p> Frozen<'p> {
    fn new(place: &'p Place) -> Self {
        place.shelf().freeze(true);
        Self(place)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.shelf().freeze(false);
    }
}

pub(crate) async fn nobody_waits_for_a_write(row: &Row) {
    let mut place = row.alone().await;
    place.settings.read_deadline = Duration::from_millis(50);
    place.settings.write_deadline = Duration::from_secs(20);
    let (calls, origin) = origin(|call, _| async move {
        Ok(answer(&[("cache-control", "max-age=60")], call.to_string()).map(boxed))
    });
    let process = place.process(&origin).await;
    let frozen = Frozen::new(&place);
    let began = Instant::now();
    for path in ["/a", "/b"] {
        let read = process.ask(get(path)).await;
        assert!(read.cache_status().ends_with("stored"), "{}", read.cache_status());
    }
    // The deadline of two look-ups, and none of a write.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(calls.count(), 2);
    drop(frozen);
    place.settled().await;
}

pub(crate) async fn what_is_near_is_served_while_what_is_far_does_nothing(row: &Row) {
    let place = row.alone().await;
    let (calls, origin) = origin(|call, _| async move {
        Ok(answer(&[("cache-control", "max-age=60")], call.to_string()).map(boxed))
    });
    let process = place.process(&origin).await;
    process.ask(get("/")).await;
    place.settled().await;
    let frozen = Frozen::new(&place);
    for _ in 0..100 {
        let request = process.ask(get("/"));
        let read = once(request).await.expect("it waits for nothing");
        assert_eq!(read.cache_status(), "hit");
    }
    assert_eq!(calls.count(), 1);
    drop(frozen);
}

pub(crate) async fn a_call_that_is_given_up_harms_no_other(row: &Row) {
    let place = row.shared().await;
    let store = place.open().await;
    let keys: Vec<_> = (0..40_u32).map(|at| Key::from(&at.to_be_bytes()[..])).collect();
    let (kept, given_up) = keys.split_at(20);
    for (at, key) in kept.iter().enumerate() {
        store.put(key.clone(), record(format!("kept {at}")).await).await.unwrap();
    }
    for round in 0..6_u64 {
        // Polled once, and then dropped at some point.
        for (at, key) in given_up.iter().enumerate() {
            let value = record(format!("{round} {at}")).await;
            let wait = Duration::from_micros((at as u64 * 97 + round * 31) % 1_500);
            let _ = timeout(wait, store.put(key.clone(), value)).await;
            let _ = once(store.get(key)).await;
            let _ = timeout(wait, store.get(key)).await;
            if at % 5 == 0 {
                let _ = timeout(wait, store.remove(key)).await;
            }
        }
        for (at, found) in looked_up(&store, kept.to_vec()).await.into_iter().enumerate() {
            assert_eq!(found.unwrap(), format!("kept {at}"));
        }
    }
    place.settled().await;
    // Something that was put under its own key, or nothing.
    let next = place.open().await;
    for (at, key) in given_up.iter().enumerate() {
        if let Some(found) = body(next.get(key).await.unwrap()) {
            let text = String::from_utf8(found.to_vec()).unwrap();
            assert!(text.ends_with(&format!(" {at}")), "{at}: {text}");
        }
    }
    for (at, key) in kept.iter().enumerate() {
        assert_eq!(body(next.get(key).await.unwrap()).unwrap(), format!("kept {at}"));
    }
}

pub(crate) async fn a_look_up_that_is_given_up_goes_on_for_the_others(row: &Row) {
    let place = row.shared().await;
    let key = Key::from(&b"key"[..]);
    place.open().await.put(key.clone(), record("value").await).await.unwrap();
    let next = place.open().await;
    let (first, second) = (next.get(&key), next.get(&key));
    let mut first = Box::pin(first);
    assert!(once(&mut first).await.is_none(), "it has to be waited for");
    let mut second = Box::pin(second);
    assert!(once(&mut second).await.is_none());
    drop(first);
    assert_eq!(body(second.await.unwrap()).unwrap(), "value");
}

pub(crate) async fn a_store_that_is_dropped_leaves_neither_task_nor_connection(row: &Row) {
    let place = row.alone().await;
    let (_, origin) = origin(|call, _| async move {
        Ok(answer(&[("cache-control", "max-age=60")], call.to_string()).map(boxed))
    });
    for _ in 0..3 {
        let process = place.process(&origin).await;
        process.ask(get("/")).await;
        let key = Key::from(&b"key"[..]);
        process.store.put(key.clone(), record("value").await).await.unwrap();
        assert!(process.store.get(&key).await.unwrap().is_some());
        assert!(place.shelf().connections() > 0 && alive() > 0);
        // In the middle of something, or not.
        let _ = once(process.store.get(&Key::from(&b"other"[..]))).await;
        drop(process);
        eventually("no task is left", || alive() == 0).await;
        eventually("no connection is left", || place.shelf().connections() == 0).await;
    }
    yield_now().await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!((alive(), place.shelf().connections()), (0, 0));
}
