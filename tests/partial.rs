//! What a cache makes of less than a plain answer to a GET: parts (RFC 9111 §3.3, §3.4), answers to
//! POST and to HEAD, a 304 about something else, bodies that end with their connection.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "partial/origin.rs"]
mod origin;

#[path = "partial/again.rs"]
mod again;
#[path = "partial/far.rs"]
mod far;
#[path = "partial/growing.rs"]
mod growing;
#[path = "partial/heads.rs"]
mod heads;
#[path = "partial/herds.rs"]
mod herds;
#[path = "partial/invalidated.rs"]
mod invalidated;
#[path = "partial/languages.rs"]
mod languages;
#[path = "partial/model.rs"]
mod model;
#[path = "partial/odd.rs"]
mod odd;
#[path = "partial/posts.rs"]
mod posts;
#[path = "partial/rules.rs"]
mod rules;
#[path = "partial/sequences.rs"]
mod sequences;
#[path = "partial/slices.rs"]
mod slices;
#[path = "partial/sockets.rs"]
mod sockets;
#[path = "partial/tails.rs"]
mod tails;
#[path = "partial/unproven.rs"]
mod unproven;
#[path = "partial/useless.rs"]
mod useless;
