//! The whole stack before a real origin that dies under load and comes back.

use std::{
    convert::Infallible,
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use seawall::{OriginShield, StaleWhileRevalidateLayer, circuit_breaker::State};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::SECOND;
use crate::support::{
    Calls, cache, never, read,
    sockets::{Upstream, client, eventually, serve},
};

/// A hyper server that can be killed, with all its connections, and be started anew.
struct Origin {
    calls: Calls,
    addr: Arc<Mutex<SocketAddr>>,
    server: Option<JoinHandle<()>>,
    /// Bound, and not listened on: connections to it are refused.
    closed: TcpSocket,
}

impl Origin {
    async fn new() -> Self {
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = Arc::new(Mutex::new(closed.local_addr().unwrap()));
        let mut origin = Self { calls: Calls::default(), addr, server: None, closed };
        origin.start().await;
        origin
    }

    async fn start(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *self.addr.lock().unwrap() = listener.local_addr().unwrap();
        let calls = self.calls.clone();
        self.server = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let calls = calls.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    calls.add();
                    async move { Ok::<_, Infallible>(answer(&request)) }
                });
                connections.spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let service = TowerToHyperService::new(service);
                    // It may well be the test that ends it.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }));
    }

    fn kill(&mut self) {
        *self.addr.lock().unwrap() = self.closed.local_addr().unwrap();
        self.server.take().unwrap().abort();
    }
}

/// Pages below `/kept` are kept for as long as the origin is down, others not at all.
fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let kept = request.uri().path().starts_with("/kept");
    let control = if kept { "max-age=0, stale-if-error=600" } else { "no-store" };
    let body = Full::from(request.uri().path().to_owned());
    Response::builder().header("cache-control", control).body(body).unwrap()
}

type Pooled = Client<HttpConnector, Empty<Bytes>>;

/// A client of one origin.
struct Api {
    shielded: <OriginShield as Layer<Pooled>>::Service,
    origin: SocketAddr,
}

impl Api {
    async fn page(&self, path: &str) -> crate::support::Read {
        let request = Request::get(format!("http://{}{path}", self.origin));
        let response = self.shielded.clone().oneshot(request.body(Empty::new()).unwrap()).await;
        read(never(response)).await.unwrap()
    }
}

