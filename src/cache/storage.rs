//! What the engine asks of its store: what is near, what is far, what is to be kept.
//!
//! A store that fails or takes too long is a miss, told of and never a caller's error.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method};
use tokio::time::{Instant, timeout};

use super::{call::Caller, engine::Engine};
use crate::{
    coalesce::{
        flights::Lead,
        share::{Ask, Place},
    },
    error::{BoxError, Rejected},
    journal::Condition,
    observe::{Event, Operation},
    rfc9111::{freshness::Lifetime, reuse::Reuse, stale::Demand, vary::Names},
    store::{Entry, Head, Key, KeyWriter, Record, Sharing, Unreadable, Variants},
};

/// What a look at what is near found.
pub(crate) enum Found {
    Entry(Stored),
    /// Some bytes of it (RFC 9111 §3.3).
    Part(Stored),
    /// The key is known, and has no such variant.
    OtherVariants,
    Nothing,
}

/// An entry that is alive.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) entry: Entry,
    /// It was invalidated softly, here or below, and counts as stale.
    pub(crate) outdated: bool,
}

impl<K> Engine<K> {
    /// Looks at what is near; leaves in `key` the variant that it looked for.
    pub(crate) fn look(&self, key: &mut KeyWriter, request: &HeaderMap) -> Found {
        let found = match self.cache.store.peek(key.as_bytes()) {
            None => return Found::Nothing,
            Some(Record::Entry(entry)) => Some(entry),
            Some(Record::Variants(variants)) => self.look_among(&variants, key, request),
        };
        match found {
            None => Found::OtherVariants,
            Some(entry) if entry.key().as_bytes() == key.as_bytes() => self.alive(entry),
            Some(_) => {
                self.foreign();
                Found::Nothing
            }
        }
    }

    /// What was invalidated hard is not there any more.
    pub(super) fn alive(&self, entry: Entry) -> Found {
        let Some(outdated) = self.is_outdated(&entry.head) else { return Found::Nothing };
        let is_part = entry.head.part.is_some();
        let stored = Stored { entry, outdated };
        if is_part { Found::Part(stored) } else { Found::Entry(stored) }
    }

    /// Whether it counts as stale whatever its lifetime says; `None`: it is dead.
    pub(super) fn is_outdated(&self, head: &Head) -> Option<bool> {
        match self.cache.journal.condition(&head.names, head.fence) {
            // What was stale below is stale here.
            Condition::Alive => Some(head.is_stale_below()),
            Condition::Outdated => Some(true),
            Condition::Dead => None,
        }
    }

    pub(super) fn is_dead(&self, head: &Head) -> bool {
        self.cache.journal.condition(&head.names, head.fence) == Condition::Dead
    }

    /// RFC 9111 §4.1: of several variants that match, the newest.
    fn look_among(
        &self,
        variants: &Variants,
        key: &mut KeyWriter,
        request: &HeaderMap,
    ) -> Option<Entry> {
        let primary = key.len();
        let mut newest: Option<(usize, Entry)> = None;
        for (index, names) in variants.sets().iter().enumerate() {
            key.truncate(primary);
            names.write_variant(request, &mut |bytes| key.raw(bytes));
            if !key.is_too_long()
                && let Some(Record::Entry(entry)) = self.cache.store.peek(key.as_bytes())
                && newest.as_ref().is_none_or(|(_, newest)| newest.is_older_than(&entry))
                && !self.is_dead(&entry.head)
            {
                newest = Some((index, entry));
            }
        }
        // Where none matches, the names that were used last tell the variant of the flight.
        let index = newest.as_ref().map_or(0, |(index, _)| *index);
        key.truncate(primary);
        if let Some(names) = variants.sets().get(index) {
            names.write_variant(request, &mut |bytes| key.raw(bytes));
        }
        match newest {
            Some((_, entry)) => Some(entry),
            None if self.policy.profile().language_by_quality => {
                self.look_for_language(variants, key, primary, request)
            }
            None => None,
        }
    }

    /// Whether it is for the request alone to say no.
    pub(super) fn is_fresh(&self, stored: &Stored, now: Instant) -> bool {
        let lifetime = stored.entry.head.lifetime().filter(|_| !stored.outdated);
        lifetime.is_some_and(|lifetime| {
            lifetime.demand != Demand::Always
                && lifetime.current_age(stored.entry.resident(now)) < lifetime.fresh_for
        })
    }

    pub(super) fn reuse(&self, stored: &Stored, ask: &Ask, now: Instant) -> Reuse {
        self.reuse_of(&stored.entry.head, stored.outdated, ask, now)
    }

