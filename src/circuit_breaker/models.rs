//! Exhaustive models of a breaker that two threads share.

use std::{sync::Arc, time::Duration};

use loom::thread;
use tokio::time::Instant;

use super::{
    Call,
    settings::{InARow, Settings},
    shared::Shared,
    state::State,
    ticket::Outcome,
};
use crate::{
    admission::{self, Permit},
    observe::Listener,
    sync::holds_only_with,
};

/// One failure opens it, for an hour or so.
fn touchy(now: Instant) -> Arc<Shared> {
    let settings = Settings {
        in_a_row: Some(InARow { failures: 1, within: Duration::MAX }),
        open_for: Duration::from_secs(3600),
        longest: Duration::from_secs(3600),
        probes: 1,
        ..Settings::default()
    };
    Arc::new(Shared::new(settings, None, super::successes::CELLS, Listener::default(), now))
}

fn end(breaker: &Shared, outcome: Outcome, now: Instant) {
    if let Ok(ticket) = breaker.admit_at(now) {
        breaker.settle(ticket, outcome, Duration::ZERO, None, now);
    }
}

#[test]
fn models_nobody_is_admitted_once_it_is_open() {
    holds_only_with("the word changes under the lock", || {
        let now = Instant::now();
        let breaker = touchy(now);
        let other = Arc::clone(&breaker);
        let other = thread::spawn(move || _ = other.counts(now));
        end(&breaker, Outcome::Failure, now);
        assert!(breaker.admit().is_err(), "its own failure has opened it");
        other.join().unwrap();
        assert!(breaker.admit().is_err());
        assert_eq!(breaker.state(now), State::Open);
    });
}

#[test]
fn models_a_success_counts_in_its_own_epoch_alone() {
    holds_only_with("a success is of its epoch", || {
        let now = Instant::now();
        let breaker = touchy(now);
        let ticket = breaker.admit_at(now).unwrap();
        let other = Arc::clone(&breaker);
        let straggler = thread::spawn(move || {
            other.settle(ticket, Outcome::Success, Duration::ZERO, None, now);
        });
        breaker.change(now, |breaker| breaker.reset(now));
        straggler.join().unwrap();
        assert_eq!(breaker.counts(now).calls, 0);
        end(&breaker, Outcome::Success, now);
        assert_eq!(breaker.counts(now).calls, 1);
    });
}

#[test]
fn models_one_probe_at_once_and_a_dropped_one_frees_its_place() {
    holds_only_with("a probe gives its place back", || {
        let now = Instant::now();
        let breaker = touchy(now);
        end(&breaker, Outcome::Failure, now);
        let later = now + Duration::from_secs(7200);
        let probe = move |breaker: &Arc<Shared>| {
            let ticket = breaker.admit_at(later).ok()?;
            Some(Permit::new(Call::with(Arc::clone(breaker), ticket)))
        };
        let other = Arc::clone(&breaker);
        let other = thread::spawn(move || {
            let permit = probe(&other);
            if permit.is_some() {
                assert_eq!(other.probes(later), 1);
            }
            drop(permit);
        });
        let mine = probe(&breaker);
        assert!(breaker.probes(later) <= 1);
        drop(mine);
        other.join().unwrap();
        assert_eq!((breaker.probes(later), breaker.state(later)), (0, State::HalfOpen));
        let last = probe(&breaker).expect("the place is free");
        last.settle(admission::Outcome::Success);
        assert_eq!(breaker.state(later), State::Closed);
    });
}
