//! A breaker in front of a Redis that dies, hangs and comes back: real sockets, real time.

#[path = "redis/client.rs"]
mod client;

use std::{net::Ipv4Addr, time::Duration};

use seawall::{
    BoxError, CircuitBreakerLayer,
    admission::ByError,
    circuit_breaker::{Cause, One, State},
};
use tokio::{
    net::TcpSocket,
    time::{Instant, sleep},
};
use tower::{Layer, Service, ServiceExt, service_fn, timeout::Timeout};

use self::client::{Reply, ask};
use crate::{
    acts::{Log, refusal},
    millis, seconds,
    support::{Calls, servers::Redis},
};

const DEADLINE: Duration = millis(50);
/// Of calls that are to meet it, also where the machine has much else to do.
const AMPLE: Duration = millis(500);

/// One breaker, as for a store, and what it is seen to do.
struct Guarded {
    layer: CircuitBreakerLayer<One, ByError>,
    log: Log,
    connects: Calls,
}

impl Guarded {
    fn new(open_for: Duration) -> Self {
        let log = Log::default();
        let layer = CircuitBreakerLayer::new()
            .in_a_row(5, seconds(10))
            .probes(1)
            .open_for(open_for, seconds(30))
            .observer(log.clone())
            .classify(ByError::new());
        Self { layer, log, connects: Calls::default() }
    }

    /// A client behind the breaker: it is told the port to ask.
    fn client(&self, deadline: Duration) -> impl Client + use<> {
        let connects = self.connects.clone();
        let redis = service_fn(move |port: u16| {
            connects.add();
            async move { ask(port, "GET key").await }
        });
        self.layer.layer(Timeout::new(redis, deadline))
    }

    fn state(&self) -> State {
        self.layer.breaker().state()
    }

    /// Has five calls fail, of which the fifth opens it. Returns when that had not yet begun, and how
    /// long each took.
    async fn opens_at_the_fifth(
        &self,
        client: &mut impl Client,
        port: u16,
    ) -> (Instant, Vec<Duration>) {
        let before = self.connects.count();
        let (mut began, mut took) = (Instant::now(), Vec::new());
        for failure in 1..=5 {
            assert_eq!(self.state(), State::Closed, "before failure {failure}");
            began = Instant::now();
            let result = client.ready().await.unwrap().call(port).await;
            took.push(began.elapsed());
            assert!(result.is_err() && refusal(&result).is_none(), "{failure}: {result:?}");
        }
        assert_eq!((self.state(), self.connects.count()), (State::Open, before + 5));
        assert_eq!(self.log.changes(), [(State::Open, Cause::InARow)]);
        (began, took)
    }

    /// Makes 10,000 calls, none of which reaches a socket.
    async fn refuses_at_no_cost(&self, client: &impl Client, port: u16) {
        let before = self.connects.count();
        let mut ended = calls(client, 4, 2_500, move |_| port).await;
        assert_eq!(ended.counts(), (0, 0, 10_000));
        assert_eq!(self.connects.count(), before);
        assert_eq!(self.log.refusals(), (10_000, 0));
        let p99 = spread("refused", &mut ended.refused);
        assert!(p99 < 10 * millis(5), "{p99:?}");
    }
}

trait Client:
    Service<u16, Response = Reply, Error = BoxError, Future: Send> + Clone + Send + 'static
{
}

impl<S> Client for S where
    S: Service<u16, Response = Reply, Error = BoxError, Future: Send> + Clone + Send + 'static
{
}

/// How long calls took, by how they ended.
#[derive(Default)]
struct Ended {
    good: Vec<Duration>,
    failed: Vec<Duration>,
    refused: Vec<Duration>,
}

impl Ended {
    fn counts(&self) -> (usize, usize, usize) {
        (self.good.len(), self.failed.len(), self.refused.len())
    }
}

/// Has callers make so many calls each, one after the other; `port` is told the number of the call.
async fn calls(
    client: &impl Client,
    callers: usize,
    each: usize,
    port: impl Fn(usize) -> u16 + Copy + Send + 'static,
) -> Ended {
    let caller = || {
        let mut client = client.clone();
        tokio::spawn(async move {
            let mut ended = Ended::default();
            for number in 1..=each {
                let began = Instant::now();
                let result = client.ready().await.unwrap().call(port(number)).await;
                let took = began.elapsed();
                match (&result, refusal(&result)) {
                    (Ok(_), _) => ended.good.push(took),
                    (Err(_), None) => ended.failed.push(took),
                    (Err(_), Some(_)) => ended.refused.push(took),
                }
            }
            ended
        })
    };
    let callers: Vec<_> = (0..callers).map(|_| caller()).collect();
    let mut all = Ended::default();
    for caller in callers {
        let ended = caller.await.unwrap();
        all.good.extend(ended.good);
        all.failed.extend(ended.failed);
        all.refused.extend(ended.refused);
    }
    all
}

/// Prints half and all but a hundredth of what calls took; returns the latter.
fn spread(what: &str, took: &mut [Duration]) -> Duration {
    took.sort();
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("{what:>10}: {} calls, p50 {p50:?}, p99 {p99:?}", took.len());
    p99
}

