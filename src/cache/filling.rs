//! One body on its way into the recording and the store.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body::{Body as HttpBody, Frame};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    body::HandedOver, call::Caller, engine::Engine, failures::is_failing, verdict::Lasting,
};
use crate::{
    coalesce::{flights::Lead, recording::End, share::Kind},
    error::{BoxError, FetchError, SharedError},
    observe::{Aside, Event},
    rfc9111::{ResponseDirectives, stored_head},
    store::{Entry, Head, Key},
};

/// Those who read along are woken after so much, unless the origin pauses before.
const BATCH: usize = 64 * 1024;

/// An answer whose head is there, on its way into the recording and the store.
pub(super) struct Filling<K, R> {
    pub(super) engine: Arc<Engine<K>>,
    pub(super) lead: Lead<Key, Arc<Head>>,
    pub(super) head: Arc<Head>,
    pub(super) caller: Caller,
    /// The fields of the request as it came.
    pub(super) asked: Arc<HeaderMap>,
    pub(super) store: bool,
    /// What was there before, and comes before what is fetched.
    pub(super) beginning: Bytes,
    pub(super) hand_over: oneshot::Sender<HandedOver<R>>,
    pub(super) began: Instant,
    pub(super) deadline: Instant,
}

/// How long a body may take: in all, and for its next frame.
#[derive(Clone, Copy)]
struct Patience {
    until: Instant,
    idle: Duration,
}

impl Patience {
    fn ends(self) -> Instant {
        self.until.min(Instant::now() + self.idle)
    }
}

/// How a body stopped being recorded.
enum Stopped {
    /// `true`: and it says so itself.
    Complete(bool),
    Failed(BoxError),
    /// It does not fit; the frame that did not is not recorded.
    Outgrown {
        frame: Bytes,
        /// What it does not fit into is the bound on one body, not the budget of all.
        too_large: bool,
    },
    /// Not all of it came in time.
    Late,
}

