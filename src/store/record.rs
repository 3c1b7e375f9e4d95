//! What is kept: entries, and which variants a key has.

use std::{fmt, mem, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{AGE, CACHE_CONTROL},
};
use tokio::time::Instant;

use super::{Key, Variants};
use crate::{
    journal::{Fence, Names as InvalidatedBy},
    marks::{Served, Source},
    rfc9111::{
        State,
        cache_status::{self, CACHE_STATUS, Member},
        freshness::Lifetime,
        incomplete::Part,
        vary::Names,
    },
};

/// What a [`Store`](super::Store) keeps under a key. Cloning it is cheap: heads and bodies are shared.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{BodyExt, Empty, Full};
/// # use seawall::{BoxError, Cache, CacheLayer, store::{Figures, Key, Memory, Record, Store}};
/// # use tower::{Layer, ServiceExt, service_fn};
/// /// Leaves what is heavy to the origin.
/// struct Light(Memory);
///
/// impl Store for Light {
///     async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
///         if record.weight() > 64 * 1024 {
///             return self.0.remove(&key).await; // and not what was there before
///         }
///         self.0.put(key, record).await
///     }
///     // The rest is Memory's.
/// #   async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> { self.0.get(key).await }
/// #   async fn remove(&self, key: &Key) -> Result<(), BoxError> { self.0.remove(key).await }
/// #   fn figures(&self) -> Figures { self.0.figures() }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|request: Request<Empty<Bytes>>| async move {
/// #     let body = "x".repeat(if request.uri().path() == "/large" { 100_000 } else { 1 });
/// #     Response::builder().header("cache-control", "max-age=60").body(Full::<Bytes>::from(body))
/// # });
/// # let cache = Cache::new(Light(Memory::default()));
/// # let service = CacheLayer::new(cache.clone()).layer(origin);
/// # for uri in ["http://example.com/large", "http://example.com/small"] {
/// #     let request = Request::get(uri).body(Empty::<Bytes>::new())?;
/// #     service.clone().oneshot(request).await?.into_body().collect().await?;
/// # }
/// # assert_eq!(cache.figures().records, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Record {
    /// An answer.
    Entry(Entry),
    /// The answers of this key vary, and are kept under keys of their own (RFC 9111 §4.1).
    Variants(Arc<Variants>),
}

impl Record {
    pub(crate) fn into_entry(self) -> Option<Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Variants(_) => None,
        }
    }

    /// For how long it may be of any use: a store need not keep it longer.
    pub fn time_to_live(&self) -> Duration {
        let until = match self {
            Self::Entry(entry) => entry.until,
            Self::Variants(variants) => variants.until(),
        };
        until.saturating_duration_since(Instant::now())
    }

    /// What it takes in memory, in bytes, its key left aside.
    pub fn weight(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.weight(),
            Self::Variants(variants) => variants.weight(),
        }
    }
}

/// A stored answer: its head with all that was learned from it, its body in one piece, its trailers.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{BodyExt, Empty, Full};
/// # use seawall::{BoxError, CacheLayer, store::{Key, Record, Store}};
/// # use std::sync::{Arc, Mutex};
/// # use tower::{Layer, ServiceExt, service_fn};
/// fn line(record: &Record) -> String {
///     match record {
///         Record::Entry(entry) => format!("{}, {} bytes", entry.status(), entry.body().len()),
///         _ => "how the answers of a key vary".to_owned(),
///     }
/// }
/// # #[derive(Clone, Default)]
/// # struct Lines(Arc<Mutex<Vec<String>>>);
/// # impl Store for Lines {
/// #     async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> { Ok(None) }
/// #     async fn put(&self, _: Key, record: Record) -> Result<(), BoxError> {
/// #         self.0.lock().unwrap().push(line(&record));
/// #         Ok(())
/// #     }
/// #     async fn remove(&self, _: &Key) -> Result<(), BoxError> { Ok(()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     let answer = Response::builder().header("cache-control", "max-age=60");
/// #     answer.header("vary", "accept").body(Full::<Bytes>::from("once"))
/// # });
/// # let lines = Lines::default();
/// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
/// # let service = CacheLayer::new(lines.clone()).layer(origin);
/// # service.oneshot(request).await?.into_body().collect().await?;
/// # let said = ["200 OK, 4 bytes", "how the answers of a key vary"];
/// # assert_eq!(*lines.0.lock().unwrap(), said);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Entry {
    pub(crate) head: Arc<Head>,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<Arc<HeaderMap>>,
    /// How long its last fetch took.
    pub(crate) cost: Duration,
    /// How long it is of any use.
    pub(crate) until: Instant,
    /// Until when what lies in a store further away is fresh, if it is known.
    pub(crate) far: Option<Instant>,
}

