//! Keys of any bytes, and what a server sees of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use http::Request;
use http_body_util::Empty;
use seawall::{
    Cache, CacheLayer, NoKey,
    observe::Event,
    store::{Key, KeyWriter, Store},
};
use tower::{Layer, ServiceExt};

use crate::{
    contents::body,
    place::{Row, eventually},
    records::record,
    support::{Calls, answer, call, get, origin},
};

/// Keys that would mean something to someone, or are long, or differ in little.
fn odd() -> Vec<Vec<u8>> {
    let long = |byte: u8, length: usize| vec![byte; length];
    let mut keys: Vec<Vec<u8>> = [
        &b""[..],
        b"a",
        b"A",
        b"a\0",
        b"\0a",
        b"a ",
        b" a",
        b"a\r\n",
        b"\r\n",
        b"a\n",
        b"{a}",
        b"a:b",
        b"*",
        b"[a-z]",
        b"canary",
        b"x\r\nset canary 0 0 4\r\ndead\r\n",
        b"x\r\nms canary 4\r\ndead\r\nmn\r\n",
        b"flush_all\r\n",
        b"x\r\n*1\r\n$8\r\nFLUSHALL\r\n",
        b"\xff\xfe\x80",
        "ü".as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    keys.push((0..=255).collect());
    keys.extend([
        long(b'x', 250),
        long(b'x', 251),
        long(b'x', 8_192),
        long(0, 8_192),
        long(b'\n', 10_240),
    ]);
    keys
}

pub(crate) async fn a_key_is_any_bytes(row: &Row) {
    let place = row.shared().await;
    let store = place.open().await;
    let keys: Vec<_> = odd().iter().map(|key| Key::from(&**key)).collect();
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(body(store.get(key).await.unwrap()), None, "{key:?}");
        store.put(key.clone(), record(at.to_string()).await).await.unwrap();
    }
    place.settled().await;
    for (at, key) in keys.iter().enumerate() {
        let found = store.get(key).await.unwrap();
        assert_eq!(body(found).unwrap(), at.to_string(), "{key:?}");
    }
    // One less, and no other.
    for (at, key) in keys.iter().enumerate().filter(|(at, _)| at % 2 == 0) {
        store.remove(key).await.unwrap();
        assert_eq!(body(store.get(key).await.unwrap()), None, "{at}");
    }
    place.settled().await;
    for (at, key) in keys.iter().enumerate() {
        let found = body(store.get(key).await.unwrap());
        assert_eq!(found, (at % 2 == 1).then(|| at.to_string().into()), "{key:?}");
    }
}

pub(crate) async fn a_request_has_a_key_of_any_bytes(row: &Row) {
    let place = row.shared().await;
    let parts = Arc::new(odd());
    let fits = parts.iter().filter(|part| part.len() < 8_000).count();
    let (calls, origin) = origin(|_, request| async move {
        Ok(answer(&[("cache-control", "max-age=60")], request.uri().path().to_owned()))
    });
    for _ in 0..2 {
        let store = place.open().await;
        let parts = Arc::clone(&parts);
        let by = move |request: &Request<Empty<_>>, key: &mut KeyWriter| {
            let at: usize = request.uri().path()[1..].parse().unwrap();
            key.part(&parts[at]);
            Ok::<_, NoKey>(())
        };
        let service = CacheLayer::new(store.store.clone()).key(by).layer(origin.clone());
        for at in 0..fits {
            let path = format!("/{at}");
            let read = call(&mut service.clone(), get(&path)).await.unwrap();
            assert_eq!(read.text(), path);
        }
        place.settled().await;
    }
    // Each once, and not again by the second process.
    assert_eq!(calls.count(), fits);
}

