//! One server that is well.

use super::*;
use crate::store::redis::servers::milliseconds;

#[tokio::test]
async fn what_is_set_is_got_until_it_is_deleted() {
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    assert_eq!(servers.get(&key(1)).await.unwrap(), None);
    let every_byte: Vec<_> = (0..=255).collect();
    for value in [b"".as_slice(), b"$-1\r\n", b"\r\n+OK\r\n", &every_byte, &[7; 3 << 20]] {
        let value = Bytes::copy_from_slice(value);
        servers.set(&key(1), value.clone(), TTL).await.unwrap();
        assert_eq!(servers.get(&key(1)).await.unwrap(), Some(value));
        assert_eq!(servers.get(&key(2)).await.unwrap(), None);
    }
    servers.delete(&key(1)).await.unwrap();
    servers.delete(&key(1)).await.unwrap();
    assert_eq!(servers.get(&key(1)).await.unwrap(), None);
    servers.ping().await.unwrap();
    assert_eq!(redis.number(&["DBSIZE"]), 0);
}

#[tokio::test]
async fn a_lifetime_is_from_a_millisecond_to_a_year() {
    const YEAR: u64 = 31_536_000_000;
    for (ttl, expected) in [
        (Duration::ZERO, 1),
        (Duration::from_nanos(1), 1),
        (Duration::from_millis(1500), 1500),
        (Duration::from_millis(YEAR + 1), YEAR),
        (Duration::MAX, YEAR),
    ] {
        assert_eq!(milliseconds(ttl), expected, "{ttl:?}");
    }
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    let name = String::from_utf8(key(1).as_bytes().to_vec()).unwrap();
    servers.set(&key(1), Bytes::from_static(b"x"), Duration::MAX).await.unwrap();
    let left = redis.number(&["PTTL", &name]);
    assert!((YEAR as i64 - 60_000..=YEAR as i64).contains(&left), "{left}");
    servers.set(&key(1), Bytes::from_static(b"y"), Duration::ZERO).await.unwrap();
    until("gone", SOON, async || servers.get(&key(1)).await.unwrap().is_none()).await;
}

#[tokio::test]
async fn a_password_a_user_and_a_database_are_used() {
    let redis = Redis::start(&[]);
    redis.say(&["ACL", "SETUSER", "shop", "on", ">p@ss/wörd", "~test:*", "+@all"]);
    let login = "shop:p%40ss%2fw%C3%B6rd@";
    let servers = connected(&format!("redis://{login}127.0.0.1:{}/3", redis.port)).await;
    servers.set(&key(1), Bytes::from_static(b"x"), TTL).await.unwrap();
    assert!(redis.text(&["INFO", "keyspace"]).contains("db3:keys=1"));
    assert!(redis.text(&["CLIENT", "LIST"]).contains("name=seawall"));

    redis.say(&["CONFIG", "SET", "requirepass", "hunter2"]);
    let wrong = open(&format!("redis://:hunter3@127.0.0.1:{}", redis.port));
    until("refused", SOON, async || {
        let error = wrong.get(&key(1)).await.unwrap_err();
        let said = chain(&error);
        assert!(!said.contains("hunter"), "{said}");
        assert!(is_held_against_it(&error));
        said.contains("authentication failed")
    })
    .await;
    // Without one, the connection stands, and says no to everything.
    let none = connected(&redis.url()).await;
    let error = none.get(&key(1)).await.unwrap_err();
    assert!(chain(&error).contains("NOAUTH"), "{}", chain(&error));
    assert!(Declined::find(&*error).is_none());
    assert!(none.ping().await.is_err());
}

#[tokio::test]
async fn a_unix_socket_leads_to_it() {
    let redis = Redis::start(&["--unixsocket", "redis.sock"]);
    let path = redis.file("redis.sock");
    let servers = connected(&format!("redis+unix://{}?db=2", path.display())).await;
    works(&servers).await.unwrap();
    assert!(redis.text(&["INFO", "keyspace"]).contains("db2:keys=1"));
    assert!(redis.text(&["CLIENT", "LIST"]).contains("redis.sock"));
}

#[tokio::test]
async fn a_client_of_ones_own_leads_to_it() {
    let redis = Redis::start(&[]);
    let servers = Servers::of_client(redis::Client::open(redis.url()).unwrap());
    until("connected", SOON, async || servers.is_connected()).await;
    works(&servers).await.unwrap();
}

#[tokio::test]
async fn no_password_is_printed() {
    let redis = Redis::start(&[]);
    let port = redis.port;
    for url in [
        format!("redis://user:hunter2@127.0.0.1:{port}"),
        format!("redis://user:hunter2@127.0.0.1:{port}?cluster"),
        format!("redis://:hunter2@127.0.0.1:{port}?sentinel=m&sentinel-password=hunter2"),
        "unix:///nowhere?password=hunter2".to_owned(),
    ] {
        let servers = open(&url);
        let mut errors = 0;
        until("refused", SOON, async || {
            let error = servers.get(&key(0)).await.unwrap_err();
            for printed in [format!("{servers:?}"), format!("{error:?}"), chain(&error)] {
                assert!(!printed.contains("hunter2"), "{printed}");
            }
            errors += 1;
            errors > 5
        })
        .await;
    }
}

#[test]
fn without_a_runtime_opening_is_an_error() {
    let address = Address::parse("redis://127.0.0.1:1").unwrap();
    assert!(Servers::open(&address, Settings::default()).is_err());
}

#[tokio::test]
async fn nothing_is_left_of_it_when_the_last_handle_is_gone() {
    let redis = Redis::start(&[]);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (before, clients) = (tasks(), redis.clients());
    for _ in 0..20 {
        let servers = connected(&redis.url()).await;
        let clone = servers.clone();
        drop(servers);
        works(&clone).await.unwrap();
        assert!(tasks() > before);
    }
    // Neither of one that is still connecting, nor of one whose call is still under way.
    drop(open(&redis.url()));
    drop(open("redis://127.0.0.1:1"));
    drop(open("redis://127.0.0.1:1?cluster"));
    drop(open("redis://127.0.0.1:1?sentinel=m"));
    let servers = connected(&redis.url()).await;
    let call = tokio::spawn({
        let servers = servers.clone();
        async move { works(&servers).await.is_ok() }
    });
    drop(servers);
    assert!(call.await.unwrap());
    until("no task is left", SOON, async || tasks() == before).await;
    until("no connection is left", SOON, async || redis.clients() == clients).await;
}
