//! What tells gRPC calls apart: their messages.

use std::{collections::HashMap, fmt, pin::Pin, sync::Arc, task::Context, time::Duration};

use bytes::Bytes;
use http::{
    Extensions, HeaderName, Method, Request, Uri,
    header::{CONTENT_TYPE, EXPECT, UPGRADE},
};
use http_body::Body;

use super::{
    message::Message,
    request_key::{NoKey, RequestKey, UriKey, write_all},
    unary::{Terms, Unary},
};
use crate::{
    error::BoxError,
    grpc,
    store::{KeyWriter, MAX_KEY},
};

/// The key of services that serve gRPC, alone or beside plain HTTP.
///
/// A unary call of a method that you name is answered like a GET: from storage, or along with
/// identical calls at the same time. Every other call passes, streaming as ever, and requests that
/// are no gRPC calls have the key of a [`UriKey`].
///
/// ```
/// use bytes::Bytes;
/// use http::{HeaderMap, Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use seawall::{BoxError, CacheLayer, GrpcKey, store::Memory};
/// use std::time::Duration;
/// use tonic::body::Body;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// let shop = service_fn(|_: Request<Body>| async {
///     let trailers = HeaderMap::from_iter([("grpc-status".parse()?, "0".parse()?)]);
///     let shoe = Full::new(Bytes::from_static(b"\0\0\0\0\x04shoe"));
///     let answer = Response::builder().header("content-type", "application/grpc");
///     Ok::<_, BoxError>(answer.body(shoe.with_trailers(async { Some(Ok(trailers)) }))?)
/// });
/// let key = GrpcKey::new(|message| Body::new(message))
///     .method("/shop.Catalogue/Find", Duration::from_secs(60));
/// let service = CacheLayer::new(Memory::default()).key(key).layer(shop);
///
/// for expected in ["seawall; fwd=uri-miss; fwd-status=200; stored", "seawall; hit"] {
///     let call = Request::post("http://shop/shop.Catalogue/Find");
///     let call = call.header("content-type", "application/grpc");
///     let seven = Body::new(Full::new(Bytes::from_static(b"\0\0\0\0\x02\x08\x07")));
///     let response = service.clone().oneshot(call.body(seven)?).await?;
///     assert_eq!(response.headers()["cache-status"], expected);
///     let read = response.into_body().collect().await?;
///     assert_eq!(read.trailers().expect("they are kept too")["grpc-status"], "0");
/// }
/// # Ok(()) }
/// ```
///
/// # What a call is told apart by
/// Its authority and path, the bytes of its message, `content-type`, `grpc-encoding` and
/// `grpc-accept-encoding`. Messages are compared as they come: one that is compressed, or whose
/// fields are in another order, is another message.
///
/// Other metadata is not part of the key, `-bin` fields included. Name only methods whose answers
/// follow from the message alone, and add with [`field`](Self::field) what else they depend on. The
/// answer to a call with `authorization` or `cookie` is shared with nobody, unless it says `public` or
/// the key has both fields. `grpc-timeout` is its caller's own: a call that may be shared is given as
/// long as any fetch.
///
/// # What is kept
/// An answer with HTTP status 200, one message, and trailers that say `grpc-status: 0`: for the
/// lifetime of its method, or the shorter one that its `cache-control` names; not where that says
/// `no-store`, `private` or `no-cache`. The policy's profile holds as for a GET, its
/// [`keep`](crate::Policy::keep) is not asked. Whatever else ends in the trailers is given to those
/// who waited for it, and not kept.
///
/// An answer that is an error from its head on is treated like the HTTP error that it stands for:
/// `UNAVAILABLE` like a 503, `DEADLINE_EXCEEDED` like a 504, `INTERNAL` and `UNKNOWN` like a 500; where
/// something else is given instead, that is the `fwd-status` in `Cache-Status`. The other codes speak
/// to one caller, like most of 400 to 499, and are shared with nobody.
///
/// Entries are [invalidated](crate::Invalidation) by the URI of their method, all messages at once, by
/// [one call](crate::Invalidation::call), or by tags. A call that passes invalidates nothing of a
/// method that you named: to name it is to say that it only reads.
///
/// # What passes
/// Methods that are not named, `application/grpc-web`, and of the named ones whatever is not exactly
/// one message and the end of the stream: more than one, one that is too long, or is not there within
/// 10 s. What was read is sent first, and the rest as it comes. A call without an authority passes, too:
/// around a tonic client, name one with its `with_origin`.
///
/// # Cancellation
/// A call that is dropped while its message is read has not been heard of by anyone else.
#[derive(Clone)]
pub struct GrpcKey<F> {
    rebuild: F,
    methods: Arc<HashMap<Box<str>, Duration>>,
    most: usize,
    uris: UriKey,
}

