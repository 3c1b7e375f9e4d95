//! A gRPC service behind the whole stack, and a client with a breaker: `cargo run --example grpc`.
//!
//! Starts a tonic server whose one method takes 200 ms, calls it through layers on both sides, and shows
//! what became of each call: fetched, shared, answered from memory, refused.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, uri::PathAndQuery};
use seawall::{
    BoxError, Cache, CacheLayer, CircuitBreakerLayer, GrpcKey, OriginShield, RespondLayer,
    admission::ByGrpcStatus, cache::Message, store::Memory,
};
use tokio::{task::JoinSet, time::Instant};
use tonic::{
    Status,
    body::Body,
    client,
    server::{Grpc, NamedService},
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::{Layer, Service, service_fn};

const FIND: &str = "/shop.Catalogue/Find";

/// What `protoc` would make of `message Query { string name = 1; }`.
#[derive(Clone, PartialEq, prost::Message)]
struct Query {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Item {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    price: u32,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // The server: named methods are answered like a GET, everything else passes through the same layers.
    let rebuild: fn(Message<Body>) -> Body = Body::new;
    let key = GrpcKey::new(rebuild).method(FIND, Duration::from_secs(60));
    let cache = Cache::new(Memory::bytes(16 << 20));
    let shield = OriginShield::new(cache.clone()).cache(CacheLayer::new(cache).key(key));
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let addr = incoming.local_addr()?;
    let server = Server::builder().layer(shield).add_service(Catalogue);
    tokio::spawn(server.serve_with_incoming(incoming));

    // The client: a server that fails is left alone for a while.
    let breaker = CircuitBreakerLayer::new().classify(ByGrpcStatus::new());
    let channel = Endpoint::from_shared(format!("http://{addr}"))?.connect().await?;
    let client = client::Grpc::new(RespondLayer::new().layer(breaker.layer(channel)));

    show("fetched", &client, "shoe").await;
    let (mut herd, asked) = (JoinSet::new(), Instant::now());
    for _ in 0..100 {
        let client = client.clone();
        herd.spawn(async move { ask(&client, "hat").await.is_ok() });
    }
    let good = herd.join_all().await.into_iter().filter(|good| *good).count();
    println!("{:<12} {:>4} ms  {good} of 100 at once", "shared", asked.elapsed().as_millis());
    show("from memory", &client, "shoe").await;

    CLOSED.store(true, Relaxed);
    for number in 0..200 {
        let _ = ask(&client, &format!("sock {number}")).await;
    }
    show("refused", &client, "glove").await;
    println!("the client's breaker: {:?}", breaker.breaker());
    Ok(())
}

async fn show<S>(what: &str, client: &client::Grpc<S>, name: &str)
where
    S: client::GrpcService<Body> + Clone,
    S::ResponseBody: http_body::Body + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    let asked = Instant::now();
    let said = match ask(client, name).await {
        Ok(answer) => {
            let said = answer.metadata().get("cache-status").and_then(|said| said.to_str().ok());
            format!("{:?}  Cache-Status: {}", answer.get_ref(), said.unwrap_or("-"))
        }
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    };
    println!("{what:<12} {:>4} ms  {said}", asked.elapsed().as_millis());
}

/// What generated code does to call a unary method.
async fn ask<S>(client: &client::Grpc<S>, name: &str) -> Result<tonic::Response<Item>, Status>
where
    S: client::GrpcService<Body> + Clone,
    S::ResponseBody: http_body::Body + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    let mut client = client.clone();
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let query = tonic::Request::new(Query { name: name.to_owned() });
    let codec = ProstCodec::<Query, Item>::default();
    client.unary(query, PathAndQuery::from_static(FIND), codec).await
}

/// The shop has closed.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// What generated code makes of a service with one method.
#[derive(Clone)]
struct Catalogue;

impl NamedService for Catalogue {
    const NAME: &'static str = "shop.Catalogue";
}

impl Service<Request<Body>> for Catalogue {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async {
            let mut grpc = Grpc::new(ProstCodec::<Item, Query>::default());
            Ok(grpc.unary(service_fn(find), request).await)
        })
    }
}

async fn find(query: tonic::Request<Query>) -> Result<tonic::Response<Item>, Status> {
    if CLOSED.load(Relaxed) {
        return Err(Status::unavailable("the shop has closed"));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let name = query.into_inner().name;
    let price = name.len() as u32 * 10;
    Ok(tonic::Response::new(Item { name, price }))
}
