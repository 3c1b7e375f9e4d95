//! What a gRPC message says over HTTP/2: read from fields alone, without a gRPC library.
//!
//! The status of a call is a field of its trailers; where the call failed before its first message,
//! of the head, which is then all there is ("trailers-only"). A message is preceded by a byte that
//! says whether it is compressed, and by its length in four.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// How long a caller waits for its answer.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// How the messages of a request are compressed, and how those of its answer may be.
pub(crate) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub(crate) const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

pub(crate) const OK: u32 = 0;
pub(crate) const CANCELLED: u32 = 1;
pub(crate) const UNKNOWN: u32 = 2;
pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
pub(crate) const INTERNAL: u32 = 13;
pub(crate) const UNAVAILABLE: u32 = 14;
pub(crate) const DATA_LOSS: u32 = 15;

/// Whether the fields are of a gRPC request or response.
pub(crate) fn is_grpc(fields: &HeaderMap) -> bool {
    fields.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The same without the forms of it that are for browsers, which have their trailers in the body.
pub(crate) fn is_native(fields: &HeaderMap) -> bool {
    let Some(kind) = the_only(fields, CONTENT_TYPE) else { return false };
    let rest = kind.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// What precedes a message: a flag, and the length of what follows.
pub(crate) const PREFIX: usize = 5;

/// How long a message is that begins so, its prefix included; `None` where nothing begins so.
pub(crate) fn length(prefix: [u8; PREFIX]) -> Option<u64> {
    let [flag, length @ ..] = prefix;
    (flag <= 1).then(|| PREFIX as u64 + u64::from(u32::from_be_bytes(length)))
}

/// How a call ended, by its head or its trailers; `None` where they do not say it, or not clearly.
pub(crate) fn status(fields: &HeaderMap) -> Option<u32> {
    number(the_only(fields, STATUS)?)
}

/// How long a client is asked to wait before it tries again; `None` also where it is asked not to.
pub(crate) fn pushback(fields: &HeaderMap) -> Option<Duration> {
    number(the_only(fields, PUSHBACK)?).map(|millis| Duration::from_millis(millis.into()))
}

/// Two values may contradict each other.
fn the_only(fields: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut all = fields.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

/// Digits and nothing else.
fn number(value: &HeaderValue) -> Option<u32> {
    let digits = value.to_str().ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &HeaderName, values: &[&'static [u8]]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        fields
    }

    #[test]
    fn a_content_type_tells_grpc_with_or_without_its_codec() {
        for (kind, is) in [
            (&b"application/grpc"[..], true),
            (b"application/grpc+proto", true),
            (b"application/grpc;charset=x", true),
            (b"application/json", false),
            (b"\xff", false),
        ] {
            assert_eq!(is_grpc(&fields(&CONTENT_TYPE, &[kind])), is, "{}", kind.escape_ascii());
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn what_has_its_trailers_in_the_body_is_no_native_call() {
        for (kinds, is) in [
            (&[&b"application/grpc"[..]][..], true),
            (&[b"application/grpc+proto"], true),
            (&[b"application/grpc;x=y"], true),
            (&[b"application/grpc-web+proto"], false),
            (&[b"application/grpc", b"application/grpc"], false),
            (&[b"application/grp"], false),
            (&[], false),
        ] {
            assert_eq!(is_native(&fields(&CONTENT_TYPE, kinds)), is, "{kinds:?}");
        }
    }

    #[test]
    fn a_prefix_says_how_long_its_message_is() {
        for (prefix, is) in [
            ([0, 0, 0, 0, 0], Some(5)),
            ([1, 0, 0, 1, 2], Some(5 + 258)),
            ([0, 255, 255, 255, 255], Some(5 + 0xffff_ffff)),
            ([2, 0, 0, 0, 0], None),
            (*b"GET /", None),
        ] {
            assert_eq!(length(prefix), is, "{prefix:?}");
        }
    }

    #[test]
    fn a_status_is_one_number_or_none() {
        for (values, is) in [
            (&[&b"0"[..]][..], Some(0)),
            (&[b"14"], Some(14)),
            (&[b"4294967295"], Some(u32::MAX)),
            (&[b"4294967296"], None),
            (&[b"+1"], None),
            (&[b"-1"], None),
            (&[b""], None),
            (&[b" 0"], None),
            (&[b"ok"], None),
            (&[b"\xff"], None),
            (&[b"0", b"14"], None),
            (&[], None),
        ] {
            assert_eq!(status(&fields(&STATUS, values)), is, "{values:?}");
        }
    }

    #[test]
    fn a_pushback_is_milliseconds_and_a_negative_one_is_none() {
        for (value, is) in [
            (&b"0"[..], Some(0)),
            (b"1500", Some(1_500)),
            (b"-1", None),
            (b"soon", None),
            (b"99999999999999999999", None),
        ] {
            let is = is.map(Duration::from_millis);
            assert_eq!(pushback(&fields(&PUSHBACK, &[value])), is, "{}", value.escape_ascii());
        }
    }
}
