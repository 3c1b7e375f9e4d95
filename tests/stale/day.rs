//! A day of traffic on an origin that fails a tenth of the time.

use std::{
    collections::HashMap,
    future::{Future, pending},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use fastrand::Rng;
use seawall::{
    BoxError, Cache, Rejected, StaleWhileRevalidateLayer, cache::Figures, marks::Refresh,
};
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service};

use crate::{
    assert_nothing_is_left, millis, seconds,
    support::{Calls, Read, Req, answer, answer_status, get, origin, read},
};

const KEYS: usize = 2_000;
const DAY: Duration = seconds(24 * 60 * 60);
const LIFETIME: u64 = 60;
const WHILE_REVALIDATE: u64 = 60;
const IF_ERROR: u64 = 60 * 60;
/// The origin is well or not for so long at a time.
const SPELL: Duration = seconds(120);
/// Between two requests, in seconds.
const MEAN_PAUSE: f64 = 0.9;

/// Keys by rank, the n-th with a share of 1/n.
struct Zipf {
    /// Up to which share of all requests a key and those above it go.
    shares: Vec<f64>,
}

impl Zipf {
    fn over(keys: usize) -> Self {
        let all: f64 = (1..=keys).map(|rank| 1.0 / rank as f64).sum();
        let mut sum = 0.0;
        let shares = (1..=keys).map(|rank| {
            sum += 1.0 / rank as f64 / all;
            sum
        });
        Self { shares: shares.collect() }
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        let at = rng.f64();
        self.shares.partition_point(|share| *share <= at).min(self.shares.len() - 1)
    }

