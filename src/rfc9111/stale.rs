//! When a stale response may not be served (RFC 9111 §4.2.4).

use super::{profile::Profile, response_directives::ResponseDirectives};

/// When a stored response may not be reused without validation.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL};
/// use seawall::rfc9111::{Demand, Exchange, Lifetime, Profile, ResponseDirectives};
/// use std::time::SystemTime;
///
/// # let now = SystemTime::now();
/// # let exchange = Exchange { sent: now, received: now };
/// for (says, demand) in [
///     ("max-age=60", Demand::None),
///     ("max-age=60, must-revalidate", Demand::WhenStale),
///     ("no-cache", Demand::Always),
/// ] {
///     let headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(says))]);
///     let directives = ResponseDirectives::from_fields(&headers);
///     let learned =
///         Lifetime::learn(&Profile::safe(), &directives, StatusCode::OK, &headers, exchange);
///     assert_eq!(learned.demand, demand);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It makes no demand: it may be served stale where a policy or the client allows.
    None,
    /// Once it is stale.
    WhenStale,
    /// Each time.
    Always,
}

impl Demand {
    /// What a response demands; a targeted field does so in place of Cache-Control.
    pub(super) fn of(profile: &Profile, directives: &ResponseDirectives) -> Self {
        let names_stale =
            directives.stale_while_revalidate.is_some() || directives.stale_if_error.is_some();
        // §5.2.2.10: s-maxage implies proxy-revalidate.
        let by_s_maxage =
            directives.s_maxage.is_some() && (profile.strict_s_maxage || !names_stale);
        // §5.2.2.4, §5.2.2.2, §5.2.2.8.
        if directives.no_cache {
            Self::Always
        } else if directives.must_revalidate || directives.proxy_revalidate || by_s_maxage {
            Self::WhenStale
        } else {
            Self::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::field;
    use super::*;

    #[test]
    fn section_4_2_4_a_response_that_says_so_is_not_served_stale() {
        use Demand::*;
        for (line, safe, reverse_proxy) in [
            ("max-age=5", None, None),
            ("public, immutable", None, None),
            ("max-age=5, stale-if-error=5", None, None),
            // §5.2.2.2, §5.2.2.8, §5.2.2.4.
            ("max-age=5, must-revalidate", WhenStale, WhenStale),
            ("max-age=5, proxy-revalidate", WhenStale, WhenStale),
            ("must-revalidate, stale-if-error=5", WhenStale, WhenStale),
            ("max-age=5, no-cache", Always, Always),
            ("max-age=5, must-revalidate, no-cache", Always, Always),
            ("max-age=5, no-cache=\"a\"", None, None),
            // §5.2.2.10, which one profile lets RFC 5861 speak against.
            ("s-maxage=5", WhenStale, WhenStale),
            ("s-maxage=5, stale-if-error=5", None, WhenStale),
            ("s-maxage=5, stale-while-revalidate=5", None, WhenStale),
            ("s-maxage=5, stale-if-error=5, proxy-revalidate", WhenStale, WhenStale),
        ] {
            let directives = ResponseDirectives::from_fields(&field("cache-control", &[line]));
            assert_eq!(Demand::of(&Profile::safe(), &directives), safe, "{line}");
            assert_eq!(Demand::of(&Profile::reverse_proxy(), &directives), reverse_proxy, "{line}");
        }
    }
}
