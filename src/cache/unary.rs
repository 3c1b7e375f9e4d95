//! Unary gRPC calls: their messages are read, and then they are answered as a GET is.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, RETRY_AFTER},
};

use super::{
    body::Body,
    call::{Caller, Tells},
    engine::{Engine, GET},
    failures::is_failing,
    message::{Message, PollFrame},
    request_key::{NoKey, RequestKey},
    service::{Origin, ResponseFuture},
};
use crate::{
    coalesce::{
        recording::Recording,
        share::{self, Ask, Kind, Leads, Share},
    },
    error::BoxError,
    grpc,
    observe::Pass,
    policy::{Answered, Policy},
    rfc9111::{
        freshness::Lifetime, refusal::Refusal, retry_after::retry_after, stale::Demand,
        storing::Keep,
    },
    store::{Head, Key, KeyWriter},
};

/// Follows the class in the key of a call, where no other key has such a byte: their parts begin with
/// a length of at most 8 KiB, or with 0xff.
const CALL: u8 = b'R';

/// How a request is read whose message belongs to its key.
pub struct Unary<B> {
    pub(super) terms: Terms,
    /// How long the message may be.
    pub(super) most: usize,
    pub(super) poll_frame: PollFrame<B>,
    pub(super) rebuild: Box<dyn Fn(Message<B>) -> B + Send + Sync>,
}

impl<B> fmt::Debug for Unary<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unary").field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// On what terms the answer to a call is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) lifetime: Duration,
    /// The key tells callers with different credentials apart.
    pub(super) keyed: bool,
}

/// What is known of a call once its message has been read.
pub(super) struct Known {
    pub(super) ask: Ask,
    pub(super) share: Share,
    pub(super) key: KeyWriter,
    pub(super) terms: Terms,
}

impl<K> Engine<K> {
    /// Reads the message of a call, and answers by it; what is no unary call passes.
    pub(super) async fn unary<S, B>(
        self: Arc<Self>,
        inner: S,
        request: Request<B>,
        unary: Unary<B>,
        tells: Tells,
    ) -> Result<Response<Body<S::Body>>, BoxError>
    where
        S: Origin<B>,
        K: RequestKey<B>,
        B: Send + 'static,
    {
        // Neither ranges nor conditions mean anything to it, and its length is no obstacle.
        let ask = Ask { kind: Kind::Get, range: false, conditional: false, ..Ask::of(&request) };
        let share = share::share(&ask, self.place);
        if share.leads == Leads::Alone {
            return self.passing(inner, request, Pass::Request, tells).await;
        }
        let Ok(mut key) = write(&self.key, &request) else {
            return self.passing(inner, request, Pass::Key, tells).await;
        };
        let (parts, body) = request.into_parts();
        let budget = &self.cache.budgets.fill;
        let (body, message) = Message::read(body, unary.poll_frame, unary.most, budget).await;
        let request = Request::from_parts(parts, (unary.rebuild)(body));
        let message = message.filter(|message| {
            key.part(message);
            !key.is_too_long()
        });
        if message.is_none() {
            return self.passing(inner, request, Pass::Key, tells).await;
        }
        let mut known = Known { ask, share, key, terms: unary.terms };
        ResponseFuture(self.call(&inner, request, Some(&mut known))).await
    }
}

/// The key of a call, up to its message.
fn write<B, K: RequestKey<B>>(key: &K, request: &Request<B>) -> Result<KeyWriter, NoKey> {
    let mut written = KeyWriter::new();
    written.raw(&[GET, CALL]);
    key.write(request, &mut written)?;
    if written.is_too_long() { Err(NoKey) } else { Ok(written) }
}

/// The key of a call with this message, which is not compressed.
pub(crate) fn key<B, K: RequestKey<B>>(
    key: &K,
    request: &Request<B>,
    message: &[u8],
) -> Result<Key, NoKey> {
    if key.unary(request).is_none() {
        return Err(NoKey);
    }
    let mut written = write(key, request)?;
    let length = u32::try_from(message.len()).map_err(|_| NoKey)?;
    written.part(&[&[0][..], &length.to_be_bytes(), message].concat());
    written.key().ok_or(NoKey)
}

/// Gives a call that may be shared the time of a fetch, where its own caller gave it another.
pub(super) fn lengthen(fields: &mut HeaderMap, deadline: Duration) {
    if fields.contains_key(grpc::TIMEOUT) {
        // At most eight digits, and a unit.
        let millis = deadline.as_millis().min(99_999_999);
        if let Ok(timeout) = HeaderValue::from_str(&format!("{millis}m")) {
            fields.insert(grpc::TIMEOUT, timeout);
        }
    }
}

impl Caller {
    /// The method of what fills an entry: of a HEAD, that of the GET that it stands for.
    pub(super) fn method(&self) -> &'static Method {
        if self.unary.is_some() { &Method::POST } else { &Method::GET }
    }

    /// The HTTP status that an answer to it is treated like.
    pub(super) fn counts_as(&self, status: StatusCode, fields: &HeaderMap) -> StatusCode {
        if self.unary.is_some() { counts_as(status, fields) } else { status }
    }

    /// How long an origin that failed asks to be left alone.
    pub(super) fn retry_after(&self, fields: &HeaderMap, received: SystemTime) -> Option<Duration> {
        let pushback = self.unary.and_then(|_| grpc::pushback(fields));
        let asked = || retry_after(fields.get(RETRY_AFTER)?, received);
        pushback.or_else(asked)
    }

    /// Whether an answer that has come to its end is whole, as far as that can be seen in it.
    pub(super) fn is_whole(
        &self,
        recording: &Recording<Arc<Head>>,
        trailers: Option<&HeaderMap>,
    ) -> bool {
        let Some(_) = self.unary else { return true };
        let length = recording.beginning().and_then(grpc::length);
        length == Some(recording.length() as u64)
            && trailers.and_then(grpc::status) == Some(grpc::OK)
    }
}

