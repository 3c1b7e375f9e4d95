//! A shop that is asked over gRPC, with a page for browsers: a tonic server for a gateway to stand before.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::{Stream, StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{
    Code, Status, Streaming,
    body::Body,
    client,
    metadata::MetadataMap,
    server::{Grpc, NamedService},
    service::Routes,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

pub(crate) const FIND: &str = "/shop.Catalogue/Find";
pub(crate) const SAVE: &str = "/shop.Catalogue/Save";
pub(crate) const LIST: &str = "/shop.Catalogue/List";
pub(crate) const UPLOAD: &str = "/shop.Catalogue/Upload";
pub(crate) const TALK: &str = "/shop.Catalogue/Talk";

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

type Items = Pin<Box<dyn Stream<Item = Result<Item, Status>> + Send>>;

#[derive(Clone)]
pub(crate) struct Shop {
    calls: Arc<AtomicUsize>,
    /// What it answers a unary call with, if not with an item.
    fails: Arc<Mutex<Option<Code>>>,
    /// A unary call that is answered takes one of these.
    pub(crate) open: Arc<Semaphore>,
    /// What it was told in streams, as it arrives.
    heard: mpsc::UnboundedSender<String>,
    list: Arc<Mutex<Option<Items>>>,
}

impl Shop {
    /// One that answers so many unary calls, and what it hears of streams.
    pub(crate) fn with(answers: usize) -> (Self, mpsc::UnboundedReceiver<String>) {
        let (heard, hears) = mpsc::unbounded_channel();
        let (calls, fails, list) = Default::default();
        (Self { calls, fails, open: Arc::new(Semaphore::new(answers)), heard, list }, hears)
    }

    pub(crate) fn open() -> Self {
        Self::with(Semaphore::MAX_PERMITS).0
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    pub(crate) fn fails(&self, code: impl Into<Option<Code>>) {
        *self.fails.lock().unwrap() = code.into();
    }

    /// Lists next what is sent.
    pub(crate) fn lists(&self) -> mpsc::UnboundedSender<Result<Item, Status>> {
        let (items, listed) = mpsc::unbounded_channel();
        *self.list.lock().unwrap() = Some(Box::pin(UnboundedReceiverStream::new(listed)));
        items
    }

    /// Where it is served, its page included.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let incoming = incoming.with_nodelay(Some(true));
        let addr = incoming.local_addr().unwrap();
        let calls = Arc::clone(&self.calls);
        let page = move || {
            let call = calls.fetch_add(1, SeqCst) + 1;
            async move { ([("cache-control", "max-age=600")], format!("page {call}")) }
        };
        let pages = axum::routing::get(page).post(|text: String| async move { text });
        let routes = Routes::new(self.clone()).into_axum_router().route("/page", pages);
        let server = Server::builder().add_routes(Routes::from(routes));
        tokio::spawn(server.serve_with_incoming(incoming));
        addr
    }

    async fn find(
        self,
        call: u32,
        query: tonic::Request<Query>,
    ) -> Result<tonic::Response<Item>, Status> {
        self.open.acquire().await.unwrap().forget();
        match *self.fails.lock().unwrap() {
            Some(code) => Err(Status::new(code, "as it was told")),
            None => Ok(tonic::Response::new(Item { name: query.into_inner().name, call })),
        }
    }

    async fn upload(
        self,
        call: u32,
        queries: tonic::Request<Streaming<Query>>,
    ) -> Result<tonic::Response<Item>, Status> {
        let (mut queries, mut names) = (queries.into_inner(), Vec::new());
        while let Some(query) = queries.message().await? {
            let _ = self.heard.send(query.name.clone());
            names.push(query.name);
        }
        Ok(tonic::Response::new(Item { name: names.join(" "), call }))
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
            let call = shop.calls.fetch_add(1, SeqCst) as u32 + 1;
            let mut grpc = Grpc::new(ProstCodec::<Item, Query>::default());
            let path = request.uri().path().to_owned();
            let response = match &*path {
                FIND | SAVE => {
                    let find = service_fn(move |query| shop.clone().find(call, query));
                    grpc.unary(find, request).await
                }
                LIST => {
                    let list = service_fn(move |_: tonic::Request<Query>| {
                        let items: Items = shop.list.lock().unwrap().take().unwrap();
                        async { Ok(tonic::Response::new(items)) }
                    });
                    grpc.server_streaming(list, request).await
                }
                UPLOAD => {
                    let upload = service_fn(move |queries| shop.clone().upload(call, queries));
                    grpc.client_streaming(upload, request).await
                }
                TALK => {
                    let talk = service_fn(move |queries: tonic::Request<Streaming<Query>>| {
                        let item = move |query: Query| Item { name: query.name, call };
                        let items = queries.into_inner().map(move |query| query.map(item));
                        let items: Items = Box::pin(items);
                        async { Ok(tonic::Response::new(items)) }
                    });
                    grpc.streaming(talk, request).await
                }
                path => panic!("{path}"),
            };
            // A trailer of its own, which tonic has no other way to send.
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        trailers.insert("x-call", call.into());
                    }
                    frame
                }))
            }))
        })
    }
}

// ===== its clients =====

pub(crate) type Client = client::Grpc<Channel>;

pub(crate) async fn connect(addr: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let mut client = client::Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

pub(crate) fn codec() -> ProstCodec<Query, Item> {
    ProstCodec::default()
}

pub(crate) fn query(name: &str) -> tonic::Request<Query> {
    tonic::Request::new(Query { name: name.to_owned() })
}

/// A unary call: what came of it, and its metadata, trailers included.
pub(crate) async fn call(
    client: &Client,
    path: &'static str,
    name: &str,
) -> Result<(Item, MetadataMap), Status> {
    let mut client = client.clone();
    client.ready().await.unwrap();
    let answer = client.unary(query(name), path.parse().unwrap(), codec()).await?;
    let (metadata, item, _) = answer.into_parts();
    Ok((item, metadata))
}

/// The list, to which a test still adds.
pub(crate) async fn list(client: &Client) -> Result<Streaming<Item>, Status> {
    let mut client = client.clone();
    client.ready().await.unwrap();
    let listed = client.server_streaming(query("all"), LIST.parse().unwrap(), codec()).await;
    listed.map(tonic::Response::into_inner)
}
