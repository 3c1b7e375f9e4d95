//! Random requests at random moments against an origin that changes: whatever parts are stored, joined
//! and completed, every answer is one version of the content, and one that it may be.

use std::{
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use http::Method;
use http_body_util::Empty;
use seawall::{BoxError, Cache, CacheLayer, Invalidation, Profile, UriKey, cache::Again};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};

use crate::{
    model::{Call, Counts, Range, Shared, State, Version},
    origin::Service,
    support::{Read, Req, boxed, cache_builder, read},
};

/// So many sequences of each kind, unless `SEAWALL_SCHEDULES` says otherwise.
const SEQUENCES: u64 = 5_000;

type Answer = JoinHandle<Result<(Instant, Read), BoxError>>;

struct Sequence {
    shared: Shared,
    cache: Cache,
    service: Service,
    random: Rng,
    floor: Option<Instant>,
    /// One request in so many is for the whole.
    rarity: u8,
    calls: Vec<(Call, Answer)>,
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
            let _shown = Shown(&(&call, &answer));
            self.shared.lock().unwrap().check(&call, &answer);
        }
        sleep(Duration::from_secs(5)).await;
        let figures = self.cache.figures();
        let left = (figures.flights, figures.followers, figures.orphans, figures.filling);
        assert_eq!(left, (0, 0, 0, 0), "{figures:?}");
        self.shared.lock().unwrap().counts
    }
}

/// Says what it was about where a check panics.
struct Shown<'a>(&'a dyn Debug);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{:#?}", self.0);
        }
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
        let whose = ("SEAWALL_SCHEDULE", number);
        let _whose = Shown(&whose);
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
