//! A limit of one's own, the gauge, and what an observer is told.

use std::sync::{Arc, Mutex};

use seawall::{
    LoadShedLayer, Reason,
    load_shed::{
        Criticality::{Background, Critical, Normal, Sheddable},
        Rate,
        limit::{Limit, Sample},
    },
};
use tokio::time::Instant;
use tower::Layer;

use crate::{
    Noted, fill, hold, of_class, reason,
    support::{BoxedOrigin, Req, answer, call, get, origin},
};

fn inner() -> BoxedOrigin {
    origin(|_, _| async { Ok(answer(&[], "body")) }).1
}

/// What its owner has set it to, as of the last call.
#[derive(Clone, Debug)]
struct Dial(Arc<Mutex<usize>>);

impl Dial {
    fn turn(&self, limit: usize) {
        *self.0.lock().unwrap() = limit;
    }
}

impl Limit for Dial {
    fn limit(&self) -> usize {
        *self.0.lock().unwrap()
    }

    fn sample(&mut self, _: &Sample, _: Instant) {}
}

#[tokio::test]
async fn a_limit_of_ones_own_holds_and_moves_with_the_next_sample() {
    let dial = Dial(Arc::new(Mutex::new(3)));
    let layer = LoadShedLayer::new(dial.clone());
    let (service, gauge) = (layer.layer(inner()), layer.gauge());
    let held = fill(&service, || get("/")).await;
    assert_eq!((held.len(), gauge.limit(), gauge.in_flight()), (3, 3, 3));
    drop(held);

    dial.turn(5);
    call(&mut service.clone(), get("/")).await.unwrap();
    assert_eq!((gauge.limit(), fill(&service, || get("/")).await.len()), (5, 5));

    // Calls under way are not taken back; nobody is admitted until they have gone.
    let mut held = fill(&service, || get("/")).await;
    let waiting = held.split_off(4);
    dial.turn(2);
    drop(waiting);
    drop(hold(&service, get("/")).await.unwrap());
    assert_eq!((gauge.limit(), gauge.in_flight()), (2, 4));
    for left in (0..4).rev() {
        let error = hold(&service, get("/")).await.err();
        assert_eq!(error.is_some(), left >= 1, "{left}");
        held.pop();
    }
    assert_eq!(gauge.in_flight(), 0);
}

#[tokio::test]
async fn a_limit_of_zero_is_taken_for_one() {
    let layer = LoadShedLayer::new(Dial(Arc::new(Mutex::new(0))));
    assert_eq!(layer.gauge().limit(), 1);
    let service = layer.layer(inner());
    for _ in 0..3 {
        assert_eq!(fill(&service, || get("/")).await.len(), 1);
    }
}

#[tokio::test]
async fn a_limit_that_does_not_learn_is_told_nothing() {
    #[derive(Debug)]
    struct Deaf;

    impl Limit for Deaf {
        fn limit(&self) -> usize {
            1
        }

        fn sample(&mut self, _: &Sample, _: Instant) {
            panic!("it does not learn");
        }

        fn learns(&self) -> bool {
            false
        }
    }

    let mut service = LoadShedLayer::new(Deaf).layer(inner());
    call(&mut service, get("/")).await.unwrap();
}

#[tokio::test]
async fn the_gauge_shows_calls_until_their_bodies_have_ended() {
    let layer = LoadShedLayer::default();
    let (service, gauge) = (layer.layer(inner()), layer.gauge());
    assert_eq!((gauge.in_flight(), gauge.limit()), (0, 1_024));
    let one = hold(&service, get("/")).await.unwrap();
    let other = hold(&service.clone(), get("/")).await.unwrap();
    assert_eq!((gauge.in_flight(), layer.gauge().in_flight()), (2, 2));
    crate::support::read(one).await.unwrap();
    assert_eq!(gauge.in_flight(), 1);
    drop(other);
    assert_eq!(gauge.in_flight(), 0);
    assert_eq!(format!("{gauge:?}"), "Gauge { limit: 1024, in_flight: 0 }");
}

#[tokio::test]
async fn an_observer_is_told_of_each_refusal_and_of_whom() {
    let noted = Noted::default();
    let layer = LoadShedLayer::fixed(1).observer(noted.observer());
    let service = layer.layer(inner());
    let held = hold(&service, get("/")).await.unwrap();
    for class in [Sheddable, Critical, Background, Normal] {
        let error = hold(&service, of_class(class, get("/"))).await.unwrap_err();
        assert_eq!(reason(&error), Some(Reason::Shed));
    }
    drop(held);
    hold(&service, get("/")).await.unwrap();
    assert_eq!(noted.shed(), [Sheddable, Critical, Background, Normal]);
    assert_eq!((noted.over_quota.count(), noted.table_full.count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_quotas_that_are_used_up() {
    let noted = Noted::default();
    let layer = LoadShedLayer::fixed(1)
        .observer(noted.observer())
        .quota(Rate::per_minute(1), |_: &Req| Some("all"));
    let mut service = layer.layer(inner());
    call(&mut service, get("/")).await.unwrap();
    for _ in 0..7 {
        call(&mut service, get("/")).await.unwrap_err();
    }
    assert_eq!((noted.over_quota.count(), noted.shed().len()), (7, 0));
}
