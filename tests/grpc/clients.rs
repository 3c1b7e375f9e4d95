//! A tonic client behind a breaker or a limit: what a call is refused with, and how it finds back.

use std::{net::SocketAddr, time::Duration};

use seawall::{
    CircuitBreakerLayer, LoadShedLayer, Reason, Rejected, RespondLayer,
    admission::{Admission, ByGrpcStatus},
    circuit_breaker::{One, State},
};
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Code, Status, client,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tower::{Layer, ServiceBuilder};

use crate::{
    admission::{channel, item, list, refused},
    shop::{Answer, FIND, Shop, ask, query, serve},
    support::sockets::eventually,
};

/// A shop that can be shut.
struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Running {
    fn at(addr: SocketAddr, shop: &Shop) -> Self {
        let incoming = TcpIncoming::bind(addr).unwrap();
        let addr = incoming.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = Server::builder().add_service(shop.clone());
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.serve_with_incoming_shutdown(incoming, stopped).await.unwrap();
        });
        Self { addr, stop, serving }
    }

    /// Connections end, and none is accepted any more.
    async fn shut(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
    }
}

type Guarded = client::Grpc<Admission<Channel, One, ByGrpcStatus>>;

const LONG: Duration = Duration::from_secs(60);

fn guarded(layer: &CircuitBreakerLayer<One, ByGrpcStatus>, channel: Channel) -> Guarded {
    client::Grpc::new(layer.layer(channel))
}

fn by_grpc_status() -> CircuitBreakerLayer<One, ByGrpcStatus> {
    CircuitBreakerLayer::new().classify(ByGrpcStatus::new())
}

async fn shoe(client: &Guarded) -> Result<Answer, Status> {
    ask(client, FIND, query("shoe")).await
}

