//! How a record becomes bytes for a remote store, and what is made of the bytes that come back. Pure.
//!
//! Numbers are big-endian; a *run* is its length in four bytes and then its bytes; times are
//! milliseconds, by the wall clock since 1970.
//!
//! | bytes | what |
//! |---|---|
//! | 3 | `swl` |
//! | 1 | the version of the layout, 1 |
//! | 8 | XXH3 of all that follows |
//! | run | the full key |
//! | 1 | 0: an answer; 1: how the answers of a key vary |
//! | | for an answer: see `entry` below, field by field, the body last |
//! | | for variants: until when they are of use; the sets of field names; the keys that are known |
//!
//! The version is part of the hash that names a record in the store as well, so that two versions of this
//! crate can share a store during a rolling deployment: neither sees what the other keeps.
//!
//! Nothing that is read is trusted before its checksum is right, and nothing after it without being
//! checked: what is not as it should be is [`Unreadable`], which counts as a miss.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{AGE, CONTENT_ENCODING},
};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Entry, Head, Key, MAX_KEY, Record, Sharing, Unreadable, Variants,
    bytes::{Damaged, Reader, Writer},
};
use crate::{
    journal::{Fence, Names as InvalidatedBy},
    marks::{Served, Source},
    rfc9111::{
        State,
        cache_status::{CACHE_STATUS, Member},
        freshness::Lifetime,
        incomplete::Part,
        stale::Demand,
        vary::Names,
    },
};

const MAGIC: &[u8; 3] = b"swl";
/// The magic, the version, the checksum.
pub(super) const PREFIX: usize = 12;
const VERSION: u8 = 1;

/// What is at least as far in the future as this was written by a clock that disagrees with ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

/// More names of any kind than this no entry has.
const MOST_NAMES: usize = 1024;
const MOST_FIELDS: usize = 1024;

/// LZ4 makes no more than this of a byte.
const MOST_EXPANSION: usize = 255;

impl From<Damaged> for Unreadable {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

impl Record {
    /// The record as bytes for a remote store; `None`: it is not to be kept there.
    ///
    /// A store of your own hands them back to [`from_bytes`](Self::from_bytes), under the same key, in this
    /// process or another. Keep them for [`time_to_live`](Self::time_to_live) at the most, and under
    /// [`Key::name`]: then versions of this crate with different layouts can share a store.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// use seawall::{BoxError, store::{Key, Record, Store}};
    /// use std::{collections::HashMap, sync::Mutex};
    ///
    /// /// Stands for a server far away.
    /// #[derive(Default)]
    /// struct Far(Mutex<HashMap<String, Bytes>>);
    ///
    /// impl Store for Far {
    ///     async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
    ///         let found = self.0.lock().unwrap().get(&key.name()).cloned();
    ///         Ok(found.map(|bytes| Record::from_bytes(key, bytes)).transpose()?)
    ///     }
    ///
    ///     async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
    ///         if let Some(bytes) = record.to_bytes(&key) {
    ///             self.0.lock().unwrap().insert(key.name(), bytes);
    ///         }
    ///         Ok(())
    ///     }
    ///
    ///     async fn remove(&self, key: &Key) -> Result<(), BoxError> {
    ///         self.0.lock().unwrap().remove(&key.name());
    ///         Ok(())
    ///     }
    /// }
    /// # use http::{Request, Response};
    /// # use http_body_util::{BodyExt, Empty, Full};
    /// # use seawall::CacheLayer;
    /// # use tower::{Layer, ServiceExt, service_fn};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
    /// #     Response::builder().header("cache-control", "max-age=60").body(Full::<Bytes>::from("once"))
    /// # });
    /// # let service = CacheLayer::new(Far::default()).layer(origin);
    /// # for said in ["seawall; fwd=uri-miss; fwd-status=200; stored", "seawall; hit"] {
    /// #     let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
    /// #     let response = service.clone().oneshot(request).await?;
    /// #     assert_eq!(response.headers()["cache-status"], said);
    /// #     assert_eq!(response.into_body().collect().await?.to_bytes(), "once");
    /// # }
    /// # Ok(()) }
    /// ```
    pub fn to_bytes(&self, key: &Key) -> Option<Bytes> {
        Layout::default().write(key, self, Clocks::read())
    }

