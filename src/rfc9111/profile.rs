//! Where caches may lawfully differ: one named setting per difference, in two profiles.

use std::time::Duration;

use http::header::HeaderName;

/// The choices that RFC 9111 leaves to a shared cache.
///
/// [`Profile::safe`] is for a cache in front of an origin that was not written with one in mind;
/// [`Profile::reverse_proxy`] does all that the law allows, for origins that say what they mean.
///
/// ```
/// use seawall::rfc9111::Profile;
///
/// let profile = Profile::safe().heuristic(true);
/// assert_ne!(profile, Profile::default());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub(super) store_set_cookie: bool,
    pub(super) cookies_matter: bool,
    pub(super) vary_on_credentials: bool,
    pub(super) any_status: bool,
    pub(super) heuristic: bool,
    pub(super) max_error_lifetime: Option<Duration>,
    pub(super) max_lifetime: Duration,
    pub(super) targets: Box<[HeaderName]>,
    pub(super) unkeyed_fields_matter: bool,
    pub(super) strict_s_maxage: bool,
    pub(crate) store_partial: bool,
    pub(crate) store_post: bool,
    pub(crate) max_unproven_lifetime: Option<Duration>,
    pub(crate) lenient_content_range: bool,
    pub(super) tail_without_validator: bool,
    pub(crate) language_by_quality: bool,
    pub(crate) stale_when_unreachable: bool,
}

impl Profile {
    /// Stores only what the origin plainly meant for everyone.
    #[must_use]
    pub fn safe() -> Self {
        Self {
            store_set_cookie: false,
            cookies_matter: true,
            vary_on_credentials: false,
            any_status: false,
            heuristic: false,
            max_error_lifetime: Some(Duration::from_secs(60)),
            max_lifetime: Duration::from_secs(365 * 24 * 60 * 60),
            targets: Box::default(),
            unkeyed_fields_matter: true,
            strict_s_maxage: false,
            store_partial: false,
            store_post: false,
            max_unproven_lifetime: None,
            lenient_content_range: false,
            tail_without_validator: false,
            language_by_quality: false,
            stale_when_unreachable: false,
        }
    }

    /// Stores whatever RFC 9111 allows a shared cache to store.
    #[must_use]
    pub fn reverse_proxy() -> Self {
        Self {
            store_set_cookie: true,
            cookies_matter: false,
            vary_on_credentials: true,
            any_status: true,
            heuristic: true,
            max_error_lifetime: None,
            targets: Box::new([HeaderName::from_static("cdn-cache-control")]),
            unkeyed_fields_matter: false,
            strict_s_maxage: true,
            store_partial: true,
            store_post: true,
            max_unproven_lifetime: Some(Duration::from_secs(60)),
            stale_when_unreachable: true,
            ..Self::safe()
        }
    }

    /// Whether responses with Set-Cookie are stored, given explicit freshness.
    ///
    /// Safe: no, one user's session would be handed to all; such a field is also dropped from a
    /// 304 that updates a stored response. Reverse proxy: yes, §7.3 leaves it to the origin.
    #[must_use]
    pub fn store_set_cookie(mut self, store: bool) -> Self {
        self.store_set_cookie = store;
        self
    }

    /// Whether requests with Cookie count as personal.
    ///
    /// Safe: yes, their responses are stored, and they are answered from the store, only with
    /// `public` or `s-maxage`, as most origins with sessions forget `private`. Reverse proxy: no,
    /// RFC 9111 has no such rule.
    #[must_use]
    pub fn cookies_matter(mut self, matter: bool) -> Self {
        self.cookies_matter = matter;
        self
    }

    /// Whether `Vary` may name Authorization, Cookie or Proxy-Authorization.
    ///
    /// Safe: no, it would keep one response per user, and credentials with it. Reverse proxy: yes,
    /// they distinguish variants like any other field.
    #[must_use]
    pub fn vary_on_credentials(mut self, allowed: bool) -> Self {
        self.vary_on_credentials = allowed;
        self
    }

    /// Whether every final status is stored where it has explicit freshness.
    ///
    /// Safe: no, only 200 203 204 300 301 308 404 405 410 414 501, so that an origin's blanket
    /// `max-age` does not keep its failures. Reverse proxy: yes (§3). In neither a 304, 412 or
    /// 416, which are about one request; a 206 has a [setting](Self::store_partial) of its own.
    #[must_use]
    pub fn any_status(mut self, any: bool) -> Self {
        self.any_status = any;
        self
    }

    /// Whether a response without explicit freshness is fresh for 10 % of the time that had
    /// passed since it was modified.
    ///
    /// Safe: no, it is a guess. Reverse proxy: yes, the guess of §4.2.2.
    #[must_use]
    pub fn heuristic(mut self, guess: bool) -> Self {
        self.heuristic = guess;
        self
    }

    /// The longest lifetime of a response with a status of 400 or more.
    ///
    /// Safe: one minute, so that an error does not outlive its cause by much. Reverse proxy:
    /// none, as the origin says.
    #[must_use]
    pub fn max_error_lifetime(mut self, longest: Option<Duration>) -> Self {
        self.max_error_lifetime = longest;
        self
    }

