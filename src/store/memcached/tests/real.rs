//! Against a real memcached: what it keeps, and what becomes of calls while it is not well.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{
    super::{address::Address, failure::Why, servers::Servers, servers::Settings},
    support::{HOUR, LONG, Memcached, connected, declined, key, open, text, value, why},
};
use crate::store::server::Server;

#[tokio::test]
async fn what_is_set_is_read_replaced_and_forgotten() {
    let memcached = Memcached::start(&[]);
    let servers = open(&memcached.address());
    connected(&servers).await;
    let key = key(1);
    assert_eq!(servers.get(&key).await.unwrap(), None);
    servers.delete(&key).await.expect("what is not there is forgotten");
    let any: Bytes = (0..=255u8).cycle().take(700_000).collect();
    let awkward = [value(""), value("\r\n"), value("EN\r\nHD O1\r\n"), any];
    for value in awkward {
        servers.set(&key, value.clone(), HOUR).await.unwrap();
        assert!(servers.get(&key).await.unwrap().unwrap() == value);
    }
    servers.delete(&key).await.unwrap();
    assert_eq!(servers.get(&key).await.unwrap(), None);
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_does_as_well() {
    let path = std::env::temp_dir().join(format!("seawall-{}.sock", std::process::id()));
    let path = path.to_str().unwrap();
    let _running = Memcached::at_socket(path);
    let servers = open(&Address::parse(&format!("unix:{path}")).unwrap());
    connected(&servers).await;
    servers.set(&key(1), value("one"), HOUR).await.unwrap();
    assert_eq!(servers.get(&key(1)).await.unwrap(), Some(value("one")));
    let _ = std::fs::remove_file(path);
}

#[tokio::test]
async fn a_lifetime_reaches_the_server_as_it_was_meant() {
    let memcached = Memcached::start(&[]);
    let servers = open(&memcached.address());
    connected(&servers).await;
    let day = 86_400;
    for (ttl, least, most) in [
        (Duration::from_millis(59_001), 58, 60),
        (Duration::from_secs(30 * day), 30 * day - 2, 30 * day),
        (Duration::from_secs(30 * day + 1), 30 * day - 2, 30 * day + 2),
        (Duration::from_secs(90 * day), 90 * day - 2, 90 * day + 1),
        (Duration::MAX, 365 * day - 2, 365 * day + 1),
    ] {
        servers.set(&key(1), value("x"), ttl).await.unwrap();
        let answer = memcached.ask(&format!("mg {} t", text(&key(1))), "HD").pop().unwrap();
        let left: u64 = answer.strip_prefix("HD t").expect("it is there").parse().unwrap();
        assert!((least..=most).contains(&left), "{ttl:?}: {left}");
    }
}

#[tokio::test]
async fn what_has_expired_is_not_there() {
    let memcached = Memcached::start(&[]);
    let servers = open(&memcached.address());
    connected(&servers).await;
    servers.set(&key(1), value("x"), Duration::ZERO).await.unwrap();
    let start = Instant::now();
    while servers.get(&key(1)).await.unwrap().is_some() {
        assert!(start.elapsed() < LONG);
    }
}

#[tokio::test]
async fn a_value_over_our_limit_is_declined_and_the_old_one_is_gone() {
    let memcached = Memcached::start(&[]);
    let servers = open(&memcached.address());
    connected(&servers).await;
    let limit = Settings::default().item_limit;
    servers.set(&key(1), vec![b'a'; limit].into(), HOUR).await.expect("it fits");
    let error = servers.set(&key(1), vec![b'b'; limit + 1].into(), HOUR).await.unwrap_err();
    assert_eq!(declined(&error).writes_off(), None);
    let said = error.source().unwrap().to_string();
    assert_eq!(said, "1000001 bytes are over the limit of 1000000");
    assert_eq!(servers.get(&key(1)).await.unwrap(), None);
    assert_eq!(memcached.stat("cmd_set"), 1);
}

#[tokio::test]
async fn a_value_over_the_servers_limit_is_declined_and_the_old_one_is_gone() {
    let memcached = Memcached::start(&["-I", "512k"]);
    let servers = open(&memcached.address());
    connected(&servers).await;
    servers.set(&key(1), value("old"), HOUR).await.unwrap();
    let connections = memcached.stat("total_connections");
    let error = servers.set(&key(1), vec![b'b'; 600_000].into(), HOUR).await.unwrap_err();
    assert_eq!(declined(&error).writes_off(), None);
    let said = error.source().unwrap().to_string();
    assert!(said.ends_with("it answered SERVER_ERROR object too large for cache"), "{said}");
    assert_eq!(servers.get(&key(1)).await.unwrap(), None);
    // That was no reason for another connection: the one more is the second question's.
    assert_eq!(memcached.stat("total_connections"), connections + 1);
}

#[tokio::test]
async fn a_server_without_memory_declines_and_says_so_for_half_a_minute() {
    let memcached = Memcached::start(&["-m", "2", "-M"]);
    let servers = open(&memcached.address());
    connected(&servers).await;
    let page = Bytes::from(vec![b'p'; 10_000]);
    let mut kept = 0;
    let error = loop {
        match servers.set(&key(kept), page.clone(), HOUR).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 10_000, "it is never full");
    };
    assert_eq!(declined(&error).writes_off(), Some(Duration::from_secs(30)));
    assert_eq!(servers.get(&key(0)).await.unwrap(), Some(page));
}

