//! Limits on the calls in flight.
pub mod criticality;
pub mod limit;
pub mod limiter;
