//! An answer that is one caller's alone, on its own time; it is kept where that is possible.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Response, response::Parts};
use http_body::Body as HttpBody;
use tokio::{sync::oneshot, time::Instant};

use super::{
    body::{Body, Rest},
    call::{Call, Caller},
    engine::Engine,
    failures::is_failing,
    fetch::answered,
    filling::Filling,
    request_key::RequestKey,
    service::Origin,
    verdict::{Behind, Kept, Taking, Verdict, length},
};
use crate::{
    coalesce::{
        recording::{End, Open},
        share::Kind,
    },
    error::{BoxError, Rejected},
    journal::Fence,
    observe::Aside,
    rfc9111::Exchange,
};

/// A fetch that nobody joins, on its caller's own time.
pub(super) struct Alone<K, B> {
    engine: Arc<Engine<K>>,
    call: Call<B>,
    asked: Arc<HeaderMap>,
}

impl<K, B> Alone<K, B>
where
    K: RequestKey<B>,
    B: Send + 'static,
{
    pub(super) fn new(engine: Arc<Engine<K>>, call: Call<B>, asked: Arc<HeaderMap>) -> Self {
        Self { engine, call, asked }
    }

    /// The request goes as it came; its answer is kept where that is possible.
    pub(super) async fn run<S: Origin<B>>(
        self,
        inner: S,
    ) -> Result<Response<Body<S::Body>>, BoxError> {
        let Self { engine, mut call, asked } = self;
        let caller = call.caller;
        engine.mark(&mut call.request, caller.tells);
        let (began, fence) = (Instant::now(), Fence::now());
        let sent = SystemTime::now();
        let (parts, body) = engine.send(inner, call.request).await?.into_parts();
        let exchange = Exchange { sent, received: SystemTime::now() };
        if parts.extensions.get::<Rejected>().is_some() {
            return Ok(Response::from_parts(parts, Body::origin(body)));
        }
        let behind = Behind::of(&parts, fence, began);
        if !is_failing(caller.counts_as(parts.status, &parts.headers)) {
            engine.recovered(&caller);
        }
        let outgrown = call.remembered == Some(Aside::Outgrown);
        let came = Arrived { parts, body, exchange, behind, began };
        Ok(engine.keep_alone(came, caller, asked, outgrown).await)
    }
}

/// An answer that nobody else waits for.
pub(super) struct Arrived<R> {
    pub(super) parts: Parts,
    pub(super) body: R,
    pub(super) exchange: Exchange,
    pub(super) behind: Behind,
    pub(super) began: Instant,
}

impl<K: Send + Sync + 'static> Engine<K> {
    /// Gives its caller an answer that came for it alone, and keeps it where that is possible;
    /// `outgrown`: that of this key was too large before.
    pub(super) async fn keep_alone<R>(
        self: Arc<Self>,
        came: Arrived<R>,
        caller: Caller,
        asked: Arc<HeaderMap>,
        outgrown: bool,
    ) -> Response<Body<R>>
    where
        R: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let engine = self;
        let Arrived { mut parts, body, exchange, behind, began } = came;
        let taking = Taking {
            answered: answered(caller.method(), &asked, &parts, exchange),
            version: parts.version,
            length: length(&parts.headers, &body),
            caller: &caller,
            stands_in: is_failing(caller.counts_as(parts.status, &parts.headers)),
        };
        let verdict = engine.verdict(&taking);
        // What outgrew before and has no length now is learned again when the memory ends.
        let unproven = |kept: &Kept| outgrown && kept.length.is_none();
        let kept = match verdict {
            Verdict::Keep(kept) if !unproven(&kept) && caller.ask.kind == Kind::Get => {
                engine.forget(&caller.primary, &kept, caller.ask.personal);
                Some(kept).filter(|kept| kept.store && !engine.cache.tasks.are_draining())
            }
            Verdict::Keep(_) => None,
            Verdict::Not(_, lasting) => {
                engine.remember(&caller.primary, lasting);
                None
            }
        };
        let now = Instant::now();
        let recorded = kept.and_then(|kept| {
            let (lead, reader) = engine.cache.flights.alone(now);
            if kept.fits(&lead, Kind::Get) {
                return Some((kept, lead, reader));
            }
            lead.end(End::Aside);
            None
        });
        let Some((kept, lead, reader)) = recorded else {
            engine.tell_above(&mut parts, &caller, false, behind);
            return Response::from_parts(parts, Body::origin(body));
        };
        let length = kept.length;
        let head = engine.head(&mut parts, kept, exchange, behind);
        engine.tell_above(&mut parts, &caller, true, behind);
        let recording = Arc::clone(lead.recording());
        recording.head(Arc::clone(&head), Open::AtHead, now);
        let (hand_over, rest) = oneshot::channel();
        let deadline = now + engine.cache.limits.fetch_deadline;
        let (store, beginning, tasks) = (true, Bytes::new(), Arc::clone(&engine));
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
        let fill = crate::observe::in_callers_span(filling.run(body, Kind::Get));
        match tasks.cache.tasks.spawn(fill) {
            Ok(task) => recording.written_by(task),
            Err(fill) => fill.await,
        }
        let body = Body::on_its_way(reader, None, length, Rest::Sent(rest));
        Response::from_parts(parts, body)
    }
}
