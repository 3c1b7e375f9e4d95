//! A shop that is asked over gRPC: a real server and real clients, and messages without a compiler.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response, uri::PathAndQuery};
use http_body_util::BodyExt;
use seawall::{Cache, CacheLayer, GrpcKey, RespondLayer, cache::Message};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::{Stream, StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{
    Code, Status,
    body::Body,
    client,
    server::{Grpc, NamedService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::support::{Calls, sockets::eventually};

pub(crate) const FIND: &str = "/shop.Catalogue/Find";
/// Answers with an item, and then with an error.
pub(crate) const HALF: &str = "/shop.Catalogue/Half";
/// Like `Find`, but no key names it.
pub(crate) const SAVE: &str = "/shop.Catalogue/Save";
pub(crate) const LIST: &str = "/shop.Catalogue/List";
pub(crate) const UPLOAD: &str = "/shop.Catalogue/Upload";
pub(crate) const TALK: &str = "/shop.Catalogue/Talk";

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Query {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Item {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// Which call it is the answer to, from 1.
    #[prost(uint32, tag = "2")]
    pub(crate) call: u32,
}

pub(crate) type Items = Pin<Box<dyn Stream<Item = Result<Item, Status>> + Send>>;

#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) calls: Calls,
    /// What it answers every call with, if not with an item.
    pub(crate) fails: Arc<Mutex<Option<Code>>>,
    /// A call that is answered takes one of these.
    pub(crate) open: Arc<Semaphore>,
    /// The metadata of its last call.
    pub(crate) asked: Arc<Mutex<HeaderMap>>,
    /// The names that it was asked for, as they arrive.
    pub(crate) heard: mpsc::UnboundedSender<String>,
    /// What it lists next.
    pub(crate) list: Arc<Mutex<Option<Items>>>,
}

impl Shop {
    /// One that answers at once, and what it hears.
    pub(crate) fn open() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (heard, hears) = mpsc::unbounded_channel();
        let open = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let shop = Self {
            calls: Calls::default(),
            fails: Arc::default(),
            open,
            asked: Arc::default(),
            heard,
            list: Arc::default(),
        };
        (shop, hears)
    }

    /// One that does not answer before it is opened.
    pub(crate) fn closed() -> Self {
        Self { open: Arc::new(Semaphore::new(0)), ..Self::open().0 }
    }

    pub(crate) fn fails(&self, code: impl Into<Option<Code>>) {
        *self.fails.lock().unwrap() = code.into();
    }

    /// Lists what is sent.
    pub(crate) fn lists(&self) -> mpsc::UnboundedSender<Result<Item, Status>> {
        let (items, listed) = mpsc::unbounded_channel();
        *self.list.lock().unwrap() = Some(Box::pin(UnboundedReceiverStream::new(listed)));
        items
    }

    async fn find(self, query: tonic::Request<Query>) -> Result<tonic::Response<Item>, Status> {
        let call = self.calls.add() as u32 + 1;
        let name = query.into_inner().name;
        let _ = self.heard.send(name.clone());
        self.open.acquire().await.unwrap().forget();
        match *self.fails.lock().unwrap() {
            Some(code) => Err(Status::new(code, "as it was told")),
            None => Ok(tonic::Response::new(Item { name, call })),
        }
    }

    async fn half(self, query: tonic::Request<Query>) -> Result<tonic::Response<Items>, Status> {
        let (item, listed) = mpsc::unbounded_channel();
        item.send(Ok(self.find(query).await?.into_inner())).unwrap();
        item.send(Err(Status::data_loss("the other half"))).unwrap();
        Ok(tonic::Response::new(Box::pin(UnboundedReceiverStream::new(listed))))
    }

    async fn list(self) -> Result<tonic::Response<Items>, Status> {
        self.calls.add();
        Ok(tonic::Response::new(self.list.lock().unwrap().take().unwrap()))
    }

    async fn upload(
        self,
        queries: tonic::Request<tonic::Streaming<Query>>,
    ) -> Result<tonic::Response<Item>, Status> {
        let call = self.calls.add() as u32 + 1;
        let (mut queries, mut names) = (queries.into_inner(), Vec::new());
        while let Some(query) = queries.message().await? {
            let _ = self.heard.send(query.name.clone());
            names.push(query.name);
        }
        Ok(tonic::Response::new(Item { name: names.join(" "), call }))
    }

    async fn talk(
        self,
        queries: tonic::Request<tonic::Streaming<Query>>,
    ) -> Result<tonic::Response<Items>, Status> {
        let call = self.calls.add() as u32 + 1;
        let answer = move |query: Result<Query, Status>| query.map(|q| Item { name: q.name, call });
        Ok(tonic::Response::new(Box::pin(queries.into_inner().map(answer))))
    }
}

impl NamedService for Shop {
    const NAME: &'static str = "shop.Catalogue";
}

impl Service<Request<Body>> for Shop {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shop = self.clone();
        Box::pin(async move {
            *shop.asked.lock().unwrap() = request.headers().clone();
            let calls = shop.calls.clone();
            let mut grpc = Grpc::new(ProstCodec::<Item, Query>::default());
            let path = request.uri().path().to_owned();
            let response = match &*path {
                FIND | SAVE => {
                    grpc.unary(service_fn(move |query| shop.clone().find(query)), request).await
                }
                HALF => {
                    let half = service_fn(move |query| shop.clone().half(query));
                    grpc.server_streaming(half, request).await
                }
                LIST => {
                    let list = service_fn(move |_: tonic::Request<Query>| shop.clone().list());
                    grpc.server_streaming(list, request).await
                }
                UPLOAD => {
                    let upload = service_fn(move |queries| shop.clone().upload(queries));
                    grpc.client_streaming(upload, request).await
                }
                TALK => {
                    let talk = service_fn(move |queries| shop.clone().talk(queries));
                    grpc.streaming(talk, request).await
                }
                path => panic!("{path}"),
            };
            // A trailer of its own, which tonic has no other way to send.
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        trailers.insert("x-call", calls.count().into());
                    }
                    frame
                }))
            }))
        })
    }
}

