//! Responses to POST that answer a later GET of the same URI (RFC 9110 §9.3.3).

use std::{sync::Arc, time::SystemTime};

use http::{Method, Request, Response, header::UPGRADE};

use super::{
    alone::Arrived,
    answer::append,
    body::Body,
    call::Inquiry,
    changes::Watched,
    engine::{Engine, GET},
    request_key::{RequestKey, authority_asked},
    service::Origin,
    verdict::Behind,
};
use crate::{
    coalesce::share::{Ask, Place},
    error::{BoxError, Rejected},
    journal::Fence,
    observe::Pass,
    policy::Answered,
    rfc9111::{
        Exchange,
        cache_status::{Fwd, Member},
        post,
        storing::Keep,
    },
    store::{Key, KeyWriter},
};

impl<K> Engine<K> {
    /// The key of the GET that the response to this request may answer, if it may answer one.
    pub(super) fn posts<B>(&self, request: &Request<B>, ask: &Ask) -> Option<Key>
    where
        K: RequestKey<B>,
    {
        let may = *request.method() == Method::POST
            && self.place == Place::Cache
            && self.policy.profile().store_post
            && !ask.wants.directives.no_store
            && !request.headers().contains_key(UPGRADE);
        if !may {
            return None;
        }
        let mut key = KeyWriter::new();
        key.raw(&[GET]);
        self.key.write_target(request, &mut key).ok()?;
        key.key()
    }

    /// Hands a POST to the inner service, and keeps its answer where that is one to a GET.
    ///
    /// It is what there is after the change that the POST made, if nothing else has changed or invalidated
    /// it meanwhile: which of two changes the origin saw last is not known.
    pub(super) async fn posting<S, B>(
        self: Arc<Self>,
        inner: S,
        request: Request<B>,
        key: Key,
        inquiry: Inquiry,
    ) -> Result<Response<Body<S::Body>>, BoxError>
    where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        self.passed(Pass::Request);
        let (began, tells) = (inquiry.now, inquiry.tells);
        let changes = self.changes(&request);
        let asked = Arc::new(request.headers().clone());
        let uri = self.key.uri(&request).clone();
        let authority: Option<Box<[u8]>> = authority_asked(&uri, &asked).map(Into::into);
        let mut call = self.call_of(request, &inquiry, key, Fwd::Method);
        self.mark(&mut call.request, tells);
        let before = Fence::now();
        let post = self.uri_at_site(&call.caller).map(|uri| self.cache.posts.begin(uri));
        let sent = SystemTime::now();
        let (parts, body) = self.send(inner, call.request).await?.into_parts();
        let exchange = Exchange { sent, received: SystemTime::now() };
        if parts.extensions.get::<Rejected>().is_some() {
            return Ok(Response::from_parts(parts, Body::origin(body)));
        }
        let caller = call.caller;
        let response = Response::from_parts(parts, ());
        let answered = Answered {
            method: caller.method(),
            request: &asked,
            status: response.status(),
            response: response.headers(),
            exchange,
        };
        let names = self.names_of(&caller, &answered);
        let watched = match (&post, &names) {
            (Some(own), Ok(names)) => Some(Watched { own, names, since: before }),
            _ => None,
        };
        let explicit = || matches!(self.keep(&caller, &answered), Keep::For(life) if life.explicit);
        let of_target = authority.is_some_and(|authority| {
            post::is_of_target(response.status(), response.headers(), &authority, &uri)
        });
        let is_kept = watched.is_some() && of_target && explicit();
        let own = changes.and_then(|changes| self.changed(&changes, &response, watched.as_ref()));
        let fence = watched.filter(|_| is_kept).and_then(|Watched { names, .. }| {
            // From here on, what changes it is recorded.
            self.fetching(&caller);
            let (own, fence) = (own?, Fence::now());
            (self.cache.journal.last(names) <= own).then_some(fence)
        });
        let (mut parts, ()) = response.into_parts();
        if let Some(fence) = fence {
            // A cache below that has kept it, too, did so for this very POST.
            let behind = Behind { fence, ..Behind::of(&parts, fence, began) };
            let arrived = Arrived { parts, body, exchange, behind, began };
            return Ok(self.keep_alone(arrived, caller, asked, false).await);
        }
        if tells.client {
            let member = Member::forwarded(Fwd::Method).fwd_status(parts.status);
            append(&mut parts.headers, member);
        }
        Ok(Response::from_parts(parts, Body::origin(body)))
    }
}
