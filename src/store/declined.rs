//! A store that is well, and does not do it.

use std::{error::Error, fmt, time::Duration};

use crate::error::BoxError;

/// The error of a store that is well, and does not do what it was asked: a value is too large for it, or
/// it takes no writes at present.
///
/// A store of your own may fail with it; that is no reason for a breaker to open.
///
/// ```
/// use seawall::{BoxError, store::Declined};
/// use std::time::Duration;
///
/// let error: BoxError = Declined::new("out of memory").no_writes_for(Duration::from_secs(30)).into();
/// assert_eq!(error.to_string(), "the store declined");
/// assert_eq!(error.source().unwrap().to_string(), "out of memory");
/// ```
#[derive(Debug)]
pub struct Declined {
    why: BoxError,
    no_writes_for: Option<Duration>,
}

impl Declined {
    /// For this reason.
    pub fn new(why: impl Into<BoxError>) -> Self {
        Self { why: why.into(), no_writes_for: None }
    }

    /// And there is no point in writing to it for so long.
    #[must_use]
    pub fn no_writes_for(mut self, time: Duration) -> Self {
        self.no_writes_for = Some(time);
        self
    }

    /// The one in the source chain of `error`.
    pub(crate) fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        std::iter::successors(Some(error), |error| (*error).source())
            .find_map(|error| error.downcast_ref())
    }

    /// For how long it takes no writes.
    pub(crate) fn writes_off(&self) -> Option<Duration> {
        self.no_writes_for
    }
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store declined")
    }
}

impl Error for Declined {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.why)
    }
}
