//! What is asked of the origin: whether what is stored is still good, for the rest of a part, for a range,
//! for all; and, where what comes is of no use, for all after that.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, response::Parts};
use http_body::Body as HttpBody;
use tokio::time::{Instant, timeout_at};

use super::{
    call::Caller,
    engine::Engine,
    failures::is_failing,
    freshening::{Freshened, with},
    request_key::RequestKey,
    service::Origin,
    storage::Stored,
    unary,
    verdict::{Behind, Kept, Taking, Verdict, length},
};
use crate::{
    coalesce::{
        flights::Lead,
        recording::End,
        share::{Kind, Place},
    },
    error::{FetchError, Rejected, SharedError},
    policy::Answered,
    rfc9111::{
        Exchange,
        head::{self, Told},
        validation::{self, Validators},
    },
    staleness::Trouble,
    store::{Entry, Head, Key},
};

/// A request as it goes to the origin, and what may come of it.
pub(super) struct Question<B> {
    request: Request<B>,
    /// It asks whether what is stored is still good.
    validates: bool,
    /// It asks for the rest of this.
    completes: Option<Entry>,
    /// The same for the whole, should what comes be of no use.
    otherwise: Option<Request<B>>,
}

/// What came of it.
pub(super) enum Came<R> {
    /// An answer.
    Answer(Box<Answer<R>>),
    /// What is stored is still good; with the status that said so.
    Freshened(Box<(Stored, Freshened)>, StatusCode),
    /// A layer below refused, and has an answer of its own for that.
    Refused(Rejected, Response<R>),
    /// Nothing that anyone could be given.
    Ended(End),
}

pub(super) struct Answer<R> {
    pub(super) parts: Parts,
    pub(super) body: R,
    pub(super) exchange: Exchange,
    pub(super) behind: Behind,
    /// What was there before, and comes before the body.
    pub(super) beginning: Bytes,
    /// What is decided on already of the whole that they make.
    pub(super) completed: Option<Box<Kept>>,
}

/// For whom it is asked.
pub(super) struct Asking<'a, K> {
    pub(super) engine: &'a Arc<Engine<K>>,
    pub(super) caller: &'a Caller,
    /// The fields of the request as it came.
    pub(super) asked: &'a HeaderMap,
    pub(super) lead: &'a Lead<Key, Arc<Head>>,
    pub(super) began: Instant,
    pub(super) deadline: Instant,
}

impl<K> Asking<'_, K> {
    /// Asks, and where what comes is of no use, once more. What is stored and of no use is taken out of
    /// `stored` and of storage.
    pub(super) async fn ask<S, B>(
        &self,
        inner: S,
        question: Question<B>,
        stored: &mut Option<Stored>,
    ) -> Came<S::Body>
    where
        S: Origin<B>,
    {
        let Self { engine, caller, deadline, .. } = *self;
        let Question { mut request, mut validates, mut completes, mut otherwise } = question;
        let mut is_second = false;
        loop {
            let (sent, asked_at) = (SystemTime::now(), Instant::now());
            let sending = engine.send(inner.clone(), request);
            let response = match timeout_at(deadline, sending).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => {
                    return Came::Ended(engine.failed(caller, stored.as_ref(), error));
                }
                Err(_) => {
                    let late = FetchError::Deadline.into();
                    return Came::Ended(engine.failed(caller, stored.as_ref(), late));
                }
            };
            let exchange = Exchange { sent, received: SystemTime::now() };
            let (mut parts, body) = response.into_parts();
            if let Some(rejected) = parts.extensions.get::<Rejected>() {
                return Came::Refused(rejected.clone(), Response::from_parts(parts, body));
            }
            let behind = Behind::of(&parts, self.lead.recording().fence(), asked_at);
            if is_second && matches!(parts.status.as_u16(), 206 | 304) {
                // Nobody asked for that.
                let failure = FetchError::Status(parts.status);
                return Came::Ended(End::Failed(SharedError::new(failure.into())));
            }
            self.learn(&parts, exchange, stored.as_ref());
            if let Some(entry) = stored.as_ref().map(|stored| &stored.entry) {
                match engine.told(entry, caller.ask.kind, validates, &parts) {
                    Told::Same => {
                        if let Some(freshened) = self.freshened(entry, &parts, exchange, behind)
                            && let Some(stored) = stored.take()
                        {
                            let both = Box::new((stored, freshened));
                            return Came::Freshened(both, parts.status);
                        }
                    }
                    Told::Other if caller.ask.kind == Kind::Head => engine.outdate(entry).await,
                    Told::Other | Told::Nothing => {}
                }
            }
            let of_no_use = if validates && parts.status == StatusCode::NOT_MODIFIED {
                // It is about another answer than ours.
                stored.take().map(|stored| stored.entry)
            } else if let Some(part) = completes.take().filter(|_| answers_a_range(parts.status)) {
                match self.completed(&part, &mut parts, &body, exchange) {
                    Completed::Kept(kept) => {
                        let (beginning, completed) = (part.body, Some(kept));
                        let answer = Answer { parts, body, exchange, behind, beginning, completed };
                        return Came::Answer(Box::new(answer));
                    }
                    Completed::NotKept => None,
                    Completed::Not => Some(part),
                }
            } else {
                let (beginning, completed) = (Bytes::new(), None);
                let answer = Answer { parts, body, exchange, behind, beginning, completed };
                return Came::Answer(Box::new(answer));
            };
            if let Some(entry) = of_no_use {
                engine.remove(entry.key()).await;
            }
            let Some(again) = otherwise.take() else {
                let failure = FetchError::Status(behind.status);
                return Came::Ended(End::Failed(SharedError::new(failure.into())));
            };
            (request, validates, is_second) = (again, false, true);
        }
    }

    /// What an answer tells of the origin.
    fn learn(&self, parts: &Parts, exchange: Exchange, stored: Option<&Stored>) {
        let Self { engine, caller, lead, .. } = *self;
        let status = caller.counts_as(parts.status, &parts.headers);
        if !is_failing(status) {
            engine.recovered(caller);
        } else if status != StatusCode::INTERNAL_SERVER_ERROR {
            // A 500 may be one request's fault, and is never held against others.
            let wait = caller.retry_after(&parts.headers, exchange.received);
            let alone = !lead.recording().was_joined();
            engine.remember_failure(caller, stored, Trouble::Error, wait, alone);
        }
    }

    fn freshened(
        &self,
        entry: &Entry,
        parts: &Parts,
        exchange: Exchange,
        behind: Behind,
    ) -> Option<Freshened> {
        let answered = Answered {
            method: self.caller.method(),
            request: self.asked,
            status: entry.status(),
            response: &parts.headers,
            exchange,
        };
        self.engine.freshened(entry, &answered, self.caller, behind, self.began.elapsed())
    }

    /// What becomes of the whole that `part` and the answer make. If it is not kept, `parts` is of no use.
    fn completed<R: HttpBody>(
        &self,
        part: &Entry,
        parts: &mut Parts,
        body: &R,
        exchange: Exchange,
    ) -> Completed {
        let Self { engine, caller, asked, lead, .. } = *self;
        if !Engine::<K>::make_whole(part, parts, length(&parts.headers, body)) {
            return Completed::Not;
        }
        let answered = Answered {
            method: caller.method(),
            request: asked,
            status: parts.status,
            response: &parts.headers,
            exchange,
        };
        let length = length(&parts.headers, body);
        let version = parts.version;
        let taking = Taking { answered, version, length, caller, stands_in: false };
        match engine.verdict(&taking) {
            Verdict::Keep(mut kept) if kept.store && kept.key == *part.key() => {
                match with(&part.head.names, &kept.names) {
                    Ok(names) if kept.fits(lead, caller.ask.kind) => {
                        kept.names = names;
                        Completed::Kept(kept)
                    }
                    _ => Completed::NotKept,
                }
            }
            _ => Completed::NotKept,
        }
    }
}

