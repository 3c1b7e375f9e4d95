//! What no real server can be made to say.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

use super::{
    super::failure::Why,
    support::{HOUR, LONG, Peer, begun, declined, key, open, value, why},
};
use crate::store::server::Server;

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
