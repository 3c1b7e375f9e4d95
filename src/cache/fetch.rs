//! One fetch to its end: look once more, ask the origin, record, store.
//!
//! A fetch is a task of its own and belongs to no caller. It holds the [`Lead`]: however the task
//! ends, everyone who waits has an answer and the key is free.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, TRANSFER_ENCODING},
    response::Parts,
};
use http_body::{Body as HttpBody, Frame};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{
    body::{Body, HandedOver, Rest},
    engine::{Call, Engine, Found, PERSONAL, Tells, append, in_class},
    request_key::RequestKey,
    service::Origin,
};
use crate::{
    coalesce::{
        flights::Lead,
        recording::{End, Open},
        share::{self, Kind, Place, Unkept},
    },
    error::{BoxError, FetchError, SharedError},
    marks::Served,
    observe::{Aside, Event, Operation},
    policy::Answered,
    rfc9111::{
        Exchange,
        cache_control::ResponseDirectives,
        cache_status::{CACHE_STATUS, Fwd, Member},
        date,
        freshness::{Demand, Reuse},
        stored_fields,
        storing::{Keep, Refusal},
        validation::{self, Validators},
        vary::{Names, Vary},
    },
    store::{Entry, Head, Key, KeyWriter, Record, Sharing, Variants},
};

