//! One fetch to its end: look once more, ask the origin, record, store.
//!
//! A fetch is a task of its own and belongs to no caller. It holds the [`Lead`]: however the task
//! ends, everyone who waits has an answer and the key is free.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, Method, Response, StatusCode, response::Parts};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    body::{Body, HandedOver, Rest},
    engine::{Call, Engine},
    filling::Filling,
    request_key::RequestKey,
    service::Origin,
    storage::Found,
    verdict::{Fate, Freshened, Kept, Lasting, Taking, Verdict, length},
};
use crate::{
    coalesce::{
        flights::Lead,
        recording::{End, Open},
        share::{Kind, Place, Unkept},
    },
    error::{BoxError, FetchError, SharedError},
    observe::{Aside, Event},
    policy::Answered,
    rfc9111::{
        Exchange,
        cache_status::Member,
        freshness::Reuse,
        validation::{self, Validators},
    },
    store::{Entry, Head, Key},
};

/// What a leader is told by its fetch.
pub(super) enum Led<B> {
    /// The answer is not kept: here it is, untouched.
    Untouched(Response<B>),
    /// It is recorded: read along, and take over what is handed over.
    Recorded { parts: Parts, head: Arc<Head>, rest: oneshot::Receiver<HandedOver<B>> },
    /// Storage has it; the member says what was asked of the origin, if it was.
    Stored(Entry, Option<Member>),
}

/// A fetch that others may join.
pub(super) struct Fetch<K, S, B>
where
    S: Origin<B>,
{
    engine: Arc<Engine<K>>,
    inner: S,
    call: Call<B>,
    /// The fields of the request as it came.
    asked: Arc<HeaderMap>,
    lead: Lead<Key, Arc<Head>>,
    answer: oneshot::Sender<Led<S::Body>>,
}

