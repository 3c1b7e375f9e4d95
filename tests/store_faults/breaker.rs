//! When the breaker of a store opens, and when it does not.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use fastrand::Rng;
use seawall::{
    BoxError, Cache, Rejected,
    circuit_breaker::State,
    observe::Event,
    store::{Guarded, Key, Memcached as MemcachedStore, Record, Store},
};
use tokio::time::{Instant, sleep};

use super::{
    gone::store,
    stack::{Remote, Stack, Times, ms, tenfold, until},
};
use crate::support::servers::{Memcached, Redis};

/// Of these look-ups, how many the store refuses, and from which on.
async fn refused_from<S: Remote>(store: &S) -> (usize, Times) {
    let (mut refused, mut times) = (None, Vec::new());
    for number in 0..1000_usize {
        let began = Instant::now();
        let found = store.get(&Key::from(&number.to_be_bytes()[..])).await;
        let error = found.expect_err("it is out");
        match (Rejected::find(&*error), refused) {
            (None, None) => {}
            (Some(_), None) => refused = Some(number),
            (Some(_), Some(_)) => times.push(began.elapsed()),
            (None, Some(_)) => panic!("look-up {number} is not refused: {error}"),
        }
    }
    (refused.expect("it opens"), Times::new(times))
}

/// As many as have reached it.
pub fn gets(server: &Redis) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]).field("cmdstat_get");
    let calls = stats.and_then(|stats| Some(stats.split_once("calls=")?.1.to_owned()));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn it_opens_at_the_fifth_failure_in_a_row_of_a_killed_redis() {
    let mut server = Redis::start();
    let stack = Stack::over(store(&server.url(), true)).await;
    server.kill();
    let (from, times) = refused_from(&stack.store).await;
    println!("killed: a refused look-up takes {times}");
    assert_eq!((from, stack.store.health().failures), (5, 5));
    assert_eq!((stack.told().opened, stack.told().in_a_row), (1, 1));
    assert!(times.at(99) <= tenfold(1), "{times}");
}

#[tokio::test]
async fn five_calls_reach_a_frozen_redis_and_then_none() {
    let server = Redis::start();
    let stack = Stack::over(store(&server.url(), true)).await;
    server.freeze();
    let (from, times) = refused_from(&stack.store).await;
    println!("frozen: a refused look-up takes {times}");
    assert_eq!((from, stack.store.health().failures), (5, 5));
    assert_eq!((stack.told().opened, stack.told().in_a_row), (1, 1));
    assert!(times.at(99) <= tenfold(1), "{times}");
    server.thaw();
    assert_eq!(gets(&server), 5);
}

#[tokio::test]
async fn it_opens_at_the_fifth_failure_in_a_row_of_a_memcached() {
    for killed in [true, false] {
        let mut server = Memcached::start();
        let stack =
            Stack::over(MemcachedStore::connect([server.addr().to_string()]).unwrap()).await;
        match killed {
            true => server.kill(),
            false => server.freeze(),
        }
        let (from, times) = refused_from(&stack.store).await;
        println!("memcached: a refused look-up takes {times}");
        assert_eq!((from, stack.store.health().failures), (5, 5), "killed: {killed}");
        assert_eq!((stack.told().opened, stack.told().in_a_row), (1, 1));
        assert!(times.at(99) <= tenfold(1), "{times}");
        if !killed {
            server.thaw();
            until("it has read them", async || server.stat("cmd_get") != "0").await;
            assert_eq!(server.stat("cmd_get"), "5");
        }
    }
}

/// Fails one call of a hundred, at random.
#[derive(Clone)]
struct Frail(Arc<Calls>);

struct Calls {
    rng: Mutex<Rng>,
    calls: AtomicU64,
    failed: AtomicU64,
}

impl Frail {
    fn may_fail(&self) -> Result<(), BoxError> {
        self.0.calls.fetch_add(1, SeqCst);
        if self.0.rng.lock().unwrap().u8(..100) == 0 {
            self.0.failed.fetch_add(1, SeqCst);
            return Err("one of a hundred".into());
        }
        Ok(())
    }
}

impl Store for Frail {
    async fn get(&self, _: &Key) -> Result<Option<Record>, BoxError> {
        self.may_fail().map(|()| None)
    }

    async fn put(&self, _: Key, _: Record) -> Result<(), BoxError> {
        self.may_fail()
    }

    async fn remove(&self, _: &Key) -> Result<(), BoxError> {
        self.may_fail()
    }
}

#[tokio::test(start_paused = true)]
async fn one_failure_in_a_hundred_at_ten_thousand_calls_a_second_never_opens_it() {
    for seed in 0..3 {
        let (rng, calls, failed) = (Mutex::new(Rng::with_seed(seed)), 0.into(), 0.into());
        let frail = Frail(Arc::new(Calls { rng, calls, failed }));
        let guarded = Guarded::new(frail.clone());
        let changes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&changes);
        let observer = move |event: &Event<'_>| {
            if let Event::CircuitChanged { .. } = event {
                counted.fetch_add(1, SeqCst);
            }
        };
        let _cache = Cache::builder(guarded.clone()).observer(observer).build();
        let key = Key::from(&b"key"[..]);
        for _ in 0..10_000 {
            for _ in 0..10 {
                let _ = guarded.get(&key).await;
            }
            sleep(ms(1)).await;
        }
        let (calls, failed) = (frail.0.calls.load(SeqCst), frail.0.failed.load(SeqCst));
        println!("seed {seed}: {failed} of {calls} failed");
        assert_eq!(calls, 100_000, "none was refused");
        assert!((800..1_200).contains(&failed), "{failed}");
        assert_eq!(guarded.status().failures, failed);
        assert_eq!((changes.load(SeqCst), guarded.status().state), (0, State::Closed));
    }
}

#[tokio::test]
async fn while_it_is_open_a_hit_costs_nothing_and_a_miss_a_millisecond_at_the_most() {
    let mut server = Redis::start();
    let stack = Stack::over(store(&server.url(), true)).await;
    let paths = |prefix, count| super::stack::paths(prefix, count);
    stack.times(paths("warm", 1)).await;
    stack.settled().await;
    let hot = || (0..5_000).map(|_| "/warm/0".to_owned());
    let (hits, misses) = (stack.times(hot()).await, stack.times(paths("well", 1_000)).await);
    server.kill();
    stack.opens("early").await;
    let (open_hits, open) = (stack.times(hot()).await, stack.times(paths("dark", 1_000)).await);
    println!(
        "healthy: hit {hits}\n         miss {misses}\nopen:    hit {open_hits}\n         miss {open}"
    );
    open.assert_near(&misses, tenfold(1), "a miss");
    assert!(open_hits.at(50) <= 10 * hits.at(50), "{open_hits} after {hits}");
    open_hits.assert_near(&hits, ms(1), "a hit");
    let told = stack.told();
    assert_eq!((told.hits, told.opened), (10_000, 1));
    assert!(told.refused >= 1_000, "{told:?}");
}
