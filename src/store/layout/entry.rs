//! An answer as bytes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode, Version,
    header::{AGE, CONTENT_ENCODING},
};

use super::{
    clocks::{Clocks, millis, millis_rounded_up},
    fields::{read_fields, read_names, read_value, write_fields, write_names, write_value},
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
    },
    store::{
        Entry, Head, Key, Sharing, Unreadable,
        bytes::{Damaged, Reader, Writer},
    },
};

/// No entry is invalidated by more names than this.
const MOST_NAMES: usize = 1024;

/// LZ4 makes no more than this of a byte.
const MOST_EXPANSION: usize = 255;

/// No larger body is compressed: who reads it takes the memory for it on trust.
pub(super) const MOST_COMPRESSED: usize = 64 << 20;

/// How a body is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    Lz4,
}

/// What the body compresses to, if that is wanted and gains anything.
pub(super) fn compressed(entry: &Entry, above: Option<usize>) -> Option<Vec<u8>> {
    let body = &entry.body;
    let wanted = above.is_some_and(|above| body.len() > above) && body.len() <= MOST_COMPRESSED;
    if !wanted || entry.head.fields.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let compressed = lz4_flex::block::compress(body);
    // What gains little is not worth the work of reading it.
    (compressed.len() < body.len() - body.len() / 8).then_some(compressed)
}

/// `None`: it is not to be kept.
pub(super) fn write_entry(
    out: &mut Writer,
    entry: &Entry,
    compressed: Option<&[u8]>,
    clocks: Clocks,
) -> Option<()> {
    let head = &*entry.head;
    let lifetime = head.lifetime()?;
    // Names that are not spelled out could not be invalidated by another process.
    let is_named = head.names.is_empty() == head.names.said().is_empty();
    if !is_named || head.names.len() > MOST_NAMES || !is_sound(head, &entry.body) {
        return None;
    }
    out.run(head.names.said())?;
    out.u64(clocks.wall_of(head.born)?);
    out.u64(millis(head.born.saturating_duration_since(head.asked)));
    out.u64(clocks.wall_of(entry.until)?);
    out.u64(u64::try_from(entry.cost.as_micros()).unwrap_or(u64::MAX));
    write_lifetime(out, lifetime);
    let (process, number) = head.fence.parts();
    out.u128(process);
    out.u64(number);
    out.u16(head.status.as_u16());
    out.u16(head.counts_as.as_u16());
    out.u8(number_of(head.version));
    out.flag(head.length.is_some());
    out.flag(head.proven);
    out.u8(match head.from_below.map(|below| below.source()) {
        None => 0,
        Some(Source::Origin) => 1,
        Some(Source::Storage) => 2,
        Some(Source::Stale) => 3,
    });
    out.flag(head.part.is_some());
    if let Some(Part { first, last, total }) = head.part {
        [first, last, total].into_iter().for_each(|position| out.u64(position));
    }
    out.flag(head.vary.is_some());
    if let Some(names) = &head.vary {
        write_names(out, names)?;
    }
    let ours = |name: &HeaderName| *name == AGE || *name == CACHE_STATUS;
    write_fields(out, head.fields.iter().filter(|(name, _)| !ours(name)))?;
    out.flag(head.below.is_some());
    if let Some(below) = &head.below {
        write_value(out, below)?;
    }
    out.flag(entry.trailers.is_some());
    if let Some(trailers) = &entry.trailers {
        write_fields(out, trailers.iter())?;
    }
    if compressed.is_some() {
        out.u64(entry.body.len() as u64);
    }
    out.run(compressed.unwrap_or(&entry.body))
}

pub(super) fn read_entry(
    from: &mut Reader<'_>,
    coding: Coding,
    key: &Key,
    clocks: Clocks,
) -> Result<Entry, Unreadable> {
    if coding == Coding::Lz4 {
        // The fields are not to keep the compressed body in memory beside the other.
        from.copy();
    }
    let names = InvalidatedBy::read(from.run()?, MOST_NAMES).ok_or(Damaged)?;
    let resident = clocks.since(from.u64()?)?;
    let asked = resident.saturating_add(Duration::from_millis(from.u64()?));
    let until = clocks.until(from.u64()?)?;
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
    let has_length = from.flag()?;
    let proven = from.flag()?;
    let source = match from.u8()? {
        0 => None,
        1 => Some(Source::Origin),
        2 => Some(Source::Storage),
        3 => Some(Source::Stale),
        _ => return Err(Unreadable::Damaged),
    };
    let part = if from.flag()? {
        Some(Part { first: from.u64()?, last: from.u64()?, total: from.u64()? })
    } else {
        None
    };
    let vary = if from.flag()? { Some(read_names(from)?) } else { None };
    let mut fields = read_fields(from, 2)?;
    let below = if from.flag()? { Some(read_value(from)?) } else { None };
    fields.insert(AGE, HeaderValue::from_static("0"));
    fields.insert(CACHE_STATUS, Member::hit().after(below.as_ref()));
    let trailers = if from.flag()? { Some(Arc::new(read_fields(from, 0)?)) } else { None };
    let body = match coding {
        Coding::Plain => from.kept()?,
        Coding::Lz4 => decompressed(from)?,
    };
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
        length: has_length.then_some(body.len() as u64),
        part,
        proven,
        asked: clocks.before(asked),
        fence,
        names,
        spread: fastrand::f32(),
        from_below: source.map(|source| Served::new(source, None)),
    };
    if !is_sound(&head, &body) {
        return Err(Unreadable::Damaged);
    }
    Ok(Entry { head: Arc::new(head), body, trailers, cost, until, far: None })
}

/// Whether it is one that is ever stored. To answer from another one is not even tried.
fn is_sound(head: &Head, body: &Bytes) -> bool {
    let is_final = |status: StatusCode| !status.is_informational();
    let is_whole = |part: Part| part.first <= part.last && part.last < part.total;
    is_final(head.status)
        && is_final(head.counts_as)
        && head.status != StatusCode::NOT_MODIFIED
        && head.length.is_none_or(|length| length == body.len() as u64)
        && head.part.is_none_or(|part| {
            head.status == StatusCode::PARTIAL_CONTENT && is_whole(part) && !body.is_empty()
        })
}

fn decompressed(from: &mut Reader<'_>) -> Result<Bytes, Damaged> {
    let length = usize::try_from(from.u64()?).map_err(|_| Damaged)?;
    let stored = from.run()?;
    if length > MOST_COMPRESSED || length > stored.len().saturating_mul(MOST_EXPANSION) {
        return Err(Damaged);
    }
    let body = lz4_flex::block::decompress(stored, length).map_err(|_| Damaged)?;
    if body.len() == length { Ok(Bytes::from(body)) } else { Err(Damaged) }
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
    out.u64(millis_rounded_up(*initial_age));
    out.u64(millis(*fresh_for));
    out.optional(stale_while_revalidate.map(millis));
    out.optional(stale_if_error.map(millis));
    out.u8(match demand {
        Demand::None => 0,
        Demand::WhenStale => 1,
        Demand::Always => 2,
    });
    for flag in [*explicit, *for_authorization, *for_cookies] {
        out.flag(flag);
    }
}

fn read_lifetime(from: &mut Reader<'_>) -> Result<Lifetime, Damaged> {
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
        explicit: from.flag()?,
        for_authorization: from.flag()?,
        for_cookies: from.flag()?,
    })
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
