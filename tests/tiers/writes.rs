//! The queue of writes that nobody waits for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use seawall::{
    observe::{Event, Observer},
    store::{Key, Memory, Store, Tiered},
};
use tokio::time::sleep;

use crate::far::{Asked, Does, Far, body, record};

const SECOND: Duration = Duration::from_secs(1);

fn numbered(number: usize) -> Key {
    Key::from(&number.to_be_bytes()[..])
}

#[tokio::test(start_paused = true)]
async fn of_the_writes_of_a_key_that_wait_the_last_is_done_and_never_two_at_once() {
    let far = Far::new();
    far.takes(SECOND);
    let tiered = Tiered::new(Memory::default(), far.clone());
    let mut bodies = Vec::new();
    for number in 0..10 {
        let (key, record) = record("/", &number.to_string()).await;
        tiered.put(key, record).await.unwrap();
        bodies.push(number);
        tokio::task::yield_now().await;
    }
    sleep(5 * SECOND).await;
    let puts: Vec<_> = far
        .asked()
        .into_iter()
        .filter_map(|asked| match asked {
            Asked::Put(_, body) => Some(body),
            _ => None,
        })
        .collect();
    assert_eq!(puts, ["0", "9"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_written_is_found() {
    let far = Far::new();
    far.takes(SECOND);
    let tiered = Tiered::new(Memory::bytes(100_000), far.clone());
    let (key, first) = record("/", "first").await;
    tiered.put(key.clone(), first).await.unwrap();
    // It is pushed out of what is near before it is written.
    let (_, filler) = record("/filler", &"x".repeat(2_000)).await;
    for number in 0..200 {
        tiered.put(numbered(number), filler.clone()).await.unwrap();
    }
    assert!(tiered.peek(key.as_bytes()).is_none());
    assert_eq!(body(&tiered.get(&key).await.unwrap().unwrap()), "first");
    assert!(!far.asked().contains(&Asked::Get(key)));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_dropped_and_told_and_memory_stays_bounded() {
    let far = Far::new();
    far.does(Does::Hang);
    let tiered = Tiered::new(Memory::default(), far.clone());
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dropped);
    let observer: Arc<dyn Observer> = Arc::new(move |event: &Event<'_>| {
        if let Event::WriteDropped = event {
            counted.fetch_add(1, Relaxed);
        }
    });
    tiered.observed_by(&observer);
    let (_, record) = record("/", "x").await;
    for number in 0..5_000 {
        tiered.put(numbered(number), record.clone()).await.unwrap();
        tokio::task::yield_now().await;
    }
    // Sixteen are being written.
    assert_eq!(dropped.load(Relaxed), 5_000 - 1_024 - 16);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_no_longer_fits_does_not_leave_the_older_one_to_be_done() {
    let far = Far::new();
    far.takes(SECOND);
    let tiered = Tiered::new(Memory::bytes(256 << 20), far.clone());
    // Sixteen are under way; the rest of 64 MiB waits.
    let (_, large) = record("/large", &"x".repeat(1_000_000)).await;
    let (key, small) = record("/", "old").await;
    for number in 0..78 {
        tiered.put(numbered(number), large.clone()).await.unwrap();
        tokio::task::yield_now().await;
    }
    tiered.put(key.clone(), small).await.unwrap();
    for number in 78..90 {
        tiered.put(numbered(number), large.clone()).await.unwrap();
    }
    let (_, larger) = record("/", &"y".repeat(1_000_000)).await;
    tiered.put(key.clone(), larger).await.unwrap();
    sleep(60 * SECOND).await;
    let of_key: Vec<_> = far
        .asked()
        .into_iter()
        .filter(|asked| matches!(asked, Asked::Put(k, _) | Asked::Remove(k) if *k == key))
        .collect();
    assert_eq!(of_key, [Asked::Remove(key)]);
}
