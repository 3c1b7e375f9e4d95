//! What a 304, or a HEAD, makes of a stored answer (RFC 9111 §4.3.4, §4.3.5).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, header::DATE};
use tokio::time::Instant;

use super::{
    call::Caller,
    engine::Engine,
    verdict::{Behind, MOST_NAMES},
};
use crate::{
    coalesce::share::Place,
    journal::{Names as InvalidatedBy, TooMany},
    policy::Answered,
    rfc9111::{
        State, cache_status::CACHE_STATUS, date, groups::CACHE_GROUPS, stored_fields,
        storing::Keep, targeted, updating, vary::Vary,
    },
    store::{Entry, Head, Sharing},
};

/// A stored answer after its validation.
pub(super) struct Freshened {
    pub(super) entry: Entry,
    pub(super) fate: Fate,
}

/// What becomes of what is stored.
pub(super) enum Fate {
    /// It is replaced.
    Stored,
    /// It stays as it is: only this request is against keeping more of it.
    Left,
    /// It may not be kept any longer.
    Removed,
}

impl<K> Engine<K> {
    /// The stored answer with what a 304 says of it (RFC 9111 §4.3.4). `None`: the 304 is about
    /// another answer than the stored one.
    pub(super) fn freshened(
        &self,
        stored: &Entry,
        answered: &Answered<'_>,
        caller: &Caller,
        behind: Behind,
        cost: Duration,
    ) -> Option<Freshened> {
        let old = &*stored.head;
        let profile = self.policy.profile();
        let directives = targeted::governing(profile, answered.response);
        let update = stored_fields::stored_head(answered.response, &directives, profile);
        let received = answered.exchange.received;
        let undated = !update.contains_key(DATE);
        let mut fields = updating::freshen(&old.fields, &update, |_| true).ok()?;
        // What was named and stored before it was, and what this update brings of it.
        for name in &targeted::governing(profile, &fields).left_out {
            fields.remove(name);
        }
        if undated {
            // Neither the old date is its own, nor one of ours that says whole seconds alone.
            fields.remove(DATE);
        }
        if !update.contains_key(CACHE_STATUS) {
            // What a hit says is ours, not the origin's.
            fields.remove(CACHE_STATUS);
        }
        let names = match Vary::from_fields(&fields) {
            Vary::Names(names) => Some(names),
            Vary::None => None,
            Vary::Any => old.vary.clone(),
        };
        let answered = Answered { response: &fields, ..*answered };
        let mut named = self.names_of(caller, &answered);
        // What a 304 leaves unsaid holds, also where its field was not to be stored.
        let unsaid = old.names.only(|name| match name.is_group() {
            true => !update.contains_key(CACHE_GROUPS),
            false => !self.tags.are_in(&update),
        });
        named = named.and_then(|named| with(&unsaid, &named));
        let keep = self.keep(caller, &answered);
        let (sharing, fate) = match keep {
            // It lies under the key of what it varied by before.
            Keep::For(_) if names != old.vary => (Sharing::OWN, Fate::Removed),
            // It could not be invalidated by all that it is tagged with now.
            Keep::For(_) if named.is_err() => (Sharing::OWN, Fate::Removed),
            Keep::For(lifetime) if !old.proven => {
                let longest = profile.max_unproven_lifetime.unwrap_or_default();
                (Sharing::Stored(lifetime.unproven(longest)), Fate::Stored)
            }
            Keep::For(lifetime) => (Sharing::Stored(lifetime), Fate::Stored),
            Keep::No(refusal) if refusal.by_request() => (Sharing::OWN, Fate::Left),
            Keep::No(_) => (Sharing::OWN, Fate::Removed),
        };
        dated(&mut fields, received);
        let (fields, below) = Head::fields(fields.iter(), self.place == Place::Cache);
        let head = Head {
            state: State::of(&fields),
            key: old.key.clone(),
            status: old.status,
            counts_as: old.counts_as,
            version: old.version,
            fields,
            below,
            vary: old.vary.clone(),
            sharing,
            born: Instant::now(),
            length: old.length,
            part: None,
            proven: old.proven,
            asked: behind.asked,
            fence: behind.fence,
            names: named.unwrap_or_default(),
            spread: fastrand::f32(),
            from_below: behind.below,
        };
        Some(Freshened { entry: Entry { head: Arc::new(head), cost, ..stored.clone() }, fate })
    }
}

/// The names in either; no more than one answer may have.
pub(super) fn with(old: &InvalidatedBy, named: &InvalidatedBy) -> Result<InvalidatedBy, TooMany> {
    let all = old.and(named);
    if all.len() > MOST_NAMES { Err(TooMany) } else { Ok(all.compact()) }
}

/// RFC 9110 §6.6.1: a cache with a clock dates what it keeps.
pub(super) fn dated(fields: &mut HeaderMap, received: SystemTime) {
    if date_of(fields).is_none()
        && let Ok(now) = HeaderValue::from_bytes(&date::format(received))
    {
        fields.insert(DATE, now);
    }
}

/// The one valid `Date`.
fn date_of(fields: &HeaderMap) -> Option<SystemTime> {
    let mut lines = fields.get_all(DATE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    date::parse(line.as_bytes())
}
