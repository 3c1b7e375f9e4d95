//! Callers of one cold key who are refused: who shares a refusal, and who asks for itself.

use seawall::{
    BoxError, CacheLayer, CircuitBreakerLayer, CoalesceLayer, LoadShedLayer, Reason,
    circuit_breaker::State, load_shed::Criticality, observe::Event,
};
use tokio::time::timeout;
use tower::Layer;

use crate::{
    SECOND, half_open, held, reason,
    support::{Calls, Read, Req, answer, at_once, cache, call, get, origin},
};

const CALLERS: usize = 1_000;

fn counting(calls: &Calls) -> impl Fn(&Event<'_>) + Send + Sync + use<> {
    let calls = calls.clone();
    move |event: &Event<'_>| match event {
        Event::Shed(_) | Event::CircuitRefused { observed_only: false } => drop(calls.add()),
        _ => {}
    }
}

/// How often a thousand callers of one cold key were refused below.
macro_rules! refused {
    ($above:expr, $layer:expr, $refusals:expr, $reason:expr) => {{
        let (calls, inner) = origin(|_, _| async { Ok(answer(&[], "never")) });
        let service = ($above, $layer).layer(inner);
        let before = $refusals.count();
        let asked = at_once(&service, (0..CALLERS).map(|_| get("/")));
        let answers: Vec<Result<Read, BoxError>> =
            timeout(60 * SECOND, asked).await.expect("it hangs");
        assert!(answers.iter().all(|answer| reason(answer) == Some($reason)));
        assert_eq!(calls.count(), 0);
        $refusals.count() - before
    }};
}

#[tokio::test(start_paused = true)]
async fn callers_of_one_class_share_one_refusal_and_those_of_a_rank_of_ones_own_ask_each() {
    let refusals = Calls::default();
    let shed = LoadShedLayer::fixed(1).observer(counting(&refusals));
    let _place = held(&shed);
    let ranked = shed.clone().criticality(|_: &Req| Criticality::Normal);
    let shared = [
        refused!(CacheLayer::new(cache()), shed.clone(), refusals, Reason::Shed),
        refused!(CoalesceLayer::new(), shed, refusals, Reason::Shed),
    ];
    let each = [
        refused!(CacheLayer::new(cache()), ranked.clone(), refusals, Reason::Shed),
        refused!(CoalesceLayer::new(), ranked, refusals, Reason::Shed),
    ];
    println!("refusals of {CALLERS} callers: {shared:?}, by a rank of one's own {each:?}");
    assert!(shared.iter().all(|&refusals| refusals <= 5), "{shared:?}");
    assert!(each.iter().all(|&refusals| refusals >= CALLERS), "{each:?}");
}

#[tokio::test(start_paused = true)]
async fn the_refusal_of_one_breaker_is_for_all_and_that_of_one_of_many_for_each() {
    let refusals = Calls::default();
    let one = CircuitBreakerLayer::new().observer(counting(&refusals));
    one.breaker().force_open();
    let shared = [
        refused!(CacheLayer::new(cache()), one.clone(), refusals, Reason::CircuitOpen),
        refused!(CoalesceLayer::new(), one, refusals, Reason::CircuitOpen),
    ];
    // Which of them a caller meets is the key's to say, and may depend on anything.
    let many = CircuitBreakerLayer::new().observer(counting(&refusals));
    let many = many.by(|request: &Req| request.uri().path().to_owned());
    let (_, inner) = origin(|_, _| async { Ok(answer(&[], "once")) });
    crate::support::call(&mut many.layer(inner), get("/")).await.unwrap();
    many.breakers().of("/").unwrap().force_open();
    let each = [
        refused!(CacheLayer::new(cache()), many.clone(), refusals, Reason::CircuitOpen),
        refused!(CoalesceLayer::new(), many, refusals, Reason::CircuitOpen),
    ];
    println!("refusals of {CALLERS} callers: {shared:?}, by one of many {each:?}");
    assert!(shared.iter().all(|&refusals| refusals <= 5), "{shared:?}");
    assert!(each.iter().all(|&refusals| refusals >= CALLERS), "{each:?}");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_lets_a_share_through_refuses_each_caller_for_itself() {
    let refusals = Calls::default();
    let breaker = CircuitBreakerLayer::new().probes(1).ramp(600 * SECOND, 0.01);
    let breaker = breaker.observer(counting(&refusals));
    half_open(&breaker.breaker());
    let (_, inner) = origin(|_, _| async { Ok(answer(&[("cache-control", "no-store")], "good")) });
    call(&mut breaker.layer(inner.clone()), get("/")).await.unwrap();
    assert_eq!(breaker.breaker().state(), State::Closed);
    let service = (CoalesceLayer::new(), breaker).layer(inner);
    let asked = at_once(&service, (0..CALLERS).map(|_| get("/")));
    let answers: Vec<Result<Read, BoxError>> = timeout(60 * SECOND, asked).await.expect("it hangs");
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    println!("{refused} of {CALLERS} callers refused, by {} refusals", refusals.count());
    assert!(refusals.count() >= refused, "one draw is not for all");
}
