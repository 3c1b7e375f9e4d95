//! Memcached.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

use super::{
    port::Port,
    process::{Directory, Process},
};

/// A server of our own.
#[derive(Debug)]
pub struct Memcached {
    // Dropped in this order.
    process: Option<Process>,
    directory: Directory,
    port: Port,
    unix: bool,
    args: Vec<String>,
}

impl Memcached {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With options as on the command line: `&["-m", "2"]`.
    pub fn start_with(args: &[&str]) -> Self {
        Self::new(args, false)
    }

    /// On a Unix socket alone.
    pub fn unix() -> Self {
        Self::new(&[], true)
    }

    fn new(args: &[&str], unix: bool) -> Self {
        for _ in 0..100 {
            let args = args.iter().map(|&arg| arg.to_owned()).collect();
            let (directory, port) = (Directory::new(), Port::draw());
            let mut memcached = Self { process: None, directory, port, unix, args };
            if memcached.run() {
                return memcached;
            }
        }
        panic!("no memcached on any of a hundred ports");
    }

    /// `false`: the port is taken.
    fn run(&mut self) -> bool {
        let (number, socket) = (self.port.number.to_string(), self.socket());
        let listens: &[&str] = match self.unix {
            true => &["-s", &socket],
            false => &["-l", "127.0.0.1", "-p", &number],
        };
        // The user matters only to root, who may not run it otherwise.
        let ours = listens.iter().chain(&["-U", "0", "-u", "root"]);
        let args: Vec<_> = ours.map(|&arg| arg.to_owned()).chain(self.args.clone()).collect();
        let mut process = Process::start("memcached", &args, &self.directory);
        let ready = |process: &Process| {
            (self.unix || process.listens_on(self.port())) && self.try_text("version\r\n").is_ok()
        };
        if process.wait_until(&self.directory, ready) {
            self.process = Some(process);
            return true;
        }
        let log = self.directory.log();
        assert!(log.contains("Address already in use"), "memcached has ended:\n{log}");
        false
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The path of its Unix socket, if that is where it is.
    pub fn socket(&self) -> String {
        self.directory.file("socket")
    }

    pub fn url(&self) -> String {
        match self.unix {
            true => format!("memcached://{}", self.socket()),
            false => format!("memcached://127.0.0.1:{}", self.port()),
        }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.directory.log()
    }

    /// Once this returns, nobody listens on its port.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Once this returns, it does nothing until it is thawed: the kernel still accepts for it.
    pub fn freeze(&self) {
        self.running().freeze();
    }

    pub fn thaw(&self) {
        self.running().thaw();
    }

    /// Kills it, if nobody has, and starts it anew where it was, empty.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "its port is taken");
    }

    /// Says this, one request or many, and returns all that is said to it.
    pub fn text(&self, requests: &str) -> String {
        String::from_utf8_lossy(&self.bytes(requests.as_bytes())).into_owned()
    }

    /// The same with bytes that need not be text.
    pub fn bytes(&self, requests: &[u8]) -> Vec<u8> {
        let reply = self.say(requests, AMPLE);
        reply.unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// The same, where it may not answer: it has a second for that.
    pub fn try_text(&self, requests: &str) -> io::Result<String> {
        let reply = self.say(requests.as_bytes(), SHORT)?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }

    fn say(&self, requests: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
        if self.unix {
            let stream = UnixStream::connect(self.socket())?;
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(limit))?;
            return ask(stream, requests);
        }
        let stream = TcpStream::connect_timeout(&self.addr(), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        ask(stream, requests)
    }

    /// A line of `stats`, such as `curr_items`, `cmd_get` or `curr_connections`.
    pub fn stat(&self, name: &str) -> String {
        let stats = self.text("stats\r\n");
        field(&stats, name).unwrap_or_else(|| panic!("no {name} in {stats}"))
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }
}

/// How long an answer may take that is to come,
const AMPLE: Duration = Duration::from_secs(20);
/// and one that may not.
const SHORT: Duration = Duration::from_secs(1);

fn ask(mut stream: impl Read + Write, requests: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(requests)?;
    // It answers what came before, and closes.
    stream.write_all(b"quit\r\n")?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(reply)
}

fn field(stats: &str, name: &str) -> Option<String> {
    let line = stats.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name));
    line.and_then(|rest| rest.strip_prefix(' ')).map(str::to_owned)
}
