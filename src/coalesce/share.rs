//! Who may lead a fetch, follow another caller's, or be answered from storage.
//!
//! | request | leads | follows | from storage |
//! |---|---|---|---|
//! | GET, empty body | yes | yes | yes |
//! | gRPC, a method that the key names, unary | yes | yes | yes |
//! | HEAD | a flight of its own class, which updates a stored GET | a GET's flight, to its head | a stored GET |
//! | `Range`, `If-*`, over a store | yes: the fetch is unconditional and of the whole | yes | yes |
//! | the same with nothing to look in | passes alone | no | – |
//! | one `Range`, where parts are stored and no whole is | a flight of its own range | that, or a GET's | yes |
//! | POST, where its answer may be one to a GET | passes alone | no | no |
//! | `Authorization` or `Cookie` | yes | as the head allows | as the policy allows |
//! | `no-cache`, `max-age=0`, `Pragma`, a refresh | yes | a flight no older than itself | once validated |
//! | `no-store` | passes alone | no | no |
//! | `only-if-cached` | no | no | yes, else 504; beside `no-store` or `If-Match` 504 |
//! | other methods, a body on GET, `Expect`, `Upgrade`, `If-Match` | passes alone | no | no |
//!
//! Pure: one function for the request, one for the head that a follower is offered.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use crate::{
    marks,
    policy::Policy,
    rfc9111::{
        refusal::Refusal,
        request_directives::RequestDirectives,
        reuse::{Ask as Wants, Reuse},
        storing,
    },
    store::{Head, Sharing},
};

/// What an engine does with its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It keeps them.
    Cache,
    /// It has nothing to look in.
    Coalesce,
}

/// What a request asks for, as far as it matters here: read once, in one pass over its fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) kind: Kind,
    /// It is a GET or a HEAD.
    pub(crate) reads: bool,
    /// What it demands of a stored answer, and whose it is.
    pub(crate) wants: Wants,
    /// It asks for a part of the answer.
    pub(crate) range: bool,
    /// It asks for the answer only where it has changed.
    pub(crate) conditional: bool,
    /// A layer above asks to validate.
    pub(crate) refresh: bool,
    /// It has fields that may make its answer its own: those of credentials, and those that origins
    /// reflect though no key has them.
    pub(crate) personal: bool,
    /// Of these it has the latter.
    pub(crate) unkeyed: bool,
}

/// The kinds of request that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A GET, or a unary gRPC call whose message is part of the key.
    Get,
    Head,
    /// Whatever passes alone: it may have effects, carries a body, or wants the connection.
    Other,
}

impl Ask {
    pub(crate) fn of<B>(request: &http::Request<B>) -> Self {
        let refresh = request.extensions().get::<marks::Refresh>().is_some();
        Self { refresh, ..Self::read(request.method(), request.headers()) }
    }

    fn read(method: &Method, fields: &HeaderMap) -> Self {
        let mut kind = match *method {
            Method::GET => Kind::Get,
            Method::HEAD => Kind::Head,
            _ => Kind::Other,
        };
        let (mut authorization, mut cookie) = (false, false);
        let (mut range, mut conditional, mut directives) = (false, false, false);
        let mut unkeyed = false;
        for (name, value) in fields {
            match name.as_str() {
                "authorization" | "proxy-authorization" => authorization = true,
                "cookie" => cookie = true,
                "cache-control" | "pragma" => directives = true,
                "range" => range = true,
                "if-none-match" | "if-modified-since" => conditional = true,
                "content-length" if value.as_bytes() != b"0" => kind = Kind::Other,
                "transfer-encoding" | "expect" | "upgrade" | "if-match" | "if-unmodified-since" => {
                    kind = Kind::Other;
                }
                name => unkeyed |= storing::is_unkeyed(name),
            }
        }
        let personal = authorization || cookie || unkeyed;
        let directives = if directives {
            RequestDirectives::from_fields(fields)
        } else {
            RequestDirectives::default()
        };
        let wants = Wants { directives, authorization, cookie };
        let reads = matches!(*method, Method::GET | Method::HEAD);
        Self { kind, reads, wants, range, conditional, refresh: false, personal, unkeyed }
    }

    /// Whether it names who is asking.
    pub(crate) fn credentials(&self) -> bool {
        self.wants.authorization || self.wants.cookie
    }

    /// Whether it wants nothing older than itself.
    pub(crate) fn validates(&self) -> bool {
        let directives = &self.wants.directives;
        self.refresh || directives.no_cache || directives.max_age == Some(Duration::ZERO)
    }

