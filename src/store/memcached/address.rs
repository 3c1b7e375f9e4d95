//! Where a Memcached server is, and which of several has a key.

use std::fmt;

use crate::{error::BoxError, store::server::WireKey};

const PORT: u16 = 11211;

/// Where a server is: `host`, `host:port`, `[::1]:port` or `unix:/path`.
///
/// Two spellings of one address are equal, so that every process divides the keys alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// A host's name or IP address, without brackets, and a port.
    Tcp(String, u16),
    /// The path of a Unix socket.
    #[cfg(unix)]
    Unix(String),
}

impl Address {
    /// Reads one; the port is 11211 where none is given.
    pub(crate) fn parse(address: &str) -> Result<Self, BoxError> {
        let not = |why: &str| Err(format!("not a Memcached address: {address:?}: {why}").into());
        if let Some(path) = address.strip_prefix("unix:") {
            #[cfg(unix)]
            return match path {
                "" => not("the path of the socket is missing"),
                _ if path.contains('\0') => not("a path has no NUL"),
                _ => Ok(Self::Unix(path.to_owned())),
            };
            #[cfg(not(unix))]
            return not(&format!("no Unix sockets here for {path}"));
        }
        if address.contains("://") {
            return not("write host:port or unix:/path, without a scheme");
        }
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((host, "")) if is_ipv6(host) => (host, None),
                Some((host, port)) if is_ipv6(host) && port.starts_with(':') => {
                    (host, Some(&port[1..]))
                }
                _ => return not("brackets are for an IPv6 address, as in [::1]:11211"),
            },
            None => match address.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return not("an IPv6 address stands in brackets, as in [::1]:11211");
                }
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
        if host.is_empty() || !host.bytes().all(allowed) {
            return not("a host is a name or an IP address");
        }
        let port = match port {
            None => PORT,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                match digits.parse() {
                    Ok(0) | Err(_) => return not("a port is a number from 1 to 65535"),
                    Ok(port) => port,
                }
            }
            Some(_) => return not("a port is a number from 1 to 65535"),
        };
        Ok(Self::Tcp(host.to_ascii_lowercase(), port))
    }

    /// What decides, among several servers, which keys this one has. It follows from the address alone.
    pub(super) fn seed(&self) -> u64 {
        // FNV-1a, which will be tomorrow what it is today: another one would move every key.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, step)
    }
}

fn is_ipv6(host: &str) -> bool {
    let bare = host.split_once('%').map_or(host, |(bare, _)| bare);
    bare.parse::<std::net::Ipv6Addr>().is_ok()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// Which of the servers with these [seeds](Address::seed) has `key`: the one that weighs most for it.
///
/// A server that is added takes its share from each of the others, one that is removed leaves its own
/// to them; no other key moves.
pub(super) fn server_of(key: &WireKey, seeds: &[u64]) -> usize {
    let bytes = key.as_bytes();
    // The end of a key is hexadecimal, and as random as a hash is.
    let random = bytes[bytes.len().saturating_sub(16)..]
        .iter()
        .fold(0, |bits: u64, digit| bits << 4 | u64::from((digit & 15) + (digit >> 6) * 9));
    let weight = |seed: u64| mixed(random ^ mixed(seed));
    let heaviest = (0..seeds.len()).max_by_key(|&server| weight(seeds[server]));
    heaviest.unwrap_or_default()
}

/// The finalizer of SplitMix64: every bit that goes in changes half of those that come out.
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
