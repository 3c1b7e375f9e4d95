//! Two stores as one: what is near is looked in first, and filled from what is far.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use http::header::{AGE, DATE, EXPIRES};
use tokio::{sync::OnceCell, time::Instant};

use super::{
    Entry, Figures, Key, Record, Store,
    late::Late,
    writes::{Write, Writes},
};
use crate::{
    error::{BoxError, SharedError},
    observe::{Event, Observer},
    rfc9111::cache_status::CACHE_STATUS,
    sync::{Mutex, lock},
};

/// A near store in front of a far one, as one store.
///
/// What is found far is near from then on, with the lifetime that it has: nothing becomes fresh by moving,
/// and nothing is of use for longer near than far. Of many look-ups for a key at once one goes far. A write
/// is done when it is near; it goes far from a queue of at most 1,024 keys and 64 MiB, which has the latest
/// write of each key. What does not fit is not written, which is an [event](crate::observe::Event::WriteDropped).
/// What the near store does not take is written far at once.
///
/// An answer that was validated is written far again only where it has gained at least a tenth of its
/// lifetime, or has changed.
///
/// The near store answers [`peek`](Store::peek): it has to be one that does, as [`Memory`](super::Memory).
///
/// ```
/// # use seawall::{BoxError, store::{Key, Record, Store}};
/// # struct Far;
/// # impl Store for Far {
/// #     async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> { Ok(None) }
/// #     async fn put(&self, _: Key, _: Record) -> Result<(), BoxError> { Ok(()) }
/// #     async fn remove(&self, _: &Key) -> Result<(), BoxError> { Ok(()) }
/// # }
/// use seawall::{Cache, store::{Guarded, Memory, Tiered}};
///
/// // A store of your own that is on the network, with deadlines and a breaker, behind 64 MiB of memory.
/// let cache = Cache::new(Tiered::new(Memory::bytes(64 << 20), Guarded::new(Far)));
/// # let _ = cache;
/// ```
///
/// # Cancellation
/// A look-up that is given up goes on for those who wait for the same, if any do. Writes go on.
///
/// # Panics
/// Outside of a tokio runtime, on the first write.
pub struct Tiered<N, F> {
    near: N,
    far: Arc<F>,
    writes: Writes<F>,
    reads: Reads,
    observer: Arc<Late>,
}

impl<N: Store, F: Store> Tiered<N, F> {
    /// `near` in front of `far`.
    pub fn new(near: N, far: F) -> Self {
        let (far, observer) = (Arc::new(far), Arc::<Late>::default());
        let writes = Writes::new(Arc::clone(&far), Arc::clone(&observer));
        Self { near, far, writes, reads: Reads::default(), observer }
    }

    /// The far store.
    pub fn far(&self) -> &F {
        &self.far
    }

    /// What is found far, and near from now on.
    async fn fetch(&self, read: &Read, key: &Key) -> Result<Option<Record>, SharedError> {
        let found = self.far.get(key).await.map_err(SharedError::new)?;
        let Some(mut found) = found else { return Ok(None) };
        if let Record::Entry(entry) = &mut found {
            entry.far = entry.fresh_until(Instant::now());
        }
        // What was written meanwhile is newer.
        if !read.is_outdated()
            && self.near.put(key.clone(), found.clone()).await.is_ok()
            && read.is_outdated()
        {
            // It may have come between, or not: a miss is better than the older record.
            let _ = self.near.remove(key).await;
        }
        Ok(Some(found))
    }

    fn later(&self, key: &Key, write: Write) {
        if !self.writes.push(key, write) {
            self.observer.tell(&Event::WriteDropped);
        }
    }
}

impl<N: Store, F: Store> Store for Tiered<N, F> {
    fn peek(&self, key: &[u8]) -> Option<Record> {
        self.near.peek(key)
    }

    fn has_deadlines(&self) -> bool {
        self.far.has_deadlines()
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        if let Some(near) = self.near.peek(key.as_bytes()) {
            return Ok(Some(near));
        }
        match self.writes.pending(key) {
            Some(Write::Put(record)) => return Ok(Some(record)),
            Some(Write::Remove) => return Ok(None),
            None => {}
        }
        let read = self.reads.of(key);
        let found = read.found.get_or_init(|| self.fetch(&read, key)).await;
        match found {
            Ok(found) => Ok(found.clone()),
            Err(error) => Err(error.clone().into()),
        }
    }

