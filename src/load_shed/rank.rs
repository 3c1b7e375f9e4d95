//! How much a request matters, as far as it shows.

use http::{Method, Request};

use super::criticality::Criticality;
use crate::{grpc, marks::Refresh};

/// Says how much it matters that a request is answered. A closure is one.
pub trait Rank<Req>: Clone {
    /// How much it matters that this request is answered.
    fn criticality(&self, request: &Req) -> Criticality;

    /// Whether that shows in the request as [`ByMethod`] reads it. Then those who wait for one call that
    /// is refused take the refusal, unless they matter more; else each of them tries for itself.
    fn is_shown(&self) -> bool {
        false
    }
}

impl<F, Req> Rank<Req> for F
where
    F: Fn(&Req) -> Criticality + Clone,
{
    fn criticality(&self, request: &Req) -> Criticality {
        self(request)
    }
}

/// By the request's extension, if it has a [`Criticality`] among them; else a
/// [refresh](crate::marks::Refresh) is `Background`, POST, PUT, PATCH and DELETE are `Critical` unless
/// they are gRPC's, and all else is `Normal`.
///
/// So clients that may write have the last places to themselves. Where anyone may, rank by what you
/// know of them.
///
/// ```
/// use http::Request;
/// use seawall::load_shed::{ByMethod, Criticality, Rank};
///
/// let prefetch = Request::get("/").extension(Criticality::Sheddable).body(())?;
/// assert_eq!(ByMethod.criticality(&prefetch), Criticality::Sheddable);
/// let order = Request::post("/orders").body(())?;
/// assert_eq!(ByMethod.criticality(&order), Criticality::Critical);
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ByMethod;

impl<B> Rank<Request<B>> for ByMethod {
    fn is_shown(&self) -> bool {
        true
    }

    fn criticality(&self, request: &Request<B>) -> Criticality {
        let extensions = request.extensions();
        match extensions.get() {
            Some(criticality) => *criticality,
            None if extensions.get::<Refresh>().is_some() => Criticality::Background,
            // Every gRPC call is a POST.
            None if grpc::is_grpc(request.headers()) => Criticality::Normal,
            None => match *request.method() {
                Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
                    Criticality::Critical
                }
                // A method that somebody made up is no reason to be let in before others.
                _ => Criticality::Normal,
            },
        }
    }
}
