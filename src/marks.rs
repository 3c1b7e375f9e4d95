//! What layers say to each other: marks in the extensions of requests and responses, and nothing
//! else.
//!
//! | mark | on | says |
//! |---|---|---|
//! | [`Flight`] | a request | these flight tables are fetching it already |
//! | [`Refresh`] | a request | validate what you have; do not answer from it |
//! | (a private one) | a request | somebody wants to know where its answer came from |
//! | [`Served`] | a response | it came from the origin, or from storage, fresh or stale; and its fence |
//!
//! An engine that meets the mark of its own flight table steps aside: the same layer twice, or two
//! layers over one [`Cache`](crate::Cache), are one engine. [`Served`] is written where someone
//! reads it, that is where the request carries a mark: a plain hit pays nothing for it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::journal::Fence;

/// Which flight tables are fetching this request, outermost first.
///
/// An engine sets it on what it sends to its inner service, which can tell by it that one is above:
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{BodyExt, Empty, Full};
/// # use seawall::{BoxError, CacheLayer, marks::Flight, store::Memory};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// let origin = service_fn(|request: Request<Empty<Bytes>>| async move {
///     let by_an_engine = request.extensions().get::<Flight>().is_some();
///     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(by_an_engine.to_string())))
/// });
/// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
/// let response = CacheLayer::new(Memory::default()).layer(origin).oneshot(request).await?;
/// assert_eq!(response.into_body().collect().await?.to_bytes(), "true");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Flight {
    tables: Vec<u64>,
    /// An engine above says in `Cache-Status` how the request was answered.
    told: bool,
    /// The last invalidation that a cache above knows of: what is fetched for it began later.
    fence: Fence,
}

impl Flight {
    /// The mark with one more table; `tells`: whose engine says how the request was answered; `fence`:
    /// the last invalidation that it knows of.
    pub(crate) fn through(
        extensions: &http::Extensions,
        table: u64,
        tells: bool,
        fence: Fence,
    ) -> Self {
        let mut mark = extensions.get::<Self>().cloned().unwrap_or_default();
        mark.tables.push(table);
        mark.told |= tells;
        mark.fence = mark.fence.max(fence);
        mark
    }

    /// Whether an engine above says in `Cache-Status` how the request was answered.
    pub(crate) fn is_told(&self) -> bool {
        self.told
    }

    pub(crate) fn fence(&self) -> Fence {
        self.fence
    }

    /// Whether `table` is fetching this request already.
    pub(crate) fn is_of(&self, table: u64) -> bool {
        self.tables.contains(&table)
    }
}

/// Asks every cache below to validate what it has with the origin, and not to answer from it.
///
/// ```
/// let request = http::Request::get("http://example.com/")
///     .extension(seawall::marks::Refresh)
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh;

/// Where an answer came from, and how far the [journal](crate::journal) had come when it was
/// fetched. It is there only where the request carries a mark.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, CacheLayer, store::Memory};
/// # use tower::{Layer, ServiceExt, service_fn};
/// use seawall::marks::{Refresh, Served, Source};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("a page")))
/// # });
/// # let service = CacheLayer::new(Memory::default()).layer(origin);
/// let request = Request::get("http://example.com/").extension(Refresh);
/// let response = service.oneshot(request.body(Empty::<Bytes>::new())?).await?;
/// assert_eq!(response.extensions().get().map(Served::source), Some(Source::Origin));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    source: Source,
    /// `None`: no cache has had its hands on it.
    fence: Option<Fence>,
}

impl Served {
    pub(crate) fn new(source: Source, fence: Option<Fence>) -> Self {
        Self { source, fence }
    }

    /// Where the answer came from.
    pub fn source(&self) -> Source {
        self.source
    }

    pub(crate) fn fence(&self) -> Option<Fence> {
        self.fence
    }
}

/// Where an answer came from.
///
/// ```
/// use seawall::marks::Source;
///
/// /// Says something about the origin's health.
/// fn counts(source: Source) -> bool {
///     source == Source::Origin
/// }
/// assert!(!counts(Source::Stale));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The origin was asked for it.
    Origin,
    /// It was stored, and fresh or validated.
    Storage,
    /// It was stored, and stale.
    Stale,
}

/// A layer that may answer from storage was made in this process.
static FROM_STORAGE: AtomicBool = AtomicBool::new(false);

pub(crate) fn may_be_answered_from_storage() {
    FROM_STORAGE.store(true, Relaxed);
}

/// Somebody above wants to know where the answer came from, and nothing else.
#[derive(Clone, Copy)]
struct Whence;

/// Asks whatever is below to say where its answer came from.
///
/// It costs two allocations where no mark is there yet, and is left out as long as nobody in this
/// process could answer it.
pub(crate) fn ask_whence(extensions: &mut http::Extensions) {
    if FROM_STORAGE.load(Relaxed) && !are_read(extensions) {
        extensions.insert(Whence);
    }
}

/// Whether a layer above wants to know how this request is answered.
pub(crate) fn are_read(extensions: &http::Extensions) -> bool {
    extensions.get::<Flight>().is_some()
        || extensions.get::<Refresh>().is_some()
        || extensions.get::<Whence>().is_some()
}