/// Those who read along are woken after so much, unless the origin pauses before.
const BATCH: usize = 64 * 1024;
/// More than this of a head is not kept.
const MOST_FIELDS: usize = 64;
const MOST_FIELD_BYTES: usize = 32 * 1024;

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
                    let _ = answer.send(Led::Stored(entry.clone(), None));
                    answered_by(lead, entry);
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
                Some((entry, kept)) => {
                    let member = Member::forwarded(call.why).fwd_status(parts.status);
                    engine.cache.listener.tell(&Event::Freshened);
                    match kept {
                        true if lead.may_store() => {
                            engine.put(&call.primary, entry.clone()).await;
                        }
                        true => {}
                        false => engine.remove(entry.key()).await,
                    }
                    let _ = answer.send(Led::Stored(entry.clone(), Some(member)));
                    answered_by(lead, entry);
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
            credentials: call.ask.credentials(),
            kind,
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
        engine.forget(&call.primary, call.ask.personal);
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
            credentials: call.ask.credentials(),
            kind: call.ask.kind,
        };
        let verdict = engine.verdict(&taking);
        let now = Instant::now();
        let (lead, reader) = engine.cache.flights.alone(now);
        let kept = match verdict {
            // What outgrew before and has no length now is learned again when the memory ends.
            Verdict::Keep(kept)
                if call.remembered == Some(Aside::Outgrown) && kept.length.is_none() =>
            {
                None
            }
            Verdict::Keep(kept) => {
                engine.forget(&call.primary, call.ask.personal);
                Some(kept).filter(|kept| kept.store && kept.fits(&lead, Kind::Get))
            }
            Verdict::Not(_, lasting) => {
                engine.remember(&call.primary, lasting);
                None
            }
        };
        let Some(kept) = kept else {
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

/// An answer whose head is there, on its way into the recording and the store.
struct Filling<K, R> {
    engine: Arc<Engine<K>>,
    lead: Lead<Key, Arc<Head>>,
    head: Arc<Head>,
    primary: Key,
    store: bool,
    hand_over: oneshot::Sender<HandedOver<R>>,
    deadline: Instant,
}

/// How a body stopped being recorded.
enum Stopped {
    /// `true`: and it says so itself.
    Complete(Option<HeaderMap>, bool),
    Failed(BoxError),
    /// It does not fit; the frame that did not is not recorded.
    Outgrown(Bytes),
    /// Not all of it came in time.
    Late,
}

impl<K, R> Filling<K, R>
where
    R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    async fn run(mut self, body: R, kind: Kind) {
        let mut body = Box::pin(body);
        let mut deadline = Some(self.deadline);
        let stopped = loop {
            match self.record(body.as_mut(), kind, deadline).await {
                Stopped::Late if self.lead.recording().is_followed() => {
                    // Others read along, and cannot be handed the rest: it is recorded for them to
                    // its end, which is not far, and newcomers begin anew.
                    self.lead.detach();
                    self.store = false;
                    deadline = None;
                }
                stopped => break stopped,
            }
        };
        let engine = self.engine;
        let listener = &engine.cache.listener;
        match stopped {
            Stopped::Complete(trailers, whole) => {
                self.store &= whole;
                if !self.store {
                    // Nobody who comes from now on may have it.
                    self.lead.detach();
                }
                let body = self.lead.complete(trailers.clone());
                if self.store && self.lead.may_store() {
                    let trailers = trailers.map(Arc::new);
                    let bytes = body.len();
                    engine.put(&self.primary, Entry { head: self.head, body, trailers }).await;
                    listener.tell(&Event::Stored { bytes });
                }
                self.lead.leave();
            }
            Stopped::Failed(error) => {
                listener.tell(&Event::OriginFailed(&*error));
                self.lead.end(End::Failed(SharedError::new(error)));
            }
            Stopped::Outgrown(first) => {
                engine.outgrown();
                engine.remember(&self.primary, Some(Lasting::Everyone(Aside::Outgrown)));
                let first = Some(first);
                let _ = self.hand_over.send(HandedOver { first, body });
                self.lead.end(End::HandedOver);
            }
            Stopped::Late => {
                listener.tell(&Event::HandedOver);
                engine.remember(&self.primary, Some(Lasting::Everyone(Aside::Outgrown)));
                let _ = self.hand_over.send(HandedOver { first: None, body });
                self.lead.end(End::HandedOver);
            }
        }
    }

    /// Records frames until it has to stop.
    async fn record(
        &self,
        mut body: Pin<&mut R>,
        kind: Kind,
        deadline: Option<Instant>,
    ) -> Stopped {
        let recording = self.lead.recording();
        let max_body = self.engine.cache.limits.max_body;
        let mut trailers = None;
        let mut unpublished = 0;
        loop {
            let frame = poll_fn(|cx| {
                let polled = body.as_mut().poll_frame(cx);
                if polled.is_pending() && std::mem::take(&mut unpublished) > 0 {
                    recording.publish();
                }
                polled
            });
            let frame = match deadline {
                Some(deadline) => match timeout_at(deadline, frame).await {
                    Ok(frame) => frame,
                    Err(_) => return Stopped::Late,
                },
                None => frame.await,
            };
            let frame: Frame<Bytes> = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Stopped::Failed(error.into()),
                None => break,
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    let length = recording.length() + data.len();
                    if self.head.length.is_some_and(|declared| length as u64 > declared) {
                        return Stopped::Failed(FetchError::Length.into());
                    }
                    if length > max_body || !recording.push(&data, Instant::now()) {
                        return Stopped::Outgrown(data);
                    }
                    unpublished += data.len();
                    if unpublished >= BATCH {
                        unpublished = 0;
                        recording.publish();
                    }
                }
                Err(frame) => {
                    if let Ok(more) = frame.into_trailers() {
                        trailers.get_or_insert_with(HeaderMap::new).extend(more);
                    }
                }
            }
        }
        let declared = self.head.length.filter(|_| kind == Kind::Get);
        let reset = self.head.version > Version::HTTP_11 && !body.is_end_stream();
        if declared.is_none() && reset && !self.engine.store_unframed {
            // HTTP/2 can end a stream without an error and without its end (RFC 9113 §8.1).
            return Stopped::Complete(trailers, false);
        }
        if declared.is_some_and(|declared| declared != recording.length() as u64) {
            return Stopped::Failed(FetchError::Length.into());
        }
        Stopped::Complete(trailers, true)
    }
}

/// What is remembered of a key, and for whom.
#[derive(Clone, Copy)]
enum Lasting {
    Everyone(Aside),
    /// Those who ask with something of their own.
    Personal,
}

/// What is known of an answer that is recorded.
struct Kept {
    sharing: Sharing,
    /// Whether it is stored, too.
    store: bool,
    key: Key,
    names: Option<Names>,
    length: Option<u64>,
}

impl Kept {
    /// Takes what the body needs of the fill budget at once, where its length is known: those who
    /// read along with it cannot be sent away later.
    fn fits(&self, lead: &Lead<Key, Arc<Head>>, kind: Kind) -> bool {
        let length = self.length.filter(|_| kind == Kind::Get);
        length.is_none_or(|length| lead.recording().reserve(length as usize))
    }
}

