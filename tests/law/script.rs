//! The real layers over an origin that answers by a script, and what came of a request.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use http_body_util::{Empty, Full};
use seawall::{
    BoxError, CacheLayer, Profile, RespondLayer, UriKey,
    cache::{Again, CacheService},
    respond::Respond,
    rfc9111::date,
};
use tokio::time::sleep;
use tower::Layer;

use crate::support::{BoxedOrigin, Read, Req, Res, answer_status, cache, call, get, origin, with};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Every row in both profiles, each with its own outcome.
pub(crate) fn in_both<T>([safe, reverse_proxy]: [T; 2]) -> [(&'static str, Profile, T); 2] {
    [("safe", Profile::safe(), safe), ("reverse_proxy", Profile::reverse_proxy(), reverse_proxy)]
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The origin was not asked.
    Hit,
    /// The origin was asked on a condition.
    Validated,
    /// The origin was asked for the whole.
    Fetched,
    /// 504: neither storage nor the origin.
    Refused,
}

type Seen = Arc<Mutex<Vec<(Method, HeaderMap)>>>;

fn empty() -> Empty<Bytes> {
    Empty::new()
}

/// With it the origin may be asked twice.
type TwiceKey = Again<UriKey, fn() -> Empty<Bytes>>;

/// The layers of one cache, down to a scripted origin.
pub(crate) struct Stack {
    pub(crate) service: Respond<CacheService<BoxedOrigin, TwiceKey>>,
    seen: Seen,
}

impl Stack {
    /// `answer` gets the number of the call, from 0, and the request.
    pub(crate) fn new<F>(profile: Profile, answer: F) -> Self
    where
        F: Fn(usize, &Req) -> Result<Res, BoxError> + Clone + Send + 'static,
    {
        let key = Again::new(UriKey::new(), empty as fn() -> _);
        let layer = CacheLayer::new(cache()).policy(profile).key(key);
        let seen = Seen::default();
        let noted = Arc::clone(&seen);
        let (_, inner) = origin(move |call, request| {
            noted.lock().unwrap().push((request.method().clone(), request.headers().clone()));
            std::future::ready(answer(call, &request))
        });
        let cached = layer.layer(inner);
        Self { service: RespondLayer::new().layer(cached), seen }
    }

    /// An origin that says the same each time, `answer` and the number of the call, and a 304 to who
    /// names its entity tag.
    pub(crate) fn says(profile: Profile, status: u16, lines: &[&str]) -> Self {
        Self::new(profile, saying(status, lines))
    }

    pub(crate) async fn ask(&mut self, request: Req) -> Read {
        call(&mut self.service, request).await.unwrap()
    }

    /// What becomes of a request.
    pub(crate) async fn outcome(&mut self, request: Req) -> Outcome {
        let before = self.calls();
        let read = self.ask(request).await;
        match self.calls() - before {
            0 if read.status() == 504 => Outcome::Refused,
            0 => Outcome::Hit,
            1 if self.validated() => Outcome::Validated,
            1 => Outcome::Fetched,
            more => panic!("{more} calls for one request"),
        }
    }

    /// What becomes of a plain GET, so long after another.
    pub(crate) async fn after(&mut self, wait: u32) -> Outcome {
        self.ask(get("/")).await;
        sleep(wait * SECOND).await;
        self.outcome(get("/")).await
    }

    /// How often the origin was asked.
    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The method and the fields of the last request that the origin got.
    pub(crate) fn last(&self) -> (Method, HeaderMap) {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    fn validated(&self) -> bool {
        let (_, fields) = self.last();
        let asks = |name| fields.contains_key(name);
        asks(header::IF_NONE_MATCH) || asks(header::IF_MODIFIED_SINCE)
    }
}

/// The answers of [`Stack::says`].
pub(crate) fn saying(
    status: u16,
    lines: &[&str],
) -> impl Fn(usize, &Req) -> Result<Res, BoxError> + Clone + Send + use<> {
    let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
    move |call, request| {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let told = says(status, &lines, format!("answer {call}"));
        let has = |name| {
            request
                .headers()
                .get(name)
                .is_some_and(|it| Some(it) == told.headers().get(header::ETAG))
        };
        Ok(if has(header::IF_NONE_MATCH) { says(304, &lines, "") } else { told })
    }
}

/// An origin whose first answer is a 200 of these lines, and whose second is this one.
pub(crate) fn then(
    policy: Profile,
    first: &'static [&'static str],
    (status, second): (u16, &'static [&'static str]),
) -> Stack {
    Stack::new(policy, move |call, _| {
        Ok(match call {
            0 => says(200, first, "old"),
            1 if status == 304 => says(304, second, ""),
            1 => says(status, second, "new"),
            _ => says(200, first, format!("answer {call}")),
        })
    })
}

/// An answer with these lines, in which `{n}` is the date `n` seconds from now.
pub(crate) fn says(
    status: u16,
    lines: &[&str],
    body: impl Into<bytes::Bytes>,
) -> http::Response<Full<bytes::Bytes>> {
    let lines: Vec<_> = lines.iter().map(|line| dated(line)).collect();
    let fields: Vec<_> = lines.iter().map(|line| line.split_once(": ").unwrap()).collect();
    answer_status(status, &fields, body)
}

/// `line`, in which `{n}` is the date `n` seconds from now.
pub(crate) fn dated(line: &str) -> String {
    match line.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (offset, after))) => {
            format!("{before}{}{after}", at(offset.parse().unwrap()))
        }
        None => line.to_owned(),
    }
}

/// The date `offset` seconds from now.
pub(crate) fn at(offset: i64) -> String {
    let (now, distance) = (SystemTime::now(), Duration::from_secs(offset.unsigned_abs()));
    let at = if offset < 0 { now - distance } else { now + distance };
    String::from_utf8(date::format(at).to_vec()).unwrap()
}

/// A GET of `/` with this `Cache-Control`.
pub(crate) fn asking(control: &str) -> Req {
    with(get("/"), "cache-control", control)
}
