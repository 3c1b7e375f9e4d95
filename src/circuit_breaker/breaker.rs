//! A breaker that admits calls while they end well, refuses them once too many do not, and finds
//! out by a few probes when they would again. Pure: no clock, no lock, no random source.
//!
//! | state | admits | becomes |
//! |---|---|---|
//! | closed | all calls; while it ramps up, a growing share | open, at a call that ends badly or slowly |
//! | open | none | half-open, at the first call after its time |
//! | half-open | so many probes at once | closed by as many good ones, open for longer by a bad one |
//!
//! Every change begins a new epoch, and what was admitted in an earlier one says nothing any more.
//! A call that ends well never opens it, even if it completes the minimum of calls. So it makes no
//! difference when successes are counted, as long as they are before the next call that ends
//! otherwise: [`Word`] and [`Breaker::settle_many`] build on that.
//!
//! Instants that go back a little, as they do between threads, do no harm.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    half_open::Probes,
    row::Row,
    settings::{Abandoned, Settings},
    state::{Cause, Mode, State, Transition},
    ticket::{Outcome, Place, Refused, Ticket, Word},
    window::{Counts, Ended, Tally},
};

/// The state machine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Breaker {
    settings: Settings,
    mode: Mode,
    phase: Phase,
    epoch: u64,
    tally: Tally,
    row: Option<Row>,
    /// What opened it the last time.
    opened_by: Counts,
    /// How often it has opened since it last was closed for a while.
    openings: u32,
    /// The origin asked to be left alone until then.
    asked_until: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Closed { since: Instant, ramps: bool },
    Open { until: Instant },
    HalfOpen(Probes),
}

impl Phase {
    fn state(&self) -> State {
        match self {
            Self::Closed { .. } => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen(_) => State::HalfOpen,
        }
    }
}

impl Breaker {
    /// A closed one, with settings taken to within their bounds.
    pub(crate) fn new(settings: Settings, now: Instant) -> Self {
        let settings = settings.clamped();
        Self {
            mode: Mode::Automatic,
            phase: Phase::Closed { since: now, ramps: false },
            epoch: 0,
            tally: Tally::new(settings.window, now),
            row: settings.in_a_row.map(|row| Row::new(row.failures, row.within)),
            opened_by: Counts::default(),
            openings: 0,
            asked_until: None,
            settings,
        }
    }

    /// Whether one more call may be made; `random` is drawn from [0, 1).
    pub(crate) fn admit(&mut self, now: Instant, random: f64) -> Result<Ticket, Refused> {
        match self.mode {
            Mode::Automatic => self.decide(now, random),
            Mode::ObserveOnly => self.decide(now, random).or_else(|refused| {
                let ticket = Ticket::new(self.epoch, Place::Uncounted(Some(refused)));
                Ok(Ticket { changed: refused.changed, ..ticket })
            }),
            Mode::ForcedOpen => Err(Refused::after(self.settings.open_for)),
            Mode::ForcedClosed => Ok(Ticket::new(self.epoch, Place::Uncounted(None))),
        }
    }