impl<K, R> Filling<K, R>
where
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    pub(super) async fn run(mut self, body: R, kind: Kind) {
        let mut body = Box::pin(body);
        let limits = self.engine.cache.limits;
        let mut patience = Patience { until: self.deadline, idle: limits.fetch_deadline };
        let mut extended = false;
        let mut trailers = None;
        if !self.beginning.is_empty() {
            // There is room: it was reserved for the whole.
            self.lead.recording().push(&self.beginning, Instant::now());
            self.lead.recording().publish();
        }
        let stopped = loop {
            match self.record(body.as_mut(), kind, patience, &mut trailers).await {
                Stopped::Late => {
                    // Nobody joins from here on: newcomers begin anew.
                    self.lead.detach();
                    if self.lead.recording().hand_over() {
                        break Stopped::Late;
                    }
                    if std::mem::replace(&mut extended, true) {
                        break Stopped::Failed(FetchError::Deadline.into());
                    }
                    // Others read along, and cannot be handed the rest: it is recorded for them, but
                    // neither for ever nor through a silence.
                    self.store = false;
                    let until = self.deadline + limits.fetch_deadline;
                    patience = Patience { until, idle: limits.stalled_after };
                }
                stopped => break stopped,
            }
        };
        let (engine, primary) = (self.engine, &self.caller.primary);
        let listener = &engine.cache.listener;
        match stopped {
            Stopped::Complete(whole) => {
                self.store &= whole;
                if !self.store {
                    // Nobody who comes from now on may have it.
                    self.lead.detach();
                }
                let body = self.lead.complete(trailers.clone());
                if self.store {
                    let bytes = body.len();
                    let (trailers, cost) = (trailers.map(Arc::new), self.began.elapsed());
                    let entry = Entry {
                        head: self.head,
                        body,
                        trailers,
                        cost,
                        until: self.began,
                        far: None,
                    };
                    if engine.store(self.lead, &self.caller, &self.asked, entry).await {
                        listener.tell(&Event::Stored { bytes });
                    }
                } else {
                    self.lead.leave(false);
                }
            }
            Stopped::Failed(error) => {
                listener.tell(&Event::OriginFailed(&*error));
                if !self.beginning.is_empty() {
                    // What is stored of it may be at fault, and the whole is asked for next time.
                    engine.remove(&self.head.key).await;
                }
                // It did answer: the next caller may well get all of it.
                self.lead.end(End::Failed(SharedError::new(error)));
            }
            Stopped::Outgrown { frame, too_large } => {
                engine.outgrown();
                if too_large {
                    engine.remember(primary, Some(Lasting::Everyone(Aside::Outgrown)));
                }
                self.lead.detach();
                if self.lead.recording().hand_over() {
                    let first = Some(frame);
                    let _ = self.hand_over.send(HandedOver {
                        first,
                        body,
                        trailers: trailers.map(Box::new),
                    });
                    self.lead.leave(false);
                } else {
                    self.lead.end(End::Failed(SharedError::new(FetchError::Aborted.into())));
                }
                if too_large && !is_failing(self.head.status) {
                    // What was kept before is not what is there now.
                    engine.remove(&self.head.key).await;
                }
            }
            Stopped::Late => {
                listener.tell(&Event::HandedOver);
                engine.remember(primary, Some(Lasting::Everyone(Aside::Outgrown)));
                let _ = self.hand_over.send(HandedOver {
                    first: None,
                    body,
                    trailers: trailers.map(Box::new),
                });
                self.lead.leave(false);
            }
        }
    }

    /// Records frames until it has to stop.
    async fn record(
        &self,
        mut body: Pin<&mut R>,
        kind: Kind,
        patience: Patience,
        trailers: &mut Option<HeaderMap>,
    ) -> Stopped {
        let recording = self.lead.recording();
        let max_body = self.engine.cache.limits.max_body;
        let mut unpublished = 0;
        loop {
            let frame = poll_fn(|cx| {
                let polled = body.as_mut().poll_frame(cx);
                if polled.is_pending() && std::mem::take(&mut unpublished) > 0 {
                    recording.publish();
                }
                polled
            });
            let frame: Frame<Bytes> = match timeout_at(patience.ends(), frame).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Stopped::Failed(error.into()),
                Ok(None) => break,
                Err(_) => return Stopped::Late,
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    let length = recording.length() + data.len();
                    if self.head.length.is_some_and(|declared| length as u64 > declared) {
                        return Stopped::Failed(FetchError::Length.into());
                    }
                    let too_large = length > max_body;
                    if too_large || !recording.push(&data, Instant::now()) {
                        return Stopped::Outgrown { frame: data, too_large };
                    }
                    unpublished += data.len();
                    if unpublished >= BATCH {
                        unpublished = 0;
                        recording.publish();
                    }
                }
                Err(frame) => {
                    if let Ok(more) = frame.into_trailers() {
                        // What is not kept of a head is not kept of trailers either.
                        let profile = self.engine.policy.profile();
                        let more = stored_head(&more, &ResponseDirectives::default(), profile);
                        trailers.get_or_insert_with(HeaderMap::new).extend(more);
                    }
                }
            }
        }
        let declared = self.head.length.filter(|_| kind == Kind::Get);
        let reset = self.head.version > Version::HTTP_11 && !body.is_end_stream();
        let told = self.engine.store_unframed || self.caller.unary.is_some();
        if declared.is_none() && reset && !told {
            // HTTP/2 can end a stream without an error and without its end (RFC 9113 §8.1).
            return Stopped::Complete(false);
        }
        if declared.is_some_and(|declared| declared != recording.length() as u64) {
            return Stopped::Failed(FetchError::Length.into());
        }
        let whole = self.caller.is_whole(recording, trailers.as_ref());
        Stopped::Complete(whole)
    }
}