    /// The record that these bytes are. Nothing of them is trusted, and what is made of them is hardly larger
    /// than they are, or 255 times where a body is compressed.
    ///
    /// # Errors
    /// [`Unreadable`], which a store hands on: it counts as a miss.
    pub fn from_bytes(key: &Key, bytes: Bytes) -> Result<Self, Unreadable> {
        Layout::default().read(key, bytes, Clocks::read())
    }
}

impl Key {
    /// A name for a remote store: 64 hexadecimal digits, of 256 bits that no two keys have in common.
    pub fn name(&self) -> String {
        let hash = Layout::default().hash(self);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The two clocks, read together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(crate) now: Instant,
    pub(crate) wall: SystemTime,
}

impl Clocks {
    pub(crate) fn read() -> Self {
        Self { now: Instant::now(), wall: SystemTime::now() }
    }

    fn wall_of(self, instant: Instant) -> u64 {
        let wall = match instant.checked_duration_since(self.now) {
            Some(ahead) => self.wall.checked_add(ahead),
            None => self.wall.checked_sub(self.now - instant),
        };
        let since = wall.and_then(|wall| wall.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, millis)
    }

    /// How long ago that was; `None` for what is in the future.
    fn since(self, wall: u64) -> Option<Duration> {
        let now = self.wall.duration_since(UNIX_EPOCH).map_or(0, millis);
        match now.checked_sub(wall) {
            Some(since) => Some(Duration::from_millis(since)),
            None if u128::from(wall - now) < CLOCKS_DIFFER.as_millis() => Some(Duration::ZERO),
            None => None,
        }
    }

    /// The instant that long ago, or the earliest that there is.
    fn before(self, past: Duration) -> Instant {
        static EARLIEST: LazyLock<Instant> = LazyLock::new(Instant::now);
        self.now.checked_sub(past).unwrap_or_else(|| (*EARLIEST).min(self.now))
    }

    fn until(self, wall: u64) -> Instant {
        const LONGEST: u64 = 366 * 24 * 60 * 60 * 1000;
        let now = self.wall.duration_since(UNIX_EPOCH).map_or(0, millis);
        self.now + Duration::from_millis(wall.saturating_sub(now).min(LONGEST))
    }
}

/// The layout that is written, and the only one that is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    version: u8,
    /// Bodies of more bytes are compressed.
    compress_above: Option<usize>,
}

impl Default for Layout {
    fn default() -> Self {
        Self { version: VERSION, compress_above: None }
    }
}

impl Layout {
    pub(crate) fn compress_above(&mut self, bytes: usize) {
        self.compress_above = Some(bytes);
    }

    /// The 256 bits that name a record in a store: nobody finds two keys that have them in common, and two
    /// layouts have none in common.
    pub(crate) fn hash(self, key: &Key) -> [u8; 32] {
        static CURRENT: LazyLock<[u8; 32]> = LazyLock::new(|| salt(VERSION));
        let salt = if self.version == VERSION { *CURRENT } else { salt(self.version) };
        *blake3::keyed_hash(&salt, key.as_bytes()).as_bytes()
    }

    /// `None`: it is not to be kept.
    pub(crate) fn write(self, key: &Key, record: &Record, clocks: Clocks) -> Option<Bytes> {
        let room = match record {
            Record::Entry(entry) => entry.body.len() + 1024,
            Record::Variants(_) => 1024,
        };
        let mut out = Writer(Vec::with_capacity(room));
        out.raw(MAGIC);
        out.u8(self.version);
        out.u64(0);
        out.run(key.as_bytes());
        match record {
            Record::Entry(entry) => {
                out.u8(0);
                self.write_entry(&mut out, entry, clocks)?;
            }
            Record::Variants(variants) => {
                out.u8(1);
                write_variants(&mut out, variants, clocks)?;
            }
        }
        let mut bytes = out.0;
        let sum = xxh3_64(&bytes[PREFIX..]).to_be_bytes();
        bytes[4..PREFIX].copy_from_slice(&sum);
        Some(Bytes::from(bytes))
    }

