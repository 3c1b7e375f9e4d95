//! What may be kept, and when it may be reused: the law, or one of your own.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CACHE_CONTROL};

use crate::rfc9111::{
    Exchange,
    freshness::Lifetime,
    profile::Profile,
    refusal::Refusal,
    reuse::{self, Ask, Reuse},
    stale::Demand,
    storing::{self, Keep},
};

/// An answer of the origin, and what was asked: all that a [`Policy`] decides by.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CACHE_CONTROL};
/// use seawall::{Policy, Profile, policy::Answered, rfc9111::{Exchange, Keep, Refusal}};
/// use std::time::SystemTime;
///
/// let response = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("no-store"))]);
/// let now = SystemTime::now();
/// let answered = Answered {
///     method: &Method::GET,
///     request: &HeaderMap::new(),
///     status: StatusCode::OK,
///     response: &response,
///     exchange: Exchange { sent: now, received: now },
/// };
/// assert_eq!(Profile::safe().keep(&answered), Keep::No(Refusal::NoStore));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// The fields of the request.
    pub request: &'a HeaderMap,
    /// The status of the answer.
    pub status: StatusCode,
    /// The fields of the answer.
    pub response: &'a HeaderMap,
    /// When the request left, and when the answer's head arrived.
    pub exchange: Exchange,
}

/// Decides what is kept and when it is reused. It is asked, and never asks: no clock, no I/O.
///
/// [`Profile`] is the policy by RFC 9111, in its two profiles; [`FixedTtl`] adds a lifetime where the
/// origin names none. One of your own best asks a profile, and forbids or adds to what it says:
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use seawall::{BoxError, CacheLayer, store::Memory};
/// # use tower::{Layer, ServiceExt, service_fn};
/// use seawall::{Policy, Profile, policy::Answered, rfc9111::{Keep, Refusal}};
///
/// struct NoPreviews(Profile);
///
/// impl Policy for NoPreviews {
///     fn keep(&self, answered: &Answered<'_>) -> Keep {
///         if answered.response.contains_key("x-preview") {
///             return Keep::No(Refusal::Private);
///         }
///         self.0.keep(answered)
///     }
///
///     fn profile(&self) -> &Profile {
///         &self.0
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
/// # let origin = service_fn(|_: Request<Empty<Bytes>>| async {
/// #     let answer = Response::builder().header("cache-control", "max-age=60");
/// #     answer.header("x-preview", "1").body(Full::<Bytes>::from("soon"))
/// # });
/// # let request = Request::get("http://example.com/").body(Empty::<Bytes>::new())?;
///
/// let layer = CacheLayer::new(Memory::default()).policy(NoPreviews(Profile::reverse_proxy()));
/// let response = layer.layer(origin).oneshot(request).await?;
/// assert_eq!(response.headers()["cache-status"], "seawall; fwd=uri-miss; fwd-status=200");
/// # Ok(()) }
/// ```
pub trait Policy: Send + Sync + 'static {
    /// Whether an answer is kept, and what later decisions need of it.
    fn keep(&self, answered: &Answered<'_>) -> Keep;

    /// Whether an answer that is kept may answer this request, after `resident` in storage.
    ///
    /// It is called on every hit, and should neither allocate nor parse.
    fn reuse(&self, lifetime: &Lifetime, resident: Duration, ask: &Ask) -> Reuse {
        reuse::reuse(lifetime, resident, ask)
    }

    /// The settings that say which fields of an answer are kept with it.
    fn profile(&self) -> &Profile;
}

impl Policy for Profile {
    fn keep(&self, answered: &Answered<'_>) -> Keep {
        storing::keep(
            self,
            answered.method,
            answered.request,
            answered.status,
            answered.response,
            answered.exchange,
        )
    }

    fn profile(&self) -> &Profile {
        self
    }
}

/// The safe profile, with a lifetime for answers that name none.
///
/// Everything that forbids storing forbids it here too; an explicit lifetime is kept to. Only a 200
/// that says nothing about its freshness is kept for `ttl`.
///
/// ```
/// use seawall::{CacheLayer, FixedTtl, store::Memory};
/// use std::time::Duration;
///
/// let layer = CacheLayer::new(Memory::default()).policy(FixedTtl::new(Duration::from_secs(60)));
/// # let _ = layer;
/// ```
#[derive(Clone, Debug)]
pub struct FixedTtl {
    ttl: Duration,
    profile: Profile,
}

impl FixedTtl {
    /// Keeps what names no lifetime for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, profile: Profile::safe() }
    }
}

impl Policy for FixedTtl {
    fn keep(&self, answered: &Answered<'_>) -> Keep {
        let kept = self.profile.keep(answered);
        let silent = match kept {
            Keep::For(found) => !found.explicit && found.demand == Demand::None,
            Keep::No(refusal) => refusal == Refusal::NoFreshnessNoValidator,
        };
        if !silent || answered.status != StatusCode::OK {
            return kept;
        }
        // The profile decides once more, as if the origin had named the lifetime: nothing else that
        // it may have against the answer is passed over.
        let mut response = answered.response.clone();
        let named = format!("max-age={}", self.ttl.as_secs().max(u64::from(!self.ttl.is_zero())));
        if let Ok(named) = HeaderValue::from_str(&named) {
            response.append(CACHE_CONTROL, named);
        }
        match self.profile.keep(&Answered { response: &response, ..*answered }) {
            Keep::For(lifetime) => Keep::For(Lifetime { fresh_for: self.ttl, ..lifetime }),
            refused => refused,
        }
    }

    fn profile(&self) -> &Profile {
        &self.profile
    }
}
