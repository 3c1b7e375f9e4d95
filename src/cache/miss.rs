//! What storage could not answer: its caller leads a fetch, follows another caller's, or goes alone.

use std::{future::poll_fn, sync::Arc};

use http::{HeaderMap, Response};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    alone::Alone,
    body::Body,
    call::{Call, Caller},
    engine::{Engine, HEAD, in_class},
    failures::is_failing,
    fallback::{Asking, Failure},
    fetch::{Fetch, Led},
    request_key::RequestKey,
    service::Origin,
};
use crate::{
    coalesce::{
        flights::{Join, Joined, Lead},
        recording::{Answer, End, Reader},
        remembered::Known,
        share::{self, Follows, Kind, Offered, Place},
    },
    error::{BoxError, FetchError, Reason, Rejected, SharedError},
    marks::Flight,
    observe::{Event, Pass, Stale},
    rfc9111::cache_status::{CACHE_STATUS, Member},
    store::{Head, Key},
};

/// The class of the flights that callers without credentials and the like have among themselves.
const APART: u8 = b'A';

/// How often a caller joins again because the flight was not for it, before it goes alone.
const JOINS: usize = 3;

/// The same where its leader mattered too little to be admitted. As a rule the next one matters more;
/// but others like the first may keep coming.
const OUTRANKED: usize = 16;

/// What came of following another caller's fetch.
enum Followed<R> {
    Answered(Response<Body<R>>),
    Failed(SharedError),
    /// It was not for this caller: another flight may be.
    Again,
    /// It was refused to callers that matter less than this one.
    Outranked,
    /// None will be.
    Alone,
}