/// What is decided on when the head of an answer is there.
struct Taking<'a> {
    answered: Answered<'a>,
    version: Version,
    length: Option<u64>,
    primary: &'a Key,
    credentials: bool,
    kind: Kind,
}

enum Verdict {
    /// It is recorded.
    Keep(Kept),
    /// It is its caller's alone, or nobody's; what of the key is remembered.
    Not(Unkept, Option<Lasting>),
}

impl<K> Engine<K> {
    /// Looks once more, near and then far: another flight may have come between.
    async fn look_again(&self, primary: &Key, asked: &HeaderMap) -> Found {
        if self.place == Place::Coalesce {
            return Found::Nothing;
        }
        let mut key = KeyWriter::new();
        key.raw(primary.as_bytes());
        let near = self.look(&mut key, asked);
        if !self.cache.store.is_remote() || matches!(near, Found::Entry(_)) {
            return near;
        }
        match self.get(primary).await {
            Some(Record::Entry(entry)) if entry.key() == primary => Found::Entry(entry),
            Some(Record::Variants(variants)) => {
                let mut newest: Option<Entry> = None;
                for names in variants.sets() {
                    key.truncate(primary.as_bytes().len());
                    names.write_variant(asked, &mut |bytes| key.raw(bytes));
                    let Some(variant) = key.key() else { continue };
                    if let Some(Record::Entry(entry)) = self.get(&variant).await
                        && *entry.key() == variant
                        && newest.as_ref().is_none_or(|known| known.head.born < entry.head.born)
                    {
                        newest = Some(entry);
                    }
                }
                newest.map_or(Found::OtherVariants, Found::Entry)
            }
            Some(Record::Entry(_)) => {
                self.cache.listener.tell(&Event::ForeignEntry);
                Found::Nothing
            }
            None => Found::Nothing,
        }
    }

    /// A store that fails or takes too long is a miss.
    async fn get(&self, key: &Key) -> Option<Record> {
        let found = timeout(self.cache.limits.get_deadline, self.cache.store.get(key)).await;
        self.checked(Operation::Get, found.unwrap_or_else(|late| Err(late.into()))).flatten()
    }

