//! A Redis of our own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use redis::{Client, RedisResult, Value};
use tokio::time::Instant;

/// A server of our own with a directory of its own, killed when dropped.
pub(super) struct Redis {
    child: Child,
    arguments: Vec<String>,
    directory: PathBuf,
    pub(super) port: u16,
}

impl Redis {
    pub(super) fn start(arguments: &[&str]) -> Self {
        Self::configured("", arguments)
    }

    /// Where `configuration` says `PORT`, another port of its own stands: 10,000 higher.
    pub(super) fn configured(configuration: &str, arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "seawall-redis-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        // Below those that connections are given, also with the 10,000 that a cluster adds: while the
        // server is down, none of them takes its port.
        let mut ports = (0..100).map(|_| fastrand::u16(10_000..22_000));
        let server = ports.find_map(|port| {
            let settings = configuration.replace("PORT", &(port + 10_000).to_string());
            fs::write(directory.join("redis.conf"), settings).unwrap();
            let mut all: Vec<String> = vec!["redis.conf".into()];
            all.extend(arguments.iter().map(|&argument| argument.into()));
            all.extend(["--port".into(), port.to_string()]);
            for argument in ["--save", "", "--bind", "127.0.0.1", "--logfile", "log"] {
                all.push(argument.into());
            }
            let child = Self::spawn(&directory, &all);
            let mut redis = Self { child, arguments: all, directory: directory.clone(), port };
            if redis.is_ready() {
                return Some(redis);
            }
            // The next one needs the directory.
            redis.directory = PathBuf::new();
            None
        });
        server.expect("a server on one of these ports")
    }

    fn spawn(directory: &Path, arguments: &[String]) -> Child {
        let mut command = Command::new("redis-server");
        command.current_dir(directory).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("redis-server, which tests/run installs")
    }

    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            let began = log.rfind("Redis is starting").unwrap_or(0);
            if ["Ready to accept connections", "+monitor master"]
                .iter()
                .any(|ready| log[began..].contains(ready))
            {
                return true;
            }
            thread::sleep(Duration::from_millis(2));
        }
        false
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What it says to this command, on a connection of its own.
    pub(super) fn ask(&self, words: &[&str]) -> RedisResult<Value> {
        let client = Client::open(self.url())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query(&mut connection)
    }

    pub(super) fn say(&self, words: &[&str]) -> Value {
        self.ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(super) fn text(&self, words: &[&str]) -> String {
        redis::from_redis_value(self.say(words)).unwrap()
    }

    pub(super) fn number(&self, words: &[&str]) -> i64 {
        redis::from_redis_value(self.say(words)).unwrap()
    }

    /// How many connections it has, the one that asks left out.
    pub(super) fn clients(&self) -> usize {
        self.text(&["CLIENT", "LIST", "TYPE", "NORMAL"]).lines().count() - 1
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Once this returns, nobody listens on its port.
    pub(super) fn kill(&mut self) {
        self.signal("-KILL");
        self.child.wait().unwrap();
    }

    /// Starts it once more on its port, with what it has on its disk.
    pub(super) fn restart(&mut self) {
        fs::write(self.file("log"), "").unwrap();
        self.child = Self::spawn(&self.directory, &self.arguments);
        assert!(self.is_ready());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.directory.is_absolute() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
