//! The whole stack as one layer, around a tonic server and around a tonic client.

use std::{process::Stdio, time::Duration};

use http::Request;
use prost::Message;
use seawall::{
    Cache, CacheLayer, CircuitBreakerLayer, LoadShedLayer, OriginShield, circuit_breaker::State,
    load_shed::Rate,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, body::Body, client};
use tonic_prost::ProstCodec;
use tower::Layer;

use crate::{
    admission::{channel, item, list, refused, serve},
    shop::{
        self, FIND, Item, Key, MINUTE, Query, SAVE, Shop, TALK, UPLOAD, ask, connect, find, key,
        landed, query,
    },
    support::{cache, sockets::eventually},
};

/// The stack with the shop's key.
fn shield(cache: &Cache) -> OriginShield<CacheLayer<Key>> {
    OriginShield::new(cache.clone()).cache(CacheLayer::new(cache.clone()).key(key()))
}

/// Too short to be waited for.
const SHORT: Duration = Duration::from_millis(500);

// ===== a server =====

#[tokio::test(flavor = "multi_thread")]
async fn fifty_who_ask_alike_are_one_call_with_one_place_and_later_ones_none() {
    let (shop, cache) = (Shop::closed(), cache());
    let shield = shield(&cache).load_shed(LoadShedLayer::fixed(1));
    let gauge = shield.gauge();
    let client = connect(serve(shield, &shop).await).await;
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { find(&client, "shoe").await })
        })
        .collect();
    eventually("all wait", || cache.figures().followers == 49).await;
    eventually("asked", || shop.calls.count() == 1).await;
    assert_eq!(gauge.in_flight(), 1);
    refused(find(&client, "boot").await, Code::Unavailable);
    shop.open.add_permits(1);
    for caller in callers {
        let answer = caller.await.unwrap().unwrap();
        assert_eq!((answer.item.call, answer.field("x-call")), (1, "1"));
    }
    landed(&cache).await;
    eventually("given back", || gauge.in_flight() == 0).await;
    let answer = find(&client, "shoe").await.unwrap();
    assert!(answer.is_hit(), "{answer:?}");
    assert_eq!((answer.field("grpc-status"), answer.field("x-call")), ("0", "1"));
    assert_eq!((shop.calls.count(), gauge.in_flight()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_that_refuses_has_a_code_and_what_is_stored_is_answered_all_the_same() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let circuit = CircuitBreakerLayer::new();
    let breaker = circuit.breaker();
    let by_tenant = |request: &Request<Body>| request.headers().get("x-tenant").cloned();
    let limit = LoadShedLayer::fixed(1).quota(Rate::per_minute(1), by_tenant);
    let shield = shield(&cache).load_shed(limit).circuit_breaker(circuit);
    let gauge = shield.gauge();
    let client = connect(serve(shield, &shop).await).await;
    find(&client, "shoe").await.unwrap();
    landed(&cache).await;
    let shoe = async || assert!(find(&client, "shoe").await.unwrap().is_hit());

    let items = shop.lists();
    items.send(Ok(item("one"))).unwrap();
    let listed = list(&client).await.unwrap();
    refused(find(&client, "boot").await, Code::Unavailable);
    refused(ask(&client, SAVE, query("boot")).await, Code::Unavailable);
    shoe().await;
    drop(listed);
    eventually("given back", || gauge.in_flight() == 0).await;

    let of_tenant = || {
        let mut request = tonic::Request::new(query("boot"));
        request.metadata_mut().insert("x-tenant", "some".parse().unwrap());
        request
    };
    ask(&client, SAVE, of_tenant()).await.unwrap();
    refused(ask(&client, SAVE, of_tenant()).await, Code::ResourceExhausted);
    shoe().await;

    breaker.force_open();
    refused(find(&client, "boot").await, Code::Unavailable);
    refused(list(&client).await, Code::Unavailable);
    shoe().await;
    assert_eq!(shop.calls.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_does_not_answer_in_time_opens_the_breaker_and_stale_answers_stand_in() {
    let (shop, cache) = (Shop::closed(), cache());
    let cached = CacheLayer::new(cache.clone()).key(key()).stale_if_error(MINUTE);
    let shield = OriginShield::new(cache.clone())
        .cache(cached)
        .circuit_breaker(CircuitBreakerLayer::new().open_for(MINUTE, MINUTE))
        .timeout(SHORT);
    let breaker = shield.breaker();
    let client = connect(serve(shield, &shop).await).await;
    shop.open.add_permits(1);
    find(&client, "shoe").await.unwrap();
    landed(&cache).await;
    cache.invalidator().invalidate(&seawall::Invalidation::everything().soft()).await;

    // A success and nineteen failures are twenty.
    let callers: Vec<_> = (0..19)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client, SAVE, query("hat")).await })
        })
        .collect();
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    }
    assert_eq!(breaker.state(), State::Open);
    refused(ask(&client, SAVE, query("hat")).await, Code::Unavailable);
    let answer = find(&client, "shoe").await.unwrap();
    assert!(answer.field("cache-status").ends_with("detail=stale-if-error"), "{answer:?}");
    assert_eq!((answer.item.call, shop.calls.count()), (1, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_streams_is_heard_at_once_and_for_longer_than_the_timeout() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let shield = shield(&cache).timeout(SHORT);
    let (breaker, gauge) = (shield.breaker(), shield.gauge());
    let client = connect(serve(shield, &shop).await).await;
    let items = shop.lists();
    items.send(Ok(item("one"))).unwrap();
    let mut listed = list(&client).await.unwrap();
    assert_eq!(listed.message().await.unwrap(), Some(item("one")), "while it is open");
    tokio::time::sleep(2 * SHORT).await;
    items.send(Ok(item("two"))).unwrap();
    assert_eq!(listed.message().await.unwrap(), Some(item("two")));
    assert_eq!(gauge.in_flight(), 1);
    drop(items);
    assert_eq!(listed.message().await.unwrap(), None);
    let trailers = listed.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("x-call").unwrap(), "1");
    assert_eq!(gauge.in_flight(), 0);
    assert_eq!((breaker.counts().calls, breaker.counts().failures), (1, 0));
    assert_eq!(cache.figures().records, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_streams_is_heard_at_once_and_both_may_talk_by_turns() {
    let ((shop, mut hears), cache) = (Shop::open(), cache());
    let mut client = connect(serve(shield(&cache), &shop).await).await;
    client.ready().await.unwrap();
    let codec = ProstCodec::<Query, Item>::default;
    let (sender, queries) = mpsc::unbounded_channel();
    let request = tonic::Request::new(UnboundedReceiverStream::new(queries));
    let mut uploading = client.clone();
    let answer = tokio::spawn(async move {
        uploading.ready().await.unwrap();
        uploading.client_streaming(request, UPLOAD.parse().unwrap(), codec()).await
    });
    for name in ["one", "two"] {
        sender.send(query(name)).unwrap();
        assert_eq!(hears.recv().await.unwrap(), name, "while it is open");
    }
    drop(sender);
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), item("one two"));

    let (sender, queries) = mpsc::unbounded_channel();
    let request = tonic::Request::new(UnboundedReceiverStream::new(queries));
    sender.send(query("one")).unwrap();
    let talk = client.streaming(request, TALK.parse().unwrap(), codec()).await;
    let mut answers = talk.unwrap().into_inner();
    for next in ["two", "three"] {
        assert!(answers.message().await.unwrap().is_some());
        sender.send(query(next)).unwrap();
    }
    assert_eq!(answers.message().await.unwrap().unwrap().name, "three");
    drop(sender);
    assert_eq!(answers.message().await.unwrap(), None);
    assert_eq!((shop.calls.count(), cache.figures().records), (2, 0));
}

