//! What a hit and a miss cost while Redis is out, as README has it; and what a plain client takes.
//!
//! `cargo test --release --all-features --test store_faults -- --ignored --nocapture table`

use std::time::Duration;

use redis::{
    Client,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::{Instant, timeout};

use super::{
    gone::{addr, store},
    stack::{Stack, Times, ms, paths},
};
use crate::support::{
    fault_proxy::{Fault, FaultProxy},
    servers::Redis,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Out {
    Healthy,
    Dead,
    Frozen,
    Slow,
}

/// A server, and what is between it and us.
struct Place {
    server: Redis,
    proxy: FaultProxy,
}

impl Place {
    async fn new() -> Self {
        let server = Redis::start();
        let proxy = FaultProxy::before(addr(&server)).await;
        Self { server, proxy }
    }

    /// The proxy only where it is what is slow.
    fn url(&self, out: Out) -> String {
        match out {
            Out::Slow => format!("redis://{}", self.proxy.addr()),
            _ => self.server.url(),
        }
    }

    fn take(&mut self, out: Out) {
        match out {
            Out::Healthy => {}
            Out::Dead => self.server.kill(),
            Out::Frozen => self.server.freeze(),
            Out::Slow => {
                self.proxy.set(Fault::Latency { requests: ms(0), replies: ms(500) });
            }
        }
    }
}

fn shown(times: &[Duration]) -> String {
    let times = Times::new(times.to_vec());
    match times.at(99) < ms(10) {
        true => format!("{:.0} µs", times.at(50).as_secs_f64() * 1e6),
        false => format!("{:.1} ms", times.at(50).as_secs_f64() * 1e3),
    }
}

/// What a plain client takes for a look-up while the server is out.
async fn plain(out: Out) -> String {
    let mut place = Place::new().await;
    let client = Client::open(place.url(out)).unwrap();
    let config = ConnectionManagerConfig::new();
    let mut manager = ConnectionManager::new_with_config(client, config).await.unwrap();
    let look_up = async |manager: &mut ConnectionManager| {
        let began = Instant::now();
        let look_up = redis::cmd("GET").arg("key").query_async::<Option<String>>(manager).await;
        (began.elapsed(), look_up.is_ok())
    };
    look_up(&mut manager).await;
    place.take(out);
    let (count, mut times, mut failed) = (if out == Out::Healthy { 500 } else { 4 }, vec![], 0);
    for _ in 0..count {
        let looked_up = timeout(Duration::from_secs(30), look_up(&mut manager)).await;
        let (took, is_ok) = looked_up.unwrap_or((Duration::from_secs(30), false));
        times.push(took);
        failed += usize::from(!is_ok);
    }
    format!("{}{}", shown(&times), if failed > 0 { ", fails" } else { "" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints a table; wants a machine that does nothing else"]
async fn the_table_of_what_an_outage_costs() {
    println!(
        "| Redis | hit before | hit after | miss before | miss after | plain client, a look-up |"
    );
    println!("|---|---|---|---|---|---|");
    for out in [Out::Healthy, Out::Dead, Out::Frozen, Out::Slow] {
        let mut place = Place::new().await;
        let stack = Stack::over(store(&place.url(out), true)).await;
        let hot = |count| (0..count).map(|_| "/hot".to_owned());
        stack.times(hot(1)).await;
        stack.times(paths("warm", 2_000)).await;
        stack.settled().await;
        place.take(out);
        let (mut early_misses, mut early_hits) = (Vec::new(), Vec::new());
        let name = format!("{out:?}").to_lowercase();
        while early_misses.len() < 1_000 && stack.told().opened == 0 {
            early_hits.push(stack.ask("/hot").await.1);
            early_misses.push(stack.ask(&format!("/early/{}", early_misses.len())).await.1);
        }
        let before = (shown(&early_hits), shown(&early_misses));
        let (mut hits, mut misses) = (Vec::new(), Vec::new());
        if out != Out::Healthy {
            assert_eq!(stack.told().opened, 1, "{out:?}");
            for number in 0..2_000 {
                hits.push(stack.ask("/hot").await.1);
                misses.push(stack.ask(&format!("/late/{number}")).await.1);
            }
        }
        let after = match out {
            Out::Healthy => ("–".to_owned(), "–".to_owned()),
            _ => (shown(&hits), shown(&misses)),
        };
        let opened_at = match early_misses.len() {
            1_000 => String::new(),
            misses => format!(", {misses} times"),
        };
        println!(
            "| {name} | {} | {} | {}{opened_at} | {} | {} |",
            before.0,
            after.0,
            before.1,
            after.1,
            plain(out).await
        );
    }
}
