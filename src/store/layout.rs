//! How a record becomes bytes for a remote store, and what is made of the bytes that come back. Pure.
//!
//! Numbers are big-endian. Times are milliseconds, by the wall clock since 1970, lengths of time as well; a
//! *run* is its length in four bytes and then its bytes; a *flag* is a byte that is 0 or 1, and where
//! something may be missing, it tells whether it follows. A record:
//!
//! | bytes | what |
//! |---|---|
//! | 3 | `swl` |
//! | 1 | the version of the layout, 1 |
//! | 8 | XXH3 (64 bits, without a seed) of all that follows |
//! | run | the full key |
//! | 1 | 0: an answer; 1: how the answers of a key vary; 2: an answer whose body is compressed |
//! | the rest | one of the two tables that follow |
//!
//! An answer:
//!
//! | bytes | what |
//! |---|---|
//! | run | what it is invalidated by: for each name a byte (0 key, 1 URI, 2 tag, 3 group) and a run |
//! | 8 | when it arrived, or was last validated |
//! | 8 | how long before that it was asked for |
//! | 8 | until when it is of any use |
//! | 8 | how long its last fetch took, in microseconds |
//! | 8 | its age when it arrived, rounded up |
//! | 8 | how long it is fresh, rounded down |
//! | flag, 8 | its `stale-while-revalidate` |
//! | flag, 8 | its `stale-if-error` |
//! | 1 | when it demands validation: 0 never, 1 once it is stale, 2 always |
//! | flag | whether it said itself how long it is fresh |
//! | flag | whether it may answer a request with `Authorization` |
//! | flag | whether it may answer a request with `Cookie` |
//! | 16, 8 | which process fetched it, and how far the journal there had come |
//! | 2 | its status |
//! | 2 | the status that it is treated like |
//! | 1 | its version of HTTP: 9, 10, 11, 20, 30 |
//! | flag | whether its head told the length of its body |
//! | flag | whether the end of its body was seen |
//! | 1 | where a cache below had it from: 0 none did, 1 the origin, 2 storage, 3 storage, stale |
//! | flag, 8, 8, 8 | of a 206, its first and its last byte and the length of the whole |
//! | flag, 2, runs | how many fields `Vary` names, and their names |
//! | 2, fields | how many fields it has, and each: its name, a run; a flag: sensitive; its value, a run |
//! | flag, flag, run | the `Cache-Status` of caches below: sensitive; its value |
//! | flag, 2, fields | its trailers, as its fields |
//! | 8 | how long the body is, where it is compressed |
//! | run | the body, or a block of LZ4 |
//!
//! How the answers of a key vary:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | until when that is of any use |
//! | 2, sets | how many sets of fields tell variants apart, and each: how many in two bytes, their names, runs |
//! | 2, runs | how many variants are known, and their full keys |
//!
//! The version is part of the hash that names a record in the store as well, so that two versions of this
//! crate can share a store during a rolling deployment: neither sees what the other keeps. What any version
//! wrote stays as it is for ever: `tests/layout` has bytes of each.
//!
//! Nothing that is read is trusted before its checksum is right, which is against accidents; and nothing
//! after it, which anybody can compute, without being checked. What is not as it should be is
//! [`Unreadable`], which counts as a miss.

mod clocks;
mod entry;
mod fields;
#[cfg(test)]
mod tests;
mod variants;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

pub(crate) use self::clocks::Clocks;
use self::{
    entry::{Coding, compressed, read_entry, write_entry},
    variants::{read_variants, write_variants},
};
use super::{
    Key, Record, Unreadable,
    bytes::{Damaged, Reader, Writer},
};

const MAGIC: &[u8; 3] = b"swl";
/// The magic, the version, the checksum.
const PREFIX: usize = 12;
const VERSION: u8 = 1;

// What a record is, in the byte behind its key.
const ENTRY: u8 = 0;
const VARIANTS: u8 = 1;
const COMPRESSED: u8 = 2;

impl Record {
    /// The record as bytes for a remote store; `None`: it is not to be kept there, and what is there is to
    /// be removed.
    ///
    /// So it is of what only those share who asked for it at the same time, and of all that a
    /// [`CacheLayer`](crate::CacheLayer) puts into a store that says it is not [remote]: other processes
    /// could not invalidate it.
    ///
    /// [remote]: super::Store::is_remote
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

    /// The record that these bytes are. Nothing of them is trusted: what is made of them is hardly larger
    /// than they are, or 64 MiB where a body is compressed, and shares them otherwise.
    ///
    /// # Errors
    /// [`Unreadable`], which a store hands on: it counts as a miss.
    #[allow(clippy::needless_pass_by_value, reason = "the record shares them")]
    pub fn from_bytes(key: &Key, bytes: Bytes) -> Result<Self, Unreadable> {
        Layout::default().read(key, &bytes, Clocks::read())
    }
}

impl Key {
    /// A name for a remote store: 64 hexadecimal digits, of 256 bits that no two keys have in common.
    pub fn name(&self) -> String {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let hash = Layout::default().hash(self);
        let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from(HEX[usize::from(digit)])).collect()
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
        let compressed = match record {
            Record::Entry(entry) => compressed(entry, self.compress_above),
            Record::Variants(_) => None,
        };
        let body = match record {
            Record::Entry(entry) => compressed.as_ref().map_or(entry.body.len(), Vec::len),
            Record::Variants(_) => 0,
        };
        let mut out = Writer(Vec::with_capacity(body + 1024));
        out.raw(MAGIC);
        out.u8(self.version);
        out.u64(0);
        out.run(key.as_bytes())?;
        match record {
            Record::Entry(entry) => {
                out.u8(if compressed.is_some() { COMPRESSED } else { ENTRY });
                write_entry(&mut out, entry, compressed.as_deref(), clocks)?;
            }
            Record::Variants(variants) => {
                out.u8(VARIANTS);
                write_variants(&mut out, key, variants, clocks)?;
            }
        }
        let mut bytes = out.0;
        let sum = xxh3_64(bytes.get(PREFIX..)?).to_be_bytes();
        bytes.get_mut(4..PREFIX)?.copy_from_slice(&sum);
        Some(Bytes::from(bytes))
    }

    /// What was [written](Self::write) under `key`. The record shares `bytes`.
    pub(crate) fn read(
        self,
        key: &Key,
        bytes: &Bytes,
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
        let mut from = Reader::new(bytes, PREFIX);
        if from.run()? != key.as_bytes() {
            return Err(Unreadable::OtherKey);
        }
        let record = match from.u8()? {
            ENTRY => Record::Entry(read_entry(&mut from, Coding::Plain, key, clocks)?),
            VARIANTS => Record::Variants(Arc::new(read_variants(&mut from, key, clocks)?)),
            COMPRESSED => Record::Entry(read_entry(&mut from, Coding::Lz4, key, clocks)?),
            _ => return Err(Unreadable::Damaged),
        };
        if from.is_at_end() { Ok(record) } else { Err(Unreadable::Damaged) }
    }
}

fn salt(version: u8) -> [u8; 32] {
    blake3::derive_key(&format!("seawall 2026-11 keys of records, layout {version}"), b"")
}

impl From<Damaged> for Unreadable {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}
