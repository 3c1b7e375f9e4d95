//! A Redis of the test's own.

use std::{fs, io::ErrorKind, net::TcpStream, path::Path};

use crate::support::servers::{Redis, Reply};

fn text(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

#[test]
fn it_answers_at_its_port_and_at_its_socket() {
    let redis = Redis::start();
    assert!(redis.command(&["SET", "a", "b"]).is_ok());
    assert_eq!(redis.try_command_by_tcp(&["GET", "a"]).unwrap(), text("b"));
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port()));
    assert_eq!(redis.info("tcp_port"), redis.port().to_string());
}

#[test]
fn each_form_of_reply_is_read() {
    let redis = Redis::start();
    let rows: &[(&[&str], Reply)] = &[
        (&["PING"], Reply::Simple("PONG".to_owned())),
        (&["GET", "none"], Reply::Nil),
        (&["SET", "empty", ""], Reply::Simple("OK".to_owned())),
        (&["GET", "empty"], text("")),
        (&["SET", "lines", "a\r\n$5\r\nb"], Reply::Simple("OK".to_owned())),
        (&["GET", "lines"], text("a\r\n$5\r\nb")),
        (&["INCRBY", "number", "-7"], Reply::Integer(-7)),
        (&["RPUSH", "list", "a", "b"], Reply::Integer(2)),
        (&["LRANGE", "list", "0", "-1"], Reply::Array(vec![text("a"), text("b")])),
        (&["LRANGE", "none", "0", "-1"], Reply::Array(vec![])),
        (&["MGET", "number", "none"], Reply::Array(vec![text("-7"), Reply::Nil])),
        (&["EVAL", "return {1, {2, 'x'}}", "0"], {
            let inner = Reply::Array(vec![Reply::Integer(2), text("x")]);
            Reply::Array(vec![Reply::Integer(1), inner])
        }),
        (&["BLPOP", "none", "0.01"], Reply::Nil),
    ];
    for (command, reply) in rows {
        assert_eq!(redis.command(command), *reply, "{command:?}");
    }
    let Reply::Error(error) = redis.command(&["INCR", "list"]) else { panic!("it is none") };
    assert!(error.starts_with("WRONGTYPE "), "{error}");
    let bytes: Vec<u8> = (0..=255).collect();
    assert!(redis.command_bytes(&[b"SET", &bytes, &bytes]).is_ok());
    assert_eq!(redis.command_bytes(&[b"GET", &bytes]).bytes(), bytes);
}

#[test]
fn what_is_on_its_command_line_holds() {
    let redis = Redis::start_with(&["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]);
    assert_eq!(redis.info("maxmemory"), (2 << 20).to_string());
    let value = "x".repeat(64 << 10);
    let full = (0..64).map(|key| redis.command(&["SET", &key.to_string(), &value]));
    let error = full.into_iter().find(|reply| !reply.is_ok());
    assert!(
        matches!(error, Some(Reply::Error(ref error)) if error.starts_with("OOM ")),
        "{error:?}"
    );
}

#[test]
fn once_it_is_killed_its_port_refuses() {
    let mut redis = Redis::start();
    redis.kill();
    let error = TcpStream::connect(("127.0.0.1", redis.port())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let error = redis.try_command(&["PING"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn while_it_is_frozen_it_is_connected_to_and_says_nothing() {
    let redis = Redis::start();
    for _ in 0..2 {
        redis.freeze();
        for error in [redis.try_command(&["SET", "a", "b"]), redis.try_command_by_tcp(&["PING"])] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        redis.thaw();
        assert_eq!(redis.command(&["PING"]).text(), "PONG");
        // What was sent in the meantime it does now.
        assert_eq!(redis.command(&["GETDEL", "a"]), text("b"));
    }
}

#[test]
fn restarted_it_is_another_on_the_same_port_and_empty() {
    let mut redis = Redis::start();
    assert!(redis.command(&["SET", "a", "b"]).is_ok());
    let (port, run) = (redis.port(), redis.info("run_id"));
    for killed in [true, false] {
        if killed {
            redis.kill();
        }
        redis.restart();
        assert_eq!(redis.port(), port);
        assert_ne!(redis.info("run_id"), run);
        assert_eq!(redis.try_command_by_tcp(&["GET", "a"]).unwrap(), Reply::Nil);
    }
}

#[test]
fn a_persistent_one_has_after_a_kill_what_it_had_confirmed() {
    let mut redis = Redis::setup().persistent().start();
    assert!(redis.command(&["SET", "a", "b"]).is_ok());
    redis.restart();
    assert_eq!(redis.command(&["GET", "a"]), text("b"));
}

#[test]
fn on_a_unix_socket_it_is_there_alone() {
    let mut redis = Redis::unix();
    assert_eq!(redis.url(), format!("unix://{}", redis.socket()));
    assert_eq!(redis.info("tcp_port"), "0");
    TcpStream::connect(("127.0.0.1", redis.port())).unwrap_err();
    redis.restart();
    assert_eq!(redis.command(&["PING"]).text(), "PONG");
}

#[test]
fn with_a_password_it_hears_nobody_without() {
    let redis = Redis::setup().password("secret").start();
    assert_eq!(redis.url(), format!("redis://:secret@127.0.0.1:{}", redis.port()));
    assert_eq!(redis.command(&["PING"]).text(), "PONG");
    let error = redis.try_anonymous(&["PING"]).unwrap();
    assert!(matches!(&error, Reply::Error(error) if error.starts_with("NOAUTH ")), "{error:?}");
}

#[test]
fn a_user_may_do_what_its_rules_say() {
    let redis = Redis::setup().user("alice", "secret", &["~ours:*", "+get", "+set"]).start();
    assert_eq!(redis.url(), format!("redis://alice:secret@127.0.0.1:{}", redis.port()));
    let rows: &[(&str, &[&str], &str)] = &[
        ("secret", &["SET", "ours:a", "b"], "OK"),
        ("secret", &["GET", "ours:a"], "b"),
        ("secret", &["SET", "theirs:a", "b"], "NOPERM"),
        ("secret", &["DEL", "ours:a"], "NOPERM"),
        ("wrong", &["GET", "ours:a"], "WRONGPASS"),
    ];
    for (password, command, said) in rows {
        let reply = match redis.try_as("alice", password, command).unwrap() {
            Reply::Error(error) => error,
            reply => reply.text(),
        };
        assert_eq!(reply.split(' ').next(), Some(*said), "{command:?}: {reply}");
    }
}

#[test]
fn its_directory_goes_with_it() {
    let redis = Redis::start();
    let socket = redis.socket();
    let directory = Path::new(&socket).parent().unwrap();
    assert!(fs::metadata(directory).unwrap().is_dir());
    assert!(redis.log().contains("Ready to accept connections"), "{}", redis.log());
    drop(redis);
    assert!(!directory.exists());
}
