//! A breaker that many callers share: its lock, and the way past it while all is well.
//!
//! While it is closed, a call costs a load of one word and an addition to one cell. The lock is taken
//! where something else than a success is to be counted, and once a slice of the window.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    breaker::Breaker,
    settings::{Abandoned, Settings},
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
    /// When the successes were last counted, in nanoseconds since the base.
    counted: AtomicU64,
    slice: Option<Duration>,
    /// Until when every call is refused, in nanoseconds since the base; not later, where it is not
    /// settled.
    refuses_until: AtomicU64,
    /// After how long a success is a slow one.
    slow: Option<Duration>,
    abandoned: Abandoned,
    /// Which of many it is.
    name: Option<Box<str>>,
    listener: Listener,
}

impl Shared {
    /// One for all calls, or one of many that has this name; its successes are counted in so many cells.
    pub(super) fn new(
        settings: Settings,
        name: Option<Box<str>>,
        cells: usize,
        listener: Listener,
        now: Instant,
    ) -> Self {
        let breaker = Breaker::new(settings, now);
        Self {
            word: AtomicU64::new(breaker.word().bits()),
            successes: Successes::new(cells),
            base: now,
            counted: AtomicU64::new(0),
            slice: breaker.slice(),
            refuses_until: AtomicU64::new(0),
            slow: settings.slow.map(|slow| slow.after),
            abandoned: settings.abandoned,
            name,
            breaker: Mutex::new(breaker),
            listener,
        }
    }

    /// Whether it refuses everyone now: not where it is one of many, or admits a share of the calls.
    pub(super) fn refuses_all(&self) -> bool {
        self.name.is_none() && !self.word().is_closed()
    }

    /// Whether it admits calls, all or a share of them.
    pub(super) fn is_closed(&self) -> bool {
        self.word().is_closed()
    }

    /// Whether it matters how long a call takes.
    pub(super) fn minds_time(&self) -> bool {
        self.slow.is_some() || self.abandoned != Abandoned::Ignored
    }

    fn word(&self) -> Word {
        // Whoever learned of a change from another thread learned of this word by the same way.
        Word::from_bits(self.word.load(Relaxed))
    }

    pub(super) fn admit(&self) -> Result<Ticket, Refused> {
        match self.word().ticket() {
            Some(ticket) => Ok(ticket),
            None => self.admit_at(Instant::now()),
        }
    }

    /// Where not every call is admitted.
    pub(super) fn admit_at(&self, now: Instant) -> Result<Ticket, Refused> {
        // While it is open, nobody waits for anybody to be refused.
        if let Some(left) = self.refuses_for(now) {
            return Err(Refused::after(left));
        }
        self.with(now, |breaker| breaker.admit(now, fastrand::f64()))
    }

    /// How long it still refuses every call, if that is settled.
    pub(super) fn refuses_for(&self, now: Instant) -> Option<Duration> {
        let until = self.refuses_until.load(Relaxed);
        let left = until.checked_sub(self.nanos(now)).filter(|left| *left > 0);
        left.map(Duration::from_nanos)
    }

    /// The head of an answer has come after so long, and was good.
    pub(super) fn answered(&self, ticket: &Ticket, took: Duration) {
        let now = Instant::now();
        self.with(now, |breaker| breaker.answered(ticket, took, now));
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
        let says_nothing = outcome == Outcome::Abandoned && !self.minds_abandoned(took);
        let decides = ticket.is_probe() && guarded("a probe gives its place back");
        if !word.minds(&ticket) || says_nothing && !decides {
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

    fn minds_abandoned(&self, took: Duration) -> bool {
        matches!(self.abandoned, Abandoned::FailureAfter(lasted) if took >= lasted)
    }

    /// Whether it is time to count the successes so far.
    fn is_due(&self, now: Instant) -> bool {
        let last = self.counted.load(Relaxed);
        self.slice.is_some_and(|slice| {
            u128::from(self.nanos(now).saturating_sub(last)) >= slice.as_nanos()
        })
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.base).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Has the breaker do something, once all successes before are counted.
    fn with<R>(&self, now: Instant, act: impl FnOnce(&mut Breaker) -> R) -> R {
        let mut breaker = lock(&self.breaker);
        let word = breaker.word();
        // They came within a slice of when they were last counted: nobody adds one later than that.
        let since = self.base + Duration::from_nanos(self.counted.load(Relaxed));
        let successes = self.successes.take(word.epoch());
        self.counted.fetch_max(self.nanos(now), Relaxed);
        breaker.settle_many(word, successes, since);
        let result = act(&mut breaker);
        let word = breaker.word().bits();
        let until = breaker.refuses_until().map_or(0, |until| self.nanos(until));
        if !guarded("the word changes under the lock") {
            drop(breaker);
        }
        self.word.store(word, Relaxed);
        self.refuses_until.store(until, Relaxed);
        result
    }

    pub(super) fn changed(&self, change: Option<Transition>) {
        if let Some(change) = change {
            self.listener.tell(&Event::CircuitChanged { change, of: self.name.as_deref() });
        }
    }

    pub(super) fn refused(&self, observed_only: bool) {
        self.listener.tell(&Event::CircuitRefused { observed_only });
    }

    // ===== for the operator =====

    pub(super) fn state(&self, now: Instant) -> State {
        lock(&self.breaker).state(now)
    }

    pub(super) fn mode(&self) -> Mode {
        lock(&self.breaker).mode()
    }

    pub(super) fn counts(&self, now: Instant) -> Counts {
        self.with(now, |breaker| match breaker.state_told() {
            State::Closed => breaker.counts(now),
            State::Open | State::HalfOpen => breaker.opened_by(),
        })
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

    /// Whether it knows nothing that one made anew would not.
    pub(super) fn is_as_new(&self, now: Instant) -> bool {
        self.with(now, |breaker| breaker.is_as_new(now))
    }

    /// Whether it would do nothing, if it were left alone, but admit a call.
    pub(super) fn is_dormant(&self, now: Instant) -> bool {
        lock(&self.breaker).is_dormant(now)
    }
}

/// What is gone is not open any more.
impl Drop for Shared {
    fn drop(&mut self) {
        let from = lock(&self.breaker).state_told();
        // An observer that panics in a panic would end the process.
        if from != State::Closed && !std::thread::panicking() {
            let change = Transition { from, to: State::Closed, cause: Cause::Forgotten };
            self.changed(Some(change));
        }
    }
}
