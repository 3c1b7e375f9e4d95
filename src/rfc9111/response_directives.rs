//! The directives of responses (RFC 9111 §5.2.2): what they allow and forbid a cache.

use std::time::Duration;

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName};

use super::{delta_seconds::least, directive::each_member};

/// What a response says about its storing and reuse (§5.2.2).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
/// use seawall::rfc9111::ResponseDirectives;
/// use std::time::Duration;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(CACHE_CONTROL, HeaderValue::from_static("Public, max-age=\"60\""));
/// let directives = ResponseDirectives::from_fields(&headers);
/// assert!(directives.public);
/// assert_eq!(directives.max_age, Some(Duration::from_secs(60)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseDirectives {
    /// Fresh for this long (§5.2.2.1).
    pub max_age: Option<Duration>,
    /// Fresh for this long in a shared cache; comes before `max_age` (§5.2.2.10).
    pub s_maxage: Option<Duration>,
    /// Not to be stored (§5.2.2.5).
    pub no_store: bool,
    /// Not to be reused without validation (§5.2.2.4); the form without field names.
    pub no_cache: bool,
    /// Not for a shared cache (§5.2.2.7); the form without field names.
    pub private: bool,
    /// Storable where it otherwise would not be (§5.2.2.9).
    pub public: bool,
    /// Not to be reused stale without validation (§5.2.2.2).
    pub must_revalidate: bool,
    /// The same for shared caches only (§5.2.2.8).
    pub proxy_revalidate: bool,
    /// Storable only by who understands the status code (§5.2.2.3).
    pub must_understand: bool,
    /// Does not change while fresh (RFC 8246 §2).
    pub immutable: bool,
    /// Not to be transformed (§5.2.2.6).
    pub no_transform: bool,
    /// May be served this long after it became stale, while validated (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// May be served this long after it became stale, if the origin fails (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
    /// Response fields that `no-cache="…"` or `private="…"` name: they stay out of the store.
    pub left_out: Box<[HeaderName]>,
    /// Said by a targeted field (RFC 9213), in place of Cache-Control and Expires.
    pub targeted: bool,
}

