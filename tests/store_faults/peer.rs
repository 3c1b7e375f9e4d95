//! A peer that speaks as Redis does, and says what a real one says only at its worst.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use fastrand::Rng;
use seawall::{
    Rejected,
    circuit_breaker::State,
    store::{Key, Redis, Store},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    gone::store,
    stack::{Stack, ms, paths, tenfold},
};

/// Keeps what it is told to, like Redis.
pub struct Peer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    loads: AtomicBool,
    /// Of so many look-ups one fails; none, if zero.
    busy_one_of: AtomicU64,
    gets: AtomicU64,
    failed: AtomicU64,
    values: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

impl Peer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let served = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&served);
                number += 1;
                tokio::spawn(async move { shared.serve(stream, Rng::with_seed(number)).await });
            }
        });
        Self { addr, shared, accepting }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

const LOADING: &[u8] = b"-LOADING Redis is loading the dataset in memory\r\n";
const BUSY: &[u8] = b"-BUSY Redis is busy running a script.\r\n";

impl Shared {
    async fn serve(&self, stream: TcpStream, mut rng: Rng) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        loop {
            let words = command(&mut stream).await?;
            let name = words[0].to_ascii_uppercase();
            let reply = self.reply(&name, &words[1..], &mut rng);
            stream.write_all(&reply).await?;
        }
    }

    fn reply(&self, name: &[u8], args: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
        let loads = self.loads.load(SeqCst);
        match (name, args) {
            (b"CLIENT", _) => b"+OK\r\n".to_vec(),
            (b"GET", [key]) => {
                self.gets.fetch_add(1, SeqCst);
                let one_of = self.busy_one_of.load(SeqCst);
                if loads || one_of > 0 && rng.u64(..one_of) == 0 {
                    self.failed.fetch_add(1, SeqCst);
                    return if loads { LOADING.to_vec() } else { BUSY.to_vec() };
                }
                match self.values.lock().unwrap().get(key) {
                    None => b"$-1\r\n".to_vec(),
                    Some(value) => {
                        let mut reply = format!("${}\r\n", value.len()).into_bytes();
                        reply.extend_from_slice(value);
                        reply.extend_from_slice(b"\r\n");
                        reply
                    }
                }
            }
            _ if loads => LOADING.to_vec(),
            (b"PING", _) => b"+PONG\r\n".to_vec(),
            (b"SET", [key, value, ..]) => {
                self.values.lock().unwrap().insert(key.clone(), value.clone());
                b"+OK\r\n".to_vec()
            }
            (b"DEL", [key]) => {
                let had = self.values.lock().unwrap().remove(key).is_some();
                format!(":{}\r\n", u8::from(had)).into_bytes()
            }
            _ => b"-ERR unknown command\r\n".to_vec(),
        }
    }
}

async fn command(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<Vec<u8>>> {
    let count = number(stream, '*').await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(stream, '$').await? + 2];
        stream.read_exact(&mut word).await?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Ok(words)
}

async fn number(stream: &mut BufReader<TcpStream>, kind: char) -> io::Result<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let number = line.strip_prefix(kind).and_then(|rest| rest.trim_end().parse().ok());
    number.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, line))
}

#[tokio::test]
async fn a_server_that_loads_for_long_is_left_alone_and_found_again() {
    let peer = Peer::start().await;
    let stack = Stack::over(store(&peer.url(), false)).await;
    let healthy = stack.times(paths("healthy", 100)).await;
    stack.settled().await;
    peer.shared.loads.store(true, SeqCst);
    let gets = peer.shared.gets.load(SeqCst);
    stack.opens("early").await;
    assert!(stack.seen.said("LOADING") > 0, "{:?}", stack.told());
    let reached = peer.shared.gets.load(SeqCst) - gets;
    let dark = stack.times(paths("dark", 500)).await;
    println!("LOADING\n  miss healthy {healthy}\n  miss once open {dark}");
    assert_eq!(peer.shared.gets.load(SeqCst) - gets, reached, "after it is open nobody asks it");
    assert!(reached <= 5, "{reached}");
    dark.assert_near(&healthy, tenfold(1), "LOADING");
    peer.shared.loads.store(false, SeqCst);
    let took = stack.closes().await;
    println!("  closes after {took:.1?} (goal 2 s)");
    assert!(took <= tenfold(2_000), "{took:?}");
    assert_eq!(stack.ask("/healthy/0").await.0.cache_status(), "hit");
}

/// As far as this machine keeps up with 10,000 calls a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failure_in_a_hundred_over_a_socket_never_opens_the_breaker() {
    let peer = Peer::start().await;
    // What a busy machine adds is no failure here.
    let builder = Redis::builder().near_off().read_deadline(ms(2_000));
    let stack = Stack::over(builder.connect(&peer.url()).unwrap()).await;
    peer.shared.busy_one_of.store(100, SeqCst);
    let mut callers = Vec::new();
    let ends = Instant::now() + ms(5_000);
    for caller in 0..10_u64 {
        let store = stack.store.clone();
        callers.push(tokio::spawn(async move {
            let mut tick = interval(ms(1));
            tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let (mut calls, mut refused) = (0_u64, 0);
            while Instant::now() < ends {
                tick.tick().await;
                let key = Key::from(&[caller.to_be_bytes(), calls.to_be_bytes()].concat()[..]);
                if let Err(error) = store.get(&key).await {
                    refused += u64::from(Rejected::find(&*error).is_some());
                }
                calls += 1;
            }
            (calls, refused)
        }));
    }
    let (mut calls, mut refused) = (0, 0);
    for caller in callers {
        let (made, of_these) = caller.await.unwrap();
        (calls, refused) = (calls + made, refused + of_these);
    }
    let (gets, failed) = (peer.shared.gets.load(SeqCst), peer.shared.failed.load(SeqCst));
    println!("over a socket: {} calls/s, {failed} of {gets} failed", calls / 5);
    assert!(failed * 200 > gets && failed * 50 < gets, "{failed} of {gets}");
    assert_eq!(gets, calls, "each has reached it");
    assert_eq!((refused, stack.told().opened, stack.state()), (0, 0, State::Closed));
}
