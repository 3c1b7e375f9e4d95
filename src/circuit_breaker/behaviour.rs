//! What the breaker promises, one sentence at a time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tokio::time::Instant;

use super::{
    breaker::Breaker,
    settings::{Abandoned, InARow, Ramp, Rate, Settings, Slow},
    state::{Cause, Mode, State, Transition},
    ticket::{Outcome, Refused, Ticket, Word},
    window::{Counts, Window},
};

use Outcome::{Failure, Success};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const QUICK: Duration = millis(1);

/// A breaker with a clock, and no luck either way.
struct Bench {
    breaker: Breaker,
    now: Instant,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        Self { breaker: Breaker::new(settings, now), now }
    }

    fn admit(&mut self) -> Result<Ticket, Refused> {
        self.breaker.admit(self.now, 0.5)
    }

    fn end(&mut self, ticket: Ticket, outcome: Outcome) -> Option<Transition> {
        self.breaker.settle(ticket, outcome, QUICK, self.now, 0.5)
    }

    fn call(&mut self, outcome: Outcome) -> Option<Transition> {
        let ticket = self.admit().unwrap();
        self.end(ticket, outcome)
    }

    fn calls(&mut self, calls: usize, outcome: Outcome) -> Option<Transition> {
        (0..calls).fold(None, |changed, _| changed.or(self.call(outcome)))
    }

    fn state(&self) -> State {
        self.breaker.state(self.now)
    }

    fn trip(&mut self) {
        self.calls(20, Failure).unwrap();
    }

    /// Until it is half-open.
    fn wait(&mut self) -> Duration {
        let wait = self.admit().unwrap_err().retry_after;
        self.now += wait;
        wait
    }
}

#[tokio::test(start_paused = true)]
async fn it_opens_at_exactly_the_minimum_of_calls_and_says_when_to_retry() {
    let mut bench = Bench::new(Settings::default());
    assert_eq!(bench.calls(19, Failure), None);
    let opened = Transition { from: State::Closed, to: State::Open, cause: Cause::Failures };
    assert_eq!(bench.call(Failure), Some(opened));
    bench.now += millis(400);
    assert_eq!(bench.admit(), Err(Refused::after(millis(600))));
    bench.now += Duration::from_nanos(599_999_999);
    assert_eq!(bench.admit(), Err(Refused::after(millis(1))));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_well_never_opens_it() {
    let mut bench = Bench::new(Settings::default());
    bench.calls(15, Failure);
    assert_eq!(bench.calls(5, Success), None);
    assert!(bench.call(Failure).is_some());
}

#[tokio::test(start_paused = true)]
async fn three_good_probes_close_it_and_a_bad_one_opens_it_for_longer() {
    let mut bench = Bench::new(Settings::default());
    bench.trip();
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(bench.wait(), Duration::from_secs(seconds));
        assert_eq!(bench.calls(2, Success), None);
        let failed = Some((State::Open, Cause::FailedProbe));
        assert_eq!(bench.call(Failure).map(|changed| (changed.to, changed.cause)), failed);
    }
    bench.wait();
    let changed = bench.admit().unwrap().changed();
    assert_eq!(changed.map(|changed| changed.cause), Some(Cause::TimeOver));
    assert_eq!(bench.calls(2, Success), None);
    assert_eq!(bench.state(), State::HalfOpen);
    bench.now += Settings::default().lease;
    assert_eq!(bench.call(Success).map(|changed| changed.to), Some(State::Closed));
}

