//! Deadlines and the breaker in front of a store.

use std::{sync::Arc, time::Duration};

use seawall::{
    BoxError, Rejected,
    circuit_breaker::State,
    observe::{Event, Observer},
    store::{Guarded, Key, Store},
};
use tokio::time::{Instant, advance, sleep, timeout};

use crate::far::{Asked, Does, Far, record};

const SECOND: Duration = Duration::from_secs(1);

fn key() -> Key {
    Key::from(&b"key"[..])
}

fn guarded() -> (Far, Guarded<Far>) {
    let far = Far::new();
    (far.clone(), Guarded::new(far))
}

async fn fails(guarded: &Guarded<Far>) -> BoxError {
    guarded.get(&key()).await.unwrap_err()
}

fn is_refused(error: &BoxError) -> bool {
    Rejected::find(&**error).is_some()
}

/// Until the breaker is closed; how long that took.
async fn closed(guarded: &Guarded<Far>) -> Duration {
    let began = Instant::now();
    while guarded.status().state != State::Closed {
        sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn the_fifth_failure_in_a_row_opens_it_and_then_the_store_is_not_asked() {
    let (far, guarded) = guarded();
    far.does(Does::Fail);
    for _ in 0..5 {
        assert_eq!(guarded.status().state, State::Closed);
        assert!(!is_refused(&fails(&guarded).await));
    }
    assert_eq!(guarded.status().state, State::Open);
    assert_eq!(guarded.status().failures, 5);
    far.asked();
    let began = Instant::now();
    for _ in 0..100 {
        assert!(is_refused(&fails(&guarded).await));
    }
    assert_eq!((far.asked(), began.elapsed()), (vec![], Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_its_deadline_five_times_and_then_nothing() {
    let (far, guarded) = guarded();
    far.does(Does::Hang);
    let began = Instant::now();
    for failures in 1..=5 {
        fails(&guarded).await;
        let took = began.elapsed();
        let expected = Duration::from_millis(50) * failures;
        assert!((expected..expected + Duration::from_millis(10)).contains(&took), "{took:?}");
    }
    assert!(is_refused(&fails(&guarded).await));
}

#[tokio::test(start_paused = true)]
async fn it_is_back_soon_after_the_store_is_however_long_that_was_out_and_nobody_asks() {
    for outage in [SECOND, 600 * SECOND] {
        let (far, guarded) = guarded();
        far.does(Does::Fail);
        for _ in 0..5 {
            fails(&guarded).await;
        }
        sleep(outage).await;
        assert!(is_refused(&fails(&guarded).await), "nobody is its probe");
        far.does(Does::Work);
        let took = closed(&guarded).await;
        println!("back {took:?} after the store, which was out for {outage:?}");
        assert!(took <= 2 * SECOND, "{took:?}");
        assert!(far.asked().iter().skip(5).all(|asked| *asked == Asked::Ping));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_and_goes_is_left_alone_for_longer_each_time() {
    let (far, guarded) = guarded();
    let mut waits = Vec::new();
    for _ in 0..7 {
        far.does(Does::Fail);
        for _ in 0..5 {
            fails(&guarded).await;
        }
        far.does(Does::Work);
        waits.push(closed(&guarded).await);
    }
    println!("{waits:?}");
    for (wait, expected) in waits.iter().zip([1, 2, 4, 8, 16, 30, 30]) {
        let expected = expected * SECOND;
        assert!(*wait >= expected.mul_f64(0.8) && *wait <= expected.mul_f64(1.2) + SECOND / 5);
    }
}

#[tokio::test(start_paused = true)]
async fn one_failure_in_a_hundred_never_opens_it() {
    let (far, guarded) = guarded();
    far.takes(Duration::ZERO);
    for call in 0..100_000_u32 {
        far.does(if call.is_multiple_of(100) { Does::Fail } else { Does::Work });
        let _ = guarded.get(&key()).await;
        advance(Duration::from_micros(100)).await;
    }
    assert_eq!((guarded.status().state, guarded.status().failures), (State::Closed, 1_000));
}

#[tokio::test(start_paused = true)]
async fn what_its_caller_gives_up_counts_only_if_the_store_had_its_time() {
    let (far, guarded) = guarded();
    far.does(Does::Hang);
    for _ in 0..20 {
        timeout(Duration::from_millis(20), guarded.get(&key())).await.unwrap_err();
    }
    assert_eq!(guarded.status().state, State::Closed);
    for _ in 0..5 {
        timeout(Duration::from_millis(49), guarded.get(&key())).await.unwrap_err();
    }
    assert_eq!(guarded.status().state, State::Closed);
    let patient = Guarded::builder(far.clone()).read_deadline(Duration::from_millis(30)).build();
    let key = key();
    for _ in 0..5 {
        let mut get = Box::pin(patient.get(&key));
        assert!(futures_poll(get.as_mut()).await.is_none());
        advance(Duration::from_millis(40)).await;
        drop(get);
    }
    assert_eq!(patient.status().state, State::Open);
}

async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_store_that_declines_is_well_and_is_not_written_to_for_as_long_as_it_says() {
    let (far, guarded) = guarded();
    let (key, record) = record("/", "new").await;
    guarded.put(key.clone(), record.clone()).await.unwrap();
    far.asked();
    far.does(Does::Decline(Some(30 * SECOND)));
    for _ in 0..10 {
        guarded.put(key.clone(), record.clone()).await.unwrap_err();
        guarded.get(&key).await.unwrap();
    }
    let puts = far.asked().iter().filter(|asked| matches!(asked, Asked::Put(..))).count();
    assert_eq!((puts, guarded.status().state), (1, State::Closed));
    assert!(!guarded.status().writes);
    assert_eq!(far.body(&key), None, "what should have been replaced is gone");
    far.does(Does::Work);
    advance(31 * SECOND).await;
    assert!(guarded.status().writes);
    guarded.put(key.clone(), record).await.unwrap();
    assert_eq!(far.body(&key).as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_or_is_late_takes_away_what_it_should_have_replaced() {
    let (far, guarded) = guarded();
    let (key, record) = record("/", "new").await;
    far.does(Does::Fail);
    guarded.put(key.clone(), record.clone()).await.unwrap_err();
    assert_eq!(far.asked(), [Asked::Put(key.clone(), "new".into()), Asked::Remove(key.clone())]);
    far.does(Does::Hang);
    let began = Instant::now();
    guarded.put(key.clone(), record).await.unwrap_err();
    assert_eq!(far.asked().len(), 2);
    println!("a late write and what follows it: {:?}", began.elapsed());
    assert!(began.elapsed() <= Duration::from_millis(520));
}

#[tokio::test(start_paused = true)]
async fn more_writes_at_once_than_1024_are_declined_and_nothing_else_suffers() {
    let (far, guarded) = guarded();
    let (key, record) = record("/", "new").await;
    far.takes(Duration::from_millis(100));
    let puts: Vec<_> = (0..2_000)
        .map(|_| {
            let (guarded, key, record) = (guarded.clone(), key.clone(), record.clone());
            tokio::spawn(async move { guarded.put(key, record).await.is_ok() })
        })
        .collect();
    let mut done = 0;
    for put in puts {
        done += usize::from(put.await.unwrap());
    }
    assert_eq!((done, guarded.status().state), (1_024, State::Closed));
    guarded.put(key, record).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn its_operator_can_open_it_and_the_probes_go_on_until_he_lets_it_go() {
    let (far, guarded) = guarded();
    guarded.breaker().force_open();
    assert!(is_refused(&fails(&guarded).await));
    sleep(60 * SECOND).await;
    assert!(is_refused(&fails(&guarded).await));
    guarded.breaker().automatic();
    assert!(closed(&guarded).await <= 2 * SECOND);
    assert!(far.asked().iter().all(|asked| *asked == Asked::Ping));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_it_when_it_is_dropped() {
    let (far, guarded) = guarded();
    far.does(Does::Fail);
    for _ in 0..5 {
        fails(&guarded).await;
    }
    drop(guarded);
    sleep(120 * SECOND).await;
    let pings = far.asked().iter().filter(|asked| **asked == Asked::Ping).count();
    assert_eq!(pings, 0);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_observer_learns_by_name_what_became_of_the_breaker() {
    let far = Far::new();
    let guarded = Guarded::builder(far.clone()).name("far-1").build();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    let observer: Arc<dyn Observer> = Arc::new(move |event: &Event<'_>| {
        if let Event::CircuitChanged { change, of } = event {
            noted.lock().unwrap().push((change.to, of.map(ToOwned::to_owned)));
        }
    });
    guarded.observed_by(&observer);
    far.does(Does::Fail);
    for _ in 0..5 {
        fails(&guarded).await;
    }
    far.does(Does::Work);
    closed(&guarded).await;
    let of = || Some("far-1".to_owned());
    let told = told.lock().unwrap();
    assert_eq!(*told, [(State::Open, of()), (State::HalfOpen, of()), (State::Closed, of())]);
}
