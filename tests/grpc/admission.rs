//! A tonic server behind a limit, a quota or a breaker: what its clients are told, and who holds a place.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use prost::Message;
use seawall::{
    BoxError, CircuitBreakerLayer, LoadShedLayer, RespondLayer,
    admission::ByGrpcStatus,
    circuit_breaker::{CircuitBreaker, State},
    load_shed::Rate,
};
use tonic::{
    Code, Status, Streaming,
    body::Body,
    metadata::MetadataMap,
    service::Routes,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::{Layer, Service, ServiceExt};

use crate::{
    shop::{Client, FIND, Item, LIST, Query, SAVE, Shop, ask, connect, find, query},
    support::sockets::eventually,
};

/// Serves the shop behind layers, the outermost first.
pub(crate) async fn serve<L, B>(layers: L, shop: &Shop) -> SocketAddr
where
    L: Layer<Routes> + Clone + Send + 'static,
    L::Service: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError> + Send, Future: Send>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let incoming = incoming.with_nodelay(Some(true));
    let addr = incoming.local_addr().unwrap();
    let server = Server::builder().layer(layers).add_service(shop.clone());
    tokio::spawn(server.serve_with_incoming(incoming));
    addr
}

/// The list, to which a test still adds.
pub(crate) async fn list<T>(client: &tonic::client::Grpc<T>) -> Result<Streaming<Item>, Status>
where
    T: tonic::client::GrpcService<Body> + Clone,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    let mut client = client.clone();
    if client.ready().await.is_err() {
        panic!("it is never ready");
    }
    let codec = ProstCodec::<Query, Item>::default();
    let request = tonic::Request::new(query("all"));
    let streamed = client.server_streaming(request, LIST.parse().unwrap(), codec).await;
    streamed.map(tonic::Response::into_inner)
}

pub(crate) fn item(name: &str) -> Item {
    Item { name: name.to_owned(), call: 1 }
}

/// For how many milliseconds a refusal asks to be left alone.
pub(crate) fn pushback(fields: &HeaderMap) -> u64 {
    let wait = fields.get("grpc-retry-pushback-ms").unwrap_or_else(|| panic!("{fields:?}"));
    wait.to_str().unwrap().parse().unwrap()
}

/// The same of an error with this code.
pub(crate) fn refused<A: std::fmt::Debug>(answer: Result<A, Status>, code: Code) -> u64 {
    let error = answer.unwrap_err();
    assert_eq!(error.code(), code, "{error:?}");
    let wait = pushback(error.metadata().as_ref());
    assert!(wait >= 1, "{error:?}");
    wait
}

pub(crate) async fn channel(addr: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap()
}

