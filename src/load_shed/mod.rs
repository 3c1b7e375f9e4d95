//! Refuses calls beyond what the origin can take, those first that matter least.
//!
//! Use it in front of whatever must not get more than it can carry: a database, a pool of workers.
//! Under a cache, only misses count. It keeps no queue: what is refused is refused at once, with a
//! time to come back.
//!
//! | limit | allows |
//! |---|---|
//! | [`LoadShedLayer::fixed`] | so many calls in flight; 1,024 unless set |
//! | [`LoadShedLayer::adaptive`] | as many as keep nine calls in ten within a latency |
//! | [`LoadShedLayer::new`] | any [`Limit`](limit::Limit) |
//!
//! ```
//! use http::{Request, Response};
//! use seawall::{BoxError, LoadShedLayer, Reason, Rejected};
//! use tower::{Layer, Service, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
//! let layer = LoadShedLayer::fixed(1);
//! let mut service = layer.layer(service_fn(|_: Request<()>| async {
//!     Ok::<_, BoxError>(Response::new("slow".to_owned()))
//! }));
//! let first = service.call(Request::new(())).await?; // its body is not read yet
//! let error = service.call(Request::new(())).await.unwrap_err();
//! assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::Shed));
//! drop(first);
//! assert_eq!(layer.gauge().in_flight(), 0);
//! # Ok(()) }
//! ```
//!
//! # Who is refused first
//! Unless a request carries a [`Criticality`], a refresh behind a stale answer is `Background`, a call
//! that changes something (POST, PUT, PATCH, DELETE) is `Critical`, and all else, gRPC included, `Normal`:
//! reads are refused before writes. [`Shares`] say how far each class may fill the limit.
//!
//! # Quotas
//! With the feature `quota`, a layer can also give each caller an account of its own, so that one that
//! asks for too much is refused before the others are: `LoadShedLayer::quota`.
//!
//! # What counts
//! A call is in flight until its body has ended or was dropped; so a gRPC stream that lasts for hours has
//! a place for hours, and streams by the hundred want a limit of their own. See [`admission`](crate::admission) for
//! what a limit learns from, and [`limit`] for how.
//!
//! # Errors
//! [`Rejected`](crate::Rejected) with [`Reason::Shed`](crate::Reason::Shed) or
//! [`Reason::OverQuota`](crate::Reason::OverQuota), and when another try makes sense. Errors of the
//! inner service pass untouched.

mod charge;
mod criticality;
mod layer;
pub mod limit;
mod limiter;
#[cfg(feature = "quota")]
mod quota;
#[cfg(feature = "quota")]
mod quota_layer;
mod rank;
mod shared;

#[cfg(feature = "quota")]
pub use self::{quota::Rate, quota_layer::Quota};

pub use self::{
    charge::NoQuota,
    criticality::{Criticality, Shares},
    layer::{LoadShedLayer, Shedder},
    rank::{ByMethod, Rank},
    shared::{Call, Gauge},
};
