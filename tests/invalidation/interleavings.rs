//! A hundred thousand random interleavings over the real service, a quarter for each stack.
//!
//! `SEAWALL_SEED` sets the seed, `SEAWALL_SCHEDULES` how many schedules a stack is put through, and
//! `SEAWALL_SCHEDULE` the number of the one that alone is run.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, Response};
use http_body_util::combinators::UnsyncBoxBody;
use seawall::{
    BoxError, Cache, CacheLayer, CoalesceLayer, Invalidation, Invalidator,
    StaleWhileRevalidateLayer, UriKey,
};
use tokio::{
    task::{JoinHandle, yield_now},
    time::advance,
};
use tower::{Layer, Service, ServiceExt, util::BoxCloneService};

use crate::{
    gated::{Answers, Gate, Stage, tag_of, version_of},
    support::{Read, Req, boxed, cache_builder, get, head, read, with},
};

const PATHS: [&str; 2] = ["/a", "/b"];
const SCHEDULES: u64 = 25_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type AnyService = BoxCloneService<Req, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stack {
    Cache,
    StaleWhileRevalidate,
    CoalesceOverStaleWhileRevalidate,
    CacheOverAnother,
}

/// The versions below which a caller who comes now is not answered.
#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    /// Not at all.
    hard: u64,
    /// Only if it says that it is stale.
    soft: u64,
}

struct Caller {
    path: &'static str,
    floor: Floor,
    asked: String,
    task: JoinHandle<Result<Read, BoxError>>,
}

struct Schedule {
    stack: Stack,
    rng: Rng,
    gate: Gate,
    caches: Vec<Cache>,
    invalidators: Vec<Invalidator>,
    service: AnyService,
    vary: bool,
    floors: HashMap<&'static str, Floor>,
    callers: Vec<Caller>,
    trace: String,
    counts: Counts,
}

/// How often what has to be put to the test came about.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    answers: usize,
    stale: usize,
    shared: usize,
    hits: usize,
    failed: usize,
    validated: usize,
    invalidated: usize,
    invalidated_in_flight: usize,
}

impl Schedule {
    fn new(stack: Stack, seed: u64) -> Self {
        // XFetch draws from the generator of the thread, the only one that this test has.
        fastrand::seed(seed);
        let mut rng = Rng::with_seed(seed);
        let vary = rng.u8(..4) == 0;
        let gate = Gate::new(Answers { sized: rng.bool(), vary, ..Answers::default() });
        let cache = || {
            let bounds = cache_builder().invalidation_slots(1024).stale_after(DAY);
            bounds.fetch_deadline(DAY).stalled_after(DAY).build()
        };
        let caches: Vec<_> =
            (0..1 + usize::from(stack == Stack::CacheOverAnother)).map(|_| cache()).collect();
        let window = 30 * Duration::from_secs(1);
        let plain = CacheLayer::new(caches[0].clone()).store_unframed(true);
        let eager = |cache: &Cache| {
            let layer =
                StaleWhileRevalidateLayer::new(cache.clone(), window).stale_if_error(window);
            layer.into_cache_layer().store_unframed(true)
        };
        let origin = gate.origin();
        let service = match stack {
            Stack::Cache => erased(plain.layer(origin)),
            Stack::StaleWhileRevalidate => erased(eager(&caches[0]).layer(origin)),
            Stack::CoalesceOverStaleWhileRevalidate => {
                erased(CoalesceLayer::new().layer(eager(&caches[0]).layer(origin)))
            }
            Stack::CacheOverAnother if rng.bool() => {
                erased(plain.layer(eager(&caches[1]).layer(origin)))
            }
            Stack::CacheOverAnother => {
                let below = CacheLayer::new(caches[1].clone()).store_unframed(true);
                erased(eager(&caches[0]).layer(below.layer(origin)))
            }
        };
        let invalidators = caches.iter().map(Cache::invalidator).collect();
        let (floors, callers, trace) = (HashMap::new(), Vec::new(), String::new());
        let counts = Counts::default();
        Self {
            stack,
            rng,
            gate,
            caches,
            invalidators,
            service,
            vary,
            floors,
            callers,
            trace,
            counts,
        }
    }

    /// Some steps, then everything to its end.
    async fn run(&mut self) {
        let steps = 8 + self.rng.usize(..24);
        for _ in 0..steps {
            match self.rng.u8(..100) {
                0..34 => self.ask(),
                34..70 => self.proceed(),
                70..85 => self.invalidate().await,
                85..89 => self.post().await,
                89..95 => {
                    let seconds = [1, 9, 11, 60][self.rng.usize(..4)];
                    self.note(format_args!("+{seconds}s"));
                    advance(Duration::from_secs(seconds)).await;
                }
                _ => self.leave(),
            }
            // How far the tasks get before the next step is part of the schedule.
            for _ in 0..self.rng.u8(..5) {
                self.note(format_args!("."));
                yield_now().await;
            }
        }
        self.finish().await;
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.write_fmt(what).unwrap();
        self.trace.push(' ');
    }

