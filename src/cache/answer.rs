//! Makes the answer: from an entry or from a flight, cut to what the caller asked for.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, TRANSFER_ENCODING},
    response::Parts,
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    body::{Body, Cut, HandedOver, Rest},
    call::{Call, Caller, Tells},
    engine::Engine,
    storage::Stored,
    verdict::Behind,
};
use crate::{
    coalesce::{
        recording::Reader,
        share::{Ask, Kind, Place},
    },
    journal::Fence,
    marks::{Served, Source},
    observe::Event,
    rfc9111::{
        cache_status::{self, CACHE_STATUS, Member},
        combining,
        incomplete::{self, Slice},
        range::{self, Selected},
        validation,
    },
    store::{Entry, Head},
};

impl<K> Engine<K> {
    pub(super) fn hit<R>(
        &self,
        stored: Stored,
        ask: &Ask,
        request: &HeaderMap,
        now: Instant,
        tells: Tells,
    ) -> Response<Body<R>> {
        self.cache.listener.tell(&Event::Hit);
        self.stored_answer(stored, ask, request, now, tells)
    }

    /// Answers from an entry: the whole of it, a part of it, or that the caller has it already.
    pub(super) fn stored_answer<R>(
        &self,
        stored: Stored,
        ask: &Ask,
        request: &HeaderMap,
        now: Instant,
        tells: Tells,
    ) -> Response<Body<R>> {
        let Stored { entry: Entry { head, body, trailers, .. }, outdated } = stored;
        let head = &*head;
        let mut fields = head.fields.clone();
        set_age(&mut fields, head, now);
        if !tells.client {
            untold(&mut fields, head);
        }
        let cut = match head.part {
            Some(_) => cut_of_part(head, &mut fields, request, body.len() as u64),
            None => cut(head, &mut fields, ask, request, Some(body.len() as u64)),
        };
        let head_only = ask.kind == Kind::Head;
        let unsaid = !fields.contains_key(CONTENT_LENGTH) && head.status != StatusCode::NO_CONTENT;
        if head_only && unsaid && matches!(cut, Portion::Whole) {
            // What a GET would be answered with (RFC 9110 §8.6).
            fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len() as u64));
        }
        let (status, body) = match cut {
            _ if head_only => (cut.status(head), Body::empty()),
            Portion::Whole => (head.status, Body::stored(body, trailers)),
            Portion::Part(part) => {
                let (start, end) = (part.skip as usize, (part.skip + part.take) as usize);
                (StatusCode::PARTIAL_CONTENT, Body::stored(body.slice(start..end), None))
            }
            Portion::NotModified | Portion::Unsatisfiable => (cut.status(head), Body::empty()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.version_mut() = head.version;
        *response.headers_mut() = fields;
        if tells.layer {
            let fresh = head.lifetime().is_none_or(|lifetime| {
                lifetime.current_age(now.saturating_duration_since(head.born)) < lifetime.fresh_for
            });
            let source = if fresh && !outdated { Source::Storage } else { Source::Stale };
            response.extensions_mut().insert(Served::new(source, Some(head.fence)));
        }
        response
    }

    /// Answers from a flight that it has joined.
    pub(super) fn followed_answer<B, R>(
        &self,
        head: &Head,
        reader: Reader<Arc<Head>>,
        call: &Call<B>,
        now: Instant,
    ) -> Response<Body<R>> {
        let mut fields = head.fields.clone();
        if self.place == Place::Cache {
            set_age(&mut fields, head, now);
        }
        let from_storage = reader.is_from_storage();
        if call.caller.tells.client {
            let member = match from_storage {
                true => Member::hit(),
                false => Member::forwarded(call.caller.why).fwd_status(head.status).collapsed(),
            };
            fields.insert(CACHE_STATUS, member.after(head.below.as_ref()));
        } else if self.place == Place::Cache {
            untold(&mut fields, head);
        }
        let portion = cut(head, &mut fields, &call.caller.ask, call.request.headers(), head.length);
        let status = portion.status(head);
        let body = portion.of_flight(&call.caller.ask, head, reader, Rest::None);
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.version_mut() = head.version;
        *response.headers_mut() = fields;
        if call.caller.tells.layer {
            let source = match from_storage {
                true => Source::Storage,
                false => head.from_below.map_or(Source::Origin, |below| below.source()),
            };
            let fence = self.fence_of(head.fence, head.from_below);
            response.extensions_mut().insert(Served::new(source, fence));
        }
        response
    }

    /// Answers the caller that began the flight, with the head as the origin sent it.
    pub(super) fn led_answer<R>(
        mut parts: Parts,
        head: &Head,
        ask: &Ask,
        asked: &HeaderMap,
        reader: Reader<Arc<Head>>,
        rest: oneshot::Receiver<HandedOver<R>>,
    ) -> Response<Body<R>> {
        let portion = cut(head, &mut parts.headers, ask, asked, head.length);
        parts.status = portion.status(head);
        let body = portion.of_flight(ask, head, reader, Rest::Sent(rest));
        Response::from_parts(parts, body)
    }

    /// The fence of an answer, as it is told above: what is not kept has one only from below.
    fn fence_of(&self, own: Fence, below: Option<Served>) -> Option<Fence> {
        match self.place {
            Place::Cache => Some(own),
            Place::Coalesce => below.and_then(|below| below.fence()),
        }
    }

    /// Says above that the origin was asked, and why.
    pub(super) fn tell_above(
        &self,
        parts: &mut Parts,
        caller: &Caller,
        stored: bool,
        behind: Behind,
    ) {
        if caller.tells.layer {
            // What an engine below said holds: it knows better where the answer came from.
            let source = behind.below.map_or(Source::Origin, |below| below.source());
            let fence = self.fence_of(behind.fence, behind.below);
            parts.extensions.insert(Served::new(source, fence));
        }
        if caller.tells.client {
            let member = Member::forwarded(caller.why).fwd_status(behind.status);
            append(&mut parts.headers, if stored { member.stored() } else { member });
        }
    }
}

