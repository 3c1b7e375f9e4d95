//! `Forwarded` (RFC 7239) and `X-Forwarded-*`: whom to believe, and what to say ourselves.

use std::net::{IpAddr, Ipv6Addr};

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version, header,
    uri::{Authority, Scheme},
};
use ipnet::IpNet;

use crate::{
    hop,
    proxy::{Refusal, authority},
};

pub(crate) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How a request came to us: what the origin is told of it, kept out of the layers' sight, who
/// would take it for something that the answer depends on.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    peer: IpAddr,
    client: IpAddr,
    pub(crate) version: Version,
    forwarded: Vec<HeaderValue>,
    forwarded_for: Vec<HeaderValue>,
}

impl Came {
    /// `client`: who is behind the trusted proxies, where they say it.
    pub(crate) fn new(
        peer: IpAddr,
        client: Option<IpAddr>,
        version: Version,
        headers: &HeaderMap,
        believed: bool,
    ) -> Self {
        let client = client.unwrap_or(peer).to_canonical();
        let earlier = |name: HeaderName| match believed {
            true => headers.get_all(name).iter().cloned().collect(),
            false => Vec::new(),
        };
        let (forwarded, forwarded_for) = (earlier(header::FORWARDED), earlier(FOR));
        Self { peer, client, version, forwarded, forwarded_for }
    }

