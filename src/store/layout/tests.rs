//! What the tests of the layout share: clocks that stand still, entries, checksums made right again.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header::AGE};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::{
    journal::{Fence, Name, Names as InvalidatedBy},
    marks::Served,
    rfc9111::{
        State,
        cache_status::{CACHE_STATUS, Member},
        freshness::Lifetime,
        stale::Demand,
    },
    store::{Entry, Head, Sharing},
};

mod golden;
mod hostile;
mod round_trip;
mod times;

/// 2026-09-21 15:46:40, to the millisecond.
const WALL: u64 = 1_790_005_600_000;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn clocks() -> Clocks {
    Clocks { now: Instant::now(), wall: UNIX_EPOCH + ms(WALL) }
}

fn key() -> Key {
    Key::from(&b"\0GET\0\x0bexample.com\0\x01/"[..])
}

/// The journal of this process, that far.
fn fence(number: u64) -> Fence {
    Fence::of_parts(Fence::default().parts().0, number)
}

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        fields.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    fields
}

fn names(tags: &[&str]) -> InvalidatedBy {
    let mut names = InvalidatedBy::default();
    names.push(&Name::key(&key()), true);
    names.push(&Name::uri(b"example.com", &"/".parse().expect("a URI")), true);
    for tag in tags {
        names.push(&Name::tag(tag.as_bytes()), true);
    }
    names
}

/// A 200 with these fields, stored a second ago and fresh for a minute.
fn entry(clocks: Clocks, lines: &[(&str, &str)], body: &'static str) -> Entry {
    let fields = with_ours(fields(lines), None);
    let lifetime = Lifetime {
        initial_age: Duration::ZERO,
        fresh_for: ms(60_000),
        explicit: true,
        demand: Demand::None,
        stale_while_revalidate: None,
        stale_if_error: None,
        for_authorization: false,
        for_cookies: false,
    };
    let born = clocks.now - ms(1_000);
    let head = Head {
        key: key(),
        status: StatusCode::OK,
        counts_as: StatusCode::OK,
        version: Version::HTTP_11,
        state: State::of(&fields),
        fields,
        below: None,
        vary: None,
        sharing: Sharing::Stored(lifetime),
        born,
        length: Some(body.len() as u64),
        part: None,
        proven: true,
        asked: born - ms(20),
        fence: fence(3),
        names: names(&[]),
        spread: 0.5,
        from_below: None,
    };
    Entry {
        head: Arc::new(head),
        body: Bytes::from_static(body.as_bytes()),
        trailers: None,
        cost: ms(20),
        until: clocks.now + ms(3_600_000),
        far: None,
    }
}

/// What a hit sends, in the place that it is kept in.
fn with_ours(mut fields: HeaderMap, below: Option<&HeaderValue>) -> HeaderMap {
    fields.insert(AGE, HeaderValue::from_static("0"));
    fields.insert(CACHE_STATUS, Member::hit().after(below));
    fields
}

fn changed(mut entry: Entry, change: impl FnOnce(&mut Head)) -> Entry {
    let mut head = Head::clone(&entry.head);
    change(&mut head);
    head.state = State::of(&head.fields);
    entry.head = Arc::new(head);
    entry
}

fn lifetime_of(head: &mut Head) -> &mut Lifetime {
    match &mut head.sharing {
        Sharing::Stored(lifetime) => lifetime,
        Sharing::InFlight { .. } => panic!("it is stored"),
    }
}

fn written(entry: Entry, clocks: Clocks) -> Bytes {
    let key = entry.head.key.clone();
    Layout::default().write(&key, &Record::Entry(entry), clocks).expect("it is to be kept")
}

fn read(bytes: impl Into<Bytes>, clocks: Clocks) -> Result<Record, Unreadable> {
    Layout::default().read(&key(), &bytes.into(), clocks)
}

fn read_entry(bytes: impl Into<Bytes>, clocks: Clocks) -> Entry {
    read(bytes, clocks).expect("a record").into_entry().expect("an entry")
}

/// With the checksum of what is there now.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = xxh3_64(&bytes[PREFIX..]).to_be_bytes();
    bytes[4..PREFIX].copy_from_slice(&sum);
    bytes
}

/// All of two entries but what each process draws for itself, and what only this one knows.
fn assert_same(one: &Entry, other: &Entry, clocks: Clocks) {
    let in_order = |fields: &HeaderMap| {
        let one = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.clone(), value.clone(), value.is_sensitive())
        };
        let mut all: Vec<_> = fields.iter().map(one).collect();
        // The lines of one name keep their order, the names have none.
        all.sort_by_key(|(name, ..)| name.to_string());
        all
    };
    let Head {
        key,
        status,
        counts_as,
        version,
        fields,
        below,
        vary,
        sharing,
        born,
        state,
        length,
        part,
        proven,
        asked,
        fence,
        names,
        spread: _,
        from_below,
    } = &*one.head;
    let head = &*other.head;
    assert_eq!(key, &head.key);
    assert_eq!((status, counts_as), (&head.status, &head.counts_as));
    assert_eq!(version, &head.version);
    assert_eq!(in_order(fields), in_order(&head.fields));
    assert_eq!(below, &head.below);
    assert_eq!(vary, &head.vary);
    assert_eq!(sharing, &head.sharing);
    assert_eq!(state, &head.state);
    assert_eq!((length, part, proven), (&head.length, &head.part, &head.proven));
    let ago = |instant: Instant| clocks.now.saturating_duration_since(instant);
    assert_eq!((ago(*born), ago(*asked)), (ago(head.born), ago(head.asked)));
    assert_eq!(fence, &head.fence);
    assert_eq!(names, &head.names);
    assert_eq!(from_below.map(|below| below.source()), head.from_below.map(|below| below.source()));
    assert_eq!(head.from_below.and_then(|below: Served| below.fence()), None);
    let Entry { head: _, body, trailers, cost, until, far: _ } = one;
    assert_eq!(body, &other.body);
    assert_eq!(trailers.as_deref().map(in_order), other.trailers.as_deref().map(in_order));
    assert_eq!(cost, &other.cost);
    assert_eq!(
        until.saturating_duration_since(clocks.now),
        other.until.saturating_duration_since(clocks.now)
    );
}
