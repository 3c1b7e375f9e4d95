//! Tower layers that stand between a service and its origin and keep both alive.
//!
//! - [`CacheLayer`] answers GET and HEAD by RFC 9111 from a store, and fetches once what it has not.
//! - [`StaleWhileRevalidateLayer`] does the same, and gives what is stale at once while it is fetched
//!   anew.
//! - [`CoalesceLayer`] answers identical concurrent requests with one call.
//! - [`CircuitBreakerLayer`] stops calling an origin that fails, until it no longer does.
//! - [`LoadShedLayer`] refuses calls beyond what the origin can take, the least important first.
//! - [`RespondLayer`] turns errors into responses.
//!
//! [`OriginShield`] is all of them, in the order that works. They wrap any HTTP or gRPC `Service`: inside
//! an axum or tonic app, around a client, or as a gateway.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Empty, Full};
//! use seawall::{BoxError, Cache, CacheLayer, RespondLayer, store::Memory};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
//! let origin = service_fn(|_: Request<Empty<Bytes>>| async {
//!     let answer = Response::builder().header("cache-control", "max-age=60");
//!     Ok::<_, BoxError>(answer.body(Full::from("made once"))?)
//! });
//! let cache = Cache::new(Memory::bytes(64 << 20));
//! let service = ServiceBuilder::new() // outermost first
//!     .layer(RespondLayer::new())
//!     .layer(CacheLayer::new(cache.clone()))
//!     .service(origin);
//!
//! for _ in 0..2 {
//!     let request = Request::get("http://example.com/").body(Empty::new())?;
//!     let response = service.clone().oneshot(request).await?;
//!     assert_eq!(response.into_body().collect().await?.to_bytes(), "made once");
//! }
//! assert_eq!(cache.figures().records, 1);
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `memory` (default) | [`store::Memory`] |
//! | `quota` | `LoadShedLayer::quota`, by `governor` |
//! | `metrics` | `observe::Metrics`, for the `metrics` facade |
//! | `tracing` | `observe::Tracing`; a fetch runs in its caller's span |
//!
//! A feature adds an integration; none changes how anything behaves.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod admission;
pub mod cache;
pub mod circuit_breaker;
pub mod coalesce;
mod error;
mod fallback;
mod grpc;
pub mod journal;
pub mod load_shed;
pub mod marks;
pub mod observe;
pub mod policy;
pub mod respond;
pub mod rfc9111;
pub mod stack;
mod stale_while_revalidate;
mod staleness;
pub mod store;
mod sync;

pub use self::{
    cache::{Cache, CacheLayer, GrpcKey, NoKey, RequestKey, UriKey},
    circuit_breaker::{CircuitBreaker, CircuitBreakerLayer},
    coalesce::CoalesceLayer,
    error::{BoxError, FetchError, Reason, Rejected, SharedError},
    fallback::Failed,
    journal::{Invalidation, Invalidator},
    load_shed::LoadShedLayer,
    policy::{FixedTtl, Policy},
    respond::RespondLayer,
    rfc9111::profile::Profile,
    stack::OriginShield,
    stale_while_revalidate::StaleWhileRevalidateLayer,
};

/// The example in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
