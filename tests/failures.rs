//! What a cache makes of an origin that fails: what it remembers, whom it refuses, what it gives instead.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "failures/clients.rs"]
mod clients;
#[path = "failures/demands.rs"]
mod demands;
#[path = "failures/ladder.rs"]
mod ladder;
#[path = "failures/memory.rs"]
mod memory;

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall::{
    BoxError, Reason, Rejected,
    observe::{Event, Observer},
};
use support::{BoxedOrigin, Calls, Read, Req, answer_status, origin};
use tokio::time::{Instant, sleep};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A GET as a layer above sends it, which may stand for many callers: one caller alone is given a
/// second try before its key is left alone.
pub(crate) fn get(path: &str) -> Req {
    let mut request = support::get(path);
    request.extensions_mut().insert(seawall::marks::Flight::default());
    request
}

type Fields = &'static [(&'static str, &'static str)];

/// What an origin does when it is called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Does {
    Answers(u16, Fields),
    /// The same, after so long.
    Slowly(Duration, u16, Fields),
    Fails,
    Hangs,
    Panics,
    /// A layer in front of it refuses the call.
    Refuses,
}

/// An answer that is fresh for a minute.
pub(crate) const GOOD: Does = Does::Answers(200, &[("cache-control", "max-age=60")]);

/// An origin that does what it is told, until it is told something else.
#[derive(Clone)]
pub(crate) struct Told {
    does: Arc<Mutex<Does>>,
    pub(crate) calls: Calls,
}

impl Told {
    /// Its answers' bodies are `answer 0`, `answer 1`, and so on.
    pub(crate) fn origin(does: Does) -> (Self, BoxedOrigin) {
        let does = Arc::new(Mutex::new(does));
        let state = Arc::clone(&does);
        let (calls, inner) = origin(move |call, _| {
            let does = *state.lock().unwrap();
            async move {
                let body = format!("answer {call}");
                match does {
                    Does::Answers(status, fields) => Ok(answer_status(status, fields, body)),
                    Does::Slowly(time, status, fields) => {
                        sleep(time).await;
                        Ok(answer_status(status, fields, body))
                    }
                    Does::Fails => Err("connection refused".into()),
                    Does::Hangs => pending().await,
                    Does::Panics => panic!("the origin panicked, as it was told"),
                    Does::Refuses => Err(Rejected::new(Reason::OnlyIfCached).into()),
                }
            }
        });
        (Self { does, calls }, inner)
    }

    pub(crate) fn to(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }
}

/// Writes down what happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<Noted>>>);

/// An event in words, and how long a key is left alone where it says so.
type Noted = (String, Option<Duration>);

impl Observer for Seen {
    fn on_event(&self, event: &Event<'_>) {
        let wait = if let Event::BackedOff { wait } = event { Some(*wait) } else { None };
        self.0.lock().unwrap().push((format!("{event:?}"), wait));
    }
}

impl Seen {
    /// How often this event has happened.
    pub(crate) fn count(&self, event: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(seen, _)| seen == event).count()
    }

    /// How long keys were left alone that had failed.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.0.lock().unwrap().iter().filter_map(|(_, wait)| *wait).collect()
    }

    pub(crate) fn last_wait(&self) -> Duration {
        self.waits().last().copied().expect("it was left alone")
    }
}

/// After how long a caller that was refused for its key's failures may come back.
#[track_caller]
pub(crate) fn refused(answer: Result<Read, BoxError>) -> Duration {
    let error = answer.expect_err("a refusal");
    let refusal = Rejected::find(&*error).unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(refusal.reason(), Reason::Failing);
    refusal.wait().expect("a time to come back")
}

/// Runs a call, and says how long it took.
pub(crate) async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    (call.await, began.elapsed())
}