    fn checked<T>(&self, operation: Operation, result: Result<T, BoxError>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.cache.listener.tell(&Event::StoreFailed { operation, error: &**error });
            })
            .ok()
    }

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

    /// Whether an answer is kept, shared, or its caller's alone.
    fn verdict(&self, taking: &Taking<'_>) -> Verdict {
        let Answered { request, status, response, .. } = taking.answered;
        let Taking { length, version, .. } = *taking;
        let (names, key) = match Vary::from_fields(response) {
            Vary::Names(names) => {
                let key = variant_key(taking.primary, &names, request);
                (Some(names), key)
            }
            Vary::None | Vary::Any => (None, Some(taking.primary.clone())),
        };
        let (keep, key) = match (self.policy.keep(&taking.answered), key) {
            (Keep::For(lifetime), Some(key)) if !is_too_large(response) => {
                (Keep::For(lifetime), key)
            }
            (Keep::For(_), _) => (Keep::No(Refusal::HeadTooLarge), taking.primary.clone()),
            (keep, key) => (keep, key.unwrap_or_else(|| taking.primary.clone())),
        };
        let outgrown = taking.kind == Kind::Get
            && length.is_some_and(|length| length > self.cache.limits.max_body as u64);
        let in_flight = Sharing::InFlight { credentials: taking.credentials };
        match keep {
            Keep::For(_) if outgrown => {
                self.outgrown();
                Verdict::Not(Unkept::Aside, Some(Lasting::Everyone(Aside::Outgrown)))
            }
            Keep::For(lifetime) => {
                let said = lifetime.explicit || lifetime.demand != Demand::None;
                let sharing = match self.place {
                    Place::Coalesce if !said => in_flight,
                    _ => Sharing::Stored(lifetime),
                };
                let wanted = self.place == Place::Cache && taking.kind == Kind::Get;
                let framed = self.store_unframed
                    || length.is_some()
                    || !ends_with_connection(version, response);
                if wanted && !framed {
                    self.not_stored(Refusal::Unframed);
                }
                Verdict::Keep(Kept { sharing, store: wanted && framed, key, names, length })
            }
            Keep::No(refusal) => {
                self.not_stored(refusal);
                match share::unkept(&refusal, status, self.place) {
                    Unkept::Shared if !outgrown && !is_endless(response) => {
                        Verdict::Keep(Kept { sharing: in_flight, store: false, key, names, length })
                    }
                    Unkept::Failure => Verdict::Not(Unkept::Failure, None),
                    Unkept::Shared | Unkept::Aside => {
                        let lasting = match refusal {
                            _ if status.is_server_error() => None,
                            Refusal::RequestNoStore | Refusal::Method => None,
                            refusal if refusal.by_request() => Some(Lasting::Personal),
                            _ => Some(Lasting::Everyone(Aside::Uncacheable)),
                        };
                        Verdict::Not(Unkept::Aside, lasting)
                    }
                }
            }
        }
    }

    fn outgrown(&self) {
        self.cache.listener.tell(&Event::Outgrown);
    }

    fn not_stored(&self, refusal: Refusal) {
        if self.place == Place::Cache {
            self.cache.listener.tell(&Event::NotStored(refusal));
        }
    }

    fn remember(&self, primary: &Key, lasting: Option<Lasting>) {
        let (key, aside) = match lasting {
            None => return,
            Some(Lasting::Everyone(aside)) => (primary.clone(), aside),
            Some(Lasting::Personal) => (in_class(primary, PERSONAL), Aside::Uncacheable),
        };
        self.cache.listener.tell(&Event::Remembered(aside));
        self.cache.remembered.remember(key.as_bytes(), aside, Instant::now());
    }

    /// A storable answer ends at once what is remembered.
    fn forget(&self, primary: &Key, personal: bool) {
        self.cache.remembered.forget(primary.as_bytes());
        if personal {
            self.cache.remembered.forget(in_class(primary, PERSONAL).as_bytes());
        }
    }

    /// What is kept of a head: its fields in allocations of their own, and what was learned.
    fn head(&self, parts: &mut Parts, kept: Kept, exchange: Exchange) -> Arc<Head> {
        if self.place == Place::Cache {
            dated(&mut parts.headers, exchange.received);
        }
        let Kept { sharing, key, names, length, .. } = kept;
        let directives = ResponseDirectives::from_fields(&parts.headers);
        let stored = stored_fields::kept(&parts.headers, &directives, self.policy.profile());
        let (fields, below) = Head::fields(stored, self.place == Place::Cache);
        let (status, version) = (parts.status, parts.version);
        let born = Instant::now();
        Arc::new(Head { key, status, version, fields, below, names, sharing, born, length })
    }

    /// The stored answer with what a 304 says of it (RFC 9111 §4.3.4), and whether it is kept.
    fn freshened(&self, stored: &Entry, answered: &Answered<'_>) -> Option<(Entry, bool)> {
        let old = &*stored.head;
        let directives = ResponseDirectives::from_fields(answered.response);
        let mut update =
            stored_fields::stored_head(answered.response, &directives, self.policy.profile());
        dated(&mut update, answered.exchange.received);
        let mut fields = validation::freshen(&old.fields, &update, |_| true).ok()?;
        if !update.contains_key(CACHE_STATUS) {
            // What a hit says is ours, not the origin's.
            fields.remove(CACHE_STATUS);
        }
        let (sharing, kept) = match self.policy.keep(&Answered { response: &fields, ..*answered }) {
            Keep::For(lifetime) => (Sharing::Stored(lifetime), true),
            // It may not be kept any longer, but the caller that validated it gets it.
            Keep::No(_) => (Sharing::InFlight { credentials: true }, false),
        };
        let (fields, below) = Head::fields(fields.iter(), self.place == Place::Cache);
        let head = Head {
            key: old.key.clone(),
            status: old.status,
            version: old.version,
            fields,
            below,
            names: old.names.clone(),
            sharing,
            born: Instant::now(),
            length: old.length,
        };
        Some((Entry { head: Arc::new(head), ..stored.clone() }, kept))
    }

    /// Stores `entry`, under its own key and in the list of variants of `primary`.
    async fn put(&self, primary: &Key, entry: Entry) {
        let limits = &self.cache.limits;
        let key = entry.key().clone();
        let listed = match &entry.head.names {
            None => None,
            Some(names) => {
                let before = match self.cache.store.peek(primary.as_bytes()) {
                    Some(Record::Variants(variants)) => Some(variants),
                    _ => None,
                };
                let variants = Variants::and(before.as_ref(), names);
                let is_new = before.is_none_or(|before| !Arc::ptr_eq(&before, &variants));
                let oldest = variants.stored(&key, limits.variants);
                Some((is_new.then_some(variants), oldest))
            }
        };
        self.write(key, Record::Entry(entry)).await;
        let Some((variants, oldest)) = listed else { return };
        if let Some(variants) = variants {
            self.write(primary.clone(), Record::Variants(variants)).await;
        }
        if let Some(oldest) = oldest {
            self.remove(&oldest).await;
        }
    }

    async fn remove(&self, key: &Key) {
        let removed = timeout(self.cache.limits.put_deadline, self.cache.store.remove(key)).await;
        self.checked(Operation::Remove, removed.unwrap_or_else(|late| Err(late.into())));
    }

    async fn write(&self, key: Key, record: Record) {
        let written =
            timeout(self.cache.limits.put_deadline, self.cache.store.put(key, record)).await;
        self.checked(Operation::Put, written.unwrap_or_else(|late| Err(late.into())));
    }

    /// Says above that the origin was asked, and why.
    fn tell_above(&self, parts: &mut Parts, why: Fwd, tells: Tells, stored: bool) {
        // What an engine below said holds: it knows better where the answer came from.
        if tells.layer && parts.extensions.get::<Served>().is_none() {
            parts.extensions.insert(Served::Origin);
        }
        if tells.client {
            let member = Member::forwarded(why).fwd_status(parts.status);
            append(&mut parts.headers, if stored { member.stored() } else { member });
        }
    }
}

