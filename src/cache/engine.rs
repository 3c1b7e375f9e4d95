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

use std::{fmt, future::poll_fn, sync::Arc};

use http::{
    Method, Request, Response, Uri,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    Cache, Shared,
    answer::append,
    body::Body,
    fallback::{Asking, Failure, Fallback},
    fetch::{Alone, Fetch, Led},
    request_key::{RequestKey, UriKey, authority_asked},
    service::{Answering, Origin},
    storage::{Found, variant_key},
    verdict::is_failing,
};
use crate::{
    coalesce::{
        flights::{Join, Joined, Lead},
        recording::{Answer, Reader},
        remembered::Known,
        share::{self, Ask, Follows, FromStorage, Kind, Leads, Offered, Place, Share},
    },
    error::{BoxError, FetchError, Reason, Rejected, SharedError},
    journal::{Fence, Slots, Tags},
    marks::{self, Flight},
    observe::{Aside, Event, Pass},
    policy::Policy,
    rfc9111::{
        cache_status::{CACHE_STATUS, Fwd, Member},
        freshness::Reuse,
        vary::Names,
    },
    staleness::Staleness,
    store::{Head, Key, KeyWriter},
};

/// The class of flights and entries of GET, and of the flights of HEAD: the first byte of a key.
pub(crate) const GET: u8 = b'G';
const HEAD: u8 = b'H';
/// What is remembered of a key for requests with credentials and the like.
pub(super) const PERSONAL: u8 = b'P';

/// How often a caller joins again because the flight was not for it, before it goes alone.
const JOINS: usize = 3;

pub(crate) struct Engine<K = UriKey> {
    pub(crate) cache: Arc<Shared>,
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) key: K,
    pub(crate) place: Place,
    pub(crate) store_unframed: bool,
    pub(crate) staleness: Staleness,
    pub(crate) tags: Tags,
    pub(crate) fallback: Option<Fallback>,
}

/// A request on its way past the storage, with all that was read from it.
pub(super) struct Call<B> {
    pub(super) request: Request<B>,
    pub(super) share: Share,
    /// Where it is looked up: the primary key, and the variant where the names are known.
    pub(super) key: Key,
    pub(super) arrived: Instant,
    /// How far the journal had come when it arrived.
    pub(super) fence: Fence,
    pub(super) caller: Caller,
    /// What is remembered of the key.
    pub(super) remembered: Option<Aside>,
}

/// Who asks: what is known of a call when its request is gone.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) ask: Ask,
    /// The key that its variants have in common.
    pub(super) primary: Key,
    /// What its answer is invalidated by, tags aside.
    pub(super) names: Box<[Slots]>,
    /// Why storage did not answer it.
    pub(super) why: Fwd,
    pub(super) tells: Tells,
    /// For a fallback, where there is one.
    pub(super) uri: Option<Uri>,
}

impl<B> Call<B> {
    /// Its key among the variants that `names` tells apart.
    fn variant(&self, names: &Names) -> Option<Key> {
        variant_key(&self.caller.primary, names, self.request.headers())
    }
}

/// What was read of a request before storage was asked.
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) share: Share,
    /// How much of the key its variants have in common.
    pub(super) primary: usize,
    pub(super) now: Instant,
    pub(super) tells: Tells,
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
        Self {
            cache: cache.shared,
            policy,
            key: UriKey::new(),
            place,
            store_unframed: false,
            staleness: Staleness::default(),
            tags: Tags::default(),
            fallback: None,
        }
    }
}

