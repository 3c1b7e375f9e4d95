//! Where Redis is: a URL, read.

use std::{borrow::Cow, fmt, path::PathBuf, str::FromStr};

use super::{login::Login, tls};
use crate::error::BoxError;

/// A server, a master that sentinels know, or a cluster.
///
/// - `redis://[user:password@]host[:port][/db]`, and `rediss://` with TLS;
/// - `redis://host,host,…/db?sentinel=NAME`: the hosts are sentinels, user, password and database the
///   master's; `sentinel-user` and `sentinel-password` are for the sentinels;
/// - `redis://host,host,…?cluster`: the hosts are some of its nodes;
/// - `unix:/path`, `unix:///path`, `redis+unix:///path`, with `db`, `user`, `password` as options.
///
/// No error says what it read: any of it may be part of a password that is not percent-encoded.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(super) place: Place,
    pub(super) login: Login,
    pub(super) db: i64,
    pub(super) tls: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    Server(Host),
    Socket(PathBuf),
    Sentinels { hosts: Vec<Host>, master: String, login: Login },
    Cluster(Vec<Host>),
}

/// A name or an address (of IPv6 without brackets), and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, BoxError> {
        if url.contains('#') {
            return Err("a Redis URL has no fragment: a `#` in a password is written `%23`".into());
        }
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("a Redis URL has neither spaces nor control characters".into());
        }
        let (scheme, rest) = url.split_once(':').ok_or(SCHEMES)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let options = Options::parse(query)?;
        match scheme.to_ascii_lowercase().as_str() {
            "redis" => Self::hosts(rest, options, false),
            "rediss" => {
                tls::available()?;
                Self::hosts(rest, options, true)
            }
            "unix" | "redis+unix" => Self::socket(rest, options),
            _ => Err(SCHEMES.into()),
        }
    }

    fn socket(rest: &str, options: Options) -> Result<Self, BoxError> {
        let path = decoded(rest.strip_prefix("//").unwrap_or(rest))?;
        if !path.starts_with('/') || path.ends_with('/') {
            return Err("the path of a Unix socket is absolute: `unix:///path`".into());
        }
        if options.cluster || options.sentinel.is_some() || !options.sentinel_login.is_none() {
            return Err("neither sentinels nor a cluster are reached by a Unix socket".into());
        }
        let db = options.db.unwrap_or(0);
        let login = checked(options.login)?;
        Ok(Self { place: Place::Socket(PathBuf::from(&*path)), login, db, tls: false })
    }

    fn hosts(rest: &str, options: Options, tls: bool) -> Result<Self, BoxError> {
        let rest = rest.strip_prefix("//").ok_or(SCHEMES)?;
        if options.db.is_some() || !options.login.is_none() {
            return Err("`db`, `user` and `password` are options of Unix sockets only: \
                 `redis://user:password@host:port/db`"
                .into());
        }
        let (authority, db) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Login::parse(login)?, hosts),
            None => (Login::default(), authority),
        };
        let db = database(if db.is_empty() { "0" } else { db })?;
        let default_port = if options.sentinel.is_some() { 26_379 } else { 6379 };
        let hosts: Vec<_> = hosts
            .split(',')
            .map(|host| Host::parse(host, default_port))
            .collect::<Result<_, _>>()?;
        let place = match (options.cluster, options.sentinel) {
            (true, Some(_)) => return Err("either a cluster or sentinels, not both".into()),
            (true, None) if db != 0 => return Err("a cluster has no databases".into()),
            (true, None) => Place::Cluster(hosts),
            (false, Some(master)) => {
                Place::Sentinels { hosts, master, login: checked(options.sentinel_login)? }
            }
            (false, None) if !options.sentinel_login.is_none() => {
                return Err("`sentinel-user` and `sentinel-password` go with `sentinel`".into());
            }
            (false, None) => match <[Host; 1]>::try_from(hosts) {
                Ok([host]) => Place::Server(host),
                Err(_) => {
                    return Err("several hosts are a `?cluster`, or `?sentinel=NAME`".into());
                }
            },
        };
        Ok(Self { place, login, db, tls })
    }
}

const SCHEMES: &str = "a Redis URL begins with `redis://`, `rediss://`, `unix:` or `redis+unix://`";

impl FromStr for Address {
    type Err = BoxError;

    fn from_str(url: &str) -> Result<Self, BoxError> {
        Self::parse(url)
    }
}

