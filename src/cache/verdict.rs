//! What becomes of an answer once its head is there: kept, shared, or its caller's alone; and what is
//! remembered of its key.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, StatusCode, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
    response::Parts,
};
use http_body::Body as HttpBody;
use tokio::time::Instant;

use super::{
    call::Caller,
    engine::{Engine, PERSONAL, in_class},
    freshening::dated,
    storage::variant_key,
};
use crate::{
    coalesce::{
        flights::Lead,
        share::{self, Kind, Place, Unkept},
    },
    journal::{Fence, Name, Names as InvalidatedBy, TooMany},
    marks::Served,
    observe::{Aside, Event},
    policy::Answered,
    rfc9111::{
        Exchange, State, groups,
        incomplete::Part,
        refusal::Refusal,
        stale::Demand,
        stored_fields,
        storing::Keep,
        targeted,
        vary::{Names, Vary},
    },
    store::{Head, Key, Sharing},
};

/// More than this of a head is not kept.
const MOST_FIELDS: usize = 64;

const MOST_FIELD_BYTES: usize = 32 * 1024;

/// More groups than this, and the answer is not kept: RFC 9875 §2.1 asks for 32 at least.
const MOST_GROUPS: usize = 64;

/// A key, a URI, the same at its origin, and tags and groups that an answer had over the time.
pub(super) const MOST_NAMES: usize = 3 + 2 * 64 + MOST_GROUPS;

/// What is remembered of a key, and for whom.
#[derive(Clone, Copy)]
pub(super) enum Lasting {
    Everyone(Aside),
    /// Those who ask with something of their own.
    Personal,
}

/// What is known of an answer that is recorded.
pub(super) struct Kept {
    pub(super) sharing: Sharing,
    /// The status that it is treated like.
    pub(super) counts_as: StatusCode,
    /// Whether it is stored, too.
    pub(super) store: bool,
    pub(super) key: Key,
    pub(super) vary: Option<Names>,
    /// What it is invalidated by.
    pub(super) names: InvalidatedBy,
    pub(super) length: Option<u64>,
    /// Which bytes of the whole it is, of a 206.
    pub(super) part: Option<Part>,
    /// Whether more than the end of the connection will tell where the body ends.
    pub(super) proven: bool,
}

impl Kept {
    fn in_flight(&self) -> bool {
        matches!(self.sharing, Sharing::InFlight { .. })
    }

    /// Takes what the body needs of the fill budget at once, where its length is known: those who
    /// read along with it cannot be sent away later.
    pub(super) fn fits(&self, lead: &Lead<Key, Arc<Head>>, kind: Kind) -> bool {
        let length = self.length.filter(|_| kind == Kind::Get);
        length.is_none_or(|length| lead.recording().reserve(length as usize))
    }
}

/// What is decided on when the head of an answer is there.
pub(super) struct Taking<'a> {
    pub(super) answered: Answered<'a>,
    pub(super) version: Version,
    pub(super) length: Option<u64>,
    pub(super) caller: &'a Caller,
    /// It is a server error, and a stored answer is better.
    pub(super) stands_in: bool,
}

/// What is behind an answer: how far the journal had come when it was fetched, and whether a cache
/// below had it.
#[derive(Clone, Copy)]
pub(super) struct Behind {
    pub(super) fence: Fence,
    /// When it was asked for.
    pub(super) asked: Instant,
    /// The status that came, whatever is made of it.
    pub(super) status: StatusCode,
    pub(super) below: Option<Served>,
}

impl Behind {
    /// A cache below may have fetched it long before: the lower fence counts.
    pub(super) fn of(parts: &Parts, fence: Fence, asked: Instant) -> Self {
        let below = parts.extensions.get::<Served>().copied();
        let lower = below.and_then(|below| below.fence());
        let fence = lower.map_or(fence, |lower| lower.min(fence));
        Self { fence, asked, status: parts.status, below }
    }
}

pub(super) enum Verdict {
    /// It is recorded.
    Keep(Box<Kept>),
    /// It is its caller's alone, or nobody's; what of the key is remembered.
    Not(Unkept, Option<Lasting>),
}