/// What the rest of a part makes with it.
enum Completed {
    /// The whole.
    Kept(Box<Kept>),
    /// The whole, which may not be kept: not for this caller, or not now.
    NotKept,
    /// Nothing.
    Not,
}

impl<K> Engine<K> {
    /// What is asked of the origin for `request`: whether `whole` is still good, for the rest of `part`,
    /// for a range, or for all.
    pub(super) fn question<B>(
        &self,
        mut request: Request<B>,
        caller: &Caller,
        whole: Option<&Entry>,
        part: Option<Entry>,
    ) -> Question<B>
    where
        K: RequestKey<B>,
    {
        self.mark(&mut request, caller.tells);
        let plain =
            |request| Question { request, validates: false, completes: None, otherwise: None };
        if caller.unary.is_some() {
            unary::lengthen(request.headers_mut(), self.cache.limits.fetch_deadline);
            return plain(request);
        }
        // A range goes as it is: it was looked at before.
        if self.place == Place::Coalesce || caller.in_part {
            return plain(request);
        }
        validation::strip(request.headers_mut());
        let is_get = caller.ask.kind == Kind::Get;
        let validators = whole
            .filter(|entry| entry.status() == StatusCode::OK && is_get)
            .map(|entry| Validators::of(&entry.head.fields))
            .unwrap_or_default();
        if !validators.is_empty() {
            let otherwise = self.again(&request);
            validators.apply(request.headers_mut());
            return Question { request, validates: true, completes: None, otherwise };
        }
        let tail = part.filter(|_| is_get).and_then(|part| Some((self.tail(&part)?, part)));
        match (tail, self.again(&request)) {
            (Some((tail, part)), otherwise @ Some(_)) => {
                tail.apply(request.headers_mut());
                Question { request, validates: false, completes: Some(part), otherwise }
            }
            _ => plain(request),
        }
    }

    /// The same request once more, if the key can make a body for it.
    fn again<B>(&self, request: &Request<B>) -> Option<Request<B>>
    where
        K: RequestKey<B>,
    {
        let mut again = Request::new(self.key.empty()?);
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        *again.version_mut() = request.version();
        *again.headers_mut() = request.headers().clone();
        *again.extensions_mut() = request.extensions().clone();
        Some(again)
    }

    /// What an answer says of the stored one (RFC 9111 §4.3.3, §4.3.5).
    fn told(&self, entry: &Entry, kind: Kind, validates: bool, parts: &Parts) -> Told {
        match parts.status {
            StatusCode::NOT_MODIFIED if validates => Told::Same,
            StatusCode::OK if kind == Kind::Head && entry.status() == StatusCode::OK => {
                head::told(&entry.head.fields, entry.body.len() as u64, &parts.headers)
            }
            _ => Told::Nothing,
        }
    }
}

/// Whether an answer can be one to a request for a range.
fn answers_a_range(status: StatusCode) -> bool {
    matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE)
}
