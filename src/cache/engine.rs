//! A request's path: who answers it, and from what?
//!
//! ```text
//! call ── alone? ──▶ pass                                    synchronous down to here:
//!   └─ look near ── may it be reused? ──▶ answer from storage   a hit boxes nothing
//!        └─ miss ── join ─┬─ leader ──▶ fetch (a task of its own) ──▶ read along
//!                         ├─ follower ─ is the head for it? ──▶ read along
//!                         │                └─ no ──▶ its variant's flight, or alone
//!                         └─ full ──▶ pass
//! ```

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, CONTENT_RANGE},
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Cache, Shared,
    body::{Body, Cut, Rest},
    fetch::{Alone, Fetch, Led},
    request_key::{RequestKey, UriKey},
    service::{Answering, Origin},
};
use crate::{
    coalesce::{
        flights::{Join, Joined, Lead},
        recording::{Answer, Reader},
        share::{self, Ask, Follows, FromStorage, Kind, Leads, Offered, Place, Share},
    },
    error::{BoxError, FetchError, Reason, Rejected, SharedError},
    marks::{self, Flight, Served},
    observe::{Aside, Event, Pass},
    policy::Policy,
    rfc9111::{
        cache_status::{self, CACHE_STATUS, Fwd, Member},
        freshness::Reuse,
        range::{self, Selected},
        validation,
    },
    store::{Entry, Head, Key, KeyWriter, Record, Sharing, Variants},
};

/// The class of flights and entries of GET, and of the flights of HEAD: the first byte of a key.
const GET: u8 = b'G';
const HEAD: u8 = b'H';
/// What is remembered of a key for requests with credentials and the like.
pub(super) const PERSONAL: u8 = b'P';

/// How often a caller joins again because the flight was another variant's, before it goes alone.
const JOINS: usize = 3;

pub(crate) struct Engine<K = UriKey> {
    pub(crate) cache: Arc<Shared>,
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) key: K,
    pub(crate) place: Place,
    pub(crate) store_unframed: bool,
}

/// What a look at what is near found.
pub(crate) enum Found {
    Entry(Entry),
    /// The key is known, and has no such variant.
    OtherVariants,
    Nothing,
}

/// A request on its way past the storage, with all that was read from it.
pub(super) struct Call<B> {
    pub(super) request: Request<B>,
    pub(super) ask: Ask,
    pub(super) share: Share,
    /// The key that its variants have in common.
    pub(super) primary: Key,
    /// Where it is looked up: the primary key, and the variant where the names are known.
    pub(super) key: Key,
    /// Why storage did not answer it.
    pub(super) why: Fwd,
    pub(super) arrived: Instant,
    pub(super) tells: Tells,
    /// What is remembered of the key.
    pub(super) remembered: Option<Aside>,
}

/// To whom this engine says how it answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tells {
    /// The client, in `Cache-Status`: not where an engine above does.
    pub(super) client: bool,
    /// The layer above, by a mark: only where one asked.
    pub(super) layer: bool,
}

impl Engine {
    pub(crate) fn new(cache: Cache, place: Place, policy: Arc<dyn Policy>) -> Self {
        Self { cache: cache.shared, policy, key: UriKey::new(), place, store_unframed: false }
    }
}

impl<K> Engine<K> {
    pub(crate) fn keyed<L>(self, key: L) -> Engine<L> {
        let Self { cache, policy, place, store_unframed, .. } = self;
        Engine { cache, policy, key, place, store_unframed }
    }

