//! Random sequences of all that can be done to a breaker, done to the model as well.

use std::{collections::HashMap, time::Duration};

use fastrand::Rng;
use proptest::{
    prelude::{ProptestConfig, any},
    strategy::Strategy,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use tokio::time::Instant;

use super::{
    circuit_breaker::{
        breaker::Breaker,
        settings::{Abandoned, InARow, Ramp, Rate, Settings, Slow},
        state::{Cause, Mode, State, Transition},
        ticket::{Outcome, Ticket, Word},
        window::Window,
    },
    millis,
    naive::{Leave, Model},
    seed,
};

const CASES: u32 = 100_000;

/// What happened in all sequences: a property that met none of its cases would prove nothing.
type Seen = HashMap<&'static str, u64>;

fn settings(rng: &mut Rng) -> Settings {
    let rate = |rng: &mut Rng| Rate {
        share: f64::from(rng.u32(1..=20)) * 0.05,
        of_at_least: rng.u64(0..8),
    };
    let window = if rng.bool() {
        Window::Calls(rng.usize(1..10))
    } else {
        Window::Time(millis(rng.u64(1..200) * 10))
    };
    let slow = rng.bool().then(|| Slow { after: millis(50), rate: rate(rng) });
    let in_a_row =
        rng.bool().then(|| InARow { failures: rng.usize(1..6), within: millis(rng.u64(0..500)) });
    let abandoned = Abandoned::FailureAfter(millis(60));
    Settings {
        window,
        failures: rng.bool().then(|| rate(rng)),
        slow,
        in_a_row,
        abandoned: if rng.bool() { Abandoned::Ignored } else { abandoned },
        open_for: millis(rng.u64(1..200)),
        longest: millis(rng.u64(200..1_000)),
        jitter: f64::from(rng.u32(0..5)) * 0.1,
        settled_after: millis(rng.u64(1..500)),
        probes: rng.u32(1..4),
        lease: millis(rng.u64(1..300)),
        ramp: rng.bool().then(|| Ramp { over: millis(rng.u64(1..500)), from: 0.25 }),
    }
}

/// A call under way, as the breaker, the model and the test itself know it.
struct Under {
    number: u64,
    ticket: Ticket,
    leave: (u64, Leave),
    epoch: u64,
}

struct Run<'s> {
    rng: Rng,
    settings: Settings,
    start: Instant,
    now: Instant,
    breaker: Breaker,
    model: Model,
    calls: Vec<Under>,
    admitted: u64,
    last: State,
    /// Ends of the leases of the probes of this epoch that have not been settled.
    leases: Vec<(u64, u64, Instant)>,
    kept_back: u64,
    flushed: Instant,
    seen: &'s mut Seen,
}

