//! A server as a process: what starts it, stops it, and sees to it that it ends.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// A directory of its own, removed when dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        let name = format!("seawall-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// What its server has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits for half a minute at most.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let tick = Duration::from_millis(10);
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        thread::sleep(tick);
    }
    panic!("never: {what}");
}

/// A process of our own, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    // Waits for the end of what it reads, of which we hold the other end: where the process of the
    // test is killed, or ends with this in a static, nobody drops it, and this does what is left to do.
    guard: Child,
}

impl Process {
    pub fn start(program: &str, args: &[String], directory: &Directory) -> Self {
        let log =
            fs::File::options().create(true).append(true).open(directory.file("log")).unwrap();
        let child = Command::new(program)
            .args(args)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}, which tests/run installs: {error}"));
        let guard = Command::new("sh")
            .args(["-c", r#"read -r _; kill -KILL "$0"; rm -rf "$1""#])
            .arg(child.id().to_string())
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What interrupts the tests does not interrupt it.
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, guard }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it does what it is to do; `false`: it has ended.
    pub fn wait_until(&mut self, directory: &Directory, ready: impl Fn(&Self) -> bool) -> bool {
        let tick = Duration::from_millis(5);
        for _ in 0..6_000 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if ready(self) {
                return true;
            }
            thread::sleep(tick);
        }
        panic!("not ready for half a minute, and says:\n{}", directory.log());
    }

    /// Whether it is the one that listens on this port of loopback.
    pub fn listens_on(&self, port: u16) -> bool {
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
        let local = format!("0100007F:{port:04X}");
        let inode = sockets.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            (fields[1] == local && fields[3] == "0A").then(|| format!("socket:[{}]", fields[9]))
        });
        let files = fs::read_dir(format!("/proc/{}/fd", self.id())).into_iter().flatten();
        let mut targets = files.flatten().flat_map(|file| fs::read_link(file.path()));
        inode.is_some_and(|inode| targets.any(|target| target.as_os_str() == inode.as_str()))
    }

    /// Once this returns, it does nothing until it is thawed.
    pub fn freeze(&self) {
        self.signal("-STOP");
        while !self.is_frozen() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Whether each of its threads is.
    fn is_frozen(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        threads.map_while(Result::ok).all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // After the name, which stands in brackets.
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // First, that it does not kill who is given this number next.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
