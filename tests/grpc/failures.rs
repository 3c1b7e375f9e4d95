//! Calls that fail: what stands in for their answers, who shares the failure, what is remembered.

use seawall::{BoxError, CacheLayer, FetchError, Invalidation, RespondLayer};
use tonic::{Code, body::Body, client};
use tower::{ServiceBuilder, service_fn};

use crate::{
    shop::{
        FIND, MINUTE, SAVE, Shop, ask, cached, connect, find, key, landed, query, serve_behind,
    },
    support::{cache, sockets::eventually},
};

/// Makes all entries stale.
async fn stale(cache: &seawall::Cache) {
    landed(cache).await;
    cache.invalidator().invalidate(&Invalidation::everything().soft()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_answer_stands_in_for_a_shop_that_is_closed() {
    for (code, stands_for) in [
        (Code::Unavailable, 503),
        (Code::DeadlineExceeded, 504),
        (Code::Internal, 500),
        (Code::Unknown, 500),
    ] {
        let ((shop, _), cache) = (Shop::open(), cache());
        let layer = CacheLayer::new(cache.clone()).key(key()).stale_if_error(MINUTE);
        let client = connect(serve_behind(layer, &shop).await).await;
        assert_eq!(find(&client, "shoe").await.unwrap().item.call, 1);
        stale(&cache).await;
        shop.fails(code);
        let answer = find(&client, "shoe").await.unwrap();
        let said = format!("seawall; fwd=stale; fwd-status={stands_for}; detail=stale-if-error");
        assert_eq!((answer.item.call, answer.field("cache-status")), (1, &*said));
        assert_eq!((answer.field("grpc-status"), answer.field("x-call")), ("0", "1"));
        shop.fails(None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_errors_are_the_callers_and_nothing_stands_in_for_them() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let layer = CacheLayer::new(cache.clone()).key(key()).stale_if_error(MINUTE);
    let client = connect(serve_behind(layer, &shop).await).await;
    find(&client, "shoe").await.unwrap();
    stale(&cache).await;
    for code in [Code::NotFound, Code::Unauthenticated, Code::InvalidArgument] {
        shop.fails(code);
        assert_eq!(find(&client, "shoe").await.unwrap_err().code(), code);
    }
    assert_eq!(cache.figures().failing, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_sends_the_message_once_more() {
    let ((shop, mut hears), cache) = (Shop::open(), cache());
    let layer = CacheLayer::new(cache.clone()).key(key()).stale_while_revalidate(MINUTE);
    let client = connect(serve_behind(layer, &shop).await).await;
    find(&client, "shoe").await.unwrap();
    assert_eq!(hears.recv().await.unwrap(), "shoe");
    stale(&cache).await;
    let answer = find(&client, "shoe").await.unwrap();
    let said = "seawall; hit; detail=stale-while-revalidate";
    assert_eq!((answer.item.call, answer.field("cache-status")), (1, said));
    assert_eq!(hears.recv().await.unwrap(), "shoe", "behind the answer");
    eventually("refreshed", || cache.figures().refreshes == 0).await;
    let answer = find(&client, "shoe").await.unwrap();
    assert!(answer.is_hit() && answer.item.call == 2, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_shop_is_asked_once_for_all_who_wait_and_then_left_alone() {
    let (shop, cache) = (Shop::closed(), cache());
    shop.fails(Code::Unavailable);
    let client = cached(&cache, &shop).await;
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { find(&client, "shoe").await })
        })
        .collect();
    eventually("all wait", || cache.figures().followers == 19).await;
    shop.open.add_permits(1);
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::Unavailable, "as it was told"));
    }
    assert_eq!((shop.calls.count(), cache.figures().failing), (1, 1));
    // A moment later the cache itself says when to come back.
    let error = find(&client, "shoe").await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let wait = error.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    assert!((1..=250).contains(&wait.parse::<u32>().unwrap()), "{wait}");
    assert_eq!(shop.calls.count(), 1);
    // Another message is another matter.
    shop.fails(None);
    shop.open.add_permits(1);
    find(&client, "boot").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_may_be_one_calls_fault_is_not_held_against_others() {
    let ((shop, _), cache) = (Shop::open(), cache());
    let client = cached(&cache, &shop).await;
    for (code, call) in [(Code::Internal, 1), (Code::Unknown, 2)] {
        shop.fails(code);
        assert_eq!(find(&client, "shoe").await.unwrap_err().code(), code);
        assert_eq!((shop.calls.count(), cache.figures().failing), (call, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tonic_client_is_told_of_errors_by_their_codes() {
    let cases: [(fn() -> BoxError, Code); 2] = [
        (|| FetchError::Deadline.into(), Code::DeadlineExceeded),
        (|| "connection refused".into(), Code::Unavailable),
    ];
    for (fails, code) in cases {
        let broken = service_fn(move |_: http::Request<Body>| async move {
            Err::<http::Response<Body>, _>(fails())
        });
        let service = ServiceBuilder::new()
            .layer(RespondLayer::new())
            .layer(CacheLayer::new(cache()).key(key()))
            .service(broken);
        let client = client::Grpc::with_origin(service, "http://shop".parse().unwrap());
        for path in [FIND, SAVE] {
            let error = ask(&client, path, query("shoe")).await.unwrap_err();
            assert_eq!(error.code(), code, "{path}: {error:?}");
        }
    }
}