pub(crate) async fn a_server_has_hashes_for_keys_and_what_is_not_ours_is_left_alone(row: &Row) {
    let place = row.emptied().await;
    let shelf = place.shelf();
    for (name, value) in [("canary", "alive"), ("a", "b"), ("ns", "c")] {
        shelf.set_value(name, value.as_bytes());
    }
    let store = place.open().await;
    let keys: Vec<_> = odd().iter().map(|key| Key::from(&**key)).collect();
    for key in &keys {
        store.put(key.clone(), record("value").await).await.unwrap();
    }
    place.settled().await;
    eventually("all are listed", || shelf.keys().len() == keys.len() + 3).await;
    let mut found = shelf.keys();
    for (name, value) in [("canary", "alive"), ("a", "b"), ("ns", "c")] {
        assert!(found.remove(name).is_some(), "{name}");
        assert_eq!(shelf.value(name).unwrap(), value.as_bytes());
    }
    let wires: std::collections::BTreeSet<_> = keys.iter().map(|key| place.wire(key)).collect();
    assert_eq!(found.keys().cloned().collect::<std::collections::BTreeSet<_>>(), wires);
    for (name, left) in found {
        let (prefix, hash) = name.split_once(':').unwrap();
        assert_eq!(prefix, place.settings.namespace);
        let is_hex =
            hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        assert!(hash.len() == 64 && is_hex, "{name}");
        assert!(left.is_some(), "{name} is there for ever");
    }
    for key in &keys {
        store.remove(key).await.unwrap();
    }
    place.settled().await;
    assert!(wires.iter().all(|wire| shelf.value(wire).is_none()));
    // A list that is made while things move may lack some.
    let left = || shelf.keys().into_keys().collect::<Vec<_>>();
    eventually("the others are left", || left() == ["a", "canary", "ns"]).await;
}

pub(crate) async fn two_namespaces_do_not_see_each_other(row: &Row) {
    let place = row.shared().await;
    let mut other = place.settings.clone();
    other.namespace.push_str("-other");
    let (one, two) = (place.open().await, place.open_with(&other).await);
    let key = Key::from(&b"key"[..]);
    one.put(key.clone(), record("one").await).await.unwrap();
    place.settled().await;
    assert_eq!(body(two.get(&key).await.unwrap()), None);
    two.put(key.clone(), record("two").await).await.unwrap();
    two.remove(&key).await.unwrap();
    place.settled().await;
    let next = place.open().await;
    assert_eq!(body(next.get(&key).await.unwrap()).unwrap(), "one");
}

/// An origin that answers with the path.
fn echo() -> (Calls, crate::support::BoxedOrigin) {
    origin(|_, request| async move {
        Ok(answer(&[("cache-control", "max-age=60")], request.uri().path().to_owned()))
    })
}

pub(crate) async fn an_entry_of_another_key_is_not_served(row: &Row) {
    let place = row.emptied().await;
    let shelf = place.shelf();
    let (calls, origin) = echo();
    let first = place.open().await;
    let service = CacheLayer::new(first.store.clone()).layer(origin.clone());
    for path in ["/a", "/b"] {
        call(&mut service.clone(), get(path)).await.unwrap();
    }
    place.settled().await;
    eventually("both are listed", || shelf.keys().len() == 2).await;
    let wires: Vec<_> = shelf.keys().into_keys().collect();
    let values: Vec<_> = wires.iter().map(|wire| shelf.value(wire).unwrap()).collect();
    // Each has what the other had.
    shelf.set_value(&wires[0], &values[1]);
    shelf.set_value(&wires[1], &values[0]);
    let second = place.open().await;
    let foreign = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&foreign);
    let cache = Cache::builder(second.store.clone())
        .observer(move |event: &Event<'_>| {
            if let Event::ForeignEntry = event {
                seen.fetch_add(1, SeqCst);
            }
        })
        .build();
    let service = CacheLayer::new(cache).layer(origin);
    for path in ["/a", "/b"] {
        let request = service.clone().oneshot(get(path)).await.unwrap();
        let read = crate::support::read(request).await.unwrap();
        assert_eq!(read.text(), path);
        assert!(read.cache_status().starts_with("fwd=uri-miss"), "{}", read.cache_status());
    }
    assert_eq!((calls.count(), foreign.load(SeqCst)), (4, 2));
    // They are put right.
    place.settled().await;
    let third = place.open().await;
    let service = CacheLayer::new(third.store.clone()).layer(echo().1);
    for path in ["/a", "/b"] {
        let read = call(&mut service.clone(), get(path)).await.unwrap();
        assert_eq!((read.text(), read.cache_status()), (path, "hit"));
    }
}
