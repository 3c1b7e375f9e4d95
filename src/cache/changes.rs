//! Requests that change what is at the origin, and so invalidate what is stored (RFC 9111 §4.4).

use std::{collections::HashMap, sync::Arc};

use http::{Request, Response, Uri};

use super::{
    engine::{Engine, GET},
    request_key::{RequestKey, Site, authority_asked},
};
use crate::{
    coalesce::share::Place,
    journal::{Fence, Name, Slots},
    observe::Event,
    rfc9111::{groups, invalidation},
    store::{KeyWriter, Record},
    sync::{Mutex, lock},
};

/// What an unsafe request may change.
pub(super) struct Changes {
    method: http::Method,
    authority: Box<[u8]>,
    uri: Uri,
    /// All names of its origin.
    sites: Vec<Site>,
    /// The groups of what is stored for its target.
    groups: Vec<Slots>,
}

/// The URIs that are being posted to, whose answers may be kept: what changes them is recorded meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Posts(Mutex<HashMap<Slots, u32>>);

/// One of them, until it is dropped.
pub(super) struct Post {
    posts: Arc<Posts>,
    uri: Slots,
}

impl Posts {
    pub(super) fn begin(self: &Arc<Self>, uri: Slots) -> Post {
        *lock(&self.0).entry(uri).or_default() += 1;
        Post { posts: Arc::clone(self), uri }
    }

    /// Whether another than `own` is being posted to it.
    fn are_to(&self, uri: Slots, own: Option<&Post>) -> bool {
        let own = u32::from(own.is_some_and(|post| post.uri == uri));
        lock(&self.0).get(&uri).is_some_and(|posts| *posts > own)
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let mut posts = lock(&self.posts.0);
        if let Some(count) = posts.get_mut(&self.uri) {
            *count -= 1;
            if *count == 0 {
                posts.remove(&self.uri);
            }
        }
    }
}

/// What is looked at while something is changed.
pub(super) struct Watched<'a> {
    pub(super) own: &'a Post,
    pub(super) names: &'a [Slots],
    pub(super) since: Fence,
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
        let sites = Site::same(uri, request.headers());
        let (method, uri) = (request.method().clone(), uri.clone());
        Some(Changes { method, authority, uri, sites, groups: self.groups_of_target(request) })
    }

    /// The groups of all that is stored near for a request's target.
    fn groups_of_target<B>(&self, request: &Request<B>) -> Vec<Slots>
    where
        K: RequestKey<B>,
    {
        let mut key = KeyWriter::new();
        key.raw(&[GET]);
        if self.key.write_target(request, &mut key).is_err() {
            return Vec::new();
        }
        let peek = |key: &[u8]| self.cache.store.peek(key);
        let entries: Vec<_> = match peek(key.as_bytes()) {
            Some(Record::Entry(entry)) => vec![entry],
            Some(Record::Variants(variants)) => {
                let known = variants.known().iter().filter_map(|key| peek(key.as_bytes()));
                known.filter_map(Record::into_entry).collect()
            }
            None => Vec::new(),
        };
        // What is dead is not stored any more.
        let alive = entries.iter().filter(|entry| !self.is_dead(&entry.head));
        let names = alive.flat_map(|entry| entry.head.names.iter().copied());
        let mut groups = Vec::new();
        for group in names.filter(|name| name.is_group()) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    /// Invalidates what has changed, before anyone is told that it has. Where something is watched, whether
    /// nothing else has named that before; and the number of the record.
    pub(super) fn changed<R>(
        &self,
        changes: &Changes,
        response: &Response<R>,
        watched: Option<&Watched<'_>>,
    ) -> Option<Fence> {
        let Changes { method, authority, uri, sites, groups } = changes;
        let journal = &self.cache.journal;
        let (seen, since) =
            watched.map_or((&[][..], Fence::default()), |watched| (watched.names, watched.since));
        if !invalidation::invalidates(method, response.status()) {
            return None;
        }
        let also = invalidation::also(response.headers(), authority, uri);
        let uris = || std::iter::once(uri).chain(&also);
        let at =
            |site: &Site| uris().map(|uri| Name::uri(site.name(), uri).slots()).collect::<Vec<_>>();
        let mut names: Vec<_> = sites.iter().flat_map(at).collect();
        if !self.cache.store.is_remote() {
            // What this process never fetched it does not hold: a service that is written to a
            // hundred times for each page it serves does not wear its journal out.
            let own = watched.map(|watched| watched.own);
            names.retain(|name| journal.was_fetched(*name) || self.cache.posts.are_to(*name, own));
        }
        // RFC 9875 §2.2.1: the groups of the target go with it, and none of what is in these; §3: and
        // those that the origin names.
        names.extend(groups);
        let named = groups::invalidated(response.headers());
        let named = named.iter();
        names.extend(named.flat_map(|group| {
            sites.iter().map(move |site| Name::group(site.name(), group).slots())
        }));
        if names.is_empty() {
            return (journal.last(seen) <= since).then_some(since);
        }
        let undisturbed = journal.record_after(&names, true, seen, since);
        self.cache.listener.tell(&Event::Invalidated { hard: true });
        undisturbed
    }
}