/// The HTTP status that the head of a gRPC answer stands for.
fn counts_as(status: StatusCode, fields: &HeaderMap) -> StatusCode {
    match grpc::status(fields) {
        _ if is_failing(status) => status,
        _ if status != StatusCode::OK => StatusCode::BAD_REQUEST,
        None if !fields.contains_key(grpc::STATUS) => status,
        Some(grpc::UNAVAILABLE) => StatusCode::SERVICE_UNAVAILABLE,
        Some(grpc::DEADLINE_EXCEEDED) => StatusCode::GATEWAY_TIMEOUT,
        Some(grpc::INTERNAL | grpc::UNKNOWN) => StatusCode::INTERNAL_SERVER_ERROR,
        // It may be about this caller; nor is it good without a message.
        _ => StatusCode::BAD_REQUEST,
    }
}

impl<K> Engine<K> {
    /// Whether an answer is kept: as the policy says, or as a gRPC method has it.
    pub(super) fn keep(&self, caller: &Caller, answered: &Answered<'_>) -> Keep {
        let Some(Terms { lifetime, keyed }) = caller.unary else {
            return self.policy.keep(answered);
        };
        let Answered { status, response, .. } = *answered;
        if status != StatusCode::OK
            || response.contains_key(grpc::STATUS)
            || !grpc::is_native(response)
        {
            return Keep::No(Refusal::Status);
        }
        // The profile decides as if the answer had named the lifetime itself: of two, the shorter
        // holds. Whose credentials the key tells apart, for them the answer is public.
        let mut fields = response.clone();
        let seconds = lifetime.as_secs().saturating_add(u64::from(lifetime.subsec_nanos() > 0));
        let public = if keyed { ", public" } else { "" };
        if let Ok(named) = HeaderValue::from_str(&format!("max-age={seconds}{public}")) {
            fields.append(CACHE_CONTROL, named);
        }
        let method = &Method::GET;
        let answered = Answered { method, response: &fields, ..*answered };
        match Policy::keep(self.policy.profile(), &answered) {
            // There is nothing to validate it with.
            Keep::For(kept) if kept.demand == Demand::Always => Keep::No(Refusal::NeverFresh),
            Keep::For(kept) => {
                let fresh_for = kept.fresh_for.min(lifetime);
                Keep::For(Lifetime { fresh_for, ..kept })
            }
            refused => refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use proptest::{option, prelude::*};

    use super::*;
    use crate::GrpcKey;

    type Body = Empty<bytes::Bytes>;

    #[test]
    fn an_error_counts_as_the_status_that_it_stands_for() {
        for (status, said, is) in [
            (200, None, 200),
            (200, Some("14"), 503),
            (200, Some("4"), 504),
            (200, Some("13"), 500),
            (200, Some("2"), 500),
            (200, Some("0"), 400),
            (200, Some("5"), 400),
            (200, Some("8"), 400),
            (200, Some("no number"), 400),
            (204, None, 400),
            (404, None, 400),
            (429, Some("14"), 400),
            (501, None, 400),
            (503, None, 503),
            (503, Some("0"), 503),
        ] {
            let mut fields = HeaderMap::new();
            if let Some(said) = said {
                fields.insert(grpc::STATUS, HeaderValue::from_static(said));
            }
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(counts_as(status, &fields).as_u16(), is, "{status} {said:?}");
        }
    }

    /// All that a key has of a call: authority, method, tenant, codec, encodings, message.
    type Keyed = (String, bool, [Option<String>; 3], bool, Vec<u8>);

    fn keyed() -> impl Strategy<Value = Keyed> {
        let field = || option::of("[ab]{0,2}");
        let fields = [field(), field(), field()];
        ("[ab]{1,2}", any::<bool>(), fields, any::<bool>(), prop::collection::vec(0..3_u8, 0..4))
    }

    fn parts() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
        let part = prop::collection::vec(any::<u8>(), 0..3);
        prop::collection::vec(option::of(part), 0..4)
    }

    fn key_of(keyed: &Keyed) -> Key {
        let (authority, one, fields, codec, message) = keyed;
        let minute = Duration::from_secs(60);
        let by = GrpcKey::new(|_: Message<Body>| Body::new())
            .method("/a.B/c", minute)
            .method("/a.B/d", minute)
            .field(http::HeaderName::from_static("x-tenant"));
        let path = if *one { "/a.B/c" } else { "/a.B/d" };
        let mut request = Request::post(format!("http://{authority}{path}"))
            .header("content-type", if *codec { "application/grpc" } else { "application/grpc+b" })
            .body(Body::new())
            .expect("a request");
        for (name, value) in
            ["x-tenant", "grpc-encoding", "grpc-accept-encoding"].iter().zip(fields)
        {
            if let Some(value) = value {
                request.headers_mut().insert(*name, value.parse().expect("a value"));
            }
        }
        key(&by, &request, message).expect("a key")
    }

    proptest! {
        #[test]
        fn calls_with_one_key_are_equal_in_all_that_is_keyed(one in keyed(), other in keyed()) {
            prop_assert_eq!(key_of(&one) == key_of(&other), one == other);
        }

        #[test]
        fn a_call_has_a_key_that_no_page_has(one in keyed(), parts in parts()) {
            let mut page = KeyWriter::new();
            page.raw(&[GET]);
            for part in &parts {
                page.optional(part.as_deref());
            }
            let call = key_of(&one);
            prop_assert_ne!(page.as_bytes().get(..2), call.as_bytes().get(..2));
        }
    }
}
