//! What the metrics say of breakers: none that is over stays behind in the gauge.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use seawall::{CircuitBreakerLayer, observe::Metrics};
use tokio::time::sleep;
use tower::Layer;

use crate::{
    acts::{refusal, times, told, wait_out},
    seconds,
    support::{Req, call, get, with},
};

/// Held for as long as a test runs, which is on one thread.
fn recorder() -> (&'static PrometheusRecorder, PrometheusHandle) {
    let recorder: &'static PrometheusRecorder =
        Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    (recorder, recorder.handle())
}

/// The value of the one line that begins so.
fn value(handle: &PrometheusHandle, name: &str) -> f64 {
    let text = handle.render();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

const OPEN: &str = "seawall_circuits_open ";

#[tokio::test(start_paused = true)]
async fn the_gauge_of_open_circuits_comes_back_to_zero() {
    let (recorder, handle) = recorder();
    let _guard = metrics::set_default_local_recorder(recorder);
    let layer = CircuitBreakerLayer::new().observer(Metrics::new());
    let mut service = layer.layer(told().1);
    for round in 1..=5 {
        assert_eq!(value(&handle, OPEN), 0.0);
        times(20, &mut service, "/500").await;
        assert_eq!(value(&handle, OPEN), 1.0);
        wait_out(&mut service).await;
        // From half-open to open again, and half-open again.
        times(1, &mut service, "/500").await;
        assert_eq!(value(&handle, OPEN), 1.0);
        wait_out(&mut service).await;
        times(2, &mut service, "/200").await;
        assert_eq!(value(&handle, OPEN), 1.0);
        times(1, &mut service, "/200").await;
        assert_eq!(value(&handle, OPEN), 0.0);
        for (to, changes) in [("open", 2), ("half-open", 2), ("closed", 1)] {
            let name = format!("seawall_circuit_changes_total{{to=\"{to}\"}} ");
            assert_eq!(value(&handle, &name), f64::from(changes * round), "{to}");
        }
        assert_eq!(value(&handle, "seawall_circuit_refused_total "), f64::from(2 * round));
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_operator_does_the_gauge_says_what_is_open() {
    let (recorder, handle) = recorder();
    let _guard = metrics::set_default_local_recorder(recorder);
    let layer = CircuitBreakerLayer::new().observer(Metrics::new());
    let (breaker, mut service) = (layer.breaker(), layer.layer(told().1));
    for _ in 0..3 {
        breaker.force_open();
        breaker.force_open();
        assert_eq!(value(&handle, OPEN), 1.0);
        breaker.force_closed();
        assert_eq!(value(&handle, OPEN), 0.0);
        breaker.force_open();
        breaker.automatic();
        times(1, &mut service, "/200").await;
        assert_eq!(value(&handle, OPEN), 1.0);
        breaker.reset();
        breaker.reset();
        assert_eq!(value(&handle, OPEN), 0.0);
        breaker.observe_only();
        times(25, &mut service, "/500").await;
        assert_eq!(value(&handle, OPEN), 1.0);
        breaker.force_closed();
        assert_eq!(value(&handle, OPEN), 0.0);
    }
    // What was only observed was refused to nobody.
    assert_eq!(value(&handle, "seawall_circuit_refused_total "), 0.0);
}

#[tokio::test(start_paused = true)]
async fn the_gauge_is_of_all_breakers_and_forgets_those_that_made_room() {
    let (recorder, handle) = recorder();
    let _guard = metrics::set_default_local_recorder(recorder);
    let key = |request: &Req| request.headers()["x-key"].to_str().unwrap().to_owned();
    let layer = CircuitBreakerLayer::new().in_a_row(1, seconds(1)).observer(Metrics::new());
    let layer = layer.by(key).most_keys(16);
    let mut service = layer.layer(told().1);
    for number in 0..100 {
        let request = with(get("/500"), "x-key", &number.to_string());
        _ = call(&mut service, request).await;
    }
    // Those of the table, and the one of all others.
    assert_eq!(value(&handle, OPEN), 17.0);
    assert!(value(&handle, "seawall_circuit_refused_total ") > 0.0);
    sleep(seconds(600)).await;
    for number in 1_000..2_000 {
        let request = with(get("/200"), "x-key", &number.to_string());
        let result = call(&mut service, request).await;
        assert!(refusal(&result).is_none());
    }
    assert_eq!(value(&handle, OPEN), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_gone_is_not_open() {
    let (recorder, handle) = recorder();
    let _guard = metrics::set_default_local_recorder(recorder);
    let layer = CircuitBreakerLayer::new().observer(Metrics::new());
    times(20, &mut layer.layer(told().1), "/500").await;
    assert_eq!(value(&handle, OPEN), 1.0);
    drop(layer);
    assert_eq!(value(&handle, OPEN), 0.0);
}
