//! The stores of the suite, one row each, and the processes that share one.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, LazyLock, Mutex, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use seawall::{
    BoxError, Cache, CacheLayer,
    store::{Key, Store},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock},
    time::{Instant, sleep},
};
use tower::{Layer, util::BoxCloneService};

use crate::{
    any::Any,
    contents::body,
    shelf::{Nowhere, Settings, Shelf},
    support::{BoxedOrigin, Read, Req, boxed, call},
};

/// A store of the suite: what it keeps things on, and whether something is near.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    start: fn() -> Arc<dyn Shelf>,
    near: Option<u64>,
}

/// What is shared by the tests of a row that do not mind each other.
type Started = Arc<OnceLock<Arc<RwLock<Arc<dyn Shelf>>>>>;

impl Row {
    pub(crate) const fn new(name: &'static str, start: fn() -> Arc<dyn Shelf>) -> Self {
        Self { name, start, near: Some(16 << 20) }
    }

    pub(crate) const fn near_off(mut self) -> Self {
        self.near = None;
        self
    }

    /// Whether several processes have it.
    pub(crate) fn is_shared(&self) -> bool {
        self.name != "memory"
    }

    /// Whether what is far is a server, and not a [`Map`](crate::map::Map).
    pub(crate) fn is_on_a_server(&self) -> bool {
        ["redis", "memcached"].iter().any(|server| self.name.starts_with(server))
    }

    /// One or the other, by whether something is near.
    pub(crate) fn near_is<T>(&self, near: T, nothing: T) -> T {
        if self.near.is_some() { near } else { nothing }
    }

    /// Each row has its servers once for all tests, that starting them does not take all the time.
    fn started(&self, alone: bool) -> Arc<RwLock<Arc<dyn Shelf>>> {
        static ALL: LazyLock<Mutex<HashMap<(&str, bool), Started>>> = LazyLock::new(Mutex::default);
        // Those who are alone do not wait for all others, unless there is much to start.
        let another = alone && self.name != "redis_cluster";
        let started = Arc::clone(ALL.lock().unwrap().entry((self.name, another)).or_default());
        Arc::clone(started.get_or_init(|| Arc::new(RwLock::new((self.start)()))))
    }

    /// With other tests beside this one, in other namespaces.
    pub(crate) async fn shared(&self) -> Place {
        self.place(Held::Shared(self.started(false).read_owned().await))
    }

    /// With nobody else: for what counts, or freezes, or looks at everything.
    pub(crate) async fn alone(&self) -> Place {
        let place = self.place(Held::Alone(self.started(true).write_owned().await));
        if place.shelf().servers() > 0 {
            // Those of tests that have ended.
            eventually("all others are gone", || place.shelf().connections() == 0).await;
        }
        place
    }

    /// With nobody else, and nothing in it.
    pub(crate) async fn emptied(&self) -> Place {
        if self.name.starts_with("memcached") {
            // It cannot be emptied at once, and is started in no time.
            return self.place(Held::Own((self.start)()));
        }
        let place = self.alone().await;
        place.shelf().clear();
        place
    }

    fn place(&self, held: Held) -> Place {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let namespace = format!("ns-{}", LAST.fetch_add(1, SeqCst));
        let settings = Settings { near: self.near, ..Settings::of(namespace) };
        Place { row: self.name, held, settings, idle: Arc::default() }
    }
}

enum Held {
    Nothing,
    Own(Arc<dyn Shelf>),
    Shared(OwnedRwLockReadGuard<Arc<dyn Shelf>>),
    Alone(OwnedRwLockWriteGuard<Arc<dyn Shelf>>),
}

/// One row for one test.
pub(crate) struct Place {
    pub(crate) row: &'static str,
    held: Held,
    pub(crate) settings: Settings,
    /// How many tasks the processes have that do nothing.
    idle: Arc<AtomicUsize>,
}

/// That of a process which was told where the servers are.
impl Place {
    pub(crate) fn nowhere(settings: Settings) -> Self {
        Self { row: "another process", held: Held::Nothing, settings, idle: Arc::default() }
    }

    pub(crate) async fn process_at(&self, store: Any, origin: &Origin) -> Process {
        let opened = self.connected(store, 3).await;
        Process::over(opened, origin, |layer| layer)
    }
}

pub(crate) type Boxed = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Service = BoxCloneService<Req, Response<Boxed>, BoxError>;

