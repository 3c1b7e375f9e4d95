//! gRPC through a cache: what is a unary call, whose answer it gets, and what passes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "grpc/admission.rs"]
mod admission;
#[path = "grpc/answers.rs"]
mod answers;
#[path = "grpc/calls.rs"]
mod calls;
#[path = "grpc/clients.rs"]
mod clients;
#[path = "grpc/failures.rs"]
mod failures;
#[path = "grpc/foreign.rs"]
mod foreign;
#[path = "grpc/keys.rs"]
mod keys;
#[path = "grpc/messages.rs"]
mod messages;
#[path = "grpc/scripted.rs"]
mod scripted;
#[path = "grpc/shield.rs"]
mod shield;
#[path = "grpc/shop.rs"]
mod shop;
#[path = "grpc/streams.rs"]
mod streams;
