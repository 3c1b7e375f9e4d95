//! The shedder as a layer: who is admitted, who is refused and how, and that every place comes back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "load_shed/adaptive.rs"]
mod adaptive;
#[path = "load_shed/breaker.rs"]
mod breaker;
#[path = "load_shed/cached.rs"]
mod cached;
#[path = "load_shed/chaos.rs"]
mod chaos;
#[path = "load_shed/criticality.rs"]
mod criticality;
#[path = "load_shed/events.rs"]
mod events;
#[path = "load_shed/overload.rs"]
mod overload;
#[path = "load_shed/places.rs"]
mod places;
#[path = "load_shed/quotas.rs"]
mod quotas;
#[path = "load_shed/refreshes.rs"]
mod refreshes;
#[path = "load_shed/refusals.rs"]
mod refusals;
#[path = "load_shed/samples.rs"]
mod samples;
#[path = "load_shed/sockets.rs"]
mod sockets;
#[path = "load_shed/tower.rs"]
mod tower_layers;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::Response;
use seawall::{
    BoxError, Reason, Rejected,
    load_shed::{
        Criticality,
        limit::{Limit, Sample},
    },
    observe::Event,
};
use support::{Req, Res, answer};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tower::{Service, ServiceExt, service_fn};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const SECOND: Duration = Duration::from_secs(1);

/// How many calls an origin has under way, and the most there ever were.
#[derive(Clone, Debug, Default)]
struct Watch {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Watch {
    fn enter(&self) -> Inside {
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        Inside(self.clone())
    }

    fn now(&self) -> usize {
        self.now.load(SeqCst)
    }

    fn most(&self) -> usize {
        self.most.load(SeqCst)
    }
}

/// A call under way.
#[derive(Debug)]
struct Inside(Watch);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

/// Makes a call and leaves its answer unread: its place is taken until that is dropped.
async fn hold<S, B>(service: &S, request: Req) -> Result<Response<B>, BoxError>
where
    S: Service<Req, Response = Response<B>, Error = BoxError> + Clone,
{
    service.clone().oneshot(request).await
}

/// Holds as many calls as are admitted.
async fn fill<S, B>(service: &S, request: impl Fn() -> Req) -> Vec<Response<B>>
where
    S: Service<Req, Response = Response<B>, Error = BoxError> + Clone,
{
    let mut held = Vec::new();
    loop {
        match hold(service, request()).await {
            Ok(answer) => held.push(answer),
            Err(error) => {
                assert_eq!(reason(&error), Some(Reason::Shed), "{error}");
                return held;
            }
        }
    }
}

fn reason(error: &BoxError) -> Option<Reason> {
    Rejected::find(&**error).map(Rejected::reason)
}

fn wait(error: &BoxError) -> Duration {
    Rejected::find(&**error).and_then(Rejected::wait).expect("a refusal says when to come back")
}

fn of_class(class: Criticality, mut request: Req) -> Req {
    request.extensions_mut().insert(class);
    request
}

/// An origin with so many workers that serve in `mean` on average, exponentially. Whoever finds none
/// free waits in line, without end. Its answers are empty: a place is free again at the head.
fn workers(
    workers: usize,
    mean: Duration,
    watch: &Watch,
) -> impl Service<Req, Response = Res, Error = BoxError, Future: Send> + Clone + Send + 'static {
    let free = Arc::new(Semaphore::new(workers));
    let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(1)));
    let watch = watch.clone();
    service_fn(move |_: Req| {
        let (free, watch) = (Arc::clone(&free), watch.clone());
        let serves = mean.mul_f64(-(1.0 - random.lock().unwrap().f64()).ln());
        async move {
            let _inside = watch.enter();
            let _worker = free.acquire().await?;
            sleep(serves).await;
            Ok(answer(&[], ""))
        }
    })
}

/// Callers that ask one call after the other for so long; the largest limit that was seen meanwhile.
async fn keep_asking<S>(
    service: &S,
    gauge: &seawall::load_shed::Gauge,
    callers: usize,
    lasts: Duration,
) -> usize
where
    S: Service<Req, Response: Send, Error = BoxError, Future: Send> + Clone + Send + 'static,
{
    let until = Instant::now() + lasts;
    let largest = Arc::new(AtomicUsize::new(0));
    let asking = (0..callers).map(|_| {
        let (service, gauge, largest) = (service.clone(), gauge.clone(), Arc::clone(&largest));
        async move {
            while Instant::now() < until {
                if service.clone().oneshot(support::get("/")).await.is_err() {
                    sleep(millis(25)).await;
                }
                largest.fetch_max(gauge.limit(), SeqCst);
            }
        }
    });
    asking.collect::<tokio::task::JoinSet<_>>().join_all().await;
    largest.load(SeqCst)
}

/// A limit that stays, and keeps what it is told.
#[derive(Clone, Debug)]
struct Told {
    limit: usize,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Told {
    fn new(limit: usize) -> Self {
        Self { limit, samples: Arc::default() }
    }

    fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap().clone()
    }
}

impl Limit for Told {
    fn limit(&self) -> usize {
        self.limit
    }

    fn sample(&mut self, sample: &Sample, _: Instant) {
        self.samples.lock().unwrap().push(*sample);
    }
}

/// What a shedder tells its observer of.
#[derive(Clone, Debug, Default)]
struct Noted {
    shed: Arc<Mutex<Vec<Criticality>>>,
    over_quota: support::Calls,
    table_full: support::Calls,
}

impl Noted {
    fn observer(&self) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
        let noted = self.clone();
        move |event| match event {
            Event::Shed(class) => noted.shed.lock().unwrap().push(*class),
            Event::OverQuota => drop(noted.over_quota.add()),
            Event::QuotaTableFull => drop(noted.table_full.add()),
            other => panic!("{other:?} is none of the shedder's"),
        }
    }

    fn shed(&self) -> Vec<Criticality> {
        self.shed.lock().unwrap().clone()
    }
}
