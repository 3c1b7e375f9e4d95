//! Several Redis that belong together.

use crate::support::servers::{Cluster, Pair, Redis, Reply, Sentinel};

fn error(reply: &Reply) -> &str {
    match reply {
        Reply::Error(error) => error,
        other => panic!("not an error: {other:?}"),
    }
}

fn state(node: &Redis) -> String {
    node.command(&["CLUSTER", "INFO"]).field("cluster_state").unwrap()
}

#[test]
fn a_cluster_has_each_key_at_one_node() {
    let cluster = Cluster::start(3);
    let mut had = [0; 3];
    for key in 0..300 {
        let key = key.to_string();
        let at = cluster.node_of(&key);
        had[at] += 1;
        for (node, redis) in cluster.nodes().iter().enumerate() {
            let reply = redis.command(&["SET", &key, "value"]);
            if node == at {
                assert!(reply.is_ok(), "{reply:?}");
            } else {
                let moved = format!("MOVED {} {}", cluster.slot_of(&key), cluster.addrs()[at]);
                assert_eq!(error(&reply), moved);
            }
        }
    }
    assert!(had.iter().all(|had| (70..130).contains(had)), "{had:?}");
}

#[test]
fn a_cluster_whose_node_is_killed_is_down_until_it_is_back_and_then_has_lost_what_that_had() {
    let mut cluster = Cluster::start(3);
    for (node, key) in ["a", "b", "c", "d", "e"].map(|key| (cluster.node_of(key), key)) {
        assert!(cluster.nodes()[node].command(&["SET", key, "value"]).is_ok());
    }
    let run = cluster.nodes()[1].info("run_id");
    cluster.kill(1);
    let began = tokio::time::Instant::now();
    while [0, 2].iter().any(|node| state(&cluster.nodes()[*node]) == "ok") {
        assert!(began.elapsed() < crate::support::sockets::LONG, "never down");
        std::thread::sleep(crate::peers::MOMENT);
    }
    let reply = cluster.nodes()[0].command(&["GET", "a"]);
    assert!(error(&reply).starts_with("CLUSTERDOWN "), "{reply:?}");
    cluster.restart(1);
    assert_ne!(cluster.nodes()[1].info("run_id"), run);
    for key in ["a", "b", "c", "d", "e"] {
        let node = cluster.node_of(key);
        let reply = cluster.nodes()[node].command(&["GET", key]);
        assert_eq!(reply == Reply::Nil, node == 1, "{key}: {reply:?}");
    }
}

#[test]
fn a_cluster_that_need_not_be_whole_serves_what_is_left() {
    let mut cluster = Cluster::start_with(3, &["--cluster-require-full-coverage", "no"]);
    cluster.kill(2);
    let key = (0..).map(|key| key.to_string()).find(|key| cluster.node_of(key) == 0).unwrap();
    assert!(cluster.nodes()[0].command(&["SET", &key, "value"]).is_ok());
    cluster.wait();
}

#[test]
fn a_slot_that_is_moved_is_elsewhere_for_all() {
    let cluster = Cluster::start(3);
    let from = cluster.node_of("key");
    let to = (from + 1) % 3;
    assert!(cluster.nodes()[from].command(&["SET", "key", "value"]).is_ok());
    cluster.move_slot_of("key", from, to);
    assert_eq!(cluster.nodes()[to].command(&["GET", "key"]), Reply::Nil);
    let moved = format!("MOVED {} {}", cluster.slot_of("key"), cluster.addrs()[to]);
    for node in (0..3).filter(|node| *node != to) {
        assert_eq!(error(&cluster.nodes()[node].command(&["GET", "key"])), moved);
    }
    assert!(cluster.nodes()[to].command(&["SET", "key", "value"]).is_ok());
}

#[test]
fn a_pair_changes_places_and_the_old_master_is_read_only() {
    let mut pair = Pair::start();
    for _ in 0..2 {
        assert!(pair.master.command(&["SET", "key", "value"]).is_ok());
        pair.wait();
        let reply = pair.replica.command(&["SET", "key", "other"]);
        assert!(error(&reply).starts_with("READONLY "), "{reply:?}");
        assert_eq!(pair.replica.command(&["GET", "key"]).text(), "value");
        let port = pair.replica.port();
        pair.promote();
        assert_eq!(pair.master.port(), port);
    }
}

#[test]
fn a_sentinel_makes_the_replica_master_where_the_master_is_killed() {
    let mut sentinel = Sentinel::start();
    let port = sentinel.master_port();
    assert!(sentinel.master().command(&["SET", "key", "value"]).is_ok());
    sentinel.wait_for_replica();
    sentinel.kill_master();
    sentinel.wait_for_another_than(port);
    assert_ne!(sentinel.master_port(), port);
    assert_eq!(sentinel.master().command(&["GET", "key"]).text(), "value");
    assert!(sentinel.master().command(&["SET", "key", "other"]).is_ok());
    assert_eq!(sentinel.other().port(), port);
}

#[test]
fn a_sentinel_is_told_to_fail_over_and_the_old_master_is_made_a_replica() {
    let mut sentinel = Sentinel::start();
    let port = sentinel.master_port();
    sentinel.fail_over();
    assert_ne!(sentinel.master_port(), port);
    assert_eq!(sentinel.master().info("role"), "master");
    assert_eq!(sentinel.other().port(), port);
    sentinel.wait_for_replica();
    let reply = sentinel.other().command(&["SET", "key", "value"]);
    assert!(error(&reply).starts_with("READONLY "), "{reply:?}");
}

#[test]
fn a_sentinel_that_is_restarted_knows_what_it_knew() {
    let mut sentinel = Sentinel::start();
    let port = sentinel.master_port();
    sentinel.fail_over();
    sentinel.itself().restart();
    assert_ne!(sentinel.master_port(), port);
}