    /// What was [written](Self::write) under `key`. The record shares `bytes`.
    pub(crate) fn read(
        self,
        key: &Key,
        bytes: Bytes,
        clocks: Clocks,
    ) -> Result<Record, Unreadable> {
        let Some((&[a, b, c, version, ref sum @ ..], rest)) = bytes.split_first_chunk::<PREFIX>()
        else {
            return Err(Unreadable::NotARecord);
        };
        if [a, b, c] != *MAGIC {
            return Err(Unreadable::NotARecord);
        }
        if version != self.version {
            return Err(Unreadable::Version(version));
        }
        if xxh3_64(rest).to_be_bytes() != *sum {
            return Err(Unreadable::Damaged);
        }
        let mut from = Reader(bytes.slice(PREFIX..));
        if from.run()? != key.as_bytes() {
            return Err(Unreadable::OtherKey);
        }
        let record = match from.u8()? {
            0 => Record::Entry(read_entry(&mut from, key, clocks)?),
            1 => Record::Variants(Arc::new(read_variants(&mut from, clocks)?)),
            _ => return Err(Unreadable::Damaged),
        };
        if from.0.is_empty() { Ok(record) } else { Err(Unreadable::Damaged) }
    }

    fn write_entry(self, out: &mut Writer, entry: &Entry, clocks: Clocks) -> Option<()> {
        let head = &*entry.head;
        let Sharing::Stored(lifetime) = &head.sharing else { return None };
        out.run(head.names.said());
        out.u64(clocks.wall_of(head.born));
        out.u64(millis(head.born.saturating_duration_since(head.asked)));
        out.u64(clocks.wall_of(entry.until));
        out.u64(u64::try_from(entry.cost.as_micros()).unwrap_or(u64::MAX));
        write_lifetime(out, lifetime);
        let (process, number) = head.fence.parts();
        out.u128(process);
        out.u64(number);
        out.u16(head.status.as_u16());
        out.u16(head.counts_as.as_u16());
        out.u8(number_of(head.version));
        out.u8(u8::from(head.proven));
        out.u8(match head.from_below.map(|below| below.source()) {
            None => 0,
            Some(Source::Origin) => 1,
            Some(Source::Storage) => 2,
            Some(Source::Stale) => 3,
        });
        out.optional(head.length);
        for part in [
            head.part.map(|part| part.first),
            head.part.map(|part| part.last),
            head.part.map(|part| part.total),
        ] {
            out.optional(part);
        }
        out.u8(u8::from(head.vary.is_some()));
        if let Some(names) = &head.vary {
            write_names(out, names)?;
        }
        let ours = |name: &HeaderName| *name == AGE || *name == CACHE_STATUS;
        write_fields(out, head.fields.iter().filter(|(name, _)| !ours(name)))?;
        let below = CACHE_STATUS;
        write_fields(out, head.below.iter().map(|value| (&below, value)))?;
        let trailers = entry.trailers.as_deref();
        out.u8(u8::from(trailers.is_some()));
        if let Some(trailers) = trailers {
            write_fields(out, trailers.iter())?;
        }
        self.write_body(out, entry)
    }

