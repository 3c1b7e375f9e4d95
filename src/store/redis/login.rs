//! Who we are to a server.

use std::fmt;

use redis::RedisConnectionInfo;

/// A user and a password, which nothing prints.
#[derive(Clone, Default)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

impl Login {
    pub(super) fn is_none(&self) -> bool {
        self.user.is_none() && self.password.is_none()
    }

    /// What redis-rs says first on a connection.
    pub(super) fn greeting(&self, db: i64) -> RedisConnectionInfo {
        let mut greeting = RedisConnectionInfo::default().set_db(db);
        if let Some(user) = &self.user {
            greeting = greeting.set_username(user);
        }
        if let Some(password) = &self.password {
            greeting = greeting.set_password(password);
        }
        greeting
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_none() { "Login(none)" } else { "Login(redacted)" })
    }
}
