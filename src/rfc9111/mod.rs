//! The rules of a shared HTTP cache (RFC 9111), as functions of what they are told.
//!
//! Nothing here does I/O, reads a clock or keeps state: header fields and times go in, decisions
//! come out. Use it where a cache is built; it is none itself.
//!
//! | file | rule |
//! |---|---|
//! | `profile` | the choices the law leaves open |
//! | `delta_seconds` | §1.2.2: numbers of seconds |
//! | `storing` | §3, §3.5: which responses are kept |
//! | `refusal` | §3: why the others are not |
//! | `stored_fields` | §3.1: which of their fields |
//! | `incomplete` | §3.3: parts, and what they answer |
//! | `combining` | §3.4: putting them together |
//! | `updating` | §3.2, §4.3.4: updating them with a 304 |
//! | `reuse` | §4, §5.2.1: whether one answers a request |
//! | `vary` | §4.1: which request fields tell several apart |
//! | `variant` | §4.1: what a request says in these |
//! | `language` | beyond §4.1: choosing one by `Content-Language` |
//! | `freshness` | §4.2.1, §4.2.2: how long one is fresh |
//! | `age` | §4.2.3, §5.1: how old it is |
//! | `stale` | §4.2.4: when it may not be served stale |
//! | `validation` | §4.3: asking whether it is still good, and answering who asks |
//! | `head` | §4.3.5: what a HEAD tells of one |
//! | `state` | §4.3.2, RFC 9110 §13: what conditions are judged by |
//! | `invalidation` | §4.4: what an unsafe request makes unusable |
//! | `directive` | §5.2: how directives are written |
//! | `request_directives` | §5.2.1, §5.4: what requests ask |
//! | `response_directives` | §5.2.2, RFC 5861, RFC 8246: what responses allow |
//! | `expires` | §5.3: the lifetime that Expires names |
//! | `post` | RFC 9110 §9.3.3: responses to POST that answer a GET |
//! | `date` | RFC 9110 §5.6.7: dates |
//! | `entity_tag` | RFC 9110 §8.8.3: entity tags |
//! | `retry_after` | RFC 9110 §10.2.3: how long to wait |
//! | `range` | RFC 9110 §14: answering with a part |
//! | `cache_status` | RFC 9211: telling what happened |
//! | `targeted` | RFC 9213: directives for some caches only |
//! | `groups` | RFC 9875: what is invalidated together |
//! | `dictionary` | RFC 9651 §3.1, §3.2: the lists and dictionaries that these are |
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

pub mod age;
pub mod cache_status;
pub mod combining;
pub mod date;
mod delta_seconds;
mod dictionary;
mod directive;
mod entity_tag;
mod expires;
pub mod freshness;
pub mod groups;
pub mod head;
pub mod incomplete;
pub mod invalidation;
pub mod language;
pub mod post;
pub mod profile;
pub mod range;
pub mod refusal;
pub mod request_directives;
pub mod response_directives;
pub mod retry_after;
pub mod reuse;
#[cfg(test)]
mod rows;
pub mod stale;
pub mod state;
pub mod stored_fields;
pub mod storing;
pub mod targeted;
pub mod updating;
pub mod validation;
mod variant;
pub mod vary;

pub use freshness::{Freshness, Lifetime};
pub use profile::Profile;
pub use refusal::Refusal;
pub use request_directives::{MaxStale, RequestDirectives};
pub use response_directives::ResponseDirectives;
pub use reuse::{Ask, Reuse, reuse};
pub use stale::Demand;
pub use state::State;
pub use stored_fields::stored_head;
pub use storing::{Keep, keep};
pub use validation::Validators;
pub use vary::{Names, Vary};

/// When a request left and its response arrived, by this machine's wall clock.
///
/// ```
/// use seawall::rfc9111::{Exchange, age::initial_age};
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
