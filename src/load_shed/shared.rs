//! A limit that many callers share, and the algorithm that moves it.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    charge::Charged,
    criticality::{Criticality, Shares},
    limit::{self, Limit, Sample},
    limiter::Limiter,
};
use crate::{
    admission::{Outcome, Settle},
    error::{Reason, Rejected},
    observe::{Event, Listener},
    sync::{Mutex, try_lock},
};

/// A limiter, and what moves its limit.
pub(super) struct Shared {
    limiter: Limiter,
    /// `None`: the limit stays as it is.
    limit: Option<Arc<Mutex<Box<dyn Limit>>>>,
    listener: Listener,
}

impl Shared {
    pub(super) fn new(
        limit: &Arc<Mutex<Box<dyn Limit>>>,
        shares: &Shares,
        listener: Listener,
        now: Instant,
    ) -> Self {
        let (calls, learns) = {
            let limit = crate::sync::lock(limit);
            (limit.limit(), limit.learns())
        };
        Self {
            limiter: Limiter::new(calls, shares, now),
            limit: learns.then(|| Arc::clone(limit)),
            listener,
        }
    }

    pub(super) fn admit(self: &Arc<Self>, class: Criticality) -> Result<Call, Rejected> {
        match self.limiter.admit(class) {
            Some(in_flight) => {
                // The clock is not asked for nothing.
                let began = self.limit.as_ref().map(|_| Instant::now());
                Ok(Call { shared: Arc::clone(self), class, in_flight, began, latency: None })
            }
            None => {
                self.listener.tell(&Event::Shed(class));
                let wait = self.limiter.refused(class, Instant::now(), fastrand::f64());
                Err(Rejected::new(Reason::Shed).retry_after(wait))
            }
        }
    }

    /// What a charge comes to.
    pub(super) fn charged(&self, charged: Charged) -> Result<(), Rejected> {
        match charged {
            Charged::Paid => Ok(()),
            Charged::Unknown => {
                self.listener.tell(&Event::QuotaTableFull);
                Ok(())
            }
            Charged::OverQuota(wait) => {
                self.listener.tell(&Event::OverQuota);
                Err(Rejected::new(Reason::OverQuota).retry_after(wait))
            }
        }
    }

    fn sample(&self, sample: &Sample) {
        // While another sample is being judged, this one is left out: no call waits for that.
        if let Some(limit) = &self.limit
            && let Some(mut limit) = try_lock(limit)
        {
            limit.sample(sample, Instant::now());
            self.limiter.resize(limit.limit());
        }
    }
}

/// A call that was admitted: its place in the limit.
pub struct Call {
    shared: Arc<Shared>,
    class: Criticality,
    /// When it was admitted, itself included.
    in_flight: usize,
    /// Where there is something to learn.
    began: Option<Instant>,
    /// Of the head, where the trailers are to tell the rest.
    latency: Option<Duration>,
}

impl Settle for Call {
    fn answered(&mut self, known: Option<Outcome>) {
        let Some(latency) = self.began.map(|began| began.elapsed()) else {
            return;
        };
        match known {
            Some(outcome) => self.sample(outcome, latency),
            None => self.latency = Some(latency),
        }
    }

    fn settle(mut self, outcome: Outcome) {
        // The trailers have told.
        if let Some(latency) = self.latency.take() {
            self.sample(outcome, latency);
        }
    }
}

impl Call {
    fn sample(&self, outcome: Outcome, latency: Duration) {
        let outcome = match outcome {
            Outcome::Success => limit::Outcome::Success,
            Outcome::Failure => limit::Outcome::Failure,
            Outcome::Overload | Outcome::Throttled => limit::Outcome::Overload,
            Outcome::Abandoned => limit::Outcome::Abandoned,
            Outcome::Unrelated => return,
        };
        self.shared.sample(&Sample { latency, in_flight: self.in_flight, outcome });
    }
}

/// However a call ends, its place is free.
impl Drop for Call {
    fn drop(&mut self) {
        self.shared.limiter.release(self.class);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("class", &self.class).finish_non_exhaustive()
    }
}

/// What a limit stands at.
///
/// ```
/// let gauge = seawall::LoadShedLayer::fixed(64).gauge();
/// assert_eq!((gauge.in_flight(), gauge.limit()), (0, 64));
/// ```
#[derive(Clone)]
pub struct Gauge {
    pub(super) shared: Arc<Shared>,
}

impl Gauge {
    /// The limit in force.
    pub fn limit(&self) -> usize {
        self.shared.limiter.limit()
    }

    /// How many calls are in flight: those whose body has not ended. It may be more than the limit,
    /// where that has just shrunk.
    pub fn in_flight(&self) -> usize {
        self.shared.limiter.in_flight()
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge")
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}
