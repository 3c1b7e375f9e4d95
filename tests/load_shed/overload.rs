//! An origin that is asked for five times what it can do, and what is left of it afterwards.
//!
//! It has 20 workers and serves in 50 ms on average (exponential): 400 calls/s at most. An answer
//! within 500 ms is a good one. Virtual time, seeded.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall::LoadShedLayer;
use tokio::time::{Instant, interval};
use tower::{Layer, Service, ServiceExt};

use crate::{
    SECOND, Watch, millis,
    support::{Req, get},
    workers,
};

const CAPACITY: f64 = 400.0;
const GOOD: Duration = millis(500);

/// What became of the calls that began in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    good: usize,
    late: usize,
    refused: usize,
}

/// Calls at `rate` a second, for so many seconds each; then all of them end.
async fn load<S>(service: &S, phases: &[(u64, f64)], each_millisecond: impl Fn()) -> Vec<Second>
where
    S: Service<Req, Response: Send, Error: Send, Future: Send> + Clone + Send + 'static,
{
    let seconds = phases.iter().map(|phase| phase.0).sum::<u64>() as usize;
    let counted = Arc::new(Mutex::new(vec![Second::default(); seconds]));
    let mut random = fastrand::Rng::with_seed(7);
    let mut ticks = interval(millis(1));
    let (mut second, mut due) = (0, 0.0);
    for &(lasts, rate) in phases {
        for millisecond in 0..lasts * 1_000 {
            ticks.tick().await;
            each_millisecond();
            // One call more whenever an exponential time has passed.
            due += rate / 1_000.0;
            while due > 0.0 {
                due += (1.0 - random.f64()).ln();
                let (service, counted) = (service.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let began = Instant::now();
                    let answered = service.oneshot(get("/")).await.is_ok();
                    let mut counted = counted.lock().unwrap();
                    let second: &mut Second = &mut counted[second];
                    match answered {
                        true if began.elapsed() <= GOOD => second.good += 1,
                        true => second.late += 1,
                        false => second.refused += 1,
                    }
                });
            }
            if millisecond % 1_000 == 999 {
                second += 1;
            }
        }
    }
    tokio::time::sleep(3_600 * SECOND).await;
    Arc::try_unwrap(counted).expect("all have ended").into_inner().unwrap()
}

fn good(seconds: &[Second]) -> f64 {
    seconds.iter().map(|second| second.good).sum::<usize>() as f64 / seconds.len() as f64
}

/// Ten seconds at half of what it can do, a minute at five times that, twenty seconds at half again.
async fn overload(name: &str, layer: &LoadShedLayer) {
    let (watch, gauge) = (Watch::default(), layer.gauge());
    let service = layer.layer(workers(20, millis(50), &watch));
    let phases = [(10, CAPACITY / 2.0), (60, CAPACITY * 5.0), (20, CAPACITY / 2.0)];
    let (limits, most) = (Mutex::new(0), Mutex::new(0));
    let seconds = load(&service, &phases, || {
        // A call is admitted under the limit of its moment, and that moves by a little at a time.
        let mut largest = limits.lock().unwrap();
        *largest = gauge.limit().max(*largest);
        let mut most = most.lock().unwrap();
        *most = watch.now().max(*most);
    })
    .await;
    let (before, during, after) = (&seconds[..10], &seconds[10..70], &seconds[70..]);
    let largest = *limits.lock().unwrap();
    println!(
        "{name}: {:.0} good/s before, {:.0} at five times the capacity, {:.0} after; {} at the \
         origin at most, the limit was {largest}",
        good(before),
        good(during),
        good(&after[1..]),
        watch.most(),
    );
    assert!(watch.most() <= largest && *most.lock().unwrap() <= largest, "{name}");
    assert!(during.iter().all(|second| second.refused > 1_000), "{name}: it was no overload");
    // The first seconds are those in which a limit that learns finds out.
    assert!(good(during) >= 0.9 * CAPACITY, "{name}: {during:?}");
    for second in before.iter().chain(&after[1..]) {
        // Some calls take that long whatever else the origin does: one in 20,000.
        assert!(second.refused == 0 && second.late <= 1, "{name}: {before:?}, {after:?}");
    }
    assert_eq!((gauge.in_flight(), watch.now()), (0, 0), "{name}");
}

#[tokio::test(start_paused = true)]
async fn a_fixed_limit_keeps_an_origin_at_its_best_and_leaves_nothing_behind() {
    overload("fixed 30", &LoadShedLayer::fixed(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_learns_keeps_an_origin_at_its_best_and_leaves_nothing_behind() {
    overload("target", &LoadShedLayer::adaptive()).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_the_same_load_is_its_end() {
    let service = workers(20, millis(50), &Watch::default());
    let phases = [(10, CAPACITY * 5.0), (10, CAPACITY / 2.0)];
    let seconds = load(&service, &phases, || ()).await;
    println!("none: {:.0} good/s, {:.0} after", good(&seconds[..10]), good(&seconds[10..]));
    assert!(good(&seconds[1..]) < 0.1 * CAPACITY, "{seconds:?}");
}
