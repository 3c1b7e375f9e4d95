//! Where a client's request enters: counted, checked, rewritten, and handed to the layers.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, uri::Authority};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use ipnet::IpNet;
use seawall::{Reason, Rejected, rfc9111::cache_status::CACHE_STATUS};
use tower::{Service, ServiceExt};

use crate::{asked::Asked, plain::plain, proxy, stats::Stats};

/// The front for one client, made by [`Front::of`].
#[derive(Clone)]
pub(crate) struct Front<S> {
    stack: S,
    peer: IpAddr,
    rules: Arc<Rules>,
}

struct Rules {
    trusted: Vec<IpNet>,
    nameless: Authority,
    stats: Arc<Stats>,
}

impl<S: Clone> Front<S> {
    /// `nameless` is the host of requests that may do without one.
    pub(crate) fn new(
        stack: S,
        trusted: Vec<IpNet>,
        nameless: Authority,
        stats: Arc<Stats>,
    ) -> Self {
        let rules = Arc::new(Rules { trusted, nameless, stats });
        Self { stack, peer: IpAddr::from([0, 0, 0, 0]), rules }
    }

    /// The front as this client meets it.
    pub(crate) fn of(&self, peer: IpAddr) -> Self {
        Self { peer, ..self.clone() }
    }
}

impl<S, B> Service<Request<Incoming>> for Front<S>
where
    S: Service<Request<Asked>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Either<Full<Bytes>, B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        self.rules.stats.requests.fetch_add(1, Relaxed);
        let (mut head, body) = request.into_parts();
        let rules = &self.rules;
        match proxy::receive(&mut head, self.peer, &rules.trusted, &rules.nameless) {
            Ok(()) => {
                let request = Request::from_parts(head, Asked::Incoming(body));
                let answer = self.stack.clone().oneshot(request);
                Box::pin(async move {
                    let mut answer = answer.await?;
                    proxy::answer(&mut answer);
                    say_why(&mut answer);
                    Ok(answer.map(Either::Right))
                })
            }
            Err(refusal) => {
                let mut answer = plain(refusal.status, refusal.text).map(Either::Left);
                let refused = HeaderValue::from_static("seawall; detail=refused");
                answer.headers_mut().insert(CACHE_STATUS, refused);
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    }
}

/// The cache has told in `Cache-Status` of what it answered: what failed above or below it says so
/// here.
fn say_why<B>(answer: &mut Response<B>) {
    if answer.headers().contains_key(CACHE_STATUS) {
        return;
    }
    let why = match answer.extensions().get().map(Rejected::reason) {
        Some(Reason::Failing) => "seawall; detail=backed-off",
        Some(Reason::OnlyIfCached) => "seawall; detail=only-if-cached",
        Some(Reason::CircuitOpen) => "seawall; detail=circuit-open",
        Some(Reason::Shed) => "seawall; detail=shed",
        Some(Reason::OverQuota) => "seawall; detail=over-quota",
        Some(_) => "seawall; detail=refused",
        None => "seawall; fwd=miss; detail=origin-failed",
    };
    answer.headers_mut().insert(CACHE_STATUS, HeaderValue::from_static(why));
}
