//! Stale on purpose: what is given stale, for how long, and what goes on behind it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::HeaderMap;
use seawall::{BoxError, Cache, marks::Refresh};
use support::{BoxedOrigin, Calls, Req, Res, answer, answer_status, origin};
use tokio::time::sleep;

#[path = "stale/ahead.rs"]
mod ahead;
#[path = "stale/day.rs"]
mod day;
#[path = "stale/forbidden.rs"]
mod forbidden;
#[path = "stale/storm.rs"]
mod storm;
#[path = "stale/switch.rs"]
mod switch;
#[path = "stale/windows.rs"]
mod windows;

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How an origin feels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    Well,
    Slow(Duration),
    Answering(u16),
    Unreachable,
}

/// What an origin was asked.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) fields: HeaderMap,
    /// It carried the mark of a refresh.
    pub(crate) refresh: bool,
}

impl Noted {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }
}

/// An origin that answers "answer 0", "answer 1" and so on with the same fields, or as its mood is.
///
/// It answers 304 where it is asked for something newer than what it says of itself.
#[derive(Clone)]
pub(crate) struct Moody {
    pub(crate) calls: Calls,
    pub(crate) service: BoxedOrigin,
    mood: Arc<Mutex<Mood>>,
    noted: Arc<Mutex<Vec<Noted>>>,
}

impl Moody {
    pub(crate) fn says(fields: &[(&'static str, &'static str)]) -> Self {
        let mood = Arc::new(Mutex::new(Mood::Well));
        let noted = Arc::new(Mutex::new(Vec::new()));
        let (moods, notes, fields) = (Arc::clone(&mood), Arc::clone(&noted), fields.to_vec());
        let (calls, service) = origin(move |call, request: Req| {
            let refresh = request.extensions().get::<Refresh>().is_some();
            let asked = Noted { fields: request.headers().clone(), refresh };
            let response = respond(call, &asked, &fields);
            notes.lock().unwrap().push(asked);
            let mood = *moods.lock().unwrap();
            async move {
                match mood {
                    Mood::Well => Ok(response),
                    Mood::Slow(time) => {
                        sleep(time).await;
                        Ok(response)
                    }
                    Mood::Answering(status) => Ok(answer_status(status, &[], "out of order")),
                    Mood::Unreachable => Err::<_, BoxError>("connection refused".into()),
                }
            }
        });
        Self { calls, service, mood, noted }
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn last_asked(&self) -> Noted {
        self.noted.lock().unwrap().last().unwrap().clone()
    }
}

fn respond(call: usize, asked: &Noted, fields: &[(&str, &str)]) -> Res {
    let says = |name| fields.iter().find(|field| field.0 == name).map(|field| field.1.as_bytes());
    let same = |name, own| {
        says(own).is_some() && asked.fields.get(name).map(|v| v.as_bytes()) == says(own)
    };
    if same("if-none-match", "etag") || same("if-modified-since", "last-modified") {
        return answer_status(304, fields, "");
    }
    answer(fields, format!("answer {call}"))
}

pub(crate) fn assert_nothing_is_left(cache: &Cache) {
    let figures = cache.figures();
    let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
    assert_eq!((left, figures.refreshes), ((0, 0, 0, 0), 0), "{figures:?}");
}
