//! One fetch to its end: look once more, ask the origin, record, store.
//!
//! A fetch is a task of its own and belongs to no caller. It holds the [`Lead`]: however the task
//! ends, everyone who waits has an answer and the key is free.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, response::Parts};
use http_body::Body as HttpBody;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    body::{Body, HandedOver, Rest},
    engine::{Call, Caller, Engine},
    failures::is_failing,
    filling::Filling,
    refresh::Permit,
    request_key::RequestKey,
    service::Origin,
    storage::{Found, Stored},
    unary,
    verdict::{Behind, Fate, Freshened, Kept, Lasting, Taking, Verdict, length, with},
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
        head::{self, Told},
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
        let mut part = None;
        let mut stored = match engine.look_again(&call.caller.primary, &asked).await {
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
            Found::Part(stored) => {
                part = Some(stored.entry);
                None
            }
            Found::OtherVariants | Found::Nothing => None,
        };
        // What is stored whole is validated, and not fetched in part.
        call.caller.in_part &= stored.is_none();
        let whole = stored.as_ref().map(|stored| &stored.entry);
        let Question { mut request, mut validates, mut completes, mut otherwise } =
            engine.question(call.request, &call.caller, whole, part);
        let caller = call.caller;
        let method = caller.method();
        let kind = caller.ask.kind;
        let mut beginning = Bytes::new();
        let (mut parts, body, exchange, behind, completed) = loop {
            let sent = SystemTime::now();
            let sending = engine.send(inner.clone(), request);
            let response = match timeout_at(deadline, sending).await {
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
            let mut behind = Behind::of(&parts, lead.recording().fence());
            let status = caller.counts_as(parts.status, &parts.headers);
            if !is_failing(status) {
                engine.recovered(&caller);
            } else if status != StatusCode::INTERNAL_SERVER_ERROR {
                // A 500 may be one request's fault, and is never held against others.
                let wait = caller.retry_after(&parts.headers, exchange.received);
                let alone = !lead.recording().was_joined();
                engine.remember_failure(&caller, stored.as_ref(), Trouble::Error, wait, alone);
            }
            let told = match &stored {
                Some(stored) => engine.told(&stored.entry, kind, validates, &parts),
                None => Told::Nothing,
            };
            let entry = stored.as_ref().map(|stored| &stored.entry);
            match (told, entry) {
                (Told::Same, Some(entry)) => {
                    let (request, status) = (&*asked, entry.status());
                    let response = &parts.headers;
                    let answered = Answered { method, request, status, response, exchange };
                    let took = began.elapsed();
                    let freshened = engine.freshened(entry, &answered, &caller, behind, took);
                    if let Some(freshened) = freshened {
                        let landing = Landing { lead, answer, caller: &caller, asked: &asked };
                        return engine.land(landing, entry, freshened, parts.status).await;
                    }
                }
                (Told::Other, Some(entry)) if kind == Kind::Head => engine.outdate(entry).await,
                _ => {}
            }
            if validates && parts.status == StatusCode::NOT_MODIFIED {
                // A 304 about another answer than ours: what we have is of no use.
                if let Some(stored) = stored.take() {
                    engine.remove(stored.entry.key()).await;
                }
                let Some(again) = otherwise.take() else {
                    let failure = FetchError::Status(parts.status);
                    return lead.end(End::Failed(SharedError::new(failure.into())));
                };
                (request, validates) = (again, false);
                continue;
            }
            let Some(part) = completes.take().filter(|_| answers_a_range(parts.status)) else {
                break (parts, body, exchange, behind, None);
            };
            // The rest of what is stored, if it is that; else the whole is asked for.
            behind.fence = behind.fence.min(part.head.fence);
            let kept =
                match Self::completed(&engine, &part, &mut parts, &body, &caller, &asked, exchange)
                {
                    Some(kept) if kept.fits(&lead, kind) => kept,
                    _ => {
                        engine.remove(part.key()).await;
                        let Some(again) = otherwise.take() else {
                            let failure = FetchError::Status(behind.status);
                            return lead.end(End::Failed(SharedError::new(failure.into())));
                        };
                        request = again;
                        continue;
                    }
                };
            beginning = part.body;
            break (parts, body, exchange, behind, Some(kept));
        };
        let status = caller.counts_as(parts.status, &parts.headers);
        let failing = is_failing(status);
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
        let verdict = completed.map_or_else(|| engine.verdict(&taking), Verdict::Keep);
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
        let filling = Filling {
            engine,
            lead,
            head,
            caller,
            asked,
            store,
            beginning,
            hand_over,
            began,
            deadline,
        };
        filling.run(body, kind).await;
    }

    /// What becomes of the whole that `part` and the answer make; `None`: they make none, or one that is
    /// not kept. Then `parts` is of no use.
    fn completed(
        engine: &Engine<K>,
        part: &Entry,
        parts: &mut Parts,
        body: &S::Body,
        caller: &Caller,
        asked: &HeaderMap,
        exchange: Exchange,
    ) -> Option<Kept> {
        if !Engine::<K>::complete(part, parts) {
            return None;
        }
        let taking = Taking {
            answered: answered(caller.method(), asked, parts, exchange),
            version: parts.version,
            length: length(&parts.headers, body),
            caller,
            stands_in: false,
        };
        match engine.verdict(&taking) {
            Verdict::Keep(mut kept) if kept.store && kept.key == *part.key() => {
                kept.names = with(&part.head.names, &kept.names).ok()?;
                Some(kept)
            }
            _ => None,
        }
    }
}

