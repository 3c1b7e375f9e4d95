//! What answers and errors are taken for, and where an owner decides otherwise.

use std::{error::Error, fmt, sync::Arc, time::SystemTime};

use http::{HeaderMap, Request, Response, StatusCode, header::RETRY_AFTER};

use super::{Outcome, PermitBody, Settle};
use crate::{
    error::{FetchError, Rejected},
    fallback::{Failed, Fallback},
    grpc,
    rfc9111::retry_after::retry_after,
};

/// Where an owner decides otherwise: nowhere, as a rule.
#[derive(Clone, Default)]
pub(super) struct Rules(Option<Arc<Own>>);

#[derive(Clone, Default)]
struct Own {
    status: Option<Arc<OfStatus>>,
    error: Option<Arc<OfError>>,
    fallback: Option<Fallback>,
}

type OfStatus = dyn Fn(StatusCode) -> Option<Outcome> + Send + Sync;
type OfError = dyn Fn(&(dyn Error + 'static)) -> Option<Outcome> + Send + Sync;

impl Rules {
    fn own(&mut self) -> &mut Own {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    pub(super) fn of_status(
        &mut self,
        outcome: impl Fn(StatusCode) -> Option<Outcome> + Send + Sync + 'static,
    ) {
        self.own().status = Some(Arc::new(outcome));
    }

    pub(super) fn error(
        &mut self,
        outcome: impl Fn(&(dyn Error + 'static)) -> Option<Outcome> + Send + Sync + 'static,
    ) {
        self.own().error = Some(Arc::new(outcome));
    }

    pub(super) fn fallback(&mut self, fallback: Fallback) {
        self.own().fallback = Some(fallback);
    }

    /// How a call went that ended with this error.
    pub(super) fn failed(&self, error: &(dyn Error + 'static)) -> Outcome {
        let own = self.0.as_ref().and_then(|own| own.error.as_ref());
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(outcome) = own.and_then(|own| own(error)).or_else(|| known(error)) {
                return outcome;
            }
            next = error.source();
        }
        Outcome::Failure
    }

    pub(super) fn status(&self, status: StatusCode, fields: &HeaderMap) -> Outcome {
        let own = self.0.as_ref().and_then(|own| own.status.as_ref());
        own.and_then(|own| own(status)).unwrap_or_else(|| of_status(status, fields))
    }

    pub(super) fn instead<B, R, T: Settle>(
        &self,
        request: &Request<B>,
        rejected: &Rejected,
    ) -> Option<Response<PermitBody<R, T>>> {
        let fallback = self.0.as_ref()?.fallback.as_ref()?;
        if grpc::is_native(request.headers()) {
            // Its answer would need trailers.
            return None;
        }
        let failed = Failed { uri: request.uri(), headers: request.headers(), error: rejected };
        let mut instead = fallback(&failed)?.map(PermitBody::bytes);
        // What is above is not to take it for the origin's.
        instead.extensions_mut().insert(rejected.clone());
        Some(instead)
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "with rules of its own" } else { "as documented" })
    }
}

pub(super) fn asks_to_wait(fields: &HeaderMap) -> Option<std::time::Duration> {
    // The time of day is asked for only where a date may be there.
    let http = || retry_after(fields.get(RETRY_AFTER)?, SystemTime::now());
    grpc::pushback(fields).or_else(http)
}

fn of_status(status: StatusCode, fields: &HeaderMap) -> Outcome {
    match status {
        StatusCode::SERVICE_UNAVAILABLE if fields.contains_key(RETRY_AFTER) => Outcome::Overload,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Outcome::Success,
        StatusCode::TOO_MANY_REQUESTS => Outcome::Throttled,
        status if status.is_server_error() => Outcome::Failure,
        _ => Outcome::Success,
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<Outcome> {
    if error.is::<Rejected>() {
        return Some(Outcome::Unrelated);
    }
    match error.downcast_ref() {
        Some(FetchError::Deadline) => return Some(Outcome::Overload),
        Some(FetchError::Cancelled) => return Some(Outcome::Unrelated),
        Some(FetchError::Status(status)) => return Some(of_status(*status, &HeaderMap::new())),
        _ => {}
    }
    let elapsed =
        error.is::<tower::timeout::error::Elapsed>() || error.is::<tokio::time::error::Elapsed>();
    elapsed.then_some(Outcome::Overload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, Reason, SharedError, admission::ByStatus};

    #[test]
    fn a_status_is_taken_for_what_the_table_says() {
        let of = |status: u16, fields: &[(&'static str, &str)]| {
            let fields = fields.iter().map(|&(name, value)| {
                (http::HeaderName::from_static(name), value.parse().expect("a value"))
            });
            of_status(StatusCode::from_u16(status).expect("a status"), &fields.collect())
        };
        for status in [200, 204, 304, 400, 404, 408, 501, 505] {
            assert_eq!(of(status, &[]), Outcome::Success, "{status}");
        }
        for status in [500, 502, 503, 504, 599] {
            assert_eq!(of(status, &[]), Outcome::Failure, "{status}");
        }
        assert_eq!(of(503, &[("retry-after", "1")]), Outcome::Overload);
        assert_eq!(of(429, &[("retry-after", "1")]), Outcome::Throttled);
    }

    #[test]
    fn an_error_is_known_however_deep_it_lies() {
        let rules = Rules::default();
        let table: [(BoxError, Outcome); 6] = [
            (Rejected::new(Reason::OnlyIfCached).into(), Outcome::Unrelated),
            (FetchError::Deadline.into(), Outcome::Overload),
            (FetchError::Cancelled.into(), Outcome::Unrelated),
            (FetchError::Status(StatusCode::BAD_GATEWAY).into(), Outcome::Failure),
            (tower::timeout::error::Elapsed::new().into(), Outcome::Overload),
            ("refused".into(), Outcome::Failure),
        ];
        for (error, outcome) in table {
            assert_eq!(rules.failed(&SharedError::new(error)), outcome);
        }
    }

    #[test]
    fn what_an_owner_says_goes_before_the_table() {
        let by_status = ByStatus::new()
            .status(|status| (status == StatusCode::NOT_FOUND).then_some(Outcome::Failure))
            .error(|error| error.is::<FetchError>().then_some(Outcome::Unrelated));
        let fields = HeaderMap::new();
        assert_eq!(by_status.rules.status(StatusCode::NOT_FOUND, &fields), Outcome::Failure);
        assert_eq!(by_status.rules.status(StatusCode::BAD_GATEWAY, &fields), Outcome::Failure);
        let error = SharedError::new(FetchError::Deadline.into());
        assert_eq!(by_status.rules.failed(&error), Outcome::Unrelated);
    }
}