/// RFC 9111 §5.1: how old the answer is by now.
pub(super) fn set_age(fields: &mut HeaderMap, head: &Head, now: Instant) {
    let Some(lifetime) = head.lifetime() else {
        fields.remove(AGE);
        return;
    };
    let resident = now.saturating_duration_since(head.born);
    if let Some(age) = fields.get_mut(AGE) {
        *age = seconds(lifetime.current_age(resident));
    }
}

/// Adds our member to what caches below said in `Cache-Status`.
pub(super) fn append(fields: &mut HeaderMap, member: Member) {
    let below = cache_status::joined(fields);
    fields.insert(CACHE_STATUS, member.after(below.as_ref()));
}

/// Takes out what a hit says in `Cache-Status`: an engine above says it.
fn untold(fields: &mut HeaderMap, head: &Head) {
    match &head.below {
        Some(below) => fields.insert(CACHE_STATUS, below.clone()),
        None => fields.remove(CACHE_STATUS),
    };
}

/// Whole seconds as a field value: no allocation within the first hour.
fn seconds(age: Duration) -> HeaderValue {
    static FIRST_HOUR: LazyLock<Box<[HeaderValue]>> =
        LazyLock::new(|| (0..3_600).map(digits).collect());
    let age = age.as_secs();
    let prepared = usize::try_from(age).ok().and_then(|age| FIRST_HOUR.get(age));
    prepared.cloned().unwrap_or_else(|| HeaderValue::from(age))
}

/// Fewer than 10,000 seconds as a field value over static text, which costs nothing to clone.
fn digits(number: usize) -> HeaderValue {
    static TABLE: [u8; 40_000] = {
        let mut table = [0; 40_000];
        let mut digit = 0;
        while digit < table.len() {
            let divisor = [1_000, 100, 10, 1][digit % 4];
            table[digit] = b'0' + (digit / 4 / divisor % 10) as u8;
            digit += 1;
        }
        table
    };
    let leading = match number {
        0..10 => 3,
        10..100 => 2,
        100..1_000 => 1,
        _ => 0,
    };
    let text = TABLE.get(number * 4 + leading..number * 4 + 4);
    let text = text.and_then(|digits| std::str::from_utf8(digits).ok());
    text.map_or_else(|| HeaderValue::from(number as u64), HeaderValue::from_static)
}

