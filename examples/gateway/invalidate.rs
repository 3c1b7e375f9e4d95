//! `/invalidate`: what the operator wants to be gone, or stale, read from the query.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{Empty, Full};
use ipnet::IpNet;
use seawall::{Invalidation, Invalidator};
use serde_json::json;

use crate::{
    plain::{json_text, plain},
    proxy, stack,
};

/// Invalidates what the query of a request names.
#[derive(Clone)]
pub(crate) struct Invalidate {
    invalidator: Invalidator,
    trusted: Vec<IpNet>,
}

impl Invalidate {
    /// `trusted` are the proxies that may say which scheme a client used: keys have it.
    pub(crate) fn new(invalidator: Invalidator, trusted: Vec<IpNet>) -> Self {
        Self { invalidator, trusted }
    }

    pub(crate) async fn answer(&self, query: &str) -> http::Response<Full<Bytes>> {
        match read(query, &self.trusted) {
            Ok(invalidation) => {
                let done = self.invalidator.invalidate(&invalidation).await;
                json_text(&json!({ "local": done.local, "journal": done.journal.to_string() }))
            }
            Err(wrong) => plain(StatusCode::BAD_REQUEST, wrong),
        }
    }
}

const NOTHING: &str = "the query names what to invalidate: key=METHOD%20URL, uri=URL, tag=A or all";
const SEVERAL: &str = "the query names one of key, uri, tag and all, and only tag may repeat";
const UNKNOWN: &str =
    "the query has key, uri, tag, all and soft, and in a value & is %26, + is %2B and % is %25";
const UNREADABLE: &str = "the query is not percent-encoded UTF-8: a lone % is written %25";
const NO_VALUE: &str = "all and soft take no value";
const NO_TAG: &str = "a tag is one word without commas: to name several, repeat tag";
const NO_URL: &str =
    "a URL is http://host/path as clients ask for it, without spaces or a user name";
const NO_KEY: &str = "a key is GET or HEAD, a space (%20) and a URL: nothing else is kept";

fn read(query: &str, trusted: &[IpNet]) -> Result<Invalidation, &'static str> {
    let (mut keys, mut uris, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    let (mut all, mut soft) = (false, false);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = decoded(name).zip(decoded(value)).ok_or(UNREADABLE)?;
        match &*name {
            "key" => keys.push(value),
            "uri" => uris.push(value),
            "tag" => tags.push(value),
            "all" | "soft" if !value.is_empty() => return Err(NO_VALUE),
            "all" => all = true,
            "soft" => soft = true,
            _ => return Err(UNKNOWN),
        }
    }
    let found = match (&*keys, &*uris, &*tags, all) {
        ([], [], [], false) => return Err(NOTHING),
        ([key], [], [], false) => by_key(key, trusted)?,
        ([], [uri], [], false) => {
            let asked = asked(uri, trusted)?;
            Invalidation::uri(asked.uri()).map_err(|_| NO_URL)?
        }
        ([], [], [_, ..], false) => by_tags(tags)?,
        ([], [], [], true) => Invalidation::everything(),
        _ => return Err(SEVERAL),
    };
    Ok(if soft { found.soft() } else { found })
}

/// GET and HEAD are answered by the same entry.
fn by_key(key: &str, trusted: &[IpNet]) -> Result<Invalidation, &'static str> {
    match key.split_once(' ') {
        Some(("GET" | "HEAD", url)) => {
            Invalidation::key(&stack::key(), &asked(url, trusted)?).map_err(|_| NO_URL)
        }
        _ => Err(NO_KEY),
    }
}

fn by_tags(tags: Vec<String>) -> Result<Invalidation, &'static str> {
    // No answer has such a tag: to accept it would be to do nothing and say that it was done.
    let is_none = |tag: &String| tag.is_empty() || tag.contains([' ', '\t', ',']);
    match tags.iter().any(is_none) {
        true => Err(NO_TAG),
        false => Ok(Invalidation::tags(tags)),
    }
}

