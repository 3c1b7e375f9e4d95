//! The table of breakers by key: bounded, and who goes where it is full.

use std::future::{Ready, ready};

use seawall::{
    BoxError, CircuitBreakerLayer,
    admission::{Admission, ByError},
    circuit_breaker::{Cause, Each, State},
};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    acts::{Log, refusal},
    millis, seconds,
};

#[derive(Clone, Copy, Debug)]
enum Does {
    Well,
    Fail,
    Slowly,
    Hang,
}

/// A key, and what the origin does.
type Asks = (u64, Does);

fn key(&(key, _): &Asks) -> u64 {
    key
}

type Key = fn(&Asks) -> u64;

/// Opens at three failures, or ten slow calls, of one key.
fn layer(most: usize) -> CircuitBreakerLayer<Each<Key, u64>, ByError> {
    let layer = CircuitBreakerLayer::new().classify(ByError::new()).jitter(0.0);
    let layer = layer.in_a_row(3, seconds(60)).slow_calls(millis(10), 0.5, 10);
    layer.by::<Key, Asks>(key).most_keys(most)
}

async fn does((_, does): Asks) -> Result<(), BoxError> {
    match does {
        Does::Well => Ok(()),
        Does::Fail => Err("it fails".into()),
        Does::Slowly => {
            sleep(millis(11)).await;
            Ok(())
        }
        Does::Hang => std::future::pending().await,
    }
}

macro_rules! service {
    ($layer:expr) => {
        $layer.layer(service_fn(does))
    };
}

fn knows(layer: &CircuitBreakerLayer<Each<Key, u64>, ByError>, key: u64) -> bool {
    layer.breakers().of(&key).is_some()
}

