//! Look-ups that are given up at any moment: nobody gets the answer to another's question.

use std::{
    collections::BTreeMap,
    error::Error,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use fastrand::Rng;
use seawall::{
    circuit_breaker::State,
    store::{Key, Memcached, Record, Redis},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    entries::records,
    gone::addr,
    stack::{Remote, ms, paths, until},
};
use crate::support::{
    fault_proxy::{Fault, FaultProxy},
    servers,
};

const KEYS: usize = 512;
const CALLERS: u64 = 32;
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct Tally {
    right: AtomicUsize,
    /// Given up, and of these, once the question was with the server or on its way.
    given_up: AtomicUsize,
    under_way: AtomicUsize,
    failed: AtomicUsize,
    missing: AtomicUsize,
    wrong: AtomicUsize,
    errors: Mutex<BTreeMap<String, usize>>,
}

/// What is known to lie far.
type Known = Arc<Vec<(Key, Record)>>;

fn is(found: &Record, known: &Record) -> bool {
    match (found, known) {
        (Record::Entry(found), Record::Entry(known)) => {
            found.key() == known.key() && found.body() == known.body()
        }
        _ => false,
    }
}

/// An error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// When a look-up is given up.
#[derive(Clone, Copy, Debug)]
enum GiveUp {
    /// After so many polls at the most.
    Polls(usize),
    /// After so many microseconds at the most.
    Micros(u64),
}

/// The first of them to be ready; `None`: it was polled so many times, and was not.
async fn polled<F: Future>(work: F, mut polls: usize) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // Nobody has to wake this: it is given up here.
            Poll::Pending if polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// `gets` look-ups by many callers, of which about half are given up. Those that are counted in
/// microseconds are each for a key of the caller's own: none is shared.
async fn storm<S: Remote>(store: &S, known: &Known, gets: usize, give_up: GiveUp) -> Arc<Tally> {
    let (tally, left) = (Arc::<Tally>::default(), Arc::new(AtomicU64::new(gets as u64)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|seed| {
            let (store, known) = (store.clone(), Arc::clone(known));
            let (tally, left) = (Arc::clone(&tally), Arc::clone(&left));
            tokio::spawn(async move {
                let mut rng = Rng::with_seed(seed);
                while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let any = rng.usize(..known.len());
                    let own = any / CALLERS as usize * CALLERS as usize + seed as usize;
                    let (key, record) = match give_up {
                        GiveUp::Polls(_) => &known[any],
                        GiveUp::Micros(_) => &known[own],
                    };
                    let get = store.get(key);
                    let found = match give_up {
                        GiveUp::Polls(most) => polled(get, rng.usize(..=most)).await,
                        GiveUp::Micros(most) => {
                            let began = Instant::now();
                            let found = timeout(Duration::from_micros(rng.u64(..most)), get).await;
                            if found.is_err() && began.elapsed() >= ms(1) {
                                tally.under_way.fetch_add(1, Relaxed);
                            }
                            found.ok()
                        }
                    };
                    let count = match found {
                        None => &tally.given_up,
                        Some(Ok(Some(found))) if is(&found, record) => &tally.right,
                        Some(Ok(Some(_))) => &tally.wrong,
                        Some(Ok(None)) => &tally.missing,
                        // The full key is in the entry: a wrong one would show as this, too.
                        Some(Err(error)) if format!("{error:?}").contains("OtherKey") => {
                            &tally.wrong
                        }
                        Some(Err(error)) => {
                            let mut errors = tally.errors.lock().unwrap();
                            *errors.entry(chain(&*error)).or_default() += 1;
                            &tally.failed
                        }
                    };
                    count.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    tally
}

struct Place<'a, S> {
    what: &'a str,
    /// To the server,
    direct: S,
    /// and through the proxy.
    proxied: S,
    proxy: &'a FaultProxy,
    /// How many look-ups the server has answered so far.
    answered: &'a (dyn Fn() -> u64 + Sync),
}

async fn both<S: Remote>(place: Place<'_, S>, gets: usize, in_mid_reply: usize) {
    let Place { what, direct, proxied, proxy, answered } = place;
    let known: Known = Arc::new(records(paths("page", KEYS), 2_000).await);
    for store in [&direct, &proxied] {
        until("it is connected", async || store.ping().await.is_ok()).await;
    }
    for (key, record) in known.iter() {
        direct.put(key.clone(), record.clone()).await.unwrap();
    }
    let began = Instant::now();
    let tally = storm(&direct, &known, gets, GiveUp::Polls(3)).await;
    println!("{what}: {gets} look-ups in {:.1?}: {tally:?}", began.elapsed());
    assert_good(&tally, gets, what);

    // Replies take 4 ms, and look-ups are given up within 12.
    proxy.set(Fault::Latency { requests: ms(0), replies: ms(4) });
    let (mut mid, mut all, mut waited) = (0, 0, 0);
    let (before, began) = (answered(), Instant::now());
    while mid < in_mid_reply as u64 {
        assert!(all < 20 * in_mid_reply, "{what}: {mid} of {all}");
        let tally = storm(&proxied, &known, in_mid_reply, GiveUp::Micros(12_000)).await;
        assert_good(&tally, in_mid_reply, what);
        waited += (tally.right.load(Relaxed) + tally.failed.load(Relaxed)) as u64;
        all += in_mid_reply;
        // What the server has answered and nobody took was given up while its reply was on its way.
        sleep(ms(20)).await;
        mid = (answered() - before).saturating_sub(waited);
    }
    println!("{what}, in mid-reply: {mid} of {all} given up, {:.1?}", began.elapsed());
    assert!(proxy.counts().delayed > 100, "{:?}", proxy.counts());

    // Large replies in small pieces, which are given up between two of these.
    proxy.set(Fault::Bandwidth(32 << 20));
    let tally = storm(&proxied, &known, in_mid_reply / 2, GiveUp::Micros(20_000)).await;
    println!("{what}, piecemeal: {tally:?}, {:?}", proxy.counts());
    let wrong = tally.wrong.load(Relaxed) + tally.missing.load(Relaxed);
    assert_eq!(wrong, 0, "{what}");
    assert!(tally.under_way.load(Relaxed) > 100 && proxy.counts().throttled > 100, "{tally:?}");
    proxy.set(Fault::None);
    // Afterwards each is where it was.
    until("it is well", async || {
        proxied.health().state == State::Closed && proxied.ping().await.is_ok()
    })
    .await;
    for (key, record) in known.iter() {
        let found = proxied.get(key).await.unwrap().expect("it is there");
        assert!(is(&found, record), "{what}: {key:?}");
    }
}

fn assert_good(tally: &Tally, gets: usize, what: &str) {
    let of = |count: &AtomicUsize| count.load(Relaxed);
    assert_eq!((of(&tally.wrong), of(&tally.missing)), (0, 0), "{what}: {tally:?}");
    assert!(of(&tally.given_up) * 3 > gets, "{what}: {tally:?}");
    assert!(of(&tally.failed) * 100 <= gets, "{what}: {tally:?}");
}

/// A tenth of half a million, unless told otherwise: that takes a debug build a minute for each server, and
/// a release build seconds.
fn look_ups() -> usize {
    match std::env::var_os("SEAWALL_WHOLE_STORM") {
        Some(_) => 500_000,
        None => 50_000,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_up_look_ups_in_redis_leave_every_answer_with_its_question() {
    let server = servers::Redis::start();
    let proxy = FaultProxy::before(addr(&server)).await;
    // A busy machine must not open the breaker.
    let store =
        |url: String| Redis::builder().near_off().read_deadline(PATIENCE).connect(&url).unwrap();
    let (direct, proxied) = (store(server.url()), store(format!("redis://{}", proxy.addr())));
    let answered = || super::breaker::gets(&server);
    let place = Place { what: "redis", direct, proxied, proxy: &proxy, answered: &answered };
    both(place, look_ups(), 10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_up_look_ups_in_memcached_leave_every_answer_with_its_question() {
    let server = servers::Memcached::start();
    let proxy = FaultProxy::before(server.addr()).await;
    let store = |addr: SocketAddr| {
        let builder = Memcached::builder().near_off().read_deadline(PATIENCE);
        builder.connect([addr.to_string()]).unwrap()
    };
    let (direct, proxied) = (store(server.addr()), store(proxy.addr()));
    let answered = || server.stat("cmd_get").parse().unwrap();
    let place = Place { what: "memcached", direct, proxied, proxy: &proxy, answered: &answered };
    both(place, look_ups(), 10_000).await;
}