impl<K> Engine<K> {
    /// What storage could not answer: joins the flight of its key, or begins it.
    pub(super) async fn miss<S, B>(
        self: Arc<Self>,
        inner: S,
        mut call: Call<B>,
    ) -> Result<Response<Body<S::Body>>, BoxError>
    where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        self.fetching(&call.caller);
        let above = call.request.extensions().get::<Flight>();
        let mut join = Join {
            since: (call.share.follows == Follows::Later).then_some(call.arrived),
            seen: above.map(Flight::fence).unwrap_or_default(),
            dead: self.cache.journal.last(&call.caller.names),
        };
        let (mut joins, mut outranked) = (0, 0);
        while joins < JOINS && outranked < OUTRANKED {
            let now = Instant::now();
            if self.cache.tasks.are_draining() {
                return self.passing(inner, call.request, Pass::Draining, call.caller.tells).await;
            }
            match self.remembered(&call.caller, now) {
                Some(Known::Aside(_)) => return self.alone(inner, call, Pass::Remembered).await,
                Some(Known::Failing { .. }) => break,
                None => {}
            }
            let reader = match self.join(&call, join, now) {
                Joined::Leader(lead, reader) => {
                    // The flight before it may have failed just now.
                    if let Some(Known::Failing { .. }) = self.remembered(&call.caller, now) {
                        let refusal = Rejected::new(Reason::Failing);
                        lead.end(End::Own(SharedError::new(refusal.into())));
                        joins += 1;
                        continue;
                    }
                    return self.lead(inner, call, lead, reader).await;
                }
                Joined::Follower(reader) => reader,
                Joined::Behind(mut reader) => {
                    poll_fn(|cx| reader.poll_end(cx)).await;
                    joins += 1;
                    continue;
                }
                Joined::Full => {
                    return self.passing(inner, call.request, Pass::Full, call.caller.tells).await;
                }
            };
            self.cache.listener.tell(&Event::Followed);
            match self.follow(&mut call, &mut join, reader).await {
                Followed::Answered(response) => return Ok(response),
                Followed::Failed(error) => {
                    let fields = call.request.headers();
                    return self.failed_for_all(&call.caller, fields, error).await;
                }
                Followed::Again => joins += 1,
                Followed::Outranked => outranked += 1,
                Followed::Alone => break,
            }
        }
        // However it came here, an origin that has just failed is not asked.
        let now = Instant::now();
        if let Some(Known::Failing { until, unreachable }) = self.remembered(&call.caller, now) {
            let refusal = Rejected::new(Reason::Failing).retry_after(until - now);
            let failure = Failure::remembered(&refusal, unreachable);
            let (fields, caller) = (call.request.headers(), &call.caller);
            let instead = self.instead(caller, fields, &failure, Asking::Not).await;
            return instead.ok_or_else(|| self.refused(refusal));
        }
        self.alone(inner, call, Pass::NotShared).await
    }

    /// Waits for another caller's fetch, and looks whether its answer is for this one too.
    async fn follow<B, R>(
        &self,
        call: &mut Call<B>,
        join: &mut Join,
        mut reader: Reader<Arc<Head>>,
    ) -> Followed<R>
    where
        K: RequestKey<B>,
    {
        let personal = call.caller.ask.personal;
        let answer = self.patiently(&call.caller, call.request.headers(), &mut reader).await;
        let head = match answer {
            Err(stale) => return Followed::Answered(stale),
            Ok(Answer::Head(head)) => head,
            Ok(Answer::Failed(error)) => return Followed::Failed(error),
            Ok(Answer::Own(error)) if Rejected::find(&error).is_some() => {
                let refused = Rejected::find(&error).and_then(Rejected::refuses);
                return match refused {
                    Some(class) if call.caller.class <= class => Followed::Failed(error),
                    Some(_) => Followed::Outranked,
                    // It was refused for what its leader is, and this caller may be another.
                    None => Followed::Again,
                };
            }
            // It failed for what its leader asked with, or not: nobody of that kind leads the next.
            Ok(Answer::Own(_)) if !personal => {
                call.apart = true;
                return Followed::Again;
            }
            Ok(Answer::Own(error)) => return Followed::Failed(error),
            Ok(Answer::Personal) if !personal => return Followed::Again,
            Ok(Answer::Aside | Answer::Personal) => return Followed::Alone,
        };
        // It was answered from storage, and this caller wants that validated.
        if call.caller.ask.validates() && reader.is_from_storage() {
            return Followed::Again;
        }
        // A failure has no content that could have been invalidated.
        let failed = is_failing(head.counts_as) && head.lifetime().is_none();
        if !failed && self.is_from_before(&head, call, join) {
            return Followed::Again;
        }
        let now = Instant::now();
        let names = head.vary.as_ref();
        let variant = names.map(|names| call.variant(names));
        // One that is too long for a key is like no other.
        let same = variant.as_ref().is_none_or(|own| own.as_ref() == Some(&head.key));
        let resident = now.saturating_duration_since(head.born);
        let keyed = self.key.has_credentials();
        let (ask, policy) = (&call.caller.ask, &*self.policy);
        match share::offered(&head, resident, ask, policy, same, keyed) {
            Offered::Taken => {
                if is_failing(head.counts_as) {
                    let failure = Failure::answered(head.counts_as);
                    let (caller, fields) = (&call.caller, call.request.headers());
                    let instead = self.instead(caller, fields, &failure, Asking::Shared).await;
                    if let Some(stale) = instead {
                        return Followed::Answered(stale);
                    }
                }
                Followed::Answered(self.followed_answer(&head, reader, call, now))
            }
            Offered::Failure => {
                Followed::Failed(SharedError::new(FetchError::Status(head.counts_as).into()))
            }
            Offered::Refused if reader.is_from_storage() => {
                let outdated = self.is_outdated(&head).unwrap_or(true);
                let reuse = self.reuse_of(&head, outdated, ask, now);
                if !self.may_be_stale(&head, ask, reuse) {
                    return Followed::Alone;
                }
                // Its leader has it refreshed.
                let stale = Stale::WhileRevalidate;
                self.cache.listener.tell(&Event::StaleHit(stale));
                let mut response = self.followed_answer(&head, reader, call, now);
                if call.caller.tells.client {
                    let value = Member::hit().detail(stale.detail()).after(head.below.as_ref());
                    response.headers_mut().insert(CACHE_STATUS, value);
                }
                Followed::Answered(response)
            }
            Offered::Refused => Followed::Alone,
            Offered::OtherVariant => match variant.flatten() {
                Some(variant) if variant != call.key => {
                    call.key = variant;
                    Followed::Again
                }
                _ => Followed::Alone,
            },
        }
    }

    /// A failure that a caller has not asked for itself: what there is instead, or the failure.
    async fn failed_for_all<R>(
        &self,
        caller: &Caller,
        fields: &HeaderMap,
        error: SharedError,
    ) -> Result<Response<Body<R>>, BoxError> {
        let failure = Failure::of(&error);
        let instead = self.instead(caller, fields, &failure, Asking::Shared).await;
        instead.ok_or_else(|| error.into())
    }

    /// Whether an answer on its way is from before an invalidation that this caller came after; if
    /// so, which flights may still be joined.
    fn is_from_before<B>(&self, head: &Head, call: &Call<B>, join: &mut Join) -> bool {
        if self.place == Place::Coalesce {
            // What was invalidated is known below, if anywhere: any later flight will do.
            let below = head.from_below.and_then(|below| below.fence());
            let too_old = below.is_some_and(|fence| fence.min(head.fence) < call.fence);
            if too_old {
                join.seen = call.fence;
            }
            return too_old;
        }
        let last = self.cache.journal.last(&head.names);
        // Of several records that name it only the last is known: where that came after this caller,
        // another may have come before.
        let too_old = head.fence < last && head.fence < call.fence;
        if too_old {
            join.dead = join.dead.max(last.min(call.fence));
        }
        too_old
    }

    fn join<B>(&self, call: &Call<B>, join: Join, now: Instant) -> Joined<Key, Arc<Head>> {
        let flights = &self.cache.flights;
        let in_class = match call.caller.ask.kind {
            Kind::Head => Some(in_class(&call.key, HEAD)),
            _ if call.caller.in_part => {
                Some(Self::key_of_range(&call.key, call.request.headers(), call.apart))
            }
            _ if call.apart => Some(in_class(&call.key, APART)),
            _ => None,
        };
        let under_way = match call.share.follows {
            Follows::ToHead => flights.join_to_head(&call.key, join, now),
            // The whole that is on its way has the range in it.
            _ if call.caller.in_part && !call.apart => flights.join_under_way(&call.key, join, now),
            _ => None,
        };
        if let Some(reader) = under_way {
            return Joined::Follower(reader);
        }
        flights.join(in_class.as_ref().unwrap_or(&call.key), join, now)
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
            Ok(Led::Stored(stored, member)) => {
                let head = Arc::clone(&stored.entry.head);
                let mut response = self.stored_answer(stored, &ask, &asked, now, tells);
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

    /// The end of the ladder for a key that is left alone.
    fn refused(&self, refusal: Rejected) -> BoxError {
        self.cache.listener.tell(&Event::Refused);
        refusal.into()
    }
}
