//! Parts (RFC 9111 §3.3, §3.4): what they answer, how the rest is asked for, how they are put together.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_RANGE, IF_RANGE, RANGE},
    response::Parts,
};
use tokio::time::Instant;

use super::{
    engine::Engine,
    freshening::with,
    storage::{Found, Stored},
};
use crate::{
    coalesce::share::{Ask, Kind, Place},
    rfc9111::{
        State,
        combining::{self, Tail},
        incomplete::{self, Part, Slice},
        range,
        refusal::Refusal,
        reuse::Reuse,
        targeted,
    },
    store::{Entry, Head, Key, Record},
};

/// The class of the flights of requests that go to the origin for one range.
const RANGE_CLASS: u8 = b'R';

/// A part of up to so many bytes grows by however little.
const FREELY_COPIED: u64 = 1 << 20;

/// A longer `Range` or `If-Range` is not worth a flight.
const MOST_BYTES: usize = 256;

impl<K> Engine<K> {
    /// Whether this is a request for one range, which goes to the origin as such where nothing whole is
    /// stored.
    pub(super) fn is_in_part(&self, ask: &Ask, request: &HeaderMap) -> bool {
        let short = |name| request.get(name).is_none_or(|line| line.len() <= MOST_BYTES);
        ask.range
            && !ask.conditional
            && ask.kind == Kind::Get
            && self.place == Place::Cache
            && self.policy.profile().store_partial
            && range::is_single(request)
            && short(RANGE)
            && request.get_all(IF_RANGE).iter().count() <= 1
            && short(IF_RANGE)
    }

    /// The key of the flights of those who ask for the same range; `apart`: of those who have theirs among
    /// themselves.
    pub(super) fn key_of_range(key: &Key, request: &HeaderMap, apart: bool) -> Key {
        let mut bytes = key.as_bytes().to_vec();
        if let Some(first) = bytes.first_mut() {
            *first = RANGE_CLASS;
        }
        bytes.push(u8::from(apart));
        for line in [RANGE, IF_RANGE].map(|name| request.get(name)) {
            bytes.push(u8::from(line.is_some()));
            bytes.extend_from_slice(line.map(|line| line.as_bytes()).unwrap_or_default());
            bytes.push(b'\n');
        }
        Key::from(&*bytes)
    }

    /// What of a stored part answers a request: only where it may be reused, and holds all that is asked.
    pub(super) fn slice(
        &self,
        stored: &Stored,
        ask: &Ask,
        request: &HeaderMap,
        now: Instant,
    ) -> Option<Slice> {
        if !self.is_in_part(ask, request) {
            return None;
        }
        match self.reuse(stored, ask, now) {
            Reuse::Fresh | Reuse::MaxStale(_) => slice_of(&stored.entry, request),
            _ => None,
        }
    }

    /// How the rest of a stored part is asked for, where the whole of it could be kept.
    pub(super) fn tail(&self, entry: &Entry) -> Option<Tail> {
        let part = entry.head.part?;
        let profile = self.policy.profile();
        let tail = combining::tail(profile, &entry.head.fields, part, entry.body.len() as u64);
        tail.filter(|_| part.total <= self.cache.limits.max_body as u64)
    }

    /// Makes of the head of a 206 with the rest of `entry`, of so many bytes as far as that is known, that
    /// of the whole; `false`: it is not that.
    pub(super) fn make_whole(entry: &Entry, parts: &mut Parts, length: Option<u64>) -> bool {
        let whole = combining::combined(&entry.head.fields, &parts.headers);
        let rest = Part::from_fields(&parts.headers);
        let (Some(whole), Some(rest), Some(stored)) = (whole, rest, entry.head.part) else {
            return false;
        };
        // What lies over the stored part would be there twice.
        let fits = whole.is_all()
            && rest.first == stored.last + 1
            && length.is_none_or(|length| length == rest.length());
        let fields = combining::head_of_both(&entry.head.fields, &parts.headers, whole);
        match fields {
            Ok(fields) if fits => {
                (parts.status, parts.headers) = (StatusCode::OK, fields);
                true
            }
            _ => false,
        }
    }