impl<K> Engine<K> {
    pub(crate) fn keyed<L>(self, key: L) -> Engine<L> {
        let Self { cache, policy, place, store_unframed, staleness, tags, fallback, .. } = self;
        Engine { cache, policy, key, place, store_unframed, staleness, tags, fallback }
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
        if self.cache.switch.lets_pass(&request) {
            return self.pass(inner, request, Pass::SwitchedOff, tells);
        }
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
        let asked = Asked { ask, share, primary: key.len(), now: Instant::now(), tells };
        let mut why = Fwd::UriMiss;
        if share.from_storage != FromStorage::No {
            match self.look(&mut key, request.headers()) {
                Found::Entry(stored) => match self.reuse(&stored, &ask, asked.now) {
                    Reuse::Fresh | Reuse::MaxStale(_) => {
                        let fields = request.headers();
                        if self.is_due(&stored.entry, asked.now) {
                            let response =
                                self.hit(stored.entry.clone(), &ask, fields, asked.now, tells);
                            self.refresh(inner, request, &asked, &key, stored.entry);
                            return ready(response);
                        }
                        return ready(self.hit(stored.entry, &ask, fields, asked.now, tells));
                    }
                    stale @ Reuse::Stale(_) if self.may_be_stale(&stored.entry, stale) => {
                        let response = self.stale_hit(&stored.entry, &asked, request.headers());
                        self.refresh(inner, request, &asked, &key, stored.entry);
                        return ready(response);
                    }
                    Reuse::Stale(_) => why = Fwd::Stale,
                    Reuse::Validate if !ask.validates() => why = Fwd::Stale,
                    _ => why = Fwd::Request,
                },
                Found::OtherVariants => why = Fwd::VaryMiss,
                Found::Nothing => {}
            }
        }
        if share.leads == Leads::No && !self.cache.store.is_remote() {
            return Answering::Ready(Some(Err(Rejected::new(Reason::OnlyIfCached).into())));
        }
        match self.call_of(request, &asked, &key, why) {
            Err(request) => self.pass(inner, request, Pass::Key, tells),
            Ok(call) if share.leads == Leads::No => fetching(Arc::clone(self).only_if_far(call)),
            Ok(call) => fetching(Arc::clone(self).miss(inner.clone(), call)),
        }
    }

    /// What a fetch needs of a request that storage does not answer; the request itself where it has
    /// no key.
    pub(super) fn call_of<B>(
        &self,
        request: Request<B>,
        asked: &Asked,
        key: &KeyWriter,
        why: Fwd,
    ) -> Result<Call<B>, Request<B>>
    where
        K: RequestKey<B>,
    {
        let Some(whole) = key.key() else { return Err(request) };
        let primary = if asked.primary == key.len() {
            whole.clone()
        } else {
            Key::from(&key.as_bytes()[..asked.primary])
        };
        let caller = Caller {
            ask: asked.ask,
            names: self.names(&primary, &request),
            primary,
            why,
            tells: asked.tells,
            uri: self.fallback.as_ref().map(|_| self.key.uri(&request).clone()),
        };
        Ok(Call {
            request,
            share: asked.share,
            key: whole,
            arrived: asked.now,
            fence: Fence::now(),
            caller,
            remembered: None,
        })
    }

    /// What an answer to this request is invalidated by, tags aside.
    fn names<B>(&self, primary: &Key, request: &Request<B>) -> Box<[Slots]>
    where
        K: RequestKey<B>,
    {
        if self.place == Place::Coalesce {
            return Box::default();
        }
        let journal = &self.cache.journal;
        let uri = self.key.uri(request);
        let authority = authority_asked(uri, request.headers());
        let uri = authority.map(|authority| journal.uri(authority, uri));
        std::iter::once(journal.key(primary)).chain(uri).collect()
    }

