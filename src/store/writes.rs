//! Writes that nobody waits for: a bounded queue in front of a store, with the latest write of each key.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{Key, Record, Store, late::Late};
use crate::{
    error::{BoxError, Rejected},
    observe::{Event, Operation},
    sync::{Mutex, lock},
};

/// More than this does not wait: keys, and bytes.
const MOST_KEYS: usize = 1024;
const MOST_BYTES: u64 = 64 << 20;
/// So many are written at once.
const AT_ONCE: usize = 16;

/// What is to become of a key.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Put(Record),
    Remove,
}

impl Write {
    fn weight(&self) -> u64 {
        match self {
            Self::Put(record) => record.weight(),
            Self::Remove => 0,
        }
    }
}

/// The queue of one store.
pub(super) struct Writes<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    store: Arc<S>,
    observer: Arc<Late>,
    queue: Mutex<Queue>,
    /// How many keys wait or are written.
    pending: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    order: VecDeque<Key>,
    waiting: HashMap<Key, Write>,
    /// Being written: of one key never two at once, or the earlier might end last.
    under_way: HashMap<Key, Write>,
    bytes: u64,
    workers: usize,
}

impl<S: Store> Writes<S> {
    pub(super) fn new(store: Arc<S>, observer: Arc<Late>) -> Self {
        let (queue, pending) = (Mutex::default(), AtomicUsize::new(0));
        Self { shared: Arc::new(Shared { store, observer, queue, pending }) }
    }

    /// Has it written soon, in place of what waits to be written of this key; `false`: the queue is full.
    pub(super) fn push(&self, key: &Key, write: Write) -> bool {
        let mut queue = lock(&self.shared.queue);
        let weight = write.weight();
        let before = queue.waiting.get(key).map(Write::weight);
        let bytes = queue.bytes - before.unwrap_or_default() + weight;
        if bytes > MOST_BYTES || before.is_none() && queue.waiting.len() >= MOST_KEYS {
            if let Some(before) = before {
                // What waits is older than what should have taken its place.
                queue.waiting.insert(key.clone(), Write::Remove);
                queue.bytes -= before;
            }
            return false;
        }
        queue.bytes = bytes;
        queue.waiting.insert(key.clone(), write);
        if before.is_none() {
            queue.order.push_back(key.clone());
            self.shared.pending.fetch_add(1, Relaxed);
        }
        if queue.workers < AT_ONCE {
            queue.workers += 1;
            let worker = Worker { shared: Arc::clone(&self.shared), counts: true };
            drop(queue);
            tokio::spawn(worker.run());
        }
        true
    }

    /// What will be there once all is written, if that is known.
    pub(super) fn pending(&self, key: &Key) -> Option<Write> {
        if self.shared.pending.load(Relaxed) == 0 {
            return None;
        }
        let queue = lock(&self.shared.queue);
        queue.waiting.get(key).or_else(|| queue.under_way.get(key)).cloned()
    }
}

impl Queue {
    /// The first key that is not being written, and what is to become of it.
    fn next(&mut self) -> Option<(Key, Write)> {
        for _ in 0..self.order.len() {
            let key = self.order.pop_front()?;
            if self.under_way.contains_key(&key) {
                self.order.push_back(key);
            } else if let Some(write) = self.waiting.remove(&key) {
                self.bytes -= write.weight();
                self.under_way.insert(key.clone(), write.clone());
                return Some((key, write));
            }
        }
        None
    }
}

/// One of those that write. However it ends, there is one less.
struct Worker<S: Store> {
    shared: Arc<Shared<S>>,
    counts: bool,
}

impl<S: Store> Worker<S> {
    async fn run(mut self) {
        while let Some((key, write)) = self.next() {
            let writing = Writing { shared: &self.shared, key };
            let store = &self.shared.store;
            let (operation, done) = match write {
                Write::Put(record) => {
                    (Operation::Put, store.put(writing.key.clone(), record).await)
                }
                Write::Remove => (Operation::Remove, store.remove(&writing.key).await),
            };
            drop(writing);
            if let Err(error) = done {
                tell_failed(&self.shared.observer, operation, &error);
            }
        }
    }

    /// The next write; where there is none it does not count any more, and whoever adds one knows.
    fn next(&mut self) -> Option<(Key, Write)> {
        let mut queue = lock(&self.shared.queue);
        let next = queue.next();
        if next.is_none() {
            queue.workers -= 1;
            self.counts = false;
        }
        next
    }
}

impl<S: Store> Drop for Worker<S> {
    fn drop(&mut self) {
        if self.counts {
            lock(&self.shared.queue).workers -= 1;
        }
    }
}

struct Writing<'a, S> {
    shared: &'a Shared<S>,
    key: Key,
}

impl<S> Drop for Writing<'_, S> {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.under_way.remove(&self.key);
        self.shared.pending.fetch_sub(1, Relaxed);
    }
}

fn tell_failed(observer: &Late, operation: Operation, error: &BoxError) {
    let refused = Rejected::find(&**error).is_some();
    observer.tell(&match refused {
        true => Event::StoreRefused { operation },
        false => Event::StoreFailed { operation, error: &**error },
    });
}

impl<S> fmt::Debug for Writes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = self.shared.pending.load(Relaxed);
        f.debug_struct("Writes").field("pending", &pending).finish_non_exhaustive()
    }
}
