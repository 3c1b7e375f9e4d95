//! When failures open it: windows by calls and by time, the minimum, failures in a row, and chance.

use std::{
    collections::VecDeque,
    future::{Ready, ready},
    sync::Arc,
};

use fastrand::Rng;
use seawall::{
    BoxError, CircuitBreakerLayer,
    admission::{Admission, ByError},
    circuit_breaker::{Cause, Counts, One, State, Window},
};
use tokio::{
    sync::Barrier,
    time::{advance, sleep},
};
use tower::{Layer, Service, service_fn};

use crate::{
    acts::{Log, times, told},
    millis, seconds, seed,
};

/// An origin that fails where it is told to, at once.
#[derive(Clone)]
struct Coin;

impl Service<bool> for Coin {
    type Response = ();
    type Error = BoxError;
    type Future = Ready<Result<(), BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, fails: bool) -> Self::Future {
        ready(if fails { Err("it fails".into()) } else { Ok(()) })
    }
}

fn coin(layer: CircuitBreakerLayer) -> (seawall::CircuitBreaker, Admission<Coin, One, ByError>) {
    let layer = layer.classify(ByError::new());
    (layer.breaker(), layer.layer(Coin))
}

/// The rate alone is never reached.
fn without_a_rate() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().failure_rate(1.0, u64::MAX)
}

