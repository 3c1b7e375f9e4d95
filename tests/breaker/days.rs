//! A day with an origin that fails in every way it can.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use tokio::time::Instant;

use super::{
    circuit_breaker::{
        breaker::Breaker,
        settings::{Abandoned, Ramp, Rate, Settings, Slow},
        state::State,
        ticket::{Outcome, Ticket},
        window::Window,
    },
    millis,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CALLS_A_SECOND: f64 = 20.0;

#[derive(Clone, Copy, Debug)]
enum Origin {
    Good,
    Down,
    /// Fails so often.
    Flaky(f64),
    /// Answers, after seconds.
    Slow,
    /// Does not answer: callers leave after five seconds, or never.
    Hangs,
    /// Goes up and down every second.
    Flapping,
}

impl Origin {
    fn next(self, rng: &mut Rng) -> (Self, f64) {
        let exponential = |rng: &mut Rng, mean: f64| -mean * (1.0 - rng.f64()).ln();
        if matches!(self, Self::Good) {
            let bad = match rng.u32(..5) {
                0 => Self::Down,
                1 => Self::Flaky(rng.f64()),
                2 => Self::Slow,
                3 => Self::Hangs,
                _ => Self::Flapping,
            };
            (bad, exponential(rng, 60.0))
        } else {
            (Self::Good, exponential(rng, 90.0))
        }
    }

    /// How a call ends and after how long; a lost one never does.
    fn answer(self, at: Duration, rng: &mut Rng) -> Option<(Outcome, Duration)> {
        let quick = millis(rng.u64(1..50));
        let lost = rng.u32(..100) == 0;
        let failing = match self {
            Self::Down => true,
            Self::Flaky(share) => rng.f64() < share,
            Self::Flapping => at.as_secs() % 2 == 1,
            Self::Good | Self::Slow | Self::Hangs => false,
        };
        match self {
            _ if lost => None,
            Self::Hangs if rng.u32(..4) == 0 => None,
            Self::Hangs => Some((Outcome::Abandoned, Duration::from_secs(5))),
            _ if rng.u32(..50) == 0 => Some((Outcome::Abandoned, quick)),
            _ if failing => Some((Outcome::Failure, quick)),
            Self::Slow => Some((Outcome::Success, millis(rng.u64(1_000..4_000)))),
            _ => Some((Outcome::Success, quick)),
        }
    }
}

#[derive(Debug, Default)]
struct Figures {
    calls: u64,
    refused: u64,
    refused_while_good: u64,
    spells: u64,
    opened: u64,
    closed: u64,
    most_in_a_spell: u64,
    /// Of all times the origin got well, the longest until the breaker had closed.
    longest_recovery: Duration,
    checked_closed: u64,
}

fn day(settings: Settings, seed: u64) -> Figures {
    let mut rng = Rng::with_seed(seed);
    let start = Instant::now();
    let mut breaker = Breaker::new(settings, start);
    let mut figures = Figures::default();
    let mut ends: BTreeMap<(Instant, u64), (Ticket, Outcome, Duration)> = BTreeMap::new();
    let (mut origin, mut spell_from, mut spell_until) = (Origin::Good, start, start);
    let (mut now, mut number, mut opened_before) = (start, 0_u64, 0);
    let (mut bad_from, mut was_closed) = (start, true);
    // An origin that is good again: the longest open time, then the leases of lost probes.
    let patience = settings.longest.mul_f64(1.0 + settings.jitter) + 2 * settings.lease;
    while now - start < DAY {
        now += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / CALLS_A_SECOND);
        while let Some(entry) = ends.first_entry().filter(|entry| entry.key().0 <= now) {
            let at = entry.key().0;
            let (ticket, outcome, took) = entry.remove();
            if outcome == Outcome::Failure && rng.u32(..20) == 0 {
                breaker.heed(&ticket, Duration::from_secs(rng.u64(..120)), at);
            }
            if let Some(changed) = breaker.settle(ticket, outcome, took, at, rng.f64()) {
                match changed.to {
                    State::Open => figures.opened += 1,
                    State::Closed => figures.closed += 1,
                    State::HalfOpen => unreachable!("only an admission does that"),
                }
            }
        }
        if now >= spell_until {
            let (next, seconds) = origin.next(&mut rng);
            if matches!(origin, Origin::Good) {
                // A spell, and the good time after it, is over.
                let opened = figures.opened - opened_before;
                let lasted = (now - bad_from).as_secs_f64();
                // Steps that double, and begin anew only after ten seconds closed: at best three
                // openings in 10 + 0.8 + 1.6 + 3.2 s.
                assert!((opened as f64) <= 7.0 + lasted / 5.0, "{opened} in {lasted} s");
                figures.most_in_a_spell = figures.most_in_a_spell.max(opened);
                (opened_before, bad_from) = (figures.opened, now);
                figures.spells += 1;
            }
            was_closed = breaker.state(now) == State::Closed;
            (origin, spell_from) = (next, now);
            spell_until = now + Duration::from_secs_f64(seconds);
        }
        let well = matches!(origin, Origin::Good);
        if well {
            let good_for = now - spell_from;
            let closed = breaker.state(now) == State::Closed;
            if closed && !was_closed {
                was_closed = true;
                figures.longest_recovery = figures.longest_recovery.max(good_for);
            }
            if good_for > patience {
                assert!(closed, "stuck after {good_for:?}: {breaker:?}");
                figures.checked_closed += 1;
            }
        }
        figures.calls += 1;
        match breaker.admit(now, rng.f64()) {
            Err(refused) => {
                assert!(!refused.retry_after.is_zero());
                figures.refused += 1;
                figures.refused_while_good += u64::from(well);
            }
            Ok(ticket) => {
                let leased = breaker.probes_under_way(now);
                assert!(leased <= settings.probes as usize);
                if let Some((outcome, took)) = origin.answer(now - start, &mut rng) {
                    number += 1;
                    ends.insert((now + took, number), (ticket, outcome, took));
                }
            }
        }
    }
    figures
}

#[test]
fn a_day_of_faults_leaves_it_neither_stuck_nor_flapping() {
    let slow = Slow { after: millis(500), rate: Rate { share: 0.5, of_at_least: 20 } };
    let all = Settings {
        slow: Some(slow),
        abandoned: Abandoned::FailureAfter(Duration::from_secs(2)),
        ramp: Some(Ramp { over: Duration::from_secs(5), from: 0.1 }),
        ..Settings::default()
    };
    for (name, settings) in [
        ("origin", Settings::default()),
        ("store", Settings::store()),
        ("all on", all),
        ("last 50 calls", Settings { window: Window::Calls(50), ..all }),
    ] {
        for seed in [1, 2] {
            let figures = day(settings, seed);
            println!("{name}, seed {seed}: {figures:?}");
            assert!(figures.opened > 100 && figures.checked_closed > 10_000, "{name}");
        }
    }
}
