//! What the breaker and the shedder owe to those around them: answers that are not the origin's, bodies
//! that nobody reads, services that are never ready, observers that look back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "admission/answers.rs"]
mod answers;
#[path = "admission/fallbacks.rs"]
mod fallbacks;
#[path = "admission/heads.rs"]
mod heads;
#[path = "admission/herds.rs"]
mod herds;
#[path = "admission/limits.rs"]
mod limits;
#[path = "admission/marked.rs"]
mod marked;
#[path = "admission/observers.rs"]
mod observers;
#[path = "admission/probes.rs"]
mod probes;
#[path = "admission/ranks.rs"]
mod ranks;
#[path = "admission/readiness.rs"]
mod readiness;
#[path = "admission/settings.rs"]
mod settings;
#[path = "admission/table.rs"]
mod table;

use std::{future::pending, time::Duration};

use http::Response;
use http_body_util::{Full, combinators::UnsyncBoxBody};
use seawall::{
    BoxError, CircuitBreaker, LoadShedLayer, Reason, Rejected,
    circuit_breaker::{Counts, State},
};
use support::{BoxedOrigin, Req, Res, boxed, get};
use tower::{Layer, Service, service_fn};

type Body = UnsyncBoxBody<bytes::Bytes, BoxError>;

const SECOND: Duration = Duration::from_secs(1);

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a call meets now is a probe: one that was forced open lets probes decide at once.
fn half_open(breaker: &CircuitBreaker) {
    breaker.force_open();
    breaker.automatic();
    assert_eq!(breaker.state(), State::HalfOpen);
}

fn counts(calls: u64, failures: u64) -> Counts {
    Counts { calls, failures, slow: 0 }
}

fn reason<T>(answer: &Result<T, BoxError>) -> Option<Reason> {
    Rejected::find(&**answer.as_ref().err()?).map(Rejected::reason)
}

/// An origin that answers each call with the same.
fn answering(
    response: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static,
) -> BoxedOrigin<Body> {
    support::origin(move |_, _| {
        let response = response();
        async move { Ok(response) }
    })
    .1
}

/// A response with these fields, and a body that the origin has as a whole.
fn whole(status: u16, fields: &[(&str, &str)], body: &'static str) -> Response<Body> {
    let (parts, _) = support::answer_status(status, fields, "").into_parts();
    Response::from_parts(parts, boxed(Full::<bytes::Bytes>::from(body)))
}

/// Holds a place of this layer for as long as what is returned lives.
fn held(shed: &LoadShedLayer) -> impl Drop + use<> {
    struct Held<F>(#[allow(dead_code, reason = "it is held")] F);
    impl<F> Drop for Held<F> {
        fn drop(&mut self) {}
    }
    Held(shed.layer(service_fn(|_: Req| pending::<Result<Res, BoxError>>())).call(get("/held")))
}
