//! What storage could not answer: its caller leads a fetch, follows another caller's, or goes alone.

use std::{future::poll_fn, sync::Arc};

use http::Response;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    body::Body,
    engine::{Call, Caller, Engine, in_class},
    fallback::{Asking, Failure},
    fetch::{Alone, Fetch, Led},
    request_key::RequestKey,
    service::Origin,
    verdict::is_failing,
};
use crate::{
    coalesce::{
        flights::{Join, Joined, Lead},
        recording::{Answer, Reader},
        remembered::Known,
        share::{self, Follows, Kind, Offered, Place},
    },
    error::{BoxError, FetchError, Reason, Rejected, SharedError},
    journal::Fence,
    observe::{Event, Pass},
    rfc9111::cache_status::CACHE_STATUS,
    store::{Head, Key},
};

/// The class of the flights of HEAD.
const HEAD: u8 = b'H';

/// How often a caller joins again because the flight was not for it, before it goes alone.
const JOINS: usize = 3;

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

    /// The end of the ladder for a key that is left alone.
    fn refused(&self, refusal: Rejected) -> BoxError {
        self.cache.listener.tell(&Event::Refused);
        refusal.into()
    }
}