    /// What it still asks once it has had the validation that it wanted.
    pub(crate) fn validated(mut self) -> Self {
        if self.validates() {
            self.refresh = false;
            self.wants.directives.no_cache = false;
            self.wants.directives.max_age = None;
        }
        self
    }
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) leads: Leads,
    pub(crate) follows: Follows,
    pub(crate) from_storage: FromStorage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    Yes,
    /// It goes to the origin untouched, and nobody joins it.
    Alone,
    /// It does not go to the origin.
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    No,
    Any,
    /// A GET's flight, as far as its head.
    ToHead,
    /// A flight that began no earlier than the request came.
    Later,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromStorage {
    No,
    Yes,
    Validated,
}

const ALONE: Share =
    Share { leads: Leads::Alone, follows: Follows::No, from_storage: FromStorage::No };

/// The table of this module.
pub(crate) fn share(ask: &Ask, place: Place) -> Share {
    let directives = &ask.wants.directives;
    if ask.kind == Kind::Other || directives.no_store {
        // RFC 9111 §5.2.1.7: storage is not to answer it, and the origin is not asked.
        let nobody = ask.reads && directives.only_if_cached && place == Place::Cache;
        return if nobody { Share { leads: Leads::No, ..ALONE } } else { ALONE };
    }
    if place == Place::Coalesce && (ask.range || ask.conditional || directives.only_if_cached) {
        return ALONE;
    }
    if directives.only_if_cached {
        return Share { leads: Leads::No, follows: Follows::No, from_storage: FromStorage::Yes };
    }
    let from_storage = match place {
        Place::Coalesce => FromStorage::No,
        Place::Cache if ask.validates() => FromStorage::Validated,
        Place::Cache => FromStorage::Yes,
    };
    let follows = match ask.kind {
        _ if ask.validates() => Follows::Later,
        Kind::Head => Follows::ToHead,
        _ => Follows::Any,
    };
    Share { leads: Leads::Yes, follows, from_storage }
}

/// What becomes of those who wait for an answer that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unkept {
    /// They share it.
    Shared,
    /// The origin failed, and asking it once more for each of them would not help it: they learn of
    /// the failure, and do not see an answer that may not be theirs.
    Failure,
    /// The same, but the fault may lie in what the leader asked with: others try once more.
    Own,
    /// They ask for themselves.
    Aside,
}

/// Decides it by the rule that forbade to keep the answer, and its status.
pub(crate) fn unkept(refusal: &Refusal, status: StatusCode, place: Place) -> Unkept {
    let silent = matches!(refusal, Refusal::NoFreshnessNoValidator | Refusal::Status);
    let of_resource = !speaks_to_one(status);
    match () {
        () if status.is_server_error() && silent => Unkept::Shared,
        () if status.is_server_error() => Unkept::Failure,
        () if silent && of_resource && place == Place::Coalesce => Unkept::Shared,
        () => Unkept::Aside,
    }
}

/// Most of 400 to 499 speak to one client, of what was wrong with its request.
pub(crate) fn speaks_to_one(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 404 | 405 | 410 | 414)
}

/// What a follower may do with the head that it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    Taken,
    /// It is another variant: there is a flight for the own one, or will be.
    OtherVariant,
    /// The origin failed, in an answer that is not for this caller.
    Failure,
    Refused,
}