impl<K> Engine<K> {
    /// Whether an answer is kept, shared, or its caller's alone.
    pub(super) fn verdict(&self, taking: &Taking<'_>) -> Verdict {
        let Answered { request, status, response, .. } = taking.answered;
        let profile = self.policy.profile();
        let part = match status {
            StatusCode::PARTIAL_CONTENT => Part::from_fields(response),
            _ => None,
        };
        let of_part = part.filter(|_| !profile.lenient_content_range).map(|part| part.length());
        let (length, version) = (taking.length.or(of_part), taking.version);
        let Caller { primary, ask, .. } = taking.caller;
        let status = taking.caller.counts_as(status, response);
        if status == StatusCode::INTERNAL_SERVER_ERROR && ask.personal {
            // It may be what this one asked with.
            return Verdict::Not(Unkept::Own, None);
        }
        if taking.stands_in {
            return Verdict::Not(Unkept::Failure, None);
        }
        if status == StatusCode::PARTIAL_CONTENT && !taking.caller.in_part {
            // Nobody asked for a part.
            self.not_stored(Refusal::PartialContent);
            return Verdict::Not(Unkept::Aside, None);
        }
        let (vary, key) = match Vary::from_fields(response) {
            Vary::Names(names) => {
                let key = variant_key(primary, &names, request);
                (Some(names), key)
            }
            Vary::None | Vary::Any => (None, Some(primary.clone())),
        };
        let names = self.names_of(taking.caller, &taking.answered);
        let Some(key) = key else {
            // What tells this variant from others is too long for a key: it is nobody else's, and
            // says nothing of the others.
            self.not_stored(Refusal::HeadTooLarge);
            let unkept = if status.is_server_error() { Unkept::Failure } else { Unkept::Aside };
            return Verdict::Not(unkept, None);
        };
        let keep = match self.keep(taking.caller, &taking.answered) {
            // Neither what is stored nor what is shared has its coding with it.
            _ if is_coded(response) => Keep::No(Refusal::Unframed),
            Keep::For(_) if is_too_large(response) => Keep::No(Refusal::HeadTooLarge),
            Keep::For(_) if names.is_err() => Keep::No(Refusal::TooManyTags),
            keep => keep,
        };
        let names = names.unwrap_or_else(|_| taking.caller.names.clone());
        let outgrown = ask.kind == Kind::Get
            && length.is_some_and(|length| length > self.cache.limits.max_body as u64);
        let in_flight = Sharing::InFlight { credentials: ask.credentials(), unkeyed: ask.unkeyed };
        match keep {
            Keep::For(_) if outgrown => {
                self.outgrown();
                Verdict::Not(Unkept::Aside, Some(Lasting::Everyone(Aside::Outgrown)))
            }
            Keep::For(lifetime) => {
                let said = lifetime.explicit || lifetime.demand != Demand::None;
                let wanted = self.place == Place::Cache && ask.kind == Kind::Get;
                // The trailers of a call are the end of its answer, and a part says how long it is.
                let proven = self.store_unframed
                    || taking.caller.unary.is_some()
                    || length.is_some()
                    || part.is_some()
                    || !ends_with_connection(version, response);
                let unproven = profile.max_unproven_lifetime;
                let lifetime = match unproven {
                    Some(longest) if !proven && wanted => lifetime.unproven(longest),
                    _ => lifetime,
                };
                let sharing = match self.place {
                    Place::Coalesce if !said => in_flight,
                    _ => Sharing::Stored(lifetime),
                };
                let framed = proven || unproven.is_some();
                if wanted && !framed {
                    self.not_stored(Refusal::Unframed);
                }
                let (counts_as, store) = (status, wanted && framed);
                let kept =
                    Kept { sharing, counts_as, store, key, vary, names, length, part, proven };
                Verdict::Keep(Box::new(kept))
            }
            Keep::No(refusal) => {
                self.not_stored(refusal);
                match share::unkept(&refusal, status, self.place) {
                    Unkept::Shared if !outgrown && !is_endless(response) => {
                        let (sharing, counts_as, store) = (in_flight, status, false);
                        let (part, proven) = (None, false);
                        let kept = Kept {
                            sharing,
                            counts_as,
                            store,
                            key,
                            vary,
                            names,
                            length,
                            part,
                            proven,
                        };
                        Verdict::Keep(Box::new(kept))
                    }
                    unkept @ (Unkept::Failure | Unkept::Own) => Verdict::Not(unkept, None),
                    Unkept::Shared | Unkept::Aside => {
                        let lasting = match refusal {
                            _ if status.is_server_error() => None,
                            // Nor is what one client, or a HEAD, was told held against others.
                            _ if share::speaks_to_one(status) || ask.kind == Kind::Head => None,
                            // What one request asked for in part, or on a condition, says nothing.
                            _ if matches!(status.as_u16(), 206 | 304 | 412 | 416) => None,
                            Refusal::RequestNoStore | Refusal::Method => None,
                            refusal if refusal.by_request() => Some(Lasting::Personal),
                            _ => Some(Lasting::Everyone(Aside::Uncacheable)),
                        };
                        Verdict::Not(Unkept::Aside, lasting)
                    }
                }
            }
        }
    }

