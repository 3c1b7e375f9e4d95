//! Unary calls between a tonic server and tonic clients.

use std::sync::Arc;

use seawall::{CacheLayer, CoalesceLayer, Invalidation, store::Memory};
use tokio::sync::Semaphore;
use tonic::{Code, body::Body, client, metadata::MetadataValue};
use tower::Layer;

use crate::{
    shop::{
        FIND, HALF, Item, MINUTE, SAVE, Shop, ask, cached, connect, find, key, landed, query,
        serve, serve_behind,
    },
    support::{cache, cache_builder, sockets::eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_at_once_are_one_and_the_next_is_a_hit_with_its_trailers() {
    let (shop, cache) = (Shop::closed(), cache());
    let client = cached(&cache, &shop).await;
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { find(&client, "shoe").await })
        })
        .collect();
    eventually("all wait", || cache.figures().followers == 99).await;
    shop.open.add_permits(1);
    let expected = Item { name: "shoe".to_owned(), call: 1 };
    for caller in callers {
        let answer = caller.await.unwrap().unwrap();
        assert_eq!(answer.item, expected);
        assert_eq!((answer.field("grpc-status"), answer.field("x-call")), ("0", "1"));
    }
    landed(&cache).await;
    let hit = find(&client, "shoe").await.unwrap();
    assert!(hit.is_hit(), "{hit:?}");
    assert_eq!(hit.item, expected);
    assert_eq!((hit.field("grpc-status"), hit.field("x-call"), hit.field("age")), ("0", "1", "0"));
    assert_eq!(shop.calls.count(), 1);
    let figures = cache.figures();
    assert_eq!((figures.flights, figures.followers, figures.filling), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_message_or_authority_is_another_entry() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let layer = CacheLayer::new(cache.clone()).key(key());
    let addr = serve_behind(layer, &shop).await;
    let client = connect(addr).await;
    let named = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let named = named.origin("http://shop.example".parse().unwrap());
    let named = client::Grpc::new(named.connect().await.unwrap());
    for round in [1, 2] {
        let answers = [
            find(&client, "shoe").await.unwrap(),
            find(&client, "boot").await.unwrap(),
            find(&client, "").await.unwrap(),
            find(&named, "shoe").await.unwrap(),
        ];
        let calls = answers.each_ref().map(|answer| answer.item.call);
        assert_eq!(calls, [1, 2, 3, 4], "round {round}");
        let names = answers.each_ref().map(|answer| &*answer.item.name);
        assert_eq!(names, ["shoe", "boot", "", "shoe"]);
        assert_eq!(answers.iter().all(|answer| answer.is_hit()), round == 2);
        landed(&cache).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_not_named_is_called_each_time() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let client = cached(&cache, &shop).await;
    for call in 1..=3 {
        let answer = ask(&client, SAVE, query("shoe")).await.unwrap();
        assert_eq!(answer.item.call, call);
        assert_eq!(answer.field("cache-status"), "seawall; fwd=method; fwd-status=200");
    }
    assert_eq!(cache.figures().records, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_in_an_error_is_given_and_not_kept() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let client = cached(&cache, &shop).await;
    for call in 1..=3 {
        // Its status comes in the trailers, after an item.
        let error = ask(&client, HALF, query("shoe")).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::DataLoss, "the other half"));
        assert_eq!(shop.calls.count(), call);
    }
    for code in [Code::NotFound, Code::PermissionDenied, Code::ResourceExhausted] {
        shop.fails(code);
        let before = shop.calls.count();
        for call in 1..=3 {
            let error = find(&client, "shoe").await.unwrap_err();
            assert_eq!((error.code(), error.message()), (code, "as it was told"));
            assert_eq!(shop.calls.count(), before + call, "remembered for nobody");
        }
    }
    assert_eq!((cache.figures().records, cache.figures().failing), (0, 0));
    shop.fails(None);
    find(&client, "shoe").await.unwrap();
    landed(&cache).await;
    assert!(find(&client, "shoe").await.unwrap().is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_passes_whole() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let client = cached(&cache, &shop).await;
    for length in [8 << 10, 100 << 10, 1 << 20] {
        let name = "x".repeat(length);
        for _ in 0..2 {
            let answer = find(&client, &name).await.unwrap();
            assert!(answer.item.name == name && !answer.is_hit());
        }
    }
    assert_eq!((shop.calls.count(), cache.figures().records), (6, 0));
    assert_eq!(cache.figures().filling, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_has_of_its_own_is_shared_with_nobody_unless_the_key_has_it() {
    let by = |user: &'static str| {
        let mut request = tonic::Request::new(query("shoe"));
        request.metadata_mut().insert("authorization", MetadataValue::from_static(user));
        request
    };
    let ((shop, _), cache) = (Shop::open(), cache());
    let client = cached(&cache, &shop).await;
    for call in 1..=3 {
        assert_eq!(ask(&client, FIND, by("me")).await.unwrap().item.call, call);
    }
    assert_eq!(cache.figures().records, 0);

    let (shop, _) = Shop::open();
    let key = key().field(http::header::AUTHORIZATION).field(http::header::COOKIE);
    let addr = serve_behind(CacheLayer::new(Memory::default()).key(key), &shop).await;
    let client = connect(addr).await;
    for (user, call) in [("me", 1), ("you", 2), ("me", 1), ("you", 2)] {
        assert_eq!(ask(&client, FIND, by(user)).await.unwrap().item.call, call, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_its_callers_own() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let client = cached(&cache, &shop).await;
    let within = |time| {
        let mut request = tonic::Request::new(query("shoe"));
        request.set_timeout(time);
        request
    };
    ask(&client, FIND, within(MINUTE)).await.unwrap();
    landed(&cache).await;
    // It is fetched for whoever joins, in the time that a fetch has.
    assert_eq!(shop.asked.lock().unwrap()["grpc-timeout"], "30000m");
    assert!(ask(&client, FIND, within(2 * MINUTE)).await.unwrap().is_hit());
    assert!(find(&client, "shoe").await.unwrap().is_hit());
    // A call that passes keeps its own.
    ask(&client, SAVE, within(MINUTE)).await.unwrap();
    assert_ne!(shop.asked.lock().unwrap()["grpc-timeout"], "30000m");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_invalidated_by_its_method_and_by_its_call() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let addr = serve_behind(CacheLayer::new(cache.clone()).key(key()), &shop).await;
    let client = connect(addr).await;
    let hits = async || {
        let (shoe, boot) = (find(&client, "shoe").await, find(&client, "boot").await);
        landed(&cache).await;
        [shoe.unwrap().is_hit(), boot.unwrap().is_hit()]
    };
    assert_eq!((hits().await, hits().await), ([false, false], [true, true]));

    let uri = format!("http://{addr}{FIND}").parse().unwrap();
    cache.invalidator().invalidate(&Invalidation::uri(&uri).unwrap()).await;
    assert_eq!((hits().await, hits().await), ([false, false], [true, true]));

    let message = prost::Message::encode_to_vec(&query("shoe"));
    let asked = shop.asked.lock().unwrap().clone();
    let mut request = http::Request::post(uri).body(Body::empty()).unwrap();
    *request.headers_mut() = asked;
    assert!(Invalidation::key(&key(), &request).is_err(), "it needs its message");
    let call = Invalidation::call(&key(), &request, &message).unwrap();
    cache.invalidator().invalidate(&call).await;
    assert_eq!((hits().await, hits().await), ([false, true], [true, true]));

    // A call that passes says nothing against what others have.
    find(&client, &"x".repeat(9_000)).await.unwrap();
    assert_eq!(hits().await, [true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_caches_as_a_server_does() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let addr = serve(&shop).await;
    let origin: http::Uri = format!("http://{addr}").parse().unwrap();
    let channel = tonic::transport::Endpoint::from(origin.clone()).connect().await.unwrap();
    let layered = CacheLayer::new(cache.clone()).key(key()).layer(channel);
    let client = client::Grpc::with_origin(layered, origin);
    for expected in ["seawall; fwd=uri-miss; fwd-status=200; stored", "seawall; hit"] {
        let answer = ask(&client, FIND, query("shoe")).await.unwrap();
        assert_eq!((answer.item.call, answer.field("cache-status")), (1, expected));
        assert_eq!((answer.field("grpc-status"), answer.field("x-call")), ("0", "1"));
        landed(&cache).await;
    }
    for call in 2..=3 {
        assert_eq!(ask(&client, SAVE, query("shoe")).await.unwrap().item.call, call);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_coalesced_with_nothing_to_look_in() {
    let shop = Shop::closed();
    let addr = serve(&shop).await;
    let origin: http::Uri = format!("http://{addr}").parse().unwrap();
    let channel = tonic::transport::Endpoint::from(origin.clone()).connect().await.unwrap();
    let layer = CoalesceLayer::new().key(key());
    let client = client::Grpc::with_origin(layer.layer(channel), origin);
    for round in 1..=2 {
        let callers: Vec<_> = (0..10)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { ask(&client, FIND, query("shoe")).await })
            })
            .collect();
        eventually("all wait", || layer.cache().figures().followers == 9).await;
        shop.open.add_permits(1);
        for caller in callers {
            let answer = caller.await.unwrap().unwrap();
            assert_eq!((answer.item.call, answer.field("grpc-status")), (round, "0"));
        }
        landed(layer.cache()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_outgrows_the_cache_is_streamed_with_its_trailers() {
    let (shop, _) = Shop::open();
    let shop = Shop { open: Arc::new(Semaphore::new(2)), ..shop };
    let cache = cache_builder().max_body(1_000).build();
    let client = cached(&cache, &shop).await;
    let name = "x".repeat(2_000);
    for call in 1..=2 {
        let answer = find(&client, &name).await.unwrap();
        assert_eq!((answer.item.call, answer.field("grpc-status")), (call, "0"));
        assert_eq!(answer.item.name, name);
    }
    assert_eq!(cache.figures().records, 0);
}