impl ResponseDirectives {
    /// Reads all Cache-Control lines of a response.
    #[must_use]
    pub fn from_fields(headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        let mut left_out = Vec::new();
        each_member(headers, &CACHE_CONTROL, |name, argument| match name {
            b"max-age" => least(&mut said.max_age, argument.seconds()),
            b"s-maxage" => least(&mut said.s_maxage, argument.seconds()),
            b"no-store" => said.no_store = true,
            b"no-cache" => said.no_cache |= !argument.names_into(&mut left_out),
            b"private" => said.private |= !argument.names_into(&mut left_out),
            b"must-revalidate" => said.must_revalidate = true,
            b"proxy-revalidate" => said.proxy_revalidate = true,
            b"no-transform" => said.no_transform = true,
            // These widen what a cache may do, so an argument they cannot have voids them.
            b"public" => said.public |= argument.is_absent(),
            b"must-understand" => said.must_understand |= argument.is_absent(),
            b"immutable" => said.immutable |= argument.is_absent(),
            b"stale-while-revalidate" => {
                least(&mut said.stale_while_revalidate, argument.seconds());
            }
            b"stale-if-error" => least(&mut said.stale_if_error, argument.seconds()),
            _ => {}
        });
        said.left_out = left_out.into_boxed_slice();
        said
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::{field, seconds};
    use super::*;

    fn said(line: &str) -> ResponseDirectives {
        ResponseDirectives::from_fields(&field("cache-control", &[line]))
    }

    #[test]
    fn section_5_2_2_every_directive_is_read_whatever_its_case() {
        let none = ResponseDirectives::default;
        for (line, read) in [
            ("Max-Age=5", ResponseDirectives { max_age: Some(seconds(5)), ..none() }),
            ("MUST-REVALIDATE", ResponseDirectives { must_revalidate: true, ..none() }),
            ("Must-Understand", ResponseDirectives { must_understand: true, ..none() }),
            ("No-Cache", ResponseDirectives { no_cache: true, ..none() }),
            ("NO-store", ResponseDirectives { no_store: true, ..none() }),
            ("no-Transform", ResponseDirectives { no_transform: true, ..none() }),
            ("Private", ResponseDirectives { private: true, ..none() }),
            ("Proxy-Revalidate", ResponseDirectives { proxy_revalidate: true, ..none() }),
            ("Public", ResponseDirectives { public: true, ..none() }),
            ("S-MaxAge=5", ResponseDirectives { s_maxage: Some(seconds(5)), ..none() }),
            // RFC 8246, RFC 5861.
            ("Immutable", ResponseDirectives { immutable: true, ..none() }),
            (
                "Stale-While-Revalidate=5",
                ResponseDirectives { stale_while_revalidate: Some(seconds(5)), ..none() },
            ),
            ("Stale-If-Error=5", ResponseDirectives { stale_if_error: Some(seconds(5)), ..none() }),
            // §5.2.3: what is not known is ignored.
            ("community=\"UCI\", x", none()),
            ("only-if-cached, max-stale=5, min-fresh=5", none()),
            ("", none()),
        ] {
            assert_eq!(said(line), read, "{line}");
        }
    }

    #[test]
    fn section_5_2_2_1_max_age_is_digits_in_a_token_or_in_quotes() {
        for (line, age) in [
            ("max-age=3600", Some(3600)),
            (" , ,max-age=3600,", Some(3600)),
            ("max-age=003600", Some(3600)),
            ("max-age=\"3600\"", Some(3600)),
            ("max-age=\"36\\00\"", Some(3600)),
            ("max-age=2147483649", Some(1 << 31)),
            ("max-age=99999999999999999999999999", Some(1 << 31)),
            ("max-age='3600'", Some(0)),
            ("max-age=3600.0", Some(0)),
            ("max-age=-1", Some(0)),
            ("max-age=a3600", Some(0)),
            ("max-age=3600a", Some(0)),
            ("max-age =3600", Some(0)),
            ("max-age= 3600", Some(0)),
            ("max-age=\" 3600\"", Some(0)),
            ("max-age=\"3600\"x", Some(0)),
            ("max-age=\"3600", Some(0)),
            ("max-age=\"\"", Some(0)),
            ("max-age=", Some(0)),
            ("max-age", Some(0)),
            ("max-age=3600;x", Some(0)),
            ("extension=\"max-age=3600\", max-age=1", Some(1)),
            ("max-age=\"1\", extension=\"max-age=3600\"", Some(1)),
            ("extension=\"a\\\", max-age=3600\"", None),
            ("extension=max-age=3600", None),
            ("xmax-age=3600", None),
        ] {
            assert_eq!(said(line).max_age, age.map(seconds), "{line}");
        }
    }

    #[test]
    fn section_4_2_1_of_conflicting_directives_the_most_restrictive_holds() {
        let most = |line: &str| {
            let said = said(line);
            [said.max_age, said.s_maxage, said.stale_while_revalidate, said.stale_if_error]
        };
        for name in ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"] {
            for (one, other, holds) in [("1", "1800", 1), ("1800", "1", 1), ("1800", "x", 0)] {
                let read = most(&format!("{name}={one}, {name}={other}"));
                assert_eq!(read.iter().flatten().collect::<Vec<_>>(), [&seconds(holds)], "{name}");
            }
        }
        let both = said("public, private, no-store, max-age=5");
        assert!(both.private && both.no_store);
    }

    #[test]
    fn section_4_2_1_an_argument_leaves_a_restriction_standing_and_voids_a_permission() {
        let said =
            said("no-store=1, must-revalidate=x, public=1, immutable=x, must-understand=\"\"");
        assert!(said.no_store && said.must_revalidate);
        assert!(!said.public && !said.immutable && !said.must_understand);
    }

    #[test]
    fn section_5_2_2_4_and_5_2_2_7_qualified_directives_leave_fields_out_and_forbid_nothing() {
        for (line, names) in [
            ("no-cache=\"Set-Cookie\"", &["set-cookie"][..]),
            ("private=set-cookie", &["set-cookie"]),
            ("no-cache=\" a ,, b\", private=\"c\"", &["a", "b", "c"]),
        ] {
            let said = said(line);
            assert!(!said.no_cache && !said.private, "{line}");
            assert_eq!(said.left_out.iter().collect::<Vec<_>>(), names, "{line}");
        }
    }

    #[test]
    fn section_5_2_2_4_and_5_2_2_7_with_no_valid_names_they_are_unqualified() {
        for arguments in ["=\"\"", "=\"a, b c\"", "=", "=\"a", ""] {
            let no_cache = said(&format!("no-cache{arguments}"));
            assert!(no_cache.no_cache && no_cache.left_out.is_empty(), "{arguments}");
            let private = said(&format!("private{arguments}"));
            assert!(private.private && private.left_out.is_empty(), "{arguments}");
        }
        assert!(said("private, private=\"a\"").private);
        assert!(said("no-cache=\"a\", no-cache").no_cache);
    }

    #[test]
    fn section_5_4_pragma_says_nothing_in_a_response() {
        let said = ResponseDirectives::from_fields(&field("pragma", &["no-cache"]));
        assert_eq!(said, ResponseDirectives::default());
    }
}
