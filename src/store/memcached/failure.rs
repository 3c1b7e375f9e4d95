//! Why a server did not do what it was asked.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

/// A failure of one server, which it names. Many calls can share it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    server: Arc<str>,
    why: Why,
}

/// How it failed.
#[derive(Clone, Debug)]
pub(super) enum Why {
    /// No connection has been made so far.
    Opening,
    /// There is none now, for this reason.
    NotConnected(Arc<Failure>),
    /// Connecting failed.
    Connect(Arc<io::Error>),
    /// No connection within the deadline for it, or nobody answered on it.
    ConnectDeadline(Duration),
    /// The server closed the connection.
    Closed,
    /// Reading or writing failed.
    Broken(Arc<io::Error>),
    /// Calls were waiting, and no byte came for so long.
    Silent(Duration),
    /// Bytes that are no reply, or not one to this call.
    Malformed(&'static str),
    /// An error that the server answered with.
    Answered(Arc<str>),
    /// More calls are waiting than there is room for.
    Full,
    /// The task that owns the connection is no more: its runtime has shut down.
    Ended,
}

impl Failure {
    pub(super) fn new(server: &Arc<str>, why: Why) -> Self {
        Self { server: Arc::clone(server), why }
    }

    /// The failure of calls that come after it and before there is a connection again.
    pub(super) fn not_connected(self) -> Self {
        Self { server: Arc::clone(&self.server), why: Why::NotConnected(Arc::new(self)) }
    }

    pub(super) fn why(&self) -> &Why {
        &self.why
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memcached at {}: ", self.server)?;
        match &self.why {
            Why::Opening => f.write_str("not connected yet"),
            Why::NotConnected(_) => f.write_str("not connected"),
            Why::Connect(_) => f.write_str("could not connect"),
            Why::ConnectDeadline(deadline) => write!(f, "no connection within {deadline:?}"),
            Why::Closed => f.write_str("it closed the connection"),
            Why::Broken(_) => f.write_str("the connection broke"),
            Why::Silent(time) => write!(f, "no answer for {time:?}"),
            Why::Malformed(what) => write!(f, "protocol error: {what}"),
            Why::Answered(text) => write!(f, "it answered {text}"),
            Why::Full => f.write_str("too many calls are waiting"),
            Why::Ended => f.write_str("its runtime has shut down"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.why {
            Why::NotConnected(failure) => Some(&**failure),
            Why::Connect(error) | Why::Broken(error) => Some(&**error),
            _ => None,
        }
    }
}