impl Place {
    pub(crate) fn shelf(&self) -> &dyn Shelf {
        match &self.held {
            Held::Nothing => &Nowhere,
            Held::Own(shelf) => &**shelf,
            Held::Shared(shelf) => &***shelf,
            Held::Alone(shelf) => &***shelf,
        }
    }

    /// What the server calls this key.
    pub(crate) fn wire(&self, key: &Key) -> String {
        format!("{}:{}", self.settings.namespace, key.name())
    }

    /// One more store on the same, as another process has it.
    pub(crate) async fn open(&self) -> Opened {
        self.open_with(&self.settings).await
    }

    pub(crate) async fn open_with(&self, settings: &Settings) -> Opened {
        self.settled().await;
        self.connected(self.shelf().open(settings), self.shelf().servers()).await
    }

    async fn connected(&self, store: Any, servers: usize) -> Opened {
        if servers > 0 {
            connected(&store, servers).await;
        }
        let tasks = alive() - self.idle.load(SeqCst);
        self.idle.fetch_add(tasks, SeqCst);
        Opened { store, tasks, idle: Arc::clone(&self.idle) }
    }

    /// A process with a cache over such a store.
    pub(crate) async fn process(&self, origin: &Origin) -> Process {
        self.process_with(&self.settings, origin, |layer| layer.store_unframed(true)).await
    }

    pub(crate) async fn process_with(
        &self,
        settings: &Settings,
        origin: &Origin,
        set: impl FnOnce(CacheLayer) -> CacheLayer,
    ) -> Process {
        let opened = self.open_with(settings).await;
        Process::over(opened, origin, set)
    }

    /// Once this returns, all that went on behind a caller's back is done: what is left are the tasks
    /// that each store has while it does nothing.
    pub(crate) async fn settled(&self) {
        let what = format!("{}: what goes on has an end", self.row);
        eventually(&what, || alive() <= self.idle.load(SeqCst)).await;
    }
}

/// The tasks of this test, but the test itself.
pub(crate) fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Polls it once; `None`: it has to be waited for.
pub(crate) async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Looks all of these up at once.
pub(crate) async fn looked_up(
    store: &Any,
    keys: impl IntoIterator<Item = Key>,
) -> Vec<Option<Bytes>> {
    let gets = keys.into_iter().map(|key| {
        let store = store.clone();
        tokio::spawn(async move { body(store.get(&key).await.unwrap()) })
    });
    let mut found = Vec::new();
    for get in gets.collect::<Vec<_>>() {
        found.push(get.await.unwrap());
    }
    found
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    let mut is_so = is_so;
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "not so for ten seconds: {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Every server that the store has is connected, and what connecting took is done.
async fn connected(store: &Any, servers: usize) {
    let began = Instant::now();
    while store.ping().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "it does not connect");
        sleep(Duration::from_millis(1)).await;
    }
    if servers == 1 {
        return;
    }
    // One of them may have answered: of so many keys each has some.
    let mut at = 0_u32;
    while at < 48 {
        match store.get(&Key::from(&at.to_be_bytes()[..])).await {
            Ok(_) => at += 1,
            Err(error) => {
                assert!(began.elapsed() < Duration::from_secs(10), "{error}");
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
    let (mut tasks, mut same) = (alive(), 0);
    while same < 3 {
        sleep(Duration::from_millis(1)).await;
        same = if alive() == tasks { same + 1 } else { 0 };
        tasks = alive();
    }
}

/// A store of one process.
pub(crate) struct Opened {
    pub(crate) store: Any,
    tasks: usize,
    idle: Arc<AtomicUsize>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.idle.fetch_sub(self.tasks, SeqCst);
    }
}

impl std::ops::Deref for Opened {
    type Target = Any;

    fn deref(&self) -> &Any {
        &self.store
    }
}

pub(crate) type Origin = BoxedOrigin<Boxed>;

/// A store, a cache over it, and a service.
pub(crate) struct Process {
    pub(crate) store: Opened,
    pub(crate) cache: Cache,
    pub(crate) service: Service,
}

impl Process {
    pub(crate) fn over(
        store: Opened,
        origin: &Origin,
        set: impl FnOnce(CacheLayer) -> CacheLayer,
    ) -> Self {
        let cache = Cache::new(store.store.clone());
        let layer = set(CacheLayer::new(cache.clone()));
        let service = layer.layer(origin.clone());
        let service =
            tower::ServiceExt::map_response(service, |response: Response<_>| response.map(boxed));
        Self { store, cache, service: BoxCloneService::new(service) }
    }

    pub(crate) async fn ask(&self, request: Req) -> Read {
        call(&mut self.service.clone(), request).await.unwrap()
    }
}
