//! The answer where there is no other.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, Uri};

/// A call that failed, as a [fallback](crate::CacheLayer::fallback) is told of it.
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use seawall::{CacheLayer, store::Memory};
///
/// let layer = CacheLayer::new(Memory::default()).fallback(|failed| {
///     let is_page = !failed.uri.path().starts_with("/api/");
///     is_page.then(|| Response::new(Bytes::from_static(b"We will be back in a minute.")))
/// });
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Failed<'f> {
    /// What was asked for.
    pub uri: &'f Uri,
    /// The fields of the request.
    pub headers: &'f HeaderMap,
    /// How it failed; for a server error that the origin answered with, [`FetchError::Status`](crate::FetchError::Status).
    pub error: &'f (dyn Error + Send + Sync + 'static),
}

/// Makes an answer where there is no other.
pub(crate) type Fallback = Arc<dyn Fn(&Failed<'_>) -> Option<Response<Bytes>> + Send + Sync>;
