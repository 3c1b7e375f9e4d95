//! What a cache above fetches behind its answers: of the lowest class, and a fifth of the limit.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use seawall::{
    LoadShedLayer, StaleWhileRevalidateLayer,
    load_shed::Criticality::{Background, Normal},
    marks::Refresh,
    observe::Event,
};
use tokio::time::{advance, sleep};
use tower::{Layer, Service};

use crate::{
    Noted, SECOND, Watch, hold, millis,
    support::{BoxedOrigin, Calls, Req, answer, at_once, cache_builder, call, get, origin},
};

const STALE: &str = "hit; detail=stale-while-revalidate";

/// An origin that answers at once, and refreshes in a second; and those that it has under way.
fn inner() -> (Watch, Calls, BoxedOrigin) {
    let (watch, refreshes) = (Watch::default(), Calls::default());
    let (watched, counted) = (watch.clone(), refreshes.clone());
    let (_, inner) = origin(move |_, request: Req| {
        let refresh = request.extensions().get::<Refresh>().is_some();
        let inside = refresh.then(|| watched.enter());
        if refresh {
            counted.add();
        }
        async move {
            if inside.is_some() {
                sleep(SECOND).await;
            }
            Ok(answer(&[("cache-control", "max-age=10")], "body"))
        }
    });
    (watch, refreshes, inner)
}

fn layer() -> (StaleWhileRevalidateLayer, Calls) {
    let skipped = Calls::default();
    let counted = skipped.clone();
    let cache = cache_builder().observer(move |event: &Event<'_>| {
        if let Event::RefreshSkipped = event {
            counted.add();
        }
    });
    let layer = StaleWhileRevalidateLayer::new(cache.build(), 3_600 * SECOND);
    (layer.beta(0.0).jitter(0.0), skipped)
}

fn pages(count: usize) -> impl Iterator<Item = Req> {
    (0..count).map(|n| get(&format!("/{n}")))
}

/// Asks for all pages at once; how many were answered stale, none after a wait.
async fn stale<S, B>(service: &S, count: usize) -> usize
where
    S: Service<Req, Response = http::Response<B>, Error = seawall::BoxError, Future: Send>,
    S: Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<seawall::BoxError>> + Send,
{
    let began = tokio::time::Instant::now();
    let answers = at_once(service, pages(count)).await;
    assert_eq!(began.elapsed(), std::time::Duration::ZERO, "somebody waited");
    answers.into_iter().filter(|read| read.as_ref().unwrap().cache_status() == STALE).count()
}

#[tokio::test(start_paused = true)]
async fn refreshes_take_a_fifth_of_the_limit_and_their_callers_are_answered_all_the_same() {
    let (watch, refreshes, inner) = inner();
    let noted = Noted::default();
    let shed = LoadShedLayer::fixed(10).observer(noted.observer());
    let service = (layer().0, shed.clone()).layer(inner);
    for page in pages(20) {
        call(&mut service.clone(), page).await.unwrap();
    }
    advance(11 * SECOND).await;
    assert_eq!(stale(&service, 20).await, 20);
    sleep(millis(1)).await;
    assert_eq!((watch.now(), shed.gauge().in_flight()), (2, 2));
    assert_eq!(noted.shed(), [Background; 18]);
    // A refusal is no failure: the next stale hits begin the refreshes that were refused.
    let mut left = 20;
    while left > 0 {
        sleep(SECOND).await;
        let still = stale(&service, 20).await;
        assert!(still < left, "{still} of {left}");
        left = still;
    }
    assert_eq!((watch.most(), refreshes.count()), (2, 20));
}

#[tokio::test(start_paused = true)]
async fn refreshes_are_refused_before_misses() {
    let (watch, _, inner) = inner();
    let noted = Noted::default();
    let shed = LoadShedLayer::fixed(10).observer(noted.observer());
    let mut service = (layer().0, shed.clone()).layer(inner.clone());
    call(&mut service, get("/0")).await.unwrap();
    advance(11 * SECOND).await;
    let direct = shed.layer(inner);
    let mut held: Vec<http::Response<seawall::admission::PermitBody<Full<Bytes>, _>>> = Vec::new();
    for _ in 0..6 {
        held.push(hold(&direct, get("/held")).await.unwrap());
    }
    assert_eq!(stale(&service, 1).await, 1);
    sleep(millis(1)).await;
    assert_eq!((watch.now(), noted.shed()), (0, vec![Background]));
    assert_eq!(call(&mut service, get("/cold")).await.unwrap().status(), 200);
    held.pop();
    assert_eq!(stale(&service, 1).await, 1);
    sleep(millis(1)).await;
    assert_eq!(watch.now(), 1, "five in flight leave room for it");
    assert!(!noted.shed().contains(&Normal));
}

#[tokio::test(start_paused = true)]
async fn under_a_large_limit_the_budget_of_the_cache_holds() {
    let (watch, _, inner) = inner();
    let shed = LoadShedLayer::fixed(1_000);
    let (layer, skipped) = layer();
    let service = (layer, shed.clone()).layer(inner);
    for page in pages(100) {
        call(&mut service.clone(), page).await.unwrap();
    }
    advance(11 * SECOND).await;
    assert_eq!(stale(&service, 100).await, 100);
    sleep(millis(1)).await;
    assert_eq!((watch.now(), shed.gauge().in_flight(), skipped.count()), (64, 64, 36));
}

#[tokio::test(start_paused = true)]
async fn the_class_of_a_caller_is_not_the_class_of_the_refresh_behind_its_answer() {
    let (_, _, inner) = inner();
    let classes = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&classes);
    let shed = LoadShedLayer::fixed(10).criticality(move |request: &Req| {
        use seawall::load_shed::{ByMethod, Rank};
        let class = ByMethod.criticality(request);
        noted.lock().unwrap().push(class);
        class
    });
    let mut service = (layer().0, shed).layer(inner);
    call(&mut service, get("/0")).await.unwrap();
    advance(11 * SECOND).await;
    assert_eq!(stale(&service, 1).await, 1);
    sleep(millis(1)).await;
    assert_eq!(*classes.lock().unwrap(), [Normal, Background]);
}