    /// Answers `request`: at once where it can, else in a future that needs the inner service.
    pub(super) fn call<S, B>(self: &Arc<Self>, inner: &S, request: Request<B>) -> Answering<S::Body>
    where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        let above = request.extensions().get::<Flight>();
        if above.is_some_and(|flight| flight.is_of(self.cache.id)) {
            return fetching(step_aside(inner.clone(), request));
        }
        let tells = Tells {
            client: self.place == Place::Cache && above.is_none_or(|flight| !flight.is_told()),
            layer: marks::are_read(request.extensions()),
        };
        let ask = Ask::of(&request);
        let share = share::share(&ask, self.place);
        if share.leads == Leads::Alone {
            return self.pass(inner, request, Pass::Request, tells);
        }
        let mut key = KeyWriter::new();
        key.raw(&[GET]);
        if self.key.write(&request, &mut key).is_err() || key.is_too_long() {
            return self.pass(inner, request, Pass::Key, tells);
        }
        let primary = key.len();
        let now = Instant::now();
        let mut why = Fwd::UriMiss;
        if share.from_storage != FromStorage::No {
            match self.look(&mut key, request.headers()) {
                Found::Entry(entry) => match self.reuse(&entry, &ask, now) {
                    Reuse::Fresh | Reuse::MaxStale(_) => {
                        return ready(self.hit(entry, &ask, request.headers(), now, tells));
                    }
                    Reuse::Stale(_) => why = Fwd::Stale,
                    Reuse::Validate if !ask.validates() => why = Fwd::Stale,
                    _ => why = Fwd::Request,
                },
                Found::OtherVariants => why = Fwd::VaryMiss,
                Found::Nothing => {}
            }
        }
        if share.leads == Leads::No {
            return Answering::Ready(Some(Err(Rejected::new(Reason::OnlyIfCached).into())));
        }
        let Some(whole) = key.key() else {
            return self.pass(inner, request, Pass::Key, tells);
        };
        let primary = if primary == key.len() {
            whole.clone()
        } else {
            Key::from(&key.as_bytes()[..primary])
        };
        let call = Call {
            request,
            ask,
            share,
            primary,
            key: whole,
            why,
            arrived: now,
            tells,
            remembered: None,
        };
        fetching(Arc::clone(self).miss(inner.clone(), call))
    }

    /// Looks at what is near; leaves in `key` the variant that it looked for.
    pub(crate) fn look(&self, key: &mut KeyWriter, request: &HeaderMap) -> Found {
        let found = match self.cache.store.peek(key.as_bytes()) {
            None => return Found::Nothing,
            Some(Record::Entry(entry)) => Some(entry),
            Some(Record::Variants(variants)) => self.look_among(&variants, key, request),
        };
        match found {
            None => Found::OtherVariants,
            Some(entry) if entry.key().as_bytes() == key.as_bytes() => Found::Entry(entry),
            Some(_) => {
                self.cache.listener.tell(&Event::ForeignEntry);
                Found::Nothing
            }
        }
    }

    /// RFC 9111 §4.1: of several variants that match, the newest.
    fn look_among(
        &self,
        variants: &Variants,
        key: &mut KeyWriter,
        request: &HeaderMap,
    ) -> Option<Entry> {
        let primary = key.len();
        let mut newest: Option<(usize, Entry)> = None;
        for (index, names) in variants.sets().iter().enumerate() {
            key.truncate(primary);
            names.write_variant(request, &mut |bytes| key.raw(bytes));
            if !key.is_too_long()
                && let Some(Record::Entry(entry)) = self.cache.store.peek(key.as_bytes())
                && newest.as_ref().is_none_or(|(_, newest)| newest.head.born < entry.head.born)
            {
                newest = Some((index, entry));
            }
        }
        // Where none matches, the names that were used last tell the variant of the flight.
        let index = newest.as_ref().map_or(0, |(index, _)| *index);
        key.truncate(primary);
        if let Some(names) = variants.sets().get(index) {
            names.write_variant(request, &mut |bytes| key.raw(bytes));
        }
        newest.map(|(_, entry)| entry)
    }

    pub(super) fn reuse(&self, entry: &Entry, ask: &Ask, now: Instant) -> Reuse {
        let Some(lifetime) = entry.head.lifetime() else { return Reuse::Validate };
        if ask.refresh {
            return Reuse::Validate;
        }
        let mut wants = ask.wants;
        if self.place == Place::Cache && wants.directives.only_if_cached {
            // It cannot be validated; what it forbids it forbids all the same.
            wants.directives.only_if_cached = false;
        }
        self.policy.reuse(lifetime, entry.resident(now), &wants)
    }

    fn hit<R>(
        &self,
        entry: Entry,
        ask: &Ask,
        request: &HeaderMap,
        now: Instant,
        tells: Tells,
    ) -> Response<Body<R>> {
        self.cache.listener.tell(&Event::Hit);
        self.from_storage(entry, ask, request, now, tells)
    }

    /// Answers from an entry: the whole of it, a part of it, or that the caller has it already.
    fn from_storage<R>(
        &self,
        entry: Entry,
        ask: &Ask,
        request: &HeaderMap,
        now: Instant,
        tells: Tells,
    ) -> Response<Body<R>> {
        let Entry { head, body, trailers } = entry;
        let head = &*head;
        let mut fields = head.fields.clone();
        set_age(&mut fields, head, now);
        if !tells.client {
            untold(&mut fields, head);
        }
        let cut = cut(head, &mut fields, ask, request, Some(body.len() as u64));
        let head_only = ask.kind == Kind::Head;
        if head_only && !fields.contains_key(CONTENT_LENGTH) && matches!(cut, Portion::Whole) {
            // What a GET would be answered with (RFC 9110 §8.6).
            fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len() as u64));
        }
        let (status, body) = match cut {
            _ if head_only => (cut.status(head), Body::empty()),
            Portion::Whole => (head.status, Body::stored(body, trailers)),
            Portion::Part(part) => {
                let (start, end) = (part.skip as usize, (part.skip + part.take) as usize);
                (StatusCode::PARTIAL_CONTENT, Body::stored(body.slice(start..end), None))
            }
            Portion::NotModified | Portion::Unsatisfiable => (cut.status(head), Body::empty()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.version_mut() = head.version;
        *response.headers_mut() = fields;
        if tells.layer {
            response.extensions_mut().insert(Served::Storage);
        }
        response
    }

    /// Answers from a flight that it has joined.
    fn from_flight<B, R>(
        &self,
        head: &Head,
        reader: Reader<Arc<Head>>,
        call: &Call<B>,
        now: Instant,
    ) -> Response<Body<R>> {
        let mut fields = head.fields.clone();
        match head.sharing {
            _ if self.place == Place::Coalesce => {}
            Sharing::Stored(_) => set_age(&mut fields, head, now),
            Sharing::InFlight { .. } => {
                fields.remove(AGE);
            }
        }
        if call.tells.client {
            let member = match reader.is_from_storage(head.born) {
                true => Member::hit(),
                false => Member::forwarded(call.why).fwd_status(head.status).collapsed(),
            };
            fields.insert(CACHE_STATUS, member.after(head.below.as_ref()));
        } else if self.place == Place::Cache {
            untold(&mut fields, head);
        }
        let portion = cut(head, &mut fields, &call.ask, call.request.headers(), head.length);
        let status = portion.status(head);
        let body = match portion {
            _ if call.ask.kind == Kind::Head => Body::empty(),
            Portion::Whole => Body::on_its_way(reader, None, head.length, Rest::None),
            Portion::Part(cut) => Body::on_its_way(reader, Some(cut), None, Rest::None),
            Portion::NotModified | Portion::Unsatisfiable => Body::empty(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.version_mut() = head.version;
        *response.headers_mut() = fields;
        if call.tells.layer {
            response.extensions_mut().insert(Served::Origin);
        }
        response
    }

    /// What storage could not answer: joins the flight of its key, or begins it.
    async fn miss<S, B>(
        self: Arc<Self>,
        inner: S,
        mut call: Call<B>,
    ) -> Result<Response<Body<S::Body>>, BoxError>
    where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        for _ in 0..JOINS {
            let now = Instant::now();
            if self.remembered(&call, now).is_some() {
                return self.alone(inner, call, Pass::Remembered).await;
            }
            if self.cache.tasks.are_draining() {
                return self.passing(inner, call.request, Pass::Draining, call.tells).await;
            }
            let mut reader = match self.join(&call, now) {
                Joined::Leader(lead, reader) => return self.lead(inner, call, lead, reader).await,
                Joined::Follower(reader) => reader,
                Joined::Behind(mut reader) => {
                    poll_fn(|cx| reader.poll_end(cx)).await;
                    continue;
                }
                Joined::Full => {
                    return self.passing(inner, call.request, Pass::Full, call.tells).await;
                }
            };
            self.cache.listener.tell(&Event::Followed);
            match poll_fn(|cx| reader.poll_head(cx)).await {
                Answer::Failed(error) => return Err(error.into()),
                Answer::Personal if !call.ask.personal => {}
                Answer::Aside | Answer::Personal => break,
                Answer::Head(head) => {
                    let now = Instant::now();
                    let variant = self.variant(&head, &call);
                    let same = variant.as_ref().is_none_or(|variant| *variant == head.key);
                    let resident = now.saturating_duration_since(head.born);
                    let keyed = self.key.has_credentials();
                    let policy = &*self.policy;
                    match share::offered(&head, resident, &call.ask, policy, same, keyed) {
                        Offered::Taken => {
                            return Ok(self.from_flight(&head, reader, &call, now));
                        }
                        Offered::Failure => {
                            let failure = FetchError::Status(head.status);
                            return Err(SharedError::new(failure.into()).into());
                        }
                        Offered::Refused => break,
                        Offered::OtherVariant => match variant {
                            Some(variant) if variant != call.key => call.key = variant,
                            _ => break,
                        },
                    }
                }
            }
        }
        self.alone(inner, call, Pass::NotShared).await
    }

    /// What is remembered of the key, or of those who ask for it with something of their own.
    fn remembered<B>(&self, call: &Call<B>, now: Instant) -> Option<Aside> {
        let remembered = &self.cache.remembered;
        let personal = || remembered.look(in_class(&call.primary, PERSONAL).as_bytes(), now);
        remembered
            .look(call.primary.as_bytes(), now)
            .or_else(|| if call.ask.personal { personal() } else { None })
    }

    fn join<B>(&self, call: &Call<B>, now: Instant) -> Joined<Key, Arc<Head>> {
        let flights = &self.cache.flights;
        let head_key = (call.ask.kind == Kind::Head).then(|| in_class(&call.key, HEAD));
        let key = head_key.as_ref().unwrap_or(&call.key);
        match call.share.follows {
            Follows::Later => flights.join(key, Join::Since(call.arrived), now),
            Follows::ToHead => match flights.join_to_head(&call.key) {
                Some(reader) => Joined::Follower(reader),
                None => flights.join(key, Join::Any, now),
            },
            Follows::Any | Follows::No => flights.join(key, Join::Any, now),
        }
    }

    /// The key of this call among the variants that `head` is one of; `None` where it has none.
    fn variant<B>(&self, head: &Head, call: &Call<B>) -> Option<Key> {
        let names = head.names.as_ref()?;
        let mut key = KeyWriter::new();
        key.raw(call.primary.as_bytes());
        names.write_variant(call.request.headers(), &mut |bytes| key.raw(bytes));
        // A variant that is too long for a key is like no other's.
        Some(key.key().unwrap_or_else(|| call.key.clone()))
    }

    /// Fetches for all who join, in a task that none of them can take down.
    async fn lead<S, B>(
        self: Arc<Self>,
        inner: S,
        call: Call<B>,
        lead: Lead<Key, Arc<Head>>,
        mut reader: Reader<Arc<Head>>,
    ) -> Result<Response<Body<S::Body>>, BoxError>
    where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        self.cache.listener.tell(&Event::Miss);
        let (ask, tells) = (call.ask, call.tells);
        let (answer, answered) = oneshot::channel();
        // What the answer is cut by stays here; the request itself goes to the origin.
        let asked = Arc::new(call.request.headers().clone());
        let recording = Arc::clone(lead.recording());
        let fetch = Fetch::new(Arc::clone(&self), inner, call, Arc::clone(&asked), lead, answer);
        match self.cache.tasks.spawn(crate::observe::in_callers_span(fetch.run())) {
            Ok(task) => recording.written_by(task),
            // It has begun to drain just now: nobody will wait for a task.
            Err(fetch) => fetch.await,
        }
        let led = answered.await;
        let now = Instant::now();
        match led {
            Ok(Led::Untouched(response)) => Ok(response.map(Body::origin)),
            Ok(Led::Stored(entry, member)) => {
                let head = Arc::clone(&entry.head);
                let mut response = self.from_storage(entry, &ask, &asked, now, tells);
                if tells.client
                    && let Some(member) = member
                {
                    let value = member.after(head.below.as_ref());
                    response.headers_mut().insert(CACHE_STATUS, value);
                }
                Ok(response)
            }
            Ok(Led::Recorded { mut parts, head, rest }) => {
                let portion = cut(&head, &mut parts.headers, &ask, &asked, head.length);
                parts.status = portion.status(&head);
                let rest = Rest::Sent(rest);
                let body = match portion {
                    _ if ask.kind == Kind::Head => Body::empty(),
                    Portion::Whole => Body::on_its_way(reader, None, head.length, rest),
                    Portion::Part(cut) => Body::on_its_way(reader, Some(cut), None, rest),
                    Portion::NotModified | Portion::Unsatisfiable => Body::empty(),
                };
                Ok(Response::from_parts(parts, body))
            }
            Err(_) => match poll_fn(|cx| reader.poll_head(cx)).await {
                Answer::Failed(error) => Err(error.into()),
                _ => Err(FetchError::Aborted.into()),
            },
        }
    }

    /// Asks the origin for one caller, on that caller's own time.
    async fn alone<S, B>(
        self: Arc<Self>,
        inner: S,
        mut call: Call<B>,
        why: Pass,
    ) -> Result<Response<Body<S::Body>>, BoxError>
    where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        self.passed(why);
        call.remembered = self.remembered(&call, Instant::now());
        Alone::new(self, call).run(inner).await
    }

    fn pass<S, B>(
        self: &Arc<Self>,
        inner: &S,
        request: Request<B>,
        why: Pass,
        tells: Tells,
    ) -> Answering<S::Body>
    where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        fetching(Arc::clone(self).passing(inner.clone(), request, why, tells))
    }

    /// Hands the request to the inner service, and its answer back, both untouched.
    async fn passing<S, B>(
        self: Arc<Self>,
        inner: S,
        mut request: Request<B>,
        why: Pass,
        tells: Tells,
    ) -> Result<Response<Body<S::Body>>, BoxError>
    where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        self.passed(why);
        let fwd = match why {
            Pass::Request
                if *request.method() != Method::GET && *request.method() != Method::HEAD =>
            {
                Fwd::Method
            }
            Pass::Request => Fwd::Request,
            _ => Fwd::Bypass,
        };
        self.mark(&mut request, tells);
        let mut response = self.send(inner, request).await?;
        if tells.client {
            let member = Member::forwarded(fwd).fwd_status(response.status());
            append(response.headers_mut(), member);
        }
        Ok(response.map(Body::origin))
    }

    fn passed(&self, why: Pass) {
        self.cache.listener.tell(&Event::Passed(why));
    }

    /// Marks a request as being fetched by this engine.
    pub(super) fn mark<B>(&self, request: &mut Request<B>, tells: Tells) {
        let mark = Flight::through(request.extensions(), self.cache.id, tells.client);
        request.extensions_mut().insert(mark);
    }

    /// Calls the origin: the one place that does.
    pub(super) async fn send<S, B>(
        &self,
        inner: S,
        request: Request<B>,
    ) -> Result<Response<S::Body>, BoxError>
    where
        S: Origin<B>,
    {
        let listener = &self.cache.listener;
        listener.tell(&Event::OriginCalled);
        let sent = Instant::now();
        let answer = inner.send(request).await;
        match &answer {
            Ok(response) => listener
                .tell(&Event::OriginAnswered { status: response.status(), took: sent.elapsed() }),
            Err(error) => listener.tell(&Event::OriginFailed(&**error)),
        }
        answer
    }
}

