//! The breaker of a store: nobody who has something else to do is its probe.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Call, CircuitBreaker, Mode,
    settings::{Abandoned, Settings},
    shared::Shared,
    successes::CELLS,
};
use crate::{
    error::{Reason, Rejected},
    observe::Listener,
};

/// Admits calls to a store while it is well. Once it is not, only a task that probes it.
pub(crate) struct Guard {
    shared: Arc<Shared>,
}

impl Guard {
    /// A call that its caller gave up after this `patience` has failed.
    pub(crate) fn new(name: &str, patience: Duration, listener: Listener) -> Self {
        let abandoned = Abandoned::FailureAfter(patience);
        let settings = Settings { abandoned, ..Settings::store() };
        let shared = Shared::new(settings, Some(name.into()), CELLS, listener, Instant::now());
        Self { shared: Arc::new(shared) }
    }

    /// Leave for one call.
    pub(crate) fn admit(&self) -> Result<Call, Rejected> {
        let decides = || matches!(self.shared.mode(), Mode::Automatic | Mode::ForcedOpen);
        if !self.is_closed() && decides() {
            let wait = self.wait().unwrap_or(Duration::from_secs(1));
            return Err(Rejected::new(Reason::CircuitOpen).retry_after(wait));
        }
        Call::admitted(&self.shared)
    }

    /// Leave for a probe.
    pub(crate) fn probe(&self) -> Result<Call, Rejected> {
        Call::admitted(&self.shared)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// How long a probe has to wait.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.shared.refuses_for(Instant::now())
    }

    /// It, for its operator.
    pub(crate) fn handle(&self) -> CircuitBreaker {
        CircuitBreaker { shared: Arc::clone(&self.shared) }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle().fmt(f)
    }
}
