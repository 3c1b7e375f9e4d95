//! How much a request matters, as far as it shows.

use http::Request;

use super::criticality::Criticality;
use crate::{grpc, marks::Refresh};

/// Says how much it matters that a request is answered. A closure is one.
pub trait Rank<Req>: Clone {
    /// How much it matters that this request is answered.
    fn criticality(&self, request: &Req) -> Criticality;
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
/// [refresh](crate::marks::Refresh) is `Background`, what changes something is `Critical`, all else is
/// `Normal`.
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
    fn criticality(&self, request: &Request<B>) -> Criticality {
        let extensions = request.extensions();
        match extensions.get() {
            Some(criticality) => *criticality,
            None if extensions.get::<Refresh>().is_some() => Criticality::Background,
            // Every gRPC call is a POST.
            None if request.method().is_safe() || grpc::is_grpc(request.headers()) => {
                Criticality::Normal
            }
            None => Criticality::Critical,
        }
    }
}
