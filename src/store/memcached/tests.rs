//! The client against real servers, against scripted ones, and its pure parts.

mod pure;
mod real;
mod replies;
mod scripted;
mod storm;
mod support;
mod throughput;
