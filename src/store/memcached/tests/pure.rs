//! Addresses, who has a key, expiry, back-off, and commands as bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes};

use super::{
    super::{
        address::{Address, server_of},
        command::{What, expires},
        member::wait,
        outbox::Outbox,
    },
    support::{key, text},
};
use crate::store::server::WireKey;

#[test]
fn an_address_is_read_and_written_in_one_way() {
    for (given, means) in [
        ("localhost", "localhost:11211"),
        ("Cache-1.Example.ORG:11212", "cache-1.example.org:11212"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("[::1]", "[::1]:11211"),
        ("[::1]:65535", "[::1]:65535"),
        ("[fe80::1%eth0]:11211", "[fe80::1%eth0]:11211"),
        #[cfg(unix)]
        ("unix:/run/memcached.sock", "unix:/run/memcached.sock"),
    ] {
        let address = Address::parse(given).unwrap();
        assert_eq!(address.to_string(), means, "{given}");
        assert_eq!(Address::parse(means).unwrap(), address);
    }
}

#[test]
fn what_is_no_address_is_refused_with_a_reason() {
    for (given, reason) in [
        ("", "a host is"),
        (":11211", "a host is"),
        ("a b", "a host is"),
        ("a,b", "a host is"),
        ("user@host", "a host is"),
        ("host\r\n", "a host is"),
        ("host:", "a port is"),
        ("host:0", "a port is"),
        ("host:65536", "a port is"),
        ("host:+1", "a port is"),
        ("host:1a", "a port is"),
        ("::1", "stands in brackets"),
        ("::1:11211", "stands in brackets"),
        ("[::1", "brackets are for"),
        ("[::1]11211", "brackets are for"),
        ("[localhost]:11211", "brackets are for"),
        ("[::1]:", "a port is"),
        ("memcached://host", "without a scheme"),
        #[cfg(unix)]
        ("unix:", "the path of the socket is missing"),
    ] {
        let error = Address::parse(given).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("not a Memcached"), "{given:?}: {error}");
    }
}

fn seeds(count: usize) -> Vec<u64> {
    (1..=count).map(|n| Address::parse(&format!("10.0.0.{n}")).unwrap().seed()).collect()
}

#[test]
fn keys_are_divided_evenly() {
    for servers in [2, 3, 5, 16] {
        let seeds = seeds(servers);
        let mut has = vec![0.0; servers];
        (0..20_000).for_each(|n| has[server_of(&key(n), &seeds)] += 1.0);
        let fair = 20_000.0 / servers as f64;
        for count in has {
            assert!((count / fair - 1.0f64).abs() < 0.12, "{count} of {fair}");
        }
    }
}

#[test]
fn a_server_that_is_added_takes_its_share_and_moves_no_other_key() {
    let (four, five) = (seeds(4), seeds(5));
    let mut moved = 0.0;
    for n in 0..20_000 {
        let (before, after) = (server_of(&key(n), &four), server_of(&key(n), &five));
        if before != after {
            assert_eq!(after, 4);
            moved += 1.0;
        }
    }
    assert!((moved / 4_000.0 - 1.0f64).abs() < 0.1, "{moved}");
}

#[test]
fn the_order_of_the_addresses_does_not_matter() {
    let there = seeds(7);
    let back: Vec<u64> = there.iter().rev().copied().collect();
    for n in 0..1_000 {
        assert_eq!(server_of(&key(n), &there), 6 - server_of(&key(n), &back));
    }
}

/// Another outcome would move keys between servers when processes are upgraded.
#[test]
fn the_division_is_today_what_it_was() {
    let seeds = seeds(5);
    assert_eq!(seeds[0], GOLDEN_SEED);
    let has: Vec<usize> =
        (0..16u8).map(|n| server_of(&WireKey::new("a", &[n; 32]), &seeds)).collect();
    assert_eq!(has, GOLDEN_DIVISION);
}

const GOLDEN_SEED: u64 = 15_760_222_025_653_755_633;
const GOLDEN_DIVISION: [usize; 16] = [0, 0, 1, 1, 0, 3, 0, 3, 3, 1, 1, 0, 0, 2, 1, 2];