/// Whether `path` is the path of a gRPC method: `/package.Service/Method`.
///
/// ```
/// use seawall::cache::is_grpc_method;
///
/// assert!(is_grpc_method("/shop.Catalogue/Find"));
/// assert!(!is_grpc_method("shop.Catalogue/Find") && !is_grpc_method("/shop.Catalogue/*"));
/// ```
pub fn is_grpc_method(path: &str) -> bool {
    let names = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(named);
    names.is_some_and(|(service, method)| is_name(service) && is_name(method))
}

impl<F> GrpcKey<F> {
    /// A key that names no method yet. `rebuild` makes a request's body of what was read of it, so
    /// that the service behind gets the type that it knows.
    pub fn new<B>(rebuild: F) -> Self
    where
        F: Fn(Message<B>) -> B + Clone + Send + Sync + 'static,
    {
        Self { rebuild, methods: Arc::default(), most: MAX_KEY, uris: UriKey::new() }
    }

    /// Answers of this method, by its full path, are kept for `lifetime`; for none, they are kept
    /// for nobody.
    ///
    /// # Panics
    /// Where `path` is not [that of a method](is_grpc_method): it would never be met, and nobody would
    /// notice.
    #[must_use]
    pub fn method(mut self, path: &str, lifetime: Duration) -> Self {
        assert!(is_grpc_method(path), "{path:?} is not like /package.Service/Method");
        Arc::make_mut(&mut self.methods).insert(path.into(), lifetime);
        self
    }

    /// The longest message that is read, in bytes with its prefix of five. A call with a longer one
    /// passes. 8 KiB unless set, and at the most: the message is part of the key, and no key is longer.
    #[must_use]
    pub fn message(mut self, bytes: usize) -> Self {
        self.most = bytes.min(MAX_KEY);
        self
    }

    /// Adds a field of metadata, or of an HTTP request: those that differ in it get different answers.
    #[must_use]
    pub fn field(mut self, name: HeaderName) -> Self {
        self.uris = self.uris.field(name);
        self
    }

    /// Where the URI is that the client sent, as in [`UriKey::uri`]. The path of a method is that of
    /// the request itself.
    #[must_use]
    pub fn uri(mut self, original: fn(&Extensions) -> Option<&Uri>) -> Self {
        self.uris = self.uris.uri(original);
        self
    }

    /// For how long the answer to this call is kept, if its message belongs to the key.
    fn lifetime<B>(&self, request: &Request<B>) -> Option<Duration> {
        let fields = request.headers();
        if request.method() != Method::POST || !grpc::is_native(fields) {
            return None;
        }
        let wants_more = fields.contains_key(EXPECT) || fields.contains_key(UPGRADE);
        self.methods.get(request.uri().path()).copied().filter(|_| !wants_more)
    }
}

impl<F, B> RequestKey<B> for GrpcKey<F>
where
    F: Fn(Message<B>) -> B + Clone + Send + Sync + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    fn write(&self, request: &Request<B>, key: &mut KeyWriter) -> Result<(), NoKey> {
        if self.lifetime(request).is_none() {
            return self.uris.write(request, key);
        }
        self.uris.write_uri(request, key)?;
        for name in [CONTENT_TYPE, grpc::ENCODING, grpc::ACCEPT_ENCODING] {
            write_all(request.headers(), &name, key);
        }
        Ok(())
    }

    fn write_target(&self, request: &Request<B>, key: &mut KeyWriter) -> Result<(), NoKey> {
        self.uris.write_uri(request, key)
    }

    fn has_credentials(&self) -> bool {
        RequestKey::<B>::has_credentials(&self.uris)
    }

    fn uri<'r>(&self, request: &'r Request<B>) -> &'r Uri {
        self.uris.uri_of(request)
    }

    fn unary(&self, request: &Request<B>) -> Option<Unary<B>> {
        let lifetime = self.lifetime(request)?;
        let terms = Terms { lifetime, keyed: RequestKey::<B>::has_credentials(self) };
        let rebuild = Box::new(self.rebuild.clone());
        let poll_frame =
            |body: Pin<&mut B>, cx: &mut Context<'_>| B::poll_frame(body, cx).map_err(Into::into);
        Some(Unary { terms, most: self.most, poll_frame, rebuild })
    }
}

impl<F> fmt::Debug for GrpcKey<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcKey")
            .field("methods", &self.methods)
            .field("message", &self.most)
            .field("others", &self.uris)
            .finish_non_exhaustive()
    }
}
