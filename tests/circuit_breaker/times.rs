//! How long it is open, time after time; and how it takes up its calls again.

use seawall::{
    CircuitBreakerLayer,
    circuit_breaker::{Counts, State},
};
use tokio::time::sleep;
use tower::Layer;

use crate::{
    acts::{Log, refusal, times, told, wait_out},
    millis, seconds, seed,
    support::{call, get},
};

#[tokio::test(start_paused = true)]
async fn it_is_open_twice_as_long_each_time_up_to_thirty_seconds_more_or_less_a_fifth() {
    let (mut least, mut most, mut sum, mut drawn) = (f64::MAX, f64::MIN, 0.0, 0);
    for _ in 0..100 {
        let mut service = CircuitBreakerLayer::new().layer(told().1);
        times(20, &mut service, "/500").await;
        for planned in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let wait = wait_out(&mut service).await;
            let share = wait.as_secs_f64() / planned;
            assert!((0.8..=1.2).contains(&share), "{wait:?} instead of {planned} s");
            (least, most) = (share.min(least), share.max(most));
            (sum, drawn) = (sum + share, drawn + 1);
            times(1, &mut service, "/500").await;
        }
    }
    let mean = sum / f64::from(drawn);
    println!("of what was planned: {least:.3} to {most:.3}, {mean:.3} on average");
    // Of 700 drawn from 0.8 to 1.2, none within an eighth of an end: (7/8)^700.
    assert!(least < 0.85 && most > 1.15 && (0.97..1.03).contains(&mean));
}

#[tokio::test(start_paused = true)]
async fn without_jitter_it_is_open_as_long_as_it_is_told() {
    let layer = CircuitBreakerLayer::new().jitter(0.0).open_for(millis(300), seconds(1));
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    for planned in [300, 600, 1_000, 1_000] {
        assert_eq!(wait_out(&mut service).await, millis(planned));
        times(1, &mut service, "/500").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_tells_what_is_left_of_that_time() {
    let layer = CircuitBreakerLayer::new().jitter(0.0);
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    for left in [1_000, 750, 500, 250] {
        assert_eq!(refusal(&call(&mut service, get("/200")).await), Some(millis(left)));
        sleep(millis(250)).await;
    }
    assert_eq!(layer.breaker().state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn after_it_was_closed_for_a_while_the_time_is_a_first_time_again() {
    let layer = CircuitBreakerLayer::new().jitter(0.0);
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    for (closed_for, next) in [(seconds(1), 2), (seconds(1), 4), (seconds(10), 1), (seconds(1), 2)]
    {
        wait_out(&mut service).await;
        times(3, &mut service, "/200").await;
        assert_eq!(layer.breaker().state(), State::Closed);
        sleep(closed_for).await;
        times(20, &mut service, "/500").await;
        let wait = refusal(&call(&mut service, get("/200")).await);
        assert_eq!(wait, Some(seconds(next)), "after {closed_for:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_takes_up_a_growing_share_of_its_calls() {
    fastrand::seed(seed(4));
    let log = Log::default();
    let layer = CircuitBreakerLayer::new().ramp(seconds(10), 0.1).observer(log.clone());
    let (calls, inner) = told();
    let mut service = layer.layer(inner);
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    times(3, &mut service, "/200").await;
    assert_eq!(layer.breaker().state(), State::Closed);
    let mut shares = Vec::new();
    for step in 0..10 {
        let before = calls.count();
        for _ in 0..1_000 {
            if let Some(wait) = refusal(&call(&mut service, get("/200")).await) {
                assert!(wait > millis(0) && wait <= seconds(1), "{wait:?}");
            }
        }
        let share = (calls.count() - before) as f64 / 1_000.0;
        shares.push(share);
        let planned = 0.1 + 0.9 * f64::from(step) / 10.0;
        // Four standard deviations of a thousand draws.
        assert!((share - planned).abs() < 0.064, "{share} instead of {planned}");
        sleep(seconds(1)).await;
    }
    println!("admitted in the ten seconds after it closed: {shares:?}");
    // What it refused is not held against the origin, and changed nothing.
    assert_eq!(layer.breaker().counts().failures, 0);
    assert_eq!(log.changes().len(), 3);
    times(1_000, &mut service, "/200").await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_it_takes_up_its_calls_counts_as_ever() {
    let layer = CircuitBreakerLayer::new().jitter(0.0).ramp(seconds(60), 1.0);
    let mut service = layer.layer(told().1);
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    times(3, &mut service, "/200").await;
    times(19, &mut service, "/500").await;
    assert_eq!(layer.breaker().counts(), Counts { calls: 19, failures: 19, slow: 0 });
    times(1, &mut service, "/500").await;
    assert_eq!(refusal(&call(&mut service, get("/200")).await), Some(seconds(2)));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_was_never_open_does_not_ramp() {
    let layer = CircuitBreakerLayer::new().ramp(seconds(3_600), 0.01);
    let mut service = layer.layer(told().1);
    times(1_000, &mut service, "/200").await;
    layer.breaker().reset();
    times(1_000, &mut service, "/200").await;
}
