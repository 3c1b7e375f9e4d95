//! Calls that end in every way there is, at every stage: their places come back.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use seawall::{BoxError, LoadShedLayer, load_shed::Criticality};
use tower::{Layer, Service, ServiceExt};

use crate::{Inside, Watch, fill, millis, of_class, reason, support::Req, support::get};

const LIMIT: usize = 16;
const CALLS: usize = 100_000;
const CLASSES: [Criticality; 4] =
    [Criticality::Background, Criticality::Sheddable, Criticality::Normal, Criticality::Critical];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Ready,
    Call,
    BeforeHead,
    MidBody,
    AtEnd,
}

const STAGES: [Stage; 5] =
    [Stage::Ready, Stage::Call, Stage::BeforeHead, Stage::MidBody, Stage::AtEnd];

/// What goes wrong with a call, and where. Nothing, where it does not fit: a `call` cannot fail.
#[derive(Clone, Copy, Debug)]
struct Fault {
    stage: Stage,
    panics: bool,
}

impl Fault {
    fn at(fault: Option<Self>, stage: Stage) -> Result<(), BoxError> {
        match fault {
            Some(fault) if fault.stage == stage && fault.panics => panics(),
            Some(fault) if fault.stage == stage => Err("as it was told".into()),
            _ => Ok(()),
        }
    }
}

/// Panics without a word on standard error.
fn panics() -> ! {
    resume_unwind(Box::new("as it was told"))
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    ByLength,
    WithoutAWord,
    WithTrailers,
}

/// What a call is to do.
#[derive(Clone, Copy, Debug)]
struct Plan {
    fault: Option<Fault>,
    ends: Ends,
}

#[derive(Clone)]
struct Origin {
    watch: Watch,
}

/// Once or twice in a while.
fn pause() -> impl Future<Output = ()> {
    let pauses = fastrand::usize(0..3);
    async move {
        for _ in 0..pauses {
            tokio::task::yield_now().await;
        }
    }
}

impl Service<Req> for Origin {
    type Response = Response<Chaos>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Chaos>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match fastrand::u8(..) {
            0..3 => panics(),
            3..6 => Poll::Ready(Err("not now".into())),
            6..80 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let plan: Plan = *request.extensions().get().unwrap();
        let inside = self.watch.enter();
        let called = Fault::at(plan.fault, Stage::Call);
        Box::pin(async move {
            called?;
            pause().await;
            Fault::at(plan.fault, Stage::BeforeHead)?;
            let mut response =
                Response::new(Chaos { plan, inside: Some(inside), left: 3, waits: false });
            let fields = response.headers_mut();
            match plan.ends {
                Ends::ByLength => fields.insert("content-length", 3.into()),
                Ends::WithoutAWord => None,
                Ends::WithTrailers => {
                    fields.insert("content-type", "application/grpc".parse().unwrap())
                }
            };
            Ok(response)
        })
    }
}

/// Three bytes, a frame each, and then what the plan says.
struct Chaos {
    plan: Plan,
    inside: Option<Inside>,
    left: usize,
    waits: bool,
}

impl Body for Chaos {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.waits = !self.waits;
        if self.waits {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let stage = match self.left {
            2 => Stage::MidBody,
            0 => Stage::AtEnd,
            _ => Stage::Ready,
        };
        if let Err(error) = Fault::at(self.plan.fault, stage) {
            self.inside = None;
            return Poll::Ready(Some(Err(error)));
        }
        if self.left > 0 {
            self.left -= 1;
            if self.left == 0 && self.plan.ends == Ends::ByLength {
                self.inside = None;
            }
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))));
        }
        let trailers = self.plan.ends == Ends::WithTrailers && self.inside.is_some();
        self.inside = None;
        Poll::Ready(trailers.then(|| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", 0.into());
            Ok(Frame::trailers(trailers))
        }))
    }
}