    async fn put(&self, key: Key, mut record: Record) -> Result<(), BoxError> {
        let worthwhile = match (self.near.peek(key.as_bytes()), &mut record) {
            (before, Record::Entry(entry)) => entry.is_worth_writing(before, Instant::now()),
            _ => true,
        };
        self.reads.outdate(&key);
        self.near.put(key.clone(), record.clone()).await?;
        if !worthwhile {
            return Ok(());
        }
        if self.near.peek(key.as_bytes()).is_some() {
            self.later(&key, Write::Put(record));
            return Ok(());
        }
        self.far.put(key, record).await
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.reads.outdate(key);
        self.near.remove(key).await?;
        self.later(key, Write::Remove);
        Ok(())
    }

    async fn ping(&self) -> Result<(), BoxError> {
        self.far.ping().await
    }

    fn figures(&self) -> Figures {
        self.near.figures()
    }

    fn observed_by(&self, observer: &Arc<dyn Observer>) {
        self.observer.set(observer);
        self.near.observed_by(observer);
        self.far.observed_by(observer);
    }
}

impl<N: fmt::Debug, F: fmt::Debug> fmt::Debug for Tiered<N, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiered").field("near", &self.near).field("far", &self.far).finish()
    }
}

impl Entry {
    /// Until when it is fresh.
    fn fresh_until(&self, now: Instant) -> Option<Instant> {
        let lifetime = self.head.lifetime()?;
        let age = lifetime.current_age(self.resident(now));
        now.checked_add(lifetime.fresh_for.saturating_sub(age))
    }

    /// Whether it gains something if it is written far, in place of what was near `before` and may be far;
    /// takes note of what is far from now on.
    fn is_worth_writing(&mut self, before: Option<Record>, now: Instant) -> bool {
        let fresh_until = self.fresh_until(now);
        if let (Some(Record::Entry(before)), Some(until), Some(lifetime)) =
            (before, fresh_until, self.head.lifetime())
            && let Some(far) = before.far
            && self.says_the_same_as(&before)
            && until.saturating_duration_since(far) < lifetime.fresh_for / 10
        {
            self.far = before.far;
            return false;
        }
        self.far = fresh_until;
        true
    }

    /// Whether they differ in nothing but when they were validated.
    fn says_the_same_as(&self, other: &Self) -> bool {
        let moves = |name: &http::HeaderName| [AGE, DATE, EXPIRES, CACHE_STATUS].contains(name);
        let said = |entry: &Self| {
            let fields = entry.head.fields.iter().filter(|(name, _)| !moves(name));
            fields.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
        };
        self.body.as_ptr() == other.body.as_ptr()
            && self.body.len() == other.body.len()
            && self.head.fence == other.head.fence
            && self.head.names == other.head.names
            && self.head.sharing.without_age() == other.head.sharing.without_age()
            && said(self) == said(other)
    }
}

/// The look-ups that are under way.
#[derive(Default)]
struct Reads(Mutex<HashMap<Key, Weak<Read>>>);

/// One of them, for all who want to know.
struct Read {
    found: OnceCell<Result<Option<Record>, SharedError>>,
    outdated: AtomicBool,
}

impl Read {
    /// Whether the key was written since it began.
    fn is_outdated(&self) -> bool {
        self.outdated.load(SeqCst)
    }
}

/// A share in one, which is forgotten with the last.
struct Shared<'a> {
    read: Option<Arc<Read>>,
    key: &'a Key,
    reads: &'a Reads,
}

impl Reads {
    fn of<'a>(&'a self, key: &'a Key) -> Shared<'a> {
        let mut reads = lock(&self.0);
        let read = reads.get(key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let read = Read { found: OnceCell::new(), outdated: AtomicBool::new(false) };
            let read = Arc::new(read);
            reads.insert(key.clone(), Arc::downgrade(&read));
            read
        });
        Shared { read: Some(read), key, reads: self }
    }

    /// Who looks from now on looks anew.
    fn outdate(&self, key: &Key) {
        if let Some(read) = lock(&self.0).remove(key).and_then(|read| read.upgrade()) {
            read.outdated.store(true, SeqCst);
        }
    }
}

impl std::ops::Deref for Shared<'_> {
    type Target = Read;

    fn deref(&self) -> &Read {
        self.read.as_ref().expect("it is taken only where it is dropped")
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let Some(read) = self.read.take() else { return };
        let mut reads = lock(&self.reads.0);
        // Those who share it count, and nobody can begin to meanwhile.
        if Arc::strong_count(&read) == 1
            && reads.get(self.key).is_some_and(|known| known.as_ptr() == Arc::as_ptr(&read))
        {
            reads.remove(self.key);
        }
    }
}
