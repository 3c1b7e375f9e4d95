//! Callers that leave, connections that are given up, handles that are dropped.

use std::{io::ErrorKind, time::Duration};

use bytes::Bytes;
use tokio::{
    io::AsyncReadExt,
    runtime::Handle,
    time::{Instant, timeout},
};

use super::{
    super::{failure::Why, servers::Servers, servers::Settings},
    support::{
        HOUR, LONG, Memcached, Peer, begun, connected, declined, key, open, text, value, why,
    },
};
use crate::store::server::Server;

#[tokio::test]
async fn a_reply_that_comes_after_its_caller_left_is_nobody_elses() {
    let peer = Peer::bind().await;
    let servers = open(&peer.address());
    let mut talk = peer.greet(&servers).await;
    let (one, two) = (key(1), key(2));
    for _ in 0..100 {
        let mut left = Box::pin(servers.get(&one));
        begun(&mut left).await;
        let left_token = talk.token().await;
        drop(left);
        let mut stays = Box::pin(servers.get(&two));
        begun(&mut stays).await;
        let stays_token = talk.token().await;
        talk.say(format!("VA 3 O{left_token}\r\none\r\nVA 3 O{stays_token}\r\ntwo\r\n")).await;
        assert_eq!(stays.await.unwrap(), Some(value("two")));
    }
}

#[tokio::test]
async fn who_leaves_before_the_command_is_sent_has_it_not_sent_but_for_a_deletion() {
    let peer = Peer::bind().await;
    let servers = open(&peer.address());
    let mut talk = peer.greet(&servers).await;
    let key = key(1);
    // On this thread the task does not run before we wait.
    begun(&mut Box::pin(servers.get(&key))).await;
    begun(&mut Box::pin(servers.set(&key, value("x"), HOUR))).await;
    begun(&mut Box::pin(servers.ping())).await;
    begun(&mut Box::pin(servers.delete(&key))).await;
    let line = talk.line().await;
    assert!(line.starts_with(&format!("md {} O", text(&key))), "{line}");
}

#[tokio::test]
async fn a_server_that_says_nothing_loses_its_connection_and_one_that_trickles_does_not() {
    let peer = Peer::bind().await;
    let silence = Duration::from_millis(500);
    let settings = Settings { silence, ..Settings::default() };
    let servers = Servers::open(&[peer.address()], settings).unwrap();
    let mut talk = peer.greet(&servers).await;
    let key = key(1);
    // No call waits: nothing is expected of it.
    tokio::time::sleep(2 * silence).await;
    let start = Instant::now();
    let mut get = Box::pin(servers.get(&key));
    begun(&mut get).await;
    let said = format!("VA 6 O{}\r\nabcdef\r\n", talk.token().await);
    let trickle = async {
        for byte in said.as_bytes() {
            tokio::time::sleep(silence / 8).await;
            talk.say([*byte]).await;
        }
    };
    let (got, ()) = tokio::join!(get, trickle);
    assert_eq!(got.unwrap(), Some(value("abcdef")));
    assert!(start.elapsed() > silence);

    let start = Instant::now();
    let got = timeout(LONG, servers.get(&key)).await.expect("silence has an end");
    let error = got.unwrap_err();
    assert!(matches!(why(&error), Why::Silent(_)), "{error:?}");
    assert!(start.elapsed() >= silence && start.elapsed() < 10 * silence, "{:?}", start.elapsed());
    talk.line().await;
    talk.ends().await;
    peer.greet(&servers).await;
}

