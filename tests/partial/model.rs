//! An origin whose content changes, and which answers any request for it; and what an answer that a
//! client got has to be.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, Response, StatusCode};
use seawall::BoxError;
use tokio::time::Instant;

use crate::{
    origin::{AnyBody, scripted},
    support::{
        Read, Req,
        bodies::{Step, Steps},
        boxed, get, head, streamed, with,
    },
};

const LIFETIME: Duration = Duration::from_secs(10);
/// The longest that an answer may have been on its way: it is as old as its head.
const WAY: Duration = Duration::from_secs(2);

/// One state of the content.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) number: usize,
    pub(crate) tag: Option<String>,
    pub(crate) body: Bytes,
}

impl Version {
    /// No two of fewer than 26 versions have the same byte in the same place.
    pub(crate) fn random(number: usize, random: &mut Rng, all_tagged: bool) -> Self {
        let tag = match random.u8(..10) {
            0 if !all_tagged => None,
            0 | 1 => Some(format!("W/\"{number}\"")),
            _ => Some(format!("\"{number}\"")),
        };
        // A few lengths, so that versions often agree in theirs.
        let total = [1, 8, 12, 12, 12][random.usize(..5)];
        let byte = |at: usize| b'a' + ((at * 7 + number * 11) % 26) as u8;
        Self { number, tag, body: (0..total).map(byte).collect() }
    }

    fn is_strong(&self, tag: &str) -> bool {
        tag.starts_with('"') && self.tag.as_deref() == Some(tag)
    }

    fn matches(&self, tag: &str) -> bool {
        let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
        self.tag.as_deref().is_some_and(|own| opaque(own) == opaque(tag))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Range {
    From(usize, usize),
    Open(usize),
    Last(usize),
}

impl Range {
    pub(crate) fn random(random: &mut Rng) -> Self {
        match random.u8(..6) {
            0 => Self::Open(random.usize(..14)),
            1 => Self::Last(random.usize(1..14)),
            // The beginning: only of that the rest is asked for.
            2 => Self::From(0, random.usize(..8)),
            _ => {
                let first = random.usize(..10);
                Self::From(first, first + random.usize(..8))
            }
        }
    }

    fn field(self) -> String {
        match self {
            Self::From(first, last) => format!("bytes={first}-{last}"),
            Self::Open(first) => format!("bytes={first}-"),
            Self::Last(length) => format!("bytes=-{length}"),
        }
    }

    fn read(field: &str) -> Self {
        let (first, last) = field.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        match (first.parse().ok(), last.parse().ok()) {
            (Some(first), Some(last)) => Self::From(first, last),
            (Some(first), None) => Self::Open(first),
            (None, last) => Self::Last(last.unwrap()),
        }
    }

    fn of(self, total: usize) -> Option<(usize, usize)> {
        let (first, last) = match self {
            Self::From(first, last) => (first, last),
            Self::Open(first) => (first, total - 1),
            Self::Last(length) => (total.saturating_sub(length), total - 1),
        };
        (first < total).then(|| (first, last.min(total - 1)))
    }
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) range: Option<Range>,
    pub(crate) if_range: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) validates: bool,
    pub(crate) at: Instant,
    /// The last invalidation before it.
    pub(crate) floor: Option<Instant>,
}