/// What of an answer a caller gets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Portion {
    Whole,
    Part(Cut),
    NotModified,
    Unsatisfiable,
}

impl Portion {
    fn of_flight<R>(
        self,
        ask: &Ask,
        head: &Head,
        reader: Reader<Arc<Head>>,
        rest: Rest<R>,
    ) -> Body<R> {
        match self {
            _ if ask.kind == Kind::Head => Body::empty(),
            // A gRPC answer of trailers alone is at its end with its head, and has to look so.
            Self::Whole if head.counts_as != head.status && head.length == Some(0) => Body::empty(),
            Self::Whole => Body::on_its_way(reader, None, head.length, rest),
            Self::Part(cut) => Body::on_its_way(reader, Some(cut), None, rest),
            Self::NotModified | Self::Unsatisfiable => Body::empty(),
        }
    }

    fn status(self, head: &Head) -> StatusCode {
        match self {
            Self::Whole => head.status,
            Self::Part(_) => StatusCode::PARTIAL_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }
}

/// Cuts a stored part to the range that the request asks for, which lies within it.
fn cut_of_part(head: &Head, fields: &mut HeaderMap, request: &HeaderMap, held: u64) -> Portion {
    let slice = head.part.and_then(|part| {
        let slice = incomplete::within(request, &head.state, part, held)?;
        Some((part, slice))
    });
    // It was looked at before it was taken: a part is never given for more than it holds.
    let Some((part, Slice { skip, range })) = slice else { return Portion::Unsatisfiable };
    let take = range.end() - range.start() + 1;
    if take != held {
        combining::without_digest(fields);
    }
    fields.insert(CONTENT_RANGE, range::content_range(&range, part.total));
    // RFC 9112 §6.2: what has a length is not chunked.
    fields.remove(TRANSFER_ENCODING);
    fields.insert(CONTENT_LENGTH, HeaderValue::from(take));
    Portion::Part(Cut { skip, take })
}

/// Cuts an answer to what the request asks of it (RFC 9110 §13, §14), and its fields with it.
pub(super) fn cut(
    head: &Head,
    fields: &mut HeaderMap,
    ask: &Ask,
    request: &HeaderMap,
    length: Option<u64>,
) -> Portion {
    if let Some(part) = head.part.filter(|part| length == Some(part.length()))
        && incomplete::within(request, &head.state, part, part.length()).is_some()
    {
        // A part that is on its way, or was found, for one who asks for no more of it.
        return cut_of_part(head, fields, request, part.length());
    }
    if head.status != StatusCode::OK || !(ask.conditional || ask.range) {
        return Portion::Whole;
    }
    if ask.conditional && head.state.not_modified(request) {
        *fields = validation::not_modified_fields(fields);
        return Portion::NotModified;
    }
    // A range of what has no length yet is the whole, and so is a range of a HEAD (§14.2).
    let Some(length) = length.filter(|_| ask.range && ask.kind == Kind::Get) else {
        return Portion::Whole;
    };
    match range::select_by(request, &head.state, length) {
        Selected::Whole => Portion::Whole,
        Selected::Part(part) => {
            let take = part.end() - part.start() + 1;
            combining::without_digest(fields);
            fields.insert(CONTENT_RANGE, range::content_range(&part, length));
            fields.insert(CONTENT_LENGTH, HeaderValue::from(take));
            Portion::Part(Cut { skip: *part.start(), take })
        }
        Selected::Unsatisfiable => {
            combining::without_digest(fields);
            fields.insert(CONTENT_RANGE, range::unsatisfied_range(length));
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            Portion::Unsatisfiable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_in_full() {
        for age in [0, 7, 10, 99, 100, 999, 1_000, 3_599, 3_600, 10_000, u64::MAX] {
            assert_eq!(seconds(Duration::from_secs(age)), age.to_string());
        }
        assert_eq!(seconds(Duration::from_millis(1_999)), "1");
    }
}