/// Those who wait are answered by an entry that is there already.
fn answered_by(lead: Lead<Key, Arc<Head>>, entry: Entry) {
    let trailers = entry.trailers.map(|trailers| (*trailers).clone());
    lead.answer(entry.head, entry.body, trailers);
}

fn answered<'a>(
    method: &'a Method,
    request: &'a HeaderMap,
    parts: &'a Parts,
    exchange: Exchange,
) -> Answered<'a> {
    Answered { method, request, status: parts.status, response: &parts.headers, exchange }
}

/// RFC 9110 §6.6.1: a cache with a clock dates what it keeps.
fn dated(fields: &mut HeaderMap, received: SystemTime) {
    if !fields.contains_key(DATE)
        && let Ok(now) = HeaderValue::from_bytes(&date::format(received))
    {
        fields.insert(DATE, now);
    }
}

/// The key of the variant that `asked` selects; `None` where it is too long.
fn variant_key(primary: &Key, names: &Names, asked: &HeaderMap) -> Option<Key> {
    let mut key = KeyWriter::new();
    key.raw(primary.as_bytes());
    names.write_variant(asked, &mut |bytes| key.raw(bytes));
    key.key()
}

/// An event stream is each listener's own: who joins late has missed its beginning.
fn is_endless(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let stream = b"text/event-stream";
    kind.get(..stream.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(stream))
}

fn is_too_large(fields: &HeaderMap) -> bool {
    let bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    fields.len() > MOST_FIELDS || bytes > MOST_FIELD_BYTES
}

/// The length of the body, as the head declares it or the body knows it.
fn length<R: HttpBody>(fields: &HeaderMap, body: &R) -> Option<u64> {
    let declared = fields.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    declared.or_else(|| body.size_hint().exact())
}

/// Whether only the end of the connection says where the body ends (RFC 9112 §6.3).
fn ends_with_connection(version: Version, fields: &HeaderMap) -> bool {
    let chunked = || {
        let last = fields.get_all(TRANSFER_ENCODING).iter().next_back()?;
        let coding = last.as_bytes().rsplit(|&byte| byte == b',').next()?;
        Some(coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
    };
    version <= Version::HTTP_11
        && !fields.contains_key(CONTENT_LENGTH)
        && !chunked().unwrap_or(false)
}
