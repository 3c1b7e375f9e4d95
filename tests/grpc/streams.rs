//! Streaming calls: each message arrives while the stream is open, whoever sends it.

use http::uri::PathAndQuery;
use seawall::CacheLayer;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Request;
use tonic_prost::ProstCodec;

use crate::{
    shop::{
        Client, Item, LIST, MINUTE, Query, Shop, TALK, UPLOAD, connect, key, query, serve_behind,
    },
    support::cache,
};

/// A client of a shop behind a cache whose key names these methods, too.
async fn client(named: &[&str]) -> (Shop, UnboundedReceiver<String>, Client, seawall::Cache) {
    let ((shop, hears), cache) = (Shop::open(), cache());
    let key = named.iter().fold(key(), |key, path| key.method(path, MINUTE));
    let addr = serve_behind(CacheLayer::new(cache.clone()).key(key), &shop).await;
    let mut client = connect(addr).await;
    client.ready().await.unwrap();
    (shop, hears, client, cache)
}

fn codec() -> ProstCodec<Query, Item> {
    ProstCodec::default()
}

fn queries() -> (UnboundedSender<Query>, Request<UnboundedReceiverStream<Query>>) {
    let (sender, queries) = mpsc::unbounded_channel();
    (sender, Request::new(UnboundedReceiverStream::new(queries)))
}

fn item(name: &str) -> Item {
    Item { name: name.to_owned(), call: 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_streams_is_heard_at_once_and_never_kept_named_or_not() {
    for named in [&[][..], &[LIST]] {
        let (shop, _, mut client, cache) = client(named).await;
        for round in 1..=2 {
            let list = shop.lists();
            list.send(Ok(item("one"))).unwrap();
            client.ready().await.unwrap();
            let path = PathAndQuery::from_static(LIST);
            let streamed = client.server_streaming(Request::new(query("all")), path, codec()).await;
            let mut streamed = streamed.unwrap().into_inner();
            for next in ["two", "three"] {
                // It is sent only once the one before has arrived.
                assert!(streamed.message().await.unwrap().is_some());
                list.send(Ok(item(next))).unwrap();
            }
            assert_eq!(streamed.message().await.unwrap(), Some(item("three")));
            drop(list);
            assert_eq!(streamed.message().await.unwrap(), None);
            let trailers = streamed.trailers().await.unwrap().unwrap();
            assert_eq!(trailers.get("x-call").unwrap(), &round.to_string());
            assert_eq!(shop.calls.count(), round, "{named:?}");
        }
        assert_eq!(cache.figures().records, 0, "{named:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_streams_is_heard_at_once() {
    let (_, mut hears, mut client, cache) = client(&[]).await;
    let (sender, request) = queries();
    let path = PathAndQuery::from_static(UPLOAD);
    let answer = tokio::spawn(async move { client.client_streaming(request, path, codec()).await });
    for name in ["one", "two", "three"] {
        sender.send(query(name)).unwrap();
        assert_eq!(hears.recv().await.unwrap(), name, "while the stream is open");
    }
    drop(sender);
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), item("one two three"));
    assert_eq!(cache.figures().records, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_messages_for_a_named_method_pass_whole_and_the_second_opens_the_way() {
    let (_, mut hears, mut client, cache) = client(&[UPLOAD]).await;
    let (sender, request) = queries();
    let path = PathAndQuery::from_static(UPLOAD);
    let answer = tokio::spawn(async move { client.client_streaming(request, path, codec()).await });
    for name in ["one", "two"] {
        sender.send(query(name)).unwrap();
    }
    assert_eq!(hears.recv().await.unwrap(), "one");
    assert_eq!(hears.recv().await.unwrap(), "two");
    sender.send(query("three")).unwrap();
    assert_eq!(hears.recv().await.unwrap(), "three", "while the stream is open");
    drop(sender);
    assert_eq!(answer.await.unwrap().unwrap().into_inner(), item("one two three"));
    assert_eq!(cache.figures().records, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_may_talk_by_turns() {
    let (_, _, mut client, cache) = client(&[]).await;
    let (sender, request) = queries();
    sender.send(query("one")).unwrap();
    let path = PathAndQuery::from_static(TALK);
    let mut answers = client.streaming(request, path, codec()).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap(), Some(item("one")));
    for name in ["two", "three"] {
        sender.send(query(name)).unwrap();
        assert_eq!(answers.message().await.unwrap(), Some(item(name)));
    }
    drop(sender);
    assert_eq!(answers.message().await.unwrap(), None);
    assert_eq!(cache.figures().records, 0);
}
