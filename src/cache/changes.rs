//! Requests that change what is at the origin, and so invalidate what is stored (RFC 9111 §4.4).

use http::{Request, Response, Uri};

use super::{
    engine::Engine,
    request_key::{RequestKey, authority_asked},
};
use crate::{coalesce::share::Place, observe::Event, rfc9111::invalidation};

/// What an unsafe request may change.
pub(super) struct Changes {
    method: http::Method,
    authority: Box<[u8]>,
    uri: Uri,
}

impl<K> Engine<K> {
    /// What `request` may change, if it is unsafe and there is a cache that may hold it.
    pub(super) fn changes<B>(&self, request: &Request<B>) -> Option<Changes>
    where
        K: RequestKey<B>,
    {
        if self.place == Place::Coalesce || !invalidation::is_unsafe(request.method()) {
            return None;
        }
        if self.key.unary(request).is_some() {
            // It was named as a method that only reads.
            return None;
        }
        let uri = self.key.uri(request);
        let authority = authority_asked(uri, request.headers())?.into();
        Some(Changes { method: request.method().clone(), authority, uri: uri.clone() })
    }

    /// Invalidates what has changed, before anyone is told that it has.
    pub(super) fn changed<R>(&self, changes: &Changes, response: &Response<R>) {
        let Changes { method, authority, uri } = changes;
        if !invalidation::invalidates(method, response.status()) {
            return;
        }
        let journal = &self.cache.journal;
        let also = invalidation::also(response.headers(), authority, uri);
        let uris = std::iter::once(uri).chain(&also);
        let mut names: Vec<_> = uris.map(|uri| journal.uri(authority, uri)).collect();
        if !self.cache.store.is_remote() {
            // What this process never fetched it does not hold: a service that is written to a
            // hundred times for each page it serves does not wear its journal out.
            names.retain(|name| journal.was_fetched(*name));
        }
        if names.is_empty() {
            return;
        }
        journal.record(&names, true);
        self.cache.listener.tell(&Event::Invalidated { hard: true });
    }
}
