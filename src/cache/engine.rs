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

use http::{Method, Request, Response};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Cache, Shared,
    answer::append,
    body::Body,
    fetch::{Alone, Fetch, Led},
    request_key::{RequestKey, UriKey},
    service::{Answering, Origin},
    storage::{Found, variant_key},
};
use crate::{
    coalesce::{
        flights::{Join, Joined, Lead},
        recording::{Answer, Reader},
        share::{self, Ask, Follows, FromStorage, Kind, Leads, Offered, Place, Share},
    },
    error::{BoxError, FetchError, Reason, Rejected, SharedError},
    marks::{self, Flight},
    observe::{Aside, Event, Pass},
    policy::Policy,
    rfc9111::{
        cache_status::{CACHE_STATUS, Fwd, Member},
        freshness::Reuse,
        vary::Names,
    },
    store::{Head, Key, KeyWriter},
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

impl<B> Call<B> {
    /// Its key among the variants that `names` tells apart.
    fn variant(&self, names: &Names) -> Option<Key> {
        variant_key(&self.primary, names, self.request.headers())
    }
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
        if share.leads == Leads::No && !self.cache.store.is_remote() {
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
        if share.leads == Leads::No {
            return fetching(Arc::clone(self).only_if_far(call));
        }
        fetching(Arc::clone(self).miss(inner.clone(), call))
    }

    /// Answers `only-if-cached` from a store that is further away.
    async fn only_if_far<B, R>(
        self: Arc<Self>,
        call: Call<B>,
    ) -> Result<Response<Body<R>>, BoxError> {
        let Call { request, ask, primary, tells, .. } = call;
        let asked = request.headers().clone();
        drop(request);
        let found = self.look_again(&primary, &asked).await;
        let now = Instant::now();
        match found {
            Found::Entry(entry)
                if matches!(self.reuse(&entry, &ask, now), Reuse::Fresh | Reuse::MaxStale(_)) =>
            {
                Ok(self.hit(entry, &ask, &asked, now, tells))
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
        for _ in 0..JOINS {
            let now = Instant::now();
            if self.cache.tasks.are_draining() {
                return self.passing(inner, call.request, Pass::Draining, call.tells).await;
            }
            if self.remembered(&call, now).is_some() {
                return self.alone(inner, call, Pass::Remembered).await;
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
                // It was answered from storage, and this caller wants that validated.
                Answer::Head(head) if call.ask.validates() && reader.is_from_storage(head.born) => {
                }
                Answer::Head(head) => {
                    let now = Instant::now();
                    let names = head.names.as_ref();
                    let variant = names.map(|names| call.variant(names));
                    // One that is too long for a key is like no other.
                    let same = variant.as_ref().is_none_or(|own| own.as_ref() == Some(&head.key));
                    let resident = now.saturating_duration_since(head.born);
                    let keyed = self.key.has_credentials();
                    let policy = &*self.policy;
                    match share::offered(&head, resident, &call.ask, policy, same, keyed) {
                        Offered::Taken => {
                            return Ok(self.followed_answer(&head, reader, &call, now));
                        }
                        Offered::Failure => {
                            let failure = FetchError::Status(head.status);
                            return Err(SharedError::new(failure.into()).into());
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
        self.alone(inner, call, Pass::NotShared).await
    }

    fn join<B>(&self, call: &Call<B>, now: Instant) -> Joined<Key, Arc<Head>> {
        let flights = &self.cache.flights;
        let head_key = (call.ask.kind == Kind::Head).then(|| in_class(&call.key, HEAD));
        let key = head_key.as_ref().unwrap_or(&call.key);
        match call.share.follows {
            Follows::Later => flights.join(key, Join::Since(call.arrived), now),
            Follows::ToHead => match flights.join_to_head(&call.key, now) {
                Some(reader) => Joined::Follower(reader),
                None => flights.join(key, Join::Any, now),
            },
            Follows::Any | Follows::No => flights.join(key, Join::Any, now),
        }
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
                Ok(Self::led_answer(parts, &head, &ask, &asked, reader, rest))
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
