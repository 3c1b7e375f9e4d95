//! The faults of connections.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    peers::{CLOSED, Client, MOMENT, RESET, echo, ramp},
    support::{
        fault_proxy::{Counts, Fault, FaultProxy},
        servers::Redis,
        sockets::eventually,
    },
};

#[tokio::test]
async fn without_a_fault_everything_passes_both_ways_and_so_do_ends() {
    let (server, mut heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut client = Client::of(&proxy).await;
    let bytes = ramp(1 << 20);
    let (mut from, mut to) = client.0.split();
    let mut got = vec![0; bytes.len()];
    let (wrote, read) = tokio::join!(to.write_all(&bytes), from.read_exact(&mut got));
    assert!(wrote.is_ok() && read.is_ok() && got == bytes);
    client.0.shutdown().await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), bytes);
    assert_eq!(client.hears_the_end().await, CLOSED);
    eventually("ended", || proxy.open() == 0).await;
    let counts = Counts { accepted: 1, requests: 1 << 20, replies: 1 << 20, ..Counts::default() };
    assert_eq!(proxy.counts(), counts);
}

#[tokio::test]
async fn a_redis_behind_it_does_not_notice() {
    let redis = Redis::start();
    let proxy = FaultProxy::before(([127, 0, 0, 1], redis.port()).into()).await;
    let mut client = Client::of(&proxy).await;
    client.says(b"SET key value\r\nGET key\r\n").await;
    assert_eq!(client.hears(16).await, b"+OK\r\n$5\r\nvalue\r\n");
}

#[tokio::test]
async fn latency_comes_on_top_each_way_and_keeps_order_and_throughput() {
    let (server, _heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut client = Client::of(&proxy).await;
    client.echoes().await;
    let ways = [(MOMENT, Duration::ZERO), (Duration::ZERO, MOMENT), (MOMENT, MOMENT)];
    for (requests, replies) in ways {
        proxy.set(Fault::Latency { requests, replies });
        let before = proxy.counts().delayed;
        let began = Instant::now();
        // Many at once are as late as one.
        for number in 0..50 {
            client.says(&[number; 10]).await;
            sleep(Duration::from_millis(1)).await;
        }
        let expected: Vec<u8> = (0..50).flat_map(|number| [number; 10]).collect();
        assert_eq!(client.hears(500).await, expected);
        let took = began.elapsed();
        assert!((requests + replies..10 * (requests + replies)).contains(&took), "{took:?}");
        assert!(proxy.counts().delayed > before);
    }
    // What comes at once does not overtake what is late.
    client.says(b"late ").await;
    sleep(MOMENT / 10).await;
    proxy.set(Fault::None);
    client.says(b"soon").await;
    assert_eq!(client.hears(9).await, b"late soon");
}

#[tokio::test]
async fn a_black_hole_accepts_and_passes_nothing_until_it_is_over() {
    let (server, _heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut old = Client::of(&proxy).await;
    old.echoes().await;
    proxy.set(Fault::BlackHole);
    let mut new = Client::of(&proxy).await;
    for client in [&mut old, &mut new] {
        client.says(b"hello").await;
        client.hears_nothing().await;
    }
    eventually("held both", || proxy.counts().held == 2).await;
    let counts = proxy.counts();
    assert_eq!(counts.accepted, 2);
    assert_eq!((counts.requests, counts.replies, proxy.open()), (5, 5, 2));
    proxy.set(Fault::None);
    for client in [&mut old, &mut new] {
        assert_eq!(client.hears(5).await, b"hello");
        client.echoes().await;
    }
}

#[tokio::test]
async fn refused_connections_are_closed_and_open_ones_stay() {
    let (server, _heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut old = Client::of(&proxy).await;
    old.echoes().await;
    proxy.set(Fault::Refuse);
    for refused in 1..=3 {
        assert_eq!(Client::of(&proxy).await.hears_the_end().await, CLOSED);
        assert_eq!(proxy.counts().refused, refused);
    }
    old.echoes().await;
    proxy.set(Fault::None);
    Client::of(&proxy).await.echoes().await;
}

#[tokio::test]
async fn a_closed_port_takes_nobody_and_is_opened_again() {
    let (server, _heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut old = Client::of(&proxy).await;
    old.echoes().await;
    for _ in 0..20 {
        proxy.set(Fault::Closed);
        let error = TcpStream::connect(proxy.addr()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        old.echoes().await;
        proxy.set(Fault::None);
        Client::of(&proxy).await.echoes().await;
    }
    assert_eq!((proxy.counts().accepted, proxy.counts().refused), (21, 0));
}

#[tokio::test]
async fn a_cut_closes_all_there_are_and_none_later() {
    let (server, mut heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut clients = [Client::of(&proxy).await, Client::of(&proxy).await];
    for client in &mut clients {
        client.echoes().await;
    }
    assert_eq!(proxy.cut().await, 2);
    for client in &mut clients {
        assert_eq!(client.hears_the_end().await, CLOSED);
        assert_eq!(heard.recv().await.unwrap(), b"hello");
    }
    assert_eq!((proxy.counts().cut, proxy.open(), proxy.cut().await), (2, 0, 0));
    Client::of(&proxy).await.echoes().await;
}

#[tokio::test]
async fn a_reset_is_one() {
    let (server, mut heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut client = Client::of(&proxy).await;
    client.echoes().await;
    assert_eq!(proxy.reset().await, 1);
    assert_eq!(client.hears_the_end().await, RESET);
    assert_eq!(heard.recv().await.unwrap(), b"hello");
    assert_eq!((proxy.counts().reset, proxy.counts().cut), (1, 0));
    Client::of(&proxy).await.echoes().await;
}

#[tokio::test]
async fn half_closed_it_has_no_replies_and_requests_still_arrive() {
    let (server, mut heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut client = Client::of(&proxy).await;
    client.echoes().await;
    assert_eq!(proxy.half_close().await, 1);
    assert_eq!(client.hears_the_end().await, CLOSED);
    client.says(b" and more").await;
    client.0.shutdown().await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), b"hello and more");
    let counts = proxy.counts();
    assert_eq!((counts.half_closed, counts.requests, counts.replies), (1, 14, 5));
}

#[tokio::test]
async fn what_cannot_be_reached_is_reset_and_so_is_what_the_server_resets() {
    let mut redis = Redis::start();
    let proxy = FaultProxy::before(([127, 0, 0, 1], redis.port()).into()).await;
    let mut client = Client::of(&proxy).await;
    client.says(b"PING\r\n").await;
    assert_eq!(client.hears(7).await, b"+PONG\r\n");
    redis.kill();
    assert_eq!(client.hears_the_end().await, CLOSED);
    drop(client);
    assert_eq!(Client::of(&proxy).await.hears_the_end().await, RESET);
    assert_eq!(proxy.counts().unreachable, 1);
    redis.restart();
    let mut client = Client::of(&proxy).await;
    client.says(b"PING\r\n").await;
    assert_eq!(client.hears(7).await, b"+PONG\r\n");
}

#[tokio::test]
async fn it_ends_when_it_is_dropped() {
    let (server, mut heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut client = Client::of(&proxy).await;
    client.echoes().await;
    proxy.set(Fault::StallAfter(0));
    client.says(b"!").await;
    eventually("stalled", || proxy.counts().stalled == 1).await;
    let addr = proxy.addr();
    drop(proxy);
    client.hears_the_end().await;
    assert_eq!(heard.recv().await.unwrap(), b"hello!");
    TcpStream::connect(addr).await.unwrap_err();
}
