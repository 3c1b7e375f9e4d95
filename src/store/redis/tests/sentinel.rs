//! A master among replicas, of whom a sentinel knows.

use super::*;

/// A sentinel that needs nobody's consent, and calls a master dead after 300 ms.
fn sentinel_of(master: &Redis, more: &str) -> Redis {
    let port = master.port;
    Redis::configured(
        &format!(
            "sentinel monitor main 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds main 300\n\
             sentinel failover-timeout main 2000\n{more}"
        ),
        &["--sentinel"],
    )
}

/// One that sends a new replica its data at once.
fn master() -> Redis {
    Redis::start(&["--repl-diskless-sync-delay", "0"])
}

async fn replica_of(master: &Redis) -> Redis {
    let replica = Redis::start(&[]);
    replica.say(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    until("replicated", SOON, async || {
        replica.text(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    replica
}

/// It hangs up on everybody when it becomes one.
fn is_master(redis: &Redis) -> bool {
    redis.ask(&["ROLE"]).is_ok_and(|role| format!("{role:?}").contains("master"))
}

#[tokio::test]
async fn after_a_failover_the_new_master_is_written_to() {
    let mut master = master();
    let replica = replica_of(&master).await;
    let sentinel = sentinel_of(&master, "");
    until("the sentinel knows the replica", SOON, async || {
        sentinel.text(&["INFO", "sentinel"]).contains("slaves=1")
    })
    .await;
    // One of the sentinels is down: that costs nothing.
    let url = format!("redis://127.0.0.1:1,127.0.0.1:{}/2?sentinel=main", sentinel.port);
    let servers = connected(&url).await;
    works(&servers).await.unwrap();
    assert!(master.text(&["INFO", "keyspace"]).contains("db2:keys=1"));

    master.kill();
    until("promoted", SOON, async || is_master(&replica)).await;
    until("works again", SOON, async || works(&servers).await.is_ok()).await;
    assert!(replica.text(&["INFO", "keyspace"]).contains("db2:keys=1"));
}

#[tokio::test]
async fn a_master_that_says_it_is_none_is_not_connected_to() {
    let (master, other) = (Redis::start(&[]), Redis::start(&[]));
    // So that the sentinel does not make it a master again.
    let sentinel = sentinel_of(&master, "sentinel down-after-milliseconds main 600000\n");
    master.say(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    let servers = open(&format!("redis://127.0.0.1:{}?sentinel=main", sentinel.port));
    until("refused", SOON, async || {
        chain(&servers.get(&key(0)).await.unwrap_err()).contains("not a master")
    })
    .await;
    assert!(!servers.is_connected());
    master.say(&["REPLICAOF", "NO", "ONE"]);
    until("works", SOON, async || works(&servers).await.is_ok()).await;
}

#[tokio::test]
async fn a_master_demoted_under_a_connection_is_left_for_the_new_one() {
    let old = master();
    let new = replica_of(&old).await;
    let sentinel = sentinel_of(&old, "");
    until("the sentinel knows the replica", SOON, async || {
        sentinel.text(&["INFO", "sentinel"]).contains("slaves=1")
    })
    .await;
    let servers = connected(&format!("redis://127.0.0.1:{}?sentinel=main", sentinel.port)).await;
    works(&servers).await.unwrap();
    until("the failover begins", SOON, async || {
        sentinel.ask(&["SENTINEL", "FAILOVER", "main"]).is_ok()
    })
    .await;
    until("promoted", SOON, async || is_master(&new)).await;
    until("works again", SOON, async || works(&servers).await.is_ok()).await;
    assert!(is_master(&new) && new.clients() >= 1);
}

#[tokio::test]
async fn sentinels_and_their_master_have_each_their_password() {
    let master = Redis::start(&["--requirepass", "m"]);
    let sentinel = sentinel_of(&master, "sentinel auth-pass main m\nrequirepass s\n");
    let url = |login: &str, theirs: &str| {
        format!("redis://{login}127.0.0.1:{}?sentinel=main{theirs}", sentinel.port)
    };
    works(&connected(&url(":m@", "&sentinel-password=s")).await).await.unwrap();
    for (url, expected) in [
        (url(":m@", ""), "NOAUTH"),
        (url(":m@", "&sentinel-password=x"), "authentication failed"),
        (url(":x@", "&sentinel-password=s"), "authentication failed"),
        (url("", "&sentinel-password=s"), "NOAUTH"),
        (url(":m@", "&sentinel-password=s").replace("main", "other"), "no master of this name"),
    ] {
        let servers = open(&url);
        until(expected, SOON, async || {
            let error = servers.get(&key(0)).await.unwrap_err();
            assert!(is_held_against_it(&error));
            chain(&error).contains(expected)
        })
        .await;
    }
}