    /// Who asks, as far as quotas are concerned: an IPv4 address, or the /64 of an IPv6 one, of which
    /// one host has as many as it likes.
    pub(crate) fn account(&self) -> IpAddr {
        match self.client {
            IpAddr::V4(_) => self.client,
            IpAddr::V6(address) => {
                IpAddr::from(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
        }
    }
}

/// Removes what is told anew, and what only a trusted proxy may say.
pub(crate) fn drop_fields(headers: &mut HeaderMap, believed: bool) {
    for name in [header::FORWARDED, FOR, HOST, PROTO] {
        headers.remove(name);
    }
    if believed {
        return;
    }
    let claims: Vec<HeaderName> =
        headers.keys().filter(|name| hop::is_forwarding(name.as_str())).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Tells the origin how the request came: scheme and host as they stand in the target.
pub(crate) fn tell(headers: &mut HeaderMap, target: &Uri, came: Option<&Came>) {
    let host = target.authority().map_or("", Authority::as_str);
    let proto = target.scheme_str().unwrap_or("http");
    let element = match came.map(|came| came.peer) {
        Some(IpAddr::V4(peer)) => format!("for={peer};host=\"{host}\";proto={proto}"),
        Some(IpAddr::V6(peer)) => format!("for=\"[{peer}]\";host=\"{host}\";proto={proto}"),
        None => format!("host=\"{host}\";proto={proto}"),
    };
    set(headers, header::FORWARDED, came.map_or(&[], |came| &came.forwarded), &element);
    if let Some(came) = came {
        set(headers, FOR, &came.forwarded_for, &came.peer.to_string());
    }
    set(headers, HOST, &[], host);
    set(headers, PROTO, &[], proto);
}

fn set(headers: &mut HeaderMap, name: HeaderName, earlier: &[HeaderValue], last: &str) {
    let mut list = Vec::new();
    for value in earlier {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(last.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

/// What trusted proxies say about the request that the first of them received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) host: Option<Authority>,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) client: Option<IpAddr>,
}

/// Reads the fields of a trusted peer. Lists are read from their end, the part that trusted
/// proxies wrote, and not beyond it.
pub(crate) fn claims(headers: &HeaderMap, trusted: &[IpNet]) -> Result<Claims, Refusal> {
    const UNREADABLE: Refusal = Refusal::bad("Forwarded cannot be read");
    const HOST_ODD: Refusal = Refusal::bad("the forwarded host cannot be read");
    const PROTO_ODD: Refusal = Refusal::bad("the forwarded protocol is neither http nor https");
    const DISAGREE: Refusal = Refusal::bad("Forwarded and X-Forwarded-* disagree");
    let knows = |addr: IpAddr| trusted.iter().any(|network| network.contains(&addr));

    let elements = elements(headers).ok_or(UNREADABLE)?;
    let first = elements.iter().rev().take_while(|element| element.by_for(knows)).count();
    let element = from_end(&elements, first);

    let addresses = list(headers, FOR);
    let first = addresses.iter().rev().take_while(|text| node(text).is_some_and(knows)).count();
    let x_host = from_end(&list(headers, HOST), first).cloned();
    let x_proto = from_end(&list(headers, PROTO), first).cloned();
    let x_client = from_end(&addresses, first).and_then(|text| node(text));
    let client = element.and_then(|element| node(element.client.as_deref()?));

    let host = |text: Option<&String>| {
        text.map(|text| authority(text.as_bytes()).ok_or(HOST_ODD)).transpose()
    };
    let scheme = |text: Option<&String>| {
        text.map(|text| match text.to_ascii_lowercase().as_str() {
            "http" => Ok(Scheme::HTTP),
            "https" => Ok(Scheme::HTTPS),
            _ => Err(PROTO_ODD),
        })
        .transpose()
    };
    Ok(Claims {
        client: clients_agree(client, x_client, knows).ok_or(DISAGREE)?,
        host: agreed(
            host(element.and_then(|element| element.host.as_ref()))?,
            host(x_host.as_ref())?,
        )
        .ok_or(DISAGREE)?,
        scheme: agreed(
            scheme(element.and_then(|element| element.proto.as_ref()))?,
            scheme(x_proto.as_ref())?,
        )
        .ok_or(DISAGREE)?,
    })
}

/// A proxy that writes the one field and passes the other on would believe its own client.
#[allow(clippy::option_option, reason = "the outer one is whether they agree")]
fn agreed<T: PartialEq>(one: Option<T>, other: Option<T>) -> Option<Option<T>> {
    match (one, other) {
        (Some(one), Some(other)) => (one == other).then_some(Some(one)),
        (one, other) => Some(one.or(other)),
    }
}

/// Where the one list ends with a trusted proxy, it has not heard of the client, and the other may have.
#[allow(clippy::option_option, reason = "the outer one is whether they agree")]
fn clients_agree(
    one: Option<IpAddr>,
    other: Option<IpAddr>,
    knows: impl Fn(IpAddr) -> bool,
) -> Option<Option<IpAddr>> {
    let client = |named: Option<IpAddr>| named.filter(|client| !knows(*client));
    match agreed(client(one), client(other))? {
        None => Some(one.or(other)),
        client => Some(client),
    }
}

/// The member that is `skip` from the end, or the first if there are fewer.
fn from_end<T>(list: &[T], skip: usize) -> Option<&T> {
    list.iter().rev().nth(skip).or_else(|| list.first())
}

fn list(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    let values = headers.get_all(name);
    let members = values.iter().filter_map(|value| value.to_str().ok());
    let members = members.flat_map(|value| value.split(','));
    members.map(|member| member.trim().to_owned()).filter(|member| !member.is_empty()).collect()
}

/// One element of `Forwarded`: what one proxy says.
#[derive(Default)]
struct Element {
    client: Option<String>,
    host: Option<String>,
    proto: Option<String>,
}

impl Element {
    /// Whether its `for` is an address that is known.
    fn by_for(&self, knows: impl Fn(IpAddr) -> bool) -> bool {
        self.client.as_deref().and_then(node).is_some_and(knows)
    }
}

/// The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or with a port.
fn node(text: &str) -> Option<IpAddr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if text.matches(':').count() == 1 => text.split_once(':')?.0,
        None => text,
    };
    bare.parse::<IpAddr>().ok().map(|addr| addr.to_canonical())
}

/// Every element of every `Forwarded`; `None` if one cannot be read.
fn elements(headers: &HeaderMap) -> Option<Vec<Element>> {
    let mut found = Vec::new();
    for value in headers.get_all(header::FORWARDED) {
        let text = value.to_str().ok()?;
        for part in split(text, ',')? {
            let mut element = Element::default();
            for pair in split(part, ';')? {
                let (name, value) = pair.split_once('=')?;
                let place = match name.trim().to_ascii_lowercase().as_str() {
                    "for" => &mut element.client,
                    "host" => &mut element.host,
                    "proto" => &mut element.proto,
                    _ => continue,
                };
                if place.replace(unquoted(value.trim())?).is_some() {
                    return None;
                }
            }
            found.push(element);
        }
    }
    Some(found)
}

/// Splits where `at` stands outside quotes, leaving out empty parts; `None` if a quote stays open.
fn split(text: &str, at: char) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == at && !quoted => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    (!quoted).then_some(parts)
}

fn unquoted(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else {
        return (!text.is_empty() && !text.contains('"')).then(|| text.to_owned());
    };
    let mut plain = String::new();
    let mut chars = inner.strip_suffix('"')?.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&'static str, &'static str)]) -> Result<Claims, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        claims(&headers, &["10.0.0.0/8".parse().unwrap()])
    }

    fn host_of(fields: &[(&'static str, &'static str)]) -> String {
        read(fields).unwrap().host.map_or_else(String::new, |host| host.to_string())
    }

    #[test]
    fn both_kinds_are_read() {
        let forwarded = read(&[("forwarded", "for=192.0.2.1;Host=\"a:81\";proto=https")]).unwrap();
        let x = read(&[("x-forwarded-host", "a:81"), ("x-forwarded-proto", "HTTPS")]).unwrap();
        assert_eq!(forwarded.client, Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(Claims { client: None, ..forwarded }, x);
        assert_eq!((x.host.unwrap().as_str(), x.scheme), ("a:81", Some(Scheme::HTTPS)));
        assert_eq!(read(&[]), Ok(Claims::default()));
    }

    #[test]
    fn lists_are_read_from_the_end_as_far_as_they_are_trusted() {
        let evil = "for=1.1.1.1;host=evil, for=192.0.2.1;host=good";
        assert_eq!(host_of(&[("forwarded", evil)]), "good");
        let chain =
            "for=1.1.1.1;host=evil, for=192.0.2.1;host=good, for=\"10.1.1.1:99\";host=inner";
        assert_eq!(host_of(&[("forwarded", chain)]), "good");
        let x = [("x-forwarded-for", "1.1.1.1, 192.0.2.1, 10.1.1.1")];
        assert_eq!(host_of(&[x[0], ("x-forwarded-host", "evil, good, inner")]), "good");
        assert_eq!(host_of(&[x[0], ("x-forwarded-host", "only")]), "only");
    }

    #[test]
    fn the_client_is_whoever_the_outermost_trusted_proxy_saw() {
        let client = |fields| read(fields).unwrap().client.map(|client| client.to_string());
        let chain = [("x-forwarded-for", "1.1.1.1, 192.0.2.1, 10.1.1.1")];
        assert_eq!(client(&chain).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&[("x-forwarded-for", "unknown")]), None);
        let mixed = [("x-forwarded-for", "192.0.2.1, 10.0.0.1"), ("forwarded", "for=10.0.0.1")];
        assert_eq!(client(&mixed).as_deref(), Some("192.0.2.1"));
        let inside = [("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.2")];
        assert!(client(&inside).is_some());
        let forwarded = [("forwarded", "for=1.1.1.1, for=\"[2001:db8::7]:80\"")];
        assert_eq!(client(&forwarded).as_deref(), Some("2001:db8::7"));
    }

    #[test]
    fn quotas_are_by_ipv4_address_or_by_ipv6_network() {
        let account = |client: &str| {
            let (peer, client) = (IpAddr::from([10, 0, 0, 1]), client.parse().ok());
            let came = Came::new(peer, client, Version::HTTP_11, &HeaderMap::new(), true);
            came.account().to_string()
        };
        assert_eq!(account("192.0.2.1"), "192.0.2.1");
        assert_eq!(account("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(account("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(account("unknown"), "10.0.0.1");
    }

    #[test]
    fn what_cannot_be_read_or_disagrees_is_refused() {
        for fields in [
            &[("forwarded", "host=a"), ("x-forwarded-host", "b")][..],
            &[("forwarded", "proto=http"), ("x-forwarded-proto", "https")],
            &[("forwarded", "host=\"a")],
            &[("forwarded", "host")],
            &[("forwarded", "host=a;host=b")],
            &[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.2")],
            &[("x-forwarded-host", "a@b")],
            &[("x-forwarded-host", "a b")],
            &[("x-forwarded-proto", "gopher")],
        ] {
            assert!(read(fields).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn addresses_come_in_many_shapes() {
        for text in ["10.0.0.1", "10.0.0.1:80", "[2001:db8::1]:80", "2001:db8::1", "[::1]"] {
            assert!(node(text).is_some(), "{text}");
        }
        for text in ["unknown", "_hidden", "", "[", "a:80"] {
            assert!(node(text).is_none(), "{text}");
        }
    }
}