/// The refusal that an error comes from.
fn rejected(error: &Status) -> &Rejected {
    Rejected::find(error).unwrap_or_else(|| panic!("{error:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_unavailable_answers_open_a_clients_breaker_which_says_so_in_the_source() {
    let (shop, _) = Shop::open();
    let layer = by_grpc_status().open_for(LONG, LONG);
    let client = guarded(&layer, channel(serve(&shop).await).await);
    shop.fails(Code::Unavailable);
    for call in 1..=20 {
        assert_eq!(layer.breaker().state(), State::Closed, "{call}");
        let error = shoe(&client).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::Unavailable, "as it was told"));
        assert!(Rejected::find(&error).is_none());
    }
    assert_eq!(layer.breaker().state(), State::Open);
    let error = shoe(&client).await.unwrap_err();
    assert_eq!(rejected(&error).reason(), Reason::CircuitOpen);
    assert!(rejected(&error).wait().unwrap() > LONG / 2);
    // The code of an error that tonic does not know: a layer above can name it.
    assert_eq!(error.code(), Code::Unknown);
    assert_eq!(shop.calls.count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_layer_that_responds_a_clients_refusals_have_grpcs_own_codes() {
    let (shop, circuit) = (Shop::closed(), CircuitBreakerLayer::new());
    let (breaker, shed) = (circuit.breaker(), LoadShedLayer::fixed(1));
    let gauge = shed.gauge();
    let layers = ServiceBuilder::new().layer(RespondLayer::new()).layer(shed).layer(circuit);
    let client = client::Grpc::new(layers.service(channel(serve(&shop).await).await));
    let held = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, FIND, query("shoe")).await }
    });
    eventually("in flight", || shop.calls.count() == 1).await;
    refused(ask(&client, FIND, query("boot")).await, Code::Unavailable);
    shop.open.add_permits(1);
    held.await.unwrap().unwrap();
    assert_eq!(gauge.in_flight(), 0);
    breaker.force_open();
    refused(ask(&client, FIND, query("boot")).await, Code::Unavailable);
    refused(list(&client).await, Code::Unavailable);
    assert_eq!(shop.calls.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_end_badly_open_a_clients_breaker() {
    let (shop, _) = Shop::open();
    let layer = by_grpc_status().open_for(LONG, LONG);
    let client = guarded(&layer, channel(serve(&shop).await).await);
    for call in 1..=20 {
        assert_eq!(layer.breaker().state(), State::Closed, "{call}");
        let items = shop.lists();
        items.send(Ok(item("one"))).unwrap();
        let mut listed = list(&client).await.unwrap();
        assert_eq!(listed.message().await.unwrap(), Some(item("one")), "while it is open");
        items.send(Err(Status::unavailable("sold out"))).unwrap();
        assert_eq!(listed.message().await.unwrap_err().message(), "sold out");
    }
    assert_eq!(layer.breaker().state(), State::Open);
    assert_eq!(rejected(&list(&client).await.unwrap_err()).reason(), Reason::CircuitOpen);
    assert_eq!(shop.calls.count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_found_never_opens_a_clients_breaker() {
    let (shop, _) = Shop::open();
    let layer = by_grpc_status();
    let client = guarded(&layer, channel(serve(&shop).await).await);
    shop.fails(Code::NotFound);
    for _ in 0..40 {
        assert_eq!(shoe(&client).await.unwrap_err().code(), Code::NotFound);
    }
    let counts = layer.breaker().counts();
    assert_eq!((layer.breaker().state(), counts.calls, counts.failures), (State::Closed, 40, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_opens_the_breaker_and_three_calls_close_it_when_it_is_back() {
    let (shop, _) = Shop::open();
    let running = Running::at("127.0.0.1:0".parse().unwrap(), &shop);
    let addr = running.addr;
    let time = Duration::from_millis(500);
    let layer = by_grpc_status().open_for(time, time);
    let breaker = layer.breaker();
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let client = guarded(&layer, endpoint.connect().await.unwrap());
    shoe(&client).await.unwrap();
    running.shut().await;
    // Of twenty calls one was answered.
    for _ in 0..19 {
        assert_eq!(breaker.state(), State::Closed);
        let error = shoe(&client).await.unwrap_err();
        assert!(Rejected::find(&error).is_none(), "{error:?}");
    }
    assert_eq!(breaker.state(), State::Open);
    assert_eq!((breaker.counts().calls, breaker.counts().failures), (20, 19));

    // A probe that finds nobody has it open again.
    eventually("half-open", || breaker.state() == State::HalfOpen).await;
    let error = shoe(&client).await.unwrap_err();
    assert!(Rejected::find(&error).is_none(), "{error:?}");
    assert_eq!(breaker.state(), State::Open);

    let running = Running::at(addr, &shop);
    eventually("half-open", || breaker.state() == State::HalfOpen).await;
    for _ in 0..3 {
        assert_eq!(breaker.state(), State::HalfOpen);
        shoe(&client).await.unwrap();
    }
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(shop.calls.count(), 4);
    running.shut().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_place_is_refused_and_gets_one_back_from_a_stream_that_it_drops() {
    let ((shop, _), shed) = (Shop::open(), LoadShedLayer::fixed(1));
    let gauge = shed.gauge();
    let client = client::Grpc::new(shed.layer(channel(serve(&shop).await).await));
    let items = shop.lists();
    items.send(Ok(item("one"))).unwrap();
    let mut listed = list(&client).await.unwrap();
    assert_eq!(listed.message().await.unwrap(), Some(item("one")));
    let error = ask(&client, FIND, query("shoe")).await.unwrap_err();
    assert_eq!(rejected(&error).reason(), Reason::Shed);
    assert_eq!((gauge.in_flight(), shop.calls.count()), (1, 1));
    drop(listed);
    assert_eq!(gauge.in_flight(), 0);
    ask(&client, FIND, query("shoe")).await.unwrap();
    assert_eq!(gauge.in_flight(), 0);
}
