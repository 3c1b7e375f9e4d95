//! Real sockets on free ports of loopback: hyper servers and the calls that go through them,
//! origins that play exact bytes, and a client that sees how an answer was framed.

use std::{net::SocketAddr, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header::HOST};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use seawall::{BoxError, Cache, CacheLayer, Policy, Profile, RespondLayer};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceBuilder};

pub mod client;
pub mod frames;
pub mod origin;

/// Long enough for anything that is to happen at all.
pub const LONG: Duration = Duration::from_secs(30);

/// Serves HTTP/1.1 and h2c on a free port.
pub async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new());
                // How a connection ends is what the tests are about, and they look at its other end.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    addr
}

/// Serves `origin` behind a cache layer.
pub async fn serve_cached<S, B>(cache: &Cache, policy: impl Policy, origin: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let layers = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(CacheLayer::new(cache.clone()).policy(policy));
    serve(layers.service(origin)).await
}

/// Serves the origin at `addr` behind a cache layer with the safe profile.
pub async fn serve_before(cache: &Cache, addr: SocketAddr) -> SocketAddr {
    serve_cached(cache, Profile::safe(), Upstream::http1(addr)).await
}

/// An origin somewhere else, with a connection of its own for every call.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    addr: SocketAddr,
    http2: bool,
}

impl Upstream {
    pub fn http1(addr: SocketAddr) -> Self {
        Self { addr, http2: false }
    }

    pub fn http2(addr: SocketAddr) -> Self {
        Self { addr, http2: true }
    }

    async fn send(self, mut request: Request<Incoming>) -> Result<Response<Incoming>, BoxError> {
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        let authority = request.uri().authority().map(|authority| authority.to_string());
        if self.http2 {
            let host = request.headers_mut().remove(HOST);
            let named = host.as_ref().and_then(|host| host.to_str().ok()).map(str::to_owned);
            let authority = authority.or(named).ok_or("for nobody")?;
            *request.uri_mut() = format!("http://{authority}{path}").parse::<Uri>()?;
            *request.version_mut() = http::Version::HTTP_2;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            return Ok(sender.send_request(request).await?);
        }
        if let Some(authority) = authority {
            request.headers_mut().insert(HOST, HeaderValue::from_str(&authority)?);
            *request.uri_mut() = path.parse()?;
        }
        *request.version_mut() = http::Version::HTTP_11;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}

impl Service<Request<Incoming>> for Upstream {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never {what}"));
}