/// Polls so often at most; `None`: it was dropped before its end.
async fn for_polls<F: Future>(mut polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// How many calls ended in which way.
#[derive(Debug, Default)]
struct Ways {
    refused: AtomicUsize,
    left: AtomicUsize,
    failed: AtomicUsize,
    whole: AtomicUsize,
    panicked: AtomicUsize,
}

/// One call, with a random plan and a caller of random patience.
async fn calls<S, B>(mut service: S, ways: Arc<Ways>)
where
    S: Service<Req, Response = Response<B>, Error = BoxError>,
    B: Body<Data = Bytes, Error = BoxError>,
{
    let fault = Fault { stage: STAGES[fastrand::usize(0..5)], panics: fastrand::bool() };
    let ends = [Ends::ByLength, Ends::WithoutAWord, Ends::WithTrailers][fastrand::usize(0..3)];
    let plan = Plan { fault: fastrand::bool().then_some(fault), ends };
    let mut request = of_class(CLASSES[fastrand::usize(0..4)], get("/"));
    request.extensions_mut().insert(plan);
    let polls = if fastrand::bool() { usize::MAX } else { fastrand::usize(0..16) };
    let answered = service.call(request);
    let read = for_polls(polls, async { answered.await?.into_body().collect().await });
    let way = match read.await {
        None => &ways.left,
        Some(Ok(_)) => &ways.whole,
        Some(Err(error)) if reason(&error).is_some() => &ways.refused,
        Some(Err(_)) => &ways.failed,
    };
    way.fetch_add(1, SeqCst);
    if std::ptr::eq(way, &ways.refused) {
        tokio::time::sleep(millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_calls_end_they_are_never_more_than_the_limit_and_all_places_come_back() {
    let layer = LoadShedLayer::fixed(LIMIT);
    let watch = Watch::default();
    let service = layer.layer(Origin { watch: watch.clone() });
    let (ways, made) = (Arc::<Ways>::default(), Arc::new(AtomicUsize::new(0)));
    let callers = (0..48).map(|_| {
        let (service, ways, made) = (service.clone(), Arc::clone(&ways), Arc::clone(&made));
        async move {
            while made.fetch_add(1, SeqCst) < CALLS {
                let call = tokio::spawn(calls(service.clone(), Arc::clone(&ways)));
                if call.await.is_err_and(|error| error.is_panic()) {
                    ways.panicked.fetch_add(1, SeqCst);
                }
            }
        }
    });
    callers.collect::<tokio::task::JoinSet<_>>().join_all().await;

    println!("at most {} at once of {CALLS}: {ways:?}", watch.most());
    let Ways { refused, left, failed, whole, panicked } = &*ways;
    let ended = [refused, left, failed, whole, panicked].map(|way| way.load(SeqCst));
    assert_eq!(ended.iter().sum::<usize>(), CALLS);
    assert!(ended.iter().all(|&count| count > CALLS / 100), "{ways:?}");
    assert!(ended[0] < CALLS / 2, "{ways:?}");
    assert!((LIMIT / 2..=LIMIT).contains(&watch.most()), "{}", watch.most());
    assert_eq!((layer.gauge().in_flight(), watch.now()), (0, 0));

    // Those of each class are back as well.
    let still = layer.layer(tower::service_fn(|_: Req| async {
        Ok::<_, BoxError>(crate::support::answer(&[], "unread"))
    }));
    for (class, places) in CLASSES.into_iter().zip([4, 13, 16, 16]) {
        let held = fill(&still, || of_class(class, get("/"))).await;
        assert_eq!(held.len(), places, "{class:?}");
    }
}

#[tokio::test]
async fn a_panic_while_a_call_is_charged_gives_its_place_back() {
    use seawall::load_shed::Rate;

    let layer = LoadShedLayer::fixed(1)
        .quota(Rate::per_second(1), |_: &Req| -> Option<u8> { resume_unwind(Box::new("a key")) });
    let service = layer.layer(Origin { watch: Watch::default() });
    let call = AssertUnwindSafe(|| service.clone().call(get("/")));
    assert!(std::panic::catch_unwind(|| drop(call())).is_err());
    assert_eq!(layer.gauge().in_flight(), 0);
}

#[tokio::test]
async fn event_streams_and_upgrades_hold_no_place_beyond_their_head() {
    let layer = LoadShedLayer::fixed(1);
    let service = layer.layer(tower::service_fn(|request: Req| async move {
        let upgrades = request.uri().path() == "/upgrade";
        Ok::<_, BoxError>(crate::support::answer_status(
            if upgrades { 101 } else { 200 },
            &[("content-type", if upgrades { "" } else { "text/event-stream; charset=utf-8" })],
            "without an end",
        ))
    }));
    let mut unread = Vec::new();
    for path in ["/events", "/upgrade", "/events"] {
        unread.push(service.clone().oneshot(get(path)).await.unwrap());
        assert_eq!(layer.gauge().in_flight(), 0, "{path}");
    }
}
