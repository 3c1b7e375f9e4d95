//! More than five times what the origin can carry, from another process, for 20 s.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::support::*;

/// An origin that counts its calls: all, those it has, and the most it had at once.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    all: AtomicUsize,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

/// In flight from its head to its answer, or until it is given up.
struct Call(Arc<Counts>);

impl Call {
    fn begin(counts: &Arc<Counts>) -> Self {
        counts.all.fetch_add(1, SeqCst);
        let in_flight = counts.in_flight.fetch_add(1, SeqCst) + 1;
        counts.most.fetch_max(in_flight, SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, SeqCst);
    }
}

impl Origin {
    /// HTTP/1.1 and h2c; `answer` gets the path, once the whole request is there.
    pub(crate) async fn serve<F, A>(answer: F) -> Self
    where
        F: Fn(String) -> A + Clone + Send + 'static,
        A: Future<Output = Response<Sent>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (counted, answer) = (Arc::clone(&counted), answer.clone());
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let (call, answer) = (Call::begin(&counted), answer.clone());
                    async move {
                        let path = request.uri().path().to_owned();
                        request.into_body().collect().await?;
                        let answer = answer(path).await;
                        drop(call);
                        Ok::<_, hyper::Error>(answer)
                    }
                });
                tokio::spawn(async move {
                    let mut builder = auto::Builder::new(TokioExecutor::new());
                    builder.http2().max_concurrent_streams(5_000);
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { addr, counts }
    }

    pub(crate) fn calls(&self) -> usize {
        self.counts.all.load(SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.counts.most.load(SeqCst)
    }

    /// Waits until it has so many calls.
    pub(crate) async fn has(&self, calls: usize) {
        let has = async {
            while self.counts.in_flight.load(SeqCst) != calls {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = timeout(LONG, has).await;
        waited.unwrap_or_else(|_| panic!("{calls} calls, not {:?}", self.counts.in_flight));
    }
}

pub(crate) fn kept(body: &'static str) -> Response<Sent> {
    Response::builder()
        .header("cache-control", "max-age=600")
        .body(Full::from(body).boxed())
        .unwrap()
}

/// A refusal for this reason, and what a client needs to come back in time.
pub(crate) fn assert_refused(answer: &str, code: u16, why: &str) {
    assert_eq!(status(answer), code, "{answer}");
    let wait: u64 = field(answer, "retry-after").parse().unwrap_or_else(|_| panic!("{answer}"));
    assert!(wait >= 1, "{answer}");
    assert_eq!(field(answer, "cache-status"), format!("seawall; detail={why}"));
}

// ===== the load =====

/// The origin carries 20 calls at once, of 100 ms each: 200 a second.
const WORKERS: usize = 20;
const WORK: Duration = Duration::from_millis(100);

/// Reads fill 95 % of a limit.
const PLACES: usize = 19;

const LASTS: Duration = Duration::from_secs(20);

/// Requests a second for keys that nobody has asked for before, and for those that are stored.
const COLD: u32 = 1_100;
const HOT: u32 = 100;
const HOT_KEYS: u32 = 5;

/// What the other process is told, and marks the line that it says.
const TOLD: &str = "SEAWALL_TEST_LOAD";

#[tokio::test(flavor = "multi_thread")]
async fn five_times_the_origins_capacity_harms_neither_hits_nor_the_origin_and_leaves_no_trace() {
    let workers = Arc::new(Semaphore::new(WORKERS));
    let origin = Origin::serve(move |_| {
        let workers = Arc::clone(&workers);
        async move {
            // Beyond its workers, calls queue.
            let _one = workers.acquire().await.unwrap();
            sleep(WORK).await;
            kept("worked for")
        }
    })
    .await;
    let gateway = Gateway::before(origin.addr, &["--limit", &WORKERS.to_string()]);
    for key in 0..HOT_KEYS {
        gateway.get(&format!("/hot/{key}")).await;
    }
    let began = Instant::now();
    assert_eq!(status(&gateway.get("/before").await), 200);
    let normal = began.elapsed();
    let warm = origin.calls();

    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "overload::the_load", "--ignored", "--nocapture"])
        .env(TOLD, gateway.addr.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut ended = std::pin::pin!(child.wait_with_output());
    let ended = loop {
        tokio::select! {
            ended = &mut ended => break ended.unwrap(),
            () = sleep(Duration::from_millis(100)) => {
                let figures = gateway.status().await;
                assert!(figures["limit"]["in_flight"].as_u64() <= Some(WORKERS as u64), "{figures}");
                assert_eq!(figures["breaker"]["state"], "closed", "{figures}");
            }
        }
    };
    let over = Instant::now();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{said}");
    let mut tries = 0;
    let last = loop {
        let began = Instant::now();
        let answer =
            ask(gateway.addr, &format!("GET /after/{tries} HTTP/1.1\r\nhost: a\r\n")).await;
        tries += 1;
        if status(&answer) == 200 {
            break began.elapsed();
        }
        assert!(over.elapsed() < Duration::from_secs(10), "still refused: {answer}");
    };
    let back = over.elapsed();
    gateway.until(|status| status["limit"]["in_flight"] == 0).await;
    let drained = over.elapsed();

    let told =
        said.lines().find_map(|line| line.strip_prefix(TOLD)).unwrap_or_else(|| panic!("{said}"));
    let count = |name: &str| -> usize {
        let mut words = told.split(' ').skip_while(|word| *word != name).skip(1);
        words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{name}: {told}"))
    };
    let (misses, refused, hits) = (count("answered"), count("refused"), count("hits"));
    let carries = |places: usize, call: Duration| places as f64 * LASTS.div_duration_f64(call);
    let took = Duration::from_millis(count("for") as u64) / misses as u32;
    let (asked, most) = (misses + refused, carries(PLACES, WORK));
    println!("{told}");
    println!(
        "{:.1} times what the origin carries; goodput {misses} of {most} ({:.3}), of what calls of \
         {took:?} leave room for {:.3}; origin {} at most; a miss took {normal:?} before and {last:?} \
         after, {back:?} after the end at try {tries}; nothing in flight after {drained:?}",
        asked as f64 / carries(WORKERS, WORK),
        misses as f64 / most,
        misses as f64 / carries(PLACES, took),
        origin.most(),
    );
    assert!(asked as f64 >= 5.0 * carries(WORKERS, WORK), "too few were asked: {told}");
    assert!((PLACES..=WORKERS).contains(&origin.most()), "{}", origin.most());
    // Where this machine is busy with other things too, calls take longer than their work.
    assert!(misses as f64 >= 0.9 * carries(PLACES, took), "{told}");
    assert!(misses as f64 >= 0.5 * most, "{told}");
    // What was under way when the others left is counted by nobody.
    assert!(origin.calls() - warm <= misses + tries + WORKERS, "{}", origin.calls());
    // Each of them was one, or the other process has failed.
    assert!(
        hits as u64 * 10 >= 9 * LASTS.as_secs() * u64::from(HOT) && count("fewest") > 0,
        "{told}"
    );
    assert!(back < Duration::from_secs(10) && last < 10 * normal.max(WORK));
    let figures = gateway.status().await;
    assert_eq!((&figures["origin_failures"], &figures["origin_in_flight"]), (&0.into(), &0.into()));
}

#[test]
#[ignore = "it is the other process of the test above, which starts it"]
fn the_load() {
    let addr = std::env::var(TOLD).expect("set by the test that starts it").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let Seen { mut hits, mut answered, mut refused, by_second } = runtime.block_on(load(addr));
    eprintln!(
        "{TOLD} hits {} (p50 {:?}, p99 {:?}; fewest {} a second), answered {} misses \
         for {} ms (p50 {:?}, p99 {:?}), refused {} (p99 {:?})",
        hits.len(),
        percentile(&mut hits, 50),
        percentile(&mut hits, 99),
        by_second.iter().min().unwrap(),
        answered.len(),
        answered.iter().sum::<Duration>().as_millis(),
        percentile(&mut answered, 50),
        percentile(&mut answered, 99),
        refused.len(),
        percentile(&mut refused, 99),
    );
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get(times.len() * percent / 100).copied().unwrap_or_default()
}

/// What was answered, and after how long.
#[derive(Default)]
struct Seen {
    hits: Vec<Duration>,
    answered: Vec<Duration>,
    refused: Vec<Duration>,
    /// Hits in each second.
    by_second: [usize; LASTS.as_secs() as usize],
}

/// Asks at its rate, however long the answers take; what is under way at the end is left there.
async fn load(addr: SocketAddr) -> Seen {
    const LINES: u32 = 250;
    const HOT_LINES: u32 = 25;
    let begin = Instant::now() + Duration::from_secs(1);
    let mut lines = JoinSet::new();
    for line in 0..LINES {
        let first = begin + line * Duration::from_secs(1) / COLD;
        let every = LINES * Duration::from_secs(1) / COLD;
        lines.spawn(ask_every(addr, begin, first, every, move |n| format!("/cold/{line}/{n}")));
    }
    for line in 0..HOT_LINES {
        let first = begin + line * Duration::from_secs(1) / HOT;
        let every = HOT_LINES * Duration::from_secs(1) / HOT;
        lines.spawn(ask_every(addr, begin, first, every, move |n| {
            format!("/hot/{}", (line + n) % HOT_KEYS)
        }));
    }
    let mut all = Seen::default();
    for seen in lines.join_all().await {
        all.hits.extend(seen.hits);
        all.answered.extend(seen.answered);
        all.refused.extend(seen.refused);
        for (all, seen) in all.by_second.iter_mut().zip(seen.by_second) {
            *all += seen;
        }
    }
    all
}

async fn ask_every(
    addr: SocketAddr,
    begin: Instant,
    first: Instant,
    every: Duration,
    path: impl Fn(u32) -> String,
) -> Seen {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut seen = Seen::default();
    let (mut due, end) = (first, begin + LASTS);
    for n in 0.. {
        sleep_until(due).await;
        let path = path(n);
        let began = Instant::now();
        let Ok(answer) = timeout_at(end, exchange(&mut stream, &path)).await else { break };
        let took = began.elapsed();
        match (path.starts_with("/hot/"), status(&answer)) {
            (true, _) => {
                assert_eq!(
                    (status(&answer), field(&answer, "cache-status")),
                    (200, "seawall; hit")
                );
                seen.hits.push(took);
                seen.by_second[(began - begin).as_secs() as usize] += 1;
            }
            (false, 200) => seen.answered.push(took),
            (false, _) => {
                assert_refused(&answer, 503, "shed");
                seen.refused.push(took);
            }
        }
        due += every;
        if due >= end {
            break;
        }
    }
    seen
}

/// Asks and reads to the end that its length tells.
async fn exchange(stream: &mut TcpStream, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "ended within {path}");
        let text = String::from_utf8_lossy(&bytes);
        if let Some((_, body)) = text.split_once("\r\n\r\n") {
            let length: usize = field(&text, "content-length").parse().unwrap();
            if body.len() == length {
                return text.into_owned();
            }
        }
    }
}
