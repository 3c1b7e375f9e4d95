//! What is no answer any more, or never was one.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use seawall::{
    BoxError, Cache, Invalidation,
    observe::Event,
    store::{Entry, Key, Record, Store, Unreadable},
};

use crate::{
    Far, plain, service, settled,
    support::{Calls, call, get},
};

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
