//! How many answers a second come from Redis, beside the bare client: `cargo bench --bench redis`.
//!
//! A `redis-server` is started for it. In each round all of them read the same 1 KiB answers, one after the
//! other, for a while; what is printed is the median of the rounds.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

#[allow(dead_code, unreachable_pub, reason = "tests use the rest of it")]
#[path = "../tests/support"]
mod support {
    pub mod servers;
}

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use seawall::{
    BoxError, Cache, CacheLayer,
    store::{Key, Record, Redis, Store},
};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

const KEYS: usize = 8_192;
const ROUND: Duration = Duration::from_millis(400);
const ROUNDS: usize = 9;

/// Hands on what it is asked, and takes note of the keys of answers.
#[derive(Clone)]
struct Noting(Redis, Arc<Mutex<Vec<Key>>>);

impl Store for Noting {
    fn has_deadlines(&self) -> bool {
        true
    }
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        self.0.get(key).await
    }
    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        if let Record::Entry(_) = &record {
            self.1.lock().unwrap().push(key.clone());
        }
        self.0.put(key, record).await
    }
    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.0.remove(key).await
    }
}

/// So many at once ask one after the other for a round: answers a second.
async fn rate<F, Fut>(callers: usize, ask: F) -> f64
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (began, done) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (ask, done) = (ask.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                // No two ask for the same at once: they would be answered together.
                let (own, mut number) = (KEYS / callers, 0);
                while began.elapsed() < ROUND {
                    for _ in 0..16 {
                        ask(caller * own + number % own).await;
                        number += 1;
                    }
                    done.fetch_add(16, Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    done.load(Relaxed) as f64 / began.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

// One thread, and one for the server.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = support::servers::Redis::start();
    let redis = Redis::builder()
        .near_off()
        // Nothing that a busy machine does is a failure here.
        .read_deadline(Duration::from_secs(5))
        .connect(&server.url())
        .unwrap();
    while redis.ping().await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let noting = Noting(redis.clone(), Arc::default());
    let origin = service_fn(|_: Request<Empty<Bytes>>| async {
        let answer = Response::builder()
            .header("cache-control", "max-age=600")
            .header("content-type", "application/json")
            .header("etag", "\"0123456789abcdef\"");
        Ok::<_, Infallible>(answer.body(Full::<Bytes>::from(vec![b'x'; 1024])).unwrap())
    });
    let service = CacheLayer::new(Cache::new(noting.clone())).layer(origin);
    let request = |number: usize| {
        let uri = format!("http://shop.example/products/{number}");
        Request::get(uri).body(Empty::<Bytes>::new()).unwrap()
    };
    for number in 0..KEYS {
        let answer = service.clone().oneshot(request(number)).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }
    while server.command(&["DBSIZE"]).integer() < KEYS as i64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let keys = noting.1.lock().unwrap().clone();
    assert_eq!(keys.len(), KEYS);
    let wire: Arc<Vec<_>> =
        Arc::new(keys.iter().map(|key| format!("seawall:{}", key.name())).collect());
    let keys = Arc::new(keys);
    let client = redis::Client::open(server.url()).unwrap();
    let bare = client.get_multiplexed_async_connection().await.unwrap();

    println!(
        "| at once | bare client, GET/s | `Redis` store | of it | whole `CacheLayer`, hits/s | of it |"
    );
    println!("|---|---|---|---|---|---|");
    for callers in [1, 64, 512] {
        let (mut bares, mut stores, mut layers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (connection, names) = (bare.clone(), Arc::clone(&wire));
            bares.push(
                rate(callers, move |number| {
                    let (mut connection, names) = (connection.clone(), Arc::clone(&names));
                    async move {
                        let mut command = redis::cmd("GET");
                        command.arg(&names[number]);
                        let value: Vec<u8> = command.query_async(&mut connection).await.unwrap();
                        assert!(value.len() > 1024);
                    }
                })
                .await,
            );
            let (store, known) = (redis.clone(), Arc::clone(&keys));
            stores.push(
                rate(callers, move |number| {
                    let (store, known) = (store.clone(), Arc::clone(&known));
                    async move {
                        let found = store.get(&known[number]).await.unwrap().unwrap();
                        let Record::Entry(entry) = found else { panic!("not an answer") };
                        assert_eq!(entry.body().len(), 1024);
                    }
                })
                .await,
            );
            let layer = service.clone();
            layers.push(
                rate(callers, move |number| {
                    let layer = layer.clone();
                    async move {
                        let answer = layer.oneshot(request(number)).await.unwrap();
                        let body = answer.into_body().collect().await.unwrap().to_bytes();
                        assert_eq!(body.len(), 1024);
                    }
                })
                .await,
            );
        }
        let (bare, store, layer) = (median(bares), median(stores), median(layers));
        println!(
            "| {callers} | {bare:.0} | {store:.0} | {:.2} | {layer:.0} | {:.2} |",
            store / bare,
            layer / bare
        );
    }
}