#[tokio::test]
async fn what_a_lost_connection_has_not_delivered_is_never_delivered() {
    let peer = Peer::bind().await;
    let settings = Settings { silence: Duration::from_millis(100), ..Settings::default() };
    let servers = Servers::open(&[peer.address()], settings).unwrap();
    let mut talk = peer.greet(&servers).await;
    let large = Bytes::from(vec![b'x'; 900_000]);
    let keys: Vec<_> = (0..20).map(key).collect();
    let mut sets: Vec<_> =
        keys.iter().map(|key| Box::pin(servers.set(key, large.clone(), HOUR))).collect();
    for set in &mut sets {
        begun(set).await;
    }
    // The peer does not read: what its kernel does not take stays in ours.
    for set in sets {
        let error = timeout(LONG, set).await.expect("silence has an end").unwrap_err();
        assert!(matches!(why(&error), Why::Silent(_)));
    }
    let mut arrived = 0;
    let mut buffer = vec![0; 1 << 20];
    let end = loop {
        match timeout(LONG, talk.stream.read(&mut buffer)).await.unwrap() {
            Ok(0) => break None,
            Ok(read) => arrived += read,
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(end, Some(ErrorKind::ConnectionReset), "after {arrived} bytes");
    assert!(arrived < 20 * large.len(), "{arrived}");
}

#[tokio::test]
async fn calls_beyond_the_queue_are_declined_at_once() {
    let peer = Peer::bind().await;
    let settings = Settings { queue: 8, ..Settings::default() };
    let servers = Servers::open(&[peer.address()], settings).unwrap();
    let _talk = peer.greet(&servers).await;
    let key = key(1);
    let mut calls: Vec<_> = (0..8).map(|_| Box::pin(servers.get(&key))).collect();
    for call in &mut calls {
        begun(call).await;
    }
    let error = timeout(Duration::ZERO, servers.get(&key)).await.expect("at once").unwrap_err();
    assert_eq!(declined(&error).writes_off(), None);
    assert!(error.source().unwrap().to_string().ends_with("too many calls are waiting"));
}

#[tokio::test]
async fn when_the_runtime_has_shut_down_calls_fail() {
    let memcached = Memcached::start(&[]);
    let address = memcached.address();
    let servers = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let servers = open(&address);
            connected(&servers).await;
            servers
        })
    })
    .join()
    .unwrap();
    let error = servers.get(&key(1)).await.unwrap_err();
    assert!(matches!(why(&error), Why::Ended), "{error:?}");
}

/// Waits until no more tasks than `tasks` are alive.
async fn tasks_end(tasks: usize, state: &str) {
    let start = Instant::now();
    while Handle::current().metrics().num_alive_tasks() > tasks {
        assert!(start.elapsed() < Duration::from_secs(5), "the task outlives its handle: {state}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_task_ends_with_its_handle_whatever_it_is_at() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let peer = Peer::bind().await;

    let servers = open(&peer.address());
    assert_eq!(tasks(), before + 1);
    let mut talk = peer.greet(&servers).await;
    drop(servers);
    tasks_end(before, "connected").await;
    talk.ends().await;

    let servers = open(&peer.address());
    let mut talk = peer.accept().await;
    talk.expect("mn").await;
    drop(servers);
    tasks_end(before, "waiting for the greeting").await;
    talk.ends().await;

    let servers = open(&peer.address());
    drop(servers);
    tasks_end(before, "not started").await;

    // A call was given up, and its reply has not come.
    let servers = open(&peer.address());
    let mut talk = loop {
        let mut talk = peer.accept().await;
        if talk.stream.peek(&mut [0]).await.is_ok_and(|read| read > 0) {
            talk.expect("mn").await;
            talk.say("MN\r\n").await;
            break talk;
        }
    };
    let mut late = Box::pin(async { while servers.get(&key(1)).await.is_err() {} });
    tokio::select! { _ = &mut late => panic!("nobody answered"), _ = talk.token() => {} }
    drop(late);
    drop(servers);
    tasks_end(before, "waiting for a reply").await;

    let address = peer.address();
    drop(peer);
    let servers = open(&address);
    while !servers.ping().await.is_err_and(|error| matches!(why(&error), Why::NotConnected(_))) {}
    drop(servers);
    tasks_end(before, "waiting to connect again").await;
}
