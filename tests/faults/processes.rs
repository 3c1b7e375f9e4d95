//! Many servers at once, and the end of those whose test ends badly.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::Write,
    net::TcpListener,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

use crate::support::{
    servers::{Memcached, Redis},
    sockets::LONG,
};

/// What a server leaves behind where it is not ended: its process, and its directory.
fn traces(redis: &Redis, memcached: &Memcached) -> [String; 4] {
    let directory = |socket: String| Path::new(&socket).parent().unwrap().display().to_string();
    [
        format!("/proc/{}", redis.info("process_id")),
        format!("/proc/{}", memcached.stat("pid")),
        directory(redis.socket()),
        directory(memcached.socket()),
    ]
}

#[test]
fn many_that_start_at_once_have_each_a_port_of_their_own() {
    let ports = Mutex::new(HashSet::new());
    let kept = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let (redis, memcached) = (Redis::start(), Memcached::start());
                    ports.lock().unwrap().extend([redis.port(), memcached.port()]);
                    kept.lock().unwrap().push((redis, memcached));
                }
            });
        }
    });
    assert_eq!(ports.into_inner().unwrap().len(), 48);
    for (redis, memcached) in kept.into_inner().unwrap() {
        let reply = redis.try_command_by_tcp(&["CONFIG", "GET", "unixsocket"]).unwrap();
        assert_eq!(reply.texts()[1], redis.socket());
        assert_eq!(memcached.text("mn\r\n"), "MN\r\n");
    }
}

#[test]
fn nobody_else_on_its_port_is_taken_for_it() {
    let (mut redis, mut memcached) = (Redis::start(), Memcached::start());
    redis.kill();
    memcached.kill();
    let _others = [redis.port(), memcached.port()].map(|port| {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                stream.unwrap().write_all(b"+PONG\r\nVERSION 1\r\n").unwrap();
            }
        })
    });
    let restarts: [&mut dyn FnMut(); 2] = [&mut || redis.restart(), &mut || memcached.restart()];
    for restart in restarts {
        let panic = catch_unwind(AssertUnwindSafe(restart)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"its port is taken"));
    }
}

#[test]
fn a_panic_ends_them() {
    let seen = Mutex::new(None);
    let panicked = thread::scope(|scope| {
        let test = scope.spawn(|| {
            let (redis, memcached) = (Redis::start(), Memcached::start());
            *seen.lock().unwrap() = Some(traces(&redis, &memcached));
            redis.freeze();
            panic!("as it was told");
        });
        test.join().is_err()
    });
    assert!(panicked);
    for trace in seen.into_inner().unwrap().unwrap() {
        assert!(!fs::exists(&trace).unwrap(), "{trace}");
    }
}

fn keep_servers_until_killed(file: &OsStr) {
    static KEPT: Mutex<Option<(Redis, Memcached)>> = Mutex::new(None);
    let (redis, memcached) = (Redis::start(), Memcached::start());
    let traces = traces(&redis, &memcached);
    redis.freeze();
    *KEPT.lock().unwrap() = Some((redis, memcached));
    fs::write(file, traces.join("\n") + "\n.").unwrap();
    thread::sleep(LONG);
}

#[test]
fn they_end_with_a_process_that_is_killed() {
    // Which is this test once more.
    if let Some(file) = std::env::var_os("TRACES") {
        return keep_servers_until_killed(&file);
    }
    let file = std::env::temp_dir().join(format!("seawall-traces-{}", std::process::id()));
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::they_end_with_a_process_that_is_killed"])
        .env("TRACES", &file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let read = || fs::read_to_string(&file).unwrap_or_default();
    eventually("started", || read().ends_with('.'));
    let traces = read();
    let traces: Vec<_> = traces.lines().filter(|line| *line != ".").collect();
    assert_eq!(traces.len(), 4);
    assert!(traces.iter().all(|trace| fs::exists(trace).unwrap()));
    test.kill().unwrap();
    test.wait().unwrap();
    fs::remove_file(&file).unwrap();
    for trace in traces {
        // Where nobody reaps it, its number stays.
        let stat = || fs::read_to_string(format!("{trace}/stat")).unwrap_or_default();
        eventually(trace, || !fs::exists(trace).unwrap() || stat().contains(") Z "));
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let tick = LONG / 3_000;
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        thread::sleep(tick);
    }
    panic!("never {what}");
}
