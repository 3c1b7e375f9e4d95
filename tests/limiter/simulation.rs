//! Which limit holds: an origin with a queue and no mercy, asked for too much. Virtual time, seeded.
//!
//! The origin has 20 workers and serves in 50 ms on average (exponential): 400 calls/s at most. What
//! it cannot work on waits in a queue without end, first come, first served. An answer within 500 ms
//! is a good one.
//!
//! | | calls/s | |
//! |---|---|---|
//! | A | 600 | for ten minutes: too much |
//! | B | 420 | for an hour: a little too much, for long |
//! | C | 300 | the origin becomes five times slower for ten minutes: 80 calls/s at most |
//! | D | 200, then 2,000 | for a minute |

use std::{cmp::Reverse, collections::BinaryHeap, fmt, thread, time::Duration};

use crate::load_shed::{
    criticality::{Criticality, Shares},
    limit::{Aimd, Fixed, Limit, Outcome, Sample, Target},
    limiter::Limiter,
};
use tokio::time::Instant;

const MICROS: u64 = 1_000_000;
const MINUTE: u64 = 60;
const GOOD: u64 = MICROS / 2;

/// What is asked, of whom; times in seconds.
#[derive(Clone, Copy)]
struct Scenario {
    workers: usize,
    lasts: u64,
    rate: fn(u64) -> f64,
    /// Of the rate.
    scale: f64,
    slower: fn(u64) -> f64,
    callers: Callers,
}

#[derive(Clone, Copy, PartialEq)]
enum Callers {
    Patient,
    /// They leave after so many microseconds. The origin works for them all the same.
    LeaveAfter(u64),
}

const A: Scenario = Scenario {
    workers: 20,
    lasts: 10 * MINUTE,
    rate: |_| 600.0,
    scale: 1.0,
    slower: |_| 1.0,
    callers: Callers::Patient,
};
const B: Scenario = Scenario { lasts: 60 * MINUTE, rate: |_| 420.0, ..A };
const C: Scenario = Scenario {
    lasts: 14 * MINUTE,
    rate: |_| 300.0,
    slower: |second| if (2 * MINUTE..12 * MINUTE).contains(&second) { 5.0 } else { 1.0 },
    ..A
};
const D: Scenario = Scenario {
    lasts: 3 * MINUTE,
    rate: |second| if (MINUTE..2 * MINUTE).contains(&second) { 2_000.0 } else { 200.0 },
    ..A
};

/// What the origin had answered, and within how long (µs), second by second.
struct Run(Vec<Vec<u64>>);

impl Run {
    fn good(&self, seconds: std::ops::Range<u64>) -> f64 {
        let length = (seconds.end - seconds.start) as f64;
        self.latencies(seconds).filter(|&latency| latency <= GOOD).count() as f64 / length
    }

    fn p99(&self, seconds: std::ops::Range<u64>) -> f64 {
        let mut latencies: Vec<_> = self.latencies(seconds).collect();
        latencies.sort_unstable();
        let rank = latencies.len() * 99 / 100;
        latencies.get(rank).map_or(f64::NAN, |&micros| micros as f64 / 1000.0)
    }

    fn latencies(&self, seconds: std::ops::Range<u64>) -> impl Iterator<Item = u64> + '_ {
        self.0[seconds.start as usize..seconds.end as usize].iter().flatten().copied()
    }
}

/// When a call ends for the limiter; when it began; what was in flight then; how it ended.
type Ending = Reverse<(u64, u64, usize, bool)>;

