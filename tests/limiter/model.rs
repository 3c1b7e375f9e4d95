//! The limiter beside a naive model of it.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
    time::Duration,
};

use crate::load_shed::{
    criticality::{
        Criticality::{self, Background, Critical, Normal, Sheddable},
        Shares,
    },
    limit::{Aimd, Fixed, Limit, Outcome, Sample, Target},
    limiter::Limiter,
};
use proptest::{collection::vec, prelude::*};
use tokio::time::Instant;

const CLASSES: [Criticality; 4] = [Background, Sheddable, Normal, Critical];

#[derive(Clone, Copy, Debug)]
enum Step {
    Admit(Criticality),
    /// Of the calls in flight, the one at this index, modulo their number.
    Release(usize),
    Resize(usize),
}

/// Plain numbers: a tenth of the time that a strategy for each kind of step takes.
fn step((kind, which): (u8, u8)) -> Step {
    match kind % 10 {
        0..6 => Step::Admit(CLASSES[usize::from(which) % 4]),
        6..9 => Step::Release(which.into()),
        _ => Step::Resize(usize::from(which) % 24),
    }
}

/// What it is all about, in the plainest words.
struct Model {
    limit: usize,
    in_flight: Vec<Criticality>,
}

impl Model {
    fn has_room(&self, class: Criticality) -> bool {
        let share = |percent: usize| (self.limit * percent).div_ceil(100);
        let background = self.in_flight.iter().filter(|&&class| class == Background).count();
        match class {
            Critical => self.in_flight.len() < self.limit,
            Normal => self.in_flight.len() < share(95),
            Sheddable => self.in_flight.len() < share(80),
            Background => self.in_flight.len() < share(60) && background < share(20),
        }
    }
}

fn agrees(steps: &[Step]) -> Result<(), TestCaseError> {
    let limiter = Limiter::new(8, &Shares::default(), Instant::now());
    let mut model = Model { limit: 8, in_flight: Vec::new() };
    for &step in steps {
        match step {
            Step::Admit(class) => {
                let admitted = limiter.admit(class);
                prop_assert_eq!(admitted.is_some(), model.has_room(class));
                if let Some(in_flight) = admitted {
                    model.in_flight.push(class);
                    prop_assert_eq!(in_flight, model.in_flight.len());
                    prop_assert!(in_flight <= model.limit);
                } else {
                    // Nor is there room for any class below it.
                    for lower in CLASSES.into_iter().filter(|&lower| lower < class) {
                        prop_assert_eq!(limiter.admit(lower), None);
                    }
                }
            }
            Step::Release(index) if !model.in_flight.is_empty() => {
                let class = model.in_flight.swap_remove(index % model.in_flight.len());
                limiter.release(class);
            }
            Step::Release(_) => {}
            Step::Resize(limit) => {
                limiter.resize(limit);
                model.limit = limit.max(1);
            }
        }
        prop_assert_eq!(limiter.in_flight(), model.in_flight.len());
        prop_assert_eq!(limiter.limit(), model.limit);
    }
    for class in model.in_flight.drain(..) {
        limiter.release(class);
    }
    prop_assert_eq!(limiter.in_flight(), 0);
    // All places are back, those of each class as well.
    for class in CLASSES {
        let mut admitted = 0;
        while model.has_room(class) {
            prop_assert!(limiter.admit(class).is_some());
            model.in_flight.push(class);
            admitted += 1;
        }
        prop_assert_eq!(limiter.admit(class), None);
        prop_assert!(admitted > 0);
        for class in model.in_flight.drain(..) {
            limiter.release(class);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_admits_what_the_model_admits(steps in vec(any::<(u8, u8)>().prop_map(step), 0..48)) {
        agrees(&steps)?;
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Success),
        1 => Just(Outcome::Failure),
        1 => Just(Outcome::Overload),
        1 => Just(Outcome::Abandoned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_calls_whatever_bring_a_limit_out_of_its_bounds(
        smallest in 0..40_usize,
        largest in 0..80_usize,
        calls in vec((outcome(), 0..2_000_u64, 0..100_usize, 0..100_u64), 0..2_000),
    ) {
        let mut limits: [Box<dyn Limit>; 3] = [
            Box::new(Fixed::new(smallest)),
            Box::new(Aimd::default().smallest(smallest).largest(largest)),
            Box::new(Target::default().smallest(smallest).largest(largest)),
        ];
        let mut now = Instant::now();
        for (outcome, latency, in_flight, passed) in calls {
            now += Duration::from_millis(passed);
            let sample = Sample { latency: Duration::from_millis(latency), in_flight, outcome };
            for (i, limit) in limits.iter_mut().enumerate() {
                let before = limit.limit();
                limit.sample(&sample, now);
                prop_assert!(limit.limit() >= smallest.min(largest).max(1));
                prop_assert!(i == 0 || limit.limit() <= largest.max(1));
                prop_assert!(outcome == Outcome::Success || i == 2 || limit.limit() <= before);
            }
        }
    }
}

#[test]
fn threads_never_hold_more_places_than_there_are() {
    const LIMIT: usize = 5;
    let limiter = Limiter::new(LIMIT, &Shares::default(), Instant::now());
    let (held, admitted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for class in CLASSES.into_iter().cycle().take(8) {
            let (limiter, held, admitted) = (&limiter, &held, &admitted);
            scope.spawn(move || {
                for _ in 0..20_000 {
                    if limiter.admit(class).is_some() {
                        let now = held.fetch_add(1, SeqCst) + 1;
                        assert!(now <= LIMIT);
                        thread::yield_now();
                        held.fetch_sub(1, SeqCst);
                        limiter.release(class);
                        admitted.fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    assert!(admitted.into_inner() > 0);
    assert_eq!(limiter.in_flight(), 0);
}
