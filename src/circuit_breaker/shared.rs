//! A breaker that many callers share: its lock, and the way past it while all is well.
//!
//! While it is closed, a call costs a load of one word and an addition to one cell. The lock is taken
//! where something else than a success is to be counted, and once a slice of the window.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    breaker::Breaker,
    settings::Settings,
    state::{Cause, Mode, State, Transition},
    successes::Successes,
    ticket::{Outcome, Refused, Ticket, Word},
    window::Counts,
};
use crate::{
    observe::{Event, Listener},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        guarded, lock,
    },
};

/// A breaker and what is in front of it.
#[derive(Debug)]
pub(super) struct Shared {
    breaker: Mutex<Breaker>,
    /// The breaker's [`Word`], as it was when the lock was last given back.
    word: AtomicU64,
    successes: Successes,
    base: Instant,
    /// When the successes were last counted, in microseconds since the base.
    counted: AtomicU64,
    slice: Option<Duration>,
    /// After how long a success is a slow one.
    slow: Option<Duration>,
    listener: Listener,
}

impl Shared {
    pub(super) fn new(settings: Settings, listener: Listener, now: Instant) -> Self {
        let breaker = Breaker::new(settings, now);
        Self {
            word: AtomicU64::new(breaker.word().bits()),
            successes: Successes::new(),
            base: now,
            counted: AtomicU64::new(0),
            slice: breaker.slice(),
            slow: settings.slow.map(|slow| slow.after),
            breaker: Mutex::new(breaker),
            listener,
        }
    }

    /// Whether it matters when the head of an answer came.
    pub(super) fn minds_slow_calls(&self) -> bool {
        self.slow.is_some()
    }

    fn word(&self) -> Word {
        // Whoever learned of a change from another thread learned of this word by the same way.
        Word::from_bits(self.word.load(Relaxed))
    }

    pub(super) fn admit(&self, now: Instant) -> Result<Ticket, Refused> {
        if let Some(ticket) = self.word().ticket() {
            return Ok(ticket);
        }
        let admitted = self.with(now, |breaker| breaker.admit(now, fastrand::f64()));
        match &admitted {
            Ok(ticket) => {
                self.changed(ticket.changed());
                if ticket.would_be_refused().is_some() {
                    self.listener.tell(&Event::CircuitRefused { observed_only: true });
                }
            }
            Err(_) => self.listener.tell(&Event::CircuitRefused { observed_only: false }),
        }
        admitted
    }

    /// Settles a call whose answer began after `took`, or which lasted so long without one.
    pub(super) fn settle(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        took: Duration,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        let word = self.word();
        let good = outcome == Outcome::Success && self.slow.is_none_or(|slow| took <= slow);
        if good && word.batches(&ticket) {
            if self.is_due(now) {
                self.with(now, |_| ());
            }
            if self.successes.add(word.epoch()) {
                self.with(now, |_| ());
            }
            return;
        }
        let changed = self.with(now, |breaker| {
            if let Some(wait) = retry_after {
                breaker.heed(&ticket, wait, now);
            }
            breaker.settle(ticket, outcome, took, now, fastrand::f64())
        });
        self.changed(changed);
    }

    /// Whether it is time to count the successes so far.
    fn is_due(&self, now: Instant) -> bool {
        let last = self.counted.load(Relaxed);
        self.slice.is_some_and(|slice| {
            u128::from(self.micros(now).saturating_sub(last)) >= slice.as_micros()
        })
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.base).as_micros()).unwrap_or(u64::MAX)
    }

    /// Has the breaker do something, once all successes before are counted.
    fn with<R>(&self, now: Instant, act: impl FnOnce(&mut Breaker) -> R) -> R {
        let mut breaker = lock(&self.breaker);
        let word = breaker.word();
        // They came within a slice of when they were last counted: nobody adds one later than that.
        let since = self.base + Duration::from_micros(self.counted.load(Relaxed));
        let successes = self.successes.take(word.epoch());
        self.counted.store(self.micros(now), Relaxed);
        breaker.settle_many(word, successes, since);
        let result = act(&mut breaker);
        let word = breaker.word().bits();
        if !guarded("the word changes under the lock") {
            drop(breaker);
        }
        self.word.store(word, Relaxed);
        result
    }

    fn changed(&self, transition: Option<Transition>) {
        if let Some(transition) = transition {
            self.listener.tell(&Event::CircuitChanged(transition));
        }
    }

    // ===== for the operator =====

    pub(super) fn state(&self, now: Instant) -> State {
        lock(&self.breaker).state(now)
    }

    pub(super) fn mode(&self) -> Mode {
        lock(&self.breaker).mode()
    }

    pub(super) fn counts(&self, now: Instant) -> Counts {
        self.with(now, |breaker| breaker.counts(now))
    }

    pub(super) fn probes(&self, now: Instant) -> usize {
        lock(&self.breaker).probes_under_way(now)
    }

    /// Has the operator change it.
    pub(super) fn change(
        &self,
        now: Instant,
        change: impl FnOnce(&mut Breaker) -> Option<Transition>,
    ) {
        let changed = self.with(now, change);
        self.changed(changed);
    }

    /// Nobody asks for it any more: what it was is over.
    pub(super) fn forget(&self, now: Instant) {
        let changed = self.with(now, |breaker| breaker.reset(now));
        self.changed(changed.map(|over| Transition { cause: Cause::Forgotten, ..over }));
    }

    /// Whether it would be the same if it were made anew: closed, and told nothing.
    pub(super) fn is_as_new(&self, now: Instant) -> bool {
        self.with(now, |breaker| {
            breaker.mode() == Mode::Automatic
                && breaker.state(now) == State::Closed
                && breaker.counts(now).failures == 0
        })
    }
}
