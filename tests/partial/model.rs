//! Random requests at random moments against an origin that changes: whatever parts are stored, joined
//! and completed, every answer is one version of the content, and one that it may be.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, Response, StatusCode};
use http_body_util::Empty;
use seawall::{BoxError, Cache, CacheLayer, Invalidation, Profile, UriKey, cache::Again};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};

use crate::{
    origin::{AnyBody, Service, scripted},
    support::{
        Read, Req,
        bodies::{Step, Steps},
        boxed, cache_builder, get, head, read, with,
    },
};

/// So many sequences of each kind, unless `SEAWALL_SCHEDULES` says otherwise.
const SEQUENCES: u64 = 6_000;

const LIFETIME: Duration = Duration::from_secs(10);
/// The longest that an answer may have been on its way: it is as old as its head.
const WAY: Duration = Duration::from_secs(2);

/// One state of the content.
#[derive(Clone, Debug)]
struct Version {
    number: usize,
    tag: Option<String>,
    body: Bytes,
}

impl Version {
    /// No two of fewer than 26 versions have the same byte in the same place.
    fn random(number: usize, random: &mut Rng, all_tagged: bool) -> Self {
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
enum Range {
    From(usize, usize),
    Open(usize),
    Last(usize),
}

impl Range {
    fn random(random: &mut Rng) -> Self {
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
struct Call {
    method: Method,
    range: Option<Range>,
    if_range: Option<String>,
    if_none_match: Option<String>,
    validates: bool,
    at: Instant,
    /// The last invalidation before it.
    floor: Option<Instant>,
}

impl Call {
    fn request(&self) -> Req {
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
struct Counts {
    answers: usize,
    hits: usize,
    parts: usize,
    wholes: usize,
    collapsed: usize,
    tails: usize,
    completed: usize,
    grown: usize,
    unmodified: usize,
    failed: usize,
}

struct State {
    versions: Vec<Version>,
    /// Since when the content was which version.
    history: Vec<(Instant, usize)>,
    random: Rng,
    /// It fails now and then.
    fails: bool,
    /// It answers with another range than was asked for, or with the whole, now and then.
    lies: bool,
    gave_whole: bool,
    counts: Counts,
}

type Shared = Arc<Mutex<State>>;

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

    fn answer(&mut self, request: &Req) -> Result<Response<AnyBody>, BoxError> {
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
            return Ok(self.streamed(StatusCode::OK, &fields, version.body));
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
        Ok(self.streamed(StatusCode::PARTIAL_CONTENT, &fields, body))
    }

    /// In up to three frames, with or without a length, and not always to the end.
    fn streamed(
        &mut self,
        status: StatusCode,
        fields: &[(&str, &str)],
        body: Bytes,
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
        let mut response = crate::support::streamed(&fields, Steps::new(steps)).map(boxed);
        *response.status_mut() = status;
        response
    }

    /// Panics where this is not one version of the content that the caller may have.
    fn check(&mut self, call: &Call, answer: Result<(Instant, Read), BoxError>) {
        self.counts.answers += 1;
        let (at, read) = match answer {
            Ok((at, read)) if read.status() != 503 => (at, read),
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
                let (first, last) = self.given(range.expect("a range was asked for"), &read, total);
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

struct Sequence {
    shared: Shared,
    cache: Cache,
    service: Service,
    random: Rng,
    floor: Option<Instant>,
    /// One request in so many is for the whole.
    rarity: u8,
    calls: Vec<(Call, JoinHandle<Result<(Instant, Read), BoxError>>)>,
}

impl Sequence {
    fn new(seed: u64, again: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let all_tagged = random.bool();
        let versions = (0..5).map(|number| Version::random(number, &mut random, all_tagged));
        let state = State {
            versions: versions.collect(),
            history: vec![(Instant::now(), 0)],
            fails: random.u8(..4) == 0,
            lies: random.u8(..4) == 0,
            gave_whole: false,
            counts: Counts::default(),
            random: random.fork(),
        };
        let shared: Shared = Arc::new(Mutex::new(state));
        let origin = Arc::clone(&shared);
        let inner = service_fn(move |request: Req| {
            let origin = Arc::clone(&origin);
            async move {
                let wait = |origin: &Shared| origin.lock().unwrap().random.u64(..200);
                let before = wait(&origin);
                sleep(Duration::from_millis(before)).await;
                let answer = origin.lock().unwrap().answer(&request);
                let after = wait(&origin);
                sleep(Duration::from_millis(after)).await;
                answer
            }
        });
        let cache = cache_builder().invalidation_slots(1_024).build();
        let profile = Profile::reverse_proxy().stale_when_unreachable(false);
        let layer = CacheLayer::new(cache.clone()).policy(profile);
        let inner = BoxCloneService::new(inner);
        let service: Service = if again {
            let layer = layer.key(Again::new(UriKey::new(), Empty::<Bytes>::new));
            BoxCloneService::new(layer.layer(inner).map_response(|answer| answer.map(boxed)))
        } else {
            BoxCloneService::new(layer.layer(inner).map_response(|answer| answer.map(boxed)))
        };
        let rarity = [2, 8, 20][random.usize(..3)];
        Self { shared, cache, service, random, floor: None, rarity, calls: Vec::new() }
    }

    fn tag(&mut self) -> Option<String> {
        let versions = &self.shared.lock().unwrap().versions;
        versions[self.random.usize(..versions.len())].tag.clone()
    }

    fn change(&mut self) {
        let mut shared = self.shared.lock().unwrap();
        let next = self.random.usize(..shared.versions.len());
        shared.history.push((Instant::now(), next));
    }

    async fn invalidate(&mut self, soft: bool) {
        let what = Invalidation::everything();
        let what = if soft { what.soft() } else { what };
        self.cache.invalidator().invalidate(&what).await;
        self.floor = Some(Instant::now());
    }

    async fn pause(&mut self, most: u64) {
        sleep(Duration::from_millis(self.random.u64(..most))).await;
    }

    fn call(&mut self, range: Option<Range>, all_tagged: bool) {
        let if_range = (range.is_some() && self.random.u8(..5) == 0).then(|| self.tag()).flatten();
        let if_none_match = (self.random.u8(..30) == 0).then(|| self.tag()).flatten();
        // Without a tag a HEAD tells by the length alone, which is not enough here.
        let head = all_tagged && self.random.u8(..30) == 0;
        let call = Call {
            method: if head { Method::HEAD } else { Method::GET },
            range,
            if_range,
            if_none_match,
            validates: self.random.u8(..15) == 0,
            at: Instant::now(),
            floor: self.floor,
        };
        let (service, request) = (self.service.clone(), call.request());
        let answer = tokio::spawn(async move {
            let response = service.oneshot(request).await?;
            let at = Instant::now();
            Ok((at, read(response).await?))
        });
        self.calls.push((call, answer));
    }

    async fn run(mut self) -> Counts {
        let all_tagged = self.shared.lock().unwrap().versions.iter().all(|one| one.tag.is_some());
        for _ in 0..self.random.usize(8..24) {
            match self.random.u8(..20) {
                0 => self.change(),
                1 => {
                    let soft = self.random.bool();
                    self.invalidate(soft).await;
                }
                // What a rest may come to: nothing but a beginning is stored.
                3 | 4 => {
                    self.invalidate(false).await;
                    let beginning = Range::From(0, self.random.usize(..8));
                    self.call(Some(beginning), all_tagged);
                    self.pause(1_500).await;
                    if self.random.u8(..4) == 0 {
                        self.change();
                    }
                    self.call(None, all_tagged);
                }
                2 => sleep(Duration::from_secs(self.random.u64(..12))).await,
                _ => {
                    let ranged = self.random.u8(..self.rarity) > 0;
                    let range = ranged.then(|| Range::random(&mut self.random));
                    self.call(range, all_tagged);
                }
            }
            if self.random.u8(..3) > 0 {
                self.pause(600).await;
            }
        }
        for (call, answer) in std::mem::take(&mut self.calls) {
            let answer = answer.await.unwrap();
            let shown = format!("{call:?}\n{answer:?}");
            let shown = Shown(shown);
            self.shared.lock().unwrap().check(&call, answer);
            std::mem::forget(shown);
        }
        sleep(Duration::from_secs(5)).await;
        let figures = self.cache.figures();
        let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
        assert_eq!(left, (0, 0, 0, 0), "{figures:?}");
        let counts = self.shared.lock().unwrap().counts;
        counts
    }
}

/// Says what it was that a check panicked at.
struct Shown(String);

impl Drop for Shown {
    fn drop(&mut self) {
        println!("{}", self.0);
    }
}

fn number_of(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

async fn random_sequences(again: bool) {
    let seed = number_of("SEAWALL_SEED").unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
    let many = number_of("SEAWALL_SCHEDULES").unwrap_or(SEQUENCES);
    let sequences = match number_of("SEAWALL_SCHEDULE") {
        Some(one) => one..one + 1,
        None => 0..many,
    };
    println!("SEAWALL_SEED={seed}");
    let mut all = Counts::default();
    for number in sequences {
        let mut of_this = DefaultHasher::new();
        (seed, number).hash(&mut of_this);
        let whose = Shown(format!("SEAWALL_SCHEDULE={number}"));
        let Counts {
            answers,
            hits,
            parts,
            wholes,
            collapsed,
            tails,
            completed,
            grown,
            unmodified,
            failed,
        } = Sequence::new(of_this.finish(), again).run().await;
        std::mem::forget(whose);
        for (sum, more) in [
            (&mut all.answers, answers),
            (&mut all.hits, hits),
            (&mut all.parts, parts),
            (&mut all.wholes, wholes),
            (&mut all.collapsed, collapsed),
            (&mut all.tails, tails),
            (&mut all.completed, completed),
            (&mut all.grown, grown),
            (&mut all.unmodified, unmodified),
            (&mut all.failed, failed),
        ] {
            *sum += more;
        }
    }
    println!("{many} sequences: {all:?}");
    if number_of("SEAWALL_SCHEDULE").is_none() && many >= 1_000 {
        let often = [all.hits, all.parts, all.wholes, all.collapsed];
        assert!(often.iter().all(|&times| times as u64 > many / 4), "{all:?}");
        let tails = [all.tails, all.completed];
        assert!(!again || tails.iter().all(|&times| times as u64 > many / 20), "{all:?}");
        assert!(all.grown as u64 > many / 200 && all.failed > 0 && all.unmodified > 0, "{all:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_one_version_that_its_caller_may_have() {
    random_sequences(false).await;
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_one_version_that_its_caller_may_have_also_where_the_rest_is_asked_for() {
    random_sequences(true).await;
}
