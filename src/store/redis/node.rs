//! One server, and the task that keeps it connected.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{Arg, Cmd, Pipeline, RedisResult, Value, aio::MultiplexedConnection, cmd};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    backlog::{Backlog, Position},
    connect::{Settings, Target},
    replies::{Expected, is_pong},
};
use crate::{
    error::{BoxError, SharedError},
    store::Declined,
    sync::{Mutex, lock},
};

/// How often a connection is asked whether it still answers.
const PING_EVERY: Duration = Duration::from_secs(1);
/// A connection that ends younger than this is not replaced at once.
const SETTLED: Duration = Duration::from_secs(1);

/// A server; its task ends with it.
#[derive(Debug)]
pub(super) struct Node {
    shared: Arc<Shared>,
    _supervisor: Task,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Task(AbortHandle);

impl Task {
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One connection, and what waits on it.
#[derive(Debug)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    pub(super) backlog: Backlog,
}

impl Node {
    pub(super) fn start(target: Target, settings: Arc<Settings>) -> Self {
        let shared = Arc::<Shared>::default();
        let supervisor = Task::spawn(supervise(Arc::clone(&shared), target, settings));
        Self { shared, _supervisor: supervisor }
    }

    pub(super) fn is_connected(&self) -> bool {
        lock(&self.shared.state).link.is_some()
    }

    /// The present connection; none is waited for.
    pub(super) fn link(&self) -> Result<Arc<Link>, BoxError> {
        let state = lock(&self.shared.state);
        match &state.link {
            Some(link) => Ok(Arc::clone(link)),
            None => Err(match &state.why {
                Some(why) => NotConnected(Some(why.clone())).into(),
                // It has not had its time yet: that is not held against it.
                None => Declined::new(NotConnected(None)).into(),
            }),
        }
    }

    /// The reply, be it an error; one of another kind shows that the connection is out of step.
    pub(super) async fn send(&self, command: &Cmd, expected: Expected) -> Result<Value, BoxError> {
        let link = self.link()?;
        self.send_on(&link, command, expected).await
    }

    pub(super) async fn send_on(
        &self,
        link: &Arc<Link>,
        command: &Cmd,
        expected: Expected,
    ) -> Result<Value, BoxError> {
        let position = link.backlog.enter(weight(command)).ok_or(CROWDED)?;
        let reply = link.connection.clone().send_packed_command(command).await;
        let reply = self.shared.settle(link, position, reply)?;
        self.shared.check(link, reply, expected)
    }

    /// The replies to all of these, which are sent at once.
    pub(super) async fn send_all(
        &self,
        commands: &Pipeline,
        expected: Expected,
    ) -> Result<Vec<Value>, BoxError> {
        let link = self.link()?;
        let position = link.backlog.enter(commands.cmd_iter().map(weight).sum()).ok_or(CROWDED)?;
        let count = commands.len();
        let replies = link.connection.clone().send_packed_commands(commands, 0, count).await;
        let replies = self.shared.settle(&link, position, replies)?;
        replies.into_iter().map(|reply| self.shared.check(&link, reply, expected)).collect()
    }

    /// Connects anew, maybe to another server of this name, and keeps this one until then.
    pub(super) fn renew(&self) {
        self.shared.renew.store(true, Ordering::Relaxed);
        self.shared.changed.notify_one();
    }
}

const CROWDED: &str = "too many commands wait for a reply";

fn weight(command: &Cmd) -> u64 {
    let bytes = command.args_iter().map(|arg| match arg {
        Arg::Simple(bytes) => bytes.len() as u64,
        _ => 0,
    });
    bytes.sum()
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Asked for by a server that takes no writes.
    renew: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Arc<Link>>,
    why: Option<SharedError>,
}

impl Shared {
    fn settle<T>(
        &self,
        link: &Arc<Link>,
        position: Position,
        reply: RedisResult<T>,
    ) -> Result<T, BoxError> {
        match reply {
            Ok(reply) => {
                link.backlog.leave(position);
                Ok(reply)
            }
            Err(error) => {
                self.lost(link, error.clone().into());
                Err(error.into())
            }
        }
    }

    fn check(&self, link: &Arc<Link>, reply: Value, expected: Expected) -> Result<Value, BoxError> {
        if matches!(reply, Value::ServerError(_)) || expected(&reply) {
            return Ok(reply);
        }
        self.lost(link, UNEXPECTED.into());
        Err(UNEXPECTED.into())
    }

    /// Whoever finds out first ends it.
    fn lost(&self, link: &Arc<Link>, why: BoxError) {
        {
            let mut state = lock(&self.state);
            if !state.link.as_ref().is_some_and(|present| Arc::ptr_eq(present, link)) {
                return;
            }
            *state = State { link: None, why: Some(SharedError::new(why)) };
        }
        self.changed.notify_one();
    }

    fn connected(&self, connection: MultiplexedConnection) {
        let link = Arc::new(Link { connection, backlog: Backlog::default() });
        *lock(&self.state) = State { link: Some(link), why: None };
    }

    /// Returns once there is no connection, or not the one that is wanted.
    async fn watch(&self, settings: &Settings) {
        loop {
            let link = lock(&self.state).link.clone();
            let Some(link) = link else { return };
            if self.renew.swap(false, Ordering::Relaxed) {
                return;
            }
            if timeout(PING_EVERY, self.changed.notified()).await.is_ok() {
                continue;
            }
            self.ping(&link, settings.connect_deadline).await;
        }
    }

    async fn ping(&self, link: &Arc<Link>, deadline: Duration) {
        let (answered, position) = (link.backlog.answered(), link.backlog.enter_always());
        let (mut connection, ping) = (link.connection.clone(), cmd("PING"));
        match timeout(deadline, connection.send_packed_command(&ping)).await {
            Ok(reply) => {
                let reply = self.settle(link, position, reply);
                drop(reply.and_then(|reply| self.check(link, reply, is_pong)));
            }
            // What stands before it may be long: as long as replies come, it is not frozen.
            Err(_) if link.backlog.answered() != answered => {}
            Err(_) => self.lost(link, "it did not answer a ping".into()),
        }
    }
}

const UNEXPECTED: &str = "not a reply to what was asked";

async fn supervise(shared: Arc<Shared>, target: Target, settings: Arc<Settings>) {
    let mut back_off = BackOff::default();
    loop {
        match target.connect(&settings).await {
            Ok(connection) => shared.connected(connection),
            Err(error) => lock(&shared.state).why = Some(SharedError::new(error)),
        }
        let since = Instant::now();
        shared.watch(&settings).await;
        if since.elapsed() >= SETTLED {
            back_off = BackOff::default();
        } else {
            sleep(back_off.next()).await;
        }
    }
}

/// From 50 ms to 1 s, doubling, a fifth more or less.
#[derive(Default)]
pub(super) struct BackOff {
    tries: u32,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    pub(super) fn next(&mut self) -> Duration {
        let wait = Self::FIRST.saturating_mul(1 << self.tries.min(5)).min(Self::LONGEST);
        self.tries = self.tries.saturating_add(1);
        wait.mul_f64(0.8 + 0.4 * fastrand::f64())
    }
}

/// The error of whatever is asked in between.
#[derive(Debug)]
struct NotConnected(Option<SharedError>);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not connected")
    }
}

impl std::error::Error for NotConnected {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_ref().and_then(std::error::Error::source)
    }
}
