//! Parts in a store that has nothing at hand.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall::{
    BoxError, Cache, Profile,
    store::{Key, Record, Store},
};
use tokio::time::sleep;

use crate::{
    origin::{DIGITS, World, assert_whole, part, ranged},
    support::{at_once, get, with},
};

#[derive(Clone, Default)]
struct Far(Arc<Mutex<HashMap<Key, Record>>>);

impl Far {
    const TAKES: Duration = Duration::from_millis(1);
}

impl Store for Far {
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        sleep(Self::TAKES).await;
        Ok(self.0.lock().unwrap().get(key).cloned())
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        sleep(Self::TAKES).await;
        self.0.lock().unwrap().insert(key, record);
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        sleep(Self::TAKES).await;
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

/// A world whose store takes its time; what was asked before is there by now.
async fn after(ranges: &[&str]) -> World {
    let mut world = World::over(Cache::builder(Far::default()), Profile::reverse_proxy());
    for range in ranges {
        world.range(range).await;
        sleep(10 * Far::TAKES).await;
    }
    world
}

// FAILS: a flight for a range looks once more, finds the part, and asks the origin all the same: in a
// store that has nothing at hand a part answers `only-if-cached` and nothing else.
#[tokio::test(start_paused = true)]
async fn a_part_answers_what_it_holds() {
    let mut world = after(&["2-5"]).await;
    let read = world.range("3-4").await;
    assert_eq!(part(&read), (206, Some("bytes 3-4/10"), "34"));
    assert_eq!(world.calls(), 1);
    for read in at_once(&world.service, (0..10).map(|_| ranged("2-5"))).await {
        assert_eq!(part(&read.unwrap()), (206, Some("bytes 2-5/10"), "2345"));
    }
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_part_answers_only_if_cached() {
    let mut world = after(&["2-5"]).await;
    let request = |range| with(ranged(range), "cache-control", "only-if-cached");
    assert_eq!(part(&world.ask(request("3-4")).await), (206, Some("bytes 3-4/10"), "34"));
    assert!(world.try_ask(request("3-6")).await.is_err());
    assert!(!world.holds_all().await);
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn parts_grow_into_the_whole() {
    let mut world = after(&["4-6", "0-3", "7-"]).await;
    assert_whole(&world.get().await, DIGITS);
    assert_eq!(part(&world.range("3-6").await), (206, Some("bytes 3-6/10"), "3456"));
    assert_eq!(world.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_part_is_asked_for() {
    let mut world = after(&["0-3"]).await;
    for read in at_once(&world.service, (0..10).map(|_| get("/"))).await {
        assert_whole(&read.unwrap(), DIGITS);
    }
    assert_eq!(world.origin.last().range(), (Some("bytes=4-"), Some("\"v1\"")));
    sleep(10 * Far::TAKES).await;
    assert_whole(&world.get().await, DIGITS);
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_part_does_not_take_the_place_of_a_whole() {
    let mut world = after(&[]).await;
    let requests = [get("/"), ranged("2-5")];
    for read in at_once(&world.service, requests).await {
        read.unwrap();
    }
    sleep(10 * Far::TAKES).await;
    assert_eq!(world.calls(), 2);
    world.range("2-5").await;
    assert_whole(&world.get().await, DIGITS);
    assert_eq!(world.calls(), 2, "one is stored, and it is the whole");
}
