//! When exactly a breaker opens, and when it never does.

use fastrand::Rng;
use tokio::time::Instant;

use super::{
    circuit_breaker::{
        breaker::Breaker,
        settings::{Rate, Settings},
        ticket::Outcome::{self, Failure, Success},
        window::Window,
    },
    millis, seed,
};

fn call(breaker: &mut Breaker, outcome: Outcome, now: Instant) -> bool {
    let ticket = breaker.admit(now, 0.5).expect("it is closed");
    breaker.settle(ticket, outcome, millis(1), now, 0.5).is_some()
}

/// Failures until it opens, this one included.
fn failures(breaker: &mut Breaker, now: Instant) -> usize {
    (1..=200).find(|_| call(breaker, Failure, now)).expect("it opens")
}

const PERCENTS: [usize; 8] = [1, 7, 20, 29, 50, 58, 93, 100];

fn count_window(size: usize, percent: usize, of_at_least: u64) -> Settings {
    let rate = Rate { share: percent as f64 / 100.0, of_at_least };
    Settings { window: Window::Calls(size), failures: Some(rate), ..Settings::default() }
}

#[test]
fn a_window_of_calls_opens_after_exactly_its_share_of_failures_after_any_number_of_successes() {
    let now = Instant::now();
    let mut cases = 0;
    for size in 1..=50_usize {
        for percent in PERCENTS {
            for least in [1, size / 2, size, size + 7] {
                for before in [0, 1, size / 2, size - 1, size, size + 1, 3 * size, 1_000] {
                    let settings = count_window(size, percent, least as u64);
                    let mut breaker = Breaker::new(settings, now);
                    (0..before).for_each(|_| assert!(!call(&mut breaker, Success, now)));
                    let expected = (1..).find(|&failures| {
                        let calls = (before + failures).min(size);
                        calls >= least.min(size) && failures * 100 >= percent * calls
                    });
                    let got = failures(&mut breaker, now);
                    assert_eq!(Some(got), expected, "{size} {percent} % {least} {before}");
                    if before >= size {
                        assert_eq!(got, (size * percent).div_ceil(100), "{size} {percent} %");
                    }
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} cases");
}

#[test]
fn a_window_of_calls_opens_at_exactly_its_share_of_failures_among_the_last_calls() {
    let (seed, now) = (seed(), Instant::now());
    let mut rng = Rng::with_seed(seed);
    let mut cases = 0;
    for size in 1..=50_usize {
        for percent in PERCENTS {
            let needed = (size * percent).div_ceil(100);
            for _ in 0..20 {
                let mut breaker = Breaker::new(count_window(size, percent, size as u64), now);
                let (mut history, often) = (Vec::new(), rng.f64());
                let opened_with = (0..500).find_map(|_| {
                    let failed = rng.f64() < often;
                    history.push(failed);
                    let last = history.iter().rev().take(size);
                    let failures = last.filter(|&&failed| failed).count();
                    let opens = history.len() >= size && failed && failures >= needed;
                    assert_eq!(
                        call(&mut breaker, if failed { Failure } else { Success }, now),
                        opens,
                        "{size} {percent} % {history:?}"
                    );
                    opens.then_some(failures)
                });
                let first = history.iter().take(size).filter(|&&failed| failed).count();
                if first < needed {
                    // It is never one failure late.
                    assert!(opened_with.is_none_or(|with| with == needed));
                }
                cases += 1;
            }
        }
    }
    println!("{cases} histories, seed {seed}");
}

/// One in a hundred calls fails, of 10,000 a second; the gaps between failures are drawn, and the
/// successes in them counted slice by slice as a shell does.
fn rarely_failing(settings: Settings, hours: u64, seed: u64) -> (u64, u64) {
    let mut rng = Rng::with_seed(seed);
    let start = Instant::now();
    let mut breaker = Breaker::new(settings, start);
    let end = hours * 3600 * 10_000;
    let at = |call: u64| start + std::time::Duration::from_micros(call * 100);
    let (mut calls, mut opened) = (0_u64, 0);
    while calls < end {
        let gap = (rng.f64().max(1e-300).ln() / 0.99_f64.ln()) as u64;
        let word = breaker.word();
        breaker.settle_many(word, gap, at(calls));
        calls += gap + 1;
        let ticket = breaker.word().ticket().expect("it is closed");
        if breaker.settle(ticket, Failure, millis(1), at(calls), 0.5).is_some() {
            opened += 1;
            breaker.reset(at(calls));
        }
    }
    (calls, opened)
}

#[test]
fn one_failure_in_a_hundred_never_opens_it_at_ten_thousand_calls_a_second() {
    let seed = 8;
    for (name, settings) in [
        ("origin", Settings::default()),
        ("store", Settings::store()),
        ("last 100", Settings { window: Window::Calls(100), ..Settings::default() }),
    ] {
        let (calls, opened) = rarely_failing(settings, 6, seed);
        println!("{name}: {calls} calls in 6 h, seed {seed}: opened {opened} times");
        assert_eq!(opened, 0, "{name}");
    }
}

/// ln n!
fn ln_factorial(n: u64) -> f64 {
    (2..=n).map(|k| (k as f64).ln()).sum()
}

/// P(at least `from` of `n` fail), each with probability `p`; as its logarithm to base 10.
fn tail(n: u64, from: u64, p: f64) -> f64 {
    let ln = |k: u64| {
        ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
            + k as f64 * p.ln()
            + (n - k) as f64 * (1.0 - p).ln()
    };
    // The terms fall by p/(1-p) each: a few are the sum.
    (ln(from) + (1..5).map(|k| (ln(from + k) - ln(from)).exp()).sum::<f64>().ln_1p())
        / std::f64::consts::LN_10
}

#[test]
fn the_chance_of_opening_by_chance_is_known() {
    let rate = 10_000.0;
    println!("half of the first 20 calls: 10^{:.1}", tail(20, 10, 0.01));
    println!("half of the last 100 calls: 10^{:.1}", tail(100, 50, 0.01));
    println!("half of 1,000 calls: 10^{:.0}", tail(1_000, 500, 0.01));
    println!("half of 100,000 calls (10 s): 10^{:.0}", tail(100_000, 50_000, 0.01));
    for length in [5, 6, 7, 8, 10] {
        let p = 0.01_f64;
        // The mean number of calls until the first row of so many (Feller I, XIII.7).
        let calls = (1.0 - p.powi(length)) / ((1.0 - p) * p.powi(length));
        let (seconds, day) = (calls / rate, 1.0 - (-86_400.0 * rate / calls).exp());
        println!(
            "{length} in a row: once in {calls:.3e} calls, {:.2e} days; P(24 h) = {day:.2e}",
            seconds / 86_400.0
        );
    }
    // The row of five takes 0.4 ms at this rate, so "within 10 s" says nothing; it does at the rate
    // where failures alone are further apart.
    assert!(tail(20, 10, 0.01) < -14.0);
    // The simulation finds the same mean where rows are short enough to be seen.
    let in_a_row = Settings::store().in_a_row.map(|mut row| {
        row.failures = 3;
        row
    });
    let (calls, opened) = rarely_failing(Settings { in_a_row, ..Settings::store() }, 6, 9);
    let expected = calls as f64 * 0.99 * 1e-6;
    println!("3 in a row in 6 h: opened {opened} times, expected {expected:.0}");
    assert!((opened as f64 - expected).abs() < 5.0 * expected.sqrt());
}
