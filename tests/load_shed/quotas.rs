//! What each caller may ask for over time.

use std::{
    future::{Ready, ready},
    hash::{Hash, Hasher},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    thread,
};

use seawall::{
    BoxError, LoadShedLayer, Reason,
    admission::ByError,
    load_shed::{Criticality, Rate},
};
use tokio::time::advance;
use tower::{Layer, Service, service_fn};

use crate::{
    Noted, SECOND, hold, millis, reason,
    support::{BoxedOrigin, Req, answer, call, get, origin, with},
    wait,
};

fn inner() -> BoxedOrigin {
    origin(|_, _| async { Ok(answer(&[], "body")) }).1
}

fn tenant(request: &Req) -> Option<http::HeaderValue> {
    request.headers().get("x-tenant").cloned()
}

fn of(tenant: &str) -> Req {
    with(get("/"), "x-tenant", tenant)
}

/// How many of so many calls at once are admitted; the others are over their quota.
async fn admitted<S, B>(service: &mut S, tenant: &str, calls: usize) -> usize
where
    S: Service<Req, Response = http::Response<B>, Error = BoxError>,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>>,
{
    let mut admitted = 0;
    for _ in 0..calls {
        match call(service, of(tenant)).await {
            Ok(_) => admitted += 1,
            Err(error) => assert_eq!(reason(&error), Some(Reason::OverQuota), "{error}"),
        }
    }
    admitted
}