impl Run<'_> {
    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn since(&self) -> Duration {
        self.now - self.start
    }

    fn epoch(&self) -> u64 {
        self.breaker.word().bits() >> 4
    }

    fn changed(&mut self, changed: Option<Transition>) {
        if let Some(Transition { from, to, .. }) = changed {
            assert_eq!(from, self.last, "the states follow on each other");
            assert_ne!(from, to);
            self.last = to;
            self.see("transitions");
        }
        assert_eq!(self.last, self.breaker.word().state(), "no change goes unsaid");
        self.model_state_agrees();
        if self.breaker.word().ticket().is_none() {
            // The shell throws away what it kept back, or counts it before it changes anything.
            self.flush();
        }
    }

    fn model_state_agrees(&mut self) {
        let now = self.since();
        assert_eq!(self.breaker.word().state(), self.model.state);
        assert_eq!(self.breaker.mode(), self.model.mode);
        assert_eq!(self.epoch(), self.model.epoch);
        if self.kept_back == 0 {
            assert_eq!(self.breaker.counts(self.now), self.model.counts(now));
        }
    }

    fn flush(&mut self) {
        if self.kept_back > 0 {
            let at = self.flushed - self.start;
            self.breaker.settle_many(self.breaker.word(), self.kept_back, self.flushed);
            self.model.succeeded(self.kept_back, at);
            self.kept_back = 0;
        }
        self.flushed = self.now;
    }

    fn admit(&mut self) {
        let random = self.rng.f64();
        let before = self.breaker.state(self.now);
        let (word, mode) = (self.breaker.word(), self.breaker.mode());
        let admission = self.breaker.admit(self.now, random);
        let expected = self.model.admit(self.since(), random);
        match (admission, expected) {
            (Ok(ticket), Ok(leave)) => {
                let epoch = self.epoch();
                if let Some(by_word) = word.ticket() {
                    assert_eq!(by_word, ticket, "the word gives the same leave");
                    self.see("admitted by the word");
                }
                assert_eq!(ticket.would_be_refused().is_some(), {
                    leave.1 == Leave::Uncounted && mode == Mode::ObserveOnly
                });
                if mode == Mode::Automatic {
                    assert_ne!(before, State::Open, "never admits while open");
                }
                if matches!(leave.1, Leave::Probe(_)) {
                    let lease = self.now + self.settings.lease;
                    self.leases.push((epoch, self.admitted, lease));
                    self.see("probes");
                }
                self.leases.retain(|&(of, _, ends)| of == epoch && self.now < ends);
                assert!(self.leases.len() <= self.settings.probes as usize, "too many probes");
                assert_eq!(self.breaker.probes_under_way(self.now), self.leases.len());
                self.see("admitted");
                let changed = ticket.changed();
                if changed.is_some_and(|changed| changed.cause == Cause::GoodProbes) {
                    self.see("closed by leases");
                }
                self.calls.push(Under { number: self.admitted, ticket, leave, epoch });
                self.admitted += 1;
                self.changed(changed);
            }
            (Err(refused), Err(after)) => {
                assert_eq!(refused.retry_after, after);
                assert!(!after.is_zero());
                assert!(matches!(mode, Mode::Automatic | Mode::ForcedOpen), "nobody is refused");
                if mode == Mode::Automatic {
                    assert_ne!(self.breaker.state(self.now + after), State::Open, "honest");
                }
                self.see(match before {
                    State::Closed => "refused by the ramp",
                    State::Open => "refused while open",
                    State::HalfOpen => "refused while half-open",
                });
                self.changed(refused.changed);
            }
            (admission, expected) => panic!("{admission:?}, but the model {expected:?}"),
        }
    }

    fn settle(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let index = self.rng.usize(..self.calls.len());
        let Under { number, ticket, leave, epoch } = self.calls.swap_remove(index);
        self.leases.retain(|&(_, call, _)| call != number);
        let outcome = match self.rng.u32(..8) {
            0..4 => Outcome::Success,
            4..7 => Outcome::Failure,
            _ => Outcome::Abandoned,
        };
        let took = millis(self.rng.u64(..100));
        let (now, random) = (self.since(), self.rng.f64());
        let word: Word = self.breaker.word();
        if word.batches(&ticket) && outcome == Outcome::Success && took <= millis(50) {
            if self.kept_back == 0 {
                self.flushed = self.now;
            }
            self.kept_back += 1;
            self.see("kept back");
            return;
        }
        self.flush();
        if self.rng.u32(..8) == 0 {
            let asked = millis(self.rng.u64(..2_000));
            let before = self.breaker.clone();
            self.breaker.heed(&ticket, asked, self.now);
            self.model.heed(leave, asked, now);
            assert!(epoch == self.epoch() || self.breaker == before);
        }
        let before = self.breaker.clone();
        let changed = self.breaker.settle(ticket, outcome, took, self.now, random);
        self.model.settle(leave, outcome, took, now, random);
        if epoch != before.word().bits() >> 4 {
            assert!(self.breaker == before, "a straggler changes nothing");
            self.see("stragglers");
        }
        self.changed(changed);
    }

    fn answer(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let index = self.rng.usize(..self.calls.len());
        let (took, now) = (millis(self.rng.u64(..100)), self.since());
        let Under { ticket, leave, .. } = &self.calls[index];
        self.breaker.answered(ticket, took, self.now);
        self.model.answered(*leave, took, now);
        self.see("heads");
    }

    fn operate(&mut self) {
        self.flush();
        let now = self.since();
        let changed = match self.rng.u32(..6) {
            0 => {
                self.model.force(Mode::ForcedOpen, State::Open, now);
                self.breaker.force_open(self.now)
            }
            1 => {
                self.model.force(Mode::ForcedClosed, State::Closed, now);
                self.breaker.force_closed(self.now)
            }
            2 => {
                self.model.force(Mode::Automatic, State::Closed, now);
                self.breaker.reset(self.now)
            }
            3 => {
                self.model.mode = Mode::ObserveOnly;
                self.breaker.observe_only();
                None
            }
            _ => {
                self.model.mode = Mode::Automatic;
                self.breaker.automatic();
                None
            }
        };
        self.changed(changed);
    }

    fn step(&mut self) {
        match self.rng.u32(..100) {
            0..40 => self.admit(),
            40..70 => self.settle(),
            70..78 => self.answer(),
            78..97 => {
                self.now += match self.rng.u32(..10) {
                    0..5 => millis(self.rng.u64(..10)),
                    5..9 => millis(self.rng.u64(..200)),
                    _ => millis(self.rng.u64(..3_000)),
                };
                if self.breaker.slice().is_some_and(|slice| self.now >= self.flushed + slice) {
                    self.flush();
                }
            }
            97 => {
                // Lost: its caller never says how it ended.
                self.calls.pop();
                self.see("lost");
            }
            _ => self.operate(),
        }
    }
}

