//! What was invalidated, in order.
//!
//! To invalidate is not to delete: it is to write a fact into an ordered log. Every fetch notes how
//! far the log had come when it began, its *fence*, and what it stores keeps that fence. An entry is
//! alive while no later record names it, so an answer that was on its way when its content changed
//! is dead on arrival, wherever it ends up.
//!
//! Entries are named by their key, by their URI and by their tags (`Surrogate-Key`, `Cache-Tag`, or
//! a [function of the answer](crate::CacheLayer::tags)). A hard invalidation makes them unusable; a
//! [soft](Invalidation::soft) one makes them stale: they are validated, and served until then where
//! a stale answer may be.
//!
//! ```
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::{BodyExt, Empty, Full};
//! # use seawall::{BoxError, Cache, CacheLayer, store::Memory};
//! # use tower::{Layer, ServiceExt, service_fn};
//! use seawall::Invalidation;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
//! # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
//! #     let answer = Response::builder().header("cache-control", "max-age=60");
//! #     answer.header("surrogate-key", "product-7 shoes").body(Full::<Bytes>::from("a shoe"))
//! # });
//! # let get = || Request::get("http://example.com/7").body(Empty::<Bytes>::new());
//! let cache = Cache::new(Memory::default());
//! let invalidator = cache.invalidator();
//! let service = CacheLayer::new(cache).layer(origin); // it says `Surrogate-Key: product-7 shoes`
//! # service.clone().oneshot(get()?).await?.into_body().collect().await?;
//! # let hit = service.clone().oneshot(get()?).await?;
//! # assert_eq!(hit.headers()["cache-status"], "seawall; hit");
//!
//! invalidator.invalidate(&Invalidation::tag("shoes")).await;
//! # let missed = service.clone().oneshot(get()?).await?;
//! # assert_eq!(missed.headers()["cache-status"], "seawall; fwd=uri-miss; fwd-status=200; stored");
//! # Ok(()) }
//! ```

mod fold;
mod local;
mod names;
mod tags;

use std::{fmt, sync::Arc};

use http::{Request, Uri};

pub(crate) use self::{
    fold::Slots,
    local::{Condition, Journal},
    names::{Name, Names},
    tags::{Tags, TooMany},
};
use crate::{
    cache::{NoKey, RequestKey, Shared, request_key},
    observe::Event,
    store::{Key, KeyWriter},
};

/// How far the journal had come: the number of the last invalidation in this process.
///
/// All caches of a process number their invalidations together, so that the fences of two caches
/// that stand one behind the other compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Fence(u64);

impl Fence {
    /// Where the journal is at this moment: to be noted *before* a fetch starts.
    pub(crate) fn now() -> Self {
        local::last()
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// Which process it is of, and its number there.
    #[cfg(feature = "remote")]
    pub(crate) fn parts(self) -> (u128, u64) {
        (local::process(), self.0)
    }

    /// What a record came back from a store with. How far this journal had come when another process
    /// fetched it is not known: all that was ever invalidated here counts.
    #[cfg(feature = "remote")]
    pub(crate) fn of_parts(process: u128, number: u64) -> Self {
        if process == local::process() { Self(number) } else { Self(0) }
    }
}

/// What is to be invalidated: a key, a URI, tags, or everything. Hard, unless it is made [soft].
///
/// ```
/// use seawall::{Invalidation, UriKey};
/// use http::Request;
///
/// let request = Request::get("http://example.com/a").body(http_body_util::Empty::<bytes::Bytes>::new())?;
/// for what in [
///     Invalidation::tag("shoes"),
///     Invalidation::tags(["shoes", "boots"]),
///     Invalidation::uri(&"http://example.com/a".parse()?)?,
///     Invalidation::key(&UriKey::new(), &request)?,
///     Invalidation::everything().soft(),
/// ] {
///     println!("{what:?}");
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// [soft]: Self::soft
#[derive(Clone, PartialEq, Eq)]
pub struct Invalidation {
    what: What,
    soft: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Key(Key),
    Uri(Uri),
    Tags(Vec<Box<str>>),
    Everything,
}

impl Invalidation {
    /// All entries with this tag. Tags compare byte for byte.
    pub fn tag(tag: impl Into<Box<str>>) -> Self {
        Self::tags([tag])
    }

    /// All entries with one of these tags, in one record.
    pub fn tags<T: Into<Box<str>>>(tags: impl IntoIterator<Item = T>) -> Self {
        Self::of(What::Tags(tags.into_iter().map(Into::into).collect()))
    }

