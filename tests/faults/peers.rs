//! The two ends of a connection through the proxy.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::support::{fault_proxy::FaultProxy, sockets::LONG};

pub(crate) const MOMENT: Duration = Duration::from_millis(100);

/// Says back what it hears, until it hears the end. Tells what it heard of each connection.
pub(crate) async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (tell, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut all = Vec::new();
                let mut buffer = vec![0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    all.extend_from_slice(&buffer[..length]);
                    if stream.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
                let _ = tell.send(all);
            });
        }
    });
    (addr, heard)
}

pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn of(proxy: &FaultProxy) -> Self {
        Self(TcpStream::connect(proxy.addr()).await.unwrap())
    }

    pub(crate) async fn says(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn hears(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        timeout(LONG, self.0.read_exact(&mut bytes)).await.expect("in time").unwrap();
        bytes
    }

    /// That it is connected to the server.
    pub(crate) async fn echoes(&mut self) {
        self.says(b"hello").await;
        assert_eq!(self.hears(5).await, b"hello");
    }

    pub(crate) async fn hears_nothing(&mut self) {
        let read = timeout(MOMENT, self.0.read(&mut [0])).await;
        assert!(read.is_err(), "{read:?}");
    }

    /// What it still hears, and how that ends.
    pub(crate) async fn hears_the_end(&mut self) -> (Vec<u8>, Option<ErrorKind>) {
        let mut bytes = Vec::new();
        let read = timeout(LONG, self.0.read_to_end(&mut bytes)).await.expect("in time");
        (bytes, read.err().map(|error| error.kind()))
    }
}

pub(crate) const RESET: (Vec<u8>, Option<ErrorKind>) =
    (Vec::new(), Some(ErrorKind::ConnectionReset));
pub(crate) const CLOSED: (Vec<u8>, Option<ErrorKind>) = (Vec::new(), None);

/// Bytes each of which says where it stands.
pub(crate) fn ramp(length: usize) -> Vec<u8> {
    (0..length).map(|at| at as u8).collect()
}
