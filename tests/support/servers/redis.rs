//! Redis.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

use super::{
    port::Port,
    process::{Directory, Process},
    reply::{Reply, ask},
    tls::certify,
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
    /// The file of a Sentinel's settings, which it also writes.
    sentinel: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Listens {
    #[default]
    Tcp,
    Unix,
    Tls,
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

    /// Listens with TLS alone, and asks clients for no certificate.
    pub fn tls(mut self) -> Self {
        self.listens = Listens::Tls;
        self.args(&["--tls-auth-clients", "no"])
    }

    /// Is a Sentinel, with these settings to begin with.
    pub fn sentinel(mut self, config: String) -> Self {
        self.sentinel = Some(config);
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

    /// With TLS alone, and certificates of its own.
    pub fn tls() -> Self {
        Self::setup().tls().start()
    }

    /// `None`: the port is taken.
    fn on((directory, port): (Directory, Port), setup: Setup) -> Option<Self> {
        if setup.listens == Listens::Tls {
            certify(&directory);
        }
        if let Some(config) = &setup.sentinel {
            fs::write(directory.file("sentinel.conf"), config).unwrap();
        }
        let mut redis = Self { process: None, directory, port, setup };
        redis.run().then_some(redis)
    }

    /// `false`: the port is taken.
    fn run(&mut self) -> bool {
        let number = self.port.number.to_string();
        let socket = self.socket();
        let ours = ["--bind", "127.0.0.1", "--unixsocket", &socket, "--dir", "."];
        let listens: &[&str] = match self.setup.listens {
            Listens::Tcp => &["--port", &number],
            Listens::Unix => &["--port", "0"],
            Listens::Tls => &[
                &["--port", "0", "--tls-port", &number, "--tls-ca-cert-file", "ca.pem"][..],
                &["--tls-cert-file", "certificate.pem", "--tls-key-file", "key.pem"],
            ]
            .concat(),
        };
        let kind: &[&str] = match self.setup.sentinel {
            Some(_) => &["sentinel.conf", "--sentinel"],
            None => &["--save", "", "--appendonly", "no"],
        };
        let args = [kind, &ours, listens].concat();
        let mut args: Vec<_> = args.into_iter().map(str::to_owned).collect();
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
        let place = format!("127.0.0.1:{}", self.port());
        let who = match (&self.setup.user, &self.setup.password) {
            (Some((user, password)), _) => Some((Some(user), password)),
            (None, Some(password)) => Some((None, password)),
            (None, None) => None,
        };
        if self.setup.listens == Listens::Unix {
            let query = match who {
                Some((Some(user), password)) => format!("?user={user}&pass={password}"),
                Some((None, password)) => format!("?pass={password}"),
                None => String::new(),
            };
            return format!("unix://{}{query}", self.socket());
        }
        let scheme = if self.setup.listens == Listens::Tls { "rediss" } else { "redis" };
        match who {
            Some((user, password)) => {
                let user = user.map_or("", String::as_str);
                format!("{scheme}://{user}:{password}@{place}")
            }
            None => format!("{scheme}://{place}"),
        }
    }

    /// The path of the certificate of who signed the server's, where it has TLS.
    pub fn authority(&self) -> String {
        self.directory.file("ca.pem")
    }

    /// The paths of a certificate, which is also good for a client, and of its key.
    pub fn certificate(&self) -> (String, String) {
        (self.directory.file("certificate.pem"), self.directory.file("key.pem"))
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

    pub fn is_running(&self) -> bool {
        self.process.is_some()
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