    pub(super) fn reuse_of(&self, head: &Head, outdated: bool, ask: &Ask, now: Instant) -> Reuse {
        let Some(lifetime) = head.lifetime() else { return Reuse::Validate };
        if ask.refresh {
            return Reuse::Validate;
        }
        let mut wants = ask.wants;
        if self.place == Place::Cache && wants.directives.only_if_cached {
            // It cannot be validated; what it forbids it forbids all the same.
            wants.directives.only_if_cached = false;
        }
        let resident = head.resident(now);
        if outdated {
            // It became stale when it was invalidated: when that was is not known, that it was is.
            let fresh_for = lifetime.fresh_for.min(lifetime.current_age(resident));
            return self.policy.reuse(&Lifetime { fresh_for, ..*lifetime }, resident, &wants);
        }
        self.policy.reuse(lifetime, resident, &wants)
    }

    /// Looks once more, near and then far: another flight may have come between.
    pub(super) async fn look_again(&self, primary: &Key, asked: &HeaderMap) -> Found {
        if self.place == Place::Coalesce {
            return Found::Nothing;
        }
        let mut key = KeyWriter::new();
        key.raw(primary.as_bytes());
        let near = self.look(&mut key, asked);
        if !self.cache.store.is_remote() || matches!(near, Found::Entry(_) | Found::Part(_)) {
            return near;
        }
        match self.get(primary).await {
            Some(Record::Entry(entry)) if entry.key() == primary => self.alive(entry),
            Some(Record::Variants(variants)) => {
                let mut newest: Option<Entry> = None;
                for names in variants.sets() {
                    key.truncate(primary.as_bytes().len());
                    names.write_variant(asked, &mut |bytes| key.raw(bytes));
                    let Some(variant) = key.key() else { continue };
                    if let Some(Record::Entry(entry)) = self.get(&variant).await
                        && *entry.key() == variant
                        && newest.as_ref().is_none_or(|known| known.is_older_than(&entry))
                        && !self.is_dead(&entry.head)
                    {
                        newest = Some(entry);
                    }
                }
                if newest.is_none() && self.policy.profile().language_by_quality {
                    newest = self.get_language(&variants, primary, asked).await;
                }
                newest.map_or(Found::OtherVariants, |entry| self.alive(entry))
            }
            Some(Record::Entry(_)) => {
                self.foreign();
                Found::Nothing
            }
            None => Found::Nothing,
        }
    }

    /// A store that fails or takes too long is a miss.
    pub(super) async fn get(&self, key: &Key) -> Option<Record> {
        let found = self.in_time(self.cache.limits.get_deadline, self.cache.store.get(key)).await;
        self.checked(Operation::Get, found).flatten()
    }

    /// Stores what a flight has fetched, and takes the flight out of the table; whether it stored.
    pub(super) async fn store(
        &self,
        lead: Lead<Key, Arc<Head>>,
        caller: &Caller,
        fields: &HeaderMap,
        entry: Entry,
    ) -> bool {
        // What was invalidated on its way would be dead where it lies.
        let stores = lead.may_store()
            && !self.is_dead(&entry.head)
            && !self.is_off_for(caller, fields)
            && !self.has_newer(caller, &entry).await;
        let entry = match entry.head.part {
            Some(_) if stores => self.with_what_is_stored(&caller.primary, entry).await,
            _ => Some(entry),
        };
        let stores = stores && entry.is_some();
        if let Some(entry) = entry.filter(|_| stores) {
            let key = entry.key().clone();
            self.put(&caller.primary, entry).await;
            if self.cache.store.is_remote() && !lead.is_newest() {
                // A later flight began while the store took its time, and whose write came last is
                // not known: a miss is better than the older answer.
                self.remove(&key).await;
            }
        }
        lead.leave(stores);
        stores
    }

    /// Whether the cache has been turned off for this request since it came.
    fn is_off_for(&self, caller: &Caller, fields: &HeaderMap) -> bool {
        self.cache.switch.is_off_for(&caller.asked_by, &caller.uri, fields)
    }