    fn decide(&mut self, now: Instant, random: f64) -> Result<Ticket, Refused> {
        let mut changed = None;
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Err(Refused::after(until - now));
            }
            changed = self.enter(Phase::HalfOpen(Probes::default()), Cause::TimeOver);
        }
        let Settings { probes: wanted, lease, open_for, ramp, .. } = self.settings;
        if let Phase::HalfOpen(probes) = &mut self.phase
            && probes.expire(wanted, now)
        {
            changed = self.close(now);
        }
        let place = match &mut self.phase {
            Phase::HalfOpen(probes) => match probes.begin(wanted, lease, now) {
                Ok(probe) => Place::Probe(probe),
                // Most probes end long before their lease does.
                Err(lease_left) => return Err(Refused::after(lease_left.min(open_for))),
            },
            Phase::Closed { since, ramps } => {
                let passed = now.duration_since(*since);
                match ramp.filter(|ramp| *ramps && passed < ramp.over) {
                    Some(ramp) => {
                        let done = passed.as_secs_f64() / ramp.over.as_secs_f64();
                        if random >= ramp.from + (1.0 - ramp.from) * done {
                            let left = (ramp.over - passed).min(open_for);
                            return Err(Refused { changed, ..Refused::after(left) });
                        }
                    }
                    None => *ramps = false,
                }
                Place::Call
            }
            Phase::Open { .. } => unreachable!("it has just become half-open"),
        };
        Ok(Ticket { changed, ..Ticket::new(self.epoch, place) })
    }

    /// Notes that the head of the answer to this call has come, after so long, and was good.
    pub(crate) fn answered(&mut self, ticket: &Ticket, took: Duration, now: Instant) {
        if let (Phase::HalfOpen(probes), Place::Probe(probe)) = (&mut self.phase, ticket.place)
            && ticket.epoch == self.epoch
            && self.settings.slow.is_none_or(|slow| took <= slow.after)
        {
            probes.answered(probe, now);
        }
    }

    /// Notes that the answer to this call asks to be left alone for so long, before the call is
    /// settled: if it opens the breaker, or another soon does, it stays open at least until then.
    pub(crate) fn heed(&mut self, ticket: &Ticket, retry_after: Duration, now: Instant) {
        if ticket.epoch == self.epoch && !matches!(ticket.place, Place::Uncounted(_)) {
            let until = now + retry_after.min(self.settings.longest);
            self.asked_until = self.asked_until.max(Some(until));
        }
    }

    /// Takes a ticket back: how its call ended, and after how long; `random` is drawn from [0, 1).
    pub(crate) fn settle(
        &mut self,
        Ticket { epoch, place, .. }: Ticket,
        outcome: Outcome,
        took: Duration,
        now: Instant,
        random: f64,
    ) -> Option<Transition> {
        if epoch != self.epoch {
            return None;
        }
        let ended = self.ended(outcome, took);
        let cause = match (&mut self.phase, place) {
            (Phase::Closed { .. }, Place::Call) => self.count(ended?, now)?,
            (Phase::HalfOpen(probes), Place::Probe(probe)) => {
                let wanted = self.settings.probes;
                // Its lease may have ended, with nobody there to see.
                let enough = probes.expire(wanted, now);
                probes.end(probe);
                match ended {
                    None if enough => return self.close(now),
                    None => return None,
                    Some(Ended::Badly | Ended::BadlyAndSlowly) => Cause::FailedProbe,
                    Some(Ended::Slowly) => Cause::SlowProbe,
                    Some(Ended::Well) if probes.good(probe, wanted) => return self.close(now),
                    Some(Ended::Well) => return None,
                }
            }
            _ => return None,
        };
        self.open(cause, now, random)
    }

    /// Counts calls that ended well and in time, of tickets that the [`Word`] of this epoch gave;
    /// `since` is when the first of them may have ended.
    ///
    /// To be called before any other call is settled, and once a [`slice`](Self::slice) at least.
    pub(crate) fn settle_many(&mut self, word: Word, successes: u64, since: Instant) {
        if successes > 0 && word.epoch() == self.epoch && word.counts() {
            self.tally.record(successes, Ended::Well, since);
            self.row.iter_mut().for_each(Row::broken);
        }
    }

    /// How long successes may be kept back for [`settle_many`](Self::settle_many).
    pub(crate) fn slice(&self) -> Option<Duration> {
        self.tally.slice()
    }

    /// What the steady path needs to know; it may be another after every call of a method here.
    pub(crate) fn word(&self) -> Word {
        let (admits_all, counts) = match (self.mode, &self.phase) {
            (Mode::ForcedClosed, _) => (true, false),
            (Mode::Automatic | Mode::ObserveOnly, Phase::Closed { ramps, .. }) => (!ramps, true),
            _ => (false, false),
        };
        Word::new(self.epoch, self.phase.state(), admits_all, counts)
    }

    /// What a call would meet now.
    pub(crate) fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Open { until } if now >= until && self.mode != Mode::ForcedOpen => {
                State::HalfOpen
            }
            _ => self.phase.state(),
        }
    }

    /// The state since the last change; open even if its time is over.
    pub(crate) fn state_told(&self) -> State {
        self.phase.state()
    }

    /// Who decides.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Until when it refuses every call, if it is open and decides by itself.
    pub(crate) fn refuses_until(&self) -> Option<Instant> {
        match (self.mode, &self.phase) {
            (Mode::Automatic, Phase::Open { until }) => Some(*until),
            _ => None,
        }
    }

    /// Whether it knows nothing that one made anew would not.
    pub(crate) fn is_as_new(&mut self, now: Instant) -> bool {
        let Phase::Closed { since, ramps: false } = self.phase else {
            return false;
        };
        let Counts { failures, slow, .. } = self.tally.counts(now);
        self.mode == Mode::Automatic
            && failures + slow == 0
            && self.row.as_ref().is_none_or(Row::is_empty)
            && (self.openings == 0 || now.duration_since(since) >= self.settings.settled_after)
    }

    /// Whether it would do nothing, if it were left alone, but admit a call.
    pub(crate) fn is_dormant(&self, now: Instant) -> bool {
        self.mode == Mode::Automatic && self.refuses_until().is_none_or(|until| until <= now)
    }

    /// The calls of the window since it closed.
    pub(crate) fn counts(&mut self, now: Instant) -> Counts {
        self.tally.counts(now)
    }

    /// The calls that opened it; while it is closed, none.
    pub(crate) fn opened_by(&self) -> Counts {
        self.opened_by
    }

    /// How many probes hold a place.
    pub(crate) fn probes_under_way(&self, now: Instant) -> usize {
        match &self.phase {
            Phase::HalfOpen(probes) => probes.under_way(now),
            Phase::Closed { .. } | Phase::Open { .. } => 0,
        }
    }

    /// Refuses all calls until told otherwise; then probes decide.
    pub(crate) fn force_open(&mut self, now: Instant) -> Option<Transition> {
        self.forget();
        self.mode = Mode::ForcedOpen;
        self.enter(Phase::Open { until: now }, Cause::Operator)
    }

    /// Admits all calls until told otherwise; then it begins anew, closed.
    pub(crate) fn force_closed(&mut self, now: Instant) -> Option<Transition> {
        self.forget();
        self.mode = Mode::ForcedClosed;
        self.enter(Phase::Closed { since: now, ramps: false }, Cause::Operator)
    }

    /// Goes on, but refuses nobody: a call that it would refuse is admitted and not counted.
    pub(crate) fn observe_only(&mut self) {
        self.mode = Mode::ObserveOnly;
    }

    /// Decides again: from where it stands, also if it only observed.
    pub(crate) fn automatic(&mut self) {
        self.mode = Mode::Automatic;
    }

    /// Forgets all it knows and decides anew, closed.
    pub(crate) fn reset(&mut self, now: Instant) -> Option<Transition> {
        self.forget();
        self.mode = Mode::Automatic;
        self.enter(Phase::Closed { since: now, ramps: false }, Cause::Operator)
    }

    fn forget(&mut self) {
        self.openings = 0;
        (self.asked_until, self.opened_by) = (None, Counts::default());
    }

    fn ended(&self, outcome: Outcome, took: Duration) -> Option<Ended> {
        let slow = self.settings.slow.is_some_and(|slow| took > slow.after);
        let failed = match (outcome, self.settings.abandoned) {
            (Outcome::Success, _) => false,
            (Outcome::Failure, _) => true,
            (Outcome::Abandoned, Abandoned::FailureAfter(time)) if took >= time => true,
            (Outcome::Abandoned, _) => return None,
        };
        Some(match (failed, slow) {
            (false, false) => Ended::Well,
            (false, true) => Ended::Slowly,
            (true, false) => Ended::Badly,
            (true, true) => Ended::BadlyAndSlowly,
        })
    }

    /// Counts one call: why it opens the breaker.
    fn count(&mut self, ended: Ended, now: Instant) -> Option<Cause> {
        self.tally.record(1, ended, now);
        let row_is_complete = match (&mut self.row, ended) {
            (Some(row), Ended::Badly | Ended::BadlyAndSlowly) => row.failed(now),
            (Some(row), Ended::Well | Ended::Slowly) => {
                row.broken();
                false
            }
            (None, _) => false,
        };
        if ended == Ended::Well {
            return None;
        }
        let Counts { calls, failures, slow } = self.tally.counts(now);
        if self.settings.failures.is_some_and(|rate| rate.is_reached(failures, calls)) {
            Some(Cause::Failures)
        } else if row_is_complete {
            Some(Cause::InARow)
        } else if self.settings.slow.is_some_and(|too| too.rate.is_reached(slow, calls)) {
            Some(Cause::SlowCalls)
        } else {
            None
        }
    }

    fn open(&mut self, cause: Cause, now: Instant, random: f64) -> Option<Transition> {
        if let Phase::Closed { since, .. } = self.phase
            && now.duration_since(since) >= self.settings.settled_after
        {
            self.openings = 0;
        }
        if self.phase.state() == State::Closed {
            self.opened_by = self.tally.counts(now);
        }
        let until = now + self.settings.open_time(self.openings, random);
        self.openings = self.openings.saturating_add(1);
        let until = self.asked_until.map_or(until, |asked| asked.max(until));
        self.enter(Phase::Open { until }, cause)
    }

    fn close(&mut self, now: Instant) -> Option<Transition> {
        (self.asked_until, self.opened_by) = (None, Counts::default());
        let ramps = self.settings.ramp.is_some();
        self.enter(Phase::Closed { since: now, ramps }, Cause::GoodProbes)
    }

    fn enter(&mut self, phase: Phase, cause: Cause) -> Option<Transition> {
        let (from, to) = (self.phase.state(), phase.state());
        self.phase = phase;
        self.epoch += 1;
        self.tally.clear();
        self.row.iter_mut().for_each(Row::broken);
        (from != to).then_some(Transition { from, to, cause })
    }
}
