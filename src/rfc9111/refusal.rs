//! Why a response is not stored (RFC 9111 §3): a name for each rule.

use std::fmt;

/// Why a response is not stored.
///
/// ```
/// use seawall::rfc9111::Refusal;
///
/// assert_eq!(Refusal::SetCookie.to_string(), "set-cookie");
/// // The response to a request without a session may well be stored; one that sets it never is.
/// assert!(Refusal::RequestCookie.by_request() && !Refusal::SetCookie.by_request());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The request's method is not GET.
    Method,
    /// The status is informational, 304, or not among those the profile stores.
    Status,
    /// The status is 206, and the profile keeps no parts, or not this one.
    PartialContent,
    /// The response says `must-understand`, and its status is not understood (§5.2.2.3).
    MustUnderstand,
    /// The response says `no-store`.
    NoStore,
    /// The response says `private`.
    Private,
    /// The response sets a cookie.
    SetCookie,
    /// The response varies by more than its request's fields: `Vary: *`.
    VaryStar,
    /// The response varies by a field with credentials.
    VaryOnCredentials,
    /// The response varies by more fields than a cache should keep apart.
    TooManyVaryNames,
    /// The head has more fields, or longer ones, than are kept.
    HeadTooLarge,
    /// The response has more tags, or more groups (RFC 9875), than it could be invalidated by.
    TooManyTags,
    /// The body ends with the connection, so that a cut connection looks like its end; or it is still in a
    /// transfer coding.
    Unframed,
    /// The response is stale from the beginning, by its own word, and has no validator.
    NeverFresh,
    /// The response could never be used: it has neither freshness nor a validator.
    NoFreshnessNoValidator,
    /// The request says `no-store`.
    RequestNoStore,
    /// The request has Authorization, and the response does not say it is for all (§3.5).
    Authorization,
    /// The request has Cookie, and the response does not say it is for all.
    RequestCookie,
    /// The request has a field that origins reflect but keys leave out.
    UnkeyedField,
}

impl Refusal {
    /// Whether the fault is only this request's: the response to another may be stored.
    #[must_use]
    pub fn by_request(&self) -> bool {
        match self {
            Self::Method
            | Self::RequestNoStore
            | Self::Authorization
            | Self::RequestCookie
            | Self::UnkeyedField => true,
            Self::Status
            | Self::PartialContent
            | Self::MustUnderstand
            | Self::NoStore
            | Self::Private
            | Self::SetCookie
            | Self::VaryStar
            | Self::VaryOnCredentials
            | Self::TooManyVaryNames
            | Self::HeadTooLarge
            | Self::TooManyTags
            | Self::Unframed
            | Self::NeverFresh
            | Self::NoFreshnessNoValidator => false,
        }
    }

    /// A short name for labels, in the alphabet of a structured-field token.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::PartialContent => "partial-content",
            Self::MustUnderstand => "must-understand",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::VaryStar => "vary-star",
            Self::VaryOnCredentials => "vary-on-credentials",
            Self::TooManyVaryNames => "too-many-vary-names",
            Self::HeadTooLarge => "head-too-large",
            Self::TooManyTags => "too-many-tags",
            Self::Unframed => "unframed",
            Self::NeverFresh => "never-fresh",
            Self::NoFreshnessNoValidator => "no-freshness-no-validator",
            Self::RequestNoStore => "request-no-store",
            Self::Authorization => "authorization",
            Self::RequestCookie => "request-cookie",
            Self::UnkeyedField => "unkeyed-field",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Refusal::*;

    #[test]
    fn section_3_every_refusal_has_a_name_and_a_side() {
        let by_response = [
            (Status, "status"),
            (PartialContent, "partial-content"),
            (MustUnderstand, "must-understand"),
            (NoStore, "no-store"),
            (Private, "private"),
            (SetCookie, "set-cookie"),
            (VaryStar, "vary-star"),
            (VaryOnCredentials, "vary-on-credentials"),
            (TooManyVaryNames, "too-many-vary-names"),
            (HeadTooLarge, "head-too-large"),
            (TooManyTags, "too-many-tags"),
            (Unframed, "unframed"),
            (NeverFresh, "never-fresh"),
            (NoFreshnessNoValidator, "no-freshness-no-validator"),
        ];
        let by_request = [
            (Method, "method"),
            (RequestNoStore, "request-no-store"),
            (Authorization, "authorization"),
            (RequestCookie, "request-cookie"),
            (UnkeyedField, "unkeyed-field"),
        ];
        for (rows, side) in [(&by_response[..], false), (&by_request[..], true)] {
            for (refusal, name) in rows {
                assert_eq!(refusal.to_string(), *name);
                assert_eq!(refusal.by_request(), side, "{name}");
            }
        }
    }
}
