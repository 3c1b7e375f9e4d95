//! What there is without the feature `redis-tls`.

use redis::{Client, ConnectionInfo};

use crate::error::BoxError;

const NEEDED: &str = "`rediss://` needs the feature `redis-tls`";

pub(super) fn available() -> Result<(), BoxError> {
    Err(NEEDED.into())
}

pub(super) fn prepare() {}

pub(super) fn client(_: ConnectionInfo, _: Option<&[u8]>) -> Result<Client, BoxError> {
    Err(NEEDED.into())
}
