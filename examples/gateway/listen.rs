//! A door clients come in by: HTTP/1.1 and h2c on one port, until it is closed.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower::{Service, ServiceExt};

use crate::{BoxError, interim};

/// How long a client may take to send a request's head, the first one or the next.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The largest request head, in bytes.
const MAX_HEAD: u32 = 64 << 10;

/// An open door. Dropping it leaves it open for good.
pub(crate) struct Door {
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<GracefulShutdown>,
}

impl Door {
    /// Serves whoever connects; `service` is told each client's address.
    pub(crate) fn open<M, S, B>(listener: TcpListener, patience: Duration, service: M) -> Self
    where
        M: Fn(IpAddr) -> S + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let accepting = tokio::spawn(async move {
            let connections = GracefulShutdown::new();
            tokio::select! {
                () = accept(&listener, patience, service, &connections) => {}
                Ok(()) = stopped => {}
            }
            connections
        });
        Self { stop, accepting }
    }

    /// Lets nobody in any more, and waits for those inside, at most for `drain`.
    pub(crate) async fn close(self, drain: Duration) {
        let Self { stop, accepting } = self;
        let _ = stop.send(());
        if let Ok(connections) = accepting.await {
            let _ = timeout(drain, connections.shutdown()).await;
        }
    }
}

async fn accept<M, S, B>(
    listener: &TcpListener,
    patience: Duration,
    service: M,
    connections: &GracefulShutdown,
) where
    M: Fn(IpAddr) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let service = service(peer.ip().to_canonical());
                tokio::spawn(serve(stream, patience, service, connections.watcher()));
            }
            Err(error) if is_the_clients(&error) => {}
            // No descriptors, no memory: it passes as connections end.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The connection was lost between the client's knock and our answer.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve<S, B>(stream: TcpStream, patience: Duration, service: S, watcher: Watcher)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    let (wire, interim) = interim::into(stream);
    let asked = Arc::new(AtomicBool::new(false));
    let noted = hyper::service::service_fn({
        let asked = Arc::clone(&asked);
        move |mut request| {
            asked.store(true, Relaxed);
            let turn = interim.turn(&mut request);
            let answer = service.clone().oneshot(request);
            async move {
                let answer = answer.await;
                drop(turn);
                answer
            }
        }
    });
    let builder = builder(patience);
    let connection = watcher.watch(builder.serve_connection(TokioIo::new(wire), noted));
    let mut connection = std::pin::pin!(connection);
    // hyper's timers begin after it has told the two versions apart: this one covers the silent,
    // and those that open an HTTP/2 connection for nothing.
    let ended = timeout(patience, connection.as_mut()).await;
    if ended.is_err() && asked.load(Relaxed) {
        // How a connection ends is the client's affair; what was asked has been counted.
        let _ = connection.await;
    }
}

fn builder(patience: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD)
        .max_concurrent_streams(250)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::plain::plain;

    async fn open(patience: Duration) -> (Door, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = |_| tower::service_fn(|_| async { Ok(plain(http::StatusCode::OK, "here")) });
        (Door::open(listener, patience, service), addr)
    }

    #[tokio::test]
    async fn whoever_does_not_finish_a_head_is_shown_out() {
        let (_door, addr) = open(Duration::from_millis(100)).await;
        for start in ["", "P", "GET / HTTP/1.1\r\nhost: a\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
            assert!(end.is_ok(), "still open after {start:?}");
        }
    }

    #[tokio::test]
    async fn a_closed_door_lets_nobody_in() {
        let (door, addr) = open(PATIENCE).await;
        let mut idle = TcpStream::connect(addr).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
        door.close(Duration::from_secs(5)).await;
        assert_eq!(idle.read(&mut [0; 1024]).await.unwrap(), 0);
        assert!(TcpStream::connect(addr).await.is_err());
    }
}
