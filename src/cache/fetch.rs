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
    failures::is_failing,
    filling::Filling,
    refresh::Permit,
    request_key::RequestKey,
    service::Origin,
    storage::{Found, Stored},
    unary,
    verdict::{Behind, Fate, Freshened, Kept, Lasting, Taking, Verdict, length},
};
use crate::{
    coalesce::{
        flights::Lead,
        recording::{End, Open},
        share::{Kind, Place, Unkept},
    },
    error::{BoxError, FetchError, Rejected, SharedError},
    journal::Fence,
    observe::{Aside, Event},
    policy::Answered,
    rfc9111::{
        Exchange,
        cache_status::Member,
        reuse::Reuse,
        validation::{self, Validators},
    },
    staleness::Trouble,
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
    /// What it is to refresh, where nobody waits for it.
    pub(super) refreshing: Option<Refreshing>,
}

/// An entry that was given to a caller, and is fetched anew behind it.
pub(super) struct Refreshing {
    pub(super) seen: Arc<Head>,
    pub(super) _permit: Permit,
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
        Self { engine, inner, call, asked, lead, answer, refreshing: None }
    }

    pub(super) async fn run(self) {
        let Self { engine, inner, mut call, asked, mut lead, answer, refreshing } = self;
        let began = Instant::now();
        let deadline = began + engine.cache.limits.fetch_deadline;
        let stored = match engine.look_again(&call.caller.primary, &asked).await {
            Found::Entry(stored) => match engine.reuse(&stored, &call.caller.ask, Instant::now()) {
                // Another flight has stored it between this caller's look and its join.
                Reuse::Fresh | Reuse::MaxStale(_) if !Refreshing::is_of(&refreshing, &stored) => {
                    answered_by(&lead, stored.entry.clone());
                    let _ = answer.send(Led::Stored(stored.entry, None));
                    lead.leave(true);
                    return;
                }
                Reuse::NotForThisRequest => None,
                _ => engine.keeps(&stored, Instant::now()).then_some(stored),
            },
            Found::OtherVariants | Found::Nothing => None,
        };
        let validators = engine.prepare(&mut call, stored.as_ref().map(|stored| &stored.entry));
        let caller = call.caller;
        let method = caller.method();
        let sent = SystemTime::now();
        let response = match timeout_at(deadline, engine.send(inner, call.request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return lead.end(engine.failed(&caller, stored.as_ref(), error)),
            Err(_) => {
                let late = FetchError::Deadline.into();
                return lead.end(engine.failed(&caller, stored.as_ref(), late));
            }
        };
        let exchange = Exchange { sent, received: SystemTime::now() };
        let (mut parts, body) = response.into_parts();
        if let Some(rejected) = parts.extensions.get::<Rejected>() {
            // A layer below refused, and has an answer of its own for that: the others ask for theirs.
            let refused = rejected.clone().up_to(None);
            lead.end(End::Own(SharedError::new(refused.into())));
            let _ = answer.send(Led::Untouched(Response::from_parts(parts, body)));
            return;
        }
        let behind = Behind::of(&parts, lead.recording().fence());
        let status = caller.counts_as(parts.status, &parts.headers);
        let failing = is_failing(status);
        if !failing {
            engine.recovered(&caller);
        } else if status != StatusCode::INTERNAL_SERVER_ERROR {
            // A 500 may be one request's fault, and is never held against others.
            let wait = caller.retry_after(&parts.headers, exchange.received);
            let alone = !lead.recording().was_joined();
            engine.remember_failure(&caller, stored.as_ref(), Trouble::Error, wait, alone);
        }
        let validated = validators && parts.status == StatusCode::NOT_MODIFIED;
        if let Some(stored) = stored.as_ref().filter(|_| validated) {
            let entry = &stored.entry;
            let answered = Answered {
                method,
                request: &asked,
                status: entry.status(),
                response: &parts.headers,
                exchange,
            };
            match engine.freshened(entry, &answered, &caller, behind, began.elapsed()) {
                Some(Freshened { entry, fate }) => {
                    let member = Member::forwarded(caller.why).fwd_status(parts.status);
                    engine.cache.listener.tell(&Event::Freshened);
                    let led = Led::Stored(entry.clone(), Some(member));
                    match fate {
                        Fate::Left => {
                            engine.remember(&caller.primary, Some(Lasting::Personal));
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
                            engine.store(lead, &caller, &asked, entry).await;
                        }
                    }
                }
                // A 304 about another answer than ours: what we have is of no use, and there is
                // nothing else to give.
                None => {
                    engine.remove(entry.key()).await;
                    let failure = FetchError::Status(parts.status);
                    lead.end(End::Failed(SharedError::new(failure.into())));
                }
            }
            return;
        }
        let kind = caller.ask.kind;
        let stands_in = failing
            && stored
                .as_ref()
                .is_some_and(|stored| engine.stands_in(stored, &caller.ask, Trouble::Error));
        let taking = Taking {
            answered: answered(method, &asked, &parts, exchange),
            version: parts.version,
            length: length(&parts.headers, &body),
            caller: &caller,
            stands_in,
        };
        let verdict = engine.verdict(&taking);
        let kept = match verdict {
            Verdict::Keep(kept) if kept.fits(&lead, kind) => Ok(kept),
            Verdict::Keep(_) => {
                engine.outgrown();
                Err(End::Aside)
            }
            Verdict::Not(unkept, lasting) => {
                engine.remember(&caller.primary, lasting);
                if let (Some(stored), Some(Lasting::Everyone(_)), false) =
                    (&stored, lasting, failing)
                {
                    // So has one that may not be kept.
                    engine.remove(stored.entry.key()).await;
                }
                let failure = || SharedError::new(FetchError::Status(status).into());
                Err(match (unkept, lasting) {
                    (Unkept::Failure, _) => End::Failed(failure()),
                    (Unkept::Own, _) => End::Own(failure()),
                    (_, Some(Lasting::Personal)) => End::Personal,
                    (Unkept::Shared | Unkept::Aside, _) => End::Aside,
                })
            }
        };
        let kept = match kept {
            Ok(kept) => kept,
            Err(end) => {
                engine.tell_above(&mut parts, &caller, false, behind);
                lead.end(end);
                let _ = answer.send(Led::Untouched(Response::from_parts(parts, body)));
                return;
            }
        };
        if kind == Kind::Get {
            engine.forget(&caller.primary, &kept, caller.ask.personal);
        }
        let (mut store, length) = (kept.store, kept.length);
        if let Some(stored) = stored.as_ref().filter(|_| !store && !failing && kind == Kind::Get) {
            // A good answer that is not kept has taken its place all the same.
            engine.remove(stored.entry.key()).await;
        }
        let head = engine.head(&mut parts, kept, exchange, behind);
        if engine.is_dead(&head) {
            // Invalidated on its way: it is for those who came before that.
            store = false;
            lead.detach();
        }
        engine.tell_above(&mut parts, &caller, store, behind);
        let (hand_over, rest) = oneshot::channel();
        let open = if length.is_some() || kind == Kind::Head { Open::AtHead } else { Open::AtEnd };
        lead.recording().head(Arc::clone(&head), open, Instant::now());
        let _ = answer.send(Led::Recorded { parts, head: Arc::clone(&head), rest });
        let filling =
            Filling { engine, lead, head, caller, asked, store, hand_over, began, deadline };
        filling.run(body, kind).await;
    }
}

