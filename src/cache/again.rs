//! A key that can make a second request of one.

use std::fmt;

use http::{Request, Uri};

use super::{
    request_key::{NoKey, RequestKey},
    unary::Unary,
};
use crate::store::KeyWriter;

/// A key with which the origin can be asked a second time on one request.
///
/// The first answer may be of no use: a 304 about another response than the one stored, or a part that
/// does not go with the one stored (RFC 9111 §4.3.4, §3.4). The request that was sent is gone by then,
/// and a body cannot be made of nothing; `empty` makes it. Without this, the rest of a stored part is
/// never asked for, and such a 304 is a failure.
///
/// ```
/// # use bytes::Bytes;
/// # use http_body_util::Empty;
/// use seawall::{CacheLayer, UriKey, cache::Again, store::Memory};
///
/// let key = Again::new(UriKey::new(), Empty::<Bytes>::new);
/// let layer = CacheLayer::new(Memory::default()).key(key);
/// # let _ = layer;
/// ```
#[derive(Clone)]
pub struct Again<K, F> {
    key: K,
    empty: F,
}

impl<K, F> Again<K, F> {
    /// `key`, and how the empty body of a GET is made.
    pub fn new(key: K, empty: F) -> Self {
        Self { key, empty }
    }
}

impl<K, F, B> RequestKey<B> for Again<K, F>
where
    K: RequestKey<B>,
    F: Fn() -> B + Clone + Send + Sync + 'static,
{
    fn write(&self, request: &Request<B>, key: &mut KeyWriter) -> Result<(), NoKey> {
        self.key.write(request, key)
    }

    fn has_credentials(&self) -> bool {
        self.key.has_credentials()
    }

    fn unary(&self, request: &Request<B>) -> Option<Unary<B>> {
        self.key.unary(request)
    }

    fn write_target(&self, request: &Request<B>, key: &mut KeyWriter) -> Result<(), NoKey> {
        self.key.write_target(request, key)
    }

    fn empty(&self) -> Option<B> {
        Some((self.empty)())
    }

    fn uri<'r>(&self, request: &'r Request<B>) -> &'r Uri {
        self.key.uri(request)
    }
}

impl<K: fmt::Debug, F> fmt::Debug for Again<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Again").field(&self.key).finish()
    }
}
