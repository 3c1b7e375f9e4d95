//! How heads change on their way through: pure functions over requests and responses.

use http::{
    HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request, response,
    uri::{Authority, PathAndQuery, Scheme},
};
use ipnet::IpNet;
use std::net::IpAddr;

use crate::{
    forwarded::{self, Came, Claims},
    hop::{self, OneHop},
};

/// A request that goes no further, and what its client is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) text: &'static str,
}

impl Refusal {
    pub(crate) const fn bad(text: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text }
    }

    pub(crate) const fn unsupported(text: &'static str) -> Self {
        Self { status: StatusCode::NOT_IMPLEMENTED, text }
    }
}

/// Makes a client's request one that the layers can read: an absolute target that says all that
/// the origin will be told of scheme and host, and no field that another hop could have meant.
///
/// `nameless` is the host of an HTTP/1.0 request that names none.
pub(crate) fn receive(
    head: &mut request::Parts,
    peer: IpAddr,
    trusted: &[IpNet],
    nameless: &Authority,
) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::unsupported("CONNECT is not supported: this is no tunnel"));
    }
    if head.headers.contains_key(header::UPGRADE) {
        return Err(Refusal::unsupported("Upgrade is not supported: send the request without it"));
    }
    let (named, path) = target(head, nameless)?;
    hop::undone(&head.headers)?;
    let one_hop = hop::drop_fields(&mut head.headers, None);
    if one_hop.wrong {
        return Err(Refusal::bad("Connection names a field that is not for one hop"));
    }

    let believed = trusted.iter().any(|network| network.contains(&peer));
    let claims = match believed {
        true => forwarded::claims(&head.headers, trusted)?,
        false => Claims::default(),
    };
    // h2 has the scheme in the request; only a trusted proxy can know better than the socket.
    let scheme = match (claims.scheme, head.uri.scheme()) {
        (Some(scheme), _) => scheme,
        (None, Some(scheme)) if believed => scheme.clone(),
        _ => Scheme::HTTP,
    };
    let same = normal(&named.shown, &scheme) == normal(&named.other, &scheme);
    if !same {
        return Err(Refusal::bad("Host and the request's target name different hosts"));
    }
    let came = Came::new(peer, claims.client, head.version, &head.headers, believed);
    forwarded::drop_fields(&mut head.headers, believed);

    let shown = claims.host.as_ref().unwrap_or(&named.shown);
    let authority = normal(shown, &scheme).ok_or(NO_HOST)?;
    if claims.host.is_some() || !head.headers.contains_key(header::HOST) {
        let host = HeaderValue::from_str(shown.as_str()).map_err(|_| NO_HOST)?;
        head.headers.insert(header::HOST, host);
    }
    head.uri = absolute(scheme, authority, path)?;
    head.extensions.insert(came);
    if !one_hop.is_empty() {
        head.extensions.insert(one_hop);
    }
    Ok(())
}

/// The head of a GET of `url`, as the layers see it: of a client that came through a trusted proxy,
/// if there is any to say what scheme it used.
pub(crate) fn head_for(url: &str, trusted: &[IpNet]) -> Result<request::Parts, Refusal> {
    let mut head = http::Request::new(()).into_parts().0;
    head.uri = Uri::try_from(url).map_err(|_| Refusal::bad("that is no URL"))?;
    head.version = Version::HTTP_2;
    let peer = trusted.first().map_or(IpAddr::from([127, 0, 0, 1]), IpNet::addr);
    receive(&mut head, peer, trusted, &Authority::from_static("nobody"))?;
    Ok(head)
}

/// Makes a request of the layers one that can be sent to the origin at `address`.
pub(crate) fn send_on(head: &mut request::Parts, address: &Authority, version: Version) {
    let came = head.extensions.remove::<Came>();
    if !head.headers.contains_key(header::HOST) {
        let named = head.uri.authority().unwrap_or(address);
        if let Ok(host) = HeaderValue::from_str(named.as_str()) {
            head.headers.insert(header::HOST, host);
        }
    }
    forwarded::tell(&mut head.headers, &head.uri, came.as_ref());
    let received = came.map_or(head.version, |came| came.version);
    head.headers.append(header::VIA, via(received));
    // Trailers are kept for whoever reads them, so this hop always wants them.
    head.headers.insert(header::TE, HeaderValue::from_static("trailers"));

    let path = head.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    if version == Version::HTTP_2 {
        // In HTTP/2 the host kept is the target's; where to connect is not its business.
        let host = head.headers.remove(header::HOST);
        let kept = host.and_then(|host| authority(host.as_bytes()));
        let kept = kept.or_else(|| head.uri.authority().cloned());
        let kept = kept.unwrap_or_else(|| address.clone());
        let scheme = head.uri.scheme().cloned().unwrap_or(Scheme::HTTP);
        if let Ok(uri) = absolute(scheme, kept, path) {
            head.uri = uri;
        }
    } else {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        if let Ok(uri) = absolute(Scheme::HTTP, address.clone(), path) {
            head.uri = uri;
        }
    }
    head.version = version;
}