    fn share(&self, key: usize) -> f64 {
        self.shares[key] - if key == 0 { 0.0 } else { self.shares[key - 1] }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Spell {
    Well,
    Error,
    Unreachable,
    Hanging,
}

/// How the origin is in each spell of the day: ill in a tenth of them.
fn weather(rng: &mut Rng) -> Arc<[Spell]> {
    let spells = (DAY.as_secs() / SPELL.as_secs()) as usize;
    let ill = [Spell::Error, Spell::Unreachable, Spell::Hanging];
    let mut weather: Vec<_> = (0..spells)
        .map(|nth| if nth < spells / 10 { ill[nth % ill.len()] } else { Spell::Well })
        .collect();
    rng.shuffle(&mut weather);
    weather.into()
}

fn spell_at(weather: &[Spell], since: Duration) -> (usize, Spell) {
    let nth = (since.as_secs() / SPELL.as_secs()) as usize;
    (nth, weather.get(nth).copied().unwrap_or(Spell::Well))
}

/// What became of all requests.
#[derive(Debug, Default)]
struct Tally {
    requests: usize,
    hit: usize,
    stale: usize,
    miss: usize,
    refused: usize,
    errors: usize,
    /// The ages of what was served, in seconds.
    ages: Vec<u64>,
}

impl Tally {
    fn take(&mut self, began: Instant, answered: Result<Read, BoxError>) {
        self.requests += 1;
        let read = match answered {
            Ok(read) if read.status() == 200 => read,
            Ok(_) => return self.errors += 1,
            Err(error) if Rejected::find(&*error).is_some() => return self.refused += 1,
            Err(_) => return self.errors += 1,
        };
        let status = read.cache_status();
        match () {
            () if status.contains("detail=stale") => self.stale += 1,
            () if status.starts_with("hit") => self.hit += 1,
            () => self.miss += 1,
        }
        let said: u64 = read.field("age").unwrap_or("0").parse().unwrap();
        let made: u64 = read.field("x-made").unwrap().parse().unwrap();
        let age = began.elapsed().as_millis() as u64 - made;
        assert!(said.abs_diff(age / 1_000) <= 1, "it says {said} s and is {age} ms: {status}");
        self.ages.push(said);
    }

    /// The median, the 99th percentile and the maximum.
    fn ages(&mut self) -> [u64; 3] {
        self.ages.sort_unstable();
        let last = self.ages.len() - 1;
        [last / 2, last * 99 / 100, last].map(|at| self.ages[at])
    }
}

/// At most so many calls: one a key within what jitter and XFetch leave of its lifetime, anew after each
/// spell of illness; and within one no more than the back-off lets through.
#[derive(Default)]
struct Bound {
    /// When a key may have been called for last while the origin was well.
    last: HashMap<usize, Duration>,
    /// How often a key was asked for in a spell in which the origin was ill.
    failing: HashMap<(usize, usize), usize>,
    calls: usize,
}

impl Bound {
    /// The steps of the back-off where there is nothing stale: 250 ms, doubled to 2 s, less a tenth.
    const STEPS_A_SPELL: usize = 4 + 120_000 / 1_800;
    const APART: Duration = seconds(LIFETIME * 9 / 10 - 5);

    fn request(&mut self, key: usize, at: Duration, (nth, spell): (usize, Spell)) {
        if spell != Spell::Well {
            let steps = self.failing.entry((key, nth)).or_default();
            *steps += 1;
            self.calls += usize::from(*steps <= Self::STEPS_A_SPELL);
            self.last.remove(&key);
        } else if self.last.get(&key).is_none_or(|last| at >= *last + Self::APART) {
            self.last.insert(key, at);
            self.calls += 1;
        }
    }
}

fn well_or_not(
    began: Instant,
    weather: Arc<[Spell]>,
) -> (Calls, Calls, crate::support::BoxedOrigin) {
    let refreshes = Calls::default();
    let refreshed = refreshes.clone();
    let (calls, inner) = origin(move |call, request: Req| {
        if request.extensions().get::<Refresh>().is_some() {
            refreshed.add();
        }
        let (_, spell) = spell_at(&weather, began.elapsed());
        let validates = request.headers().get("if-none-match").is_some();
        async move {
            match spell {
                Spell::Well => {}
                Spell::Error => return Ok(answer_status(503, &[], "out of order")),
                Spell::Unreachable => return Err::<_, BoxError>("connection refused".into()),
                Spell::Hanging => return pending().await,
            }
            sleep(millis(20 + 60 * (call as u64 % 5))).await;
            let made = began.elapsed().as_millis().to_string();
            let control = format!("max-age={LIFETIME}");
            let fields = [("cache-control", &*control), ("etag", "\"a\""), ("x-made", &*made)];
            Ok(match validates {
                true => answer_status(304, &fields, ""),
                false => answer(&fields, vec![b'x'; 400]),
            })
        }
    });
    (calls, refreshes, inner)
}

/// Calls, and takes note at once where the answer is there: most are hits, and need no task.
fn ask<S, B>(service: &S, path: &str, began: Instant, tally: &Arc<Mutex<Tally>>)
where
    S: Service<Req, Response = http::Response<B>, Error = BoxError, Future: Send>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (mut service, request) = (service.clone(), get(path));
    let mut asking: Pin<Box<dyn Future<Output = _> + Send>> =
        Box::pin(async move { read(service.call(request).await?).await });
    match asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answered) => tally.lock().unwrap().take(began, answered),
        Poll::Pending => {
            let tally = Arc::clone(tally);
            tokio::spawn(async move {
                let answered = asking.await;
                tally.lock().unwrap().take(began, answered);
            });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_of_traffic_on_an_origin_that_fails_a_tenth_of_the_time() {
    const SEED: u64 = 20_261_121;
    fastrand::seed(SEED);
    let mut rng = Rng::with_seed(SEED);
    let (zipf, weather) = (Zipf::over(KEYS), weather(&mut rng));
    let paths: Vec<_> = (0..KEYS).map(|key| format!("/{key}")).collect();
    let began = Instant::now();
    let (calls, refreshes, inner) = well_or_not(began, Arc::clone(&weather));
    let cache = Cache::new(crate::support::store());
    let layer = StaleWhileRevalidateLayer::new(cache.clone(), seconds(WHILE_REVALIDATE))
        .stale_if_error(seconds(IF_ERROR));
    let service = layer.layer(inner);
    let (tally, mut bound) = (Arc::new(Mutex::new(Tally::default())), Bound::default());
    let (mut at, mut hours) = (0.0, Vec::<Figures>::new());
    loop {
        at += -MEAN_PAUSE * (1.0 - rng.f64()).ln();
        let since = Duration::from_secs_f64(at);
        if since >= DAY {
            break;
        }
        sleep_until(began + since).await;
        let key = zipf.draw(&mut rng);
        bound.request(key, began.elapsed(), spell_at(&weather, began.elapsed()));
        ask(&service, &paths[key], began, &tally);
        if since.as_secs() / 3_600 > hours.len() as u64 {
            hours.push(cache.figures());
        }
    }
    // Whoever is left hangs for at most one fetch.
    sleep(seconds(60)).await;
    assert_nothing_is_left(&cache);
    let figures = cache.figures();
    hours.push(figures);
    let tally = &mut *tally.lock().unwrap();
    let share = |count: usize| 100.0 * count as f64 / tally.requests as f64;
    // What a cache that only ever answers fresh would answer, were the origin never ill; less the
    // tenth in which it is.
    let floor: f64 = (0..KEYS)
        .map(|key| {
            let share = zipf.share(key);
            let within_lifetime = share * LIFETIME as f64 / MEAN_PAUSE;
            share * within_lifetime / (1.0 + within_lifetime)
        })
        .sum::<f64>()
        * 0.9;
    println!("seed {SEED}: 24 h, {KEYS} keys by Zipf, an origin that is ill for a tenth of it");
    for (name, count) in [
        ("requests", tally.requests),
        ("hit", tally.hit),
        ("stale", tally.stale),
        ("miss", tally.miss),
        ("refused", tally.refused),
        ("errors", tally.errors),
        ("origin calls", calls.count()),
        ("of these refreshes", refreshes.count()),
        ("their bound", bound.calls),
    ] {
        println!("{name:>20} {count:>8} {:>6.2} %", share(count));
    }
    let served = (tally.hit + tally.stale) as f64 / tally.requests as f64;
    println!("{:>20} {:>15.2} %, at least {:.2} %", "hit + stale", 100.0 * served, 100.0 * floor);
    let all = tally.hit + tally.stale + tally.miss + tally.refused + tally.errors;
    assert_eq!(tally.requests, all);
    let [median, most, oldest] = tally.ages();
    println!("{:>20} median {median} s, 99 % {most} s, at most {oldest} s", "age served");
    println!("{:>20} {} records, {} bytes", "stored", figures.records, figures.bytes);

    assert!(served >= floor);
    assert!(calls.count() <= bound.calls);
    assert!(median <= LIFETIME && oldest <= LIFETIME + IF_ERROR + 1);
    assert!(oldest > LIFETIME + WHILE_REVALIDATE, "the origin was never missed");
    let at_noon = hours[11];
    for figures in &hours[11..] {
        assert!(figures.records <= KEYS as u64 && figures.failing <= KEYS, "{figures:?}");
        assert!(figures.bytes <= at_noon.bytes * 21 / 20, "{at_noon:?}, later {figures:?}");
    }
}
