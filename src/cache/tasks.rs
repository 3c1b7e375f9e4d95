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

/// What was left to do when a cache was drained.
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