#[tokio::test(start_paused = true)]
async fn the_time_is_a_first_time_again_only_once_it_was_closed_for_a_while() {
    let mut bench = Bench::new(Settings::default());
    bench.trip();
    for (closed_for, next) in [(9_999, 2_000), (10_000, 1_000), (0, 2_000), (0, 4_000)] {
        bench.wait();
        bench.calls(3, Success).unwrap();
        bench.now += millis(closed_for);
        bench.trip();
        assert_eq!(bench.admit(), Err(Refused::after(millis(next))));
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_are_under_way_than_permitted_however_many_call() {
    let mut bench = Bench::new(Settings::default());
    bench.trip();
    bench.wait();
    let probes: Vec<_> = (0..100).filter_map(|_| bench.admit().ok()).collect();
    assert_eq!(probes.len(), 3);
    assert_eq!(bench.admit(), Err(Refused::after(Duration::from_secs(1))));
}

#[tokio::test(start_paused = true)]
async fn lost_probes_give_up_their_places_with_their_leases() {
    let mut bench = Bench::new(Settings::default());
    bench.trip();
    bench.wait();
    let lost: Vec<_> = (0..3).map(|_| bench.admit().unwrap()).collect();
    bench.now += millis(9_999);
    assert_eq!(bench.admit(), Err(Refused::after(millis(1))));
    bench.now += millis(1);
    assert_eq!(bench.calls(3, Success).map(|changed| changed.to), Some(State::Closed));
    for probe in lost {
        assert_eq!(bench.end(probe, Failure), None);
    }
    assert_eq!(bench.breaker.counts(bench.now), Counts::default());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_ends_after_its_lease_still_says_how_the_origin_is() {
    let mut bench = Bench::new(Settings::store());
    for (outcome, becomes) in [(Failure, State::Open), (Success, State::Closed)] {
        bench.calls(5, Failure);
        bench.wait();
        let late = bench.admit().unwrap();
        bench.now += Settings::store().lease;
        let second = bench.admit().unwrap();
        assert_eq!(bench.end(late, outcome).map(|changed| changed.to), Some(becomes));
        assert_eq!(bench.end(second, Failure), None);
        bench.breaker.reset(bench.now);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_admitted_before_it_opened_says_nothing_any_more() {
    let mut bench = Bench::new(Settings::default());
    let mut before: Vec<_> = (0..6).map(|_| bench.admit().unwrap()).collect();
    let mut settle = |bench: &mut Bench| {
        assert_eq!(bench.end(before.pop().unwrap(), Success), None);
        assert_eq!(bench.end(before.pop().unwrap(), Failure), None);
    };
    bench.trip();
    settle(&mut bench);
    assert_eq!(bench.state(), State::Open);
    bench.wait();
    assert_eq!(bench.calls(2, Success), None);
    settle(&mut bench);
    assert_eq!(bench.state(), State::HalfOpen);
    assert!(bench.call(Success).is_some());
    settle(&mut bench);
    assert_eq!(bench.breaker.counts(bench.now), Counts::default());
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_call_is_neither_good_nor_bad_unless_it_lasted_longer_than_set() {
    let mut bench = Bench::new(Settings::default());
    bench.calls(50, Outcome::Abandoned);
    assert_eq!(bench.breaker.counts(bench.now), Counts::default());

    let abandoned = Abandoned::FailureAfter(millis(500));
    let mut bench = Bench::new(Settings { abandoned, ..Settings::default() });
    for took in [499, 500] {
        let ticket = bench.admit().unwrap();
        bench.breaker.settle(ticket, Outcome::Abandoned, millis(took), bench.now, 0.5);
    }
    assert_eq!(bench.breaker.counts(bench.now), Counts { calls: 1, failures: 1, slow: 0 });
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_probe_only_gives_its_place_back() {
    let mut bench = Bench::new(Settings::store());
    bench.calls(5, Failure);
    bench.wait();
    assert_eq!(bench.calls(10, Outcome::Abandoned), None);
    assert_eq!(bench.state(), State::HalfOpen);
    assert!(bench.call(Success).is_some());
}

#[tokio::test(start_paused = true)]
async fn slow_calls_open_it_and_a_slow_probe_keeps_it_open() {
    let rate = Rate { share: 0.5, of_at_least: 20 };
    let slow = Some(Slow { after: millis(200), rate });
    let mut bench = Bench::new(Settings { slow, ..Settings::default() });
    let end = |bench: &mut Bench, took| {
        let ticket = bench.admit().unwrap();
        bench.breaker.settle(ticket, Success, millis(took), bench.now, 0.5)
    };
    (0..10).for_each(|_| assert_eq!(end(&mut bench, 200), None));
    (0..9).for_each(|_| assert_eq!(end(&mut bench, 201), None));
    assert_eq!(end(&mut bench, 201).map(|changed| changed.cause), Some(Cause::SlowCalls));
    bench.wait();
    assert_eq!(end(&mut bench, 201).map(|changed| changed.cause), Some(Cause::SlowProbe));
    assert_eq!(bench.wait(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_before_any_share_is_taken() {
    let in_a_row = Some(InARow { failures: 5, within: millis(100) });
    let mut bench = Bench::new(Settings { in_a_row, ..Settings::default() });
    bench.calls(4, Failure);
    bench.call(Success);
    bench.calls(4, Failure);
    bench.now += millis(101);
    assert_eq!(bench.calls(4, Failure), None);
    assert_eq!(bench.call(Failure).map(|changed| changed.cause), Some(Cause::InARow));
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_as_long_as_the_origin_asks_but_not_longer_than_the_longest() {
    for (asked, open) in [(millis(500), 1), (millis(7_000), 7), (Duration::MAX, 30)] {
        let mut bench = Bench::new(Settings::default());
        let asking = bench.admit().unwrap();
        bench.breaker.heed(&asking, asked, bench.now);
        assert_eq!(bench.end(asking, Failure), None);
        bench.calls(19, Failure).unwrap();
        assert_eq!(bench.wait(), Duration::from_secs(open));
    }
}

#[tokio::test(start_paused = true)]
async fn it_takes_up_its_calls_by_and_by() {
    let ramp = Some(Ramp { over: millis(1_000), from: 0.2 });
    let mut bench = Bench::new(Settings { ramp, ..Settings::default() });
    bench.trip();
    bench.wait();
    bench.calls(3, Success).unwrap();
    let closed = bench.now;
    for (passed, share) in [(0, 0.2), (500, 0.6), (999, 0.999)] {
        let now = closed + millis(passed);
        let mut admits = |random| bench.breaker.admit(now, random).is_ok();
        assert!(admits(share - 0.001) && !admits(share + 0.0009), "{passed}");
        assert_eq!(bench.breaker.word().ticket(), None);
    }
    assert!(bench.breaker.admit(closed + millis(1_000), 0.999_999).is_ok());
    assert!(bench.breaker.word().ticket().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_force_it_open_or_closed_and_let_go() {
    let mut bench = Bench::new(Settings::default());
    assert_eq!(bench.breaker.force_open(bench.now).map(|changed| changed.to), Some(State::Open));
    bench.now += Duration::from_secs(3600);
    assert_eq!(bench.admit(), Err(Refused::after(Duration::from_secs(1))));
    assert_eq!((bench.state(), bench.breaker.mode()), (State::Open, Mode::ForcedOpen));
    bench.breaker.automatic();
    assert_eq!(bench.calls(3, Success).map(|changed| changed.to), Some(State::Closed));

    bench.breaker.force_closed(bench.now);
    assert_eq!(bench.calls(100, Failure), None);
    bench.breaker.automatic();
    assert_eq!(bench.calls(19, Failure), None);
    assert!(bench.call(Failure).is_some());
    assert_eq!(bench.breaker.reset(bench.now).map(|changed| changed.to), Some(State::Closed));
    assert_eq!(bench.calls(19, Failure), None);
}

#[tokio::test(start_paused = true)]
async fn an_observer_refuses_nobody_and_goes_through_the_same_states() {
    let mut bench = Bench::new(Settings::default());
    bench.breaker.observe_only();
    bench.trip();
    let ticket = bench.admit().unwrap();
    assert_eq!(ticket.would_be_refused(), Some(Refused::after(Duration::from_secs(1))));
    assert_eq!(bench.end(ticket, Success), None);
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.call(Failure).map(|changed| changed.cause), Some(Cause::FailedProbe));
    bench.breaker.automatic();
    assert_eq!(bench.admit(), Err(Refused::after(Duration::from_secs(2))));
}

#[tokio::test(start_paused = true)]
async fn a_word_gives_the_tickets_of_the_steady_path_and_of_no_other() {
    let mut bench = Bench::new(Settings::default());
    let word = Word::from_bits(bench.breaker.word().bits());
    let ticket = word.ticket().unwrap();
    assert!(word.batches(&ticket));
    assert_eq!(ticket, bench.admit().unwrap());
    bench.trip();
    assert_eq!(bench.breaker.word().ticket(), None);
    assert_eq!(bench.breaker.word().state(), State::Open);
    assert!(!bench.breaker.word().batches(&ticket));
    bench.breaker.force_closed(bench.now);
    let uncounted = bench.breaker.word().ticket().unwrap();
    assert!(!bench.breaker.word().batches(&uncounted));
}

#[tokio::test(start_paused = true)]
async fn successes_counted_together_are_as_good_as_one_by_one() {
    for window in [Window::Calls(40), Window::Time(Duration::from_secs(10))] {
        let mut bench = Bench::new(Settings { window, ..Settings::store() });
        let word = bench.breaker.word();
        bench.calls(4, Failure);
        bench.breaker.settle_many(word, 16, bench.now);
        assert_eq!(bench.calls(4, Failure), None);
        assert_eq!(bench.breaker.counts(bench.now), Counts { calls: 24, failures: 8, slow: 0 });
        bench.breaker.reset(bench.now);
        bench.breaker.settle_many(word, 16, bench.now);
        assert_eq!(bench.breaker.counts(bench.now), Counts::default());
    }
}

#[tokio::test(start_paused = true)]
async fn instants_that_go_back_do_no_harm() {
    let start = Instant::now();
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..500 {
        let ramp = Some(Ramp { over: millis(300), from: 0.5 });
        let slow = Some(Slow { after: QUICK, rate: Rate { share: 0.5, of_at_least: 5 } });
        let window = Window::Time(millis(100));
        let settings = Settings { window, ramp, slow, open_for: QUICK, ..Settings::store() };
        let mut breaker = Breaker::new(settings, start + millis(500));
        for step in 0..500 {
            let now = start + millis(step + rng.u64(..100));
            let word = breaker.word();
            let Ok(ticket) = breaker.admit(now, rng.f64()) else { continue };
            breaker.settle_many(word, rng.u64(..3), start + millis(step));
            let outcome = [Success, Failure, Outcome::Abandoned][rng.usize(..3)];
            breaker.settle(ticket, outcome, millis(rng.u64(..3)), now, rng.f64());
            let Counts { calls, failures, slow } = breaker.counts(now);
            assert!(failures <= calls && slow <= calls);
        }
    }
}
