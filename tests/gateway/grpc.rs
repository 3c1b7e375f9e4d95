//! gRPC through the gateway: what it keeps, what it lets through as it comes, and how it refuses.

use http::HeaderMap;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

use super::{shop::*, support::*};

const KEPT: [&str; 2] = ["--grpc-cache", "/shop.Catalogue/Find=60s"];

/// A gateway before a shop, with further flags.
async fn before(shop: &Shop, flags: &[&str]) -> Gateway {
    let url = format!("h2c://{}", shop.serve().await);
    Gateway::start(&[&["--origin", &url][..], flags].concat())
}

/// Waits until what was fetched is stored.
async fn landed(gateway: &Gateway) {
    gateway.until(|status| status["flights"] == 0).await;
}

/// Finds an item: from which call it is, and what was said about it.
async fn find(client: &Client, name: &str) -> (u32, String) {
    let (item, metadata) = call(client, FIND, name).await.unwrap();
    assert_eq!(item.name, name);
    let fields = metadata.into_headers();
    assert_eq!(text(&fields, "grpc-status"), "0");
    assert_eq!(text(&fields, "x-call"), item.call.to_string(), "of its trailers");
    (item.call, text(&fields, "cache-status").to_owned())
}

fn text<'a>(fields: &'a HeaderMap, name: &str) -> &'a str {
    fields.get(name).map_or("", |value| value.to_str().unwrap())
}

const HIT: &str = "seawall; hit";

/// An error with this code, which asks to be left alone.
fn assert_refused<A: std::fmt::Debug>(answer: Result<A, Status>, code: Code, why: &str) {
    let error = answer.unwrap_err();
    assert_eq!(error.code(), code, "{error:?}");
    let fields = error.metadata().as_ref();
    assert!(text(fields, "grpc-retry-pushback-ms").parse::<u64>().unwrap() >= 1, "{error:?}");
    assert_eq!(text(fields, "cache-status"), format!("seawall; detail={why}"));
}

// ===== what is kept =====

#[tokio::test]
async fn a_named_methods_answers_are_kept_by_message_and_others_never() {
    let shop = Shop::open();
    let gateway = before(&shop, &KEPT).await;
    let client = connect(gateway.addr).await;
    for (name, made) in [("shoe", 1), ("boot", 2)] {
        let (call, said) = find(&client, name).await;
        assert_eq!((call, &*said), (made, "seawall; fwd=uri-miss; fwd-status=200; stored"));
        landed(&gateway).await;
    }
    // Another connection gets them, too.
    let other = connect(gateway.addr).await;
    for _ in 0..2 {
        assert_eq!(find(&other, "shoe").await, (1, HIT.to_owned()));
        assert_eq!(find(&client, "boot").await, (2, HIT.to_owned()));
    }
    for made in [3, 4] {
        assert_eq!(call(&client, SAVE, "shoe").await.unwrap().0.call, made);
    }
    assert_eq!(shop.calls(), 4);
    let status = gateway.status().await;
    assert_eq!((&status["entries"], &status["hits"]), (&2.into(), &4.into()));
}

#[tokio::test]
async fn without_the_flag_nothing_of_grpc_is_kept() {
    let shop = Shop::open();
    let gateway = before(&shop, &[]).await;
    let client = connect(gateway.addr).await;
    for made in 1..=3 {
        assert_eq!(find(&client, "shoe").await.0, made);
    }
    assert_eq!(gateway.status().await["entries"], 0);
}

#[tokio::test]
async fn fifty_who_ask_alike_are_one_call() {
    let (shop, _) = Shop::with(0);
    let gateway = before(&shop, &KEPT).await;
    let client = connect(gateway.addr).await;
    let asking: JoinSet<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            async move { find(&client, "shoe").await.0 }
        })
        .collect();
    gateway.until(|status| status["followers"] == 49).await;
    shop.open.add_permits(1);
    assert_eq!(asking.join_all().await, [1; 50]);
    assert_eq!(shop.calls(), 1);
}

