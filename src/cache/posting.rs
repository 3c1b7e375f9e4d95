//! Responses to POST that answer a later GET of the same URI (RFC 9110 §9.3.3).

use std::{sync::Arc, time::SystemTime};

use http::{Method, Request, Response, header::UPGRADE};
use tokio::time::Instant;

use super::{
    alone::Arrived,
    answer::append,
    body::Body,
    engine::{Caller, Engine, Inquiry, Tells},
    request_key::{RequestKey, authority_asked},
    service::Origin,
    verdict::Behind,
};
use crate::{
    coalesce::share::{Ask, Kind, Place, Share},
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
        key.raw(&[super::engine::GET]);
        self.key.write_target(request, &mut key).ok()?;
        key.key()
    }

    /// Hands a POST to the inner service, and keeps its answer where that is one to a GET.
    pub(super) async fn posting<S, B>(
        self: Arc<Self>,
        inner: S,
        request: Request<B>,
        key: Key,
        (ask, share, tells): (Ask, Share, Tells),
    ) -> Result<Response<Body<S::Body>>, BoxError>
    where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        self.passed(Pass::Request);
        let began = Instant::now();
        let before = Fence::now();
        let changes = self.changes(&request);
        let asked = Arc::new(request.headers().clone());
        let uri = self.key.uri(&request).clone();
        let authority: Option<Box<[u8]>> = authority_asked(&uri, &asked).map(Into::into);
        // Its answer is treated like one to the GET.
        let ask = Ask { kind: Kind::Get, range: false, conditional: false, ..ask };
        let primary = key.as_bytes().len();
        let inquiry = Inquiry { ask, share, primary, now: began, tells, unary: None };
        let mut call = self.call_of(request, &inquiry, key, Fwd::Method);
        self.mark(&mut call.request, tells);
        let sent = SystemTime::now();
        let (mut parts, body) = self.send(inner, call.request).await?.into_parts();
        let exchange = Exchange { sent, received: SystemTime::now() };
        if parts.extensions.get::<Rejected>().is_some() {
            return Ok(Response::from_parts(parts, Body::origin(body)));
        }
        let caller: Caller = call.caller;
        // Where another has changed it meanwhile, which of the two came last is not known.
        let alone = self.cache.journal.last(&caller.names) <= before;
        let response = Response::from_parts(parts, ());
        if let Some(changes) = changes {
            self.changed(&changes, &response);
        }
        (parts, ()) = response.into_parts();
        let of_target = authority.is_some_and(|authority| {
            post::is_of_target(parts.status, &parts.headers, &authority, &uri)
        });
        let answered = Answered {
            method: caller.method(),
            request: &asked,
            status: parts.status,
            response: &parts.headers,
            exchange,
        };
        let explicit = || matches!(self.keep(&caller, &answered), Keep::For(life) if life.explicit);
        if !(alone && of_target && explicit()) {
            if tells.client {
                let member = Member::forwarded(Fwd::Method).fwd_status(parts.status);
                append(&mut parts.headers, member);
            }
            return Ok(Response::from_parts(parts, Body::origin(body)));
        }
        // It is what there is after the change, and newer than the record of it.
        let behind = Behind::of(&parts, Fence::now());
        let came = Arrived { parts, body, exchange, behind, began };
        Ok(self.keep_alone(came, caller, asked, false).await)
    }
}
