//! The model: a list of all that happened, gone through again for every question.

use std::time::Duration;

use super::{
    circuit_breaker::{
        settings::{Abandoned, Rate, Settings},
        state::{Mode, State},
        ticket::Outcome,
        window::{Counts, Window},
    },
    millis,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    at: Duration,
    failed: bool,
    slow: bool,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    lease_ends: Duration,
    answered: bool,
    counted: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Leave {
    Call,
    Probe(usize),
    Uncounted,
}

/// What an admission came to: the epoch and the leave, or after how long to come back.
pub(crate) type Admission = Result<(u64, Leave), Duration>;

/// Times are since it was made.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    settings: Settings,
    pub(crate) mode: Mode,
    pub(crate) state: State,
    pub(crate) epoch: u64,
    calls: Vec<Call>,
    probes: Vec<Probe>,
    good: u32,
    closed_at: Duration,
    ramps: bool,
    open_until: Duration,
    openings: u32,
    asked_until: Duration,
}

impl Model {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            mode: Mode::Automatic,
            state: State::Closed,
            epoch: 0,
            calls: Vec::new(),
            probes: Vec::new(),
            good: 0,
            closed_at: Duration::ZERO,
            ramps: false,
            open_until: Duration::ZERO,
            openings: 0,
            asked_until: Duration::ZERO,
        }
    }

    pub(crate) fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
        self.calls.clear();
        self.probes.clear();
        self.good = 0;
    }

    pub(crate) fn force(&mut self, mode: Mode, state: State, now: Duration) {
        self.enter(state);
        (self.mode, self.closed_at, self.open_until) = (mode, now, now);
        (self.openings, self.asked_until, self.ramps) = (0, Duration::ZERO, false);
    }

    pub(crate) fn admit(&mut self, now: Duration, random: f64) -> Admission {
        match self.mode {
            Mode::ForcedOpen => Err(self.settings.open_for),
            Mode::ForcedClosed => Ok((self.epoch, Leave::Uncounted)),
            Mode::Automatic => self.decide(now, random),
            Mode::ObserveOnly => {
                let decided = self.decide(now, random);
                Ok(decided.unwrap_or((self.epoch, Leave::Uncounted)))
            }
        }
    }

    fn decide(&mut self, now: Duration, random: f64) -> Admission {
        if self.state == State::Open && now >= self.open_until {
            self.enter(State::HalfOpen);
        }
        if self.state == State::HalfOpen && self.enough(now) {
            self.close(now);
        }
        let refused = |after: Duration| Err(after.max(millis(1)));
        match self.state {
            State::Open => refused(self.open_until - now),
            State::HalfOpen => {
                let live = || self.probes.iter().filter(|p| !p.ended && p.lease_ends > now);
                if live().count() as u32 + self.good >= self.settings.probes {
                    let first = live().map(|probe| probe.lease_ends).min().expect("one is live");
                    return refused((first - now).min(self.settings.open_for));
                }
                let lease_ends = now + self.settings.lease;
                let probe = Probe { lease_ends, answered: false, counted: false, ended: false };
                self.probes.push(probe);
                Ok((self.epoch, Leave::Probe(self.probes.len() - 1)))
            }
            State::Closed => {
                if let (true, Some(ramp)) = (self.ramps, self.settings.ramp) {
                    let passed = now - self.closed_at;
                    let done = passed.as_secs_f64() / ramp.over.as_secs_f64();
                    if passed < ramp.over && random >= ramp.from + (1.0 - ramp.from) * done {
                        return refused((ramp.over - passed).min(self.settings.open_for));
                    }
                }
                Ok((self.epoch, Leave::Call))
            }
        }
    }

    pub(crate) fn heed(&mut self, (epoch, leave): (u64, Leave), asked: Duration, now: Duration) {
        if epoch == self.epoch && leave != Leave::Uncounted {
            let until = now + asked.min(self.settings.longest);
            self.asked_until = self.asked_until.max(until);
        }
    }

    /// Whether as many probes as are wanted were good, or are by the end of their leases.
    fn enough(&mut self, now: Duration) -> bool {
        let over = |probe: &&mut Probe| !probe.ended && probe.lease_ends <= now;
        for probe in self.probes.iter_mut().filter(over) {
            if probe.answered && !std::mem::replace(&mut probe.counted, true) {
                self.good += 1;
            }
        }
        self.good >= self.settings.probes
    }

    pub(crate) fn answered(&mut self, (epoch, leave): (u64, Leave), took: Duration, now: Duration) {
        let slow = self.settings.slow.is_some_and(|slow| took > slow.after);
        if let (Leave::Probe(probe), false) = (leave, slow)
            && epoch == self.epoch
        {
            let probe = &mut self.probes[probe];
            probe.answered |= now < probe.lease_ends;
        }
    }

    pub(crate) fn succeeded(&mut self, calls: u64, at: Duration) {
        for _ in 0..calls {
            self.calls.push(Call { at, failed: false, slow: false });
        }
    }

    pub(crate) fn settle(
        &mut self,
        (epoch, leave): (u64, Leave),
        outcome: Outcome,
        took: Duration,
        now: Duration,
        random: f64,
    ) {
        if epoch != self.epoch {
            return;
        }
        let slow = self.settings.slow.is_some_and(|slow| took > slow.after);
        let says = match outcome {
            Outcome::Success => Some(false),
            Outcome::Failure => Some(true),
            Outcome::Abandoned => match self.settings.abandoned {
                Abandoned::FailureAfter(time) if took >= time => Some(true),
                _ => None,
            },
        };
        match leave {
            Leave::Uncounted => {}
            Leave::Probe(probe) => {
                let enough = self.enough(now);
                self.probes[probe].ended = true;
                match says {
                    None if enough => self.close(now),
                    None => {}
                    Some(failed) if failed || slow => self.open(now, random),
                    Some(_) => {
                        self.good += u32::from(!self.probes[probe].counted);
                        if self.good >= self.settings.probes {
                            self.close(now);
                        }
                    }
                }
            }
            Leave::Call => {
                let Some(failed) = says else { return };
                self.calls.push(Call { at: now, failed, slow });
                if (failed || slow) && self.is_too_bad(now) {
                    self.open(now, random);
                }
            }
        }
    }

    fn close(&mut self, now: Duration) {
        self.enter(State::Closed);
        (self.closed_at, self.asked_until) = (now, Duration::ZERO);
        self.ramps = true;
    }

    fn open(&mut self, now: Duration, random: f64) {
        let settled_after = match self.settings.window {
            Window::Time(span) => self.settings.settled_after.max(span),
            Window::Calls(_) => self.settings.settled_after,
        };
        if self.state == State::Closed && now - self.closed_at >= settled_after {
            self.openings = 0;
        }
        let mut time = self.settings.open_for;
        for _ in 0..self.openings {
            time = (time * 2).min(self.settings.longest);
        }
        let until = now + time.mul_f64(1.0 + self.settings.jitter * (2.0 * random - 1.0));
        self.open_until = until.max(self.asked_until);
        self.openings += 1;
        self.enter(State::Open);
    }

    fn window(&self, now: Duration) -> Vec<Call> {
        match self.settings.window {
            Window::Calls(size) => self.calls.iter().rev().take(size).copied().collect(),
            Window::Time(span) => {
                let slice = |at: Duration| at.as_nanos() / (span / 10).as_nanos();
                let counts = |call: &&Call| slice(call.at) + 10 > slice(now);
                self.calls.iter().filter(counts).copied().collect()
            }
        }
    }

    pub(crate) fn counts(&self, now: Duration) -> Counts {
        let window = self.window(now);
        let count = |which: fn(&Call) -> bool| window.iter().filter(|call| which(call)).count();
        let (failures, slow) = (count(|call| call.failed), count(|call| call.slow));
        Counts { calls: window.len() as u64, failures: failures as u64, slow: slow as u64 }
    }

    fn is_too_bad(&self, now: Duration) -> bool {
        let Counts { calls, failures, slow } = self.counts(now);
        let reached = |rate: Rate, bad: u64| {
            let percent = (rate.share * 100.0).round() as u64;
            let least = match self.settings.window {
                Window::Calls(size) => rate.of_at_least.min(size as u64),
                Window::Time(_) => rate.of_at_least,
            };
            calls >= least && bad > 0 && bad >= (percent * calls).div_ceil(100)
        };
        let row: Vec<_> = self.calls.iter().rev().take_while(|call| call.failed).collect();
        self.settings.failures.is_some_and(|rate| reached(rate, failures))
            || self.settings.slow.is_some_and(|too| reached(too.rate, slow))
            || self.settings.in_a_row.is_some_and(|wanted| {
                row.len() >= wanted.failures
                    && now - row[wanted.failures - 1].at <= wanted.within
                    && self.calls.last().is_some_and(|call| call.failed)
            })
    }
}
