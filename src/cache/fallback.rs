//! What a caller gets where there is no fresh answer for it: the last good one, a fallback, the
//! failure. In this order; each step names itself in `Cache-Status` and in an event.

use std::{error::Error, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::time::{Instant, timeout};

use super::{
    answer::append, body::Body, call::Caller, engine::Engine, failures::is_failing, storage::Found,
};
use crate::{
    coalesce::{
        recording::{Answer, Reader},
        share::{Ask, Kind, Place},
    },
    error::{BoxError, FetchError, Rejected},
    fallback::Failed,
    observe::{Event, Stale},
    rfc9111::{
        cache_status::{CACHE_STATUS, Fwd, Member},
        reuse::Reuse,
    },
    staleness::Trouble,
    store::Head,
};

/// Why there is no fresh answer.
#[derive(Clone, Copy)]
pub(super) struct Failure<'e> {
    trouble: Trouble,
    status: Option<StatusCode>,
    error: Option<&'e (dyn Error + Send + Sync + 'static)>,
}

/// Who asked the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// This caller.
    Own,
    /// Another, for this one too.
    Shared,
    /// Nobody.
    Not,
}

impl<'e> Failure<'e> {
    /// It has not answered yet.
    pub(super) const SLOW: Self = Self { trouble: Trouble::Slow, status: None, error: None };

    /// It answered with a server error.
    pub(super) fn answered(status: StatusCode) -> Self {
        Self { trouble: Trouble::Error, status: Some(status), error: None }
    }

    pub(super) fn of(error: &'e (dyn Error + Send + Sync + 'static)) -> Self {
        let (trouble, status) = match FetchError::find(error) {
            Some(FetchError::Status(status)) => (Trouble::Error, Some(*status)),
            Some(FetchError::Aborted | FetchError::Cancelled | FetchError::Length) => {
                (Trouble::Error, None)
            }
            Some(FetchError::Deadline) | None => (Trouble::Unreachable, None),
        };
        Self { trouble, status, error: Some(error) }
    }

    /// It failed a moment ago, and is not asked now.
    pub(super) fn remembered(refusal: &'e Rejected, unreachable: bool) -> Self {
        let trouble = if unreachable { Trouble::Unreachable } else { Trouble::Error };
        Self { trouble, status: None, error: Some(refusal) }
    }
}

impl<K> Engine<K> {
    /// The answer instead of a failure, if there is one.
    pub(super) async fn instead<R>(
        &self,
        caller: &Caller,
        fields: &HeaderMap,
        failure: &Failure<'_>,
        asking: Asking,
    ) -> Option<Response<Body<R>>> {
        // A layer above that wants to validate decides for itself what it gives instead.
        if self.place == Place::Coalesce || caller.ask.refresh {
            return None;
        }
        // What was refused below has not gone forward.
        let refused = failure.error.is_some_and(|error| Rejected::find(error).is_some());
        let asking = if refused { Asking::Not } else { asking };
        let stale = self.stored_instead(caller, fields, failure, asking).await;
        stale.or_else(|| self.fallen_back(caller, fields, failure, asking))
    }

    /// `response`, or what is better than a server error.
    pub(super) async fn or_instead<R>(
        &self,
        caller: &Caller,
        fields: &HeaderMap,
        response: Response<Body<R>>,
    ) -> Result<Response<Body<R>>, BoxError> {
        let rejected = response.extensions().get::<Rejected>().cloned();
        let status = caller.counts_as(response.status(), response.headers());
        let failure = match &rejected {
            Some(rejected) if status.as_u16() >= 400 => Failure::of(rejected),
            // It has a good answer of its own for that, which comes after what is stored alone.
            Some(rejected) => {
                return Ok(self.stored_or_refused(caller, fields, response, rejected).await);
            }
            None if is_failing(status) => Failure::answered(status),
            None => return Ok(response),
        };
        let instead = self.instead(caller, fields, &failure, Asking::Own).await;
        Ok(instead.unwrap_or(response))
    }

    /// What is stored, or what a layer below answers where it refuses.
    async fn stored_or_refused<R>(
        &self,
        caller: &Caller,
        fields: &HeaderMap,
        mut response: Response<Body<R>>,
        rejected: &Rejected,
    ) -> Response<Body<R>> {
        if self.place == Place::Cache && !caller.ask.refresh {
            let failure = Failure::of(rejected);
            let stale = self.stored_instead(caller, fields, &failure, Asking::Not).await;
            if let Some(stale) = stale {
                return stale;
            }
        }
        if caller.tells.client {
            let refused = HeaderValue::from_static("seawall; detail=refused");
            response.headers_mut().insert(CACHE_STATUS, refused);
        }
        response
    }

