//! What no real server can be made to say, and calls that are given up.

use std::{future::Future, io::ErrorKind, pin::pin, task::Poll, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
    time::{Instant, timeout},
};

use super::{
    super::{failure::Why, servers::Servers, servers::Settings},
    support::{HOUR, LONG, Peer, connected, declined, key, open, text, value, why},
};
use crate::store::server::Server;

/// Polls `future` once: what it has to say is then on its way.
async fn begun<F: Future + Unpin>(future: &mut F) {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn whatever_is_no_reply_to_the_call_ends_the_connection_and_every_call_on_it() {
    let peer = Peer::bind().await;
    let servers = open(&peer.address());
    // `%` is the token of the first call, `^` that of the second.
    for reply in [
        "VA 5 O^\r\nhello\r\n",
        "VA 5\r\nhello\r\n",
        "VA 5 O%\r\nhelloo\r\n",
        "VA 1065537 O%\r\n",
        "VA 99999999999999999999 O%\r\n",
        "EN O^\r\n",
        "HD O%\r\n",
        "NF O%\r\n",
        "MN\r\n",
        "NS O%\r\n",
        "VALUE key 0 5\r\nhello\r\nEND\r\n",
        "\r\n",
        "\0\0\0\0\n",
        "ERROR\r\n",
        "CLIENT_ERROR bad command line format\r\n",
        "HTTP/1.1 400 Bad Request\r\n",
    ] {
        let mut talk = peer.greet(&servers).await;
        let (one, two) = (key(1), key(2));
        let (mut first, mut second) = (Box::pin(servers.get(&one)), Box::pin(servers.get(&two)));
        begun(&mut first).await;
        begun(&mut second).await;
        let (first_token, second_token) = (talk.token().await, talk.token().await);
        let said =
            reply.replace('%', &first_token.to_string()).replace('^', &second_token.to_string());
        talk.say(&said).await;
        for error in [first.await.unwrap_err(), second.await.unwrap_err()] {
            let why = why(&error);
            assert!(matches!(why, Why::Malformed(_) | Why::Answered(_)), "{reply:?}: {why:?}");
        }
        talk.ends().await;
    }
}

#[tokio::test]
async fn a_set_is_answered_by_nothing_but_done() {
    let peer = Peer::bind().await;
    let servers = open(&peer.address());
    for reply in ["VA 1 O%\r\nx\r\n", "EN\r\n", "EN O%\r\n", "NF O%\r\n", "MN\r\n", "STORED\r\n"] {
        let mut talk = peer.greet(&servers).await;
        let key = key(1);
        let mut set = Box::pin(servers.set(&key, value("x"), HOUR));
        begun(&mut set).await;
        let token = talk.token().await;
        talk.expect("x").await;
        talk.say(reply.replace('%', &token.to_string())).await;
        let error = set.await.unwrap_err();
        assert!(matches!(why(&error), Why::Malformed(_)), "{reply:?}: {error:?}");
        talk.ends().await;
    }
}

#[tokio::test]
async fn a_server_in_trouble_fails_the_call_and_keeps_its_connection() {
    let peer = Peer::bind().await;
    let servers = open(&peer.address());
    let mut talk = peer.greet(&servers).await;
    let key = key(1);
    for (said, says_declined, no_writes) in [
        ("SERVER_ERROR out of memory storing object", true, Some(Duration::from_secs(30))),
        ("SERVER_ERROR object too large for cache", true, None),
        ("SERVER_ERROR backend failure", false, None),
    ] {
        let mut set = Box::pin(servers.set(&key, value("x"), HOUR));
        begun(&mut set).await;
        talk.token().await;
        talk.expect("x").await;
        talk.say(format!("{said}\r\n")).await;
        let error = set.await.unwrap_err();
        if says_declined {
            assert_eq!(declined(&error).writes_off(), no_writes);
        } else {
            assert!(matches!(why(&error), Why::Answered(_)), "{error:?}");
        }
        // The same to a read is no matter of what it is asked to keep.
        let mut get = Box::pin(servers.get(&key));
        begun(&mut get).await;
        talk.token().await;
        talk.say(format!("{said}\r\n")).await;
        assert!(matches!(why(&get.await.unwrap_err()), Why::Answered(_)));
    }
}

#[tokio::test]
async fn a_reply_to_nothing_ends_the_connection() {
    let peer = Peer::bind().await;
    let servers = open(&peer.address());
    for unasked in
        ["MN\r\n", "HD O1\r\n", "VA 1 O1\r\nx\r\n", "ERROR Too many open connections\r\n"]
    {
        let mut talk = peer.greet(&servers).await;
        talk.say(unasked).await;
        talk.ends().await;
    }
}

#[tokio::test]
async fn a_reply_may_come_in_two_pieces_cut_anywhere() {
    let peer = Peer::bind().await;
    let servers = open(&peer.address());
    let mut talk = peer.greet(&servers).await;
    let (one, two) = (key(1), key(2));
    let mut cut = 1;
    loop {
        let (mut first, mut second) = (Box::pin(servers.get(&one)), Box::pin(servers.get(&two)));
        begun(&mut first).await;
        begun(&mut second).await;
        let (a, b) = (talk.token().await, talk.token().await);
        let said = format!("VA 7 O{a}\r\na\r\nEN\r\n\r\nEN O{b}\r\n");
        if cut >= said.len() {
            break;
        }
        talk.say(&said[..cut]).await;
        // The client reads what there is before it is told more.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        talk.say(&said[cut..]).await;
        assert_eq!(first.await.unwrap(), Some(value("a\r\nEN\r\n")), "cut at {cut}");
        assert_eq!(second.await.unwrap(), None);
        cut += 1;
    }
    assert!(cut > 20, "{cut}");
}

#[tokio::test]
async fn a_connection_that_ends_at_any_byte_of_a_reply_gives_nobody_a_part() {
    let peer = Peer::bind().await;
    let servers = open(&peer.address());
    let key = key(1);
    let whole = "VA 5 O1234567\r\nhello\r\n".len();
    for cut in 0..=whole {
        let mut talk = peer.greet(&servers).await;
        let mut get = Box::pin(servers.get(&key));
        begun(&mut get).await;
        let said = format!("VA 5 O{}\r\nhello\r\n", talk.token().await);
        talk.say(&said[..cut.min(said.len())]).await;
        talk.stream.shutdown().await.unwrap();
        match get.await {
            Ok(got) => {
                assert!(cut >= said.len());
                assert_eq!(got, Some(value("hello")));
            }
            Err(error) => {
                assert!(cut < said.len());
                assert!(matches!(why(&error), Why::Closed | Why::Broken(_)), "{error:?}");
            }
        }
    }
}

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
    let silence = Duration::from_millis(200);
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
    let error = servers.get(&key).await.unwrap_err();
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
        assert!(matches!(why(&set.await.unwrap_err()), Why::Silent(_)));
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
async fn a_server_of_another_protocol_is_no_server() {
    let peer = Peer::bind().await;
    let servers = open(&peer.address());
    for (greeting, said) in [
        ("ERROR\r\n", "it answered ERROR"),
        ("-ERR unknown command 'mn'\r\n", "protocol error: a line is no reply that we know"),
        ("HD O1\r\n", "protocol error: a reply to nothing"),
        ("\r\n", "protocol error: a line is no reply that we know"),
    ] {
        let mut talk = peer.accept().await;
        talk.expect("mn").await;
        talk.say(greeting).await;
        talk.ends().await;
        let error = servers.get(&key(1)).await.unwrap_err();
        assert!(error.to_string().ends_with(": not connected"), "{error}");
        let cause = error.source().unwrap().to_string();
        assert!(cause.ends_with(said), "{greeting:?}: {cause}");
    }
}

#[tokio::test]
async fn one_that_greets_and_then_fails_each_call_is_not_connected_to_at_full_speed() {
    let peer = Peer::bind().await;
    let servers = open(&peer.address());
    let (key, start) = (key(1), Instant::now());
    for _ in 0..5 {
        let mut talk = peer.accept().await;
        talk.expect("mn").await;
        talk.say("MN\r\n").await;
        // Until the client has seen the greeting, it calls itself not connected.
        let fails = async {
            while !servers.get(&key).await.is_err_and(|e| matches!(why(&e), Why::Answered(_))) {}
        };
        let answers = async {
            talk.token().await;
            talk.say("ERROR\r\n").await;
        };
        timeout(LONG, async { tokio::join!(fails, answers) }).await.unwrap();
    }
    // 50, 100, 200 and 400 ms lie between five connections, less a quarter at the most.
    assert!(start.elapsed() > Duration::from_millis(560), "{:?}", start.elapsed());
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

#[tokio::test]
async fn when_the_runtime_has_shut_down_calls_fail() {
    let memcached = super::support::Memcached::start(&[]);
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
