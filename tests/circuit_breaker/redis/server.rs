//! A Redis of our own, and the least that can be a client of one.

use std::{
    io::{self, BufRead},
    net::Ipv4Addr,
    process::{Child, ChildStdout, Command, Stdio},
};

use seawall::BoxError;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// A server of our own, killed when dropped.
pub(super) struct Redis {
    child: Child,
    log: io::BufReader<ChildStdout>,
    pub(super) port: u16,
}

impl Redis {
    pub(super) fn start() -> Self {
        // Below those that connections are given: while the server is down, none of them takes its port.
        let mut ports = (0..100).map(|_| fastrand::u16(10_000..32_000));
        ports.find_map(Self::on).expect("a server on one of them")
    }

    /// `None`: the port is taken.
    pub(super) fn on(port: u16) -> Option<Self> {
        let mut child = Command::new("redis-server")
            .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server, which tests/run installs");
        let log = io::BufReader::new(child.stdout.take().unwrap());
        let mut redis = Self { child, log, port };
        let mut lines = (&mut redis.log).lines().map_while(Result::ok);
        let ready = lines.any(|line| line.contains("Ready to accept connections"));
        ready.then_some(redis)
    }

    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Once this returns, nobody listens on its port.
    pub(super) fn kill(&mut self) {
        self.signal("-KILL");
        self.child.wait().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `None`: there is no such key.
pub(super) type Reply = Option<String>;

/// Asks on a connection of its own, and reads one reply.
pub(super) async fn ask(port: u16, line: &str) -> Result<Reply, BoxError> {
    let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?);
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    let mut head = String::new();
    stream.read_line(&mut head).await?;
    match head.trim_end().split_at_checked(1) {
        Some(("+", said)) => Ok(Some(said.to_owned())),
        Some(("$", "-1")) => Ok(None),
        Some(("$", length)) => {
            let mut value = vec![0; length.parse::<usize>()? + 2];
            stream.read_exact(&mut value).await?;
            Ok(Some(String::from_utf8(value)?.trim_end().to_owned()))
        }
        _ => Err(format!("not a reply: {head:?}").into()),
    }
}