impl Call {
    pub(crate) fn request(&self) -> Req {
        let mut request = if self.method == Method::HEAD { head("/") } else { get("/") };
        let range = self.range.map(Range::field);
        let control = self.validates.then(|| "no-cache".to_owned());
        for (name, value) in [
            ("range", &range),
            ("if-range", &self.if_range),
            ("if-none-match", &self.if_none_match),
            ("cache-control", &control),
        ] {
            if let Some(value) = value {
                request = with(request, name, value);
            }
        }
        request
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answers: usize,
    pub(crate) hits: usize,
    pub(crate) parts: usize,
    pub(crate) wholes: usize,
    pub(crate) collapsed: usize,
    pub(crate) tails: usize,
    pub(crate) completed: usize,
    pub(crate) grown: usize,
    pub(crate) unmodified: usize,
    pub(crate) failed: usize,
}

pub(crate) struct State {
    pub(crate) versions: Vec<Version>,
    /// Since when the content was which version.
    pub(crate) history: Vec<(Instant, usize)>,
    pub(crate) random: Rng,
    /// It fails now and then.
    pub(crate) fails: bool,
    /// It answers with another range than was asked for, or with the whole, now and then.
    pub(crate) lies: bool,
    pub(crate) gave_whole: bool,
    pub(crate) counts: Counts,
}

pub(crate) type Shared = Arc<Mutex<State>>;

impl State {
    fn now(&self) -> &Version {
        &self.versions[self.history.last().unwrap().1]
    }

    /// Whether `version` was the content at some moment of these.
    fn was(&self, version: usize, from: Instant, to: Instant) -> bool {
        let ends = self.history.iter().skip(1).map(|(start, _)| Some(*start)).chain([None]);
        let mut segments = self.history.iter().zip(ends);
        segments.any(|((start, number), end)| {
            *number == version && *start <= to && end.is_none_or(|end| end >= from)
        })
    }

    pub(crate) fn answer(&mut self, request: &Req) -> Result<Response<AnyBody>, BoxError> {
        let field = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
        let version = self.now().clone();
        let (total, number) = (version.body.len(), version.number.to_string());
        let mut fields = vec![("cache-control", "max-age=10"), ("x-version", &*number)];
        fields.extend(version.tag.as_deref().map(|tag| ("etag", tag)));
        let length = total.to_string();
        if request.method() == Method::HEAD {
            return Ok(scripted(200, &[&fields, &[("content-length", &length)]], ""));
        }
        if self.fails && self.random.u8(..12) == 0 {
            return match self.random.bool() {
                true => Ok(scripted(503, &[], "down")),
                false => Err("connection reset".into()),
            };
        }
        if field("if-none-match").is_some_and(|tag| version.matches(tag)) {
            return Ok(scripted(304, &[&fields], ""));
        }
        let if_range = field("if-range");
        let holds = if_range.is_none_or(|tag| version.is_strong(tag));
        let lie = if self.lies { self.random.u8(..8) } else { u8::MAX };
        let range = field("range").filter(|_| holds && lie != 0).map(Range::read);
        if let (Some(Range::Open(_)), Some(_)) = (range, if_range) {
            self.counts.tails += 1;
        }
        let Some(range) = range else {
            self.gave_whole = true;
            return Ok(self.streamed(StatusCode::OK, &fields, &version.body));
        };
        let part = match (range.of(total), lie) {
            (part, 1) => part.map(|(first, last)| (first.saturating_sub(1), last)),
            (part, 2) => part.map(|(first, last)| (first, (last + 1).min(total - 1))),
            (part, 3) => part.map(|(first, last)| ((first + 1).min(last), last)),
            (part, _) => part,
        };
        let Some((first, last)) = part.filter(|_| lie != 4) else {
            let said = format!("bytes */{total}");
            let said = [("content-range", &*said), ("x-version", &*number)];
            return Ok(scripted(416, &[&said], ""));
        };
        let said = format!("bytes {first}-{last}/{total}");
        fields.push(("content-range", &said));
        let body = version.body.slice(first..=last);
        Ok(self.streamed(StatusCode::PARTIAL_CONTENT, &fields, &body))
    }

    /// In up to three frames, with or without a length, and not always to the end.
    fn streamed(
        &mut self,
        status: StatusCode,
        fields: &[(&str, &str)],
        body: &Bytes,
    ) -> Response<AnyBody> {
        let random = &mut self.random;
        let mut cuts = [random.usize(..=body.len()), random.usize(..=body.len())];
        cuts.sort_unstable();
        let mut steps = Vec::new();
        for (from, to) in [(0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], body.len())] {
            steps.push(Step::Wait(Duration::from_millis(random.u64(..200))));
            steps.push(Step::Data(body.slice(from..to)));
        }
        if self.fails && random.u8(..12) == 0 {
            steps.truncate(random.usize(..steps.len()));
            steps.push(Step::Fail);
        }
        let length = body.len().to_string();
        let mut fields = fields.to_vec();
        match random.bool() {
            true => fields.push(("content-length", &length)),
            false => fields.push(("transfer-encoding", "chunked")),
        }
        let mut response = streamed(&fields, Steps::new(steps)).map(boxed);
        *response.status_mut() = status;
        response
    }