#[tokio::test]
async fn around_a_pooled_client_it_answers_for_an_origin_that_is_gone() {
    let mut origin = Origin::new().await;
    let shield = OriginShield::new(cache());
    let addr = *origin.addr.lock().unwrap();
    let pooled = Client::builder(TokioExecutor::new()).build_http();
    let shielded = ServiceBuilder::new().layer(shield.clone()).service(pooled);
    let api = Api { shielded, origin: addr };
    for _ in 0..3 {
        assert_eq!(api.page("/own").await.text(), "/own");
    }
    assert_eq!(api.page("/kept").await.text(), "/kept");
    assert_eq!(origin.calls.count(), 4);
    assert_eq!(shield.breaker().counts().calls, 4);

    origin.kill();
    let stale = api.page("/kept").await;
    assert_eq!((stale.status(), stale.text()), (200, "/kept"));
    assert!(stale.cache_status().contains("stale-if-error"), "{}", stale.cache_status());
    for n in 0..20 {
        let status = api.page(&format!("/own/{n}")).await.status();
        assert!([502, 503].contains(&status), "{status}");
    }
    assert_eq!(shield.breaker().state(), State::Open);
    let refused = api.page("/own").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.field("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(api.page("/kept").await.text(), "/kept");
    assert_eq!(shield.gauge().in_flight(), 0);
}

/// What the clients saw, each in the phase that it asked and was answered in.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(usize, bool, client::Answer)>>>);

impl Seen {
    /// How many answers to the kept or the others were of this status.
    fn count(&self, phases: Range<usize>, kept: bool, status: u16) -> usize {
        let seen = self.0.lock().unwrap();
        let of_phase = seen.iter().filter(|seen| phases.contains(&seen.0) && seen.1 == kept);
        of_phase.filter(|seen| seen.2.status == status).count()
    }

    fn all(&self, phases: Range<usize>, kept: bool) -> usize {
        let seen = self.0.lock().unwrap();
        seen.iter().filter(|seen| phases.contains(&seen.0) && seen.1 == kept).count()
    }
}

/// Forty clients, half of whom ask for what is kept, each a hundred times a second at most.
fn load(addr: SocketAddr, phase: &Arc<AtomicUsize>, stop: &Arc<AtomicBool>) -> (Seen, JoinSet<()>) {
    let seen = Seen::default();
    let mut clients = JoinSet::new();
    for n in 0..40 {
        let (seen, phase, stop) = (seen.clone(), Arc::clone(phase), Arc::clone(stop));
        clients.spawn(async move {
            let mut client = client::Client::connect(addr).await;
            let kept = n % 2 == 0;
            for asked in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let path = if kept { format!("/kept/{}", n % 5) } else { format!("/{n}/{asked}") };
                let began = phase.load(Ordering::SeqCst);
                let answer = client.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n")).await;
                assert!(answer.status != 200 || answer.text() == path, "{answer:?}");
                if phase.load(Ordering::SeqCst) == began {
                    seen.0.lock().unwrap().push((began, kept, answer));
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
    }
    (seen, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_dies_under_load_is_stood_in_for_spared_and_taken_up_again() {
    const GOOD: usize = 0;
    const DYING: usize = 1;
    const DEAD: usize = 2;
    const BACK: usize = 3;
    const WELL: usize = 4;
    let mut origin = Origin::new().await;
    let cache = cache();
    let stale = StaleWhileRevalidateLayer::new(cache.clone(), Duration::ZERO);
    let shield = OriginShield::new(cache.clone()).cache(stale);
    let (addr, tries) = (Arc::clone(&origin.addr), Calls::default());
    let counting = tries.clone();
    let connect = service_fn(move |request: Request<Incoming>| {
        counting.add();
        let addr = *addr.lock().unwrap();
        Upstream::http1(addr).oneshot(request)
    });
    let front = serve(shield.layer(connect)).await;
    for n in 0..5 {
        assert_eq!(client::get(front, &format!("/kept/{n}")).await.status, 200);
    }
    let (phase, stop) = (Arc::new(AtomicUsize::new(GOOD)), Arc::new(AtomicBool::new(false)));
    let becomes = |next| phase.store(next, Ordering::SeqCst);
    let (seen, clients) = load(front, &phase, &stop);

    sleep(SECOND / 2).await;
    becomes(DYING);
    origin.kill();
    eventually("open", || shield.breaker().state() == State::Open).await;
    becomes(DEAD);
    let before = tries.count();
    sleep(2 * SECOND).await;
    let tried = tries.count() - before;
    becomes(BACK);
    origin.start().await;
    eventually("closed", || shield.breaker().state() == State::Closed).await;
    becomes(WELL);
    sleep(SECOND / 2).await;
    stop.store(true, Ordering::SeqCst);
    clients.join_all().await;

    for (phase, name) in ["good", "dying", "dead", "back", "well"].iter().enumerate() {
        let of = |kept, status| seen.count(phase..phase + 1, kept, status);
        println!(
            "{name}: kept {}, own {}, failed {}, refused {}",
            of(true, 200),
            of(false, 200),
            of(false, 502),
            of(false, 503)
        );
    }
    println!("tries while dead: {tried}");
    assert_eq!(seen.count(GOOD..WELL + 1, true, 200), seen.all(GOOD..WELL + 1, true), "all kept");
    for phase in [GOOD, WELL] {
        let (good, all) =
            (seen.count(phase..phase + 1, false, 200), seen.all(phase..phase + 1, false));
        assert!(good == all && all > 0, "{good} of {all} in {phase}");
    }
    let (failed, refused) =
        (seen.count(DEAD..BACK, false, 502), seen.count(DEAD..BACK, false, 503));
    assert_eq!(failed + refused, seen.all(DEAD..BACK, false));
    // Probes alone reach an origin that is dead: a few a second, of more than a thousand.
    assert!(tried <= 12 && failed <= tried && refused > 10 * tried.max(1), "{tried} {failed}");
    for (_, _, answer) in seen.0.lock().unwrap().iter().filter(|seen| seen.2.status == 503) {
        let wait: u64 = answer.field("retry-after").unwrap_or_default().parse().unwrap();
        assert!((1..=40).contains(&wait), "{answer:?}");
    }
    eventually("idle", || shield.gauge().in_flight() == 0).await;
    let figures = cache.figures();
    assert_eq!((figures.flights, figures.followers, figures.refreshes), (0, 0, 0));
}