    /// All entries of this URI: every variant, whatever else their key has. The scheme makes no
    /// difference, nor does a default port.
    ///
    /// # Errors
    /// [`NoKey`] where the URI names no authority, or has user information.
    pub fn uri(uri: &Uri) -> Result<Self, NoKey> {
        request_key::authority_of(uri)?;
        Ok(Self::of(What::Uri(uri.clone())))
    }

    /// The entries that answer a GET like `request`, with all their variants.
    ///
    /// # Errors
    /// [`NoKey`] where `key` has none for it, or has its message as well: see [`call`](Self::call).
    pub fn key<B>(key: &impl RequestKey<B>, request: &Request<B>) -> Result<Self, NoKey> {
        if key.unary(request).is_some() {
            return Err(NoKey);
        }
        let mut written = KeyWriter::new();
        written.raw(&[crate::cache::engine::GET]);
        key.write(request, &mut written)?;
        Ok(Self::of(What::Key(written.key().ok_or(NoKey)?)))
    }

    /// The entries that answer a unary gRPC call like `request`, with this message: encoded, not
    /// compressed, and without the prefix that it is sent with.
    ///
    /// # Errors
    /// [`NoKey`] where the message of such a request is not part of `key`, or too long for it.
    pub fn call<B>(
        key: &impl RequestKey<B>,
        request: &Request<B>,
        message: &[u8],
    ) -> Result<Self, NoKey> {
        Ok(Self::of(What::Key(crate::cache::unary::key(key, request, message)?)))
    }

    /// All entries.
    pub fn everything() -> Self {
        Self::of(What::Everything)
    }

    /// Makes them stale instead of unusable: they are validated before they are fresh again.
    ///
    /// Until then they may be given where a stale answer may be, and as one that has just become
    /// stale: the windows for that begin when the lifetime would have ended.
    ///
    /// What is invalidated hard stays so, whatever is invalidated softly later.
    #[must_use]
    pub fn soft(mut self) -> Self {
        self.soft = true;
        self
    }

    /// The entries with this key, and all their variants.
    #[cfg(feature = "redis")]
    pub(crate) fn of_key(key: Key) -> Self {
        Self::of(What::Key(key))
    }

    fn of(what: What) -> Self {
        Self { what, soft: false }
    }
}

impl fmt::Debug for Invalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", if self.soft { "soft " } else { "" }, self.what)
    }
}

/// What came of an invalidation.
///
/// ```
/// # use seawall::{Cache, Invalidation, store::Memory};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use seawall::journal::Recorded;
///
/// let cache = Cache::new(Memory::default());
/// let done = cache.invalidator().invalidate(&Invalidation::everything()).await;
/// assert!(done.local);
/// assert_eq!(done.journal, Recorded::None); // there is no other process to tell
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalidated {
    /// This process obeys it.
    pub local: bool,
    /// Whether other processes will.
    pub journal: Recorded,
}

/// Whether an invalidation is in a journal that other processes read.
///
/// ```
/// use seawall::journal::Recorded;
///
/// assert_eq!(Recorded::None.to_string(), "none");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recorded {
    /// There is none.
    None,
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
        }
    }
}

/// Invalidates what a [`Cache`](crate::Cache) holds, and what is on its way there.
///
/// Cheap to clone. See the [module](self) for an example.
///
/// Once [`invalidate`](Self::invalidate) has returned, no caller of this process gets an answer
/// from before it: not from the store, not from a fetch under way.
#[derive(Clone)]
pub struct Invalidator {
    cache: Arc<Shared>,
}

impl Invalidator {
    pub(crate) fn new(cache: Arc<Shared>) -> Self {
        Self { cache }
    }

    /// Writes `invalidation` into the journal.
    ///
    /// It takes the same short time however many entries it names: none of them is looked for.
    ///
    /// # Cancellation
    /// Once polled, it has happened.
    pub async fn invalidate(&self, invalidation: &Invalidation) -> Invalidated {
        let journal = &self.cache.journal;
        let hard = !invalidation.soft;
        match &invalidation.what {
            What::Key(key) => journal.record(&[Name::key(key).slots()], hard),
            What::Uri(uri) => {
                let authority = request_key::authority_of(uri).unwrap_or_default();
                journal.record(&[Name::uri(authority, uri).slots()], hard);
            }
            What::Tags(tags) => {
                let names: Vec<_> =
                    tags.iter().map(|tag| Name::tag(tag.as_bytes()).slots()).collect();
                journal.record(&names, hard);
            }
            What::Everything => journal.record_everything(hard),
        }
        self.cache.listener.tell(&Event::Invalidated { hard });
        Invalidated { local: true, journal: Recorded::None }
    }
}

impl fmt::Debug for Invalidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invalidator").field("journal", &self.cache.journal).finish()
    }
}
