//! An origin that fails in four ways, seen from its clients: how often it is asked, and what they get
//! meanwhile.

use std::{
    net::SocketAddr,
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use hyper::body::Incoming;
use seawall::{Cache, CacheLayer, RespondLayer};
use tokio::{
    net::TcpSocket,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::support::{
    Calls, cache, cache_builder,
    sockets::{
        Upstream,
        client::{Answer, Client, get},
        eventually,
        origin::{Play, bytes, scripted},
        serve,
    },
};

const CALLERS: usize = 100;
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n";

/// A step ends at most a tenth before its time.
const EARLIEST: f64 = 0.9;

/// More calls than any of these tests makes.
const ALL: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Answers503,
    Refuses,
    Hangs,
    Resets,
}

const FAULTS: [Fault; 4] = [Fault::Answers503, Fault::Refuses, Fault::Hangs, Fault::Resets];

impl Fault {
    /// What a client sees of it where the failure itself is handed on.
    fn status(self) -> u16 {
        match self {
            Self::Answers503 => 503,
            Self::Refuses | Self::Resets => 502,
            Self::Hangs => 504,
        }
    }

    /// What of it is told with a stale answer by a call that went forward.
    fn forwarded(self) -> &'static str {
        match self {
            Self::Answers503 => "fwd=stale; fwd-status=503",
            _ => "fwd=stale",
        }
    }

    /// A cache that waits for this origin no longer than the test can.
    fn cache(self) -> Cache {
        match self {
            Self::Hangs => cache_builder().fetch_deadline(Duration::from_millis(100)).build(),
            _ => cache(),
        }
    }
}

/// An origin that breaks and is mended when told, and notes when it is called.
#[derive(Clone)]
struct Origin {
    fault: Arc<Mutex<Option<Fault>>>,
    calls: Arc<Mutex<Vec<Instant>>>,
    /// Each call waits here on its way.
    gate: Arc<Semaphore>,
    addr: SocketAddr,
    /// Bound, and not listened on: connections to it are refused.
    closed: Arc<TcpSocket>,
}

impl Origin {
    /// `first` is what its first answer says of its lifetime; later ones are good for long.
    async fn new(first: &'static str) -> Self {
        let fault = Arc::<Mutex<Option<Fault>>>::default();
        let calls = Arc::<Mutex<Vec<Instant>>>::default();
        let (state, noted) = (Arc::clone(&fault), Arc::clone(&calls));
        let origin = scripted(move |call, _| {
            noted.lock().unwrap().push(Instant::now());
            match *state.lock().unwrap() {
                None => {
                    let control = if call == 0 { first } else { "max-age=600" };
                    let head = format!("HTTP/1.1 200 OK\r\ncache-control: {control}\r\n");
                    vec![bytes(format!("{head}content-length: 4\r\n\r\ngood"))]
                }
                Some(Fault::Answers503) => {
                    vec![bytes("HTTP/1.1 503 Broken\r\ncontent-length: 6\r\n\r\nbroken")]
                }
                Some(Fault::Hangs) => vec![Play::Hang],
                Some(Fault::Refuses | Fault::Resets) => vec![Play::Reset],
            }
        })
        .await;
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let gate = Arc::new(Semaphore::new(ALL));
        Self { fault, calls, gate, addr: origin.addr, closed: Arc::new(closed) }
    }

    /// Serves it behind `layer`; a connection that is refused is noted where it is tried.
    async fn behind(&self, layer: CacheLayer) -> SocketAddr {
        let origin = self.clone();
        let connect = service_fn(move |request: Request<Incoming>| {
            let origin = origin.clone();
            async move {
                origin.gate.acquire().await.unwrap().forget();
                let refuses = *origin.fault.lock().unwrap() == Some(Fault::Refuses);
                if refuses {
                    origin.calls.lock().unwrap().push(Instant::now());
                }
                let addr = if refuses { origin.closed.local_addr()? } else { origin.addr };
                Upstream::http1(addr).oneshot(request).await
            }
        });
        let layers = ServiceBuilder::new().layer(RespondLayer::new()).layer(layer);
        serve(layers.service(connect)).await
    }