    /// Panics where this is not one version of the content that the caller may have.
    pub(crate) fn check(&mut self, call: &Call, answer: &Result<(Instant, Read), BoxError>) {
        self.counts.answers += 1;
        let (at, read) = match answer {
            Ok((at, read)) if read.status() != 503 => (*at, read),
            failed => {
                assert!(self.fails, "nothing failed: {failed:?}");
                self.counts.failed += 1;
                return;
            }
        };
        let number: usize =
            read.field("x-version").map(|number| number.parse().unwrap()).unwrap_or_else(|| {
                assert_eq!(read.status(), 304, "{read:?}");
                // Our own 304 has the tag of its version, and few other fields.
                read.field("etag").unwrap().trim_matches(['W', '/', '"']).parse().unwrap()
            });
        let version = self.versions[number].clone();
        let tag = read.field("etag");
        assert!(
            tag == version.tag.as_deref() || (read.status() == 416 && tag.is_none()),
            "{tag:?}"
        );
        let from = (call.at - LIFETIME - WAY).max(call.floor.unwrap_or(self.history[0].0));
        let from = if call.validates { call.at } else { from };
        assert!(self.was(number, from, at), "version {number} is too old, or was never there");

        let total = version.body.len();
        let status = read.cache_status().to_owned();
        let unmodified = call.if_none_match.as_ref().is_some_and(|tag| version.matches(tag));
        assert_eq!(read.status() == 304, unmodified, "as the condition says");
        let range_holds = call.if_range.as_ref().is_none_or(|tag| version.is_strong(tag));
        let range = call.range.filter(|_| range_holds && call.method == Method::GET);
        let said = read.field("content-range");
        match read.status() {
            200 => {
                let body = if call.method == Method::HEAD { &[][..] } else { &*version.body };
                assert_eq!(read.body, body, "the whole of one version");
                assert_eq!(said, None);
                let length = read.field("content-length");
                assert!(length.is_none_or(|length| length == total.to_string()), "{length:?}");
                self.counts.wholes += 1;
                self.counts.grown += usize::from(!self.gave_whole && status == "hit");
                let tail = status.starts_with("fwd=partial; fwd-status=206");
                self.counts.completed += usize::from(tail && range.is_none());
            }
            206 => {
                let (first, last) = self.given(range.expect("a range was asked for"), read, total);
                assert_eq!(said, Some(&*format!("bytes {first}-{last}/{total}")));
                assert_eq!(read.body, version.body.slice(first..=last), "of one version");
                self.counts.parts += 1;
            }
            304 => self.counts.unmodified += 1,
            416 => {
                let range = range.expect("a range was asked for");
                assert!(self.lies || range.of(total).is_none());
                assert_eq!(said, Some(&*format!("bytes */{total}")));
            }
            other => panic!("a status that nobody sent: {other}"),
        }
        self.counts.hits += usize::from(status == "hit");
        self.counts.collapsed += usize::from(status.contains("collapsed"));
    }

    /// Which bytes a 206 has to have: those that were asked for, unless the origin sent others.
    fn given(&self, range: Range, read: &Read, total: usize) -> (usize, usize) {
        let asked = range.of(total);
        if !self.lies || read.cache_status() == "hit" {
            return asked.expect("it can be satisfied");
        }
        let said = read.field("content-range").unwrap().strip_prefix("bytes ").unwrap();
        let (first, last) = said.split_once('/').unwrap().0.split_once('-').unwrap();
        (first.parse().unwrap(), last.parse().unwrap())
    }
}