impl<K: Clone> Clone for Engine<K> {
    fn clone(&self) -> Self {
        Self {
            cache: Arc::clone(&self.cache),
            policy: Arc::clone(&self.policy),
            key: self.key.clone(),
            place: self.place,
            store_unframed: self.store_unframed,
        }
    }
}

impl<K> fmt::Debug for Engine<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("cache", &self.cache.id)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

fn ready<R>(response: Response<Body<R>>) -> Answering<R> {
    Answering::Ready(Some(Ok(response)))
}

fn fetching<R>(
    future: impl Future<Output = Result<Response<Body<R>>, BoxError>> + Send + 'static,
) -> Answering<R> {
    Answering::Fetching(Box::pin(future))
}

/// An engine above with the same flight table does all the work already.
async fn step_aside<S, B>(
    inner: S,
    request: Request<B>,
) -> Result<Response<Body<S::Body>>, BoxError>
where
    S: Origin<B>,
    B: Send + 'static,
{
    Ok(inner.send(request).await?.map(Body::origin))
}

/// The same key in another class of flights.
pub(super) fn in_class(key: &Key, class: u8) -> Key {
    let mut bytes = key.as_bytes().to_vec();
    if let Some(first) = bytes.first_mut() {
        *first = class;
    }
    Key::from(&*bytes)
}

