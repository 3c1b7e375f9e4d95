//! A Memcached of the test's own.

use std::{io::ErrorKind, net::TcpStream};

use crate::support::servers::Memcached;

#[test]
fn it_answers_what_it_is_asked_in_order() {
    let memcached = Memcached::start();
    let rows = [
        ("ms key 5\r\nvalue\r\n", "HD\r\n"),
        ("mg key v\r\n", "VA 5\r\nvalue\r\n"),
        ("mg none v\r\n", "EN\r\n"),
        ("mg none v\r\nmg key v s\r\nmn\r\n", "EN\r\nVA 5 s5\r\nvalue\r\nMN\r\n"),
        ("no such command\r\n", "ERROR\r\n"),
    ];
    for (requests, replies) in rows {
        assert_eq!(memcached.text(requests), replies, "{requests:?}");
    }
    assert_eq!(memcached.stat("curr_items"), "1");
    assert_eq!(memcached.url(), format!("memcached://{}", memcached.addr()));
}

#[test]
fn a_long_reply_comes_whole() {
    let memcached = Memcached::start();
    let value = "x".repeat(1_000_000);
    assert_eq!(memcached.text(&format!("set key 0 0 1000000\r\n{value}\r\n")), "STORED\r\n");
    let replies = memcached.text(&"mg key v\r\n".repeat(20));
    assert_eq!(replies, format!("VA 1000000\r\n{value}\r\n").repeat(20));
}

#[test]
fn what_is_on_its_command_line_holds() {
    let memcached = Memcached::start_with(&["-m", "8", "-I", "2m"]);
    assert_eq!(memcached.stat("limit_maxbytes"), (8 << 20).to_string());
    let value = "x".repeat(3_000_000);
    let reply = memcached.text(&format!("set key 0 0 3000000\r\n{value}\r\n"));
    assert_eq!(reply, "SERVER_ERROR object too large for cache\r\n");
}

#[test]
fn once_it_is_killed_its_port_refuses() {
    let mut memcached = Memcached::start();
    memcached.kill();
    let error = TcpStream::connect(memcached.addr()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn while_it_is_frozen_it_is_connected_to_and_says_nothing() {
    let memcached = Memcached::start();
    for _ in 0..2 {
        memcached.freeze();
        let error = memcached.try_text("ms key 5\r\nvalue\r\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        memcached.thaw();
        assert_eq!(memcached.text("mn\r\n"), "MN\r\n");
    }
}

#[test]
fn restarted_it_is_another_on_the_same_port_and_empty() {
    let mut memcached = Memcached::start();
    let (port, process) = (memcached.port(), memcached.stat("pid"));
    for killed in [true, false] {
        assert_eq!(memcached.text("set key 0 0 1\r\nx\r\n"), "STORED\r\n");
        if killed {
            memcached.kill();
        }
        memcached.restart();
        assert_eq!(memcached.port(), port);
        assert_ne!(memcached.stat("pid"), process);
        assert_eq!(memcached.text("mg key v\r\n"), "EN\r\n");
    }
}

#[test]
fn on_a_unix_socket_it_is_there_alone() {
    let mut memcached = Memcached::unix();
    assert_eq!(memcached.url(), format!("memcached://{}", memcached.socket()));
    TcpStream::connect(memcached.addr()).unwrap_err();
    memcached.restart();
    assert_eq!(memcached.text("mn\r\n"), "MN\r\n");
}