/// The address without the passwords, and without the users.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hosts, option) = match &self.place {
            Place::Socket(path) => {
                write!(f, "unix://{}", path.display())?;
                return if self.db == 0 { Ok(()) } else { write!(f, "?db={}", self.db) };
            }
            Place::Server(host) => (std::slice::from_ref(host), String::new()),
            Place::Cluster(hosts) => (&hosts[..], "?cluster".to_owned()),
            Place::Sentinels { hosts, master, .. } => (&hosts[..], format!("?sentinel={master}")),
        };
        let hosts: Vec<_> = hosts.iter().map(Host::to_string).collect();
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}", hosts.join(","))?;
        if self.db != 0 {
            write!(f, "/{}", self.db)?;
        }
        f.write_str(&option)
    }
}

impl Host {
    fn parse(text: &str, default_port: u16) -> Result<Self, BoxError> {
        let (name, port) = match text.strip_prefix('[') {
            Some(six) => {
                let (name, port) = six.split_once(']').ok_or("a `[` without its `]`")?;
                name.parse::<std::net::Ipv6Addr>().map_err(|_| "not an IPv6 address in `[]`")?;
                match port.strip_prefix(':') {
                    Some(port) => (name, Some(port)),
                    None if port.is_empty() => (name, None),
                    None => return Err("after `]` comes a port or nothing".into()),
                }
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        if name.is_empty() {
            return Err("a host is empty".into());
        }
        if text.contains(['@', '\\', '%']) {
            return Err(
                "a host has none of `@`, `\\` and `%`: in a password they are percent-encoded"
                    .into(),
            );
        }
        let port = match port.map(str::parse) {
            None => default_port,
            Some(Ok(port)) if port != 0 => port,
            Some(_) => {
                return Err(
                    "a port is a number from 1 to 65535; what is special in a password is \
                     percent-encoded, and an IPv6 address is written in `[]`"
                        .into(),
                );
            }
        };
        Ok(Self { name: name.to_owned(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, port } = self;
        if name.contains(':') { write!(f, "[{name}]:{port}") } else { write!(f, "{name}:{port}") }
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, BoxError> {
        let (user, password) = text
            .split_once(':')
            .ok_or("a user comes with a password: `user:password@` or `:password@`")?;
        checked(Self { user: given(decoded(user)?), password: given(decoded(password)?) })
    }
}

/// Redis knows no user without a password.
fn checked(login: Login) -> Result<Login, BoxError> {
    match login {
        Login { user: Some(_), password: None } => Err("a user comes with a password".into()),
        login => Ok(login),
    }
}

fn given(text: Cow<'_, str>) -> Option<String> {
    (!text.is_empty()).then(|| text.into_owned())
}

fn database(text: &str) -> Result<i64, BoxError> {
    match text.parse::<u32>() {
        Ok(db) => Ok(db.into()),
        Err(_) => Err("a database is a number".into()),
    }
}

/// What stands behind the `?`.
#[derive(Default)]
struct Options {
    cluster: bool,
    sentinel: Option<String>,
    sentinel_login: Login,
    db: Option<i64>,
    login: Login,
}

impl Options {
    fn parse(query: &str) -> Result<Self, BoxError> {
        let mut options = Self::default();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = decoded(value)?;
            if name == "cluster" {
                if !value.is_empty() || std::mem::replace(&mut options.cluster, true) {
                    return Err("`cluster` stands once, without a value".into());
                }
                continue;
            }
            if value.is_empty() {
                return Err("an option that is unknown or has no value".into());
            }
            let twice = match name {
                "sentinel" => options.sentinel.replace(value.into_owned()).is_some(),
                "sentinel-user" => options.sentinel_login.user.replace(value.into()).is_some(),
                "sentinel-password" => {
                    options.sentinel_login.password.replace(value.into()).is_some()
                }
                "db" => options.db.replace(database(&value)?).is_some(),
                "user" => options.login.user.replace(value.into()).is_some(),
                "password" => options.login.password.replace(value.into()).is_some(),
                _ => return Err("an unknown option behind the `?`".into()),
            };
            if twice {
                return Err("an option stands twice".into());
            }
        }
        Ok(options)
    }
}

/// Text whose `%XX` are bytes of it.
fn decoded(text: &str) -> Result<Cow<'_, str>, BoxError> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let byte = piece.get(..2).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.ok_or("after a `%` come two hexadecimal digits")?);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| "what is percent-encoded is UTF-8".into())
}
