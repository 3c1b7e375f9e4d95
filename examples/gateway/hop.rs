//! What is for one hop: fields that go no further, transfer codings, and what may follow a body.

use http::{HeaderMap, HeaderName, header};

use crate::proxy::Refusal;

/// The fields that a message's `Connection` names, which are for one hop in its trailers too.
#[derive(Clone, Debug, Default)]
pub(crate) struct OneHop {
    names: Vec<HeaderName>,
    /// Among them was one that is for all hops; it is left where it is.
    pub(crate) wrong: bool,
}

impl OneHop {
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// The most fields that `Connection` may name beside those that never go on.
const MOST_NAMES: usize = 64;

const ALWAYS: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::UPGRADE,
];

/// RFC 9110 §7.6.1, and the names it allows `Connection` to give. `tags`: a field that the
/// operator has said an answer depends on.
pub(crate) fn drop_fields(headers: &mut HeaderMap, tags: Option<&HeaderName>) -> OneHop {
    let mut one_hop = OneHop::default();
    for value in headers.get_all(header::CONNECTION) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            match HeaderName::from_bytes(name.trim_ascii()) {
                Ok(name) if is_end_to_end(&name) || tags == Some(&name) => one_hop.wrong = true,
                Ok(name) if ALWAYS.contains(&name) || name == "close" => {}
                Ok(name) if one_hop.names.contains(&name) => {}
                // More names than this are no sensible hop's: what they name goes on.
                Ok(_) if one_hop.names.len() == MOST_NAMES => one_hop.wrong = true,
                Ok(name) => one_hop.names.push(name),
                Err(_) => {}
            }
        }
    }
    for name in ALWAYS.iter().chain(&one_hop.names) {
        headers.remove(name);
    }
    // The body has been framed by hyper, which frames it again for the next hop: a length beside
    // a transfer coding was never true.
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        headers.remove(header::CONTENT_LENGTH);
    }
    one_hop
}

/// Fields that must go on if they came, or the answer would be another one than the client, and a
/// cache between, takes it for: all that changes what is answered, or says who may have it, for
/// how long and until what happens.
fn is_end_to_end(name: &HeaderName) -> bool {
    let always = [
        header::AGE,
        header::ALLOW,
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::COOKIE,
        header::DATE,
        header::ETAG,
        header::EXPECT,
        header::EXPIRES,
        header::FORWARDED,
        header::HOST,
        header::LAST_MODIFIED,
        header::LOCATION,
        header::PRAGMA,
        header::RANGE,
        header::RETRY_AFTER,
        header::SET_COOKIE,
        header::VARY,
        header::VIA,
        header::WARNING,
        header::WWW_AUTHENTICATE,
    ];
    let text = name.as_str();
    let starts = ["accept", "authentication-", "cache-", "content-", "if-", "surrogate-"];
    always.contains(name)
        || is_forwarding(text)
        || text.ends_with("-cache-control")
        || starts.iter().any(|start| text.starts_with(start))
}

/// What proxies say of a request, and what some origins take for its target or its method.
pub(crate) fn is_forwarding(name: &str) -> bool {
    let odd = ["forwarded", "x-original-url", "x-rewrite-url", "x-http-method-override"];
    name.starts_with("x-forwarded-") || odd.contains(&name)
}

/// Refuses a request whose body hyper has not undone, or not all of it: it undoes chunks, once.
/// Where another coding is under them, RFC 9112 §6.1 wants 501; chunks in chunks it forbids.
pub(crate) fn undone(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut chunked = false;
    for coding in codings(headers) {
        if coding.eq_ignore_ascii_case(b"chunked") && !chunked {
            chunked = true;
            continue;
        }
        let name = name_of(coding);
        if HeaderName::from_bytes(name).is_ok() && !name.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::unsupported("of the transfer codings, only chunked is supported"));
        }
        return Err(Refusal::bad("Transfer-Encoding is more or other than one chunked"));
    }
    Ok(())
}

/// Whether what hyper has read of an answer's body is its content. hyper undoes chunks where
/// `chunked` comes last, and nothing else.
///
/// A coding is not ours to leave out of the head (RFC 9112 §6.1) while the body still has it: such
/// an answer is none that can be kept or passed on. These are codings under chunks, whatever they
/// are, and those that are registered (§7, where chunks belong to them), wherever they stand.
/// A name that is no coding, with nothing after it, does not change the body, which ends with the
/// connection (§6.3); nor does `identity`, which once was one.
pub(crate) fn is_content(headers: &HeaderMap) -> bool {
    const REGISTERED: [&[u8]; 6] =
        [b"chunked", b"compress", b"deflate", b"gzip", b"x-compress", b"x-gzip"];
    let all: Vec<&[u8]> = codings(headers).collect();
    match all.split_last() {
        Some((last, under)) if last.eq_ignore_ascii_case(b"chunked") => {
            under.iter().all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
        }
        _ => all.iter().all(|coding| {
            let name = name_of(coding).to_ascii_lowercase();
            !REGISTERED.contains(&&name[..])
        }),
    }
}

/// Every member of every `Transfer-Encoding`, the empty ones too.
fn codings(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// A coding without its parameters.
fn name_of(coding: &[u8]) -> &[u8] {
    coding.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// Removes from trailers what is for one hop, and what has to be known before the content is:
/// RFC 9110 §6.5.1 forbids what frames or routes a message, asks on conditions, authenticates,
/// rules over an answer or says how to read it. HTTP/2 would break off over some of them.
pub(crate) fn clean(trailers: &mut HeaderMap, one_hop: &OneHop) {
    let wrong = |name: &&HeaderName| {
        ALWAYS.contains(name) || one_hop.names.contains(name) || is_for_heads(name)
    };
    let wrong: Vec<HeaderName> = trailers.keys().filter(wrong).cloned().collect();
    for name in wrong {
        trailers.remove(name);
    }
}

fn is_for_heads(name: &HeaderName) -> bool {
    let always = [
        header::AGE,
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_LOCATION,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::DATE,
        header::EXPECT,
        header::EXPIRES,
        header::HOST,
        header::LOCATION,
        header::MAX_FORWARDS,
        header::PRAGMA,
        header::RANGE,
        header::RETRY_AFTER,
        header::SET_COOKIE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::VARY,
        header::VIA,
        header::WARNING,
        header::WWW_AUTHENTICATE,
    ];
    let text = name.as_str();
    always.contains(name)
        || is_forwarding(text)
        || text.starts_with("if-")
        || text.ends_with("-cache-control")
}

#[cfg(test)]
#[path = "hop_tests.rs"]
mod tests;