    /// Stores `entry`, under its own key and in the list of variants of `primary`.
    pub(super) async fn put(&self, primary: &Key, entry: Entry) {
        let until = self.is_of_use_until(&entry, Instant::now());
        let (key, entry) = (entry.key().clone(), Entry { until, ..entry });
        let names = entry.head.vary.clone();
        let before = match self.cache.store.peek(primary.as_bytes()) {
            None if names.is_some() && self.cache.store.is_remote() => self.get(primary).await,
            near => near,
        };
        let before = match &before {
            Some(Record::Variants(variants)) => Some(&**variants),
            _ => None,
        };
        self.write(key.clone(), Record::Entry(entry)).await;
        let Some(names) = names else {
            // It does not vary any more, and lies where the list of the variants was.
            for variant in before.map_or(&[][..], Variants::known) {
                self.remove(variant).await;
            }
            return;
        };
        let most = self.cache.limits.variants;
        let Some((variants, oldest)) = Variants::and(before, &names, &key, most, until) else {
            return;
        };
        self.write(primary.clone(), Record::Variants(Arc::new(variants))).await;
        if let Some(oldest) = oldest {
            self.remove(&oldest).await;
        }
    }

    /// Whether another flight, of a HEAD or of a range or of nobody else, has stored what it asked for later.
    async fn has_newer(&self, caller: &Caller, entry: &Entry) -> bool {
        let record = match self.cache.store.peek(entry.key().as_bytes()) {
            None if caller.in_part || caller.asked_by != Method::GET => {
                self.record(entry.key()).await
            }
            near => near,
        };
        record.and_then(Record::into_entry).is_some_and(|stored| {
            stored.head.asked > entry.head.asked && !self.is_dead(&stored.head)
        })
    }

    /// Whether `entry` is what is stored under its key.
    pub(super) async fn is_still(&self, entry: &Entry) -> bool {
        let stored = self.record(entry.key()).await.and_then(Record::into_entry);
        stored.is_some_and(|stored| {
            Arc::ptr_eq(&stored.head, &entry.head)
                || (stored.head.state == entry.head.state && stored.body == entry.body)
        })
    }

    /// What is stored, near or far.
    pub(super) async fn record(&self, key: &Key) -> Option<Record> {
        match self.cache.store.peek(key.as_bytes()) {
            None if self.cache.store.is_remote() => self.get(key).await,
            near => near,
        }
    }

    /// What is stored is another than what is at the origin: it is stale from now on.
    pub(super) async fn outdate(&self, entry: &Entry) {
        let Some(lifetime) = entry.head.lifetime() else { return };
        let age = lifetime.current_age(entry.resident(Instant::now()));
        if age >= lifetime.fresh_for || !self.is_still(entry).await {
            return;
        }
        let mut head = Head::clone(&entry.head);
        head.sharing = Sharing::Stored(Lifetime { fresh_for: age, ..*lifetime });
        let outdated = Entry { head: Arc::new(head), ..entry.clone() };
        self.write(entry.key().clone(), Record::Entry(outdated)).await;
    }

    pub(super) async fn remove(&self, key: &Key) {
        let removed = self.cache.store.remove(key);
        let removed = self.in_time(self.cache.limits.put_deadline, removed).await;
        self.checked(Operation::Remove, removed);
    }

    pub(super) async fn write(&self, key: Key, record: Record) {
        let written = self.cache.store.put(key, record);
        let written = self.in_time(self.cache.limits.put_deadline, written).await;
        self.checked(Operation::Put, written);
    }

    /// A store that ends its operations in time by itself knows best how long they may take.
    async fn in_time<T>(
        &self,
        deadline: Duration,
        operation: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        if self.cache.store.has_deadlines() {
            return operation.await;
        }
        timeout(deadline, operation).await.unwrap_or_else(|late| Err(late.into()))
    }

    fn foreign(&self) {
        self.cache.listener.tell(&Event::ForeignEntry);
    }

    fn checked<T>(&self, operation: Operation, result: Result<T, BoxError>) -> Option<T> {
        result
            .inspect_err(|error| {
                let unreadable = Unreadable::find(&**error).copied();
                self.cache.listener.tell(&match (unreadable, Rejected::find(&**error)) {
                    (Some(Unreadable::OtherKey), _) => Event::ForeignEntry,
                    (Some(why), _) => Event::UnreadableEntry(why),
                    (None, Some(_)) => Event::StoreRefused { operation },
                    (None, None) => Event::StoreFailed { operation, error: &**error },
                });
            })
            .ok()
    }
}

/// The key of the variant that `asked` selects; `None` where it is too long.
pub(super) fn variant_key(primary: &Key, names: &Names, asked: &HeaderMap) -> Option<Key> {
    let mut key = KeyWriter::new();
    key.raw(primary.as_bytes());
    names.write_variant(asked, &mut |bytes| key.raw(bytes));
    key.key()
}
