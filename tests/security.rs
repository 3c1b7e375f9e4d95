//! Two users at one cache: nobody is answered with what was made for another.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[allow(dead_code, reason = "a part of what the gateway's own tests use")]
#[path = "gateway/support.rs"]
mod process;

#[path = "security/echo.rs"]
mod echo;
#[path = "security/flooding.rs"]
mod flooding;
#[path = "security/gateway.rs"]
mod gateway;
#[path = "security/requests.rs"]
mod requests;
#[path = "security/storage.rs"]
mod storage;
#[path = "security/targets.rs"]
mod targets;
#[path = "security/users.rs"]
mod users;
