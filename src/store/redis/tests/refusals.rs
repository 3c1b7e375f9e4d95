//! A server that is well, and says no.

use super::{
    peer::{Peer, Say},
    *,
};

/// What the store is told to do about an error.
fn told(error: &BoxError) -> Option<Option<Duration>> {
    Declined::find(&**error).map(Declined::writes_off)
}

#[tokio::test]
async fn each_error_of_a_server_says_whether_the_store_is_out() {
    let out = None;
    let well = Some(None);
    let no_writes = |seconds| Some(Some(Duration::from_secs(seconds)));
    let rows = [
        ("OOM command not allowed when used memory > 'maxmemory'.", no_writes(30)),
        ("MISCONF Redis is configured to save RDB snapshots", no_writes(30)),
        ("READONLY You can't write against a read only replica.", no_writes(1)),
        ("NOREPLICAS Not enough good replicas to write.", no_writes(1)),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", well),
        ("ERR unknown command", well),
        ("NOPERM this user has no permissions", well),
        ("EXECABORT", well),
        ("MOVED 1 127.0.0.1:1", well),
        ("ANYTHING else", well),
        ("", well),
        ("LOADING Redis is loading the dataset in memory", out),
        ("CLUSTERDOWN The cluster is down", out),
        ("MASTERDOWN Link with MASTER is down", out),
        ("TRYAGAIN Multiple keys request during rehashing of slot", out),
        ("NOAUTH Authentication required.", out),
        ("WRONGPASS invalid username-password pair", out),
        ("BUSY Redis is busy running a script.", out),
    ];
    let peer = Peer::start(move |_, words| match words[0].as_str() {
        "PING" => Say::this("+PONG\r\n"),
        // The row stands in the key's first byte.
        _ => {
            let row = usize::from_str_radix(&words[1][19..21], 16).unwrap();
            Say::this(&format!("-{}\r\n", rows[row].0))
        }
    })
    .await;
    let servers = connected(&peer.url()).await;
    for (number, (said, expected)) in rows.iter().enumerate() {
        for error in [
            servers.get(&key(number)).await.unwrap_err(),
            servers.set(&key(number), Bytes::new(), TTL).await.unwrap_err(),
            servers.delete(&key(number)).await.unwrap_err(),
        ] {
            assert_eq!(&told(&error), expected, "{said}");
            assert!(chain(&error).ends_with(said), "{}", chain(&error));
        }
        until("connected", SOON, async || servers.is_connected()).await;
    }
}

#[tokio::test]
async fn a_full_server_is_read_from_and_not_written_to() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let servers = connected(&redis.url()).await;
    works(&servers).await.unwrap();
    redis.say(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = servers.set(&key(1), Bytes::from_static(b"x"), TTL).await.unwrap_err();
    assert_eq!(told(&error), Some(Some(Duration::from_secs(30))), "{}", chain(&error));
    assert!(servers.get(&key(0)).await.unwrap().is_some());
    servers.delete(&key(0)).await.unwrap();
    redis.say(&["CONFIG", "SET", "maxmemory", "0"]);
    works(&servers).await.unwrap();
}

#[tokio::test]
async fn a_key_of_another_type_is_no_fault_of_the_store() {
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    let name = String::from_utf8(key(1).as_bytes().to_vec()).unwrap();
    redis.say(&["RPUSH", &name, "a"]);
    let error = servers.get(&key(1)).await.unwrap_err();
    assert_eq!(told(&error), Some(None), "{}", chain(&error));
    works(&servers).await.unwrap();
    // A write replaces it.
    servers.set(&key(1), Bytes::from_static(b"x"), TTL).await.unwrap();
}

#[tokio::test]
async fn what_a_user_may_not_do_is_declined() {
    let redis = Redis::start(&[]);
    redis.say(&["ACL", "SETUSER", "reader", "on", ">p", "~test:*", "-@all", "+get"]);
    let url = format!("redis://reader:p@127.0.0.1:{}", redis.port);
    let servers = connected(&url).await;
    assert_eq!(servers.get(&key(0)).await.unwrap(), None);
    let error = servers.set(&key(0), Bytes::new(), TTL).await.unwrap_err();
    assert_eq!(told(&error), Some(None), "{}", chain(&error));
    // It need not be allowed to ping: any answer is a sign of life.
    let clients = redis.text(&["CLIENT", "LIST"]);
    let pings = async || {
        let stats = redis.text(&["INFO", "commandstats"]);
        let pings = stats.lines().find(|line| line.starts_with("cmdstat_ping")).unwrap();
        let rejected = pings.split_once("rejected_calls=").unwrap().1;
        rejected.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    until("pinged twice more", SOON, async || pings().await >= 3).await;
    assert!(servers.is_connected());
    let id = |list: &str| {
        let line = list.lines().find(|line| line.contains("user=reader")).unwrap().to_owned();
        line.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(id(&clients), id(&redis.text(&["CLIENT", "LIST"])), "it is the same connection");
}

#[tokio::test]
async fn a_replica_is_read_from_until_it_is_promoted() {
    let (master, replica) = (Redis::start(&[]), Redis::start(&[]));
    let servers = connected(&replica.url()).await;
    works(&servers).await.unwrap();
    replica.say(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    // Nothing fails but writes, although each of them has us connect anew.
    let began = Instant::now();
    let (mut refused, mut total) = (0, 0);
    while began.elapsed() < Duration::from_millis(1500) {
        match servers.set(&key(1), Bytes::from_static(b"x"), TTL).await {
            Err(error) => {
                let expected = Some(Some(Duration::from_secs(1)));
                // While the copy of the master is loaded, it is out.
                if !chain(&error).starts_with("LOADING") {
                    assert_eq!(told(&error), expected, "{}", chain(&error));
                    servers.get(&key(0)).await.unwrap();
                    refused += 1;
                }
            }
            Ok(()) => panic!("a replica takes no writes"),
        }
        total += 1;
        sleep(Duration::from_millis(1)).await;
    }
    let connections: i64 = replica
        .text(&["INFO", "stats"])
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"))
        .unwrap()
        .parse()
        .unwrap();
    println!("{total} writes, {refused} refused, {connections} connections");
    assert!(refused > 100 && (4..20).contains(&connections), "{refused} {connections}");
    replica.say(&["REPLICAOF", "NO", "ONE"]);
    until("works again", SOON, async || works(&servers).await.is_ok()).await;
}
