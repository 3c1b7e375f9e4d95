//! An observer that looks back at the breakers that it is told of.

use std::{
    sync::{Arc, Mutex, OnceLock, mpsc},
    thread,
    time::Duration,
};

use seawall::{
    BoxError, CircuitBreakerLayer,
    admission::ByError,
    circuit_breaker::{Breakers, Cause, State},
    observe::Event,
};
use tokio::{runtime, time::sleep};
use tower::{Layer, Service, service_fn};

use crate::SECOND;

/// A key, and whether the call fails.
type Asks = (u64, bool);

/// Which breaker became what, and why; the states are those that were seen at that moment.
type Noted = (Option<String>, State, Cause, Vec<State>);

async fn does((_, fails): Asks) -> Result<(), BoxError> {
    if fails { Err("it fails".into()) } else { Ok(()) }
}

/// Opens, refuses, becomes half-open, closes, opens again, is taken over and is forgotten.
async fn life(key: u64) -> Vec<Noted> {
    let breakers: Arc<OnceLock<Breakers<u64>>> = Arc::default();
    let noted: Arc<Mutex<Vec<Noted>>> = Arc::default();
    let (looks, notes) = (Arc::clone(&breakers), Arc::clone(&noted));
    let observer = move |event: &Event<'_>| {
        let Some(breakers) = looks.get() else { return };
        let own = breakers.states().into_iter().filter(|(of, _)| *of == key);
        let states = own.map(|(_, state)| state).collect();
        _ = breakers.of(&key).map(|own| (own.state(), own.counts(), own.probes()));
        _ = (breakers.rest().state(), breakers.rest().counts());
        if let Event::CircuitChanged { change, of } = event {
            let of = of.map(str::to_owned);
            notes.lock().unwrap().push((of, change.to, change.cause, states));
        }
    };
    let layer = CircuitBreakerLayer::new().classify(ByError::new()).jitter(0.0).probes(1);
    let layer = layer.in_a_row(3, 60 * SECOND).observer(observer);
    let layer = layer.by::<_, Asks>(|&(key, _): &Asks| key).most_keys(16);
    breakers.set(layer.breakers()).unwrap();
    let mut service = layer.layer(service_fn(does));
    for _ in 0..2 {
        for _ in 0..3 {
            service.call((key, true)).await.unwrap_err();
        }
        service.call((key, false)).await.unwrap_err();
        sleep(SECOND).await;
        service.call((key, false)).await.unwrap();
        sleep(11 * SECOND).await;
    }
    layer.breakers().of(&key).unwrap().force_open();
    layer.breakers().of(&key).unwrap().automatic();
    sleep(600 * SECOND).await;
    for other in 1_000..2_000 {
        service.call((other, false)).await.unwrap();
    }
    assert!(layer.breakers().of(&key).is_none());
    // All keys that have no room.
    layer.breakers().rest().force_open();
    let noted = noted.lock().unwrap();
    noted.clone()
}

#[test]
fn an_observer_that_looks_at_all_breakers_at_every_event_hangs_nobody_and_learns_which_it_was() {
    let (done, life_is_over) = mpsc::channel();
    thread::spawn(move || {
        let mut paused = runtime::Builder::new_current_thread();
        let runtime = paused.enable_time().start_paused(true).build().unwrap();
        done.send(runtime.block_on(life(7)))
    });
    let noted = life_is_over.recv_timeout(Duration::from_secs(60)).expect("it hangs");
    let changes: Vec<_> =
        noted.iter().map(|(of, to, cause, _)| (of.as_deref(), *to, *cause)).collect();
    let cycle = [
        (Some("7"), State::Open, Cause::InARow),
        (Some("7"), State::HalfOpen, Cause::TimeOver),
        (Some("7"), State::Closed, Cause::GoodProbes),
    ];
    let end = [
        (Some("7"), State::Open, Cause::Operator),
        (Some("7"), State::Closed, Cause::Forgotten),
        (Some("the rest"), State::Open, Cause::Operator),
    ];
    assert_eq!(changes, [&cycle[..], &cycle, &end].concat());
    // What it sees is what it is told, and of the one that is gone nothing.
    for (of, to, cause, seen) in &noted {
        match (of.as_deref(), cause) {
            (Some("7"), Cause::Forgotten) | (Some("the rest"), _) => assert!(seen.is_empty()),
            _ => assert_eq!(*seen, [*to]),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_one_breaker_of_a_layer_has_no_key() {
    let noted: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let notes = Arc::clone(&noted);
    let layer = CircuitBreakerLayer::new().observer(move |event: &Event<'_>| {
        if let Event::CircuitChanged { of, .. } = event {
            notes.lock().unwrap().push(of.map(str::to_owned));
        }
    });
    layer.breaker().force_open();
    layer.breaker().reset();
    assert_eq!(*noted.lock().unwrap(), [None, None]);
}
