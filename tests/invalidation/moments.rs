//! An invalidation at each moment of a fetch or a refresh, and who gets what of it.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use seawall::{
    BoxError, Cache, CacheLayer, CoalesceLayer, Invalidation, StaleWhileRevalidateLayer, UriKey,
};
use tokio::{task::JoinHandle, time::advance};
use tower::{Layer, Service};

use crate::{
    gated::{Answers, Gate, settled, tag_of, version_of},
    support::{Read, Req, asked, cache, get, head},
};

const SECOND: Duration = Duration::from_secs(1);

/// Every way to name what is under `/`.
fn all_ways() -> [Invalidation; 5] {
    [
        Invalidation::key(&UriKey::new(), &get("/")).unwrap(),
        Invalidation::uri(get("/").uri()).unwrap(),
        Invalidation::tag(tag_of("/")),
        Invalidation::tags(["other", "all"]),
        Invalidation::everything(),
    ]
}

async fn text(caller: JoinHandle<Result<Read, BoxError>>) -> String {
    let read = caller.await.unwrap().unwrap();
    read.text().to_owned()
}

/// Asks, and lets the origin answer to the end.
async fn filled<S, B>(service: &S, gate: &Gate) -> Read
where
    S: Service<Req, Response = Response<B>, Error: Into<BoxError> + Send, Future: Send>,
    S: Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    let caller = asked(service, get("/"));
    settled().await;
    gate.finish();
    caller.await.unwrap().unwrap()
}

