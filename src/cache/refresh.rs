//! Refreshing behind an answer: one fetch a key, within a budget, on the caller's own request, which
//! is free by then.

use std::sync::Arc;

use http::{HeaderMap, Request, Response};
use tokio::{sync::oneshot, time::Instant};

use super::{
    body::Body,
    call::Inquiry,
    engine::Engine,
    fetch::{Fetch, Refreshing},
    request_key::RequestKey,
    service::Origin,
    storage::Stored,
};
use crate::{
    coalesce::{
        budget::Budgets,
        flights::Join,
        remembered::Known,
        share::{Ask, Kind, Leads},
    },
    journal::Fence,
    marks::Refresh,
    observe::{Event, Stale},
    rfc9111::{
        cache_status::{CACHE_STATUS, Fwd, Member},
        reuse::Reuse,
    },
    staleness::Trouble,
    store::{Entry, Head, KeyWriter},
};

/// A place among the refreshes that run at once.
pub(super) struct Permit(Arc<Budgets>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.refreshes.give_back(1);
    }
}

impl<K> Engine<K> {
    /// Whether a stale answer is given at once, and refreshed behind it.
    pub(super) fn may_be_stale(&self, head: &Head, ask: &Ask, reuse: Reuse) -> bool {
        self.allows(Trouble::Stale, head, ask, reuse)
    }

    /// Whether an answer that is still fresh is to be refreshed.
    #[inline]
    pub(super) fn is_due(&self, entry: &Entry, now: Instant) -> bool {
        let Some(ahead) = &self.staleness.ahead else { return false };
        let head = &*entry.head;
        head.lifetime().is_some_and(|lifetime| {
            let age = lifetime.current_age(entry.resident(now));
            // The half-open interval is turned round: the logarithm of zero is none.
            ahead.is_due(lifetime, age, entry.cost, head.spread, || 1.0 - fastrand::f64())
        })
    }

    pub(super) fn stale_hit<R>(
        &self,
        stored: Stored,
        inquiry: &Inquiry,
        fields: &HeaderMap,
    ) -> Response<Body<R>> {
        let stale = Stale::WhileRevalidate;
        self.cache.listener.tell(&Event::StaleHit(stale));
        let head = Arc::clone(&stored.entry.head);
        let mut response =
            self.stored_answer(stored, &inquiry.ask, fields, inquiry.now, inquiry.tells);
        if inquiry.tells.client {
            let member = Member::hit().detail(stale.detail());
            let value = member.after(head.below.as_ref());
            response.headers_mut().insert(CACHE_STATUS, value);
        }
        response
    }

    /// Fetches `entry` anew, unless that is under way, has just failed, or is more than is refreshed
    /// at once: then a later hit does it.
    pub(super) fn refresh<S, B>(
        self: &Arc<Self>,
        inner: &S,
        request: Request<B>,
        inquiry: &Inquiry,
        key: &KeyWriter,
        entry: Entry,
    ) where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        // A HEAD's flight fills nothing.
        if inquiry.ask.kind != Kind::Get || inquiry.share.leads != Leads::Yes {
            return;
        }
        let Some(key) = key.key() else { return };
        let mut call = self.call_of(request, inquiry, key, Fwd::Stale);
        self.fetching(&call.caller);
        if matches!(self.remembered(&call.caller, inquiry.now), Some(Known::Failing { .. })) {
            return;
        }
        let budgets = &self.cache.budgets;
        if !budgets.refreshes.take(1) {
            self.cache.listener.tell(&Event::RefreshSkipped);
            return;
        }
        let permit = Permit(Arc::clone(budgets));
        let dead = self.cache.journal.last(&call.caller.names);
        let join = Join { since: None, seen: Fence::default(), dead };
        let Some(lead) = self.cache.flights.refresh(&call.key, join, inquiry.now) else { return };
        self.cache.listener.tell(&Event::Refreshing);
        call.request.extensions_mut().insert(Refresh);
        let recording = Arc::clone(lead.recording());
        let fields = Arc::new(call.request.headers().clone());
        // Nobody waits for what it is answered with.
        let (answer, _) = oneshot::channel();
        let mut fetch = Fetch::new(Arc::clone(self), inner.clone(), call, fields, lead, answer);
        fetch.refreshing = Some(Refreshing { seen: entry.head, _permit: permit });
        if let Ok(task) = self.cache.tasks.spawn(crate::observe::in_callers_span(fetch.run())) {
            recording.written_by(task);
        }
    }
}
