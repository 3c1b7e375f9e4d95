//! The rules of a shared HTTP cache (RFC 9111), as functions of what they are told.
//!
//! Nothing here does I/O, reads a clock or keeps state: header fields and times go in, decisions
//! come out. Use it where a cache is built; it is none itself.
//!
//! | file | rule |
//! |---|---|
//! | `profile` | the choices the law leaves open |
//! | `cache_control` | §5.2: directives of responses and requests |
//! | `targeted` | RFC 9213: directives for some caches only |
//! | `date` | RFC 9110 §5.6.7: dates |
//! | `storing` | §3: which responses are kept |
//! | `stored_fields` | §3.1: which of their fields |
//! | `incomplete` | §3.3, §3.4: parts, and putting them together |
//! | `vary` | §4.1: which of several answers a request |
//! | `language` | beyond §4.1: choosing a variant by `Content-Language` |
//! | `freshness` | §4.2: how long it does |
//! | `validation` | §4.3: asking whether it still does |
//! | `head` | §4.3.5: what a HEAD tells of a stored response |
//! | `invalidation` | §4.4: what an unsafe request makes unusable |
//! | `post` | RFC 9110 §9.3.3: responses to POST that answer a GET |
//! | `range` | RFC 9110 §14: answering with a part of it |
//! | `cache_status` | RFC 9211: telling what happened |
//!
//! ```
//! use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CACHE_CONTROL};
//! use seawall::rfc9111::{Ask, Exchange, Keep, Profile, Reuse, keep, reuse};
//! use std::time::{Duration, SystemTime};
//!
//! let now = SystemTime::now();
//! let exchange = Exchange { sent: now, received: now };
//! let (request, mut response) = (HeaderMap::new(), HeaderMap::new());
//! response.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
//!
//! let profile = Profile::safe();
//! let kept = keep(&profile, &Method::GET, &request, StatusCode::OK, &response, exchange);
//! let Keep::For(lifetime) = kept else { panic!("nothing is against it") };
//! let ask = Ask::from_fields(&request);
//! assert_eq!(reuse(&lifetime, Duration::from_secs(59), &ask), Reuse::Fresh);
//! assert_eq!(reuse(&lifetime, Duration::from_secs(61), &ask), Reuse::Stale(Duration::from_secs(1)));
//! ```

use std::time::SystemTime;

pub mod cache_control;
pub mod cache_status;
pub mod date;
pub mod freshness;
pub mod head;
pub mod incomplete;
pub mod invalidation;
pub mod language;
pub mod post;
pub mod profile;
pub mod range;
pub mod stored_fields;
pub mod storing;
pub mod targeted;
pub mod validation;
pub mod vary;

pub use cache_control::{MaxStale, RequestDirectives, ResponseDirectives};
pub use freshness::{Ask, Demand, Freshness, Lifetime, Reuse, reuse};
pub use profile::Profile;
pub use stored_fields::stored_head;
pub use storing::{Keep, Refusal, keep};
pub use validation::Validators;
pub use vary::{Names, Vary};

/// When a request left and its response arrived, by this machine's wall clock.
///
/// ```
/// use seawall::rfc9111::{Exchange, freshness::initial_age};
/// use std::time::{Duration, SystemTime};
///
/// let received = SystemTime::now();
/// let exchange = Exchange { sent: received - Duration::from_secs(3), received };
/// // It may have been made the moment the request left.
/// assert_eq!(initial_age(Duration::ZERO, None, exchange), Duration::from_secs(3));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// When the request left.
    pub sent: SystemTime,
    /// When the head of its response arrived.
    pub received: SystemTime,
}
