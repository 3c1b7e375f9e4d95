//! What operators ask.

use super::*;

pub(super) async fn each_key(
    servers: &Servers,
    batch: usize,
    visit: &mut (dyn FnMut(Vec<Vec<u8>>) + Send),
) -> Result<(), BoxError> {
    let mut scan = servers.scan("test", batch)?;
    while let Some(keys) = scan.next().await? {
        if !keys.is_empty() {
            visit(keys);
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_key_of_a_prefix_is_visited_and_no_other() {
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    let mut none = 0;
    each_key(&servers, 100, &mut |keys| none += keys.len()).await.unwrap();
    assert_eq!(none, 0);
    for number in 0..1000 {
        servers.set(&key(number), Bytes::from_static(b"value"), TTL).await.unwrap();
    }
    for other in ["test", "tes:x", "test2:x", "te:test:x", "Test:x", "x"] {
        redis.say(&["SET", other, "other"]);
    }
    for batch in [0, 1, 100, 100_000] {
        let (mut found, mut largest) = (Vec::new(), 0);
        let mut visit = |keys: Vec<_>| {
            largest = largest.max(keys.len());
            found.extend(keys);
        };
        each_key(&servers, batch, &mut visit).await.unwrap();
        found.sort();
        found.dedup();
        let expected: Vec<_> = (0..1000).map(|number| key(number).as_bytes().to_vec()).collect();
        assert_eq!(found, expected, "{batch}");
        assert!(largest <= batch.max(1) + 100, "{largest} at {batch}");
    }
    // It asks in batches, and never for all keys at once.
    let stats = redis.text(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_scan") && !stats.contains("cmdstat_keys"));
}

#[tokio::test]
async fn beginnings_are_as_long_as_asked_or_as_the_value() {
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    let keys: Vec<_> = (0..600).map(|number| key(number).as_bytes().to_vec()).collect();
    for number in (0..600).step_by(2) {
        servers.set(&key(number), Bytes::from(format!("{number:0>100}")), TTL).await.unwrap();
    }
    let foreign = String::from_utf8(keys[1].clone()).unwrap();
    redis.say(&["RPUSH", &foreign, "a"]);
    for (bytes, expected) in [(0, 1), (1, 1), (64, 64), (100, 100), (5000, 100)] {
        let beginnings = servers.beginnings(&keys, bytes).await.unwrap();
        assert_eq!(beginnings.len(), 600);
        for (number, beginning) in beginnings.into_iter().enumerate() {
            let whole = format!("{number:0>100}");
            let there = (number % 2 == 0).then_some(&whole.as_bytes()[..expected]);
            assert_eq!(beginning.as_deref(), there, "{number}");
        }
    }
    assert_eq!(servers.beginnings(&[], 10).await.unwrap(), []);
}

#[tokio::test]
async fn those_that_were_deleted_are_counted() {
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    for number in 0..1000 {
        servers.set(&key(number), Bytes::from_static(b"value"), TTL).await.unwrap();
    }
    let keys: Vec<_> = (500..2000).map(|number| key(number).as_bytes().to_vec()).collect();
    assert_eq!(servers.delete_many(&keys).await.unwrap(), 500);
    assert_eq!(servers.delete_many(&keys).await.unwrap(), 0);
    assert_eq!(servers.delete_many(&[]).await.unwrap(), 0);
    assert_eq!(redis.number(&["DBSIZE"]), 500);
}

#[tokio::test]
async fn operators_are_told_of_a_server_that_is_out() {
    let mut redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    servers.set(&key(0), Bytes::from_static(b"value"), TTL).await.unwrap();
    redis.kill();
    let keys = [key(0).as_bytes().to_vec()];
    assert!(each_key(&servers, 10, &mut |_| ()).await.is_err());
    assert!(servers.beginnings(&keys, 10).await.is_err());
    assert!(servers.delete_many(&keys).await.is_err());
}