    fn path(&mut self) -> &'static str {
        PATHS[self.rng.usize(..PATHS.len())]
    }

    fn ask(&mut self) {
        let path = self.path();
        let mut request = if self.rng.u8(..10) == 0 { head(path) } else { get(path) };
        if self.rng.u8(..12) == 0 {
            request = with(request, "cache-control", "no-cache");
        }
        if self.vary {
            let language = ["de", "en"][self.rng.usize(..2)];
            request = with(request, "accept-language", language);
        }
        let number = self.callers.len();
        let asked = format!("{number}:{}{path}{:?}", request.method(), request.headers());
        self.note(format_args!("{asked}"));
        let floor = self.floors.get(path).copied().unwrap_or_default();
        // What is called here has come here, whenever its task is run.
        let answer = self.service.call(request);
        let task = tokio::spawn(async move { read(answer.await?).await });
        self.callers.push(Caller { path, floor, asked, task });
    }

    fn proceed(&mut self) {
        let calls = self.gate.state().pending.len();
        if calls == 0 {
            return;
        }
        let index = self.rng.usize(..calls);
        let (stage, path) = {
            let pending = &self.gate.state().pending[index];
            self.counts.validated += usize::from(pending.conditional);
            (pending.stage, pending.path.clone())
        };
        if stage == Stage::Called && self.rng.u8(..20) == 0 {
            self.note(format_args!("fail{index}{path}"));
            self.gate.fail(index);
        } else {
            self.note(format_args!("{stage:?}{index}{path}"));
            self.gate.proceed(index);
        }
    }

    async fn invalidate(&mut self) {
        let path = self.path();
        let (which, hard) = (self.rng.u8(..8), self.rng.bool());
        let (what, paths): (_, &[&str]) = match which {
            0 | 1 => (Invalidation::key(&UriKey::new(), &get(path)).unwrap(), &[path]),
            2 => (Invalidation::uri(get(path).uri()).unwrap(), &[path]),
            3..=5 => (Invalidation::tag(tag_of(path)), &[path]),
            6 => (Invalidation::tag("all"), &PATHS),
            _ => (Invalidation::everything(), &PATHS),
        };
        let what = if hard { what } else { what.soft() };
        self.note(format_args!("{what:?}"));
        self.counts.invalidated += 1;
        self.counts.invalidated_in_flight += usize::from(!self.gate.state().pending.is_empty());
        let mut raised = Vec::new();
        for &path in paths {
            let tag = self.rng.bool();
            raised.push((
                PATHS.into_iter().find(|&one| one == path).unwrap(),
                self.gate.change(path, tag),
            ));
        }
        // Of two caches the lower one is told first: what it validates before that, the upper one
        // could not tell from what is new.
        for index in (0..self.invalidators.len()).rev() {
            self.invalidators[index].invalidate(&what).await;
            if self.rng.bool() {
                self.note(format_args!("inv{index}"));
                yield_now().await;
            }
        }
        for (path, version) in raised {
            let floor = self.floors.entry(path).or_default();
            floor.soft = version;
            if hard {
                floor.hard = version;
            }
        }
    }

    async fn post(&mut self) {
        let path = self.path();
        self.note(format_args!("POST{path}"));
        let mut request = get(path);
        *request.method_mut() = Method::POST;
        self.service.clone().oneshot(request).await.unwrap();
        let version = self.gate.state().content[path].version;
        self.floors.insert(path, Floor { hard: version, soft: version });
    }

    fn leave(&mut self) {
        if !self.callers.is_empty() {
            let index = self.rng.usize(..self.callers.len());
            self.note(format_args!("leave{index}"));
            self.callers[index].task.abort();
        }
    }

    async fn finish(&mut self) {
        for path in PATHS {
            let floor = self.floors.get(path).copied().unwrap_or_default();
            let answer = self.service.call(get(path));
            let asked = format!("last:GET{path}");
            let task = tokio::spawn(async move { read(answer.await?).await });
            self.callers.push(Caller { path, floor, asked, task });
        }
        let mut turns = 0;
        while self.callers.iter().any(|caller| !caller.task.is_finished()) {
            self.gate.finish();
            yield_now().await;
            turns += 1;
            assert!(turns < 10_000, "it hangs: {}", self.trace);
        }
        for caller in std::mem::take(&mut self.callers) {
            match caller.task.await {
                Ok(Ok(read)) => self.check(caller.path, caller.floor, &caller.asked, &read),
                // The origin has failed, or has just failed.
                Ok(Err(_)) => self.counts.failed += 1,
                Err(left) => assert!(left.is_cancelled(), "{left}: {}", self.trace),
            }
        }
        // Refreshes go on when their callers have gone.
        let flies = |cache: &Cache| cache.figures().refreshes + cache.figures().flights > 0;
        while self.caches.iter().any(flies) {
            self.gate.finish();
            yield_now().await;
            turns += 1;
            assert!(turns < 10_000, "it goes on for ever: {}", self.trace);
        }
        for cache in &self.caches {
            let figures = cache.figures();
            let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
            assert_eq!((left, figures.refreshes), ((0, 0, 0, 0), 0), "{}", self.trace);
        }
    }

    fn check(&mut self, path: &str, floor: Floor, asked: &str, read: &Read) {
        let version = version_of(read);
        let status = read.cache_status();
        let told = || format!("{asked} got {version} ({status}), {floor:?}: {}", self.trace);
        if let Some((one, other)) = read.text().split_once(' ') {
            let sent: u64 = one.parse().unwrap();
            assert_eq!(one, other, "two answers in one: {}", told());
            // What is invalidated hard is not validated. Only where the upper of two caches has been
            // told and the lower has not, the lower may: the origin says then that it is as good.
            let fetched = sent >= floor.hard || self.stack == Stack::CacheOverAnother;
            assert!(fetched, "a body from before an invalidation, {sent}: {}", told());
        } else {
            assert!(read.body.is_empty() && asked.contains("HEAD"), "{}", told());
        }
        assert!(version >= floor.hard, "an answer from before an invalidation: {}", told());
        // Of two caches the upper tells; it asked the lower one, which was stale.
        let asked_below = self.stack == Stack::CacheOverAnother && status.contains("fwd=");
        let says_stale = status.contains("detail=") || asked_below;
        assert!(version >= floor.soft || says_stale, "stale, and does not say so: {}", told());
        let now = self.gate.state().content.get(path).copied().unwrap_or_default();
        assert!(version <= now.version, "{}", told());
        self.counts.answers += 1;
        self.counts.stale += usize::from(status.contains("detail="));
        self.counts.shared += usize::from(status.contains("collapsed"));
        self.counts.hits += usize::from(status == "hit");
    }
}