/// A request as it goes to the origin, and what may come of it.
struct Question<B> {
    request: Request<B>,
    /// It asks whether what is stored is still good.
    validates: bool,
    /// It asks for the rest of this.
    completes: Option<Entry>,
    /// The same for the whole, should what comes be of no use.
    otherwise: Option<Request<B>>,
}

/// Who is to be told of what was freshened.
struct Landing<'a, B> {
    lead: Lead<Key, Arc<Head>>,
    answer: oneshot::Sender<Led<B>>,
    caller: &'a Caller,
    asked: &'a HeaderMap,
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
        engine.mark(&mut call.request, caller.tells);
        let (began, fence) = (Instant::now(), Fence::now());
        let sent = SystemTime::now();
        let (parts, body) = engine.send(inner, call.request).await?.into_parts();
        let exchange = Exchange { sent, received: SystemTime::now() };
        if parts.extensions.get::<Rejected>().is_some() {
            return Ok(Response::from_parts(parts, Body::origin(body)));
        }
        let behind = Behind::of(&parts, fence);
        if !is_failing(caller.counts_as(parts.status, &parts.headers)) {
            engine.recovered(&caller);
        }
        let outgrown = call.remembered == Some(Aside::Outgrown);
        let came = Came { parts, body, exchange, behind, began };
        Ok(engine.keep_alone(came, caller, asked, outgrown).await)
    }
}

/// An answer that nobody else waits for.
pub(super) struct Came<R> {
    pub(super) parts: Parts,
    pub(super) body: R,
    pub(super) exchange: Exchange,
    pub(super) behind: Behind,
    pub(super) began: Instant,
}

impl<K: Send + Sync + 'static> Engine<K> {
    /// Gives its caller an answer that came for it alone, and keeps it where that is possible;
    /// `outgrown`: that of this key was too large before.
    pub(super) async fn keep_alone<R>(
        self: Arc<Self>,
        came: Came<R>,
        caller: Caller,
        asked: Arc<HeaderMap>,
        outgrown: bool,
    ) -> Response<Body<R>>
    where
        R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let engine = self;
        let Came { mut parts, body, exchange, behind, began } = came;
        let taking = Taking {
            answered: answered(caller.method(), &asked, &parts, exchange),
            version: parts.version,
            length: length(&parts.headers, &body),
            caller: &caller,
            stands_in: is_failing(caller.counts_as(parts.status, &parts.headers)),
        };
        let verdict = engine.verdict(&taking);
        // What outgrew before and has no length now is learned again when the memory ends.
        let unproven = |kept: &Kept| outgrown && kept.length.is_none();
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
            return Response::from_parts(parts, Body::origin(body));
        };
        let length = kept.length;
        let head = engine.head(&mut parts, kept, exchange, behind);
        engine.tell_above(&mut parts, &caller, true, behind);
        let recording = Arc::clone(lead.recording());
        recording.head(Arc::clone(&head), Open::AtHead, now);
        let (hand_over, rest) = oneshot::channel();
        let deadline = now + engine.cache.limits.fetch_deadline;
        let (store, beginning, tasks) = (true, Bytes::new(), Arc::clone(&engine));
        let filling = Filling {
            engine,
            lead,
            head,
            caller,
            asked,
            store,
            beginning,
            hand_over,
            began,
            deadline,
        };
        let fill = crate::observe::in_callers_span(filling.run(body, Kind::Get));
        match tasks.cache.tasks.spawn(fill) {
            Ok(task) => recording.written_by(task),
            Err(fill) => fill.await,
        }
        let body = Body::on_its_way(reader, None, length, Rest::Sent(rest));
        Response::from_parts(parts, body)
    }
}

