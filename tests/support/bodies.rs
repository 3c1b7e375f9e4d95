//! Bodies that misbehave in a certain way.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use seawall::BoxError;
use tokio::time::{Sleep, sleep};

/// One thing that a body does.
#[derive(Debug)]
pub enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Wait(Duration),
    Fail,
    Panic,
    /// Never another frame.
    Hang,
}

/// A body of unknown length that does one step after the other.
#[derive(Debug)]
pub struct Steps {
    steps: VecDeque<Step>,
    waiting: Option<Pin<Box<Sleep>>>,
    length: Option<u64>,
}

impl Steps {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), waiting: None, length: None }
    }

    /// Frames of `size` bytes, `count` of them.
    pub fn frames(count: usize, size: usize) -> Self {
        Self::new((0..count).map(|_| Step::Data(Bytes::from(vec![b'x'; size]))))
    }

    /// Says how long it will be.
    pub fn sized(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }
}

impl Body for Steps {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                std::task::ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            return match self.steps.pop_front() {
                None => Poll::Ready(None),
                Some(Step::Data(data)) => {
                    let length = data.len() as u64;
                    self.length = self.length.map(|left| left.saturating_sub(length));
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Some(Step::Fail) => Poll::Ready(Some(Err("the body failed".into()))),
                Some(Step::Panic) => panic!("the body panicked, as it was told"),
                Some(Step::Hang) => {
                    self.steps.push_front(Step::Hang);
                    Poll::Pending
                }
                Some(Step::Wait(wait)) => {
                    self.waiting = Some(Box::pin(sleep(wait)));
                    continue;
                }
            };
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