    /// Answers `only-if-cached` from a store that is further away.
    async fn only_if_far<B, R>(
        self: Arc<Self>,
        call: Call<B>,
    ) -> Result<Response<Body<R>>, BoxError> {
        let Call { request, caller: Caller { ask, primary, tells, .. }, .. } = call;
        let asked = request.headers().clone();
        drop(request);
        let found = self.look_again(&primary, &asked).await;
        let now = Instant::now();
        match found {
            Found::Entry(stored)
                if matches!(self.reuse(&stored, &ask, now), Reuse::Fresh | Reuse::MaxStale(_)) =>
            {
                Ok(self.hit(stored.entry, &ask, &asked, now, tells))
            }
            _ => Err(Rejected::new(Reason::OnlyIfCached).into()),
        }
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
        let mut join = Join {
            since: (call.share.follows == Follows::Later).then_some(call.arrived),
            seen: Fence::default(),
            dead: self.cache.journal.last(&call.caller.names),
        };
        let mut own = None;
        for _ in 0..JOINS {
            let now = Instant::now();
            if self.cache.tasks.are_draining() {
                return self.passing(inner, call.request, Pass::Draining, call.caller.tells).await;
            }
            match self.remembered(&call.caller, now) {
                Some(Known::Aside(_)) => return self.alone(inner, call, Pass::Remembered).await,
                Some(Known::Failing { until, unreachable }) => {
                    let refusal = Rejected::new(Reason::Failing).retry_after(until - now);
                    let failure = Failure::remembered(&refusal, unreachable);
                    let (fields, caller) = (call.request.headers(), &call.caller);
                    let instead = self.instead(caller, fields, &failure, Asking::Not).await;
                    return instead.ok_or_else(|| self.refused(refusal));
                }
                None => {}
            }
            let mut reader = match self.join(&call, join, now) {
                Joined::Leader(lead, reader) => return self.lead(inner, call, lead, reader).await,
                Joined::Follower(reader) => reader,
                Joined::Behind(mut reader) => {
                    poll_fn(|cx| reader.poll_end(cx)).await;
                    continue;
                }
                Joined::Full => {
                    return self.passing(inner, call.request, Pass::Full, call.caller.tells).await;
                }
            };
            self.cache.listener.tell(&Event::Followed);
            let fields = call.request.headers();
            let answer = match self.patiently(&call.caller, fields, &mut reader).await {
                Ok(answer) => answer,
                Err(stale) => return Ok(stale),
            };
            match answer {
                Answer::Failed(error) => {
                    let failure = Failure::of(&error);
                    let instead = self.instead(&call.caller, fields, &failure, Asking::Shared);
                    return instead.await.ok_or_else(|| error.into());
                }
                // It failed for what its leader is, and this caller is another.
                Answer::Own(error) => {
                    let refused = Rejected::find(&error).is_some();
                    own = Some(error);
                    if !refused && call.caller.ask.personal {
                        break;
                    }
                }
                Answer::Personal if !call.caller.ask.personal => {}
                Answer::Aside | Answer::Personal => break,
                // It was answered from storage, and this caller wants that validated.
                Answer::Head(head)
                    if call.caller.ask.validates() && reader.is_from_storage(head.born) => {}
                Answer::Head(head) => {
                    let now = Instant::now();
                    if self.is_from_before(&head, &call, &mut join) {
                        continue;
                    }
                    let names = head.vary.as_ref();
                    let variant = names.map(|names| call.variant(names));
                    // One that is too long for a key is like no other.
                    let same = variant.as_ref().is_none_or(|own| own.as_ref() == Some(&head.key));
                    let resident = now.saturating_duration_since(head.born);
                    let keyed = self.key.has_credentials();
                    let (ask, policy) = (&call.caller.ask, &*self.policy);
                    match share::offered(&head, resident, ask, policy, same, keyed) {
                        Offered::Taken if is_failing(head.status) => {
                            let failure = Failure::answered(head.status);
                            let (caller, asking) = (&call.caller, Asking::Shared);
                            let instead = self.instead(caller, fields, &failure, asking).await;
                            let shared = || self.followed_answer(&head, reader, &call, now);
                            return Ok(instead.unwrap_or_else(shared));
                        }
                        Offered::Taken => {
                            return Ok(self.followed_answer(&head, reader, &call, now));
                        }
                        Offered::Failure => {
                            let error = SharedError::new(FetchError::Status(head.status).into());
                            let failure = Failure::of(&error);
                            let (caller, asking) = (&call.caller, Asking::Shared);
                            let instead = self.instead(caller, fields, &failure, asking).await;
                            return instead.ok_or_else(|| error.into());
                        }
                        Offered::Refused => break,
                        Offered::OtherVariant => match variant.flatten() {
                            Some(variant) if variant != call.key => call.key = variant,
                            _ => break,
                        },
                    }
                }
            }
        }
        match own {
            Some(error) if Rejected::find(&error).is_none() => {
                let (fields, failure) = (call.request.headers(), Failure::of(&error));
                let instead = self.instead(&call.caller, fields, &failure, Asking::Shared).await;
                instead.ok_or_else(|| error.into())
            }
            _ => self.alone(inner, call, Pass::NotShared).await,
        }
    }

    /// Whether an answer on its way is from before an invalidation that this caller came after; if
    /// so, which flights may still be joined.
    fn is_from_before<B>(&self, head: &Head, call: &Call<B>, join: &mut Join) -> bool {
        if self.place == Place::Coalesce {
            // What was invalidated is known below, if anywhere: any later flight will do.
            let too_old = head.from_below.is_some() && head.fence < call.fence;
            if too_old {
                join.seen = call.fence;
            }
            return too_old;
        }
        let last = self.cache.journal.last(&head.names);
        let too_old = head.fence < last && last <= call.fence;
        if too_old {
            join.dead = join.dead.max(last);
        }
        too_old
    }