/// The wait that a refusal names now, of a breaker that has opened since: as planned, give or take a
/// fifth, less the time that has passed.
async fn told(client: &mut impl Client, planned: Duration, since: Instant) -> Duration {
    let result = client.ready().await.unwrap().call(0).await;
    let wait = refusal(&result).expect("it is refused");
    println!("told to wait {wait:?}, {planned:?} more or less a fifth less what has passed");
    assert!(wait <= planned.mul_f64(1.2), "{wait:?}");
    assert!(wait + since.elapsed() >= planned.mul_f64(0.8), "{wait:?}");
    wait
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failure_in_a_hundred_calls_of_a_live_server_never_opens_it() {
    let redis = Redis::start();
    let live = redis.port();
    assert_eq!(ask(live, "SET key value").await.unwrap().as_deref(), Some("OK"));
    // Bound, so that nobody else has it, and not listening.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let refuses = closed.local_addr().unwrap().port();

    let guarded = Guarded::new(seconds(1));
    let mut client = guarded.client(AMPLE);
    assert_eq!(client.call(live).await.unwrap().as_deref(), Some("value"));
    let mut healthy = calls(&client, 4, 2_500, move |_| live).await;
    assert_eq!(healthy.counts(), (10_000, 0, 0));
    spread("healthy", &mut healthy.good);

    let port = move |number: usize| if number.is_multiple_of(100) { refuses } else { live };
    let mut sprinkled = calls(&client, 4, 2_500, port).await;
    assert_eq!(sprinkled.counts(), (9_900, 100, 0));
    spread("sprinkled", &mut sprinkled.good);
    spread("failed", &mut sprinkled.failed);
    assert_eq!((guarded.state(), guarded.log.changes()), (State::Closed, vec![]));
    assert_eq!(guarded.connects.count(), 20_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_costs_five_failures_and_then_nothing() {
    let mut redis = Redis::start();
    let port = redis.port();
    let guarded = Guarded::new(seconds(1));
    let mut client = guarded.client(AMPLE);
    let mut healthy = calls(&client, 4, 250, move |_| port).await;
    assert_eq!((healthy.counts(), guarded.state()), ((1_000, 0, 0), State::Closed));
    spread("healthy", &mut healthy.good);

    redis.kill();
    let (since, took) = guarded.opens_at_the_fifth(&mut client, port).await;
    println!("failed after {took:?}");
    guarded.refuses_at_no_cost(&client, port).await;
    told(&mut client, seconds(1), since).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_costs_five_deadlines_and_one_a_probe_until_it_thaws() {
    let redis = Redis::start();
    let port = redis.port();
    ask(port, "SET key value").await.unwrap();
    let guarded = Guarded::new(seconds(1));
    let (mut client, mut patient) = (guarded.client(DEADLINE), guarded.client(AMPLE));
    assert_eq!(calls(&patient, 4, 25, move |_| port).await.counts(), (100, 0, 0));

    redis.freeze();
    let (since, took) = guarded.opens_at_the_fifth(&mut client, port).await;
    println!("failed after {took:?}");
    assert!(took.iter().all(|took| (DEADLINE..10 * DEADLINE).contains(took)), "{took:?}");
    guarded.refuses_at_no_cost(&client, port).await;

    // Still frozen: of many at once one finds that out, and no other waits for it.
    sleep(told(&mut client, seconds(1), since).await).await;
    let since = Instant::now();
    assert_eq!(calls(&client, 50, 1, move |_| port).await.counts(), (0, 1, 49));
    assert_eq!((guarded.state(), guarded.connects.count()), (State::Open, 106));

    redis.thaw();
    sleep(told(&mut client, seconds(2), since).await).await;
    assert_eq!(guarded.state(), State::HalfOpen);
    assert_eq!(patient.call(port).await.unwrap().as_deref(), Some("value"));
    assert_eq!((guarded.state(), guarded.connects.count()), (State::Closed, 107));
    assert_eq!(calls(&patient, 4, 25, move |_| port).await.counts(), (100, 0, 0));
    let (open, half) = (State::Open, (State::HalfOpen, Cause::TimeOver));
    let probes = [half, (open, Cause::FailedProbe), half, (State::Closed, Cause::GoodProbes)];
    assert_eq!(guarded.log.changes()[1..], probes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_back_is_found_by_whoever_waits_as_told() {
    let mut redis = Redis::start();
    let port = redis.port();
    let guarded = Guarded::new(millis(250));
    let mut client = guarded.client(AMPLE);
    assert_eq!(calls(&client, 4, 25, move |_| port).await.counts(), (100, 0, 0));

    redis.kill();
    let (mut since, _) = guarded.opens_at_the_fifth(&mut client, port).await;
    for planned in [250, 500] {
        sleep(told(&mut client, millis(planned), since).await).await;
        since = Instant::now();
        let result = client.call(port).await;
        assert!(result.is_err() && refusal(&result).is_none(), "{result:?}");
    }
    let wait = told(&mut client, seconds(1), since).await;
    redis.restart();
    sleep(wait).await;
    // It comes back with nothing stored.
    assert_eq!(client.call(port).await.unwrap(), None);
    assert_eq!((guarded.state(), guarded.connects.count()), (State::Closed, 108));
    assert_eq!(calls(&client, 4, 250, move |_| port).await.counts(), (1_000, 0, 0));

    let (open, half) = (State::Open, (State::HalfOpen, Cause::TimeOver));
    let failed = [half, (open, Cause::FailedProbe)];
    let probes = [failed, failed, [half, (State::Closed, Cause::GoodProbes)]].concat();
    assert_eq!(guarded.log.changes()[1..], probes);
}
