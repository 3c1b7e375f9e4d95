//! Half-open: how many probes reach the origin, and what those say that began before.

use std::{sync::Arc, time::Duration};

use seawall::{
    BoxError, CircuitBreakerLayer,
    circuit_breaker::{Cause, State},
};
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::{Layer, Service};

use crate::{
    acts::{Log, refusal, times, told, wait_out},
    millis, seconds,
    support::{Read, asked, at_once, get, origin},
    waits::half_open,
};

#[tokio::test(start_paused = true)]
async fn of_a_hundred_callers_at_half_open_as_many_as_permitted_reach_the_origin() {
    for probes in [1, 3, 10] {
        let (calls, inner) = told();
        let layer = CircuitBreakerLayer::new().probes(probes);
        let mut service = layer.layer(inner);
        times(20, &mut service, "/500").await;
        wait_out(&mut service).await;
        let before = calls.count();
        let answers = at_once(&service, (0..100).map(|_| get("/after/50/200"))).await;
        let refused = answers.iter().filter(|answer| refusal(answer).is_some()).count();
        assert_eq!((calls.count() - before, refused), (probes as usize, 100 - probes as usize));
        assert_eq!(layer.breaker().state(), State::Closed);
        let answers = at_once(&service, (0..100).map(|_| get("/after/50/200"))).await;
        assert!(answers.iter().all(Result::is_ok));
    }
}