// ===== a client =====

#[tokio::test(flavor = "multi_thread")]
async fn around_a_client_it_answers_from_storage_refuses_and_lets_streams_through() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let addr = shop::serve(&shop).await;
    let shield = shield(&cache).load_shed(LoadShedLayer::fixed(1));
    let (breaker, gauge) = (shield.breaker(), shield.gauge());
    let service = shield.layer(channel(addr).await);
    let client = client::Grpc::with_origin(service, format!("http://{addr}").parse().unwrap());
    assert_eq!(ask(&client, FIND, query("shoe")).await.unwrap().item.call, 1);
    landed(&cache).await;
    let items = shop.lists();
    items.send(Ok(item("one"))).unwrap();
    let mut listed = list(&client).await.unwrap();
    assert_eq!(listed.message().await.unwrap(), Some(item("one")), "while it is open");
    let answer = ask(&client, FIND, query("shoe")).await.unwrap();
    assert!(answer.is_hit() && answer.field("x-call") == "1", "{answer:?}");
    refused(ask(&client, FIND, query("boot")).await, Code::Unavailable);
    drop(listed);
    assert_eq!(gauge.in_flight(), 0);

    shop.fails(Code::Unavailable);
    for _ in 0..19 {
        assert_eq!(breaker.state(), State::Closed);
        let error = ask(&client, SAVE, query("shoe")).await.unwrap_err();
        assert_eq!(error.message(), "as it was told");
    }
    // With the one that was answered they are twenty; the one that was dropped says nothing.
    assert_eq!(breaker.state(), State::Open);
    assert_eq!((breaker.counts().calls, breaker.counts().failures), (20, 19));
    refused(ask(&client, SAVE, query("shoe")).await, Code::Unavailable);
    assert!(ask(&client, FIND, query("shoe")).await.unwrap().is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn around_a_client_it_bounds_each_call() {
    let (shop, cache) = (Shop::closed(), cache());
    let addr = shop::serve(&shop).await;
    let service = shield(&cache).timeout(SHORT).layer(channel(addr).await);
    let client = client::Grpc::with_origin(service, format!("http://{addr}").parse().unwrap());
    for path in [FIND, SAVE] {
        let error = ask(&client, path, query("shoe")).await.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{path}: {error:?}");
    }
}

// ===== another implementation =====

/// What `foreign.py` says of one call.
async fn foreign(addr: std::net::SocketAddr, path: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/grpc/foreign.py");
    let message = query("shoe").encode_to_vec();
    let message: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut command = tokio::process::Command::new("/usr/bin/python3");
    command.args([script, &addr.to_string(), path, &message, "1"]);
    let output = command.stderr(Stdio::inherit()).kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "needs python3-grpcio: see tests/run");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_is_told_the_same_codes() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let quota = LoadShedLayer::fixed(1).quota(Rate::per_minute(1), |_: &Request<Body>| Some(()));
    let shield = shield(&cache).load_shed(quota).timeout(SHORT);
    let (breaker, gauge) = (shield.breaker(), shield.gauge());
    let addr = serve(shield, &shop).await;
    let answered = foreign(addr, FIND).await;
    assert!(answered.starts_with("OK|0a0473686f651001|"), "{answered}");
    landed(&cache).await;
    let spent = foreign(addr, SAVE).await;
    assert!(spent.starts_with("RESOURCE_EXHAUSTED|too many requests|"), "{spent}");
    breaker.force_open();
    assert!(foreign(addr, FIND).await.contains("|seawall; hit|1"));
    assert_eq!(gauge.in_flight(), 0);

    let (shop, cache) = (Shop::closed(), crate::support::cache());
    let shield = self::shield(&cache).load_shed(LoadShedLayer::fixed(1)).timeout(SHORT);
    let breaker = shield.breaker();
    let addr = serve(shield, &shop).await;
    let late = foreign(addr, SAVE).await;
    assert!(late.starts_with("DEADLINE_EXCEEDED|deadline exceeded|"), "{late}");
    let items = shop.lists();
    items.send(Ok(item("one"))).unwrap();
    let listed = list(&connect(addr).await).await.unwrap();
    let shed = foreign(addr, SAVE).await;
    assert!(shed.starts_with("UNAVAILABLE|unavailable|"), "{shed}");
    drop(listed);
    breaker.force_open();
    let open = foreign(addr, SAVE).await;
    assert!(open.starts_with("UNAVAILABLE|unavailable|"), "{open}");
    assert_eq!(shop.calls.count(), 2);
}