/// RFC 9111 §5.1: how old the answer is by now.
fn set_age(fields: &mut HeaderMap, head: &Head, now: Instant) {
    let Some(lifetime) = head.lifetime() else { return };
    let resident = now.saturating_duration_since(head.born);
    if let Some(age) = fields.get_mut(AGE) {
        *age = seconds(lifetime.current_age(resident));
    }
}

/// Adds our member to what caches below said in `Cache-Status`.
pub(super) fn append(fields: &mut HeaderMap, member: Member) {
    let below = cache_status::joined(fields);
    fields.insert(CACHE_STATUS, member.after(below.as_ref()));
}

/// Takes out what a hit says in `Cache-Status`: an engine above says it.
fn untold(fields: &mut HeaderMap, head: &Head) {
    match &head.below {
        Some(below) => fields.insert(CACHE_STATUS, below.clone()),
        None => fields.remove(CACHE_STATUS),
    };
}

/// Whole seconds as a field value: no allocation within the first hour.
fn seconds(age: Duration) -> HeaderValue {
    static FIRST_HOUR: LazyLock<Box<[HeaderValue]>> =
        LazyLock::new(|| (0..3_600).map(digits).collect());
    let age = age.as_secs();
    let prepared = usize::try_from(age).ok().and_then(|age| FIRST_HOUR.get(age));
    prepared.cloned().unwrap_or_else(|| HeaderValue::from(age))
}