#[tokio::test(start_paused = true)]
async fn each_key_has_its_own_burst_and_its_own_refill() {
    let layer = LoadShedLayer::default().quota(Rate::per_second(10).burst(3), tenant);
    let mut service = layer.layer(inner());
    assert_eq!(admitted(&mut service, "a", 50).await, 3);
    assert_eq!(admitted(&mut service, "b", 50).await, 3);
    for _ in 0..20 {
        advance(millis(99)).await;
        assert_eq!(admitted(&mut service, "a", 5).await, 0);
        advance(millis(1)).await;
        assert_eq!(admitted(&mut service, "a", 5).await, 1);
    }
    assert_eq!(admitted(&mut service, "b", 50).await, 3, "never more than the burst");
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_admitted_after_the_wait_it_was_told() {
    let layer = LoadShedLayer::default().quota(Rate::per_minute(7).burst(2), tenant);
    let mut service = layer.layer(inner());
    assert_eq!(admitted(&mut service, "a", 2).await, 2);
    for _ in 0..5 {
        let told = wait(&call(&mut service, of("a")).await.unwrap_err());
        advance(told - millis(1)).await;
        assert_eq!(admitted(&mut service, "a", 1).await, 0);
        advance(millis(1)).await;
        assert_eq!(admitted(&mut service, "a", 1).await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_key_has_no_quota() {
    let noted = Noted::default();
    let layer =
        LoadShedLayer::default().observer(noted.observer()).quota(Rate::per_minute(1), tenant);
    let mut service = layer.layer(inner());
    for _ in 0..1_000 {
        call(&mut service, get("/")).await.unwrap();
    }
    assert_eq!(admitted(&mut service, "a", 10).await, 1);
    assert_eq!((noted.over_quota.count(), noted.table_full.count()), (9, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_shed_is_charged_to_nobody() {
    let layer = LoadShedLayer::fixed(1).quota(Rate::per_minute(1).burst(2), tenant);
    let mut service = layer.layer(inner());
    let held = hold(&service, of("a")).await.unwrap();
    for tenant in ["a", "b"] {
        for _ in 0..10 {
            let error = call(&mut service, of(tenant)).await.unwrap_err();
            assert_eq!(reason(&error), Some(Reason::Shed));
        }
    }
    drop(held);
    assert_eq!(admitted(&mut service, "a", 5).await, 1);
    assert_eq!(admitted(&mut service, "b", 5).await, 2);
}

#[tokio::test(start_paused = true)]
async fn who_is_over_quota_takes_no_place_and_harms_nobody_else() {
    let layer = LoadShedLayer::fixed(2).quota(Rate::per_minute(1), tenant);
    let service = layer.layer(inner());
    let _held = hold(&service, of("a")).await.unwrap();
    for _ in 0..100 {
        let error = hold(&service, of("a")).await.unwrap_err();
        assert_eq!(reason(&error), Some(Reason::OverQuota));
        assert_eq!(layer.gauge().in_flight(), 1);
    }
    hold(&service, of("b")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn clones_and_services_of_one_layer_share_its_quotas() {
    let layer = LoadShedLayer::default().quota(Rate::per_minute(1).burst(4), tenant);
    let (mut one, mut other) = (layer.layer(inner()), layer.clone().layer(inner()));
    assert_eq!(admitted(&mut one.clone(), "a", 2).await, 2);
    assert_eq!(admitted(&mut other, "a", 1).await, 1);
    assert_eq!(admitted(&mut one, "a", 5).await, 1);
}

/// A key that knows how many of its kind there are.
struct Counted(u64, Arc<AtomicUsize>);

impl Counted {
    fn new(key: u64, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, SeqCst);
        Self(key, Arc::clone(alive))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Counted {}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Answers at once, whoever asks.
fn at_once()
-> impl Service<u64, Response = (), Error = BoxError, Future = Ready<Result<(), BoxError>>> + Clone
{
    service_fn(|_: u64| ready(Ok::<_, BoxError>(())))
}

/// What a call comes to that nothing keeps waiting.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_million_keys_are_not_kept_and_whoever_owes_nothing_is_forgotten() {
    const KEYS: u64 = 1_000_000;
    const MOST: usize = 4_096;
    let (noted, alive) = (Noted::default(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&alive);
    let layer = LoadShedLayer::default()
        .observer(noted.observer())
        .criticality(|_: &u64| Criticality::Normal)
        .classify(ByError::new())
        .quota(Rate::per_minute(1), move |key: &u64| Some(Counted::new(*key, &counted)))
        .most_keys(MOST);
    let mut service = layer.layer(at_once());
    let mut most = 0;
    for key in 0..KEYS {
        // Nobody is refused for being new.
        now(service.call(key)).unwrap();
        most = most.max(alive.load(SeqCst));
    }
    println!("{KEYS} keys, {most} known, {} uncharged", noted.table_full.count());
    assert!((MOST / 2..=MOST).contains(&most), "{most}");
    assert_eq!(noted.table_full.count(), KEYS as usize - alive.load(SeqCst));

    // Those that are known still owe, and are not forgotten for the sake of the others.
    let refused = (0..KEYS).filter(|&key| now(service.call(key)).is_err()).count();
    assert_eq!(refused, alive.load(SeqCst));

    advance(61 * SECOND).await;
    for key in 0..400 {
        now(service.call(KEYS + key)).unwrap();
    }
    assert!(alive.load(SeqCst) <= 400, "{}", alive.load(SeqCst));
    let full = noted.table_full.count();
    for key in 0..400 {
        assert!(now(service.call(KEYS + key)).is_err(), "it was charged");
    }
    assert_eq!(noted.table_full.count(), full);
}

#[tokio::test(start_paused = true)]
async fn threads_that_share_a_key_never_exceed_its_quota() {
    const BURST: usize = 100;
    let layer = LoadShedLayer::default()
        .criticality(|_: &u64| Criticality::Normal)
        .classify(ByError::new())
        .quota(Rate::per_second(1_000).burst(BURST as u32), |key: &u64| Some(*key));
    let service = layer.layer(at_once());
    let clock = tokio::runtime::Handle::current();
    // Eight threads ask at one and the same time; how many are admitted.
    let admitted = || {
        let admitted = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                let (mut service, clock, admitted) = (service.clone(), clock.clone(), &admitted);
                scope.spawn(move || {
                    let _entered = clock.enter();
                    for _ in 0..5_000 {
                        admitted.fetch_add(usize::from(now(service.call(7)).is_ok()), SeqCst);
                    }
                });
            }
        });
        admitted.into_inner()
    };
    assert_eq!(admitted(), BURST);
    for (passed, expected) in [(0, 0), (1, 1), (7, 7), (60_000, BURST)] {
        advance(millis(passed)).await;
        assert_eq!(admitted(), expected, "after {passed} ms");
    }
    assert_eq!(layer.gauge().in_flight(), 0);
}