impl Refreshing {
    /// Whether `stored` is what is to be refreshed, and not what another flight has stored since.
    fn is_of(refreshing: &Option<Self>, stored: &Stored) -> bool {
        refreshing.as_ref().is_some_and(|this| Arc::ptr_eq(&this.seen, &stored.entry.head))
    }
}

/// A fetch that nobody joins, on its caller's own time.
pub(super) struct Alone<K, B> {
    engine: Arc<Engine<K>>,
    call: Call<B>,
    asked: Arc<HeaderMap>,
}

impl<K, B> Alone<K, B>
where
    K: RequestKey<B>,
    B: Send + 'static,
{
    pub(super) fn new(engine: Arc<Engine<K>>, call: Call<B>, asked: Arc<HeaderMap>) -> Self {
        Self { engine, call, asked }
    }

    /// The request goes as it came; its answer is kept where that is possible.
    pub(super) async fn run<S: Origin<B>>(
        self,
        inner: S,
    ) -> Result<Response<Body<S::Body>>, BoxError> {
        let Self { engine, mut call, asked } = self;
        let caller = call.caller;
        let method = caller.method();
        engine.mark(&mut call.request, caller.tells);
        let (began, fence) = (Instant::now(), Fence::now());
        let sent = SystemTime::now();
        let (mut parts, body) = engine.send(inner, call.request).await?.into_parts();
        let exchange = Exchange { sent, received: SystemTime::now() };
        if parts.extensions.get::<Rejected>().is_some() {
            return Ok(Response::from_parts(parts, Body::origin(body)));
        }
        let behind = Behind::of(&parts, fence);
        let failing = is_failing(caller.counts_as(parts.status, &parts.headers));
        if !failing {
            engine.recovered(&caller);
        }
        let taking = Taking {
            answered: answered(method, &asked, &parts, exchange),
            version: parts.version,
            length: length(&parts.headers, &body),
            caller: &caller,
            stands_in: failing,
        };
        let verdict = engine.verdict(&taking);
        // What outgrew before and has no length now is learned again when the memory ends.
        let unproven =
            |kept: &Kept| call.remembered == Some(Aside::Outgrown) && kept.length.is_none();
        let kept = match verdict {
            Verdict::Keep(kept) if !unproven(&kept) && caller.ask.kind == Kind::Get => {
                engine.forget(&caller.primary, &kept, caller.ask.personal);
                Some(kept).filter(|kept| kept.store && !engine.cache.tasks.are_draining())
            }
            Verdict::Keep(_) => None,
            Verdict::Not(_, lasting) => {
                engine.remember(&caller.primary, lasting);
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
            engine.tell_above(&mut parts, &caller, false, behind);
            return Ok(Response::from_parts(parts, Body::origin(body)));
        };
        let length = kept.length;
        let head = engine.head(&mut parts, kept, exchange, behind);
        engine.tell_above(&mut parts, &caller, true, behind);
        let recording = Arc::clone(lead.recording());
        recording.head(Arc::clone(&head), Open::AtHead, now);
        let (hand_over, rest) = oneshot::channel();
        let deadline = now + engine.cache.limits.fetch_deadline;
        let (store, tasks) = (true, Arc::clone(&engine));
        let filling =
            Filling { engine, lead, head, caller, asked, store, hand_over, began, deadline };
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
        self.mark(&mut call.request, call.caller.tells);
        if call.caller.unary.is_some() {
            unary::lengthen(call.request.headers_mut(), self.cache.limits.fetch_deadline);
            return false;
        }
        if self.place == Place::Coalesce {
            return false;
        }
        let fields = call.request.headers_mut();
        validation::strip(fields);
        let validators = match stored {
            Some(entry)
                if entry.status() == StatusCode::OK && call.caller.ask.kind == Kind::Get =>
            {
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