/// Fewer than 10,000 seconds as a field value over static text, which costs nothing to clone.
fn digits(number: usize) -> HeaderValue {
    static TABLE: [u8; 40_000] = {
        let mut table = [0; 40_000];
        let mut digit = 0;
        while digit < table.len() {
            let divisor = [1_000, 100, 10, 1][digit % 4];
            table[digit] = b'0' + (digit / 4 / divisor % 10) as u8;
            digit += 1;
        }
        table
    };
    let leading = match number {
        0..10 => 3,
        10..100 => 2,
        100..1_000 => 1,
        _ => 0,
    };
    let text = TABLE.get(number * 4 + leading..number * 4 + 4);
    let text = text.and_then(|digits| std::str::from_utf8(digits).ok());
    text.map_or_else(|| HeaderValue::from(number as u64), HeaderValue::from_static)
}

/// What of an answer a caller gets.
#[derive(Clone, Copy, Debug)]
enum Portion {
    Whole,
    Part(Cut),
    NotModified,
    Unsatisfiable,
}

impl Portion {
    fn status(self, head: &Head) -> StatusCode {
        match self {
            Self::Whole => head.status,
            Self::Part(_) => StatusCode::PARTIAL_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }
}

/// Cuts an answer to what the request asks of it (RFC 9110 §13, §14), and its fields with it.
fn cut(
    head: &Head,
    fields: &mut HeaderMap,
    ask: &Ask,
    request: &HeaderMap,
    length: Option<u64>,
) -> Portion {
    if head.status != StatusCode::OK || !(ask.conditional || ask.range) {
        return Portion::Whole;
    }
    if ask.conditional && validation::not_modified(request, &head.fields) {
        *fields = validation::not_modified_fields(fields);
        return Portion::NotModified;
    }
    // A range of what has no length yet is the whole, and so is a range of a HEAD (§14.2).
    let Some(length) = length.filter(|_| ask.range && ask.kind == Kind::Get) else {
        return Portion::Whole;
    };
    match range::select(request, &head.fields, length) {
        Selected::Whole => Portion::Whole,
        Selected::Part(part) => {
            let take = part.end() - part.start() + 1;
            fields.insert(CONTENT_RANGE, range::content_range(&part, length));
            fields.insert(CONTENT_LENGTH, HeaderValue::from(take));
            Portion::Part(Cut { skip: *part.start(), take })
        }
        Selected::Unsatisfiable => {
            fields.insert(CONTENT_RANGE, range::unsatisfied_range(length));
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            Portion::Unsatisfiable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_in_full() {
        for age in [0, 7, 10, 99, 100, 999, 1_000, 3_599, 3_600, 10_000, u64::MAX] {
            assert_eq!(seconds(Duration::from_secs(age)), age.to_string());
        }
        assert_eq!(seconds(Duration::from_millis(1_999)), "1");
    }
}