fn run(scenario: &Scenario, mut limit: Box<dyn Limit>, seed: u64) -> Run {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut exponential = move |mean: f64| (-(1.0 - random.f64()).ln() * mean) as u64;
    let start = Instant::now();
    let limiter = Limiter::new(limit.limit(), &Shares::default(), start);
    let mut answered = vec![Vec::new(); scenario.lasts as usize];
    // When each worker is done with what it was given.
    let mut free: BinaryHeap<Reverse<u64>> = vec![Reverse(0); scenario.workers].into();
    let mut endings: BinaryHeap<Ending> = BinaryHeap::new();
    let mut now = 0;
    while now < scenario.lasts * MICROS {
        while let Some(&Reverse((ends, began, in_flight, left))) = endings.peek()
            && ends <= now
        {
            endings.pop();
            limiter.release(Criticality::Critical);
            let outcome = if left { Outcome::Abandoned } else { Outcome::Success };
            let latency = Duration::from_micros(ends - began);
            limit.sample(
                &Sample { latency, in_flight, outcome },
                start + Duration::from_micros(ends),
            );
            limiter.resize(limit.limit());
            if !left {
                answered[(ends / MICROS) as usize].push(ends - began);
            }
        }
        // The highest class has the whole limit.
        if let Some(in_flight) = limiter.admit(Criticality::Critical) {
            let worker = free.pop().expect("an origin has workers").0;
            let starts = worker.max(now);
            let done = starts + exponential(50_000.0 * (scenario.slower)(starts / MICROS));
            free.push(Reverse(done));
            let leaves = match scenario.callers {
                Callers::LeaveAfter(patience) => now + patience,
                Callers::Patient => u64::MAX,
            };
            endings.push(Reverse((done.min(leaves), now, in_flight, leaves < done)));
        }
        now += exponential(MICROS as f64 / (scenario.scale * (scenario.rate)(now / MICROS))).max(1);
    }
    Run(answered)
}

type Make = fn() -> Box<dyn Limit>;

const LIMITS: [(&str, Make); 7] = [
    ("none", || Box::new(Fixed::new(usize::MAX))),
    ("fixed 30", || Box::new(Fixed::new(30))),
    ("fixed 1024", || Box::new(Fixed::default())),
    ("AIMD", || Box::new(Aimd::default())),
    ("AIMD, smallest 1", || Box::new(Aimd::default().smallest(1))),
    ("target", || Box::new(Target::default())),
    ("target, no floor", || Box::new(Target::default().floor(0.0))),
];

/// Good answers a second, and the 99th percentile of the latency in A and B (ms).
struct Row {
    limit: &'static str,
    a: f64,
    a_p99: f64,
    b: f64,
    b_p99: f64,
    slow_at_first: f64,
    slow_later: f64,
    healed: f64,
    d: f64,
}

impl Row {
    fn new(limit: &'static str, make: Make, of: impl Fn(Scenario) -> Scenario) -> Self {
        let [a, b, c, d] = [A, B, C, D].map(|scenario| run(&of(scenario), make(), 1));
        Self {
            limit,
            a: a.good(MINUTE..10 * MINUTE),
            a_p99: a.p99(MINUTE..10 * MINUTE),
            b: b.good(50 * MINUTE..60 * MINUTE),
            b_p99: b.p99(50 * MINUTE..60 * MINUTE),
            slow_at_first: c.good(2 * MINUTE..4 * MINUTE),
            slow_later: c.good(4 * MINUTE..12 * MINUTE),
            healed: c.good(12 * MINUTE + 5..14 * MINUTE),
            d: d.good(MINUTE..2 * MINUTE),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, a, a_p99, b, b_p99, slow_at_first, slow_later, healed, d } = self;
        write!(
            f,
            "| {limit:16} | {a:5.1} ({a_p99:6.0}) | {b:5.1} ({b_p99:6.0}) \
             | {slow_at_first:4.1} / {slow_later:4.1}, then {healed:5.1} | {d:5.1} |"
        )
    }
}

fn table(title: &str, of: impl Fn(Scenario) -> Scenario + Sync) -> Vec<Row> {
    let rows: Vec<_> = thread::scope(|scope| {
        let of = &of;
        let running = LIMITS.map(|(name, make)| scope.spawn(move || Row::new(name, make, of)));
        running.into_iter().map(|row| row.join().expect("a run does not panic")).collect()
    });
    println!("\n{title}: good/s (p99 ms)");
    println!(
        "| limit            | A              | B              | C                        | D     |"
    );
    println!(
        "|------------------|----------------|----------------|--------------------------|-------|"
    );
    for row in &rows {
        println!("{row}");
    }
    rows
}

fn row<'r>(rows: &'r [Row], limit: &str) -> &'r Row {
    rows.iter().find(|row| row.limit == limit).expect("it is in the table")
}