    /// A part with what is stored already; `None`: it is not to be stored.
    pub(super) async fn with_what_is_stored(&self, primary: &Key, entry: Entry) -> Option<Entry> {
        let part = entry.head.part?;
        if part.is_all() && entry.body.len() as u64 == part.length() {
            return Some(whole_of(&entry));
        }
        if !incomplete::agrees(self.policy.profile(), part, entry.body.len() as u64) {
            self.not_stored(Refusal::PartialContent);
            return None;
        }
        let key = entry.key();
        let first = self.record(primary).await;
        // A part takes the place neither of a list of variants nor, where it varies, of an answer that does
        // not.
        let varies = entry.head.vary.is_some();
        if first.as_ref().is_some_and(|first| matches!(first, Record::Variants(_)) != varies) {
            return None;
        }
        let before = if varies { self.record(key).await } else { first };
        let before = match before {
            Some(Record::Entry(before)) if before.key() == key => self.alive(before),
            _ => Found::Nothing,
        };
        match before {
            // The whole is better, also where it has to be validated.
            Found::Entry(_) => None,
            Found::Part(before) => Some(self.grown(&before.entry, part, &entry).unwrap_or(entry)),
            Found::OtherVariants | Found::Nothing => Some(entry),
        }
    }

    /// A stored part with a new one, if they may be one and that is not too much.
    fn grown(&self, before: &Entry, part: Part, entry: &Entry) -> Option<Entry> {
        let stored = before.head.part?;
        let mut both = combining::combined(&before.head.fields, &entry.head.fields)?;
        let are_as_said =
            before.body.len() as u64 == stored.length() && entry.body.len() as u64 == part.length();
        if !are_as_said || both.length() > self.cache.limits.max_body as u64 {
            return None;
        }
        // A few bytes more are not worth a copy of much, unless they are all that was missing.
        let gain = both.length() - stored.length();
        if stored.length() > FREELY_COPIED && gain < stored.length() / 64 && !both.is_all() {
            both = stored;
        }
        let body = if both == stored {
            before.body.clone()
        } else if both == part {
            entry.body.clone()
        } else {
            spliced((stored, &before.body), (part, &entry.body), both)?
        };
        let mut head = Head::clone(&entry.head);
        head.fields = combining::head_of_both(&before.head.fields, &head.fields, both).ok()?;
        for name in &targeted::governing(self.policy.profile(), &head.fields).left_out {
            head.fields.remove(name);
        }
        head.state = State::of(&head.fields);
        if both.is_all() {
            (head.status, head.counts_as) = (StatusCode::OK, StatusCode::OK);
        }
        head.part = (!both.is_all()).then_some(both);
        head.length = Some(both.length());
        // The tag that came has validated the stored bytes, as a 304 would have: its fence counts.
        head.names = with(&before.head.names, &head.names).ok()?;
        Some(Entry { head: Arc::new(head), body, ..entry.clone() })
    }
}

/// A part that has every byte, as the whole that it is.
fn whole_of(entry: &Entry) -> Entry {
    let mut head = Head::clone(&entry.head);
    head.fields.remove(CONTENT_RANGE);
    (head.status, head.counts_as, head.part) = (StatusCode::OK, StatusCode::OK, None);
    Entry { head: Arc::new(head), ..entry.clone() }
}

/// The bytes of two parts that touch.
fn spliced(one: (Part, &Bytes), other: (Part, &Bytes), both: Part) -> Option<Bytes> {
    let (first, second) = if one.0.first <= other.0.first { (one, other) } else { (other, one) };
    let from = usize::try_from(first.0.last + 1 - second.0.first).ok()?;
    let mut body = BytesMut::with_capacity(usize::try_from(both.length()).ok()?);
    body.extend_from_slice(first.1);
    body.extend_from_slice(second.1.get(from..).unwrap_or_default());
    Some(body.freeze())
}

/// What of a stored part a request for one range asks for.
pub(super) fn slice_of(entry: &Entry, request: &HeaderMap) -> Option<Slice> {
    let part = entry.head.part?;
    incomplete::within(request, &entry.head.state, part, entry.body.len() as u64)
}