impl<K> Engine<K> {
    /// What is asked of the origin for `request`: whether `whole` is still good, for the rest of `part`,
    /// for a range, or for all.
    fn question<B>(
        &self,
        mut request: Request<B>,
        caller: &Caller,
        whole: Option<&Entry>,
        part: Option<Entry>,
    ) -> Question<B>
    where
        K: RequestKey<B>,
    {
        self.mark(&mut request, caller.tells);
        let plain =
            |request| Question { request, validates: false, completes: None, otherwise: None };
        if caller.unary.is_some() {
            unary::lengthen(request.headers_mut(), self.cache.limits.fetch_deadline);
            return plain(request);
        }
        // A range goes as it is: it was looked at before.
        if self.place == Place::Coalesce || caller.in_part {
            return plain(request);
        }
        validation::strip(request.headers_mut());
        let is_get = caller.ask.kind == Kind::Get;
        let validators = whole
            .filter(|entry| entry.status() == StatusCode::OK && is_get)
            .map(|entry| Validators::of(&entry.head.fields))
            .unwrap_or_default();
        if !validators.is_empty() {
            let otherwise = self.again(&request);
            validators.apply(request.headers_mut());
            return Question { request, validates: true, completes: None, otherwise };
        }
        let tail = part.filter(|_| is_get).and_then(|part| Some((self.tail(&part)?, part)));
        match (tail, self.again(&request)) {
            (Some((tail, part)), otherwise @ Some(_)) => {
                tail.apply(request.headers_mut());
                Question { request, validates: false, completes: Some(part), otherwise }
            }
            _ => plain(request),
        }
    }

    /// The same request once more, if the key can make a body for it.
    fn again<B>(&self, request: &Request<B>) -> Option<Request<B>>
    where
        K: RequestKey<B>,
    {
        let mut again = Request::new(self.key.empty()?);
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        *again.version_mut() = request.version();
        *again.headers_mut() = request.headers().clone();
        *again.extensions_mut() = request.extensions().clone();
        Some(again)
    }

    /// What an answer says of the stored one (RFC 9111 §4.3.3, §4.3.5).
    fn told(&self, entry: &Entry, kind: Kind, validates: bool, parts: &Parts) -> Told {
        match parts.status {
            StatusCode::NOT_MODIFIED if validates => Told::Same,
            StatusCode::OK if kind == Kind::Head && entry.status() == StatusCode::OK => {
                head::told(&entry.head.fields, entry.body.len() as u64, &parts.headers)
            }
            _ => Told::Nothing,
        }
    }

    /// Gives what was freshened to all who wait, and keeps it as is said.
    async fn land<B>(
        &self,
        landing: Landing<'_, B>,
        before: &Entry,
        freshened: Freshened,
        status: StatusCode,
    ) {
        let Landing { lead, answer, caller, asked } = landing;
        let Freshened { entry, fate } = freshened;
        let member = Member::forwarded(caller.why).fwd_status(status);
        self.cache.listener.tell(&Event::Freshened);
        let led = Led::Stored(entry.clone(), Some(member));
        match fate {
            Fate::Left => {
                self.remember(&caller.primary, Some(Lasting::Personal));
                lead.end(End::Personal);
                let _ = answer.send(led);
            }
            Fate::Removed => {
                let key = entry.key().clone();
                lead.end(End::Aside);
                let _ = answer.send(led);
                self.remove(&key).await;
            }
            Fate::Stored => {
                answered_by(&lead, entry.clone());
                let _ = answer.send(led);
                // A HEAD has a flight of its own: that of a GET may have stored another meanwhile.
                if caller.ask.kind == Kind::Head && !self.is_still(before) {
                    return lead.leave(false);
                }
                // Nobody waits for the store any more.
                self.store(lead, caller, asked, entry).await;
            }
        }
    }
}

/// Whether an answer can be one to a request for a range.
fn answers_a_range(status: StatusCode) -> bool {
    matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE)
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
