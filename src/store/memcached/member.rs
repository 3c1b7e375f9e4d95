//! One server: a handle to it, and the task that owns the connection.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{
    address::Address,
    command::{self, Answer, Command, What},
    connection::Connection,
    failure::{Failure, Why},
    servers::Settings,
};
use crate::{
    error::BoxError,
    store::Declined,
    store::server::{Server, WireKey},
};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A handle to one server. The connection is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    name: Arc<str>,
    item_limit: usize,
    commands: mpsc::Sender<Command>,
}

impl Member {
    /// Starts the task on `runtime`.
    pub(super) fn open(address: &Address, settings: Settings, runtime: &Handle) -> Self {
        let name: Arc<str> = address.to_string().into();
        let (commands, receiver) = mpsc::channel(settings.queue.max(1));
        let task = Task { name: Arc::clone(&name), address: address.clone(), settings };
        runtime.spawn(task.run(receiver));
        Self { name, item_limit: settings.item_limit, commands }
    }

    /// Its address.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    async fn call(&self, what: What) -> Answer {
        self.answer(self.start(what)).await
    }

    /// Puts an operation in line, without waiting for anything.
    pub(super) fn start(&self, what: What) -> Result<oneshot::Receiver<Answer>, BoxError> {
        let (reply, answer) = oneshot::channel();
        match self.commands.try_send(Command { what, reply }) {
            Ok(()) => Ok(answer),
            // Too many callers are no sign of a server that fails: one that does lets them wait.
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(Declined::new(self.failure(Why::Full)).into())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(self.failure(Why::Ended).into()),
        }
    }

    pub(super) async fn answer(
        &self,
        started: Result<oneshot::Receiver<Answer>, BoxError>,
    ) -> Answer {
        started?.await.unwrap_or_else(|_| Err(self.failure(Why::Ended).into()))
    }

    fn failure(&self, why: Why) -> Failure {
        Failure::new(&self.name, why)
    }
}

impl Server for Member {
    async fn get(&self, key: &WireKey) -> Result<Option<Bytes>, BoxError> {
        self.call(What::Get(*key)).await
    }

    /// A value over the limit is not sent; the key is deleted, so that no older value remains.
    async fn set(&self, key: &WireKey, value: Bytes, ttl: Duration) -> Result<(), BoxError> {
        let (size, limit) = (value.len(), self.item_limit);
        if size > limit {
            self.delete(key).await?;
            return Err(Declined::new(format!("{size} bytes are over the limit of {limit}")).into());
        }
        let expires = command::expires(ttl, SystemTime::now());
        self.call(What::Set { key: *key, value, expires }).await.map(drop)
    }

    async fn delete(&self, key: &WireKey) -> Result<(), BoxError> {
        self.call(What::Delete(*key)).await.map(drop)
    }

    async fn ping(&self) -> Result<(), BoxError> {
        self.call(What::Ping).await.map(drop)
    }
}

/// What keeps a server connected. It ends with its handle.
struct Task {
    name: Arc<str>,
    address: Address,
    settings: Settings,
}

/// The handle is gone.
struct Gone;

impl Task {
    async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let _ = match &self.address {
            Address::Tcp(host, port) => {
                let connect = || async {
                    let stream = TcpStream::connect((&**host, *port)).await?;
                    // Commands are gathered here: the kernel need not wait for more of them.
                    stream.set_nodelay(true)?;
                    // What a connection that is given up has not delivered must not arrive later, after
                    // what the next one brings.
                    #[allow(deprecated, reason = "only a linger that is not zero blocks")]
                    stream.set_linger(Some(Duration::ZERO))?;
                    Ok(stream.into_split())
                };
                self.keep(connect, &mut commands).await
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let connect = || async { Ok(UnixStream::connect(path).await?.into_split()) };
                self.keep(connect, &mut commands).await
            }
        };
    }

    /// Connects again and again, until the handle is gone.
    async fn keep<F, R, W>(
        &self,
        connect: impl Fn() -> F,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Result<(), Gone>
    where
        F: Future<Output = io::Result<(R, W)>>,
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut failure = self.failure(Why::Opening);
        let mut failed = 0;
        let mut next_token = 0;
        loop {
            let deadline = self.settings.connect_deadline;
            let attempt = timeout(deadline, async {
                let stream = connect().await.map_err(|error| Why::Connect(Arc::new(error)))?;
                let mut connection = Connection::new(&self.name, self.settings, stream, next_token);
                connection.greet().await?;
                Ok(connection)
            });
            let attempt = refusing(commands, &failure, attempt).await?;
            match attempt.unwrap_or(Err(Why::ConnectDeadline(deadline))) {
                Ok(mut connection) => {
                    let since = Instant::now();
                    let served = connection.serve(commands).await;
                    // One that greets and does nothing else is as good as none.
                    let worked = connection.has_answered() || since.elapsed() >= LONGEST_WAIT;
                    failed = if worked { 0 } else { failed + 1 };
                    let why = served.err().unwrap_or(Why::Ended);
                    let lost = self.failure(why);
                    next_token = connection.end(&lost);
                    failure = lost.not_connected();
                }
                Err(why) => {
                    failed += 1;
                    failure = self.failure(why).not_connected();
                }
            }
            refusing(commands, &failure, sleep(wait(failed, fastrand::f64()))).await?;
        }
    }

    fn failure(&self, why: Why) -> Failure {
        Failure::new(&self.name, why)
    }
}

/// Does `work`, and meanwhile fails every call.
async fn refusing<F: Future>(
    commands: &mut mpsc::Receiver<Command>,
    failure: &Failure,
    work: F,
) -> Result<F::Output, Gone> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        while let Poll::Ready(command) = commands.poll_recv(cx) {
            let Some(command) = command else { return Poll::Ready(Err(Gone)) };
            let error = failure.clone().into();
            // A server that has not had its time yet is not at fault.
            let opening = matches!(failure.why(), Why::Opening);
            let error = if opening { Declined::new(error).into() } else { error };
            let _ = command.reply.send(Err(error));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// How long to wait before connecting again: not at all after a connection that worked, then longer
/// with each attempt that failed, less a random part of a quarter.
pub(super) fn wait(failed: u32, random: f64) -> Duration {
    match failed {
        0 => Duration::ZERO,
        _ => {
            let full = FIRST_WAIT.saturating_mul(1 << (failed - 1).min(10)).min(LONGEST_WAIT);
            full.mul_f64(1.0 - random / 4.0)
        }
    }
}
