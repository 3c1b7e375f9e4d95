//! Any store behind one type, so that a rule is one function and not one for each.

use std::{future::Future, pin::Pin, sync::Arc};

use seawall::{
    BoxError,
    observe::Observer,
    store::{Figures, Key, Record, Store},
};

type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

trait Erased: Send + Sync {
    fn peek(&self, key: &[u8]) -> Option<Record>;
    fn is_remote(&self) -> bool;
    fn has_deadlines(&self) -> bool;
    fn get<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<Record>>;
    fn put(&self, key: Key, record: Record) -> Pending<'_, ()>;
    fn remove<'a>(&'a self, key: &'a Key) -> Pending<'a, ()>;
    fn ping(&self) -> Pending<'_, ()>;
    fn figures(&self) -> Figures;
    fn observed_by(&self, observer: &Arc<dyn Observer>);
}

impl<S: Store> Erased for S {
    fn peek(&self, key: &[u8]) -> Option<Record> {
        Store::peek(self, key)
    }

    fn is_remote(&self) -> bool {
        Store::is_remote(self)
    }

    fn has_deadlines(&self) -> bool {
        Store::has_deadlines(self)
    }

    fn get<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<Record>> {
        Box::pin(Store::get(self, key))
    }

    fn put(&self, key: Key, record: Record) -> Pending<'_, ()> {
        Box::pin(Store::put(self, key, record))
    }

    fn remove<'a>(&'a self, key: &'a Key) -> Pending<'a, ()> {
        Box::pin(Store::remove(self, key))
    }

    fn ping(&self) -> Pending<'_, ()> {
        Box::pin(Store::ping(self))
    }

    fn figures(&self) -> Figures {
        Store::figures(self)
    }

    fn observed_by(&self, observer: &Arc<dyn Observer>) {
        Store::observed_by(self, observer);
    }
}

/// A store; a clone of it is the same store.
#[derive(Clone)]
pub(crate) struct Any(Arc<dyn Erased>);

impl Any {
    pub(crate) fn new(store: impl Store) -> Self {
        Self(Arc::new(store))
    }
}

impl Store for Any {
    fn peek(&self, key: &[u8]) -> Option<Record> {
        self.0.peek(key)
    }

    fn is_remote(&self) -> bool {
        self.0.is_remote()
    }

    fn has_deadlines(&self) -> bool {
        self.0.has_deadlines()
    }

    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        self.0.get(key).await
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        self.0.put(key, record).await
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.0.remove(key).await
    }

    async fn ping(&self) -> Result<(), BoxError> {
        self.0.ping().await
    }

    fn figures(&self) -> Figures {
        self.0.figures()
    }

    fn observed_by(&self, observer: &Arc<dyn Observer>) {
        self.0.observed_by(observer);
    }
}