    /// What an answer is invalidated by: its key, its URI, its tags, its groups.
    pub(super) fn names_of(
        &self,
        caller: &Caller,
        answered: &Answered<'_>,
    ) -> Result<InvalidatedBy, TooMany> {
        if self.place == Place::Coalesce {
            return Ok(InvalidatedBy::default());
        }
        let (mut names, spelled) = (caller.names.clone(), self.cache.store.is_remote());
        self.tags.read(answered, |tag| names.push(&Name::tag(tag), spelled))?;
        if let Some(site) = &caller.site {
            let groups = groups::of(answered.response);
            if groups.len() > MOST_GROUPS {
                return Err(TooMany);
            }
            for group in groups.iter() {
                names.push(&Name::group(site.name(), group), spelled);
            }
        }
        Ok(names.compact())
    }

    pub(super) fn outgrown(&self) {
        self.cache.listener.tell(&Event::Outgrown);
    }

    pub(super) fn not_stored(&self, refusal: Refusal) {
        if self.place == Place::Cache {
            self.cache.listener.tell(&Event::NotStored(refusal));
        }
    }

    pub(super) fn remember(&self, primary: &Key, lasting: Option<Lasting>) {
        let (key, aside) = match lasting {
            None => return,
            Some(Lasting::Everyone(aside)) => (primary.clone(), aside),
            Some(Lasting::Personal) => (in_class(primary, PERSONAL), Aside::Uncacheable),
        };
        self.cache.listener.tell(&Event::Remembered(aside));
        self.cache.remembered.remember(key.as_bytes(), aside, Instant::now());
    }

    /// A storable answer ends at once what is remembered.
    pub(super) fn forget(&self, primary: &Key, kept: &Kept, personal: bool) {
        if !kept.store && (self.place == Place::Cache || kept.in_flight()) {
            return;
        }
        if kept.part.is_some() {
            // Of the whole it says nothing.
            return;
        }
        self.cache.remembered.forget(primary.as_bytes());
        if personal {
            self.cache.remembered.forget(in_class(primary, PERSONAL).as_bytes());
        }
    }

    /// What is kept of a head: its fields in allocations of their own, and what was learned.
    pub(super) fn head(
        &self,
        parts: &mut Parts,
        kept: Box<Kept>,
        exchange: Exchange,
        behind: Behind,
    ) -> Arc<Head> {
        if self.place == Place::Cache {
            dated(&mut parts.headers, exchange.received);
        }
        let Kept { sharing, counts_as, key, vary, names, length, part, proven, .. } = *kept;
        let directives = targeted::governing(self.policy.profile(), &parts.headers);
        let stored = stored_fields::kept(&parts.headers, &directives, self.policy.profile());
        let (fields, below) = Head::fields(stored, self.place == Place::Cache);
        let (status, version) = (parts.status, parts.version);
        let born = Instant::now();
        Arc::new(Head {
            state: State::of(&fields),
            key,
            status,
            counts_as,
            version,
            fields,
            below,
            vary,
            sharing,
            born,
            length,
            part,
            proven,
            asked: behind.asked,
            fence: behind.fence,
            names,
            spread: fastrand::f32(),
            from_below: behind.below,
        })
    }
}

/// An event stream is each listener's own: who joins late has missed its beginning.
fn is_endless(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let stream = b"text/event-stream";
    kind.get(..stream.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(stream))
}

fn is_too_large(fields: &HeaderMap) -> bool {
    let bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    fields.len() > MOST_FIELDS || bytes > MOST_FIELD_BYTES
}

/// The length of the body, as the head declares it or the body knows it.
pub(super) fn length<R: HttpBody>(fields: &HeaderMap, body: &R) -> Option<u64> {
    let declared = fields.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    declared.or_else(|| body.size_hint().exact())
}

/// Whether the body is still in a transfer coding (RFC 9112 §7), which the head loses on its way: who reads
/// it takes off chunks, where these come last, and nothing else.
fn is_coded(fields: &HeaderMap) -> bool {
    const CODINGS: [&[u8]; 6] =
        [b"chunked", b"compress", b"deflate", b"gzip", b"x-compress", b"x-gzip"];
    let lines = fields.get_all(TRANSFER_ENCODING).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let mut members: Vec<_> = members.map(|name| name.trim_ascii().to_ascii_lowercase()).collect();
    if members.last().is_some_and(|last| last == b"chunked") {
        members.pop();
    }
    members.iter().any(|name| CODINGS.contains(&&**name))
}

/// Whether only the end of the connection says where the body ends (RFC 9112 §6.3).
fn ends_with_connection(version: Version, fields: &HeaderMap) -> bool {
    let chunked = || {
        let last = fields.get_all(TRANSFER_ENCODING).iter().next_back()?;
        let coding = last.as_bytes().rsplit(|&byte| byte == b',').next()?;
        Some(coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
    };
    version <= Version::HTTP_11
        && !fields.contains_key(CONTENT_LENGTH)
        && !chunked().unwrap_or(false)
}
