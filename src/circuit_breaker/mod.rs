//! A breaker: it stops calling an origin that fails, and finds out when it no longer does.

pub mod breaker;
pub mod half_open;
pub mod row;
pub mod settings;
pub mod state;
pub mod ticket;
pub mod window;

#[cfg(test)]
mod behaviour;
