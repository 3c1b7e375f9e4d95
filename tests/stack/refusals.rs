//! Many callers of one key who are refused below: how often anybody is asked for them.

use seawall::{
    BoxError, Cache, CacheLayer, CircuitBreakerLayer, CoalesceLayer, LoadShedLayer, Reason,
    load_shed::Criticality, observe::Event,
};
use tokio::time::timeout;
use tower::Layer;

use super::{
    AnyService, SECOND, erased,
    orders::{held, refused},
    slow,
};
use crate::support::{Calls, Read, Req, at_once, get, store};

/// Counts the events that are of this kind.
fn counting(
    calls: &Calls,
    kind: fn(&Event<'_>) -> bool,
) -> impl Fn(&Event<'_>) + Send + Sync + use<> {
    let calls = calls.clone();
    move |event: &Event<'_>| {
        if kind(event) {
            calls.add();
        }
    }
}

/// What one herd of callers comes to.
struct Herd {
    name: &'static str,
    service: AnyService,
    reason: Reason,
    followed: Calls,
    refusals: Calls,
}

/// A cache or coalescing over a breaker that is open, or over a shedder without a free place.
fn herds(shed: impl FnOnce(&LoadShedLayer)) -> Vec<Herd> {
    let (refused_open, refused_full) = (Calls::default(), Calls::default());
    let breaker = CircuitBreakerLayer::new()
        .observer(counting(&refused_open, |event| matches!(event, Event::CircuitRefused { .. })));
    breaker.breaker().force_open();
    let full = LoadShedLayer::fixed(1)
        .observer(counting(&refused_full, |event| matches!(event, Event::Shed(_))));
    shed(&full);
    let mut herds = Vec::new();
    for coalesce in [true, false] {
        for open in [true, false] {
            let followed = Calls::default();
            let following = counting(&followed, |event| matches!(event, Event::Followed));
            let (_, inner) = slow("max-age=600");
            let inner = match open {
                true => erased(breaker.layer(inner)),
                false => erased(full.layer(inner)),
            };
            let service = match coalesce {
                true => {
                    erased(CoalesceLayer::bounded(|bounds| bounds.observer(following)).layer(inner))
                }
                false => {
                    let cache = Cache::builder(store()).observer(following).build();
                    erased(CacheLayer::new(cache).layer(inner))
                }
            };
            herds.push(Herd {
                name: if coalesce { "coalesce" } else { "cache" },
                service,
                reason: if open { Reason::CircuitOpen } else { Reason::Shed },
                followed,
                refusals: if open { refused_open.clone() } else { refused_full.clone() },
            });
        }
    }
    herds
}

async fn asked(herd: &Herd, requests: impl Iterator<Item = Req>) -> Vec<Result<Read, BoxError>> {
    timeout(60 * SECOND, at_once(&herd.service, requests)).await.expect("it hangs")
}

#[tokio::test(start_paused = true)]
async fn callers_of_one_class_who_share_a_call_share_one_refusal() {
    let mut place = None;
    let mut each = Vec::new();
    for herd in herds(|shed| place = Some(held(shed))) {
        let before = herd.refusals.count();
        for answer in asked(&herd, (0..100).map(|_| get("/"))).await {
            assert_eq!(refused(answer), Some(herd.reason), "{}", herd.name);
        }
        each.push((herd.name, herd.reason, herd.refusals.count() - before));
    }
    println!("refusals of a hundred callers: {each:?}");
    assert!(each.iter().all(|&(.., refusals)| refusals == 1), "{each:?}");
    drop(place);
}

#[tokio::test(start_paused = true)]
async fn callers_who_are_refused_join_a_flight_a_few_times_each_however_many_they_are() {
    const CALLERS: usize = 1_000;
    let mut place = None;
    let mut each = Vec::new();
    for herd in herds(|shed| place = Some(held(shed))) {
        for answer in asked(&herd, (0..CALLERS).map(|_| get("/"))).await {
            assert_eq!(refused(answer), Some(herd.reason), "{}", herd.name);
        }
        each.push((herd.name, herd.reason, herd.followed.count()));
    }
    println!("joined by {CALLERS} callers: {each:?}");
    assert!(each.iter().all(|&(.., joined)| joined <= 5 * CALLERS), "{each:?}");
    drop(place);
}

#[tokio::test(start_paused = true)]
async fn a_class_above_is_not_handed_the_refusal_of_one_below() {
    // Of twenty places, nineteen are open to what is `Normal`.
    let shed = LoadShedLayer::fixed(20);
    let held: Vec<_> = (0..19).map(|_| held(&shed)).collect();
    let (calls, inner) = slow("max-age=600");
    for service in [
        erased((CacheLayer::new(store()), shed.clone()).layer(inner.clone())),
        erased((CoalesceLayer::new(), shed.clone()).layer(inner)),
    ] {
        let before = calls.count();
        let mixed = (0..10).map(|n| {
            let mut request = get("/");
            if n == 5 {
                request.extensions_mut().insert(Criticality::Critical);
            }
            request
        });
        let answers = at_once(&service, mixed).await;
        assert!(answers[5].is_ok(), "{:?}", answers[5]);
        assert_eq!(calls.count() - before, 1);
    }
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_class_above_share_one_call_although_those_below_are_refused() {
    let shed = LoadShedLayer::fixed(100);
    let held: Vec<_> = (0..80).map(|_| held(&shed)).collect();
    let (calls, inner) = slow("max-age=600");
    let mut each = Vec::new();
    for service in [
        erased((CacheLayer::new(store()), shed.clone()).layer(inner.clone())),
        erased((CoalesceLayer::new(), shed.clone()).layer(inner)),
    ] {
        let before = calls.count();
        let mixed = (0..20).map(|n| {
            let mut request = get("/");
            if n < 10 {
                request.extensions_mut().insert(Criticality::Sheddable);
            }
            request
        });
        let answers = at_once(&service, mixed).await;
        assert!(answers[10..].iter().all(Result::is_ok), "{:?}", answers[10]);
        each.push(calls.count() - before);
    }
    println!("calls for ten callers of a class above: {each:?}");
    assert_eq!(each, [1, 1]);
    drop(held);
}
