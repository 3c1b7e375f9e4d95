//! A real server and a scripted one.

use std::{
    error::Error as _,
    future::Future,
    io::{BufRead, BufReader, Write},
    net::TcpListener as Port,
    pin::pin,
    process::{Child, Command, Stdio},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

use super::super::{
    address::Address,
    failure::{Failure, Why},
    servers::{Servers, Settings},
};
use crate::{
    error::BoxError,
    store::Declined,
    store::server::{Server, WireKey},
};

/// Longer than anything here takes on a healthy machine, by far.
pub(super) const LONG: Duration = Duration::from_secs(20);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A memcached of this test's own; it is killed with it.
pub(super) struct Memcached {
    child: Child,
    pub(super) port: u16,
    options: Vec<String>,
}

impl Memcached {
    /// Starts one with these options, and waits until it answers.
    pub(super) fn start(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        for _ in 0..10 {
            let port = Port::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            // Another process may have taken the port meanwhile.
            if let Some(child) = spawn(port, &options) {
                return Self { child, port, options };
            }
        }
        panic!("memcached does not start: is it installed?");
    }

    /// Starts one at a Unix socket; it is there a little later.
    pub(super) fn at_socket(path: &str) -> Self {
        let arguments = ["-s", path, "-a", "0700", "-u", "root"];
        let child = Command::new("memcached").args(arguments).spawn();
        Self { child: child.expect("memcached is installed"), port: 0, options: Vec::new() }
    }

    pub(super) fn address(&self) -> Address {
        Address::parse(&format!("127.0.0.1:{}", self.port)).unwrap()
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, &self.options).expect("it starts where it ran before");
    }

    /// `-STOP` or `-CONT`.
    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// What it answers to one line, up to a line that begins with `last`.
    pub(super) fn ask(&self, line: &str, last: &str) -> Vec<String> {
        ask(self.port, line, last).unwrap()
    }

    pub(super) fn stat(&self, name: &str) -> u64 {
        let start = format!("STAT {name} ");
        let lines = self.ask("stats", "END");
        let line = lines.iter().find_map(|line| line.strip_prefix(&start)).unwrap();
        line.parse().unwrap()
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, options: &[String]) -> Option<Child> {
    let mut command = Command::new("memcached");
    // Root must name whom it runs as; for others this changes nothing.
    command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-u", "root"]).args(options);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let start = Instant::now();
    while start.elapsed() < LONG {
        if let Ok(Some(_)) = child.try_wait() {
            return None;
        }
        if ask(port, "mn", "MN").is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    None
}

fn ask(port: u16, line: &str, last: &str) -> std::io::Result<Vec<String>> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LONG))?;
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let done = line.starts_with(last);
        lines.push(line);
        if done {
            return Ok(lines);
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

/// A server that says what the test makes it say.
pub(super) struct Peer {
    listener: TcpListener,
}

impl Peer {
    pub(super) async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(super) fn address(&self) -> Address {
        Address::parse(&self.listener.local_addr().unwrap().to_string()).unwrap()
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> Talk {
        let (stream, _) = timeout(LONG, self.listener.accept()).await.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        Talk { stream, unread: Vec::new() }
    }

    /// The next connection, which is greeted and is used from now on.
    pub(super) async fn greet(&self, servers: &Servers) -> Talk {
        let mut talk = self.accept().await;
        talk.expect("mn").await;
        talk.say("MN\r\n").await;
        // Until the client has seen it, calls fail at once; those that get through come here.
        let pinged = async { while servers.ping().await.is_err() {} };
        let answering = async {
            talk.expect("mn").await;
            talk.say("MN\r\n").await;
        };
        timeout(LONG, async { tokio::join!(pinged, answering) }).await.unwrap();
        talk
    }
}

/// One connection, from the server's side.
pub(super) struct Talk {
    pub(super) stream: TcpStream,
    unread: Vec<u8>,
}

impl Talk {
    pub(super) async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
    }

    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(2).position(|bytes| bytes == b"\r\n") {
                let rest = self.unread.split_off(end + 2);
                let line = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert_ne!(self.read().await, 0, "the connection ended instead of a line");
        }
    }

    pub(super) async fn expect(&mut self, line: &str) {
        assert_eq!(self.line().await, line);
    }

    /// The token of the next line.
    pub(super) async fn token(&mut self) -> u64 {
        let line = self.line().await;
        line.rsplit_once(" O").unwrap_or_else(|| panic!("no token: {line}")).1.parse().unwrap()
    }

    /// Waits until the other side has closed; fails if it says more.
    pub(super) async fn ends(&mut self) {
        assert_eq!(self.unread, b"");
        // It may be reset, where something that was said had not been read.
        let read = timeout(LONG, self.stream.read(&mut [0; 64])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }

    async fn read(&mut self) -> usize {
        let read = self.stream.read_buf(&mut self.unread);
        timeout(LONG, read).await.expect("it says something").unwrap()
    }
}

pub(super) fn open(address: &Address) -> Servers {
    Servers::open(std::slice::from_ref(address), Settings::default()).unwrap()
}

/// Waits until every server answers.
pub(super) async fn connected(servers: &Servers) {
    let start = Instant::now();
    while let Err(error) = servers.ping().await {
        assert!(start.elapsed() < LONG, "{error}: {:?}", error.source());
        sleep(Duration::from_millis(1)).await;
    }
}

pub(super) fn key(number: u64) -> WireKey {
    let mut hash = [0; 32];
    let mut rng = fastrand::Rng::with_seed(number);
    rng.fill(&mut hash);
    WireKey::new("test", &hash)
}

pub(super) fn text(key: &WireKey) -> &str {
    std::str::from_utf8(key.as_bytes()).unwrap()
}

pub(super) fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// How it failed; of what was declined, only what came before there was a connection.
pub(super) fn why(error: &BoxError) -> &Why {
    let opening = Declined::find(&**error).and_then(|declined| declined.source()?.downcast_ref());
    let failure: Option<&Failure> = error.downcast_ref().or(opening);
    failure.unwrap_or_else(|| panic!("not a failure: {error:?}")).why()
}

pub(super) fn declined(error: &BoxError) -> &Declined {
    Declined::find(&**error).unwrap_or_else(|| panic!("not declined: {error:?}"))
}

/// Polls `future` once: what it has to say is then on its way.
pub(super) async fn begun<F: Future + Unpin>(future: &mut F) {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}
