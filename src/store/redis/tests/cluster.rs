//! A real cluster of three masters.

use super::*;

const NODES: usize = 3;

struct Cluster(Vec<Redis>);

impl Cluster {
    /// Of three masters, and as many replicas of the first as are asked for.
    async fn start(replicas: usize, settings: &[&str]) -> Self {
        let mut arguments = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "500"];
        arguments.extend(["--repl-diskless-sync-delay", "0"]);
        arguments.extend(settings);
        let nodes: Vec<_> = (0..NODES + replicas).map(|_| Redis::start(&arguments)).collect();
        for (number, node) in nodes[..NODES].iter().enumerate() {
            let (first, last) = (16_384 * number / NODES, 16_384 * (number + 1) / NODES - 1);
            node.say(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            node.say(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        }
        for node in &nodes[1..] {
            node.say(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string()]);
        }
        let cluster = Self(nodes);
        let all = cluster.0.len();
        until("all have met", SOON, async || {
            cluster.0.iter().all(|node| node.text(&["CLUSTER", "NODES"]).lines().count() == all)
        })
        .await;
        let first = cluster.0[0].text(&["CLUSTER", "MYID"]);
        for replica in &cluster.0[NODES..] {
            replica.say(&["CLUSTER", "REPLICATE", &first]);
        }
        until("the cluster is well", SOON, async || cluster.is_well()).await;
        until("replicated", SOON, async || {
            cluster.0[NODES..].iter().all(|replica| {
                replica.text(&["INFO", "replication"]).contains("master_link_status:up")
            })
        })
        .await;
        cluster
    }

