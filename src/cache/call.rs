//! A request on its way past the storage: what was read of it, who asks, and what an answer to it is called.

use http::{Method, Request, Uri};
use tokio::time::Instant;

use super::{
    engine::Engine,
    request_key::{RequestKey, Site, authority_asked, without_port},
    storage::variant_key,
    unary::Terms,
};
use crate::{
    coalesce::share::{Ask, Place, Share},
    journal::{Fence, Name, Names as InvalidatedBy, Slots},
    load_shed::{ByMethod, Criticality, Rank},
    observe::Aside,
    rfc9111::{cache_status::Fwd, vary::Names},
    store::Key,
};

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
    /// It joins none but those who ask with nothing of their own.
    pub(super) apart: bool,
}

/// Who asks: what is known of a call when its request is gone.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) ask: Ask,
    /// The key that its variants have in common.
    pub(super) primary: Key,
    /// What its answer is invalidated by, tags aside.
    pub(super) names: InvalidatedBy,
    /// Why storage did not answer it.
    pub(super) why: Fwd,
    pub(super) tells: Tells,
    /// On what terms the answer is kept, to a unary gRPC call.
    pub(super) unary: Option<Terms>,
    /// It goes to the origin for one range.
    pub(super) in_part: bool,
    /// How much it matters, as far as it shows.
    pub(super) class: Criticality,
    /// Its own method, whatever it is treated like.
    pub(super) asked_by: Method,
    /// Its URI, as this layer sees it.
    pub(super) uri: Uri,
    /// The origin that it is for.
    pub(super) site: Option<Site>,
}

impl<B> Call<B> {
    /// Its key among the variants that `names` tells apart.
    pub(super) fn variant(&self, names: &Names) -> Option<Key> {
        variant_key(&self.caller.primary, names, self.request.headers())
    }
}

/// What was read of a request before storage was asked.
pub(super) struct Inquiry {
    pub(super) ask: Ask,
    pub(super) share: Share,
    /// How much of the key its variants have in common.
    pub(super) primary: usize,
    pub(super) now: Instant,
    pub(super) tells: Tells,
    pub(super) unary: Option<Terms>,
}

/// To whom this engine says how it answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tells {
    /// The client, in `Cache-Status`: not where an engine above does.
    pub(super) client: bool,
    /// The layer above, by a mark: only where one asked.
    pub(super) layer: bool,
    /// An engine above may have asked for many callers.
    pub(super) for_many: bool,
}

impl<K> Engine<K> {
    /// What a fetch needs of a request that storage does not answer.
    pub(super) fn call_of<B>(
        &self,
        request: Request<B>,
        inquiry: &Inquiry,
        key: Key,
        why: Fwd,
    ) -> Call<B>
    where
        K: RequestKey<B>,
    {
        let primary = match key.as_bytes().get(..inquiry.primary) {
            Some(primary) if primary.len() < key.as_bytes().len() => Key::from(primary),
            _ => key.clone(),
        };
        let site = match self.place {
            Place::Coalesce => None,
            Place::Cache => Site::asked(self.key.uri(&request), request.headers()),
        };
        let caller = Caller {
            ask: inquiry.ask,
            names: self.names(&primary, &request, site.as_ref()),
            site,
            primary,
            why,
            tells: inquiry.tells,
            unary: inquiry.unary,
            in_part: false,
            class: ByMethod.criticality(&request),
            asked_by: request.method().clone(),
            uri: request.uri().clone(),
        };
        Call {
            request,
            share: inquiry.share,
            key,
            arrived: inquiry.now,
            fence: Fence::now(),
            caller,
            remembered: None,
            apart: false,
        }
    }

    /// Takes note that an answer to this caller is fetched, before it is: from then on, what changes its URI
    /// is recorded.
    pub(super) fn fetching(&self, caller: &Caller) {
        if let Some(uri) = self.uri_at_site(caller) {
            self.cache.journal.fetching(uri);
        }
    }

    /// The name of its URI at its origin, if that is known.
    pub(super) fn uri_at_site(&self, caller: &Caller) -> Option<Slots> {
        caller.site.as_ref().and(caller.names.last()).copied()
    }

    /// What an answer to this request is invalidated by, tags aside; where its origin is known, the URI at
    /// that is the last.
    fn names<B>(&self, primary: &Key, request: &Request<B>, site: Option<&Site>) -> InvalidatedBy
    where
        K: RequestKey<B>,
    {
        if self.place == Place::Coalesce {
            return InvalidatedBy::default();
        }
        let spelled = self.cache.store.is_remote();
        let uri = self.key.uri(request);
        let authority = authority_asked(uri, request.headers());
        // An operator names a URI whatever its scheme; what is unsafe changes those of its own origin.
        let at_site = site.map(|site| Name::uri(site.name(), uri));
        let uri = authority.map(|authority| Name::uri(without_port(authority), uri));
        let mut names = InvalidatedBy::default();
        for name in std::iter::once(Name::key(primary)).chain(uri).chain(at_site) {
            names.push(&name, spelled);
        }
        names
    }
}