#[tokio::test(start_paused = true)]
async fn a_window_of_calls_opens_after_its_share_of_failures_whatever_came_before() {
    for (calls, share, needed) in [
        (10, 0.5, 5),
        (10, 0.25, 3),
        (7, 0.5, 4),
        (20, 0.333, 7),
        (100, 0.07, 7),
        (3, 1.0, 3),
        (1, 1.0, 1),
    ] {
        let window = vec![false; calls];
        let almost: Vec<bool> = (0..calls).map(|call| call < needed - 1).collect();
        for (before, what) in [
            (window.clone(), "a window of successes"),
            (vec![false; 1_000], "a thousand successes"),
            ([almost.clone(), window.clone()].concat(), "failures that have left the window"),
            ([almost.repeat(50), window].concat(), "one failure too few in every window"),
        ] {
            let layer = CircuitBreakerLayer::new().window(Window::Calls(calls));
            let (breaker, mut service) = coin(layer.failure_rate(share, 1_000_000));
            for fails in before {
                _ = service.call(fails).await;
            }
            for _ in 1..needed {
                service.call(true).await.unwrap_err();
                assert_eq!(breaker.state(), State::Closed, "{share} of {calls} after {what}");
            }
            service.call(true).await.unwrap_err();
            assert_eq!(breaker.state(), State::Open, "{share} of {calls} after {what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_of_calls_opens_exactly_where_a_list_of_the_last_calls_would() {
    let mut rng = Rng::with_seed(seed(1));
    let mut opened = 0;
    for _ in 0..200 {
        let calls = rng.usize(1..40);
        let (percent, of_at_least) = (rng.usize(1..=100), rng.usize(1..=calls));
        let layer = CircuitBreakerLayer::new().window(Window::Calls(calls));
        let layer = layer.failure_rate(percent as f64 / 100.0, of_at_least as u64);
        let (breaker, mut service) = coin(layer);
        let mut list = VecDeque::new();
        let chance = rng.f64();
        for _ in 0..300 {
            let fails = rng.f64() < chance;
            list.push_back(fails);
            if list.len() > calls {
                list.pop_front();
            }
            let failures = list.iter().filter(|fails| **fails).count();
            _ = service.call(fails).await;
            let opens =
                fails && list.len() >= of_at_least && failures * 100 >= percent * list.len();
            assert_eq!(breaker.state() == State::Open, opens, "{percent} % of {list:?}");
            if opens {
                opened += 1;
                breaker.reset();
                list.clear();
            }
        }
    }
    println!("opened {opened} times in 60,000 calls");
    assert!(opened > 1_000);
}

#[tokio::test(start_paused = true)]
async fn it_trips_at_exactly_the_minimum_of_calls() {
    for window in [Window::Calls(100), Window::Time(seconds(10))] {
        for of_at_least in [1, 2, 3, 20, 100] {
            let (calls, inner) = told();
            let layer = CircuitBreakerLayer::new().window(window).failure_rate(0.5, of_at_least);
            let mut service = layer.layer(inner);
            for made in 1..=of_at_least {
                assert_eq!(layer.breaker().state(), State::Closed, "{window:?}");
                times(1, &mut service, "/500").await;
                assert_eq!(calls.count() as u64, made);
            }
            assert_eq!(layer.breaker().state(), State::Open, "{window:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_of_fewer_calls_is_its_own_minimum() {
    let layer = CircuitBreakerLayer::new().window(Window::Calls(5)).failure_rate(0.5, 20);
    let mut service = layer.layer(told().1);
    times(4, &mut service, "/error").await;
    assert_eq!(layer.breaker().state(), State::Closed);
    times(1, &mut service, "/error").await;
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_window_by_time_forgets_what_is_older() {
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(told().1);
    times(19, &mut service, "/500").await;
    sleep(seconds(10)).await;
    times(19, &mut service, "/500").await;
    assert_eq!(layer.breaker().state(), State::Closed);
    times(1, &mut service, "/500").await;
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_unless_a_success_stands_between_them_or_too_long_a_time() {
    let log = Log::default();
    let layer = without_a_rate().in_a_row(5, seconds(10)).observer(log.clone());
    let mut service = layer.layer(told().1);
    for _ in 0..100 {
        times(4, &mut service, "/500").await;
        times(1, &mut service, "/200").await;
    }
    for _ in 0..100 {
        times(1, &mut service, "/500").await;
        sleep(millis(2_501)).await;
    }
    assert_eq!(layer.breaker().state(), State::Closed);
    sleep(seconds(10)).await;
    times(5, &mut service, "/500").await;
    assert_eq!(log.changes(), [(State::Open, Cause::InARow)]);
}

#[tokio::test(start_paused = true)]
async fn one_failure_in_a_hundred_at_ten_thousand_calls_a_second_never_opens_it() {
    let mut rng = Rng::with_seed(seed(2));
    let log = Log::default();
    let by_time = coin(CircuitBreakerLayer::new().observer(log.clone()));
    let by_calls = CircuitBreakerLayer::new().window(Window::Calls(100));
    let by_calls = coin(by_calls.observer(log.clone()));
    let mut services = [by_time.1, by_calls.1];
    let (mut calls, mut failures) = (0_u64, 0_u64);
    for _ in 0..100_000 {
        for _ in 0..10 {
            let fails = rng.u32(..100) == 0;
            (calls, failures) = (calls + 1, failures + u64::from(fails));
            for service in &mut services {
                assert_eq!(service.call(fails).await.is_err(), fails);
            }
        }
        advance(millis(1)).await;
    }
    let Counts { calls: in_window, failures: failed, .. } = by_time.0.counts();
    println!("{failures} of {calls} calls failed; in the last 10 s {failed} of {in_window}");
    // It forgets up to a tenth of its time early, and counts successes up to a tenth of it late.
    assert!((9_000..11_000).contains(&failures) && (80_000..=100_000).contains(&in_window));
    assert_eq!(log.transitions(), []);
}

#[tokio::test(start_paused = true)]
async fn five_in_a_row_open_it_only_where_chance_has_put_five_failures_in_a_row() {
    let mut rng = Rng::with_seed(seed(3));
    for one_in in [100, 10] {
        let (breaker, mut service) = coin(without_a_rate().in_a_row(5, seconds(10)));
        let (mut row, mut opened, mut rows) = (0, 0_u32, 0_u32);
        for _ in 0..100_000 {
            for _ in 0..10 {
                let fails = rng.u32(..one_in) == 0;
                row = if fails { row + 1 } else { 0 };
                assert_eq!(service.call(fails).await.is_err(), fails);
                let open = breaker.state() == State::Open;
                (opened, rows) = (opened + u32::from(open), rows + u32::from(row == 5));
                assert_eq!(open, row == 5);
                if open {
                    breaker.reset();
                    row = 0;
                }
            }
            advance(millis(1)).await;
        }
        let chance = 1.0 / f64::from(one_in);
        let expected = 1e6 * chance.powi(5) * (1.0 - chance);
        println!("1 of {one_in} fails, 1,000,000 calls: opened {opened}, by chance {expected:.4}");
        assert_eq!(opened, rows);
        assert!(f64::from(opened) <= expected + 5.0 * expected.sqrt());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_success_is_lost_between_threads() {
    let layer = CircuitBreakerLayer::new().window(Window::Time(seconds(3_600)));
    let layer = layer.classify(ByError::new());
    let start = Arc::new(Barrier::new(4));
    let threads = (0..4).map(|_| {
        let (start, mut service) = (Arc::clone(&start), layer.layer(Coin));
        tokio::spawn(async move {
            start.wait().await;
            for _ in 0..10_000 {
                service.call(false).await.unwrap();
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.await.unwrap();
    }
    let mut service = layer.layer(Coin);
    assert_eq!(layer.breaker().counts(), Counts { calls: 40_000, failures: 0, slow: 0 });
    for _ in 1..40_000 {
        service.call(true).await.unwrap_err();
    }
    assert_eq!(layer.breaker().state(), State::Closed);
    service.call(true).await.unwrap_err();
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn failures_of_many_threads_open_it_at_exactly_the_minimum() {
    for _ in 0..200 {
        let layer = CircuitBreakerLayer::new().classify(ByError::new());
        let calls = crate::support::Calls::default();
        let start = Arc::new(Barrier::new(4));
        let threads = (0..4).map(|_| {
            let (start, calls) = (Arc::clone(&start), calls.clone());
            let mut service = layer.layer(service_fn(move |()| {
                calls.add();
                ready(Err::<(), BoxError>("it fails".into()))
            }));
            tokio::spawn(async move {
                start.wait().await;
                for _ in 0..20 {
                    service.call(()).await.unwrap_err();
                }
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.await.unwrap();
        }
        assert_eq!(layer.breaker().state(), State::Open);
        // Each of the other threads may have one call under way when it opens.
        assert!((20..24).contains(&calls.count()), "{}", calls.count());
    }
}