/// `steps`: how far the fetch has come when its content is invalidated.
async fn invalidated_after(steps: usize, what: &Invalidation, sized: bool) {
    let gate = Gate::new(Answers { sized, ..Answers::default() });
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).store_unframed(true).layer(gate.origin());
    let before = asked(&service, get("/"));
    settled().await;
    for _ in 0..steps {
        gate.proceed(0);
        settled().await;
    }
    gate.change("/", true);
    cache.invalidator().invalidate(what).await;
    let after = asked(&service, get("/"));
    settled().await;
    gate.finish();
    settled().await;
    // That an answer has a tag is known from its head on: then who came later asks anew.
    gate.finish();
    let told = format!("{what:?} after {steps} steps, sized: {sized}");
    assert_eq!(text(before).await, "0 0", "who came before has the answer of then: {told}");
    assert_eq!(text(after).await, "1 1", "{told}");
    let later = asked(&service, get("/"));
    settled().await;
    gate.finish();
    assert_eq!(text(later).await, "1 1", "nothing older was stored over it: {told}");
    assert_eq!(gate.calls(), 2, "{told}");
    assert_eq!(cache.figures().flights, 0, "{told}");
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_an_invalidation_gets_nothing_of_a_fetch_from_before_it() {
    for what in all_ways() {
        for sized in [true, false] {
            for steps in 0..3 {
                invalidated_after(steps, &what, sized).await;
                invalidated_after(steps, &what.clone().soft(), sized).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_invalidated_on_its_way_is_not_stored_even_if_nobody_asks_meanwhile() {
    for what in all_ways() {
        for steps in 0..3 {
            let gate = Gate::default();
            let cache = cache();
            let service = CacheLayer::new(cache.clone()).layer(gate.origin());
            let before = asked(&service, get("/"));
            settled().await;
            (0..steps).for_each(|_| gate.proceed(0));
            settled().await;
            cache.invalidator().invalidate(&what).await;
            gate.finish();
            let read = before.await.unwrap().unwrap();
            assert_eq!(read.text(), "0 0");
            let said = if steps == 0 { "" } else { "; stored" };
            assert_eq!(read.cache_status(), format!("fwd=uri-miss; fwd-status=200{said}"));
            settled().await;
            assert_eq!(cache.figures().records, 0, "{what:?} after {steps} steps");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_from_before_is_replaced_at_once_and_not_waited_for() {
    let [by_key, by_uri, _, _, everything] = all_ways();
    for what in [by_key, by_uri, everything] {
        for (what, to_head) in [(what.clone(), false), (what.clone().soft(), false), (what, true)] {
            let gate = Gate::default();
            let cache = cache();
            let service = CacheLayer::new(cache.clone()).layer(gate.origin());
            let before = asked(&service, get("/"));
            settled().await;
            gate.change("/", true);
            cache.invalidator().invalidate(&what).await;
            let after = asked(&service, if to_head { head("/") } else { get("/") });
            settled().await;
            assert_eq!(gate.calls(), 2, "{what:?}, HEAD: {to_head}");
            while gate.state().pending.len() > 1 {
                gate.proceed(1);
            }
            assert_eq!(version_of(&after.await.unwrap().unwrap()), 1, "{what:?}, HEAD: {to_head}");
            gate.finish();
            assert_eq!(text(before).await, "0 0");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_between_two_invalidations_gets_nothing_from_before_the_first() {
    for second in all_ways() {
        for soft in [false, true] {
            let gate = Gate::default();
            let cache = cache();
            let service = CacheLayer::new(cache.clone()).layer(gate.origin());
            let _before = asked(&service, get("/"));
            settled().await;
            gate.change("/", true);
            // Nobody knows yet that the answer on its way has this tag.
            cache.invalidator().invalidate(&Invalidation::tag(tag_of("/"))).await;
            let between = asked(&service, get("/"));
            settled().await;
            let second = if soft { second.clone().soft() } else { second.clone() };
            cache.invalidator().invalidate(&second).await;
            gate.finish();
            settled().await;
            gate.finish();
            assert_eq!(text(between).await, "1 1", "then {second:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_during_a_refresh_makes_the_next_caller_fetch_anew() {
    for what in all_ways() {
        // The content is the same as before, as far as a validator says, or another.
        for (changed, steps) in [(false, 0), (true, 0), (true, 1), (true, 2)] {
            let gate = Gate::default();
            let cache = cache();
            let service =
                StaleWhileRevalidateLayer::new(cache.clone(), 60 * SECOND).layer(gate.origin());
            filled(&service, &gate).await;
            advance(11 * SECOND).await;
            gate.change("/", changed);
            let stale = asked(&service, get("/"));
            settled().await;
            assert_eq!(text(stale).await, "0 0");
            (0..steps).for_each(|_| gate.proceed(0));
            settled().await;
            gate.change("/", true);
            cache.invalidator().invalidate(&what).await;
            let after = asked(&service, get("/"));
            settled().await;
            gate.finish();
            settled().await;
            gate.finish();
            assert_eq!(text(after).await, "2 2", "{what:?}, {changed}, after {steps} steps");
            let hit = filled(&service, &gate).await;
            assert_eq!((hit.text(), hit.cache_status()), ("2 2", "hit"), "{what:?}");
            assert_eq!(gate.calls(), 3, "{what:?}, {changed}, after {steps} steps");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_soft_invalidation_during_a_refresh_leaves_its_answer_stale() {
    for what in all_ways() {
        let gate = Gate::default();
        let cache = cache();
        let service =
            StaleWhileRevalidateLayer::new(cache.clone(), 60 * SECOND).layer(gate.origin());
        filled(&service, &gate).await;
        advance(11 * SECOND).await;
        text(asked(&service, get("/"))).await;
        settled().await;
        gate.change("/", true);
        cache.invalidator().invalidate(&what.clone().soft()).await;
        gate.finish();
        settled().await;
        let stale = filled(&service, &gate).await;
        assert_eq!(version_of(&stale), 0, "{what:?}");
        assert_eq!(stale.cache_status(), "hit; detail=stale-while-revalidate", "{what:?}");
        settled().await;
        let hit = filled(&service, &gate).await;
        assert_eq!((hit.text(), hit.cache_status()), ("1 1", "hit"), "{what:?}");
        assert_eq!(gate.calls(), 3, "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_from_before_a_soft_invalidation_does_not_keep_another_from_beginning() {
    let [by_key, by_uri, _, _, everything] = all_ways();
    for what in [by_key, by_uri, everything] {
        let (gate, cache) = (Gate::default(), cache());
        let layer = StaleWhileRevalidateLayer::new(cache.clone(), 60 * SECOND);
        let service = layer.layer(gate.origin());
        filled(&service, &gate).await;
        advance(11 * SECOND).await;
        for calls in [2, 2, 3, 3] {
            if calls == 3 && gate.calls() == 2 {
                gate.change("/", true);
                cache.invalidator().invalidate(&what.clone().soft()).await;
            }
            text(asked(&service, get("/"))).await;
            settled().await;
            assert_eq!(gate.calls(), calls, "{what:?}");
        }
        gate.finish();
        settled().await;
        let hit = filled(&service, &gate).await;
        assert_eq!((hit.text(), hit.cache_status()), ("1 1", "hit"), "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_coalescing_layer_above_lets_nobody_join_a_flight_from_before() {
    for what in all_ways() {
        for steps in 0..3 {
            let gate = Gate::default();
            let cache = Cache::new(crate::support::store());
            let below = CacheLayer::new(cache.clone()).layer(gate.origin());
            let service = CoalesceLayer::new().layer(below);
            let before = asked(&service, get("/"));
            settled().await;
            (0..steps).for_each(|_| gate.proceed(0));
            settled().await;
            gate.change("/", true);
            cache.invalidator().invalidate(&what).await;
            let after = asked(&service, get("/"));
            for _ in 0..3 {
                settled().await;
                gate.finish();
            }
            assert_eq!(text(before).await, "0 0", "{what:?} after {steps} steps");
            assert_eq!(text(after).await, "1 1", "{what:?} after {steps} steps");
        }
    }
}
