//! Redis.

use std::{
    io,
    net::{Ipv4Addr, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

use super::{
    port::Port,
    process::{Directory, Process},
    reply::{Reply, ask},
};

/// What is to be said of a server before it starts.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    args: Vec<String>,
    listens: Listens,
    /// Of the user `default`.
    password: Option<String>,
    /// Name and password of the first user that is not `default`.
    user: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Listens {
    #[default]
    Tcp,
    Unix,
}

impl Setup {
    /// Settings as on the command line: `&["--maxmemory", "2mb"]`.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Restarts with its data.
    pub fn persistent(self) -> Self {
        self.args(&["--appendonly", "yes"])
    }

    /// Listens on a Unix socket alone.
    pub fn unix(mut self) -> Self {
        self.listens = Listens::Unix;
        self
    }

    /// The password of the user `default`.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.args(&["--requirepass", password])
    }

    /// One more user, with what it may do: `&["~seawall:*", "+@all"]`.
    pub fn user(mut self, name: &str, password: &str, rules: &[&str]) -> Self {
        self.user.get_or_insert((name.to_owned(), password.to_owned()));
        let password = format!(">{password}");
        self.args(&["--user", name, "on", &password]).args(rules)
    }

    pub fn start(self) -> Redis {
        for _ in 0..100 {
            let place = (Directory::new(), Port::draw());
            if let Some(redis) = Redis::on(place, self.clone()) {
                return redis;
            }
        }
        panic!("no redis-server on any of a hundred ports");
    }
}

/// A server of our own, with no data on disk where it is not asked for that.
#[derive(Debug)]
pub struct Redis {
    // Dropped in this order.
    process: Option<Process>,
    directory: Directory,
    port: Port,
    setup: Setup,
}

impl Redis {
    pub fn setup() -> Setup {
        Setup::default()
    }

    pub fn start() -> Self {
        Self::setup().start()
    }

    /// With settings as on the command line: `&["--maxmemory", "2mb"]`.
    pub fn start_with(args: &[&str]) -> Self {
        Self::setup().args(args).start()
    }

    /// On a Unix socket alone.
    pub fn unix() -> Self {
        Self::setup().unix().start()
    }

    /// `None`: the port is taken.
    fn on((directory, port): (Directory, Port), setup: Setup) -> Option<Self> {
        let mut redis = Self { process: None, directory, port, setup };
        redis.run().then_some(redis)
    }

    /// `false`: the port is taken.
    fn run(&mut self) -> bool {
        let number = self.port.number.to_string();
        let port = match self.setup.listens {
            Listens::Tcp => number.as_str(),
            Listens::Unix => "0",
        };
        let socket = self.socket();
        let ours = ["--bind", "127.0.0.1", "--port", port, "--unixsocket", &socket];
        let defaults = ["--save", "", "--appendonly", "no", "--dir", "."];
        let mut args: Vec<_> = ours.into_iter().chain(defaults).map(str::to_owned).collect();
        args.extend(self.setup.args.iter().cloned());
        let mut process = Process::start("redis-server", &args, &self.directory);
        let id = process.id().to_string();
        // It listens on the port before it does on the socket, which is in a directory of its own:
        // whoever answers there, and loads no more, has them both.
        let ready = |_: &Process| self.try_command(&["PING"]).is_ok_and(|reply| reply == pong());
        if process.wait_until(&self.directory, ready) {
            self.process = Some(process);
            assert_eq!(self.info("process_id"), id, "another answers");
            return true;
        }
        let log = self.directory.log();
        assert!(log.contains("Address already in use"), "redis-server has ended:\n{log}");
        false
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// The path of its Unix socket, which it has in any case.
    pub fn socket(&self) -> String {
        self.directory.file("socket")
    }

    /// Where it is, and with which user and password one comes in.
    pub fn url(&self) -> String {
        let (user, password) = match (&self.setup.user, &self.setup.password) {
            (Some((user, password)), _) => (user.as_str(), password.as_str()),
            (None, Some(password)) => ("", password.as_str()),
            (None, None) => ("", ""),
        };
        match self.setup.listens {
            Listens::Unix if password.is_empty() => format!("unix://{}", self.socket()),
            Listens::Unix => format!("unix://{}?user={user}&pass={password}", self.socket()),
            Listens::Tcp if password.is_empty() => format!("redis://127.0.0.1:{}", self.port()),
            Listens::Tcp => format!("redis://{user}:{password}@127.0.0.1:{}", self.port()),
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

    /// Kills it, if nobody has, and starts it anew where it was.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "its port is taken");
    }

    /// Says this as `default`, over its Unix socket: limits and faults of a network do not matter.
    pub fn command(&self, words: &[&str]) -> Reply {
        self.command_bytes(&bytes(words))
    }

    /// The same with bytes that need not be text.
    pub fn command_bytes(&self, words: &[&[u8]]) -> Reply {
        let reply = self.say(words, AMPLE);
        reply.unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// The same, where it may not answer: it has a second for that.
    pub fn try_command(&self, words: &[&str]) -> io::Result<Reply> {
        self.say(&bytes(words), SHORT)
    }

    /// The same over TCP.
    pub fn try_command_by_tcp(&self, words: &[&str]) -> io::Result<Reply> {
        self.say_by_tcp(&self.signed_in(&bytes(words)))
    }

    /// The same over TCP, as this user.
    pub fn try_as(&self, user: &str, password: &str, words: &[&str]) -> io::Result<Reply> {
        self.say_by_tcp(&[bytes(&["AUTH", user, password]), bytes(words)])
    }

    /// The same over TCP, as nobody.
    pub fn try_anonymous(&self, words: &[&str]) -> io::Result<Reply> {
        self.say_by_tcp(&[bytes(words)])
    }

    fn say(&self, words: &[&[u8]], limit: Duration) -> io::Result<Reply> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        ask(stream, &self.signed_in(words))
    }

    fn say_by_tcp(&self, commands: &[Vec<&[u8]>]) -> io::Result<Reply> {
        let addr = (Ipv4Addr::LOCALHOST, self.port()).into();
        let stream = TcpStream::connect_timeout(&addr, SHORT)?;
        stream.set_read_timeout(Some(SHORT))?;
        stream.set_write_timeout(Some(SHORT))?;
        ask(stream, commands)
    }

    fn signed_in<'a>(&'a self, words: &[&'a [u8]]) -> Vec<Vec<&'a [u8]>> {
        let password = self.setup.password.iter();
        let auth = password.map(|password| vec![b"AUTH".as_slice(), password.as_bytes()]);
        auth.chain([words.to_vec()]).collect()
    }

    /// A field of `INFO`, such as `run_id`, `connected_clients` or `total_commands_processed`.
    pub fn info(&self, field: &str) -> String {
        let info = self.command(&["INFO", "everything"]);
        info.field(field).unwrap_or_else(|| panic!("no {field} in {}", info.text()))
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }
}

/// How long an answer may take that is to come,
const AMPLE: Duration = Duration::from_secs(20);
/// and one that may not.
const SHORT: Duration = Duration::from_secs(1);

fn bytes<'a>(words: &[&'a str]) -> Vec<&'a [u8]> {
    words.iter().map(|word| word.as_bytes()).collect()
}

fn pong() -> Reply {
    Reply::Simple("PONG".to_owned())
}