#[tokio::test]
async fn errors_are_not_kept() {
    let shop = Shop::open();
    let gateway = before(&shop, &KEPT).await;
    let client = connect(gateway.addr).await;
    shop.fails(Code::NotFound);
    for made in 1..=3 {
        let error = call(&client, FIND, "shoe").await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::NotFound, "as it was told"));
        landed(&gateway).await;
        assert_eq!(shop.calls(), made);
    }
    shop.fails(None);
    assert_eq!(find(&client, "shoe").await.0, 4);
    landed(&gateway).await;
    assert_eq!(find(&client, "shoe").await, (4, HIT.to_owned()));
}

#[tokio::test]
async fn the_operator_makes_a_methods_answers_go_by_its_uri() {
    let shop = Shop::open();
    let gateway = before(&shop, &KEPT).await;
    let client = connect(gateway.addr).await;
    for round in 0..2 {
        for (made, name) in ["shoe", "boot"].into_iter().enumerate() {
            assert_eq!(find(&client, name).await.0, 2 * round + made as u32 + 1);
            landed(&gateway).await;
            assert_eq!(find(&client, name).await.1, HIT);
        }
        let other = format!("uri=http://{}/shop.Catalogue/Save", gateway.addr);
        assert_eq!(status(&gateway.invalidate(&other).await), 200);
        assert_eq!(find(&client, "shoe").await.1, HIT);
        let uri = format!("uri=http://{}{FIND}", gateway.addr);
        let answer = gateway.invalidate(&uri).await;
        assert_eq!((status(&answer), &json(&answer)["local"]), (200, &true.into()));
    }
    assert_eq!(find(&client, "shoe").await.0, 5);
}

// ===== what comes as it comes =====

#[tokio::test]
async fn a_server_that_streams_is_heard_at_once_and_never_kept() {
    let shop = Shop::open();
    let named = ["--grpc-cache", "/shop.Catalogue/Find=60s,/shop.Catalogue/List=60s"];
    for flags in [&KEPT, &named] {
        let gateway = before(&shop, flags).await;
        let client = connect(gateway.addr).await;
        let before = shop.calls();
        for round in 1..=2 {
            let items = shop.lists();
            items.send(Ok(Item { name: "one".to_owned(), call: 0 })).unwrap();
            let mut listed = list(&client).await.unwrap();
            for next in ["two", "three"] {
                assert!(listed.message().await.unwrap().is_some(), "while it is open");
                items.send(Ok(Item { name: next.to_owned(), call: 0 })).unwrap();
            }
            assert_eq!(listed.message().await.unwrap().unwrap().name, "three");
            drop(items);
            assert_eq!(listed.message().await.unwrap(), None);
            let trailers = listed.trailers().await.unwrap().unwrap();
            assert_eq!(text(trailers.as_ref(), "x-call"), shop.calls().to_string());
            assert_eq!(shop.calls() - before, round);
        }
        assert_eq!(gateway.status().await["entries"], 0);
    }
}

#[tokio::test]
async fn a_client_that_streams_is_heard_at_once() {
    let (shop, mut hears) = Shop::with(0);
    let gateway = before(&shop, &KEPT).await;
    let mut client = connect(gateway.addr).await;
    let (sender, queries) = mpsc::unbounded_channel();
    let request = tonic::Request::new(UnboundedReceiverStream::new(queries));
    let answer = tokio::spawn(async move {
        client.client_streaming(request, UPLOAD.parse().unwrap(), codec()).await
    });
    for name in ["one", "two", "three"] {
        sender.send(query(name).into_inner()).unwrap();
        assert_eq!(hears.recv().await.unwrap(), name, "while it is open");
    }
    drop(sender);
    assert_eq!(answer.await.unwrap().unwrap().into_inner().name, "one two three");
}

