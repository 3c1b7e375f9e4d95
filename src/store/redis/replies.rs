//! What a server said.

use std::time::Duration;

use bytes::Bytes;
use redis::{ServerError, Value};

use crate::{error::BoxError, store::Declined};

/// For how long a server that is full is not written to.
const FULL: Duration = Duration::from_secs(30);
/// For how long one that takes no writes is not, while we look for the one that does.
const READ_ONLY: Duration = Duration::from_secs(1);

/// The error that this reply is. One that a healthy server gives is a [`Declined`].
pub(super) fn refused(error: ServerError) -> BoxError {
    let error = Said(error);
    match error.0.code() {
        "OOM" | "MISCONF" => Declined::new(error).no_writes_for(FULL).into(),
        "READONLY" | "NOREPLICAS" => Declined::new(error).no_writes_for(READ_ONLY).into(),
        "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "NOAUTH" | "WRONGPASS" | "BUSY" => {
            error.into()
        }
        _ => Declined::new(error).into(),
    }
}

/// An error reply in the server's own words.
#[derive(Debug)]
struct Said(ServerError);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.details() {
            Some(details) => write!(f, "{} {details}", self.0.code()),
            None => f.write_str(self.0.code()),
        }
    }
}

impl std::error::Error for Said {}

pub(super) fn has_code(reply: &Value, code: &str) -> bool {
    matches!(reply, Value::ServerError(error) if error.code() == code)
}

/// The reply to a question of our own, unless it is an error.
pub(super) fn heard(reply: Value) -> Result<Value, BoxError> {
    match reply {
        Value::ServerError(error) => Err(Said(error).into()),
        reply => Ok(reply),
    }
}

/// The reply to a caller's command, unless it is an error.
pub(super) fn accepted(reply: Value) -> Result<Value, BoxError> {
    match reply {
        Value::ServerError(error) => Err(refused(error)),
        reply => Ok(reply),
    }
}

/// What a command may be answered with, beside an error.
pub(super) type Expected = fn(&Value) -> bool;

pub(super) fn anything(_: &Value) -> bool {
    true
}

pub(super) fn is_value(reply: &Value) -> bool {
    matches!(reply, Value::Nil | Value::BulkString(_))
}

pub(super) fn is_ok(reply: &Value) -> bool {
    matches!(reply, Value::Okay)
}

pub(super) fn is_count(reply: &Value) -> bool {
    matches!(reply, Value::Int(_))
}

pub(super) fn is_text(reply: &Value) -> bool {
    matches!(reply, Value::SimpleString(_) | Value::BulkString(_) | Value::VerbatimString { .. })
}

pub(super) fn is_pong(reply: &Value) -> bool {
    text(reply) == Some("PONG")
}

pub(super) fn is_array(reply: &Value) -> bool {
    matches!(reply, Value::Array(_))
}

/// The bytes of a reply that [is a value](is_value).
pub(super) fn value(reply: Value) -> Option<Bytes> {
    match reply {
        Value::BulkString(bytes) => Some(Bytes::from(bytes)),
        _ => None,
    }
}

/// The text of a reply, in ASCII or UTF-8.
pub(super) fn text(reply: &Value) -> Option<&str> {
    match reply {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}