pub(crate) type Key = GrpcKey<fn(Message<Body>) -> Body>;

/// Names `Find` and `Half`, for a minute.
pub(crate) fn key() -> Key {
    let key: Key = GrpcKey::new(Body::new);
    key.method(FIND, MINUTE).method(HALF, MINUTE)
}

/// Serves the shop behind a layer, in a tonic server.
pub(crate) async fn serve_behind(layer: CacheLayer<Key>, shop: &Shop) -> SocketAddr {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = incoming.local_addr().unwrap();
    let server = Server::builder().layer(RespondLayer::new()).layer(layer);
    tokio::spawn(server.clone().add_service(shop.clone()).serve_with_incoming(incoming));
    addr
}

/// The same with [`key`], and a client of it.
pub(crate) async fn cached(cache: &Cache, shop: &Shop) -> Client {
    connect(serve_behind(CacheLayer::new(cache.clone()).key(key()), shop).await).await
}

/// Serves the shop without anything in front of it.
pub(crate) async fn serve(shop: &Shop) -> SocketAddr {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(shop.clone()).serve_with_incoming(incoming));
    addr
}

/// Waits until what was fetched is stored: until then others may still have it from the flight.
pub(crate) async fn landed(cache: &Cache) {
    eventually("landed", || cache.figures().flights == 0).await;
}

pub(crate) type Client = client::Grpc<Channel>;

pub(crate) async fn connect(addr: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    client::Grpc::new(endpoint.connect().await.unwrap())
}

pub(crate) fn query(name: &str) -> Query {
    Query { name: name.to_owned() }
}

/// What came of a unary call.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) item: Item,
    /// Head and trailers together.
    pub(crate) metadata: HeaderMap,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.metadata.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.field("cache-status") == "seawall; hit"
    }
}

/// Calls a method with one message, and expects one.
pub(crate) async fn ask<T>(
    client: &client::Grpc<T>,
    path: &'static str,
    request: impl tonic::IntoRequest<Query>,
) -> Result<Answer, Status>
where
    T: client::GrpcService<Body> + Clone,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<seawall::BoxError>,
{
    let mut client = client.clone();
    if client.ready().await.is_err() {
        panic!("it is never ready");
    }
    let path = PathAndQuery::from_static(path);
    let codec = ProstCodec::<Query, Item>::default();
    let response = client.unary(request.into_request(), path, codec).await?;
    let (metadata, item, _) = response.into_parts();
    Ok(Answer { item, metadata: metadata.into_headers() })
}

pub(crate) async fn find(client: &Client, name: &str) -> Result<Answer, Status> {
    ask(client, FIND, query(name)).await
}
