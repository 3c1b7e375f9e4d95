//! A day with an origin that fails in every way it can, and callers who leave as they like.

use std::{
    cell::RefCell,
    future::{Future, pending},
    panic::resume_unwind,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use seawall::{
    BoxError, CircuitBreaker, CircuitBreakerLayer, Rejected,
    circuit_breaker::{State, Window},
    observe::Event,
};
use tokio::{
    task::{LocalSet, spawn_local, yield_now},
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::{Layer, Service, service_fn};

use crate::{
    millis, seconds, seed,
    support::{
        Calls, answer_status,
        bodies::{Step, Steps},
        streamed,
    },
};

const DAY: Duration = seconds(24 * 60 * 60);
const CALLS_A_SECOND: f64 = 3.0;
/// How long a caller waits.
const PATIENCE: Duration = seconds(5);
/// Within this of its health it is closed: a probe from before that its caller gives up after all his
/// patience, or that answers late; thirty seconds and a fifth; and the calls that three good probes take.
const CLOSED_WITHIN: Duration = seconds(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Good,
    Down,
    /// Fails so often.
    Flaky(f64),
    /// Answers, after seconds.
    Slow,
    /// Answers one of four; the others never.
    Hangs,
    /// Goes up and down every second.
    Flapping,
}

fn exponential(rng: &mut Rng, mean: f64) -> Duration {
    Duration::from_secs_f64(-mean * (1.0 - rng.f64()).ln())
}

impl Origin {
    fn next(self, rng: &mut Rng) -> (Self, Duration) {
        if self != Self::Good {
            return (Self::Good, exponential(rng, 90.0));
        }
        let bad = match rng.u32(..5) {
            0 => Self::Down,
            1 => Self::Flaky(rng.f64()),
            2 => Self::Slow,
            3 => Self::Hangs,
            _ => Self::Flapping,
        };
        (bad, exponential(rng, 60.0))
    }

    fn fails(self, rng: &mut Rng, since: Duration) -> bool {
        match self {
            Self::Down => true,
            Self::Flaky(share) => rng.f64() < share,
            Self::Flapping => since.as_secs() % 2 == 1,
            Self::Good | Self::Slow | Self::Hangs => false,
        }
    }
}

/// The origin now, and chance.
struct World {
    origin: Origin,
    since: Instant,
    rng: Rng,
}

async fn answer(world: Rc<RefCell<World>>) -> Result<Response<Steps>, BoxError> {
    let (origin, fails, how, quick) = {
        let mut world = world.borrow_mut();
        let (origin, since) = (world.origin, world.since.elapsed());
        let rng = &mut world.rng;
        (origin, origin.fails(rng, since), rng.u32(..100), millis(rng.u64(1..50)))
    };
    match origin {
        Origin::Slow => sleep(quick * 60 + seconds(1)).await,
        Origin::Hangs if how < 75 => pending().await,
        _ => sleep(quick).await,
    }
    let said = || Step::Data(Bytes::from_static(b"said"));
    let body = |last| Steps::new([said(), Step::Wait(quick), last]);
    match how {
        _ if !fails => Ok(streamed(&[], body(said()))),
        0..30 => Err("connection reset".into()),
        30..40 => resume_unwind(Box::new("as it was told")),
        40..60 => Ok(streamed(&[], body(Step::Fail))),
        60..65 => {
            let (parts, _) = answer_status(503, &[("retry-after", "20")], "").into_parts();
            Ok(Response::from_parts(parts, body(said())))
        }
        _ => {
            let (parts, _) = answer_status(502, &[], "").into_parts();
            Ok(Response::from_parts(parts, body(said())))
        }
    }
}

type Req = Request<Empty<Bytes>>;

/// One call, whose caller reads its answer, or leaves.
async fn caller<S>(mut service: S, refused: Calls, leaves_after: Duration)
where
    S: Service<
            Req,
            Response = Response<seawall::admission::PermitBody<Steps, Call>>,
            Error = BoxError,
        >,
{
    let answered = async {
        match service.call(Request::new(Empty::new())).await {
            Ok(response) => _ = response.into_body().collect().await,
            Err(error) if Rejected::find(&*error).is_some() => _ = refused.add(),
            Err(_) => {}
        }
    };
    _ = timeout(leaves_after, answered).await;
}

use seawall::circuit_breaker::Call;

#[derive(Debug, Default)]
struct Figures {
    calls: usize,
    to_origin: usize,
    refused: usize,
    refused_while_good: usize,
    spells: usize,
    opened: usize,
    most_opened_in_a_spell: usize,
    longest_recovery: Duration,
    looked_and_closed: usize,
}

/// Watches one spell and the good time after it.
struct Spell {
    began: Instant,
    opened_before: usize,
}

async fn day(layer: CircuitBreakerLayer, opened: Calls, seed: u64) -> Figures {
    // What the breaker draws is drawn on this thread.
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let start = Instant::now();
    let world = World { origin: Origin::Good, since: start, rng: rng.fork() };
    let world = Rc::new(RefCell::new(world));
    let (calls, refused) = (Calls::default(), Calls::default());
    let service = layer.layer(service_fn({
        let (world, calls) = (Rc::clone(&world), calls.clone());
        move |_: Req| {
            calls.add();
            answer(Rc::clone(&world))
        }
    }));
    let breaker: CircuitBreaker = layer.breaker();
    let mut figures = Figures::default();
    let mut spell = Spell { began: start, opened_before: 0 };
    let (mut spell_ends, mut was_closed) = (start, true);
    let mut at = start;
    while at - start < DAY {
        at += exponential(&mut rng, 1.0 / CALLS_A_SECOND);
        sleep_until(at).await;
        if at >= spell_ends {
            let mut world = world.borrow_mut();
            if world.origin == Origin::Good {
                let opened = opened.count() - spell.opened_before;
                let lasted = (at - spell.began).as_secs_f64();
                // Steps that double, and begin anew only after ten seconds closed: at best three
                // openings in 10 + 0.8 + 1.6 + 3.2 s.
                assert!((opened as f64) <= 7.0 + lasted / 5.0, "{opened} in {lasted} s");
                figures.most_opened_in_a_spell = figures.most_opened_in_a_spell.max(opened);
                spell = Spell { began: at, opened_before: spell.opened_before + opened };
                figures.spells += 1;
            }
            let lasts;
            (world.origin, lasts) = world.origin.next(&mut rng);
            (world.since, spell_ends) = (at, at + lasts);
            was_closed = breaker.state() == State::Closed;
        }
        let (good, since) = (world.borrow().origin == Origin::Good, world.borrow().since.elapsed());
        let closed = breaker.state() == State::Closed;
        if good && closed && !was_closed {
            was_closed = true;
            figures.longest_recovery = figures.longest_recovery.max(since);
        }
        if good && since > CLOSED_WITHIN {
            assert!(closed, "stuck after {since:?}: {breaker:?}, seed {seed}");
            figures.looked_and_closed += 1;
        }
        figures.calls += 1;
        let refused_before = refused.count();
        let leaves_after = match rng.u32(..100) {
            0..2 => millis(rng.u64(..60)),
            2 => DAY,
            _ => PATIENCE,
        };
        spawn_local(caller(service.clone(), refused.clone(), leaves_after));
        yield_now().await;
        figures.refused_while_good += if good { refused.count() - refused_before } else { 0 };
    }
    // Who is left hangs for the rest of his patience, or for good.
    world.borrow_mut().origin = Origin::Good;
    sleep(seconds(60)).await;
    assert_eq!(breaker.probes(), 0);
    (figures.to_origin, figures.refused, figures.opened) =
        (calls.count(), refused.count(), opened.count());
    figures
}

fn run(name: &str, layer: CircuitBreakerLayer, seed: u64) -> impl Future<Output = ()> {
    let (name, opened) = (name.to_owned(), Calls::default());
    let counted = opened.clone();
    let layer = layer.observer(move |event: &Event<'_>| {
        if let Event::CircuitChanged { change, .. } = event
            && change.to == State::Open
        {
            counted.add();
        }
    });
    async move {
        let figures = day(layer, opened, seed).await;
        println!("{name}: {figures:?}");
        assert!(figures.opened > 100 && figures.looked_and_closed > 10_000);
        assert!(figures.to_origin + figures.refused == figures.calls);
        assert!(figures.refused_while_good < figures.refused);
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_of_faults_leaves_it_neither_stuck_nor_flapping() {
    let seed = seed(5);
    let patient = CircuitBreakerLayer::new().abandoned_after(seconds(4));
    let all = CircuitBreakerLayer::new()
        .slow_calls(millis(500), 0.5, 20)
        .in_a_row(10, seconds(10))
        .window(Window::Calls(50))
        .abandoned_after(seconds(2))
        .ramp(seconds(5), 0.1);
    let local = LocalSet::new();
    local.run_until(run("by time", patient, seed)).await;
    local.run_until(run("all on, the last 50 calls", all, seed)).await;
}
