//! A request's path: who answers it, and from what?
//!
//! ```text
//! call ── alone? ──▶ pass
//!   │       ├─ a gRPC call? ──▶ read its message ──▶ call    synchronous down to here:
//!   │       └─ a POST? ──▶ pass, and keep what answers a GET    a hit boxes nothing
//!   └─ look near ── may it, or a part, be reused? ──▶ answer from storage
//!        └─ miss ── join ─┬─ leader ──▶ fetch (a task of its own) ──▶ read along
//!                         ├─ follower ─ is the head for it? ──▶ read along
//!                         │                └─ no ──▶ its variant's flight, or alone
//!                         └─ full ──▶ pass
//! ```

use std::{fmt, sync::Arc};

use http::{
    Method, Request, Response,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use tokio::time::Instant;

use super::{
    Cache, Shared,
    answer::append,
    body::Body,
    call::{Call, Caller, Inquiry, Tells},
    request_key::{RequestKey, UriKey},
    service::{Answering, Origin},
    storage::Found,
    unary::Known,
};
use crate::{
    coalesce::share::{self, Ask, FromStorage, Kind, Leads, Place},
    error::{BoxError, Reason, Rejected},
    fallback::Fallback,
    journal::Tags,
    marks::{self, Flight},
    observe::{Event, Pass},
    policy::Policy,
    rfc9111::{
        cache_status::{Fwd, Member},
        reuse::Reuse,
    },
    staleness::Staleness,
    store::{Key, KeyWriter},
};

/// The class of flights and entries of GET, and of what is answered like one: the first byte of a key.
pub(crate) const GET: u8 = b'G';
/// The class of the flights of HEAD, and of what is remembered of them.
pub(super) const HEAD: u8 = b'H';
/// What is remembered of a key for requests with credentials and the like.
pub(super) const PERSONAL: u8 = b'P';

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

impl Engine {
    pub(crate) fn new(cache: Cache, place: Place, policy: Arc<dyn Policy>) -> Self {
        marks::may_be_answered_from_storage();
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

    /// Answers `request`: at once where it can, else in a future that needs the inner service. `read`:
    /// what was learned from the message of a gRPC call.
    pub(super) fn call<S, B>(
        self: &Arc<Self>,
        inner: &S,
        request: Request<B>,
        read: Option<&mut Known>,
    ) -> Answering<S::Body>
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
            for_many: above.is_some(),
        };
        let (method, uri, fields) = (request.method(), request.uri(), request.headers());
        if self.cache.switch.is_off_for(method, uri, fields) {
            return self.pass(inner, request, Pass::SwitchedOff, tells);
        }
        let mut ask = Ask::of(&request);
        let mut share = share::share(&ask, self.place);
        let (mut key, mut unary) = (KeyWriter::new(), None);
        if share.leads == Leads::Alone {
            let Some(read) = read else {
                return match self.key.unary(&request) {
                    Some(unary) => {
                        fetching(Arc::clone(self).unary(inner.clone(), request, unary, tells))
                    }
                    None => match self.posts(&request, &ask) {
                        Some(key) => {
                            // Its answer is treated like one to the GET.
                            let ask =
                                Ask { kind: Kind::Get, range: false, conditional: false, ..ask };
                            let (primary, now) = (key.as_bytes().len(), Instant::now());
                            let inquiry = Inquiry { ask, share, primary, now, tells, unary: None };
                            let posting =
                                Arc::clone(self).posting(inner.clone(), request, key, inquiry);
                            fetching(posting)
                        }
                        None => self.pass(inner, request, Pass::Request, tells),
                    },
                };
            };
            (ask, share, unary) = (read.ask, read.share, Some(read.terms));
            key = std::mem::take(&mut read.key);
        } else {
            key.raw(&[GET]);
            if self.key.write(&request, &mut key).is_err() || key.is_too_long() {
                if share.leads == Leads::No {
                    return Answering::Ready(Some(Err(Rejected::new(Reason::OnlyIfCached).into())));
                }
                return self.pass(inner, request, Pass::Key, tells);
            }
        }
        let (primary, now) = (key.len(), Instant::now());
        let inquiry = Inquiry { ask, share, primary, now, tells, unary };
        let mut why = Fwd::UriMiss;
        if share.from_storage != FromStorage::No {
            match self.look(&mut key, request.headers()) {
                Found::Entry(stored) => match self.reuse(&stored, &ask, inquiry.now) {
                    Reuse::Fresh | Reuse::MaxStale(_) => {
                        let fields = request.headers();
                        if self.is_due(&stored.entry, inquiry.now) {
                            let response =
                                self.hit(stored.clone(), &ask, fields, inquiry.now, tells);
                            self.refresh(inner, request, &inquiry, &key, stored.entry);
                            return ready(response);
                        }
                        return ready(self.hit(stored, &ask, fields, inquiry.now, tells));
                    }
                    stale @ Reuse::Stale(_)
                        if self.may_be_stale(&stored.entry.head, &ask, stale) =>
                    {
                        let response = self.stale_hit(stored.clone(), &inquiry, request.headers());
                        self.refresh(inner, request, &inquiry, &key, stored.entry);
                        return ready(response);
                    }
                    _ if self.is_fresh(&stored, inquiry.now) => why = Fwd::Request,
                    _ => why = Fwd::Stale,
                },
                Found::Part(stored) => {
                    let fields = request.headers();
                    if self.slice(&stored, &ask, fields, inquiry.now).is_some() {
                        return ready(self.hit(stored, &ask, fields, inquiry.now, tells));
                    }
                    why = Fwd::Partial;
                }
                Found::OtherVariants => why = Fwd::VaryMiss,
                Found::Nothing => {}
            }
        }
        let is_far = self.cache.store.is_remote() && share.from_storage != FromStorage::No;
        if share.leads == Leads::No && !is_far {
            return Answering::Ready(Some(Err(Rejected::new(Reason::OnlyIfCached).into())));
        }
        let Some(key) = key.key() else {
            return self.pass(inner, request, Pass::Key, tells);
        };
        let whole = matches!(why, Fwd::Stale | Fwd::Request);
        let in_part = !whole && self.is_in_part(&ask, request.headers());
        let mut call = self.call_of(request, &inquiry, key, why);
        call.caller.in_part = in_part;
        match share.leads {
            Leads::No => fetching(Arc::clone(self).only_if_far(call)),
            _ => fetching(Arc::clone(self).miss(inner.clone(), call)),
        }
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
                Ok(self.hit(stored, &ask, &asked, now, tells))
            }
            Found::Part(stored) if self.slice(&stored, &ask, &asked, now).is_some() => {
                Ok(self.hit(stored, &ask, &asked, now, tells))
            }
            _ => Err(Rejected::new(Reason::OnlyIfCached).into()),
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
    pub(super) async fn passing<S, B>(
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
        let refused = response.extensions().get::<Rejected>().is_some();
        if let Some(changes) = changes.filter(|_| !refused) {
            self.changed(&changes, &response, None);
        }
        if tells.client && !refused {
            let member = Member::forwarded(fwd).fwd_status(response.status());
            append(response.headers_mut(), member);
        }
        Ok(response.map(Body::origin))
    }

    pub(super) fn passed(&self, why: Pass) {
        self.cache.listener.tell(&Event::Passed(why));
    }

    /// Marks a request as being fetched by this engine.
    pub(super) fn mark<B>(&self, request: &mut Request<B>, tells: Tells) {
        let fence = self.cache.journal.newest();
        let mark = Flight::through(request.extensions(), self.cache.id, tells.client, fence);
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