#[tokio::test]
async fn both_may_talk_by_turns() {
    let gateway = before(&Shop::open(), &KEPT).await;
    let mut client = connect(gateway.addr).await;
    let (sender, queries) = mpsc::unbounded_channel();
    let request = tonic::Request::new(UnboundedReceiverStream::new(queries));
    sender.send(query("one").into_inner()).unwrap();
    let talk = client.streaming(request, TALK.parse().unwrap(), codec()).await;
    let mut answers = talk.unwrap().into_inner();
    for next in ["two", "three"] {
        assert!(answers.message().await.unwrap().is_some(), "while it is open");
        sender.send(query(next).into_inner()).unwrap();
    }
    assert_eq!(answers.message().await.unwrap().unwrap().name, "three");
    drop(sender);
    assert_eq!(answers.message().await.unwrap(), None);
}

// ===== refusals =====

#[tokio::test]
async fn a_call_or_a_stream_that_holds_the_only_place_has_others_refused_but_for_hits() {
    let (shop, _) = Shop::with(1);
    let gateway = before(&shop, &[&KEPT[..], &["--limit", "1"]].concat()).await;
    let client = connect(gateway.addr).await;
    find(&client, "hat").await;
    landed(&gateway).await;
    let held = tokio::spawn({
        let client = client.clone();
        async move { find(&client, "shoe").await.0 }
    });
    let taken = |status: &serde_json::Value| status["limit"]["in_flight"] == 1;
    let given_back = |status: &serde_json::Value| status["limit"]["in_flight"] == 0;
    gateway.until(taken).await;
    assert_refused(call(&client, FIND, "boot").await, Code::Unavailable, "shed");
    assert_refused(call(&client, SAVE, "boot").await, Code::Unavailable, "shed");
    assert_eq!(find(&client, "hat").await.1, HIT);
    shop.open.add_permits(1);
    assert_eq!(held.await.unwrap(), 2);
    gateway.until(given_back).await;

    let items = shop.lists();
    items.send(Ok(Item::default())).unwrap();
    let mut listed = list(&client).await.unwrap();
    assert!(listed.message().await.unwrap().is_some());
    assert_refused(call(&client, SAVE, "boot").await, Code::Unavailable, "shed");
    assert!(taken(&gateway.status().await));
    drop(listed);
    gateway.until(given_back).await;
    shop.open.add_permits(1);
    assert_eq!(call(&client, SAVE, "boot").await.unwrap().0.call, 4);
    assert_eq!(gateway.status().await["shed"], 3);
}

#[tokio::test]
async fn a_client_beyond_its_quota_has_exhausted_it() {
    let shop = Shop::open();
    let gateway = before(&shop, &[&KEPT[..], &["--quota", "1/s"]].concat()).await;
    let client = connect(gateway.addr).await;
    let began = Instant::now();
    let asking: JoinSet<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            async move { call(&client, FIND, "shoe").await }
        })
        .collect();
    let (answered, refused): (Vec<_>, Vec<_>) =
        asking.join_all().await.into_iter().partition(Result::is_ok);
    assert!((1..=1 + began.elapsed().as_secs() as usize).contains(&answered.len()));
    assert!(!refused.is_empty());
    for answer in refused {
        assert_refused(answer, Code::ResourceExhausted, "over-quota");
    }
    println!("{} of 20 answered in {:?}", answered.len(), began.elapsed());
}

#[tokio::test]
async fn twenty_calls_that_are_unavailable_in_a_head_or_in_trailers_open_the_breaker() {
    for in_trailers in [false, true] {
        let shop = Shop::open();
        shop.fails(Code::Unavailable);
        let gateway = before(&shop, &[&KEPT[..], &["--breaker", "100%"]].concat()).await;
        let client = connect(gateway.addr).await;
        for made in 1..=20 {
            assert_eq!(gateway.status().await["breaker"]["state"], "closed", "{made}");
            let error = if in_trailers {
                let items = shop.lists();
                items.send(Ok(Item::default())).unwrap();
                let mut listed = list(&client).await.unwrap();
                assert!(listed.message().await.unwrap().is_some());
                items.send(Err(Status::unavailable("sold out"))).unwrap();
                listed.message().await.unwrap_err()
            } else {
                call(&client, SAVE, "shoe").await.unwrap_err()
            };
            assert_eq!((error.code(), shop.calls()), (Code::Unavailable, made));
        }
        let status = gateway.status().await;
        assert_eq!(status["breaker"]["state"], "open", "{in_trailers}: {status}");
        assert_refused(list(&client).await, Code::Unavailable, "circuit-open");
        assert_refused(call(&client, FIND, "shoe").await, Code::Unavailable, "circuit-open");
        let status = gateway.status().await;
        assert_eq!(
            (&status["breaker"]["refused"], &status["origin_calls"]),
            (&2.into(), &20.into())
        );
        assert_eq!(shop.calls(), 20);
    }
}