    async fn stored_instead<R>(
        &self,
        caller: &Caller,
        fields: &HeaderMap,
        failure: &Failure<'_>,
        asking: Asking,
    ) -> Option<Response<Body<R>>> {
        let Found::Entry(stored) = self.look_again(&caller.primary, fields).await else {
            return None;
        };
        let now = Instant::now();
        let reuse = self.reuse(&stored, &caller.ask, now);
        // It may have been far, where nobody had looked yet.
        let why = if caller.why == Fwd::UriMiss { Fwd::Stale } else { caller.why };
        let member = failure.member(why, asking);
        let (stale, member) = match reuse {
            // Another caller's fetch has stored it meanwhile.
            Reuse::Fresh | Reuse::MaxStale(_) if !is_failing(stored.entry.status()) => {
                (None, member)
            }
            _ if self.allows(failure.trouble, &stored.entry.head, &caller.ask, reuse) => {
                let stale = match failure.trouble {
                    Trouble::Slow => Stale::SoftTimeout,
                    _ => Stale::IfError,
                };
                (Some(stale), member.detail(stale.detail()))
            }
            _ => return None,
        };
        let listener = &self.cache.listener;
        listener.tell(&stale.map_or(Event::Hit, Event::StaleHit));
        let head: Arc<Head> = Arc::clone(&stored.entry.head);
        let mut response = self.stored_answer(stored, &caller.ask, fields, now, caller.tells);
        if caller.tells.client {
            let value = member.after(head.below.as_ref());
            response.headers_mut().insert(CACHE_STATUS, value);
        }
        Some(response)
    }

    fn fallen_back<R>(
        &self,
        caller: &Caller,
        fields: &HeaderMap,
        failure: &Failure<'_>,
        asking: Asking,
    ) -> Option<Response<Body<R>>> {
        let (fallback, uri) = (self.fallback.as_ref()?, &caller.uri);
        let answered = failure.status.map(FetchError::Status);
        let error = match (&answered, failure.error) {
            (_, Some(error)) => error,
            (Some(answered), None) => answered,
            (None, None) => return None,
        };
        let response = fallback(&Failed { uri, headers: fields, error })?;
        self.cache.listener.tell(&Event::FellBack);
        let head_only = caller.ask.kind == Kind::Head;
        let mut response = response.map(|body| match head_only {
            true => Body::empty(),
            false => Body::stored(body, None),
        });
        if caller.tells.client {
            match asking {
                // Nothing went forward, and it is no hit.
                Asking::Not => {
                    let member = HeaderValue::from_static("seawall; detail=fallback");
                    response.headers_mut().insert(CACHE_STATUS, member);
                }
                Asking::Own | Asking::Shared => {
                    let member = failure.member(caller.why, asking).detail("fallback");
                    append(response.headers_mut(), member);
                }
            }
        }
        Some(response)
    }

    /// Whether this entry may be given stale in this trouble.
    pub(super) fn allows(&self, trouble: Trouble, head: &Head, ask: &Ask, reuse: Reuse) -> bool {
        if trouble != Trouble::Stale && is_failing(head.status) {
            // An error that was stored is no better than the one at hand.
            return false;
        }
        let when_unreachable = self.policy.profile().stale_when_unreachable;
        let staleness = self.cache.widest.over(&self.staleness);
        let asked = ask.wants.directives.stale_if_error;
        let allows = |lifetime| staleness.allows(trouble, lifetime, reuse, asked, when_unreachable);
        head.lifetime().is_some_and(allows)
    }

    // ===== an origin that takes its time =====

    /// How long the caller that leads waits before it takes stale.
    pub(super) fn soft_timeout(&self, caller: &Caller) -> Option<Duration> {
        self.staleness.soft_timeout.filter(|_| self.may_have_stale(caller))
    }

    /// Waits for the head of another caller's fetch, as long as there is nothing better to do: `Err`
    /// is a stale answer.
    pub(super) async fn patiently<R>(
        &self,
        caller: &Caller,
        fields: &HeaderMap,
        reader: &mut Reader<Arc<Head>>,
    ) -> Result<Answer<Arc<Head>>, Response<Body<R>>> {
        let head = std::future::poll_fn(|cx| reader.poll_head(cx));
        if !self.may_have_stale(caller) {
            return Ok(head.await);
        }
        let most = self.cache.limits.stale_after;
        let limit = self.staleness.soft_timeout.map_or(most, |soft| soft.min(most));
        if let Ok(answer) = timeout(limit, head).await {
            return Ok(answer);
        }
        match self.instead(caller, fields, &Failure::SLOW, Asking::Shared).await {
            Some(stale) => Err(stale),
            None => Ok(std::future::poll_fn(|cx| reader.poll_head(cx)).await),
        }
    }

    /// Whether it is worth a look: a timer for each of ten thousand callers of a cold key is not.
    fn may_have_stale(&self, caller: &Caller) -> bool {
        self.place == Place::Cache && (caller.why == Fwd::Stale || self.cache.store.is_remote())
    }
}

impl Failure<'_> {
    /// What is said of it in `Cache-Status`.
    fn member(&self, why: Fwd, asking: Asking) -> Member {
        let member = match asking {
            Asking::Not => return Member::hit(),
            Asking::Own => Member::forwarded(why),
            Asking::Shared => Member::forwarded(why).collapsed(),
        };
        self.status.map_or(member, |status| member.fwd_status(status))
    }
}