#[test]
fn expiry_is_in_whole_seconds_and_beyond_thirty_days_a_date() {
    let date = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let now = 1_800_000_000;
    let days = |count: u64| Duration::from_secs(count * 86_400);
    for (ttl, at, expected) in [
        (Duration::ZERO, date(now), 1),
        (Duration::from_nanos(1), date(now), 1),
        (Duration::from_secs(1), date(now), 1),
        (Duration::from_millis(1_001), date(now), 2),
        (days(30), date(now), 30 * 86_400),
        (days(30) + Duration::from_nanos(1), date(now), now + 30 * 86_400 + 1),
        (days(31), date(now), now + 31 * 86_400),
        (days(31), date(now) + Duration::from_millis(1), now + 31 * 86_400 + 1),
        (days(365), date(now), now + 365 * 86_400),
        (days(366), date(now), now + 365 * 86_400),
        (Duration::MAX, date(now), now + 365 * 86_400),
        // Where a date cannot be said, or would be taken for a number of seconds: 30 days.
        (days(31), UNIX_EPOCH, 30 * 86_400),
        (days(365), UNIX_EPOCH - Duration::from_secs(1), 30 * 86_400),
        (days(31), date(i32::MAX as u64), 30 * 86_400),
        (Duration::MAX, date(u64::MAX >> 2), 30 * 86_400),
    ] {
        assert_eq!(expires(ttl, at), expected, "{ttl:?} at {at:?}");
    }
    assert!(expires(days(31), SystemTime::now()) > 30 * 86_400);
}

#[test]
fn the_wait_before_connecting_again_doubles_up_to_a_second() {
    let ms = |failed| wait(failed, 0.0).as_millis();
    let waits: Vec<u128> = [0, 1, 2, 3, 4, 5, 6, 7, 40, u32::MAX].map(ms).to_vec();
    assert_eq!(waits, [0, 50, 100, 200, 400, 800, 1000, 1000, 1000, 1000]);
    assert_eq!(wait(6, 1.0), Duration::from_millis(750));
    assert_eq!(wait(0, 1.0), Duration::ZERO);
}

fn sent(outbox: &mut Outbox, step: usize) -> Vec<u8> {
    let mut sent = Vec::new();
    while outbox.has_remaining() {
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let filled = outbox.chunks_vectored(&mut slices);
        assert!(filled > 0 && slices[..filled].iter().all(|slice| !slice.is_empty()));
        assert_eq!(outbox.chunk(), &*slices[0]);
        let before = sent.len();
        for slice in &slices[..filled] {
            let room = step - (sent.len() - before);
            sent.extend_from_slice(&slice[..room.min(slice.len())]);
        }
        let part = sent.len() - before;
        outbox.advance(part);
    }
    assert_eq!(outbox.remaining(), 0);
    sent
}

#[test]
fn commands_are_sent_in_their_order_however_little_is_taken_at_a_time() {
    let key = key(1);
    let large = Bytes::from(vec![b'x'; 20_000]);
    let whats = [
        What::Get(key),
        What::Set { key, value: Bytes::from_static(b"a\r\nb"), expires: 60 },
        What::Set { key, value: large.clone(), expires: 1_900_000_000 },
        What::Set { key, value: Bytes::new(), expires: 1 },
        What::Set { key, value: large, expires: 7 },
        What::Delete(key),
        What::Ping,
    ];
    let (key, x) = (text(&key), "x".repeat(20_000));
    let expected = format!(
        "mg {key} v O0\r\nms {key} 4 T60 O1\r\na\r\nb\r\nms {key} 20000 T1900000000 O2\r\n{x}\r\n\
         ms {key} 0 T1 O3\r\n\r\nms {key} 20000 T7 O4\r\n{x}\r\nmd {key} O5\r\nmn\r\n"
    );
    for step in [1, 7, 8192, 19_999, 20_002, usize::MAX] {
        let mut outbox = Outbox::default();
        (0..).zip(&whats).for_each(|(token, what)| outbox.push(what, token));
        assert_eq!(outbox.remaining(), expected.len());
        assert!(sent(&mut outbox, step) == expected.as_bytes(), "by {step}");
    }
    let mut outbox = Outbox::default();
    outbox.push(&What::Delete(super::support::key(1)), u64::MAX);
    assert_eq!(sent(&mut outbox, 5), format!("md {key} O{}\r\n", u64::MAX).as_bytes());
}