    fn becomes(&self, fault: impl Into<Option<Fault>>) {
        *self.fault.lock().unwrap() = fault.into();
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// What lies between the calls from number `from` on.
    fn gaps(&self, from: usize) -> Vec<Duration> {
        self.calls.lock().unwrap()[from..].windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn assert_steps(&self, fault: Fault, from: usize, steps: &[u64]) {
        let gaps = self.gaps(from);
        println!("{fault:?}: asked again after {gaps:.0?}");
        assert!(gaps.len() <= steps.len(), "{fault:?}: {gaps:?}");
        for (gap, &step) in gaps.iter().zip(steps) {
            let least = Duration::from_millis(step).mul_f64(EARLIEST);
            assert!(*gap >= least, "{fault:?}: {gaps:?} for {steps:?}");
        }
    }
}

async fn connected(addr: SocketAddr) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..CALLERS {
        clients.push(Client::connect(addr).await);
    }
    clients
}

/// All ask while no call goes through; then all go on.
async fn all_present(
    origin: &Origin,
    cache: &Cache,
    clients: Vec<Client>,
) -> (Vec<Client>, Vec<Answer>) {
    let hangs = *origin.fault.lock().unwrap() == Some(Fault::Hangs);
    let held = if hangs { 0 } else { origin.gate.forget_permits(ALL) };
    let mut asking = JoinSet::new();
    for mut client in clients {
        asking.spawn(async move {
            let answer = client.ask(GET).await;
            (client, answer)
        });
    }
    if !hangs {
        eventually("all there", || cache.figures().followers == CALLERS - 1).await;
    }
    origin.gate.add_permits(held);
    asking.join_all().await.into_iter().unzip()
}

async fn all_at_once(clients: Vec<Client>) -> Vec<Answer> {
    let asking = clients.into_iter().map(|mut client| async move { client.ask(GET).await });
    asking.collect::<JoinSet<_>>().join_all().await
}

/// Every client asks four times a second, and no two at the same time, until `seen` breaks.
async fn all_ask_on<F>(clients: Vec<Client>, seen: F) -> Vec<Client>
where
    F: Fn(&Answer) -> ControlFlow<()> + Clone + Send + Sync + 'static,
{
    let mut asking = JoinSet::new();
    let pause = Duration::from_millis(250);
    for (number, mut client) in clients.into_iter().enumerate() {
        let seen = seen.clone();
        asking.spawn(async move {
            sleep(pause * number as u32 / CALLERS as u32).await;
            while seen(&client.ask(GET).await).is_continue() {
                sleep(pause).await;
            }
            client
        });
    }
    asking.join_all().await
}

fn is_refused(answer: &Answer) -> bool {
    if answer.status != 503 || answer.text() != "503 Service Unavailable\n" {
        return false;
    }
    let seconds: u64 = answer.field("retry-after").expect("a time").parse().expect("whole seconds");
    assert!((1..=2).contains(&seconds), "{answer:?}");
    true
}

async fn fails_a_cold_key(fault: Fault) {
    let origin = Origin::new("max-age=600").await;
    let cache = fault.cache();
    let addr = origin.behind(CacheLayer::new(cache.clone())).await;
    origin.becomes(fault);

    let (clients, answers) = all_present(&origin, &cache, connected(addr).await).await;
    assert_eq!(origin.calls(), 1, "{fault:?}");
    let first = origin.calls.lock().unwrap()[0];
    for answer in &answers {
        assert!(answer.status == fault.status() || is_refused(answer), "{fault:?}: {answer:?}");
    }

    let refused = Calls::default();
    let mending = {
        let origin = origin.clone();
        tokio::spawn(async move {
            // The steps so far are over, even if every one of them was as long as it says; the next
            // is not, even if every one was as short as it may be.
            sleep_until(first + Duration::from_secs(5)).await;
            let calls = origin.calls();
            origin.becomes(None);
            calls
        })
    };
    let counted = refused.clone();
    let clients = all_ask_on(clients, move |answer| {
        if answer.status == 200 {
            return ControlFlow::Break(());
        }
        if is_refused(answer) {
            counted.add();
        } else {
            assert_eq!(answer.status, fault.status(), "{fault:?}: {answer:?}");
        }
        ControlFlow::Continue(())
    })
    .await;
    assert_eq!(mending.await.unwrap(), 5, "{fault:?}: {:?}", origin.gaps(0));
    origin.assert_steps(fault, 0, &[250, 500, 1_000, 2_000, 2_000]);
    println!("{fault:?}: {} refused", refused.count());
    assert!(refused.count() > CALLERS, "{fault:?}");

    for answer in all_at_once(clients).await {
        assert!(answer.status == 200 && answer.is_hit(), "{fault:?}: {answer:?}");
    }
    assert_eq!((origin.calls(), cache.figures().failing), (6, 0), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_callers_of_a_cold_key_ask_a_failing_origin_once_and_then_once_a_step() {
    let _alone = crate::alone().await;
    let tests = FAULTS.map(|fault| tokio::spawn(fails_a_cold_key(fault)));
    for test in tests {
        test.await.unwrap();
    }
}

/// Why answers were given that are stale.
#[derive(Clone, Default)]
struct Told {
    led: Calls,
    collapsed: Calls,
    hits: Calls,
}

impl Told {
    fn note(&self, fault: Fault, answer: &Answer) {
        let said = answer.cache_status().strip_suffix("; detail=stale-if-error");
        let said = said.unwrap_or_else(|| panic!("{fault:?}: {answer:?}"));
        match said.strip_prefix(fault.forwarded()) {
            Some("") => self.led.add(),
            Some("; collapsed") => self.collapsed.add(),
            _ => {
                assert_eq!(said, "hit", "{fault:?}: {answer:?}");
                self.hits.add()
            }
        };
    }

    fn counts(&self) -> (usize, usize, usize) {
        (self.led.count(), self.collapsed.count(), self.hits.count())
    }
}

async fn fails_a_stale_key(fault: Fault, control: &'static str, layer_if_error: Duration) {
    let origin = Origin::new(control).await;
    let cache = fault.cache();
    let layer = CacheLayer::new(cache.clone()).stale_if_error(layer_if_error);
    let addr = origin.behind(layer).await;
    let clients = connected(addr).await;
    let asked = Instant::now();
    assert_eq!(get(addr, "/").await.text(), "good");
    let stored = Instant::now();
    let is_stale = move |answer: &Answer, since: Instant| {
        assert_eq!((answer.status, answer.text()), (200, "good"), "{fault:?}: {answer:?}");
        let age: u64 = answer.field("age").unwrap().parse().unwrap();
        let possible = (since - stored).as_secs()..=asked.elapsed().as_secs();
        assert!(possible.contains(&age), "{fault:?}: {age} is not in {possible:?}");
    };
    sleep_until(stored + Duration::from_millis(1_050)).await;
    origin.becomes(fault);

    let since = Instant::now();
    let (clients, answers) = all_present(&origin, &cache, clients).await;
    let told = Told::default();
    for answer in &answers {
        is_stale(answer, since);
        told.note(fault, answer);
    }
    let (led, collapsed, hits) = told.counts();
    assert_eq!((origin.calls(), led, collapsed + hits), (2, 1, CALLERS - 1), "{fault:?}");
    assert!(hits == 0 || fault == Fault::Hangs, "{fault:?}: {hits} did not ask for themselves");

    let mending = {
        let origin = origin.clone();
        tokio::spawn(async move {
            eventually("asked five times in vain", || origin.calls() == 6).await;
            // Longer than any step where there is nothing to give meanwhile, and shorter than this.
            sleep(Duration::from_millis(3_300)).await;
            let calls = origin.calls();
            origin.becomes(None);
            calls
        })
    };
    let (told, noted) = (Told::default(), Instant::now());
    let telling = told.clone();
    let clients = all_ask_on(clients, move |answer| {
        if !answer.cache_status().contains("detail") {
            return ControlFlow::Break(());
        }
        is_stale(answer, noted);
        telling.note(fault, answer);
        ControlFlow::Continue(())
    })
    .await;
    assert_eq!(mending.await.unwrap(), 6, "{fault:?}: {:?}", origin.gaps(1));
    origin.assert_steps(fault, 1, &[250, 500, 1_000, 2_000, 4_000]);
    println!("{fault:?}, led, collapsed, hits: {:?}", told.counts());
    let (led, collapsed, hits) = told.counts();
    assert_eq!(led, 4, "{fault:?}: one for each call");
    assert!(hits > 10 * CALLERS && hits > 5 * collapsed, "{fault:?}: {:?}", told.counts());

    for answer in all_at_once(clients).await {
        assert!(answer.status == 200 && answer.cache_status() == "hit", "{fault:?}: {answer:?}");
    }
    assert_eq!((origin.calls(), cache.figures().failing), (7, 0), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_callers_of_a_stale_key_are_answered_with_it_while_the_origin_fails() {
    let _alone = crate::alone().await;
    let minute = Duration::from_secs(60);
    let windows = [("max-age=1", minute), ("max-age=1, stale-if-error=60", Duration::ZERO)];
    let tests: Vec<_> = FAULTS
        .iter()
        .flat_map(|&fault| windows.map(|(control, layer)| (fault, control, layer)))
        .map(|(fault, control, layer)| tokio::spawn(fails_a_stale_key(fault, control, layer)))
        .collect();
    for test in tests {
        test.await.unwrap();
    }
}