#[test]
fn the_target_holds_under_each_load_and_without_a_floor_it_collapses() {
    let rows = table("20 workers", |scenario| scenario);

    // The load is one that no limit, or a limit far too high, does not survive.
    for name in ["none", "fixed 1024"] {
        let none = row(&rows, name);
        assert!(none.a < 1.0 && none.b < 1.0 && none.slow_later < 1.0 && none.d < 10.0, "{none}");
    }
    let fixed = row(&rows, "fixed 30");
    assert!(fixed.a > 380.0 && fixed.slow_later > 56.0 && fixed.d > 380.0, "{fixed}");
    let target = row(&rows, "target");
    assert!(target.a > 360.0 && target.b > 360.0 && target.d > 360.0, "{target}");
    assert!(target.slow_at_first >= 40.0 && target.slow_later >= 40.0, "{target}");
    assert!(target.healed > 285.0, "{target}");
    assert!(target.a_p99 < 500.0 && target.b_p99 < 500.0, "{target}");
    let aimd = row(&rows, "AIMD");
    assert!(aimd.a > 360.0 && aimd.b > 360.0 && aimd.d > 360.0, "{aimd}");
    assert!(aimd.slow_at_first >= 60.0 && aimd.slow_later >= 60.0, "{aimd}");

    let collapsed = row(&rows, "target, no floor");
    assert!(collapsed.a > 360.0 && collapsed.d > 360.0, "{collapsed}");
    assert!(collapsed.slow_at_first < 10.0 && collapsed.slow_later < 10.0, "{collapsed}");
}

#[test]
fn a_small_origin_is_asked_for_as_little_as_it_can_take() {
    // A fifth of everything.
    let rows = table("4 workers", |scenario| Scenario { scale: 0.2, workers: 4, ..scenario });
    let target = row(&rows, "target");
    assert!(target.a > 72.0 && target.b > 68.0 && target.d > 72.0, "{target}");
    assert!(target.slow_at_first > 8.0 && target.slow_later > 8.0, "{target}");
    // Whoever chose a number for another origin.
    for name in ["fixed 30", "AIMD", "target, no floor"] {
        let other = row(&rows, name);
        assert!(other.slow_later < target.slow_later / 2.0, "{other}");
    }
}

/// Takes no notice of some calls.
#[derive(Debug)]
struct Deaf<L>(L, Outcome);

impl<L: Limit> Limit for Deaf<L> {
    fn limit(&self) -> usize {
        self.0.limit()
    }

    fn sample(&mut self, sample: &Sample, now: Instant) {
        if sample.outcome != self.1 {
            self.0.sample(sample, now);
        }
    }
}

#[test]
fn callers_that_leave_are_heard() {
    println!("\nslow origin, callers leave: good/s while it is slow, and once it has healed");
    println!("| workers | they leave after | target        | not told of them |");
    println!("|---------|------------------|---------------|------------------|");
    for (workers, scale) in [(20, 1.0), (4, 0.2)] {
        // Below the target of 250 ms too: then every answer that is seen at all is a quick one.
        for (patience, while_slow) in [(200, 25.0), (300, 40.0), (500, 40.0)] {
            let callers = Callers::LeaveAfter(patience * 1000);
            let leaving = Scenario { workers, scale, callers, ..C };
            let of = |limit: Box<dyn Limit>| {
                let run = run(&leaving, limit, 1);
                (run.good(4 * MINUTE..12 * MINUTE), run.good(12 * MINUTE + 5..14 * MINUTE))
            };
            let (slow, healed) = of(Box::<Target>::default());
            let (deaf, dead) = of(Box::new(Deaf(Target::default(), Outcome::Abandoned)));
            println!(
                "| {workers:7} | {patience:13} ms | {slow:5.1}, {healed:5.1}  | {deaf:5.1}, {dead:5.1}     |"
            );
            assert!(slow > while_slow * scale * 0.9, "{slow}");
            assert!(healed > 300.0 * scale * 0.9, "{healed}");
            assert!(deaf < 1.0, "{deaf}");
        }
    }
}

#[test]
fn a_process_that_has_just_started_finds_a_large_origin_in_seconds() {
    let large = Scenario { workers: 500, rate: |_| 8_000.0, lasts: 20, ..A };
    let target = run(&large, Box::new(Target::default()), 1);
    let good: Vec<_> = (0..20).map(|second| target.good(second..second + 1)).collect();
    println!("8,000 calls/s at an origin of 500 workers, from the first second on: {good:?}");
    assert!(target.good(5..20) > 7_600.0);
}
