//! One fetch to its end: look once more, ask the origin, record, store.
//!
//! A fetch is a task of its own and belongs to no caller. It holds the [`Lead`]: however the task
//! ends, everyone who waits has an answer and the key is free.

use std::sync::Arc;

use http::{HeaderMap, Method, Response, StatusCode, response::Parts};
use tokio::{sync::oneshot, time::Instant};

use super::{
    body::HandedOver,
    call::{Call, Caller, Inquiry},
    engine::Engine,
    failures::is_failing,
    filling::Filling,
    freshening::{Fate, Freshened},
    question::{Answer, Asking, Came},
    refresh::Permit,
    request_key::RequestKey,
    service::Origin,
    storage::{Found, Stored},
    verdict::{Kept, Lasting, Taking, Verdict, length},
};
use crate::{
    coalesce::{
        flights::Lead,
        recording::{End, Open},
        share::{Kind, Unkept},
    },
    error::{FetchError, SharedError},
    observe::{Event, Stale},
    policy::Answered,
    rfc9111::{
        Exchange,
        cache_status::{Fwd, Member},
        reuse::Reuse,
    },
    staleness::Trouble,
    store::{Entry, Head, Key, KeyWriter},
};

/// What a leader is told by its fetch.
pub(super) enum Led<B> {
    /// The answer is not kept: here it is, untouched.
    Untouched(Response<B>),
    /// It is recorded: read along, and take over what is handed over.
    Recorded { parts: Parts, head: Arc<Head>, rest: oneshot::Receiver<HandedOver<B>> },
    /// Storage has it; the member says what was asked of the origin, if it was.
    Stored(Stored, Option<Member>),
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
        let found = engine.look_again(&call.caller.primary, &asked).await;
        call.caller.why = engine.why_not(&found, call.caller.why);
        let mut stored = match found {
            Found::Entry(stored) => match engine.reuse(&stored, &call.caller.ask, Instant::now()) {
                // Another flight has stored it between this caller's look and its join.
                Reuse::Fresh | Reuse::MaxStale(_) if !Refreshing::is_of(&refreshing, &stored) => {
                    return engine.hit_far(lead, answer, stored);
                }
                stale @ Reuse::Stale(_)
                    if refreshing.is_none()
                        && engine.may_be_stale(&stored.entry.head, &call.caller.ask, stale) =>
                {
                    // It was not near, or would have been given at once.
                    return engine.stale_hit_far(&inner, call, lead, answer, stored);
                }
                Reuse::NotForThisRequest => None,
                _ => engine.keeps(&stored, Instant::now()).then_some(stored),
            },
            Found::Part(stored) => {
                let now = Instant::now();
                if engine.slice(&stored, &call.caller.ask, &asked, now).is_some() {
                    // All who wait ask for the same range.
                    return engine.hit_far(lead, answer, stored);
                }
                // What may not answer this caller is not completed for it either.
                let reuse = engine.reuse(&stored, &call.caller.ask, now);
                part = (reuse != Reuse::NotForThisRequest).then_some(stored.entry);
                None
            }
            Found::OtherVariants | Found::Nothing => None,
        };
        if refreshing.is_none() {
            engine.cache.listener.tell(&Event::Miss);
        }
        // What is stored whole is validated, and not fetched in part.
        call.caller.in_part &= stored.is_none();
        let whole = stored.as_ref().map(|stored| &stored.entry);
        let question = engine.question(call.request, &call.caller, whole, part);
        let caller = call.caller;
        let kind = caller.ask.kind;
        let asking = Asking {
            engine: &engine,
            caller: &caller,
            asked: &asked,
            lead: &lead,
            began,
            deadline,
        };
        let came = match asking.ask(inner, question, &mut stored).await {
            Came::Answer(came) => *came,
            Came::Freshened(both, status) => {
                let (before, freshened) = *both;
                let landing = Landing { lead, answer, caller: &caller, asked: &asked };
                return engine.land(landing, &before.entry, freshened, status).await;
            }
            Came::Refused(refused, response) => {
                // The others ask for theirs.
                lead.end(End::Own(SharedError::new(refused.up_to(None).into())));
                let _ = answer.send(Led::Untouched(response));
                return;
            }
            Came::Ended(end) => return lead.end(end),
        };
        let Answer { mut parts, body, exchange, behind, beginning, completed } = came;
        let status = caller.counts_as(parts.status, &parts.headers);
        let failing = is_failing(status);
        let stands_in = failing
            && stored
                .as_ref()
                .is_some_and(|stored| engine.stands_in(stored, &caller.ask, Trouble::Error));
        let taking = Taking {
            answered: answered(caller.method(), &asked, &parts, exchange),
            version: parts.version,
            length: length(&parts.headers, &body),
            caller: &caller,
            stands_in,
        };
        let kept = match completed {
            Some(kept) => Ok(kept),
            None => engine.decide(&taking, &lead, stored.as_ref()).await,
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

impl<K> Engine<K> {
    /// Why storage did not answer, if what was found has not been near.
    fn why_not(&self, found: &Found, near: Fwd) -> Fwd {
        match found {
            Found::Entry(_) | Found::Part(_) if !self.cache.store.is_remote() => near,
            Found::Entry(stored) if self.is_fresh(stored, Instant::now()) => Fwd::Request,
            Found::Entry(_) => Fwd::Stale,
            Found::Part(_) => Fwd::Partial,
            Found::OtherVariants => Fwd::VaryMiss,
            Found::Nothing => near,
        }
    }

    /// Answers all who wait by what is stored: further away, or since its leader looked.
    fn hit_far<R>(
        &self,
        lead: Lead<Key, Arc<Head>>,
        answer: oneshot::Sender<Led<R>>,
        stored: Stored,
    ) {
        self.cache.listener.tell(&Event::Hit);
        answered_by(&lead, stored.entry.clone(), true);
        let _ = answer.send(Led::Stored(stored, None));
        lead.leave(true);
    }

    /// The same with what is stale, and refreshed behind the answer.
    fn stale_hit_far<S, B>(
        self: &Arc<Self>,
        inner: &S,
        call: Call<B>,
        lead: Lead<Key, Arc<Head>>,
        answer: oneshot::Sender<Led<S::Body>>,
        stored: Stored,
    ) where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        let stale = Stale::WhileRevalidate;
        self.cache.listener.tell(&Event::StaleHit(stale));
        answered_by(&lead, stored.entry.clone(), true);
        let member = Member::hit().detail(stale.detail());
        let entry = stored.entry.clone();
        let _ = answer.send(Led::Stored(stored, Some(member)));
        // The refresh is a flight of the same key.
        lead.leave(true);
        let Caller { ask, tells, unary, ref primary, .. } = call.caller;
        let primary = primary.as_bytes().len();
        let inquiry =
            Inquiry { ask, share: call.share, primary, now: Instant::now(), tells, unary };
        let mut key = KeyWriter::new();
        key.raw(entry.key().as_bytes());
        self.refresh(inner, call.request, &inquiry, &key, entry);
    }

    /// Whether an answer is recorded; or how it ends for all but its leader.
    async fn decide(
        &self,
        taking: &Taking<'_>,
        lead: &Lead<Key, Arc<Head>>,
        stored: Option<&Stored>,
    ) -> Result<Box<Kept>, End> {
        let caller = taking.caller;
        let (unkept, lasting) = match self.verdict(taking) {
            Verdict::Keep(kept) if kept.fits(lead, caller.ask.kind) => return Ok(kept),
            Verdict::Keep(_) => {
                self.outgrown();
                return Err(End::Aside);
            }
            Verdict::Not(unkept, lasting) => (unkept, lasting),
        };
        let status = caller.counts_as(taking.answered.status, taking.answered.response);
        self.remember(&caller.primary, lasting);
        if let (Some(stored), Some(Lasting::Everyone(_)), false) =
            (stored, lasting, is_failing(status))
        {
            // What may not be kept has taken the place of what was.
            self.remove(stored.entry.key()).await;
        }
        let failure = || SharedError::new(FetchError::Status(status).into());
        Err(match (unkept, lasting) {
            (Unkept::Failure, _) => End::Failed(failure()),
            (Unkept::Own, _) => End::Own(failure()),
            (_, Some(Lasting::Personal)) => End::Personal,
            (Unkept::Shared | Unkept::Aside, _) => End::Aside,
        })
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
        let stored = Stored { entry: entry.clone(), outdated: false };
        let led = Led::Stored(stored, Some(member));
        match fate {
            Fate::Left => {
                // What a HEAD was told is not held against GETs.
                if caller.ask.kind == Kind::Get {
                    self.remember(&caller.primary, Some(Lasting::Personal));
                }
                lead.end(End::Personal);
                let _ = answer.send(led);
            }
            Fate::Removed => {
                let key = entry.key().clone();
                lead.end(End::Aside);
                let _ = answer.send(led);
                if caller.ask.kind == Kind::Get || self.is_still(before).await {
                    self.remove(&key).await;
                }
            }
            Fate::Stored => {
                answered_by(&lead, entry.clone(), false);
                let _ = answer.send(led);
                // A HEAD has a flight of its own: that of a GET may have stored another meanwhile.
                if caller.ask.kind == Kind::Head && !self.is_still(before).await {
                    return lead.leave(false);
                }
                // Nobody waits for the store any more.
                self.store(lead, caller, asked, entry).await;
            }
        }
    }
}

/// Those who wait are answered by an entry that is there already.
fn answered_by(lead: &Lead<Key, Arc<Head>>, entry: Entry, from_storage: bool) {
    let trailers = entry.trailers.map(|trailers| (*trailers).clone());
    lead.found(entry.head, entry.body, trailers, from_storage);
}

pub(super) fn answered<'a>(
    method: &'a Method,
    request: &'a HeaderMap,
    parts: &'a Parts,
    exchange: Exchange,
) -> Answered<'a> {
    Answered { method, request, status: parts.status, response: &parts.headers, exchange }
}
