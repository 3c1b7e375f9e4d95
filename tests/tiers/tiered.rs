//! A near store in front of a far one.

use std::{sync::Arc, time::Duration};

use seawall::store::{Guarded, Key, Memory, Store, Tiered};
use tokio::time::{Instant, sleep};

use crate::far::{Asked, Does, Far, body, record};

fn tiered() -> (Far, Tiered<Memory, Far>) {
    let far = Far::new();
    (far.clone(), Tiered::new(Memory::default(), far))
}

#[tokio::test(start_paused = true)]
async fn what_is_found_far_is_near_from_then_on() {
    let (far, tiered) = tiered();
    let (key, record) = record("/", "a").await;
    far.put(key.clone(), record).await.unwrap();
    far.asked();
    assert!(tiered.peek(key.as_bytes()).is_none());
    assert_eq!(body(&tiered.get(&key).await.unwrap().unwrap()), "a");
    assert_eq!(body(&tiered.peek(key.as_bytes()).unwrap()), "a");
    assert_eq!(body(&tiered.get(&key).await.unwrap().unwrap()), "a");
    assert_eq!(far.asked(), [Asked::Get(key)]);
}

#[tokio::test(start_paused = true)]
async fn of_many_lookups_at_once_one_goes_far_whatever_comes_of_it() {
    for does in [Does::Work, Does::Fail] {
        let (far, tiered) = tiered();
        far.does(does);
        let (tiered, key) = (Arc::new(tiered), Key::from(&b"k"[..]));
        let lookups: Vec<_> = (0..100)
            .map(|_| {
                let (tiered, key) = (Arc::clone(&tiered), key.clone());
                tokio::spawn(async move { tiered.get(&key).await.is_ok() })
            })
            .collect();
        for lookup in lookups {
            assert_eq!(lookup.await.unwrap(), does == Does::Work);
        }
        assert_eq!(far.asked().len(), 1, "{does:?}");
        // The next looks anew.
        let _ = tiered.get(&key).await;
        assert_eq!(far.asked().len(), 1, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_is_given_up_goes_on_for_those_who_wait() {
    let (far, tiered) = tiered();
    let (key, record) = record("/", "a").await;
    far.put(key.clone(), record).await.unwrap();
    far.takes(Duration::from_millis(10));
    let hasty = tokio::time::timeout(Duration::from_millis(5), tiered.get(&key));
    let (hasty, patient) = tokio::join!(hasty, tiered.get(&key));
    assert!(hasty.is_err());
    assert_eq!(body(&patient.unwrap().unwrap()), "a");
}

#[tokio::test(start_paused = true)]
async fn what_is_written_while_the_far_store_is_read_stays() {
    let (far, tiered) = tiered();
    let (key, old) = record("/", "old").await;
    let (_, new) = record("/", "new").await;
    far.put(key.clone(), old).await.unwrap();
    far.takes(Duration::from_millis(10));
    let write = async {
        sleep(Duration::from_millis(5)).await;
        tiered.put(key.clone(), new).await.unwrap();
    };
    let (_, ()) = tokio::join!(tiered.get(&key), write);
    assert_eq!(body(&tiered.get(&key).await.unwrap().unwrap()), "new");
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_while_the_far_store_is_read_stays_away() {
    let (far, tiered) = tiered();
    let (key, old) = record("/", "old").await;
    far.put(key.clone(), old).await.unwrap();
    far.takes(Duration::from_millis(10));
    let remove = async {
        sleep(Duration::from_millis(5)).await;
        tiered.remove(&key).await.unwrap();
    };
    let (_, ()) = tokio::join!(tiered.get(&key), remove);
    assert!(tiered.peek(key.as_bytes()).is_none());
    assert!(tiered.get(&key).await.unwrap().is_none(), "the removal may still be on its way");
    sleep(Duration::from_secs(1)).await;
    assert!(tiered.get(&key).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_far_store_that_hangs_when_something_is_written() {
    let far = Far::new();
    far.does(Does::Hang);
    let tiered = Tiered::new(Memory::default(), Guarded::new(far.clone()));
    let (key, record) = record("/", "a").await;
    let began = Instant::now();
    tiered.put(key.clone(), record).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(body(&tiered.peek(key.as_bytes()).unwrap()), "a");
}

#[tokio::test(start_paused = true)]
async fn what_the_near_store_does_not_take_is_written_far_at_once() {
    let far = Far::new();
    let tiered = Tiered::new(Memory::bytes(64 << 10), far.clone());
    let (key, record) = record("/", &"x".repeat(200_000)).await;
    tiered.put(key.clone(), record).await.unwrap();
    assert!(far.body(&key).is_some());
}
