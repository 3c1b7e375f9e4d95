//! An origin whose content has a version, and which answers step by step, when it is told to.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use seawall::BoxError;
use tokio::sync::{mpsc, oneshot};
use tower::{service_fn, util::BoxCloneService};

use crate::support::{BoxedOrigin, Read, Req};

/// What is at the origin under one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Content {
    /// Raised by every change.
    pub(crate) version: u64,
    /// Raised by the changes that change its `ETag` too.
    pub(crate) tag: u64,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Called,
    Head,
    Middle,
}

/// A call that the origin has not answered to its end.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) path: String,
    pub(crate) stage: Stage,
    /// It was asked whether an answer of before is still good.
    pub(crate) conditional: bool,
    /// The content when it was called: what it answers with, however late.
    read: Content,
    matches: bool,
    method: Method,
    head: Option<oneshot::Sender<Result<Response<Gated>, BoxError>>>,
    body: Option<mpsc::UnboundedSender<Bytes>>,
}

/// Settings of a [`Gate`], the same for all of its answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    pub(crate) control: &'static str,
    pub(crate) sized: bool,
    pub(crate) vary: bool,
    /// It names its tags.
    pub(crate) says_tags: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self { control: "max-age=10", sized: true, vary: false, says_tags: true }
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) answers: Answers,
    pub(crate) content: HashMap<String, Content>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) calls: usize,
}

/// The handle of the origin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Mutex<State>>);

impl Gate {
    pub(crate) fn new(answers: Answers) -> Self {
        Self(Arc::new(Mutex::new(State { answers, ..State::default() })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn calls(&self) -> usize {
        self.state().calls
    }

    pub(crate) fn origin(&self) -> BoxedOrigin<Gated> {
        let gate = self.clone();
        BoxCloneService::new(service_fn(move |request: Req| {
            let answer = gate.state().called(&request);
            async move { answer.await.unwrap_or_else(|_| Err("the test is over".into())) }
        }))
    }

    /// The content changes, with or without its `ETag`.
    pub(crate) fn change(&self, path: &str, tag: bool) -> u64 {
        self.state().change(path, tag)
    }

    /// Lets one call go one step on: its head, the first half of its body, the rest.
    pub(crate) fn proceed(&self, index: usize) {
        let state = &mut *self.state();
        let pending = &mut state.pending[index];
        let text = pending.read.version.to_string();
        match pending.stage {
            Stage::Called => {
                let (response, body) = pending.answer(state.answers);
                pending.body = body;
                pending.stage = Stage::Head;
                let _ = pending.head.take().unwrap().send(Ok(response));
            }
            Stage::Head => {
                let _ = pending.body.as_ref().unwrap().send(Bytes::from(format!("{text} ")));
                pending.stage = Stage::Middle;
            }
            Stage::Middle => {
                let _ = pending.body.take().unwrap().send(Bytes::from(text));
            }
        }
        if pending.body.is_none() {
            state.pending.swap_remove(index);
        }
    }

    /// The origin does not answer one call.
    pub(crate) fn fail(&self, index: usize) {
        let pending = self.state().pending.swap_remove(index);
        let _ = pending.head.unwrap().send(Err("connection reset".into()));
    }

    /// Lets all calls go on to their ends.
    pub(crate) fn finish(&self) {
        while !self.state().pending.is_empty() {
            self.proceed(0);
        }
    }
}

impl State {
    fn change(&mut self, path: &str, tag: bool) -> u64 {
        let content = self.content.entry(path.to_owned()).or_default();
        content.version += 1;
        content.tag += u64::from(tag);
        content.version
    }

    fn called(&mut self, request: &Req) -> oneshot::Receiver<Result<Response<Gated>, BoxError>> {
        let (head, answer) = oneshot::channel();
        let path = request.uri().path().to_owned();
        self.calls += 1;
        let method = request.method().clone();
        if method != Method::GET && method != Method::HEAD {
            self.change(&path, true);
            let mut done = Response::new(Gated::empty());
            *done.status_mut() = StatusCode::NO_CONTENT;
            let _ = head.send(Ok(done));
            return answer;
        }
        let read = self.content.get(&path).copied().unwrap_or_default();
        let asked = request.headers().get(header::IF_NONE_MATCH);
        let matches = asked.is_some_and(|tag| tag.as_bytes() == etag(read).as_bytes());
        self.pending.push(Pending {
            path,
            stage: Stage::Called,
            conditional: asked.is_some(),
            read,
            matches,
            method,
            head: Some(head),
            body: None,
        });
        answer
    }
}

impl Pending {
    fn answer(&self, answers: Answers) -> (Response<Gated>, Option<mpsc::UnboundedSender<Bytes>>) {
        let (body, frames) = match self.matches || self.method == Method::HEAD {
            true => (Gated::empty(), None),
            false => {
                let (sender, frames) = mpsc::unbounded_channel();
                let length = 2 * self.read.version.to_string().len() as u64 + 1;
                (
                    Gated { frames: Some(frames), left: answers.sized.then_some(length) },
                    Some(sender),
                )
            }
        };
        let mut response = Response::new(body);
        if self.matches {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        *response.headers_mut() = self.fields(answers);
        (response, frames)
    }

    fn fields(&self, answers: Answers) -> HeaderMap {
        let mut fields = HeaderMap::new();
        let mut put = |name: &'static str, value: String| {
            fields.insert(name, value.parse().unwrap());
        };
        // A cache says so in its own 304 too (RFC 9110 §15.4.5), as it would not of any other field.
        put("cache-control", format!("{}, version={}", answers.control, self.read.version));
        put("etag", etag(self.read));
        if answers.says_tags {
            put("surrogate-key", format!("{} all", tag_of(&self.path)));
        }
        if answers.vary {
            put("vary", "accept-language".to_owned());
        }
        fields
    }
}

fn etag(content: Content) -> String {
    format!("\"{}\"", content.tag)
}

/// The version that an answer is of: the one that it was validated as, or fetched.
pub(crate) fn version_of(read: &Read) -> u64 {
    let control = read.field("cache-control").unwrap();
    control.split_once("version=").unwrap().1.parse().unwrap()
}

/// The tag that the answers of a path have, beside `all`.
pub(crate) fn tag_of(path: &str) -> String {
    format!("tag{}", path.replace('/', "-"))
}

/// Until nothing moves by itself any more.
pub(crate) async fn settled() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A body whose frames come when the test sends them.
#[derive(Debug)]
pub(crate) struct Gated {
    frames: Option<mpsc::UnboundedReceiver<Bytes>>,
    left: Option<u64>,
}

impl Gated {
    fn empty() -> Self {
        Self { frames: None, left: Some(0) }
    }
}

impl Body for Gated {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(frames) = &mut self.frames else { return Poll::Ready(None) };
        let frame = std::task::ready!(frames.poll_recv(cx));
        if let Some(frame) = &frame {
            let length = frame.len() as u64;
            self.left = self.left.map(|left| left - length);
        }
        Poll::Ready(frame.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
