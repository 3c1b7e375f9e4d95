//! A store that does what it is told, and what it was asked.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall::{
    BoxError, CacheLayer,
    store::{Declined, Key, Record, Store},
};
use tokio::time::sleep;
use tower::Layer;

use crate::support::{answer, call, get, origin};

/// What it does with what it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Does {
    Work,
    Fail,
    Hang,
    /// It takes no writes, and says for how long.
    Decline(Option<Duration>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    Get(Key),
    Put(Key, String),
    Remove(Key),
    Ping,
}

#[derive(Clone)]
pub struct Far(Arc<Mutex<Inner>>);

struct Inner {
    does: Does,
    takes: Duration,
    asked: Vec<Asked>,
    records: HashMap<Key, Record>,
}

impl Far {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            does: Does::Work,
            takes: Duration::from_millis(1),
            asked: Vec::new(),
            records: HashMap::new(),
        })))
    }

    pub fn does(&self, does: Does) {
        self.0.lock().unwrap().does = does;
    }

    pub fn takes(&self, time: Duration) {
        self.0.lock().unwrap().takes = time;
    }

    /// What it was asked since this was last called.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    pub fn body(&self, key: &Key) -> Option<String> {
        self.0.lock().unwrap().records.get(key).map(body)
    }

    async fn ask(&self, asked: Asked) -> Result<(), BoxError> {
        let (does, takes) = {
            let mut inner = self.0.lock().unwrap();
            inner.asked.push(asked.clone());
            (inner.does, inner.takes)
        };
        sleep(takes).await;
        match does {
            Does::Work => Ok(()),
            Does::Fail => Err("out".into()),
            Does::Hang => pending().await,
            Does::Decline(time) if matches!(asked, Asked::Put(..)) => {
                let declined = Declined::new("full");
                Err(time.map_or(declined, |time| Declined::new("full").no_writes_for(time)).into())
            }
            Does::Decline(_) => Ok(()),
        }
    }
}

impl Store for Far {
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        self.ask(Asked::Get(key.clone())).await?;
        Ok(self.0.lock().unwrap().records.get(key).cloned())
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        self.ask(Asked::Put(key.clone(), body(&record))).await?;
        self.0.lock().unwrap().records.insert(key, record);
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.ask(Asked::Remove(key.clone())).await?;
        self.0.lock().unwrap().records.remove(key);
        Ok(())
    }

    async fn ping(&self) -> Result<(), BoxError> {
        self.ask(Asked::Ping).await
    }
}

pub fn body(record: &Record) -> String {
    match record {
        Record::Entry(entry) => String::from_utf8(entry.body().to_vec()).unwrap(),
        _ => "variants".to_owned(),
    }
}

/// A record as a cache would have it stored: of this path, with this body, fresh for a minute.
pub async fn record(path: &str, body: &str) -> (Key, Record) {
    #[derive(Clone, Default)]
    struct Taken(Arc<Mutex<Vec<(Key, Record)>>>);
    impl Store for Taken {
        async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> {
            Ok(None)
        }
        async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
            self.0.lock().unwrap().push((key, record));
            Ok(())
        }
        async fn remove(&self, _: &Key) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let (taken, body) = (Taken::default(), body.to_owned());
    let (_, origin) = origin(move |_, _| {
        let body = body.clone();
        async move { Ok(answer(&[("cache-control", "max-age=60")], body)) }
    });
    let mut service = CacheLayer::new(taken.clone()).layer(origin);
    call(&mut service, get(path)).await.unwrap();
    let record = taken.0.lock().unwrap().pop();
    record.unwrap()
}
