//! The faults of so many bytes.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    peers::{Client, RESET, echo, ramp},
    support::fault_proxy::{Fault, FaultProxy},
};

#[tokio::test]
async fn bandwidth_is_so_many_bytes_a_second_each_way() {
    let (server, _heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    proxy.set(Fault::Bandwidth(100_000));
    let mut client = Client::of(&proxy).await;
    let bytes = ramp(50_000);
    let began = Instant::now();
    client.says(&bytes).await;
    // Some of it is there long before all of it.
    assert_eq!(client.hears(100).await, bytes[..100]);
    assert!(proxy.counts().replies < 25_000);
    assert_eq!(client.hears(49_900).await, bytes[100..]);
    let took = began.elapsed();
    assert!((Duration::from_millis(480)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert!(proxy.counts().throttled >= 2);
}

#[tokio::test]
async fn one_bit_of_one_byte_of_each_connections_replies_is_flipped() {
    let (server, _heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut client = Client::of(&proxy).await;
    client.echoes().await;
    proxy.set(Fault::FlipBit { byte: 700, bit: 3 });
    for flipped in 1..=2 {
        for first in [true, false] {
            let (bytes, mut expected) = (ramp(500), ramp(500));
            if !first {
                expected[200] ^= 1 << 3;
            }
            client.says(&bytes).await;
            assert_eq!(client.hears(500).await, expected);
        }
        client.echoes().await;
        assert_eq!(proxy.counts().flipped, flipped);
        client = Client::of(&proxy).await;
    }
    // Set again, it counts from there.
    proxy.set(Fault::FlipBit { byte: 0, bit: 0 });
    client.says(b"hello").await;
    assert_eq!(client.hears(5).await, b"iello");
}

#[tokio::test]
async fn a_share_of_bits_is_flipped_and_the_same_for_the_same_seed() {
    let bytes = ramp(100_000);
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let (server, _heard) = echo().await;
        let proxy = FaultProxy::before(server).await;
        proxy.set(Fault::FlipBits { share: 0.01, seed });
        let mut client = Client::of(&proxy).await;
        let mut all = Vec::new();
        for part in bytes.chunks(1_000) {
            client.says(part).await;
            all.extend(client.hears(part.len()).await);
        }
        let different: u32 = all.iter().zip(&bytes).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(proxy.counts().flipped, u64::from(different));
        assert!((700..1_300).contains(&different), "{different}");
        runs.push(all);
    }
    assert!(runs[0] == runs[1] && runs[0] != runs[2]);
}

#[tokio::test]
async fn after_so_many_bytes_of_replies_it_is_cut_or_reset() {
    let (server, _heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let rows = [(Fault::CutAfter as fn(u64) -> Fault, None), (Fault::ResetAfter, RESET.1)];
    for (fault, error) in rows {
        for after in [0, 1, 7, 10] {
            proxy.set(Fault::None);
            let mut client = Client::of(&proxy).await;
            client.echoes().await;
            proxy.set(fault(after));
            // Old and new alike.
            for mut client in [client, Client::of(&proxy).await] {
                client.says(&ramp(10)).await;
                let length = usize::try_from(after).unwrap();
                let (bytes, ended) = client.hears_the_end().await;
                assert_eq!(ended, error, "{after}");
                // A reset may overtake them.
                assert!(bytes == ramp(length) || error.is_some(), "{after}: {bytes:?}");
            }
        }
    }
    let counts = proxy.counts();
    assert_eq!((counts.cut, counts.reset, counts.replies), (8, 8, 8 * 5 + 4 * 18));
}

#[tokio::test]
async fn after_so_many_bytes_of_replies_it_stalls_until_that_is_over() {
    let (server, _heard) = echo().await;
    let proxy = FaultProxy::before(server).await;
    let mut old = Client::of(&proxy).await;
    old.echoes().await;
    proxy.set(Fault::StallAfter(7));
    let mut new = Client::of(&proxy).await;
    for client in [&mut old, &mut new] {
        client.says(&ramp(20)).await;
        assert_eq!(client.hears(7).await, ramp(7));
        client.hears_nothing().await;
    }
    assert_eq!((proxy.counts().stalled, proxy.open()), (2, 2));
    proxy.set(Fault::None);
    for client in [&mut old, &mut new] {
        assert_eq!(client.hears(13).await, ramp(20)[7..]);
        client.echoes().await;
    }
}

#[tokio::test]
async fn two_faults_at_once_are_two_proxies() {
    let (server, _heard) = echo().await;
    let inner = FaultProxy::before(server).await;
    let outer = FaultProxy::before(inner.addr()).await;
    inner.set(Fault::FlipBit { byte: 4, bit: 0 });
    outer.set(Fault::CutAfter(5));
    let mut client = Client::of(&outer).await;
    client.says(b"hello and more").await;
    assert_eq!(client.hears_the_end().await, (b"helln".to_vec(), None));
    assert_eq!((inner.counts().flipped, outer.counts().cut), (1, 1));
}