fn run(seed: u64, steps: usize, start: Instant, seen: &mut Seen) {
    let mut rng = Rng::with_seed(seed);
    let settings = settings(&mut rng);
    let mut run = Run {
        rng,
        settings,
        start,
        now: start,
        breaker: Breaker::new(settings, start),
        model: Model::new(settings),
        calls: Vec::new(),
        admitted: 0,
        last: State::Closed,
        leases: Vec::new(),
        kept_back: 0,
        flushed: start,
        seen,
    };
    for _ in 0..steps {
        run.step();
    }
}

#[test]
fn it_agrees_with_a_model_that_keeps_every_call() {
    let (seed, start) = (seed(), Instant::now());
    println!("{CASES} sequences of up to 150 steps, seed {seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config =
        ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let seen = std::cell::RefCell::new(Seen::new());
    // Of a sequence that fails, the shortest beginning is told.
    let sequences = (any::<u64>().no_shrink(), 0_usize..150);
    let result = runner.run(&sequences, |(seed, steps)| {
        run(seed, steps, start, &mut seen.borrow_mut());
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let mut seen: Vec<_> = seen.into_inner().into_iter().collect();
    seen.sort_unstable();
    println!("{seen:?}");
    assert_eq!(seen.len(), 12, "every kind of thing happened");
}

#[test]
fn successes_kept_back_open_it_at_the_same_calls_as_those_counted_at_once() {
    let (seed, start) = (seed(), Instant::now());
    let mut rng = Rng::with_seed(seed);
    let mut opened = 0;
    for _ in 0..20_000 {
        let settings = Settings { slow: None, ..settings(&mut rng) };
        let (mut one, mut many) = (Breaker::new(settings, start), Breaker::new(settings, start));
        let (mut now, mut kept_back) = (start, 0);
        for _ in 0..60 {
            // At once, or a slice later: as old as its slice is all that a success is.
            let slice = one.slice().unwrap_or(millis(10));
            if rng.u32(..8) == 0 {
                many.settle_many(many.word(), std::mem::take(&mut kept_back), now);
                now += slice;
            }
            let (Ok(to_one), Ok(to_many)) = (one.admit(now, 0.5), many.admit(now, 0.5)) else {
                break;
            };
            if rng.bool() && many.word().batches(&to_many) {
                kept_back += 1;
                one.settle(to_one, Outcome::Success, millis(1), now, 0.5);
                continue;
            }
            many.settle_many(many.word(), std::mem::take(&mut kept_back), now);
            let changed = one.settle(to_one, Outcome::Failure, millis(1), now, 0.5);
            assert_eq!(many.settle(to_many, Outcome::Failure, millis(1), now, 0.5), changed);
            opened += u32::from(changed.is_some());
            assert_eq!(one.counts(now), many.counts(now));
        }
    }
    println!("20000 pairs, {opened} changes, seed {seed}");
    assert!(opened > 1_000);
}
