//! Ten thousand bodies on their way at once, under one budget.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use seawall::{BoxError, Cache, CacheLayer, store::Memory};
use tokio::{sync::Semaphore, task::JoinSet};
use tower::{Layer, Service, service_fn};

use crate::{HEAP, KIB, MIB, alone, mib, peak_of, support::sockets::eventually};

const FILLS: usize = 10_000;
const FRAME: usize = 4 * KIB;
const FRAMES: usize = 16;

/// All of its frames but the last at once; that comes when it may.
struct Held {
    frames: usize,
    sized: bool,
    gate: Pin<Box<dyn Future<Output = ()> + Send>>,
    open: bool,
}

impl Held {
    fn new(frames: usize, sized: bool, gate: Arc<Semaphore>) -> Self {
        let gate = Box::pin(async move { gate.acquire().await.unwrap().forget() });
        Self { frames, sized, gate, open: false }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.frames <= 1 && !self.open {
            std::task::ready!(self.gate.as_mut().poll(cx));
            self.open = true;
        }
        if self.frames == 0 {
            return Poll::Ready(None);
        }
        self.frames -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; FRAME])))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.sized {
            true => SizeHint::with_exact((self.frames * FRAME) as u64),
            false => SizeHint::default(),
        }
    }
}

/// What was held while all fills were under way and none was read.
struct Measured {
    heap: usize,
    filling: usize,
}

/// Starts every fill, measures, lets them end, and reads them all.
async fn fill(cache: &Cache, frames: usize, sized: bool) -> Measured {
    let before = HEAP.current_usage();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let origin = service_fn(move |_: Request<Empty<Bytes>>| {
        let body = Held::new(frames, sized, Arc::clone(&opened));
        let answer = Response::builder().header("cache-control", "max-age=60").body(body).unwrap();
        async { Ok::<_, BoxError>(answer) }
    });
    let mut service = CacheLayer::new(cache.clone()).store_unframed(true).layer(origin);
    let mut asking = JoinSet::new();
    for number in 0..FILLS {
        let request = Request::get(format!("http://a/{number}")).body(Empty::new()).unwrap();
        let answer = service.call(request);
        asking.spawn(answer);
    }
    let answers = asking.join_all().await;
    // Nobody reads, so what is still to move moves by itself, and then rests.
    let mut last = usize::MAX;
    while std::mem::replace(&mut last, HEAP.current_usage()) != last {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let heap = HEAP.current_usage().saturating_sub(before);
    let measured = Measured { heap, filling: cache.figures().filling };
    gate.add_permits(FILLS);
    for answer in answers {
        let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), frames * FRAME, "handed over, not cut");
    }
    eventually("landed", || cache.figures().flights == 0 && cache.figures().filling == 0).await;
    measured
}

/// Nothing is stored for long here: what stays counts as the store's, and the store is small.
fn cache(budget: usize) -> Cache {
    Cache::builder(Memory::bytes(MIB as u64)).fill_budget(budget).build()
}

fn fills_under(budget: usize, sized: bool) {
    let _alone = alone();
    // Ten thousand flights take something even where their bodies are empty.
    let (empty, empty_peak) = peak_of(fill_of(budget, 0, sized));
    let (full, peak) = peak_of(fill_of(budget, FRAMES, sized));
    println!(
        "{FILLS} fills of {} KiB, sized: {sized}, budget {}: {} recorded; heap {}, {} at its peak; \
         with empty bodies {} ({} B a flight), {} at its peak",
        FRAMES * FRAME / KIB,
        mib(budget),
        mib(full.filling),
        mib(full.heap),
        mib(peak),
        mib(empty.heap),
        empty.heap / FILLS,
        mib(empty_peak),
    );
    assert!(full.filling <= budget, "{} recorded", mib(full.filling));
    assert!(full.filling > budget - budget / 8, "the budget is used: {}", mib(full.filling));
    // Who hands a body over has read the frame that did not fit, and holds it for its caller.
    let in_hand = if sized { 0 } else { FILLS * FRAME };
    let bound = empty.heap + budget + budget / 8 + in_hand;
    assert!(full.heap <= bound, "{}, at most {}", mib(full.heap), mib(bound));
    let most = empty_peak + budget + budget / 8 + in_hand + 4 * MIB;
    assert!(peak <= most, "{} at its peak, at most {}", mib(peak), mib(most));
    let unbounded = FILLS * FRAMES * FRAME;
    assert!(most < unbounded, "a bound that cannot be missed is none");
}

async fn fill_of(budget: usize, frames: usize, sized: bool) -> Measured {
    fill(&cache(budget), frames, sized).await
}

#[test]
fn ten_thousand_fills_without_a_length_stay_under_the_default_budget() {
    fills_under(64 * MIB, false);
}

#[test]
fn ten_thousand_fills_with_a_length_stay_under_the_default_budget() {
    fills_under(64 * MIB, true);
}

#[test]
fn ten_thousand_fills_without_a_length_stay_under_a_small_budget() {
    fills_under(MIB, false);
}

#[test]
fn ten_thousand_fills_with_a_length_stay_under_a_small_budget() {
    fills_under(MIB, true);
}