/// A GET of this URL as the layers see it, when a client has sent it.
fn asked(url: &str, trusted: &[IpNet]) -> Result<Request<Empty<Bytes>>, &'static str> {
    let head = proxy::head_for(url, trusted).map_err(|_| NO_URL)?;
    Ok(Request::from_parts(head, Empty::new()))
}

/// A part of a query as forms are encoded, which is what tools make of it: `+` is a space.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).ok()?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Invalidation, &'static str> {
        read(query, &[])
    }

    #[test]
    fn there_are_four_kinds_each_hard_or_soft() {
        let uri = Invalidation::uri(&"http://a/b?c".parse().unwrap()).unwrap();
        let request = Request::get("http://a/b?c").body(Empty::<Bytes>::new()).unwrap();
        let key = Invalidation::key(&stack::key(), &request).unwrap();
        for (query, expected) in [
            ("uri=http://a/b?c", uri.clone()),
            ("uri=http%3A%2F%2Fa%2fb%3Fc", uri.clone()),
            ("key=GET%20http://a/b?c", key.clone()),
            ("key=HEAD+http://a/b?c", key),
            ("tag=a", Invalidation::tag("a")),
            ("tag=a&tag=%C3%A4%2B", Invalidation::tags(["a", "ä+"])),
            ("all", Invalidation::everything()),
            ("all=", Invalidation::everything()),
        ] {
            assert_eq!(of(query), Ok(expected.clone()), "{query}");
            for soft in [format!("{query}&soft"), format!("soft=&{query}")] {
                assert_eq!(of(&soft), Ok(expected.clone().soft()), "{soft}");
            }
        }
    }

    #[test]
    fn whatever_else_is_said_is_answered_with_a_sentence() {
        for (query, expected) in [
            ("", NOTHING),
            ("soft", NOTHING),
            ("&&", NOTHING),
            ("all&tag=a", SEVERAL),
            ("uri=http://a/&key=GET%20http://a/", SEVERAL),
            ("uri=http://a/&uri=http://b/", SEVERAL),
            ("key=GET%20http://a/&key=GET%20http://b/", SEVERAL),
            ("tags=a", UNKNOWN),
            ("uri=http://a/b?c=d&e=f", UNKNOWN),
            ("ALL", UNKNOWN),
            ("all=true", NO_VALUE),
            ("all&soft=0", NO_VALUE),
            ("tag", NO_TAG),
            ("tag=a&tag=", NO_TAG),
            ("tag=a%2Cb", NO_TAG),
            ("tag=a+b", NO_TAG),
            ("tag=50%", UNREADABLE),
            ("tag=%4", UNREADABLE),
            ("tag=%+1", UNREADABLE),
            ("tag=%ff", UNREADABLE),
            ("key=http://a/", NO_KEY),
            ("key=POST%20http://a/", NO_KEY),
            ("key=get%20http://a/", NO_KEY),
            ("key=GET%20/a", NO_URL),
            ("key=GET%20%20http://a/", NO_URL),
            ("uri=", NO_URL),
            ("uri=/a", NO_URL),
            ("uri=a", NO_URL),
            ("uri=*", NO_URL),
            ("uri=ftp://a/", NO_URL),
            ("uri=http://me@a/", NO_URL),
            ("uri=http://a:x/", NO_URL),
            ("uri=http://a/b c", NO_URL),
            ("uri=http:///a", NO_URL),
        ] {
            assert_eq!(of(query), Err(expected), "{query}");
        }
    }

    #[test]
    fn a_url_is_asked_for_with_its_scheme_only_where_a_proxy_can_say_it() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let of = |scheme: &str, trusted: &[IpNet]| {
            read(&format!("key=GET%20{scheme}://a/"), trusted).unwrap()
        };
        assert_eq!(of("https", &[]), of("http", &[]));
        assert_ne!(of("https", &trusted), of("http", &trusted));
        assert_eq!(of("http", &trusted), of("http", &[]));
    }
}