/// Makes the origin's response one that the layers may keep. They still see how it was framed: by
/// its version, its `Content-Length`, its `Transfer-Encoding`, or by nothing but the connection.
///
/// `tags` is the field that it may be tagged in, if it may.
pub(crate) fn answered(head: &mut response::Parts, tags: Option<&HeaderName>) -> OneHop {
    let coding = head.headers.get(header::TRANSFER_ENCODING).cloned();
    // What a `Connection` of the origin's should not name is no reason to fail its answer.
    let one_hop = hop::drop_fields(&mut head.headers, tags);
    if let Some(coding) = coding {
        head.headers.insert(header::TRANSFER_ENCODING, coding);
    }
    head.headers.append(header::VIA, via(head.version));
    one_hop
}

/// Makes what the layers answer with a response that any client may be sent.
pub(crate) fn answer<B>(response: &mut http::Response<B>) {
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    *response.version_mut() = Version::HTTP_11;
}

fn via(received: Version) -> HeaderValue {
    HeaderValue::from_static(match received {
        Version::HTTP_09 => "0.9 seawall",
        Version::HTTP_10 => "1.0 seawall",
        Version::HTTP_2 => "2 seawall",
        Version::HTTP_3 => "3 seawall",
        _ => "1.1 seawall",
    })
}

const NO_HOST: Refusal = Refusal::bad("the request names no host that can be read");

/// The host as the client wrote it, in the two places where it may.
struct Named {
    shown: Authority,
    other: Authority,
}

fn target(head: &request::Parts, nameless: &Authority) -> Result<(Named, PathAndQuery), Refusal> {
    const ODD: Refusal = Refusal::bad("the request's target is neither a path nor an http URL");
    let uri = &head.uri;
    match uri.scheme() {
        Some(scheme) if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS => return Err(ODD),
        None if uri.authority().is_some() => return Err(ODD),
        _ => {}
    }
    let path = match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        // `http://host?query` has the path `/`.
        Some(path) if path.as_str().starts_with('?') && uri.scheme().is_some() => {
            PathAndQuery::try_from(format!("/{}", path.as_str())).map_err(|_| ODD)?
        }
        None if uri.scheme().is_some() => PathAndQuery::from_static("/"),
        _ => return Err(ODD),
    };
    let in_target = match uri.authority() {
        Some(found) if found.as_str().contains('@') => {
            return Err(Refusal::bad("the request's target has a user name"));
        }
        Some(found) => Some(authority(found.as_str().as_bytes()).ok_or(NO_HOST)?),
        None => None,
    };
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let in_host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Refusal::bad("the request has more than one Host")),
        (Some(host), None) => Some(authority(host.as_bytes()).ok_or(NO_HOST)?),
        (None, _) if head.version == Version::HTTP_11 => {
            return Err(Refusal::bad("an HTTP/1.1 request needs a Host"));
        }
        (None, _) => None,
    };
    let named = match (in_host, in_target) {
        (Some(shown), Some(other)) => Named { shown, other },
        (Some(one), None) | (None, Some(one)) => Named { shown: one.clone(), other: one },
        (None, None) if head.version < Version::HTTP_11 => {
            Named { shown: nameless.clone(), other: nameless.clone() }
        }
        (None, None) => return Err(NO_HOST),
    };
    Ok((named, path))
}

/// A host and perhaps a port, without a user name.
pub(crate) fn authority(text: &[u8]) -> Option<Authority> {
    let found = Authority::try_from(text).ok()?;
    let host = found.host();
    let port = found.as_str().strip_prefix(host)?;
    let whole = matches!(port, "" | ":") || found.port_u16().is_some();
    (whole && !host.is_empty()).then_some(found)
}

/// The same host and port always in the same bytes: lower case, without a default port.
fn normal(found: &Authority, scheme: &Scheme) -> Option<Authority> {
    let host = found.host().to_ascii_lowercase();
    let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    match found.port_u16() {
        Some(port) if port != default => Authority::try_from(format!("{host}:{port}")).ok(),
        _ => Authority::try_from(host).ok(),
    }
}

fn absolute(scheme: Scheme, authority: Authority, path: PathAndQuery) -> Result<Uri, Refusal> {
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|_| NO_HOST)
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