/// `variant`: whether the fields that `Vary` names are the same in both requests; `keyed`: whether
/// the key tells the credentials of callers apart.
pub(crate) fn offered(
    head: &Head,
    resident: Duration,
    ask: &Ask,
    policy: &dyn Policy,
    variant: bool,
    keyed: bool,
) -> Offered {
    if !variant {
        return Offered::OtherVariant;
    }
    match &head.sharing {
        Sharing::Stored(lifetime) => {
            // A follower that wants nothing older than itself has been let in only where the flight
            // is no older: the fetch was its validation (RFC 9111 §4.3).
            match policy.reuse(lifetime, resident, &ask.validated().wants) {
                Reuse::Fresh | Reuse::MaxStale(_) => Offered::Taken,
                // A cache below gave it stale, and would give each of them the same.
                Reuse::Stale(_) if head.is_stale_below() => Offered::Taken,
                // Nobody said how long it is fresh, so it is for those who asked at the same time.
                Reuse::Stale(_) if !lifetime.explicit && !ask.credentials() => Offered::Taken,
                _ => Offered::Refused,
            }
        }
        Sharing::InFlight { credentials, unkeyed }
            if (keyed || !(*credentials || ask.credentials())) && !(*unkeyed || ask.unkeyed) =>
        {
            Offered::Taken
        }
        Sharing::InFlight { .. } if head.counts_as.is_server_error() => Offered::Failure,
        Sharing::InFlight { .. } => Offered::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &Method, fields: &[(&'static str, &'static str)]) -> Ask {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        Ask::read(method, &headers)
    }

    #[test]
    fn the_table_of_who_leads_follows_and_is_answered_from_storage() {
        use {Follows as F, FromStorage as S, Leads as L, Method as M};
        type Fields = &'static [(&'static str, &'static str)];
        let plain = (L::Yes, F::Any, S::Yes);
        let fresh = (L::Yes, F::Later, S::Validated);
        let alone = (L::Alone, F::No, S::No);
        // In a cache, and with nothing to look in, where that differs in more than storage.
        type Row = (Method, Fields, (L, F, S), Option<L>);
        let rows: [Row; 25] = [
            (M::GET, &[], plain, None),
            (M::GET, &[("content-length", "0")], plain, None),
            (M::HEAD, &[], (L::Yes, F::ToHead, S::Yes), None),
            (M::HEAD, &[("cache-control", "no-cache")], fresh, None),
            (M::GET, &[("range", "bytes=0-1")], plain, Some(L::Alone)),
            (M::GET, &[("if-none-match", "*")], plain, Some(L::Alone)),
            (M::GET, &[("if-modified-since", "x")], plain, Some(L::Alone)),
            (M::GET, &[("authorization", "a")], plain, None),
            (M::GET, &[("cookie", "a=b")], plain, None),
            (M::GET, &[("cache-control", "no-cache")], fresh, None),
            (M::GET, &[("cache-control", "max-age=0")], fresh, None),
            (M::GET, &[("cache-control", "max-age=1")], plain, None),
            (M::GET, &[("pragma", "no-cache")], fresh, None),
            (M::GET, &[("cache-control", "no-store")], alone, None),
            (
                M::GET,
                &[("cache-control", "only-if-cached")],
                (L::No, F::No, S::Yes),
                Some(L::Alone),
            ),
            (M::POST, &[], alone, None),
            (M::DELETE, &[], alone, None),
            (M::OPTIONS, &[], alone, None),
            (M::CONNECT, &[], alone, None),
            (M::GET, &[("content-length", "1")], alone, None),
            (M::GET, &[("transfer-encoding", "chunked")], alone, None),
            (M::GET, &[("expect", "100-continue")], alone, None),
            (M::GET, &[("upgrade", "websocket")], alone, None),
            (M::GET, &[("if-match", "*")], alone, None),
            (M::GET, &[("if-unmodified-since", "x")], alone, None),
        ];
        for (method, fields, (leads, follows, from_storage), coalesced) in rows {
            let ask = ask(&method, fields);
            let cached = share(&ask, Place::Cache);
            assert_eq!(cached, Share { leads, follows, from_storage }, "{method} {fields:?}");
            let apart = share(&ask, Place::Coalesce);
            assert_eq!(apart.leads, coalesced.unwrap_or(leads), "{method} {fields:?}");
            assert_eq!(apart.from_storage, S::No, "{method} {fields:?}");
            if apart.leads == leads {
                assert_eq!(apart.follows, follows, "{method} {fields:?}");
            }
        }
    }

    #[test]
    fn an_answer_that_is_not_kept_is_shared_where_nothing_speaks_against_it() {
        use Refusal::{NoFreshnessNoValidator as Silent, NoStore, Private, SetCookie, Status};
        use Unkept::{Aside, Failure, Shared};
        for (refusal, status, cached, coalesced) in [
            (Silent, 200, Aside, Shared),
            (Silent, 404, Aside, Shared),
            (Status, 302, Aside, Shared),
            (Silent, 401, Aside, Aside),
            (Status, 403, Aside, Aside),
            (Status, 429, Aside, Aside),
            (Status, 431, Aside, Aside),
            (Silent, 400, Aside, Aside),
            (Silent, 410, Aside, Shared),
            (Private, 200, Aside, Aside),
            (NoStore, 200, Aside, Aside),
            (SetCookie, 200, Aside, Aside),
            (Silent, 500, Shared, Shared),
            (Status, 503, Shared, Shared),
            (NoStore, 503, Failure, Failure),
            (Private, 500, Failure, Failure),
            (SetCookie, 502, Failure, Failure),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let is = [Place::Cache, Place::Coalesce].map(|place| unkept(&refusal, status, place));
            assert_eq!(is, [cached, coalesced], "{refusal} {status}");
        }
    }
}