    fn is_well(&self) -> bool {
        self.0.iter().all(|node| node.text(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
    }

    fn url(&self) -> String {
        // One that is down among the seeds costs nothing.
        format!("redis://127.0.0.1:1,127.0.0.1:{}?cluster", self.0[1].port)
    }

    /// The master that has this key, by its number.
    fn owner(&self, number: usize) -> usize {
        let name = String::from_utf8(key(number).as_bytes().to_vec()).unwrap();
        let slot = self.0[0].number(&["CLUSTER", "KEYSLOT", &name]);
        assert_eq!(slot as usize, super::super::slots::slot(name.as_bytes()));
        (0..NODES).find(|node| (slot as usize) < 16_384 * (node + 1) / NODES).unwrap()
    }

    /// A key of each of the masters.
    fn keys(&self) -> [WireKey; NODES] {
        [0, 1, 2].map(|node| key((0..).find(|&number| self.owner(number) == node).unwrap()))
    }
}

async fn all_connected(cluster: &Cluster) -> Servers {
    let servers = connected(&cluster.url()).await;
    let keys = cluster.keys();
    until("all connected", SOON, async || stored(&servers, &keys).await == [true; NODES]).await;
    servers
}

/// Which of the keys can be written and read.
async fn stored<const N: usize>(servers: &Servers, keys: &[WireKey; N]) -> [bool; N] {
    let mut stored = [false; N];
    for (key, stored) in keys.iter().zip(&mut stored) {
        let value = Bytes::copy_from_slice(key.as_bytes());
        let within = Duration::from_millis(250);
        let set = tokio::time::timeout(within, servers.set(key, value.clone(), TTL)).await;
        let get = tokio::time::timeout(within, servers.get(key)).await;
        *stored = matches!(set, Ok(Ok(()))) && matches!(get, Ok(Ok(Some(got))) if got == value);
    }
    stored
}

#[tokio::test]
async fn each_key_is_kept_by_the_node_that_has_its_slot() {
    let cluster = Cluster::start(0, &[]).await;
    let servers = all_connected(&cluster).await;
    for number in 0..300 {
        servers.set(&key(number), Bytes::from(number.to_string()), TTL).await.unwrap();
    }
    for number in 0..300 {
        let expected = Some(Bytes::from(number.to_string()));
        assert_eq!(servers.get(&key(number)).await.unwrap(), expected);
    }
    let sizes: Vec<_> = cluster.0.iter().map(|node| node.number(&["DBSIZE"])).collect();
    println!("keys of each node: {sizes:?}");
    assert!(sizes.iter().all(|size| *size > 50) && sizes.iter().sum::<i64>() == 300);
    servers.ping().await.unwrap();

    let mut found = Vec::new();
    super::operators::each_key(&servers, 50, &mut |keys| found.extend(keys)).await.unwrap();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 300);
    let beginnings = servers.beginnings(&found, 2).await.unwrap();
    for (name, beginning) in found.iter().zip(beginnings) {
        let number = usize::from_str_radix(std::str::from_utf8(&name[5..21]).unwrap(), 16).unwrap();
        let expected = number.to_string();
        assert_eq!(beginning.unwrap(), expected.as_bytes()[..expected.len().min(2)]);
    }
    assert_eq!(servers.delete_many(&found).await.unwrap(), 300);
    assert!(cluster.0.iter().all(|node| node.number(&["DBSIZE"]) == 0));
}

#[tokio::test]
async fn a_frozen_node_stops_nobody_else() {
    let cluster = Cluster::start(0, &["--cluster-require-full-coverage", "no"]).await;
    let servers = all_connected(&cluster).await;
    let keys = cluster.keys();
    cluster.0[2].freeze();
    // From now on: those of the others are never waited for, and soon nobody waits for the frozen one's.
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    until("the frozen node's keys fail at once, as declined", SOON, async || {
        for key in &keys[..2] {
            let began = Instant::now();
            servers.get(key).await.unwrap().unwrap();
            slowest = slowest.max(began.elapsed());
        }
        let frozen = tokio::time::timeout(Duration::from_millis(50), servers.get(&keys[2])).await;
        matches!(frozen, Ok(Err(error)) if Declined::find(&*error).is_some())
    })
    .await;
    while began.elapsed() < Duration::from_secs(4) {
        for key in &keys[..2] {
            let began = Instant::now();
            servers.get(key).await.unwrap().unwrap();
            slowest = slowest.max(began.elapsed());
        }
        servers.get(&keys[2]).await.unwrap_err();
        servers.ping().await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    println!("the slowest of the others took {slowest:?}");
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
    cluster.0[2].thaw();
    until("all are well", SOON, async || stored(&servers, &keys).await == [true; NODES]).await;
}

#[tokio::test]
async fn a_master_that_dies_is_followed_by_its_replica() {
    let mut cluster = Cluster::start(1, &[]).await;
    let servers = all_connected(&cluster).await;
    let keys = cluster.keys();
    cluster.0[0].kill();
    until("promoted", SOON, async || {
        cluster.0[NODES].text(&["INFO", "replication"]).contains("role:master")
    })
    .await;
    until("all are well", SOON, async || stored(&servers, &keys).await == [true; NODES]).await;
    assert!(cluster.0[NODES].number(&["DBSIZE"]) > 0);
}

#[tokio::test]
async fn a_cluster_that_was_down_is_well_when_it_is_back() {
    let mut cluster = Cluster::start(0, &[]).await;
    let servers = all_connected(&cluster).await;
    let keys = cluster.keys();
    for node in &mut cluster.0 {
        node.kill();
    }
    until("nobody is connected", SOON, async || !servers.is_connected()).await;
    let error = servers.get(&keys[0]).await.unwrap_err();
    assert!(Declined::find(&*error).is_none(), "{}", chain(&error));
    assert!(servers.ping().await.is_err());
    for node in &mut cluster.0 {
        node.restart();
    }
    until("the cluster is well", SOON, async || cluster.is_well()).await;
    until("all are well", SOON, async || stored(&servers, &keys).await == [true; NODES]).await;
}

#[tokio::test]
async fn a_cluster_without_a_part_says_that_it_is_out() {
    let mut cluster = Cluster::start(0, &[]).await;
    let servers = all_connected(&cluster).await;
    let keys = cluster.keys();
    cluster.0[2].kill();
    until("out", SOON, async || {
        servers.get(&keys[0]).await.is_err_and(|error| chain(&error).starts_with("CLUSTERDOWN"))
    })
    .await;
    let error = servers.get(&keys[0]).await.unwrap_err();
    assert!(Declined::find(&*error).is_none());
    until("a ping says so", SOON, async || servers.ping().await.is_err()).await;
    cluster.0[2].restart();
    until("the cluster is well", SOON, async || cluster.is_well()).await;
    until("all are well", SOON, async || stored(&servers, &keys).await == [true; NODES]).await;
}

#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start(0, &[]).await;
    let servers = all_connected(&cluster).await;
    let keys = cluster.keys();
    let slot = super::super::slots::slot(keys[0].as_bytes()).to_string();
    let ids: Vec<_> = cluster.0.iter().map(|node| node.text(&["CLUSTER", "MYID"])).collect();
    let name = std::str::from_utf8(keys[0].as_bytes()).unwrap();

    // While it moves, the old owner has what the new one has not yet.
    cluster.0[1].say(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]);
    cluster.0[0].say(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]);
    assert!(servers.get(&keys[0]).await.unwrap().is_some());
    let port = cluster.0[1].port.to_string();
    cluster.0[0].say(&["MIGRATE", "127.0.0.1", &port, name, "0", "1000"]);
    assert!(servers.get(&keys[0]).await.unwrap().is_some(), "asked where it went");
    servers.delete(&keys[0]).await.unwrap();
    assert_eq!(servers.get(&keys[0]).await.unwrap(), None);
    assert_eq!(stored(&servers, &keys).await, [true; NODES]);

    for node in &cluster.0 {
        node.say(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]]);
    }
    // Not one call fails, also the first.
    for _ in 0..100 {
        assert_eq!(stored(&servers, &keys).await, [true; NODES]);
    }
}