    fn join<B>(&self, call: &Call<B>, join: Join, now: Instant) -> Joined<Key, Arc<Head>> {
        let flights = &self.cache.flights;
        let head_key = (call.caller.ask.kind == Kind::Head).then(|| in_class(&call.key, HEAD));
        if call.share.follows == Follows::ToHead
            && let Some(reader) = flights.join_to_head(&call.key, join, now)
        {
            return Joined::Follower(reader);
        }
        flights.join(head_key.as_ref().unwrap_or(&call.key), join, now)
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
        let caller = call.caller.clone();
        let Caller { ask, tells, .. } = caller;
        let (answer, mut answered) = oneshot::channel();
        // What the answer is cut by stays here; the request itself goes to the origin.
        let asked = Arc::new(call.request.headers().clone());
        let recording = Arc::clone(lead.recording());
        let fetch = Fetch::new(Arc::clone(&self), inner, call, Arc::clone(&asked), lead, answer);
        match self.cache.tasks.spawn(crate::observe::in_callers_span(fetch.run())) {
            Ok(task) => recording.written_by(task),
            // It has begun to drain just now: nobody will wait for a task.
            Err(fetch) => fetch.await,
        }
        let led = match self.soft_timeout(&caller) {
            None => answered.await,
            Some(limit) => match timeout(limit, &mut answered).await {
                Ok(led) => led,
                Err(_) => match self.instead(&caller, &asked, &Failure::SLOW, Asking::Own).await {
                    Some(stale) => {
                        reader.leave_it_going();
                        return Ok(stale);
                    }
                    None => answered.await,
                },
            },
        };
        let now = Instant::now();
        match led {
            Ok(Led::Untouched(response)) => {
                self.or_instead(&caller, &asked, response.map(Body::origin)).await
            }
            Ok(Led::Stored(entry, member)) => {
                let head = Arc::clone(&entry.head);
                let mut response = self.stored_answer(entry, &ask, &asked, now, tells);
                if tells.client
                    && let Some(member) = member
                {
                    let value = member.after(head.below.as_ref());
                    response.headers_mut().insert(CACHE_STATUS, value);
                }
                Ok(response)
            }
            Ok(Led::Recorded { parts, head, rest }) => {
                let response = Self::led_answer(parts, &head, &ask, &asked, reader, rest);
                self.or_instead(&caller, &asked, response).await
            }
            Err(_) => {
                let error = match poll_fn(|cx| reader.poll_head(cx)).await {
                    Answer::Failed(error) | Answer::Own(error) => error,
                    _ => SharedError::new(FetchError::Aborted.into()),
                };
                let failure = Failure::of(&error);
                let instead = self.instead(&caller, &asked, &failure, Asking::Own).await;
                instead.ok_or_else(|| error.into())
            }
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
        call.remembered = match self.remembered(&call.caller, Instant::now()) {
            Some(Known::Aside(aside)) => Some(aside),
            _ => None,
        };
        let (caller, asked) = (call.caller.clone(), Arc::new(call.request.headers().clone()));
        let engine = Arc::clone(&self);
        match Alone::new(engine, call, Arc::clone(&asked)).run(inner).await {
            Ok(response) => self.or_instead(&caller, &asked, response).await,
            Err(error) => {
                let failure = Failure::of(&*error);
                let instead = self.instead(&caller, &asked, &failure, Asking::Own).await;
                instead.ok_or(error)
            }
        }
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
        let changes = self.changes(&request);
        self.mark(&mut request, tells);
        let mut response = self.send(inner, request).await?;
        if let Some(changes) = changes {
            self.changed(&changes, &response);
        }
        if tells.client {
            let member = Member::forwarded(fwd).fwd_status(response.status());
            append(response.headers_mut(), member);
        }
        Ok(response.map(Body::origin))
    }

    /// The end of the ladder for a key that is left alone.
    fn refused(&self, refusal: Rejected) -> BoxError {
        self.cache.listener.tell(&Event::Refused);
        refusal.into()
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
        let mut answer = inner.send(request).await;
        if let Ok(response) = &mut answer
            && response.headers().contains_key(TRANSFER_ENCODING)
        {
            // RFC 9112 §6.3: the coding says where the body ends, whatever the length says.
            response.headers_mut().remove(CONTENT_LENGTH);
        }
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
            staleness: self.staleness,
            tags: self.tags.clone(),
            fallback: self.fallback.clone(),
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
