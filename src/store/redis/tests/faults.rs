//! A server that is down, frozen, flapping, or talks nonsense.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::timeout;

use super::{
    super::backlog::Backlog,
    peer::{Peer, Say},
    *,
};

/// What waits for nothing.
const AT_ONCE: Duration = Duration::from_millis(10);

async fn fails_at_once(servers: &Servers) -> String {
    let began = Instant::now();
    let error = servers.get(&key(0)).await.unwrap_err();
    assert!(began.elapsed() < 10 * AT_ONCE, "{:?}", began.elapsed());
    assert!(is_held_against_it(&error));
    chain(&error)
}

#[tokio::test]
async fn a_server_that_comes_later_is_connected_to_then() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let servers = open(&redis.url());
    until("said to be down", SOON, async || {
        let said = fails_at_once(&servers).await;
        assert!(said.contains("not connected"), "{said}");
        said.contains("refused")
    })
    .await;
    assert!(!servers.is_connected());
    redis.restart();
    until("works", SOON, async || works(&servers).await.is_ok()).await;
}

#[tokio::test]
async fn a_killed_server_fails_the_calls_in_flight_and_later_ones_at_once() {
    let mut redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    works(&servers).await.unwrap();
    redis.freeze();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let servers = servers.clone();
        calls.spawn(async move { servers.get(&key(0)).await.is_err() });
    }
    // They are under way: none fails before the server does.
    assert!(timeout(Duration::from_millis(100), calls.join_next()).await.is_err());
    redis.kill();
    let began = Instant::now();
    let failed = calls.join_all().await;
    println!("100 calls in flight failed after {:?}", began.elapsed());
    assert!(began.elapsed() < SOON && failed.len() == 100 && failed.iter().all(|failed| *failed));
    until("refused", SOON, async || fails_at_once(&servers).await.contains("refused")).await;
    redis.restart();
    until("works again", SOON, async || works(&servers).await.is_ok()).await;
}

#[tokio::test]
async fn a_server_restarted_without_anybody_calling_is_connected_to_again() {
    let mut redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    redis.kill();
    until("noticed", SOON, async || !servers.is_connected()).await;
    redis.restart();
    until("connected again", SOON, async || servers.is_connected()).await;
}

#[tokio::test]
async fn a_frozen_server_keeps_no_growing_queue() {
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    works(&servers).await.unwrap();
    redis.freeze();
    // Each caller waits for a millisecond, and leaves.
    let (mut waited, mut refused) = (0_u32, 0_u32);
    let found = until("noticed", SOON, async || {
        for _ in 0..200 {
            match timeout(Duration::from_micros(1), servers.get(&key(0))).await {
                Err(_) => waited += 1,
                Ok(Err(error)) if error.to_string().contains("too many") => refused += 1,
                Ok(Err(_)) => return true,
                Ok(Ok(_)) => panic!("it is frozen"),
            }
        }
        false
    })
    .await;
    println!("{waited} callers left, {refused} were refused, until after {found:?}");
    assert!(waited > 1000, "{waited}");
    fails_at_once(&servers).await;
    redis.thaw();
    until("works again", SOON, async || works(&servers).await.is_ok()).await;
    assert_eq!(redis.clients(), 1);
}

#[tokio::test]
async fn so_many_commands_wait_and_no_more() {
    let redis = Redis::start(&[]);
    let servers = connected(&redis.url()).await;
    redis.freeze();
    let each = Backlog::COMMAND + ("GET".len() + key(0).as_bytes().len()) as u64;
    let most = Backlog::MOST.div_ceil(each) as usize;
    let call = |_| Box::pin(async { servers.get(&key(0)).await });
    let mut calls: Vec<_> = (0..most + 10).map(call).collect();
    let refused = calls.iter_mut().filter_map(now).filter(Result::is_err).count();
    assert_eq!(refused, 10);
    // They wait on, though nobody waits for them.
    drop(calls);
    let error = servers.get(&key(0)).await.unwrap_err();
    assert!(error.to_string().contains("too many"), "{error}");
    redis.thaw();
    until("works again", SOON, async || works(&servers).await.is_ok()).await;
}

