//! An origin that does what the path says, callers of it, and a log of what the breaker tells.

use std::{
    future::pending,
    panic::resume_unwind,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use seawall::{
    BoxError, Reason, Rejected,
    circuit_breaker::{Cause, State, Transition},
    observe::{Event, Observer},
};
use tokio::time::sleep;
use tower::Service;

use crate::support::{BoxedOrigin, Calls, Req, Res, answer_status, call, get, origin};

/// An origin that answers `/STATUS` with that status, `/after/MILLIS/STATUS` later, `/error` with an
/// error, `/panic` with a panic, and `/hang` never.
pub(crate) fn told() -> (Calls, BoxedOrigin) {
    origin(|_, request| async move { does(request.uri().path()).await })
}

pub(crate) async fn does(path: &str) -> Result<Res, BoxError> {
    let status = |status: &str| Ok(answer_status(status.parse().unwrap(), &[], "said"));
    match path.split('/').collect::<Vec<_>>()[1..] {
        ["error"] => Err("connection refused".into()),
        ["hang"] => pending().await,
        // Past the hook, which would print it.
        ["panic"] => resume_unwind(Box::new("as it was told")),
        ["after", millis, last] => {
            sleep(Duration::from_millis(millis.parse().unwrap())).await;
            status(last)
        }
        [now] => status(now),
        ref other => unreachable!("{other:?}"),
    }
}

/// How long the breaker says to wait, where this is its refusal.
pub(crate) fn refusal<T>(result: &Result<T, BoxError>) -> Option<Duration> {
    let rejected = Rejected::find(&**result.as_ref().err()?)?;
    assert_eq!(rejected.reason(), Reason::CircuitOpen);
    Some(rejected.wait().expect("a refusal names a wait"))
}

/// Makes so many calls one after the other, reads the answers, and sees that none is refused.
pub(crate) async fn times<S, B>(calls: usize, service: &mut S, path: &str)
where
    S: Service<Req, Response = Response<B>, Error = BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    for number in 0..calls {
        let result = call(service, get(path)).await;
        assert!(refusal(&result).is_none(), "call {number} to {path} was refused");
    }
}

/// Waits for as long as a refusal says, and returns that time.
pub(crate) async fn wait_out<S, B>(service: &mut S) -> Duration
where
    S: Service<Req, Response = Response<B>, Error = BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let wait = refusal(&call(service, get("/200")).await).expect("it is refused");
    sleep(wait).await;
    wait
}

/// Notes changes of state, and refusals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    changes: Vec<Transition>,
    refused: usize,
    observed: usize,
}

impl Log {
    /// What each change led to, and why.
    pub(crate) fn changes(&self) -> Vec<(State, Cause)> {
        self.0.lock().unwrap().changes.iter().map(|change| (change.to, change.cause)).collect()
    }

    pub(crate) fn transitions(&self) -> Vec<Transition> {
        self.0.lock().unwrap().changes.clone()
    }

    /// Refusals, and those that would have been.
    pub(crate) fn refusals(&self) -> (usize, usize) {
        let noted = self.0.lock().unwrap();
        (noted.refused, noted.observed)
    }
}

impl Observer for Log {
    fn on_event(&self, event: &Event<'_>) {
        let mut noted = self.0.lock().unwrap();
        match event {
            Event::CircuitChanged { change, .. } => noted.changes.push(*change),
            Event::CircuitRefused { observed_only: false } => noted.refused += 1,
            Event::CircuitRefused { observed_only: true } => noted.observed += 1,
            other => unreachable!("{other:?}"),
        }
    }
}