    /// How long the body is, and what is stored of it: itself, or what it compresses to.
    fn write_body(self, out: &mut Writer, entry: &Entry) -> Option<()> {
        let body = &entry.body;
        u32::try_from(body.len()).ok()?;
        let coded = entry.head.fields.contains_key(CONTENT_ENCODING);
        let wanted = self.compress_above.is_some_and(|above| body.len() > above) && !coded;
        let compressed = wanted.then(|| lz4_flex::block::compress(body));
        // What gains little is not worth the work of reading it.
        match compressed.filter(|compressed| compressed.len() < body.len() - body.len() / 8) {
            Some(compressed) => {
                out.optional(Some(body.len() as u64));
                out.run(&compressed);
            }
            None => {
                out.optional(None);
                out.run(body);
            }
        }
        Some(())
    }
}

fn salt(version: u8) -> [u8; 32] {
    blake3::derive_key(&format!("seawall 2026-11 keys of records, layout {version}"), b"")
}

fn write_lifetime(out: &mut Writer, lifetime: &Lifetime) {
    let Lifetime {
        initial_age,
        fresh_for,
        explicit,
        demand,
        stale_while_revalidate,
        stale_if_error,
        for_authorization,
        for_cookies,
    } = lifetime;
    // An age is rounded up and a lifetime down.
    out.u64(millis(*initial_age).saturating_add(1));
    out.u64(millis(*fresh_for));
    out.optional(stale_while_revalidate.map(millis));
    out.optional(stale_if_error.map(millis));
    out.u8(match demand {
        Demand::None => 0,
        Demand::WhenStale => 1,
        Demand::Always => 2,
    });
    for flag in [*explicit, *for_authorization, *for_cookies] {
        out.u8(u8::from(flag));
    }
}

fn read_lifetime(from: &mut Reader) -> Result<Lifetime, Damaged> {
    Ok(Lifetime {
        initial_age: Duration::from_millis(from.u64()?),
        fresh_for: Duration::from_millis(from.u64()?),
        stale_while_revalidate: from.optional()?.map(Duration::from_millis),
        stale_if_error: from.optional()?.map(Duration::from_millis),
        demand: match from.u8()? {
            0 => Demand::None,
            1 => Demand::WhenStale,
            2 => Demand::Always,
            _ => return Err(Damaged),
        },
        explicit: flag(from)?,
        for_authorization: flag(from)?,
        for_cookies: flag(from)?,
    })
}

fn read_entry(from: &mut Reader, key: &Key, clocks: Clocks) -> Result<Entry, Unreadable> {
    let names = InvalidatedBy::read(&from.run()?, MOST_NAMES).ok_or(Damaged)?;
    let resident = clocks.since(from.u64()?).ok_or(Unreadable::FromTheFuture)?;
    let asked = resident.saturating_add(Duration::from_millis(from.u64()?));
    let until = clocks.until(from.u64()?);
    let cost = Duration::from_micros(from.u64()?);
    let mut lifetime = read_lifetime(from)?;
    let born = clocks.now.checked_sub(resident).unwrap_or_else(|| {
        // This machine is not up for as long: its age is what counts.
        lifetime.initial_age = lifetime.current_age(resident);
        clocks.now
    });
    let fence = Fence::of_parts(from.u128()?, from.u64()?);
    let status = StatusCode::from_u16(from.u16()?).map_err(|_| Damaged)?;
    let counts_as = StatusCode::from_u16(from.u16()?).map_err(|_| Damaged)?;
    let version = version_of(from.u8()?)?;
    let proven = flag(from)?;
    let source = match from.u8()? {
        0 => None,
        1 => Some(Source::Origin),
        2 => Some(Source::Storage),
        3 => Some(Source::Stale),
        _ => return Err(Unreadable::Damaged),
    };
    let length = from.optional()?;
    let part = match (from.optional()?, from.optional()?, from.optional()?) {
        (None, None, None) => None,
        (Some(first), Some(last), Some(total)) if first <= last && last < total => {
            Some(Part { first, last, total })
        }
        _ => return Err(Unreadable::Damaged),
    };
    let vary = if flag(from)? { Some(read_names(from)?) } else { None };
    let mut fields = read_fields(from, 2)?;
    let below = read_fields(from, 0)?.remove(CACHE_STATUS);
    fields.insert(AGE, HeaderValue::from_static("0"));
    fields.insert(CACHE_STATUS, Member::hit().after(below.as_ref()));
    let trailers = if flag(from)? { Some(Arc::new(read_fields(from, 0)?)) } else { None };
    let body = read_body(from)?;
    let head = Head {
        key: key.clone(),
        status,
        counts_as,
        version,
        state: State::of(&fields),
        fields,
        below,
        vary,
        sharing: Sharing::Stored(lifetime),
        born,
        length,
        part,
        proven,
        asked: clocks.before(asked),
        fence,
        names,
        spread: fastrand::f32(),
        from_below: source.map(|source| Served::new(source, None)),
    };
    Ok(Entry { head: Arc::new(head), body, trailers, cost, until, far: None })
}

fn read_body(from: &mut Reader) -> Result<Bytes, Damaged> {
    let length = from.optional()?;
    let stored = from.run()?;
    let Some(length) = length else { return Ok(stored) };
    let length = usize::try_from(length).map_err(|_| Damaged)?;
    if length > stored.len().saturating_mul(MOST_EXPANSION) {
        return Err(Damaged);
    }
    let body = lz4_flex::block::decompress(&stored, length).map_err(|_| Damaged)?;
    if body.len() == length { Ok(Bytes::from(body)) } else { Err(Damaged) }
}

fn write_variants(out: &mut Writer, variants: &Variants, clocks: Clocks) -> Option<()> {
    out.u64(clocks.wall_of(variants.until()));
    out.u16(u16::try_from(variants.sets().len()).ok()?);
    for names in variants.sets() {
        write_names(out, names)?;
    }
    out.u16(u16::try_from(variants.known().len()).ok()?);
    for key in variants.known() {
        out.run(key.as_bytes());
    }
    Some(())
}

fn read_variants(from: &mut Reader, clocks: Clocks) -> Result<Variants, Damaged> {
    let until = clocks.until(from.u64()?);
    let sets = (0..from.count(2)?).map(|_| read_names(from)).collect::<Result<Vec<_>, _>>()?;
    let known = (0..from.count(4)?).map(|_| match from.run()? {
        key if key.len() <= MAX_KEY => Ok(Key::from(&*key)),
        _ => Err(Damaged),
    });
    let known = known.collect::<Result<Vec<_>, _>>()?;
    Ok(Variants::of(sets, known, until))
}

fn write_names(out: &mut Writer, names: &Names) -> Option<()> {
    out.u16(u16::try_from(names.len()).ok()?);
    for name in names.iter() {
        out.run(name.as_str().as_bytes());
    }
    Some(())
}

fn read_names(from: &mut Reader) -> Result<Names, Damaged> {
    let names =
        (0..from.count(5)?).map(|_| HeaderName::from_bytes(&from.run()?).map_err(|_| Damaged));
    names.collect()
}

fn write_fields<'a>(
    out: &mut Writer,
    fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Option<()> {
    let at = out.0.len();
    let mut count = 0_u16;
    out.u16(count);
    for (name, value) in fields {
        out.run(name.as_str().as_bytes());
        out.u8(u8::from(value.is_sensitive()));
        out.run(value.as_bytes());
        count += 1;
        if usize::from(count) > MOST_FIELDS {
            return None;
        }
    }
    out.0[at..at + 2].copy_from_slice(&count.to_be_bytes());
    Some(())
}

/// Fields, and room for some more.
fn read_fields(from: &mut Reader, more: usize) -> Result<HeaderMap, Damaged> {
    let count = from.count(9)?;
    if count > MOST_FIELDS {
        return Err(Damaged);
    }
    let mut fields = HeaderMap::with_capacity(if count == 0 { 0 } else { count + more });
    for _ in 0..count {
        let name = HeaderName::from_bytes(&from.run()?).map_err(|_| Damaged)?;
        let sensitive = flag(from)?;
        let mut value = HeaderValue::from_maybe_shared(from.run()?).map_err(|_| Damaged)?;
        value.set_sensitive(sensitive);
        fields.append(name, value);
    }
    Ok(fields)
}

fn flag(from: &mut Reader) -> Result<bool, Damaged> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Damaged),
    }
}

fn number_of(version: Version) -> u8 {
    match version {
        Version::HTTP_09 => 9,
        Version::HTTP_10 => 10,
        Version::HTTP_2 => 20,
        Version::HTTP_3 => 30,
        _ => 11,
    }
}

fn version_of(number: u8) -> Result<Version, Damaged> {
    match number {
        9 => Ok(Version::HTTP_09),
        10 => Ok(Version::HTTP_10),
        11 => Ok(Version::HTTP_11),
        20 => Ok(Version::HTTP_2),
        30 => Ok(Version::HTTP_3),
        _ => Err(Damaged),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