#[tokio::test]
async fn an_evicting_server_forgets_and_mixes_nothing_up() {
    let memcached = Memcached::start(&["-m", "2"]);
    let servers = open(&memcached.address());
    connected(&servers).await;
    let page = |n: u64| Bytes::from(format!("{n};").repeat(500));
    for n in 0..10_000 {
        servers.set(&key(n), page(n), HOUR).await.unwrap();
    }
    let mut there = 0;
    for n in 0..10_000 {
        if let Some(value) = servers.get(&key(n)).await.unwrap() {
            assert!(value == page(n));
            there += 1;
        }
    }
    assert!(memcached.stat("evictions") > 1_000);
    assert!((1..9_000).contains(&there), "{there}");
}

#[tokio::test]
async fn after_a_kill_calls_fail_at_once_and_after_a_restart_they_miss() {
    let mut memcached = Memcached::start(&[]);
    let servers = open(&memcached.address());
    connected(&servers).await;
    servers.set(&key(1), value("x"), HOUR).await.unwrap();
    memcached.kill();
    let first = servers.get(&key(1)).await.unwrap_err();
    let named = format!("memcached at 127.0.0.1:{}: ", memcached.port);
    assert!(first.to_string().starts_with(&named), "{first}");
    let start = Instant::now();
    for _ in 0..100 {
        assert!(servers.get(&key(1)).await.is_err());
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    memcached.restart();
    let back = Instant::now();
    connected(&servers).await;
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    assert_eq!(servers.get(&key(1)).await.unwrap(), None);
    servers.set(&key(1), value("y"), HOUR).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_at_first_is_found_later() {
    let mut memcached = Memcached::start(&[]);
    memcached.kill();
    let servers = open(&memcached.address());
    let error = servers.ping().await.unwrap_err();
    assert!(matches!(why(&error), Why::Opening | Why::NotConnected(_)), "{error:?}");
    memcached.restart();
    connected(&servers).await;
}

#[tokio::test]
async fn a_frozen_server_costs_one_silence_and_then_nothing_until_it_goes_on() {
    let memcached = Memcached::start(&[]);
    let servers = open(&memcached.address());
    connected(&servers).await;
    servers.set(&key(1), value("x"), HOUR).await.unwrap();
    memcached.signal("-STOP");

    let start = Instant::now();
    let key = key(1);
    let both = async { tokio::join!(servers.get(&key), servers.ping()) };
    let (get, ping) = timeout(LONG, both).await.expect("silence has an end");
    let took = start.elapsed();
    for error in [get.unwrap_err(), ping.unwrap_err()] {
        assert!(matches!(why(&error), Why::Silent(_)), "{error:?}");
    }
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");

    // Its kernel goes on accepting connections, and that is not enough.
    let start = Instant::now();
    let mut refused = 0;
    while start.elapsed() < Duration::from_secs(2) {
        let call = Instant::now();
        let error = servers.get(&key).await.unwrap_err();
        assert!(matches!(why(&error), Why::NotConnected(_)), "{error:?}");
        assert!(call.elapsed() < Duration::from_millis(500), "{:?}", call.elapsed());
        refused += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(refused > 100, "{refused}");

    memcached.signal("-CONT");
    let back = Instant::now();
    connected(&servers).await;
    assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
    assert_eq!(servers.get(&key).await.unwrap(), Some(value("x")));
}

#[tokio::test]
async fn of_several_servers_one_that_fails_leaves_the_others_as_they_were() {
    let mut all: Vec<Memcached> = (0..3).map(|_| Memcached::start(&[])).collect();
    let addresses: Vec<Address> = all.iter().map(Memcached::address).collect();
    let servers = Servers::open(&addresses, Settings::default()).unwrap();
    connected(&servers).await;
    for n in 0..300 {
        servers.set(&key(n), Bytes::from(n.to_string()), HOUR).await.unwrap();
    }
    for (memcached, address) in all.iter().zip(&addresses) {
        let has = memcached.stat("curr_items");
        assert!((50..=150).contains(&has), "{address}: {has}");
    }
    // Another process, with another order, finds all of it.
    let turned: Vec<Address> = addresses.iter().rev().cloned().collect();
    let other = Servers::open(&turned, Settings::default()).unwrap();
    connected(&other).await;
    for n in 0..300 {
        assert_eq!(other.get(&key(n)).await.unwrap(), Some(Bytes::from(n.to_string())));
    }

    all[1].kill();
    let name = servers.members()[1].name();
    let mut lost = 0;
    for n in 0..300 {
        match servers.get(&key(n)).await {
            Ok(value) => assert_eq!(value, Some(Bytes::from(n.to_string()))),
            Err(error) => {
                assert_eq!(servers.member_of(&key(n)), 1);
                assert!(error.to_string().contains(name), "{error}");
                lost += 1;
            }
        }
    }
    assert!((50..=150).contains(&lost), "{lost}");
    assert!(servers.ping().await.unwrap_err().to_string().contains(name));
    assert!(servers.members()[0].ping().await.is_ok());
    assert!(servers.members()[1].ping().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_in_both_directions_do_not_block_each_other() {
    let memcached = Memcached::start(&["-m", "512"]);
    let servers = std::sync::Arc::new(open(&memcached.address()));
    connected(&servers).await;
    let calls: Vec<_> = (0..32u64)
        .map(|n| {
            let servers = servers.clone();
            tokio::spawn(async move {
                for round in 0..5 {
                    let value = Bytes::from(vec![(n + round) as u8; 900_000]);
                    servers.set(&key(n), value.clone(), HOUR).await.unwrap();
                    assert!(servers.get(&key(n)).await.unwrap() == Some(value));
                }
            })
        })
        .collect();
    for call in calls {
        timeout(3 * LONG, call).await.expect("no deadlock").unwrap();
    }
}

#[tokio::test]
async fn no_other_key_is_touched_and_every_key_on_the_server_is_printable() {
    let memcached = Memcached::start(&[]);
    let servers = open(&memcached.address());
    connected(&servers).await;
    memcached.ask("set canary 0 0 5\r\nalive", "STORED");
    for n in 0..500u64 {
        // What a value says is nobody's command.
        let value = format!("\r\nset canary 0 0 5\r\ndead{n}\r\nflush_all\r\n");
        servers.set(&key(n), value.into(), HOUR).await.unwrap();
        servers.get(&key(n)).await.unwrap();
        if n % 2 == 1 {
            servers.delete(&key(n)).await.unwrap();
        }
    }
    assert_eq!(memcached.ask("get canary", "END")[1], "alive");
    let dump = memcached.ask("lru_crawler metadump all", "END");
    let keys: Vec<&str> = dump.iter().filter_map(|line| line.strip_prefix("key=")).collect();
    assert_eq!(keys.len(), 251);
    for line in keys {
        let key = line.split(' ').next().unwrap();
        let hex = key.strip_prefix("test%3A").or_else(|| key.strip_prefix("test:"));
        let is_hex = |hex: &str| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(key == "canary" || hex.is_some_and(is_hex), "{key}");
    }
}

#[test]
fn opening_without_a_runtime_an_address_or_twice_is_an_error() {
    let address = Address::parse("localhost").unwrap();
    let open = |addresses: &[Address]| Servers::open(addresses, Settings::default());
    let error = open(std::slice::from_ref(&address)).unwrap_err();
    assert_eq!(error.to_string(), "Memcached needs a tokio runtime");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    assert_eq!(open(&[]).unwrap_err().to_string(), "no Memcached server is named");
    let same = Address::parse("LOCALHOST:11211").unwrap();
    let error = open(&[address, same]).unwrap_err().to_string();
    assert_eq!(error, "the Memcached server localhost:11211 is named twice");
}