/// A call with one message, and its answer as HTTP has it.
async fn raw(channel: &Channel, path: &str) -> Response<Body> {
    let message = query("shoe").encode_to_vec();
    let bytes = [&[0, 0, 0, 0, message.len() as u8], &*message].concat();
    let request = Request::post(format!("http://shop{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = request.body(Body::new(Full::<Bytes>::from(bytes))).unwrap();
    channel.clone().oneshot(request).await.unwrap()
}

// ===== refusals =====

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_there_is_no_place_for_is_refused_and_told_when_to_come_back() {
    let (shop, shed) = (Shop::closed(), LoadShedLayer::fixed(1));
    let gauge = shed.gauge();
    let addr = serve((RespondLayer::new(), shed), &shop).await;
    let client = connect(addr).await;
    let held = tokio::spawn({
        let client = client.clone();
        async move { find(&client, "shoe").await }
    });
    eventually("in flight", || shop.calls.count() == 1).await;
    for _ in 0..3 {
        refused(find(&client, "boot").await, Code::Unavailable);
        refused(list(&client).await, Code::Unavailable);
    }
    assert_eq!((shop.calls.count(), gauge.in_flight()), (1, 1));
    shop.open.add_permits(2);
    assert_eq!(held.await.unwrap().unwrap().item.call, 1);
    eventually("given back", || gauge.in_flight() == 0).await;
    assert_eq!(find(&client, "boot").await.unwrap().item.call, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_a_head_with_a_status_and_nothing_else() {
    let ((shop, _), shed) = (Shop::open(), LoadShedLayer::fixed(1));
    let circuit = CircuitBreakerLayer::new();
    let rate = Rate::per_minute(1);
    let quota = LoadShedLayer::default().quota(rate, |_: &Request<Body>| Some(()));
    let items = shop.lists();
    items.send(Ok(item("one"))).unwrap();
    let shedding = serve((RespondLayer::new(), shed), &shop).await;
    let _place = list(&connect(shedding).await).await.unwrap();
    circuit.breaker().force_open();
    let open = serve((RespondLayer::new(), circuit), &shop).await;
    let charging = serve((RespondLayer::new(), quota), &shop).await;
    ask(&connect(charging).await, SAVE, query("shoe")).await.unwrap();
    for (addr, code) in [(shedding, "14"), (open, "14"), (charging, "8")] {
        let answer = raw(&channel(addr).await, FIND).await;
        let fields = answer.headers().clone();
        assert_eq!(
            (answer.status().as_u16(), &fields["grpc-status"]),
            (200, &code.parse().unwrap())
        );
        assert_eq!(fields["content-type"], "application/grpc");
        assert!(!fields.contains_key("retry-after"), "{fields:?}");
        let rest = answer.into_body().collect().await.unwrap();
        assert!(rest.trailers().is_none());
        assert!(rest.to_bytes().is_empty());
    }
    assert_eq!(shop.calls.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_beyond_its_quota_has_exhausted_it_and_others_have_theirs() {
    let (shop, _) = Shop::open();
    let by_tenant = |request: &Request<Body>| request.headers().get("x-tenant").cloned();
    let shed = LoadShedLayer::default().quota(Rate::per_minute(2).burst(2), by_tenant);
    let client = connect(serve((RespondLayer::new(), shed), &shop).await).await;
    let of = |tenant: &'static str| {
        let mut request = tonic::Request::new(query("shoe"));
        request.metadata_mut().insert("x-tenant", tenant.parse().unwrap());
        request
    };
    for call in 1..=2 {
        assert_eq!(ask(&client, FIND, of("some")).await.unwrap().item.call, call);
    }
    let wait = refused(ask(&client, FIND, of("some")).await, Code::ResourceExhausted);
    assert!(wait <= 30_000, "{wait}");
    refused(ask(&client, SAVE, of("some")).await, Code::ResourceExhausted);
    assert_eq!(ask(&client, FIND, of("other")).await.unwrap().item.call, 3);
    assert_eq!(find(&client, "shoe").await.unwrap().item.call, 4, "it is nobody's");
}

// ===== the breaker =====

const LONG: Duration = Duration::from_secs(60);

/// The shop behind each of two breakers, by the two ways to read an answer.
async fn circuits(shop: &Shop) -> [(Client, CircuitBreaker); 2] {
    let layer = CircuitBreakerLayer::new().open_for(LONG, LONG);
    let by_grpc_status = layer.clone().open_for(LONG, LONG).classify(ByGrpcStatus::new());
    let (one, other) = (layer.breaker(), by_grpc_status.breaker());
    let respond = RespondLayer::new();
    let addrs =
        (serve((respond.clone(), layer), shop).await, serve((respond, by_grpc_status), shop).await);
    [(connect(addrs.0).await, one), (connect(addrs.1).await, other)]
}

/// A list that begins well, and how it ends.
async fn cut_short(client: &Client, shop: &Shop, status: Status) -> Status {
    let items = shop.lists();
    items.send(Ok(item("one"))).unwrap();
    let mut listed = list(client).await.unwrap();
    assert_eq!(listed.message().await.unwrap(), Some(item("one")));
    items.send(Err(status)).unwrap();
    listed.message().await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_answers_that_are_an_error_alone_open_a_breaker() {
    for code in [Code::Unavailable, Code::Internal, Code::DataLoss, Code::DeadlineExceeded] {
        let (shop, _) = Shop::open();
        for (client, breaker) in circuits(&shop).await {
            let before = shop.calls.count();
            shop.fails(code);
            for _ in 0..19 {
                assert_eq!(find(&client, "shoe").await.unwrap_err().code(), code);
            }
            assert_eq!((breaker.state(), breaker.counts().failures), (State::Closed, 19));
            find(&client, "shoe").await.unwrap_err();
            assert_eq!(breaker.state(), State::Open, "{code:?}");
            refused(find(&client, "shoe").await, Code::Unavailable);
            refused(list(&client).await, Code::Unavailable);
            assert_eq!(shop.calls.count() - before, 20, "{code:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_streams_that_end_badly_after_their_messages_open_a_breaker() {
    let (shop, _) = Shop::open();
    for (client, breaker) in circuits(&shop).await {
        let before = shop.calls.count();
        for _ in 0..20 {
            assert_eq!(breaker.state(), State::Closed);
            let error = cut_short(&client, &shop, Status::unavailable("sold out")).await;
            assert_eq!((error.code(), error.message()), (Code::Unavailable, "sold out"));
        }
        assert_eq!((breaker.state(), breaker.counts().failures), (State::Open, 20));
        let wait = refused(list(&client).await, Code::Unavailable);
        assert!((30_000..=72_000).contains(&wait), "{wait}");
        assert_eq!(shop.calls.count() - before, 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_stays_open_for_as_long_as_the_trailers_ask_for() {
    let (shop, _) = Shop::open();
    let layer = CircuitBreakerLayer::new();
    let client = connect(serve((RespondLayer::new(), layer), &shop).await).await;
    for _ in 0..20 {
        let mut asks = MetadataMap::new();
        asks.insert("grpc-retry-pushback-ms", "20000".parse().unwrap());
        let status = Status::with_metadata(Code::Unavailable, "sold out", asks);
        assert_eq!(cut_short(&client, &shop, status).await.code(), Code::Unavailable);
    }
    // By itself it would be open for a second, a fifth more or less.
    let wait = refused(list(&client).await, Code::Unavailable);
    assert!((2_000..=24_000).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_are_the_callers_never_open_a_breaker() {
    let (shop, _) = Shop::open();
    for (client, breaker) in circuits(&shop).await {
        for code in [Code::NotFound, Code::InvalidArgument, Code::PermissionDenied] {
            shop.fails(code);
            for _ in 0..20 {
                assert_eq!(find(&client, "shoe").await.unwrap_err().code(), code);
                let error = cut_short(&client, &shop, Status::new(code, "as it was told")).await;
                assert_eq!(error.code(), code);
            }
        }
        let counts = breaker.counts();
        assert_eq!((breaker.state(), counts.calls, counts.failures), (State::Closed, 120, 0));
    }
}

// ===== places =====

#[tokio::test(flavor = "multi_thread")]
async fn a_call_holds_its_place_from_its_head_over_its_message_to_its_trailers() {
    let ((shop, _), shed) = (Shop::open(), LoadShedLayer::fixed(1));
    let gauge = shed.gauge();
    let addr = serve((RespondLayer::new(), shed), &shop).await;
    let (client, channel) = (connect(addr).await, channel(addr).await);
    let items = shop.lists();
    let answer = raw(&channel, LIST).await;
    assert_eq!(gauge.in_flight(), 1, "at its head");
    items.send(Ok(item("one"))).unwrap();
    let mut body = answer.into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert_eq!(gauge.in_flight(), 1, "at its message");
    refused(find(&client, "shoe").await, Code::Unavailable);
    drop(items);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    // What the client has read, the server has given away.
    assert_eq!(gauge.in_flight(), 0);
    find(&client, "shoe").await.unwrap();
    assert_eq!(gauge.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_holds_its_place_until_it_ends_or_its_client_leaves() {
    let ((shop, _), shed) = (Shop::open(), LoadShedLayer::fixed(1));
    let gauge = shed.gauge();
    let client = connect(serve((RespondLayer::new(), shed), &shop).await).await;
    for leaves in [false, true] {
        let items = shop.lists();
        items.send(Ok(item("one"))).unwrap();
        let mut listed = list(&client).await.unwrap();
        for next in ["two", "three"] {
            assert!(listed.message().await.unwrap().is_some());
            refused(find(&client, "shoe").await, Code::Unavailable);
            assert_eq!(gauge.in_flight(), 1);
            items.send(Ok(item(next))).unwrap();
        }
        assert_eq!(listed.message().await.unwrap(), Some(item("three")));
        if leaves {
            drop(listed);
            eventually("given back", || gauge.in_flight() == 0).await;
            assert!(items.is_closed());
        } else {
            drop(items);
            assert_eq!(listed.message().await.unwrap(), None);
            assert_eq!(gauge.in_flight(), 0);
        }
        find(&client, "shoe").await.unwrap();
    }
}
