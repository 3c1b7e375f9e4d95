//! Reads a second, beside a client that does nothing but ask and read.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::Instant,
};

use super::support::{HOUR, Memcached, connected, key, open, text};
use crate::store::server::Server;

const SIZE: usize = 2_048;
const KEYS: u64 = 512;

/// Prints a table: `cargo test --release --all-features --lib memcached -- --ignored --nocapture`.
#[ignore = "measures"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_a_second_beside_a_bare_client() {
    let memcached = Memcached::start(&["-m", "256", "-t", "1"]);
    let servers = Arc::new(open(&memcached.address()));
    connected(&servers).await;
    for n in 0..KEYS {
        servers.set(&key(n), vec![b'v'; SIZE].into(), HOUR).await.unwrap();
    }
    println!("callers  ours/s  bare, a connection a caller/s  bare, one connection/s");
    for callers in [1, 64, 512] {
        let mut best = [0.0f64; 3];
        for _ in 0..3 {
            best[0] = best[0].max(ours(&servers, callers).await);
            best[1] = best[1].max(connection_each(memcached.port, callers).await);
            best[2] = best[2].max(one_connection(memcached.port, callers).await);
        }
        let share = best[0] / best[1];
        println!(
            "{callers:7} {:8.0} {:8.0} {:8.0}   {share:.2} of the first",
            best[0], best[1], best[2]
        );
        assert!(best[0] * 10.0 > best[1], "{best:?}");
    }
}

const TIME: Duration = Duration::from_secs(1);

async fn ours(servers: &Arc<impl Server>, callers: u64) -> f64 {
    let all: Vec<_> = (0..callers)
        .map(|caller| {
            let servers = servers.clone();
            tokio::spawn(async move {
                let (start, mut count) = (Instant::now(), 0u64);
                let key = key(caller % KEYS);
                while start.elapsed() < TIME {
                    let value = servers.get(&key).await.unwrap().unwrap();
                    assert_eq!(value.len(), SIZE);
                    count += 1;
                }
                count
            })
        })
        .collect();
    total(all).await
}

async fn connection_each(port: u16, callers: u64) -> f64 {
    let all: Vec<_> = (0..callers)
        .map(|caller| {
            tokio::spawn(async move {
                let mut bare = bare(port).await;
                let line = format!("mg {} v\r\n", text(&key(caller % KEYS)));
                let (start, mut count) = (Instant::now(), 0u64);
                while start.elapsed() < TIME {
                    bare.write_all(line.as_bytes()).await.unwrap();
                    read(&mut bare).await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    total(all).await
}

/// As many at a time as there would be callers, in one write.
async fn one_connection(port: u16, callers: u64) -> f64 {
    let all = vec![tokio::spawn(async move {
        let mut bare = bare(port).await;
        let lines: String =
            (0..callers).map(|caller| format!("mg {} v\r\n", text(&key(caller % KEYS)))).collect();
        let (start, mut count) = (Instant::now(), 0u64);
        while start.elapsed() < TIME {
            bare.write_all(lines.as_bytes()).await.unwrap();
            for _ in 0..callers {
                read(&mut bare).await;
                count += 1;
            }
        }
        count
    })];
    total(all).await
}

async fn bare(port: u16) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    BufReader::with_capacity(32 * 1024, stream)
}

async fn read(bare: &mut BufReader<TcpStream>) -> Bytes {
    let mut line = String::new();
    bare.read_line(&mut line).await.unwrap();
    let size: usize = line.trim_end().strip_prefix("VA ").unwrap().parse().unwrap();
    let mut value = vec![0; size + 2];
    bare.read_exact(&mut value).await.unwrap();
    value.truncate(size);
    value.into()
}

async fn total(all: Vec<tokio::task::JoinHandle<u64>>) -> f64 {
    let mut count = 0;
    for one in all {
        count += one.await.unwrap();
    }
    count as f64 / TIME.as_secs_f64()
}
