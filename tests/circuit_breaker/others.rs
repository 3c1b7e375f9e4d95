//! Services that are not HTTP, and deciders of one's own.

use std::{
    error::Error,
    fmt,
    future::pending,
    panic::resume_unwind,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::BodyExt;
use seawall::{
    BoxError, CircuitBreakerLayer, FetchError, Reason, Rejected,
    admission::{Admission, Admit, ByError, ByStatus, Outcome, Settle},
    circuit_breaker::{Counts, State},
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn, timeout::TimeoutLayer};

use crate::{
    acts::{refusal, told},
    millis, seconds,
    support::{call, get, with},
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lookup {
    Found,
    NoSuchName,
    Timeout,
    Refused,
}

#[derive(Debug)]
struct NoSuchName;

impl fmt::Display for NoSuchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such name")
    }
}

impl Error for NoSuchName {}

async fn look_up(name: Lookup) -> Result<[u8; 4], BoxError> {
    match name {
        Lookup::Found => Ok([127, 0, 0, 1]),
        Lookup::NoSuchName => Err(NoSuchName.into()),
        Lookup::Timeout => pending().await,
        Lookup::Refused => Err("connection refused".into()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_http_is_judged_by_its_result() {
    let by_error =
        ByError::new().error(|error| error.is::<NoSuchName>().then_some(Outcome::Success));
    let layer = CircuitBreakerLayer::new().classify(by_error);
    let mut service = (layer.clone(), TimeoutLayer::new(seconds(1))).layer(service_fn(look_up));
    for _ in 0..10 {
        assert_eq!(service.call(Lookup::Found).await.unwrap(), [127, 0, 0, 1]);
        assert!(service.call(Lookup::NoSuchName).await.unwrap_err().is::<NoSuchName>());
    }
    assert_eq!(layer.breaker().counts(), Counts { calls: 20, failures: 0, slow: 0 });
    service.call(Lookup::Timeout).await.unwrap_err();
    for _ in 0..18 {
        service.call(Lookup::Refused).await.unwrap_err();
    }
    assert_eq!(layer.breaker().counts(), Counts { calls: 39, failures: 19, slow: 0 });
    service.call(Lookup::Refused).await.unwrap_err();
    assert_eq!(layer.breaker().state(), State::Open);
    assert!(refusal(&service.call(Lookup::Found).await).is_some());
}

#[tokio::test(start_paused = true)]
async fn errors_that_are_nobodys_fault_say_nothing() {
    let layer = CircuitBreakerLayer::new().classify(ByError::new());
    let mut service = layer.layer(service_fn(|number: u32| async move {
        Err::<(), BoxError>(match number % 2 {
            0 => Rejected::new(Reason::Shed).into(),
            _ => FetchError::Cancelled.into(),
        })
    }));
    for number in 0..50 {
        service.call(number).await.unwrap_err();
    }
    assert_eq!(layer.breaker().counts(), Counts::default());
}

/// Admits all but those that are told to stay away, and keeps a list of what it learns.
#[derive(Clone, Debug, Default)]
struct Clerk {
    notes: Arc<Mutex<Vec<Note>>>,
    /// When it admitted the call, if it did.
    since: Option<Instant>,
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Note {
    Admitted,
    Answered(Option<Outcome>, Duration),
    Heed(Duration),
    Settled(Outcome, Duration),
}

use Note::{Admitted, Answered, Heed, Settled};

impl<Req> Admit<Req> for Clerk {
    type Ticket = Self;

    fn admit(&self, _: &Req) -> Result<Self, Rejected> {
        if self.closed {
            return Err(Rejected::new(Reason::Shed));
        }
        self.notes.lock().unwrap().push(Admitted);
        Ok(Self { since: Some(Instant::now()), ..self.clone() })
    }
}

impl Settle for Clerk {
    fn answered(&mut self, known: Option<Outcome>) {
        self.notes.lock().unwrap().push(Answered(known, self.lasted()));
    }

    fn heed(&mut self, retry_after: Duration) {
        self.notes.lock().unwrap().push(Heed(retry_after));
    }

    fn settle(self, outcome: Outcome) {
        self.notes.lock().unwrap().push(Settled(outcome, self.lasted()));
    }
}

impl Clerk {
    fn lasted(&self) -> Duration {
        self.since.unwrap().elapsed()
    }

    fn notes(&self) -> Vec<Note> {
        std::mem::take(&mut self.notes.lock().unwrap())
    }
}

const NO_TIME: Duration = Duration::ZERO;

#[tokio::test(start_paused = true)]
async fn a_decider_of_ones_own_is_told_of_the_head_and_of_the_end_once_each() {
    let clerk = Clerk::default();
    let mut service = Admission::new(told().1, clerk.clone(), ByStatus::new());
    let body = service.call(get("/after/30/200")).await.unwrap().into_body();
    let at_head = Answered(Some(Outcome::Success), millis(30));
    assert_eq!(clerk.notes(), [Admitted, at_head]);
    sleep(millis(70)).await;
    body.collect().await.unwrap();
    assert_eq!(clerk.notes(), [Settled(Outcome::Success, millis(100))]);

    call(&mut service, get("/error")).await.unwrap_err();
    let failed =
        [Admitted, Answered(Some(Outcome::Failure), NO_TIME), Settled(Outcome::Failure, NO_TIME)];
    assert_eq!(clerk.notes(), failed);

    let left = tokio::time::timeout(millis(10), service.call(get("/hang"))).await;
    assert!(left.is_err());
    let gone =
        |outcome| [Admitted, Answered(Some(outcome), millis(10)), Settled(outcome, millis(10))];
    assert_eq!(clerk.notes(), gone(Outcome::Abandoned));
}

#[tokio::test(start_paused = true)]
async fn a_decider_of_ones_own_is_told_of_a_wait_before_the_end() {
    let clerk = Clerk::default();
    let inner = service_fn(|request: crate::support::Req| async move {
        let mut response = crate::support::answer_status(503, &[], "");
        *response.headers_mut() = request.headers().clone();
        Ok::<_, BoxError>(response)
    });
    let mut service = Admission::new(inner, clerk.clone(), ByStatus::new());
    call(&mut service, with(get("/"), "retry-after", "3")).await.unwrap();
    let mut notes = clerk.notes();
    assert_eq!(notes.pop(), Some(Settled(Outcome::Overload, NO_TIME)));
    assert_eq!(notes.len(), 3, "{notes:?}");
    let rest = [Heed(seconds(3)), Answered(Some(Outcome::Overload), NO_TIME)];
    assert!(notes[0] == Admitted && rest.iter().all(|note| notes.contains(note)), "{notes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_decider_of_ones_own_has_its_ticket_back_after_a_panic() {
    let clerk = Clerk::default();
    let inner = service_fn(|()| async { resume_unwind(Box::new("as it was told")) });
    let inner = inner.map_response(|(): ()| ()).map_err(|error: BoxError| error);
    let service = Admission::new(inner, clerk.clone(), ByError::new());
    assert!(tokio::spawn(service.oneshot(())).await.unwrap_err().is_panic());
    let outcome = Outcome::Failure;
    assert_eq!(
        clerk.notes(),
        [Admitted, Answered(Some(outcome), NO_TIME), Settled(outcome, NO_TIME)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_decider_of_ones_own_reaches_its_caller_and_not_the_origin() {
    let clerk = Clerk { closed: true, ..Clerk::default() };
    let (calls, inner) = told();
    let mut service = Admission::new(inner, clerk.clone(), ByStatus::new());
    let error = call(&mut service, get("/200")).await.unwrap_err();
    assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::Shed));
    assert_eq!((calls.count(), clerk.notes()), (0, vec![]));
}
