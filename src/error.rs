//! What can go wrong, in three types: any error, an error that many callers share, a refusal.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use crate::load_shed::Criticality;

/// Any error: the error type of every service here, as in tower.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// One failure of a fetch, handed to every caller that waited for it.
///
/// Its [`source`](Error::source) is the error that the fetch ended with, so that what looks for a
/// certain error along the chain finds it in every caller's copy.
///
/// ```
/// use seawall::SharedError;
/// use std::error::Error;
///
/// let shared = SharedError::new("connection refused".into());
/// assert_eq!(shared.clone().source().unwrap().to_string(), "connection refused");
/// ```
#[derive(Clone)]
pub struct SharedError(Arc<dyn Error + Send + Sync>);

impl SharedError {
    /// Shares `error`; one that is shared already is not wrapped again.
    pub fn new(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(shared) => *shared,
            Err(error) => Self(Arc::from(error)),
        }
    }
}

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedError").field(&self.0).finish()
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fetch that this call waited for failed")
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// How a fetch failed, where it was not the inner service's own error.
///
/// ```
/// use seawall::{FetchError, SharedError};
///
/// let error: seawall::BoxError = SharedError::new(FetchError::Deadline.into()).into();
/// assert!(matches!(FetchError::find(&*error), Some(FetchError::Deadline)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchError {
    /// The origin had not answered when the fetch deadline had passed.
    Deadline,
    /// The fetch ended without an answer: it panicked, or its runtime shut down.
    Aborted,
    /// Every caller had left, and the budget of fetches without a caller was used up.
    Cancelled,
    /// The body had not the length that its head declared.
    Length,
    /// The origin failed with this status, in an answer that is not for other callers' eyes.
    Status(StatusCode),
}

impl FetchError {
    /// The first error of this type along the chain of sources.
    pub fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        find(error)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("the origin did not answer within the fetch deadline"),
            Self::Aborted => f.write_str("the fetch ended without an answer"),
            Self::Cancelled => f.write_str("the fetch was cancelled when its last caller left"),
            Self::Length => f.write_str("the body had not the length that its head declared"),
            Self::Status(status) => write!(f, "the origin answered {status}"),
        }
    }
}

impl Error for FetchError {}

/// A call refused before it reached the origin.
///
/// ```
/// use seawall::{Reason, Rejected};
/// use std::time::Duration;
///
/// let error: seawall::BoxError =
///     Rejected::new(Reason::OnlyIfCached).retry_after(Duration::from_millis(1)).into();
/// let refused = Rejected::find(&*error).expect("it is one");
/// assert_eq!(refused.reason(), Reason::OnlyIfCached);
/// ```
#[derive(Clone, Debug)]
pub struct Rejected {
    reason: Reason,
    retry_after: Option<Duration>,
    /// Whoever matters no more than this is refused as well.
    refuses: Option<Criticality>,
}

/// Why a call was refused.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, CacheLayer, Reason, Rejected, store::Memory};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("a page")))
/// # });
/// let service = CacheLayer::new(Memory::default()).layer(origin);
/// let request = Request::get("http://example.com/").header("cache-control", "only-if-cached");
/// let error = service.oneshot(request.body(Empty::<Bytes>::new())?).await.unwrap_err();
/// assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::OnlyIfCached));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The request said `only-if-cached`, and nothing stored may answer it (RFC 9111 §5.2.1.7).
    OnlyIfCached,
    /// The origin failed for this key a moment ago, and is not asked again yet.
    Failing,
    /// A circuit breaker is open: the origin failed too often (or was too slow) a moment ago.
    CircuitOpen,
    /// As many calls are in flight as the origin can take, or as are admitted of this criticality.
    Shed,
    /// The caller has used up its quota.
    OverQuota,
}

impl Rejected {
    /// A refusal that names no time to come back.
    pub fn new(reason: Reason) -> Self {
        Self { reason, retry_after: None, refuses: None }
    }

    /// Says that every caller up to this criticality would be refused now, whatever it asks for.
    pub(crate) fn up_to(mut self, class: Option<Criticality>) -> Self {
        self.refuses = class;
        self
    }

    pub(crate) fn refuses(&self) -> Option<Criticality> {
        self.refuses
    }

    /// Says after how long another try makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Why the call was refused.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// After how long another try makes sense, where that is known.
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The first refusal along the chain of sources.
    pub fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        find(error)
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::OnlyIfCached => f.write_str("nothing stored may answer an only-if-cached call"),
            Reason::Failing => f.write_str("the origin failed for this key a moment ago"),
            Reason::CircuitOpen => f.write_str("circuit open"),
            Reason::Shed => f.write_str("too many calls in flight"),
            Reason::OverQuota => f.write_str("quota used up"),
        }
    }
}

impl Error for Rejected {}

/// The first `E` along the chain of sources.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_error_is_not_wrapped_twice() {
        let once = SharedError::new(FetchError::Deadline.into());
        let twice = SharedError::new(once.into());
        let source = twice.source().expect("a source");
        assert!(source.downcast_ref::<FetchError>().is_some(), "{source}");
    }

    #[test]
    fn what_is_looked_for_is_found_through_a_shared_error() {
        let shared: BoxError = SharedError::new(Rejected::new(Reason::OnlyIfCached).into()).into();
        assert!(Rejected::find(&*shared).is_some());
        assert!(FetchError::find(&*shared).is_none());
    }
}