    /// The longest lifetime of any response.
    ///
    /// Both: 365 days; what is asked for longer is meant for ever, and a mistake should not be.
    #[must_use]
    pub fn max_lifetime(mut self, longest: Duration) -> Self {
        self.max_lifetime = longest;
        self
    }

    /// The targeted fields (RFC 9213) that address this cache; the first one present counts.
    ///
    /// Safe: none, as the cache may sit where such a field is meant for another. Reverse proxy:
    /// `CDN-Cache-Control`.
    #[must_use]
    pub fn targets(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.targets = fields.into_iter().collect();
        self
    }

    /// Whether request fields that origins reflect, but keys leave out, forbid storing.
    ///
    /// They are Forwarded, X-Forwarded-* but X-Forwarded-For, X-Original-URL, X-Rewrite-URL and
    /// X-HTTP-Method-Override. Safe: yes, one client could choose what the others are answered.
    /// Reverse proxy: no, the proxy is expected to have set or dropped them itself.
    #[must_use]
    pub fn unkeyed_fields_matter(mut self, matter: bool) -> Self {
        self.unkeyed_fields_matter = matter;
        self
    }

    /// Whether `s-maxage` always forbids to serve the response stale.
    ///
    /// Safe: no, a response that also names `stale-while-revalidate` or `stale-if-error` means
    /// both; without them it does. Reverse proxy: yes (§5.2.2.10).
    #[must_use]
    pub fn strict_s_maxage(mut self, strict: bool) -> Self {
        self.strict_s_maxage = strict;
        self
    }

    /// Whether a 206 is stored, and answers requests for what it holds (§3.3, §3.4).
    ///
    /// A miss that asks for one range is then forwarded as it is, and not for the whole. A part grows
    /// by parts that touch it and have the same strong `ETag`; it never takes the place of a whole
    /// response. Safe: no, ranges are answered from stored 200s alone. Reverse proxy: yes.
    #[must_use]
    pub fn store_partial(mut self, store: bool) -> Self {
        self.store_partial = store;
        self
    }

    /// Whether a response to POST is stored for later GETs of its URI, where it names that URI in
    /// `Content-Location` and has explicit freshness (RFC 9110 §9.3.3).
    ///
    /// Safe: no, what a POST is answered with is rarely meant for others. Reverse proxy: yes.
    #[must_use]
    pub fn store_post(mut self, store: bool) -> Self {
        self.store_post = store;
        self
    }

    /// The longest lifetime of a response whose body ends with its connection.
    ///
    /// It has neither a length nor chunks, so that an origin that died within it looks like one that
    /// came to its end. Safe: none, it is not stored. Reverse proxy: one minute; RFC 9112 §8 counts
    /// it as complete, and a minute is what a cut one may then harm. It is never served stale.
    #[must_use]
    pub fn max_unproven_lifetime(mut self, longest: Option<Duration>) -> Self {
        self.max_unproven_lifetime = longest;
        self
    }

    /// Whether a 206 is stored whose `Content-Range` and length disagree.
    ///
    /// Its positions are then counted from its first byte, and those of a suffix from its last. In
    /// neither: such a part may be anything. It exists to compare caches by the public test suite.
    #[must_use]
    pub fn lenient_content_range(mut self, lenient: bool) -> Self {
        self.lenient_content_range = lenient;
        self
    }

    /// Whether the rest of a stored part is asked for that has no strong `ETag`.
    ///
    /// What comes cannot be combined (RFC 9110 §15.3.7.3) and is fetched whole after that. In neither:
    /// it is a call for nothing. It exists to compare caches by the public test suite.
    #[must_use]
    pub fn tail_without_validator(mut self, ask: bool) -> Self {
        self.tail_without_validator = ask;
        self
    }

    /// Whether a variant is chosen by its `Content-Language`, where that is what the request's
    /// `Accept-Language` likes best.
    ///
    /// In neither: it is not among the ways that §4.1 names, and the origin may have had something
    /// better. For origins whose languages are translations of one another.
    #[must_use]
    pub fn language_by_quality(mut self, choose: bool) -> Self {
        self.language_by_quality = choose;
        self
    }

    /// Whether a stale response is served as long as it is kept when the origin cannot be reached.
    ///
    /// Safe: no, only within the time that `stale-if-error` or the layer names. Reverse proxy: yes
    /// (§4.2.4), where nothing forbids it.
    #[must_use]
    pub fn stale_when_unreachable(mut self, serve: bool) -> Self {
        self.stale_when_unreachable = serve;
        self
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::safe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_safe_profile() {
        assert_eq!(Profile::default(), Profile::safe());
        assert_ne!(Profile::safe(), Profile::reverse_proxy());
    }

    #[test]
    fn every_difference_between_the_profiles_has_its_setting() {
        let turned = Profile::safe()
            .store_set_cookie(true)
            .cookies_matter(false)
            .vary_on_credentials(true)
            .any_status(true)
            .heuristic(true)
            .max_error_lifetime(None)
            .targets([HeaderName::from_static("cdn-cache-control")])
            .unkeyed_fields_matter(false)
            .strict_s_maxage(true)
            .store_partial(true)
            .store_post(true)
            .max_unproven_lifetime(Some(Duration::from_secs(60)))
            .stale_when_unreachable(true);
        assert_eq!(turned, Profile::reverse_proxy());
    }
}