/// Keys that nobody has used yet, each called well once.
async fn pass_by<S>(service: &mut S, keys: std::ops::Range<u64>)
where
    S: Service<Asks, Response = (), Error = BoxError>,
{
    for key in keys {
        service.call((key, Does::Well)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_keys_keep_the_table_within_its_bound() {
    type At = fn(Asks) -> Ready<Result<(), BoxError>>;
    let at_once: At = |_| ready(Ok(()));
    for (most, bound) in [(None, 1_024), (Some(1), 16), (Some(100), 112)] {
        let layer = CircuitBreakerLayer::new().classify(ByError::new()).by::<Key, Asks>(key);
        let layer = most.map_or(layer.clone(), |most| layer.most_keys(most));
        let mut service: Admission<_, _, _> = layer.layer(service_fn(at_once));
        let mut largest = 0;
        for key in 0..if most.is_some() { 10_000 } else { 100_000 } {
            service.call((key, Does::Well)).await.unwrap();
            if key % 1_000 == 0 {
                largest = largest.max(layer.breakers().states().len());
            }
        }
        let left = layer.breakers().states().len();
        println!("{most:?}: {largest} at most, {left} left");
        assert!(largest.max(left) <= bound && left > bound / 2, "{most:?}: {largest}, {left}");
        // None of them had anything to remember.
        assert_eq!(layer.breakers().rest().counts().calls, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_has_something_to_remember_does_not_make_room() {
    let layer = layer(16);
    let mut service = service!(layer);
    service.call((1, Does::Fail)).await.unwrap_err();
    pass_by(&mut service, 1_000..2_000).await;
    assert_eq!(layer.breakers().of(&1).unwrap().counts().failures, 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_knows_of_slow_calls_does_not_make_room() {
    let layer = layer(16);
    let mut service = service!(layer);
    for _ in 0..9 {
        service.call((1, Does::Slowly)).await.unwrap();
    }
    pass_by(&mut service, 1_000..2_000).await;
    assert_eq!(layer.breakers().of(&1).map(|breaker| breaker.counts().slow), Some(9));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_open_a_moment_ago_does_not_make_room() {
    let layer = layer(16).ramp(seconds(60), 0.01);
    let mut service = service!(layer);
    for _ in 0..3 {
        service.call((1, Does::Fail)).await.unwrap_err();
    }
    sleep(seconds(1)).await;
    for _ in 0..3 {
        service.call((1, Does::Well)).await.unwrap();
    }
    assert_eq!(layer.breakers().of(&1).unwrap().state(), State::Closed);
    pass_by(&mut service, 1_000..2_000).await;
    assert!(knows(&layer, 1));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_open_or_was_taken_over_does_not_make_room() {
    let layer = layer(64);
    let mut service = service!(layer);
    for _ in 0..3 {
        service.call((1, Does::Fail)).await.unwrap_err();
    }
    service.call((2, Does::Well)).await.unwrap();
    layer.breakers().of(&2).unwrap().force_closed();
    for _ in 0..5 {
        pass_by(&mut service, 1_000..2_000).await;
        sleep(seconds(60)).await;
        // Half-open by now, and not asked.
        assert_eq!(layer.breakers().of(&1).unwrap().state(), State::HalfOpen);
        assert!(knows(&layer, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn one_with_a_call_under_way_does_not_make_room_however_long_that_takes() {
    let layer = layer(16);
    let mut service = service!(layer);
    let call = tokio::spawn(service.call((1, Does::Hang)));
    tokio::task::yield_now().await;
    for _ in 0..3 {
        pass_by(&mut service, 1_000..2_000).await;
        sleep(seconds(700)).await;
    }
    assert!(knows(&layer, 1));
    call.abort();
    _ = call.await;
    pass_by(&mut service, 1_000..2_000).await;
    assert!(!knows(&layer, 1));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_not_used_for_ten_minutes_makes_room_whatever_it_knows() {
    let log = Log::default();
    let layer = layer(16).observer(log.clone());
    let mut service = service!(layer);
    for _ in 0..3 {
        service.call((1, Does::Fail)).await.unwrap_err();
    }
    sleep(seconds(599)).await;
    pass_by(&mut service, 1_000..2_000).await;
    assert!(knows(&layer, 1));
    sleep(seconds(1)).await;
    pass_by(&mut service, 2_000..3_000).await;
    assert!(!knows(&layer, 1));
    // And is not open any more, to those who count.
    assert_eq!(log.changes(), [(State::Open, Cause::InARow), (State::Closed, Cause::Forgotten)]);
    service.call((1, Does::Well)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_one_that_was_not_used_for_the_longest_goes_first() {
    // Two places in each part of the table: what is used between any two others is never the oldest.
    let layer = layer(32);
    let mut service = service!(layer);
    service.call((2, Does::Well)).await.unwrap();
    for other in 1_000..2_000 {
        service.call((1, Does::Well)).await.unwrap();
        assert_eq!(layer.breakers().of(&1).unwrap().counts().calls, other - 999);
        sleep(millis(1)).await;
        service.call((other, Does::Well)).await.unwrap();
        sleep(millis(1)).await;
    }
    assert!(!knows(&layer, 2));
}

#[tokio::test(start_paused = true)]
async fn keys_without_room_share_one_breaker() {
    let layer = layer(16);
    let mut service = service!(layer);
    let mut known = 0;
    for key in 0..2_000 {
        for _ in 0..3 {
            _ = service.call((key, Does::Fail)).await;
        }
        known = layer.breakers().states().len();
    }
    assert_eq!(known, 16);
    assert_eq!(layer.breakers().rest().state(), State::Open);
    // Neither was ever called: the one breaker of all the others refuses them.
    for key in 5_000..5_002 {
        let refused = service.clone().oneshot((key, Does::Well)).await;
        assert!(refusal(&refused).is_some() && !knows(&layer, key));
    }
    sleep(seconds(1)).await;
    for key in 5_002..5_005 {
        service.call((key, Does::Well)).await.unwrap();
    }
    assert_eq!(layer.breakers().rest().state(), State::Closed);
}
