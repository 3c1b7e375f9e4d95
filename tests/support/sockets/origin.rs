//! Origins that play exact bytes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::{client, frames};

/// One thing that an origin does on a connection.
#[derive(Clone, Debug)]
pub enum Play {
    Bytes(Bytes),
    Wait(Duration),
    /// Goes on once it may: it takes a permit for good.
    Gate(Arc<Semaphore>),
    /// Ends the connection, and the other side is told so in order.
    Close,
    /// Ends the connection the hard way.
    Reset,
    /// Nothing more, on a connection that stays.
    Hang,
}

/// Bytes to play.
pub fn bytes(bytes: impl AsRef<[u8]>) -> Play {
    Play::Bytes(Bytes::copy_from_slice(bytes.as_ref()))
}

/// An origin that plays a script.
#[derive(Clone, Debug)]
pub struct Scripted {
    pub addr: SocketAddr,
    calls: Arc<AtomicUsize>,
}

impl Scripted {
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// An HTTP/1.1 origin; `script` gets the number of the call, from 0, and the head of the request.
pub async fn scripted<F>(script: F) -> Scripted
where
    F: Fn(usize, &str) -> Vec<Play> + Send + Sync + 'static,
{
    listen(
        move |mut stream, calls, script: Arc<F>| async move {
            while let Some(head) = read_head(&mut stream).await {
                let call = calls.fetch_add(1, Ordering::SeqCst);
                if !play(&mut stream, script(call, &head)).await {
                    return;
                }
            }
        },
        script,
    )
    .await
}

/// An HTTP/2 origin that plays its script on the first stream of every connection.
pub async fn scripted_http2<F>(script: F) -> Scripted
where
    F: Fn(usize) -> Vec<Play> + Send + Sync + 'static,
{
    listen(
        move |mut stream, calls, script: Arc<F>| async move {
            if frames::read_request(&mut stream).await.is_none() {
                return;
            }
            let call = calls.fetch_add(1, Ordering::SeqCst);
            stream.write_all(&frames::hello()).await.unwrap();
            if play(&mut stream, script(call)).await {
                // Whatever the client still says, until it goes.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        },
        script,
    )
    .await
}

async fn listen<F, C, Fut>(connection: C, script: F) -> Scripted
where
    F: Send + Sync + 'static,
    C: Fn(TcpStream, Arc<AtomicUsize>, Arc<F>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (calls, script) = (Arc::<AtomicUsize>::default(), Arc::new(script));
    let counted = Arc::clone(&calls);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(stream, Arc::clone(&counted), Arc::clone(&script)));
        }
    });
    Scripted { addr, calls }
}

/// Whether the connection goes on.
async fn play(stream: &mut TcpStream, script: Vec<Play>) -> bool {
    for step in script {
        match step {
            Play::Bytes(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return false;
                }
            }
            Play::Wait(time) => tokio::time::sleep(time).await,
            Play::Gate(gate) => gate.acquire().await.unwrap().forget(),
            Play::Close => return false,
            Play::Reset => {
                client::reset(stream);
                return false;
            }
            Play::Hang => std::future::pending().await,
        }
    }
    true
}

/// Reads to the end of a head; `None` at the end of the connection.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = BytesMut::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