/// Polls once.
fn now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_server_that_is_loading_is_out_until_it_has_loaded() {
    let loading = std::sync::Arc::new(AtomicUsize::new(1));
    let still = std::sync::Arc::clone(&loading);
    let peer = Peer::start(move |_, words| match words[0].as_str() {
        _ if still.load(Ordering::Relaxed) == 1 => {
            Say::this("-LOADING Redis is loading the dataset in memory\r\n")
        }
        "PING" => Say::this("+PONG\r\n"),
        _ => Say::this("$-1\r\n"),
    })
    .await;
    let servers = connected(&peer.url()).await;
    for error in [
        servers.get(&key(0)).await.unwrap_err(),
        servers.ping().await.unwrap_err(),
        servers.set(&key(0), Bytes::new(), TTL).await.unwrap_err(),
    ] {
        assert!(error.to_string().starts_with("LOADING"), "{error}");
        assert!(Declined::find(&*error).is_none());
    }
    loading.store(0, Ordering::Relaxed);
    assert_eq!(servers.get(&key(0)).await.unwrap(), None);
    servers.ping().await.unwrap();
    // It was the same connection all along.
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn nonsense_ends_a_connection_and_no_more() {
    let nonsense: [&[u8]; 14] = [
        b"$5\r\nabc",
        b"!!!\r\n",
        b"$x\r\n",
        b"$3\r\nabcdef\r\n",
        b"$99999999999999999999\r\n",
        b"*1\r\n$1\r\nx\r\n",
        b":1\r\n",
        b"+OK\r\n",
        b"+PONG\r\n",
        b"*9223372036854775807\r\n",
        b"\0\0\0\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"",
        b"%1\r\n+a\r\n+b\r\n",
    ];
    for said in nonsense {
        let peer = Peer::start(move |connection, words| match (connection, words[0].as_str()) {
            (_, "PING") => Say::this("+PONG\r\n"),
            (0, _) => Say::Last(said.to_vec()),
            _ => Say::this("$4\r\nwell\r\n"),
        })
        .await;
        let servers = connected(&peer.url()).await;
        let error = servers.get(&key(0)).await.unwrap_err();
        assert!(Declined::find(&*error).is_none());
        println!("{}: {}", said.escape_ascii(), chain(&error));
        let well = Some(Bytes::from_static(b"well"));
        until("well", SOON, async || servers.get(&key(0)).await.is_ok_and(|value| value == well))
            .await;
        assert!(peer.connections() <= 3, "{}", peer.connections());
    }
}

#[tokio::test]
async fn a_reply_that_never_ends_is_noticed() {
    let peer = Peer::start(|connection, words| match (connection, words[0].as_str()) {
        (0, "GET") => Say::this("$100\r\nhalf of it"),
        (_, "PING") => Say::this("+PONG\r\n"),
        _ => Say::this("$-1\r\n"),
    })
    .await;
    let servers = connected(&peer.url()).await;
    assert!(timeout(Duration::from_millis(50), servers.get(&key(0))).await.is_err());
    until("well", SOON, async || {
        let call = timeout(Duration::from_millis(50), servers.get(&key(0))).await;
        call.is_ok_and(|reply| reply.is_ok())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_slow_but_answers_keeps_its_connection() {
    let peer = Peer::start(|_, words| match words[0].as_str() {
        "PING" => Say::this("+PONG\r\n"),
        _ => Say::Late(Duration::from_millis(100), b"$-1\r\n".to_vec()),
    })
    .await;
    let servers = connected(&peer.url()).await;
    // The ping stands behind three seconds of other commands.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let servers = servers.clone();
        calls.spawn(async move { servers.get(&key(0)).await });
    }
    while let Some(reply) = calls.join_next().await {
        assert_eq!(reply.unwrap().unwrap(), None);
    }
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn one_that_hangs_up_on_everybody_is_not_stormed() {
    let peer = Peer::start(|_, words| match words[0].as_str() {
        "PING" => Say::this("+PONG\r\n"),
        _ => Say::Last(Vec::new()),
    })
    .await;
    let servers = connected(&peer.url()).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert!(servers.get(&key(0)).await.is_err());
        sleep(Duration::from_micros(100)).await;
    }
    // At most: at once, then 40, 80, 160, 320, 640, 800, 800 ms apart.
    let connections = peer.connections();
    println!("{connections} connections in 3 s");
    assert!((4..=9).contains(&connections), "{connections}");
}