fn erased<S, B>(service: S) -> AnyService
where
    S: Service<Req, Response = Response<B>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    BoxCloneService::new(service.map_response(|answer| answer.map(boxed)).map_err(Into::into))
}

fn number_of(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

async fn random_schedules(stack: Stack) {
    let seed = number_of("SEAWALL_SEED").unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
    let many = number_of("SEAWALL_SCHEDULES").unwrap_or(SCHEDULES);
    let schedules = match number_of("SEAWALL_SCHEDULE") {
        Some(one) => one..one + 1,
        None => 0..many,
    };
    // Kept by the harness, and shown where a schedule fails.
    println!("{stack:?}: SEAWALL_SEED={seed}");
    let mut distinct = HashSet::new();
    let mut all = Counts::default();
    for number in schedules {
        let mut of_this = DefaultHasher::new();
        (seed, number).hash(&mut of_this);
        let mut schedule = Schedule::new(stack, of_this.finish());
        schedule.counts = all;
        let whose = Number(number);
        schedule.run().await;
        std::mem::forget(whose);
        all = schedule.counts;
        let mut trace = DefaultHasher::new();
        schedule.trace.hash(&mut trace);
        distinct.insert(trace.finish());
    }
    println!("{stack:?}: {many} schedules, {} distinct; {all:?}", distinct.len());
    if number_of("SEAWALL_SCHEDULE").is_none() && many >= 1000 {
        assert!(distinct.len() as u64 > many * 9 / 10);
        let often = [all.hits, all.shared, all.validated, all.invalidated_in_flight];
        assert!(often.iter().all(|&times| times as u64 > many / 100), "{all:?}");
    }
}

/// Says which schedule it was that panicked.
struct Number(u64);

impl Drop for Number {
    fn drop(&mut self) {
        println!("SEAWALL_SCHEDULE={}", self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn no_interleaving_serves_what_was_invalidated_from_a_cache() {
    random_schedules(Stack::Cache).await;
}

#[tokio::test(start_paused = true)]
async fn no_interleaving_serves_what_was_invalidated_while_it_revalidates() {
    random_schedules(Stack::StaleWhileRevalidate).await;
}

#[tokio::test(start_paused = true)]
async fn no_interleaving_serves_what_was_invalidated_through_a_coalescing_layer_above() {
    random_schedules(Stack::CoalesceOverStaleWhileRevalidate).await;
}

#[tokio::test(start_paused = true)]
async fn no_interleaving_serves_what_was_invalidated_from_two_caches_with_two_stores() {
    random_schedules(Stack::CacheOverAnother).await;
}
