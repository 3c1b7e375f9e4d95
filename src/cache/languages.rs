//! Choosing among variants by language, near and far.

use http::HeaderMap;

use super::engine::Engine;
use crate::{
    rfc9111::language,
    store::{Entry, Key, KeyWriter, Record, Variants},
};

impl<K> Engine<K> {
    /// A variant in the language that the request likes best, which differs in nothing else.
    pub(super) fn look_for_language(
        &self,
        variants: &Variants,
        key: &mut KeyWriter,
        primary: usize,
        request: &HeaderMap,
    ) -> Option<Entry> {
        let liked = language::preferred(request)?;
        let found = variants.known().iter().find_map(|known| {
            let Some(Record::Entry(entry)) = self.cache.store.peek(known.as_bytes()) else {
                return None;
            };
            let names = entry.head.vary.as_ref()?;
            let variant = known.as_bytes().get(primary..)?;
            let same = language::speaks(&entry.head.fields, liked)
                && language::differs_in_language_alone(names, request, variant)
                && !self.is_dead(&entry.head);
            same.then_some(entry)
        })?;
        key.truncate(primary);
        key.raw(found.key().as_bytes().get(primary..)?);
        Some(found)
    }

    /// The same of what is far.
    pub(super) async fn get_language(
        &self,
        variants: &Variants,
        primary: &Key,
        request: &HeaderMap,
    ) -> Option<Entry> {
        let liked = language::preferred(request)?;
        for known in variants.known() {
            let variant = known.as_bytes().strip_prefix(primary.as_bytes())?;
            let mut sets = variants.sets().iter();
            let differs = |names| language::differs_in_language_alone(names, request, variant);
            if sets.any(differs)
                && let Some(Record::Entry(entry)) = self.get(known).await
                && entry.key() == known
                && language::speaks(&entry.head.fields, liked)
                && !self.is_dead(&entry.head)
            {
                return Some(entry);
            }
        }
        None
    }
}