#[tokio::test]
async fn what_is_not_found_never_opens_the_breaker() {
    let shop = Shop::open();
    shop.fails(Code::NotFound);
    let gateway = before(&shop, &KEPT).await;
    let client = connect(gateway.addr).await;
    for made in 1..=30 {
        let error = call(&client, SAVE, "shoe").await.unwrap_err();
        assert_eq!((error.code(), shop.calls()), (Code::NotFound, made));
    }
    let status = gateway.status().await;
    assert_eq!(
        (&status["breaker"]["state"], &status["breaker"]["calls"]),
        (&"closed".into(), &30.into())
    );
}

// ===== others =====

#[tokio::test]
async fn pages_are_kept_and_sent_on_beside_it_as_ever() {
    let shop = Shop::open();
    let gateway = before(&shop, &KEPT).await;
    let client = connect(gateway.addr).await;
    find(&client, "shoe").await;
    let fetched = gateway.get("/page").await;
    assert!(status(&fetched) == 200 && fetched.ends_with("page 2"), "{fetched}");
    for _ in 0..2 {
        let hit = gateway.get("/page").await;
        assert!(hit.ends_with("page 2") && field(&hit, "cache-status") == HIT, "{hit}");
    }
    let post =
        b"POST /page HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\nsend";
    assert!(talk(gateway.addr, post).await.ends_with("\r\n\r\nsend"));
    // What was sent there has changed it.
    let changed = gateway.get("/page").await;
    assert!(changed.ends_with("page 3"), "{changed}");
    assert_eq!(find(&client, "shoe").await, (1, HIT.to_owned()));
}

#[tokio::test]
async fn a_foreign_client_gets_answers_from_storage_and_refusals_by_their_codes() {
    let shop = Shop::open();
    let gateway = before(&shop, &[&KEPT[..], &["--limit", "1"]].concat()).await;
    let foreign = async |path| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/grpc/foreign.py");
        let mut command = tokio::process::Command::new("/usr/bin/python3");
        // A query for a shoe, once.
        command.args([script, &gateway.addr.to_string(), path, "0a0473686f65", "1"]);
        let output = command.kill_on_drop(true).output().await.unwrap();
        assert!(output.status.success(), "{output:?}: needs python3-grpcio, see tests/run");
        landed(&gateway).await;
        String::from_utf8(output.stdout).unwrap()
    };
    let stored = "OK|0a0473686f651001|seawall; fwd=uri-miss; fwd-status=200; stored|1\n";
    assert_eq!(foreign(FIND).await, stored);
    assert_eq!(foreign(FIND).await, "OK|0a0473686f651001|seawall; hit|1\n");
    shop.fails(Code::NotFound);
    let missing = foreign(SAVE).await;
    assert!(missing.starts_with("NOT_FOUND|as it was told|"), "{missing}");

    let items = shop.lists();
    items.send(Ok(Item::default())).unwrap();
    let _listed = list(&connect(gateway.addr).await).await.unwrap();
    let shed = foreign(SAVE).await;
    assert!(shed.starts_with("UNAVAILABLE|unavailable|"), "{shed}");
    assert_eq!(foreign(FIND).await, "OK|0a0473686f651001|seawall; hit|1\n");
}