impl<K, S, B> Fetch<K, S, B>
where
    K: RequestKey<B>,
    S: Origin<B>,
    B: Send + 'static,
{
    pub(super) fn new(
        engine: Arc<Engine<K>>,
        inner: S,
        call: Call<B>,
        asked: Arc<HeaderMap>,
        lead: Lead<Key, Arc<Head>>,
        answer: oneshot::Sender<Led<S::Body>>,
    ) -> Self {
        Self { engine, inner, call, asked, lead, answer }
    }

    pub(super) async fn run(self) {
        let Self { engine, inner, mut call, asked, lead, answer } = self;
        let deadline = Instant::now() + engine.cache.limits.fetch_deadline;
        let stored = match engine.look_again(&call.primary, &asked).await {
            Found::Entry(entry) => match engine.reuse(&entry, &call.ask, Instant::now()) {
                // Another flight has stored it between this caller's look and its join.
                Reuse::Fresh | Reuse::MaxStale(_) => {
                    answered_by(&lead, entry.clone());
                    let _ = answer.send(Led::Stored(entry, None));
                    lead.leave();
                    return;
                }
                Reuse::Stale(_) | Reuse::Validate => Some(entry),
                Reuse::NotForThisRequest => None,
            },
            Found::OtherVariants | Found::Nothing => None,
        };
        let validators = engine.prepare(&mut call, stored.as_ref());
        // What a HEAD is answered with is kept or not like what a GET would be.
        let method = Method::GET;
        let sent = SystemTime::now();
        let response = match timeout_at(deadline, engine.send(inner, call.request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return lead.end(End::Failed(SharedError::new(error))),
            Err(_) => {
                return lead.end(End::Failed(SharedError::new(FetchError::Deadline.into())));
            }
        };
        let exchange = Exchange { sent, received: SystemTime::now() };
        let (mut parts, body) = response.into_parts();
        let validated = validators && parts.status == StatusCode::NOT_MODIFIED;
        if let Some(stored) = stored.filter(|_| validated) {
            let answered = Answered {
                method: &method,
                request: &asked,
                status: stored.status(),
                response: &parts.headers,
                exchange,
            };
            match engine.freshened(&stored, &answered) {
                Some(Freshened { entry, fate }) => {
                    let member = Member::forwarded(call.why).fwd_status(parts.status);
                    engine.cache.listener.tell(&Event::Freshened);
                    let led = Led::Stored(entry.clone(), Some(member));
                    match fate {
                        Fate::Left => {
                            engine.remember(&call.primary, Some(Lasting::Personal));
                            lead.end(End::Personal);
                            let _ = answer.send(led);
                        }
                        Fate::Removed => {
                            let key = entry.key().clone();
                            lead.end(End::Aside);
                            let _ = answer.send(led);
                            engine.remove(&key).await;
                        }
                        Fate::Stored => {
                            answered_by(&lead, entry.clone());
                            let _ = answer.send(led);
                            // Nobody waits for the store any more.
                            engine.store(lead, &call.primary, entry).await;
                        }
                    }
                }
                // A 304 about another answer than ours: what we have is of no use, and there is
                // nothing else to give.
                None => {
                    engine.remove(stored.key()).await;
                    let failure = FetchError::Status(parts.status);
                    lead.end(End::Failed(SharedError::new(failure.into())));
                }
            }
            return;
        }
        let kind = call.ask.kind;
        let taking = Taking {
            answered: answered(&method, &asked, &parts, exchange),
            version: parts.version,
            length: length(&parts.headers, &body),
            primary: &call.primary,
            ask: &call.ask,
        };
        let verdict = engine.verdict(&taking);
        let kept = match verdict {
            Verdict::Keep(kept) if kept.fits(&lead, kind) => Ok(kept),
            Verdict::Keep(_) => {
                engine.outgrown();
                Err(End::Aside)
            }
            Verdict::Not(unkept, lasting) => {
                engine.remember(&call.primary, lasting);
                let failure = FetchError::Status(parts.status);
                Err(match (unkept, lasting) {
                    (Unkept::Failure, _) => End::Failed(SharedError::new(failure.into())),
                    (_, Some(Lasting::Personal)) => End::Personal,
                    (Unkept::Shared | Unkept::Aside, _) => End::Aside,
                })
            }
        };
        let kept = match kept {
            Ok(kept) => kept,
            Err(end) => {
                engine.tell_above(&mut parts, call.why, call.tells, false);
                lead.end(end);
                let _ = answer.send(Led::Untouched(Response::from_parts(parts, body)));
                return;
            }
        };
        if kind == Kind::Get {
            engine.forget(&call.primary, &kept, call.ask.personal);
        }
        let (store, length) = (kept.store, kept.length);
        let head = engine.head(&mut parts, kept, exchange);
        engine.tell_above(&mut parts, call.why, call.tells, store);
        let (hand_over, rest) = oneshot::channel();
        let open = if length.is_some() || kind == Kind::Head { Open::AtHead } else { Open::AtEnd };
        lead.recording().head(Arc::clone(&head), open, Instant::now());
        let _ = answer.send(Led::Recorded { parts, head: Arc::clone(&head), rest });
        let primary = call.primary;
        Filling { engine, lead, head, primary, store, hand_over, deadline }.run(body, kind).await;
    }
}

/// A fetch that nobody joins, on its caller's own time.
pub(super) struct Alone<K, B> {
    engine: Arc<Engine<K>>,
    call: Call<B>,
}

impl<K, B> Alone<K, B>
where
    K: RequestKey<B>,
    B: Send + 'static,
{
    pub(super) fn new(engine: Arc<Engine<K>>, call: Call<B>) -> Self {
        Self { engine, call }
    }

    /// The request goes as it came; its answer is kept where that is possible.
    pub(super) async fn run<S: Origin<B>>(
        self,
        inner: S,
    ) -> Result<Response<Body<S::Body>>, BoxError> {
        let Self { engine, mut call } = self;
        let asked = call.request.headers().clone();
        let method = Method::GET;
        engine.mark(&mut call.request, call.tells);
        let sent = SystemTime::now();
        let (mut parts, body) = engine.send(inner, call.request).await?.into_parts();
        let exchange = Exchange { sent, received: SystemTime::now() };
        let taking = Taking {
            answered: answered(&method, &asked, &parts, exchange),
            version: parts.version,
            length: length(&parts.headers, &body),
            primary: &call.primary,
            ask: &call.ask,
        };
        let verdict = engine.verdict(&taking);
        // What outgrew before and has no length now is learned again when the memory ends.
        let unproven =
            |kept: &Kept| call.remembered == Some(Aside::Outgrown) && kept.length.is_none();
        let kept = match verdict {
            Verdict::Keep(kept) if !unproven(&kept) && call.ask.kind == Kind::Get => {
                engine.forget(&call.primary, &kept, call.ask.personal);
                Some(kept).filter(|kept| kept.store && !engine.cache.tasks.are_draining())
            }
            Verdict::Keep(_) => None,
            Verdict::Not(_, lasting) => {
                engine.remember(&call.primary, lasting);
                None
            }
        };
        let now = Instant::now();
        let recorded = kept.and_then(|kept| {
            let (lead, reader) = engine.cache.flights.alone(now);
            if kept.fits(&lead, Kind::Get) {
                return Some((kept, lead, reader));
            }
            lead.end(End::Aside);
            None
        });
        let Some((kept, lead, reader)) = recorded else {
            engine.tell_above(&mut parts, call.why, call.tells, false);
            return Ok(Response::from_parts(parts, Body::origin(body)));
        };
        let length = kept.length;
        let head = engine.head(&mut parts, kept, exchange);
        engine.tell_above(&mut parts, call.why, call.tells, true);
        let recording = Arc::clone(lead.recording());
        recording.head(Arc::clone(&head), Open::AtHead, now);
        let (hand_over, rest) = oneshot::channel();
        let deadline = now + engine.cache.limits.fetch_deadline;
        let (store, primary) = (true, call.primary);
        let tasks = Arc::clone(&engine);
        let filling = Filling { engine, lead, head, primary, store, hand_over, deadline };
        let fill = crate::observe::in_callers_span(filling.run(body, Kind::Get));
        match tasks.cache.tasks.spawn(fill) {
            Ok(task) => recording.written_by(task),
            Err(fill) => fill.await,
        }
        let body = Body::on_its_way(reader, None, length, Rest::Sent(rest));
        Ok(Response::from_parts(parts, body))
    }
}

impl<K> Engine<K> {
    /// Makes of a caller's request the one that the origin gets; whether it asks to validate.
    fn prepare<B>(&self, call: &mut Call<B>, stored: Option<&Entry>) -> bool {
        self.mark(&mut call.request, call.tells);
        if self.place == Place::Coalesce {
            return false;
        }
        let fields = call.request.headers_mut();
        validation::strip(fields);
        let validators = match stored {
            Some(entry) if entry.status() == StatusCode::OK && call.ask.kind == Kind::Get => {
                Validators::of(&entry.head.fields)
            }
            _ => Validators::default(),
        };
        validators.apply(fields);
        !validators.is_empty()
    }
}

/// Those who wait are answered by an entry that is there already.
fn answered_by(lead: &Lead<Key, Arc<Head>>, entry: Entry) {
    let trailers = entry.trailers.map(|trailers| (*trailers).clone());
    lead.found(entry.head, entry.body, trailers);
}

fn answered<'a>(
    method: &'a Method,
    request: &'a HeaderMap,
    parts: &'a Parts,
    exchange: Exchange,
) -> Answered<'a> {
    Answered { method, request, status: parts.status, response: &parts.headers, exchange }
}
