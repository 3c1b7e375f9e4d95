//! One HTTP/2 connection to the origin, shared by all calls and made anew when it ends.
//!
//! A pool that is keyed by the target's host would open a connection for every `Host` a client
//! can think of; here where to connect and what to ask for are two things.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, uri::Authority};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};

use crate::{BoxError, origin::Failure, upload::Upload};

/// A slow client holds back its own stream's window, never the connection's: that is large
/// enough for the windows of 256 streams.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 256;

/// How many times a request that was not sent is tried on a fresh connection.
const TRIES: usize = 3;

/// The connection, or the place for one.
#[derive(Clone)]
pub(crate) struct Multiplexed {
    address: Authority,
    connect_within: Duration,
    current: Arc<Mutex<Current>>,
}

#[derive(Default)]
struct Current {
    /// How many connections there have been: which one a call was refused by.
    count: u64,
    connection: Option<SendRequest<Upload>>,
}

impl Multiplexed {
    pub(crate) fn new(address: Authority, connect_within: Duration) -> Self {
        Self { address, connect_within, current: Arc::default() }
    }

    /// Sends on the current connection; what a connection that ends has not begun to send is sent
    /// on the next.
    pub(crate) async fn send(
        &self,
        mut request: Request<Upload>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let (count, mut connection) = self.connection().await.map_err(Failure::Unreachable)?;
            let mut refused = match connection.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(refused) => refused,
            };
            request = match refused.take_message() {
                Some(request) if tries > 0 => request,
                _ => return Err(Failure::Broken(refused.into_error().into())),
            };
            self.forget(count).await;
        }
    }

    /// The lock is held while connecting: one attempt serves all who wait.
    async fn connection(&self) -> Result<(u64, SendRequest<Upload>), BoxError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.connection.as_ref().filter(|one| !one.is_closed()) {
            return Ok((current.count, connection.clone()));
        }
        let connection = timeout(self.connect_within, self.connect()).await??;
        current.count += 1;
        current.connection = Some(connection.clone());
        Ok((current.count, connection))
    }

    /// The connection refused a call: the next one is made on another.
    async fn forget(&self, count: u64) {
        let mut current = self.current.lock().await;
        if current.count == count {
            current.connection = None;
        }
    }

    async fn connect(&self) -> Result<SendRequest<Upload>, BoxError> {
        let host = self.address.host().trim_start_matches('[').trim_end_matches(']');
        let port = self.address.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(64 << 10)
            .keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(async move {
            // Each call hears of the connection's end by itself.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
