//! The table of breakers by key where it is full: what stays in it, and what a new key costs.

use std::future::{Ready, ready};

use seawall::{
    BoxError, CircuitBreakerLayer,
    admission::ByError,
    circuit_breaker::{Each, Mode, State},
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, service_fn};

use crate::SECOND;

/// A key, and whether the call fails.
type Asks = (u64, bool);

type Key = fn(&Asks) -> u64;

fn key(&(key, _): &Asks) -> u64 {
    key
}

fn does((_, fails): Asks) -> Ready<Result<(), BoxError>> {
    ready(if fails { Err("it fails".into()) } else { Ok(()) })
}

fn layer(most: usize) -> CircuitBreakerLayer<Each<Key, u64>, ByError> {
    let layer = CircuitBreakerLayer::new().classify(ByError::new()).jitter(0.0);
    let layer = layer.in_a_row(3, 60 * SECOND).open_for(3_600 * SECOND, 3_600 * SECOND);
    layer.by::<Key, Asks>(key).most_keys(most)
}

#[tokio::test(start_paused = true)]
async fn one_that_was_forced_open_stays_so_however_long_nobody_asks_and_however_full_the_table_is()
{
    let layer = layer(16);
    let mut service = layer.layer(service_fn(does));
    for forced in [1, 2, 3] {
        service.call((forced, false)).await.unwrap();
        if let Some(breaker) = layer.breakers().of(&forced) {
            breaker.force_open();
        }
    }
    let forced: Vec<u64> = [1, 2, 3].into_iter().filter(|key| knows(&layer, *key)).collect();
    assert!(!forced.is_empty());
    for round in 1..=3 {
        sleep(601 * SECOND).await;
        for other in round * 1_000..(round + 1) * 1_000 {
            service.call((other, false)).await.unwrap();
        }
        for &key in &forced {
            let breaker = layer.breakers().of(&key).expect("it is known");
            assert_eq!((breaker.mode(), breaker.state()), (Mode::ForcedOpen, State::Open));
            drop(breaker);
            if round == 3 {
                service.call((key, false)).await.unwrap_err();
            }
        }
    }
}

fn knows(layer: &CircuitBreakerLayer<Each<Key, u64>, ByError>, key: u64) -> bool {
    layer.breakers().of(&key).is_some()
}

#[tokio::test(start_paused = true)]
async fn one_that_is_open_for_an_hour_stays_so_for_that_hour_and_may_go_after_it() {
    let layer = layer(16);
    let mut service = layer.layer(service_fn(does));
    for _ in 0..3 {
        service.call((1, true)).await.unwrap_err();
    }
    for round in 1..=5 {
        sleep(700 * SECOND).await;
        for other in round * 1_000..(round + 1) * 1_000 {
            service.call((other, false)).await.unwrap();
        }
        assert_eq!(layer.breakers().of(&1).map(|one| one.state()), Some(State::Open), "{round}");
    }
    sleep(200 * SECOND).await;
    for other in 10_000..11_000 {
        service.call((other, false)).await.unwrap();
    }
    assert!(!knows(&layer, 1), "its hour is over");
}

/// What a call takes of a key that is new to a full table of healthy breakers, in nanoseconds, and of
/// one that is known: the quickest of ten rounds of each.
async fn costs(calls_each: u64) -> (f64, f64) {
    const MOST: u64 = 65_536;
    const EACH: u64 = 10_000;
    let layer = layer(MOST as usize);
    let mut service = layer.layer(service_fn(does));
    // Somewhat more than there is room for, so that every part of the table is full.
    for key in 0..2 * MOST {
        for _ in 0..calls_each {
            service.call((key, false)).await.unwrap();
        }
    }
    assert_eq!(layer.breakers().states().len() as u64, MOST);
    let known: Vec<u64> = layer.breakers().states().iter().map(|(key, _)| *key).take(100).collect();
    let (mut of_new, mut of_known) = (f64::MAX, f64::MAX);
    for round in 0..10 {
        let began = Instant::now();
        for n in 0..EACH {
            let key = known[n as usize % known.len()];
            service.call((key, false)).await.unwrap();
        }
        of_known = of_known.min(began.elapsed().as_nanos() as f64 / EACH as f64);
        let began = Instant::now();
        for n in 0..EACH {
            service.call(((1 << 40) + round * EACH + n, false)).await.unwrap();
        }
        of_new = of_new.min(began.elapsed().as_nanos() as f64 / EACH as f64);
    }
    (of_new, of_known)
}

/// In real time: it is the processor's that counts.
#[tokio::test]
async fn a_hundred_thousand_new_keys_cost_little_each_where_the_table_is_full_of_healthy_breakers()
{
    for (what, calls_each) in [("used once", 1), ("used again", 2)] {
        let (of_new, of_known) = costs(calls_each).await;
        println!("{what}: {of_new:.0} ns for a new key, {of_known:.0} ns for one that is known");
        assert!(of_new < 50.0 * of_known, "{what}: {of_new:.0} ns, {of_known:.0} ns");
    }
}