async fn after(start: Arc<Barrier>, mut service: Guarded) -> Result<Read, BoxError> {
    start.wait().await;
    let answer = service.call(get("/"));
    crate::support::read(answer.await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_callers_on_four_threads_as_many_as_permitted_reach_the_origin() {
    let gate = Arc::new(Semaphore::new(0));
    let (calls, inner) = {
        let gate = Arc::clone(&gate);
        origin(move |_, _| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok::<_, BoxError>(crate::support::answer(&[], "said"))
            }
        })
    };
    let mut before = 0;
    for round in 0..200 {
        let probes = if round % 2 == 0 { 1 } else { 3 };
        let layer = CircuitBreakerLayer::new().probes(probes as u32);
        half_open(&layer.breaker());
        let start = Arc::new(Barrier::new(100));
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            callers.spawn(after(Arc::clone(&start), layer.layer(inner.clone())));
        }
        for _ in probes..100 {
            let ended = timeout(seconds(30), callers.join_next()).await;
            let ended = ended.expect("a caller too many is in the origin").unwrap().unwrap();
            assert!(refusal(&ended).is_some());
        }
        // One that was admitted may not have got as far yet.
        let arrive = async {
            while calls.count() - before < probes {
                tokio::task::yield_now().await;
            }
        };
        timeout(seconds(30), arrive).await.expect("those admitted reach the origin");
        assert_eq!(calls.count() - before, probes);
        assert_eq!(layer.breaker().probes(), probes);
        gate.add_permits(probes);
        while let Some(ended) = callers.join_next().await {
            ended.unwrap().unwrap();
        }
        assert_eq!(layer.breaker().state(), State::Closed);
        before = calls.count();
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_probe_gives_its_place_to_no_more_than_are_still_wanted() {
    let (calls, inner) = told();
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(inner);
    half_open(&layer.breaker());
    times(2, &mut service, "/200").await;
    let answers = at_once(&service, (0..50).map(|_| get("/after/50/200"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!((calls.count(), layer.breaker().state()), (3, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_bad_probe_opens_it_though_others_were_good_or_are_under_way() {
    let log = Log::default();
    let layer = CircuitBreakerLayer::new().observer(log.clone());
    let mut service = layer.layer(told().1);
    half_open(&layer.breaker());
    times(1, &mut service, "/200").await;
    let under_way = asked(&service, get("/after/100/200"));
    tokio::task::yield_now().await;
    times(1, &mut service, "/500").await;
    assert_eq!(log.changes().last(), Some(&(State::Open, Cause::FailedProbe)));
    under_way.await.unwrap().unwrap();
    assert_eq!(layer.breaker().state(), State::Open);
}

/// Opens it while calls of these paths are under way, and returns when the next one is a probe.
async fn with_stragglers(layer: &CircuitBreakerLayer, paths: &[String]) -> Stragglers {
    let (calls, inner) = told();
    let mut service = layer.layer(inner);
    let callers: Vec<_> = paths.iter().map(|path| asked(&service, get(path))).collect();
    tokio::task::yield_now().await;
    assert_eq!(calls.count(), paths.len());
    times(20, &mut service, "/500").await;
    wait_out(&mut service).await;
    (service, callers)
}

type Guarded = seawall::admission::Admission<
    crate::support::BoxedOrigin,
    seawall::circuit_breaker::One,
    seawall::admission::ByStatus,
>;
type Caller = tokio::task::JoinHandle<Result<Read, BoxError>>;
type Stragglers = (Guarded, Vec<Caller>);

async fn end(callers: Vec<Caller>) {
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn successes_from_before_a_trip_do_not_close_it() {
    let layer = CircuitBreakerLayer::new();
    let paths = vec!["/after/2000/200".to_owned(); 5];
    let (service, stragglers) = with_stragglers(&layer, &paths).await;
    let probe = asked(&service, get("/after/5000/200"));
    tokio::task::yield_now().await;
    end(stragglers).await;
    assert_eq!((layer.breaker().state(), layer.breaker().probes()), (State::HalfOpen, 1));
    probe.await.unwrap().unwrap();
    assert_eq!(layer.breaker().state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn failures_from_before_a_trip_do_not_open_it_again() {
    let layer = CircuitBreakerLayer::new();
    let paths = vec!["/after/2000/500".to_owned(); 30];
    let (mut service, stragglers) = with_stragglers(&layer, &paths).await;
    times(2, &mut service, "/200").await;
    end(stragglers).await;
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    times(1, &mut service, "/200").await;
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_began_before_a_trip_counts_for_nothing_once_it_is_closed_again() {
    let layer = CircuitBreakerLayer::new();
    let mut paths = vec!["/after/4000/500".to_owned(); 30];
    paths.extend(vec!["/after/4000/200".to_owned(); 30]);
    let (mut service, stragglers) = with_stragglers(&layer, &paths).await;
    let late_probe = asked(&service, get("/after/3000/500"));
    tokio::task::yield_now().await;
    // A place that was given back: the third good probe is a fourth probe.
    late_probe.abort();
    _ = late_probe.await;
    times(3, &mut service, "/200").await;
    assert_eq!(layer.breaker().state(), State::Closed);
    end(stragglers).await;
    assert_eq!((layer.breaker().state(), layer.breaker().counts().calls), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_after_a_trip_counts_for_nothing() {
    use crate::support::bodies::{Step, Steps};
    let (calls, inner) = origin(|number, _| async move {
        let last = if number == 0 { Step::Fail } else { Step::Data("end".into()) };
        let steps = Steps::new([Step::Data("a".into()), Step::Wait(millis(50)), last]);
        Ok(crate::support::streamed(&[], steps))
    });
    let layer = CircuitBreakerLayer::new();
    let service = layer.layer(inner);
    let early: Vec<_> = (0..5).map(|_| asked(&service, get("/"))).collect();
    tokio::task::yield_now().await;
    assert_eq!(calls.count(), 5);
    half_open(&layer.breaker());
    let failed = async {
        let mut failed = 0;
        for caller in early {
            failed += usize::from(caller.await.unwrap().is_err());
        }
        failed
    };
    assert_eq!(timeout(Duration::from_secs(1), failed).await.unwrap(), 1);
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    sleep(millis(1)).await;
    at_once(&service, (0..3).map(|_| get("/"))).await;
    assert_eq!(layer.breaker().state(), State::Closed);
}
