//! The fetches of one cache, so that they can be waited for.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout_at},
};

/// What was left to do when a cache was [drained](crate::Cache::drain).
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, Cache, CacheLayer, cache::Drained, store::Memory};
/// # use std::{future::pending, time::Duration};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), BoxError> {
/// # let silent = service_fn(|_: Request<Empty<Bytes>>| {
/// #     pending::<Result<Response<Full<Bytes>>, BoxError>>()
/// # });
/// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
/// let cache = Cache::new(Memory::default());
/// let service = CacheLayer::new(cache.clone()).layer(silent); // an origin that never answers
/// let call = tokio::spawn(service.oneshot(request));
/// tokio::task::yield_now().await;
///
/// let drained = cache.drain(Duration::from_secs(5)).await;
/// assert_eq!(drained, Drained { finished: 0, aborted: 1 });
/// assert!(call.await?.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Drained {
    /// Fetches that ended within the deadline.
    pub finished: usize,
    /// Fetches that were aborted at the deadline.
    pub aborted: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Tasks {
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<()>,
    draining: bool,
}

impl Tasks {
    /// Runs `task` on the current runtime; hands it back where the cache is being drained.
    pub(crate) fn spawn<F>(&self, task: F) -> Result<AbortHandle, F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = self.lock();
        if running.draining {
            return Err(task);
        }
        while running.tasks.try_join_next().is_some() {}
        Ok(running.tasks.spawn(task))
    }

    pub(crate) fn are_draining(&self) -> bool {
        self.lock().draining
    }

    pub(crate) async fn drain(&self, deadline: Duration) -> Drained {
        let deadline = Instant::now() + deadline;
        let mut tasks = {
            let mut running = self.lock();
            running.draining = true;
            std::mem::take(&mut running.tasks)
        };
        while tasks.try_join_next().is_some() {}
        let mut drained = Drained::default();
        while let Ok(Some(_)) = timeout_at(deadline, tasks.join_next()).await {
            drained.finished += 1;
        }
        drained.aborted = tasks.len();
        tasks.shutdown().await;
        drained
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
