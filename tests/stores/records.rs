//! Records to put into a store: made by a cache, as all of them are.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use seawall::{
    BoxError, CacheLayer,
    store::{Key, Record, Store},
};
use tower::Layer;

use crate::support::{answer, call, get, origin};

/// A store that hands out what it was given.
#[derive(Clone, Default)]
struct Hands(Arc<Mutex<Vec<Record>>>);

impl Store for Hands {
    fn is_remote(&self) -> bool {
        true
    }

    async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> {
        Ok(None)
    }

    async fn put(&self, _: Key, record: Record) -> Result<(), BoxError> {
        self.0.lock().unwrap().push(record);
        Ok(())
    }

    async fn remove(&self, _: &Key) -> Result<(), BoxError> {
        Ok(())
    }
}

/// An answer that is fresh for an hour.
pub(crate) async fn record(body: impl Into<Bytes>) -> Record {
    record_with("max-age=3600", body, |layer| layer).await
}

pub(crate) async fn record_with(
    control: &'static str,
    body: impl Into<Bytes>,
    set: impl FnOnce(CacheLayer) -> CacheLayer,
) -> Record {
    let (hands, body) = (Hands::default(), body.into());
    let (_, inner) = origin(move |_, _| {
        let response = answer(&[("cache-control", control), ("etag", "\"v\"")], body.clone());
        async move { Ok(response) }
    });
    let mut service = set(CacheLayer::new(hands.clone())).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    loop {
        // It is put once its body has ended, in a task of its own.
        if let Some(record) = hands.0.lock().unwrap().pop() {
            return record;
        }
        tokio::task::yield_now().await;
    }
}