impl Entry {
    /// The full key.
    pub fn key(&self) -> &Key {
        &self.head.key
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// How long it has been here.
    pub(crate) fn resident(&self, now: Instant) -> Duration {
        self.head.resident(now)
    }

    /// By its `Date`, which counts among variants (RFC 9111 §4.1); where these are the same, by when it
    /// came.
    pub(crate) fn is_older_than(&self, other: &Self) -> bool {
        let (own, others) = (&*self.head, &*other.head);
        (own.state.date(), own.born) < (others.state.date(), others.born)
    }

    fn weight(&self) -> u64 {
        let trailers = self.trailers.as_deref().map_or(0, weight_of);
        let names = self.head.names.weight();
        let fields = weight_of(&self.head.fields) + self.head.state.weight();
        let head = mem::size_of::<Head>() + fields + names;
        (head + self.body.len() + trailers) as u64
    }
}

/// The head of an answer, and what was learned from it once, so that no later decision parses it.
#[derive(Clone)]
pub(crate) struct Head {
    /// The full key, the variant included.
    pub(crate) key: Key,
    pub(crate) status: StatusCode,
    /// The status that it is treated like: of a gRPC answer, what it stands for.
    pub(crate) counts_as: StatusCode,
    pub(crate) version: Version,
    /// As they are sent on a hit: `Age` has its place, `Cache-Status` its value.
    pub(crate) fields: HeaderMap,
    /// What caches below said in `Cache-Status`.
    pub(crate) below: Option<HeaderValue>,
    /// The fields that `Vary` names.
    pub(crate) vary: Option<Names>,
    pub(crate) sharing: Sharing,
    /// When it arrived, or was last validated.
    pub(crate) born: Instant,
    /// What conditions are judged by.
    pub(crate) state: State,
    /// The length of the body, where the head knew it.
    pub(crate) length: Option<u64>,
    /// Which bytes of the whole a 206 has.
    pub(crate) part: Option<Part>,
    /// Whether the end of its body was seen, and not merely the end of its connection.
    pub(crate) proven: bool,
    /// When it was asked for, or last validated: of two, the later one stays.
    pub(crate) asked: Instant,
    /// How far the journal had come when its fetch began.
    pub(crate) fence: Fence,
    /// What it is invalidated by: its key, its URI, its tags, its groups.
    pub(crate) names: InvalidatedBy,
    /// Within 0 and 1, and its own: by how much it is refreshed before others of its lifetime.
    pub(crate) spread: f32,
    /// What a cache below said of where it came from.
    pub(crate) from_below: Option<Served>,
}

/// With whom an answer may be shared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sharing {
    /// It may be kept: whoever may be answered from storage may follow it.
    Stored(Lifetime),
    /// It may not be kept, but nothing forbids that those who asked at the same time share it.
    InFlight {
        /// Its own request had `Authorization` or `Cookie`.
        credentials: bool,
        /// Its own request had fields that origins reflect and no key has.
        unkeyed: bool,
    },
}

impl Sharing {
    /// The same of an answer that has just been made.
    pub(crate) fn without_age(&self) -> Self {
        match self {
            Self::Stored(lifetime) => {
                Self::Stored(Lifetime { initial_age: Duration::ZERO, ..*lifetime })
            }
            in_flight @ Self::InFlight { .. } => *in_flight,
        }
    }

    /// With nobody.
    pub(crate) const OWN: Self = Self::InFlight { credentials: true, unkeyed: true };
}

impl Head {
    /// Copies `fields` into exact allocations and, for what is `kept`, makes room for what a hit
    /// sets. Also returns what caches below said in `Cache-Status`.
    pub(crate) fn fields<'a>(
        fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        kept: bool,
    ) -> (HeaderMap, Option<HeaderValue>) {
        let mut below = HeaderMap::new();
        let mut copied = Vec::with_capacity(16);
        for (name, value) in fields {
            if kept && *name == CACHE_STATUS {
                below.append(CACHE_STATUS, value.clone());
            } else if !kept || *name != AGE {
                copied.push((name, value));
            }
        }
        let below = cache_status::joined(&below);
        let mut compact = compacted(&copied, 2);
        if kept {
            compact.insert(AGE, HeaderValue::from_static("0"));
            compact.insert(CACHE_STATUS, Member::hit().after(below.as_ref()));
        }
        (compact, below)
    }

    /// How long it has been here.
    pub(crate) fn resident(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }

    /// Whether a cache below gave it stale.
    pub(crate) fn is_stale_below(&self) -> bool {
        self.from_below.is_some_and(|below| below.source() == Source::Stale)
    }

    pub(crate) fn lifetime(&self) -> Option<&Lifetime> {
        match &self.sharing {
            Sharing::Stored(lifetime) => Some(lifetime),
            Sharing::InFlight { .. } => None,
        }
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("status", &self.status)
            .field("cache_control", &self.fields.get(CACHE_CONTROL))
            .field("sharing", &self.sharing)
            .finish_non_exhaustive()
    }
}

/// A copy of `fields` whose values lie in one allocation of just their size.
///
/// The values of a parsed head are slices of the parser's buffer, which is several times as large.
pub(crate) fn compacted(fields: &[(&HeaderName, &HeaderValue)], room: usize) -> HeaderMap {
    let bytes = fields.iter().map(|(_, value)| value.len()).sum();
    let mut block = BytesMut::with_capacity(bytes);
    for (_, value) in fields {
        block.extend_from_slice(value.as_bytes());
    }
    let mut block = block.freeze();
    let mut map = HeaderMap::with_capacity(fields.len() + room);
    for &(name, value) in fields {
        let copy = HeaderValue::from_maybe_shared(block.split_to(value.len()));
        let mut copy = copy.unwrap_or_else(|_| value.clone());
        copy.set_sensitive(value.is_sensitive());
        map.append(name.clone(), copy);
    }
    map
}

/// What a map takes: its table, its values, the names that are not the standard ones.
fn weight_of(fields: &HeaderMap) -> usize {
    const SLOT: usize = mem::size_of::<HeaderName>() + mem::size_of::<HeaderValue>() + 40;
    fields.capacity() * SLOT
        + fields.iter().map(|(name, value)| value.len() + name.as_str().len()).sum::<usize>()
}
