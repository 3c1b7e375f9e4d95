//! The command line and the environment: what the gateway can be told, and how it says no.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Parser, ValueEnum, builder::BoolishValueParser, error::ErrorKind};
use http::{
    HeaderName, Uri,
    uri::{Authority, PathAndQuery},
};
use ipnet::IpNet;
use seawall::cache::is_grpc_method;

/// A caching reverse proxy in front of one origin. Without `--origin` it brings a demo origin.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway")]
pub(crate) struct Flags {
    /// The origin: http://host:port, or h2c://host:port for HTTP/2 with prior knowledge
    #[arg(long, value_name = "URL", env = "SEAWALL_ORIGIN")]
    pub(crate) origin: Option<OriginUrl>,
    /// Where clients are served, HTTP/1.1 and h2c
    #[arg(long, value_name = "ADDR", env = "SEAWALL_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Where the operator is served
    #[arg(long, value_name = "ADDR", env = "SEAWALL_ADMIN", default_value = "127.0.0.1:8081")]
    pub(crate) admin: SocketAddr,
    /// The file whose content the operator sends as `Authorization: Bearer`
    #[arg(long, value_name = "F", env = "SEAWALL_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Proxies whose Forwarded and X-Forwarded-* are believed (may repeat)
    #[arg(long, value_name = "CIDR", env = "SEAWALL_TRUSTED_PROXY", value_delimiter = ',')]
    #[arg(value_parser = network)]
    pub(crate) trusted_proxy: Vec<IpNet>,
    /// How strictly HTTP's caching rules are read
    #[arg(long, env = "SEAWALL_PROFILE", value_enum, default_value = "safe")]
    pub(crate) profile: Profile,
    /// Three leniencies beyond RFC 9111, to compare conformance with caches that have them
    #[arg(long, env = "SEAWALL_LENIENT", value_parser = BoolishValueParser::new())]
    pub(crate) lenient: bool,
    /// What the responses kept in memory may weigh
    #[arg(long, value_name = "SIZE", env = "SEAWALL_MEMORY", default_value = "256MiB")]
    #[arg(value_parser = size)]
    pub(crate) memory: u64,
    /// Keeps answers in Redis as well, for other gateways too: redis://, rediss://, unix:, with
    /// ?cluster or ?sentinel=NAME
    #[arg(long, value_name = "URL", env = "SEAWALL_REDIS", hide_env_values = true)]
    pub(crate) redis: Option<RedisUrl>,
    /// Who signs the certificate of a rediss:// server, in PEM; whom the system trusts otherwise
    #[arg(long, value_name = "FILE", env = "SEAWALL_REDIS_CA")]
    pub(crate) redis_ca: Option<PathBuf>,
    /// Keeps answers in Memcached as well, for other gateways too (may repeat)
    #[arg(long, value_name = "HOST:PORT", env = "SEAWALL_MEMCACHED", value_delimiter = ',')]
    #[arg(value_parser = memcached)]
    pub(crate) memcached: Vec<String>,
    /// Whether answers are in memory, too, where they are in Redis or Memcached
    #[arg(long, env = "SEAWALL_NEAR", value_enum, default_value = "on")]
    pub(crate) near: Near,
    /// What the keys in Redis or Memcached begin with: gateways with the same share their answers
    #[arg(long, value_name = "NAME", env = "SEAWALL_NAMESPACE", default_value = "seawall")]
    #[arg(value_parser = namespace)]
    pub(crate) namespace: String,
    /// The largest body kept
    #[arg(long, value_name = "SIZE", env = "SEAWALL_MAX_BODY", default_value = "1MiB")]
    #[arg(value_parser = size)]
    pub(crate) max_body: u64,
    /// How long a stale response is given at once and refreshed, where it names no such time
    #[arg(long, value_name = "DUR", env = "SEAWALL_STALE_WHILE_REVALIDATE", default_value = "0")]
    #[arg(value_parser = duration)]
    pub(crate) stale_while_revalidate: Duration,
    /// How long a stale response is given when the origin fails, where it names no such time
    #[arg(long, value_name = "DUR", env = "SEAWALL_STALE_IF_ERROR", default_value = "0")]
    #[arg(value_parser = duration)]
    pub(crate) stale_if_error: Duration,
    /// How long a stale response is kept at least, to be validated
    #[arg(long, value_name = "DUR", env = "SEAWALL_KEEP_STALE", default_value = "1d")]
    #[arg(value_parser = duration)]
    pub(crate) keep_stale: Duration,
    /// The response's field with the tags that it is invalidated by, beside Cache-Tag
    #[arg(long, value_name = "NAME", env = "SEAWALL_TAG_HEADER", default_value = "Surrogate-Key")]
    #[arg(value_parser = field)]
    pub(crate) tag_header: HeaderName,
    /// A gRPC method whose unary answers are kept, by its full path, and for how long (may repeat)
    #[arg(long, value_name = "PATH=TTL", env = "SEAWALL_GRPC_CACHE", value_delimiter = ',')]
    #[arg(value_parser = grpc_method)]
    pub(crate) grpc_cache: Vec<GrpcMethod>,
    /// Calls in flight to the origin at most, or off
    #[arg(long, value_name = "N|off", env = "SEAWALL_LIMIT", default_value = "1024")]
    #[arg(value_parser = limit)]
    pub(crate) limit: Limit,
    /// The share of failed calls, of at least 20 in 10 s, at which the origin is left alone, or off
    #[arg(long, value_name = "RATE|off", env = "SEAWALL_BREAKER", default_value = "50%")]
    #[arg(value_parser = breaker)]
    pub(crate) breaker: Breaker,
    /// Requests a second of each client's address at most, 429 beyond
    #[arg(long, value_name = "N/s", env = "SEAWALL_QUOTA")]
    #[arg(value_parser = quota)]
    pub(crate) quota: Option<Quota>,
    /// How long the origin may take to answer, and to be silent within a body
    #[arg(long, value_name = "DUR", env = "SEAWALL_TIMEOUT", default_value = "10s")]
    #[arg(value_parser = timeout)]
    pub(crate) timeout: Duration,
    /// How long running requests may take to finish after SIGTERM or Ctrl-C
    #[arg(long, value_name = "DUR", env = "SEAWALL_DRAIN", default_value = "10s")]
    #[arg(value_parser = duration)]
    pub(crate) drain: Duration,
}

/// Which reading of HTTP's caching rules applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    Safe,
    ReverseProxy,
}

/// Whether memory stands in front of a store that is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Near {
    On,
    Off,
}

/// Where Redis is, with its password, which nothing shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RedisUrl(String);

impl RedisUrl {
    pub(crate) fn is_tls(&self) -> bool {
        let scheme = self.0.split_once(':').map_or("", |(scheme, _)| scheme);
        scheme.eq_ignore_ascii_case("rediss")
    }

    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "there is nobody to tell"))]
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl From<String> for RedisUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(…)")
    }
}

/// A gRPC method whose unary answers are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrpcMethod {
    pub(crate) path: String,
    pub(crate) lifetime: Duration,
}

/// How many calls may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Off,
    Calls(usize),
}

/// When the origin is left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Breaker {
    Off,
    /// From this share of failures on.
    Share(f64),
}

/// Requests a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota(pub(crate) u32);

/// Why there are no flags to go on with.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Help was asked for: the text to show.
    Asked(String),
    /// One line saying what is wrong.
    Wrong(String),
}

impl Flags {
    /// Reads `args` (the first is the program's name) and `SEAWALL_…`; the command line wins.
    pub(crate) fn read<I, T>(args: I) -> Result<Self, Stop>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let flags = Self::try_parse_from(args).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Asked(error.to_string()),
            _ => Stop::Wrong(first_line(&error.to_string())),
        })?;
        if !flags.admin.ip().is_loopback() && flags.admin_token_file.is_none() {
            let admin = flags.admin;
            return Err(Stop::Wrong(format!(
                "--admin {admin} is not loopback and so needs --admin-token-file"
            )));
        }
        match flags.incoherent_stores() {
            Some(line) => Err(Stop::Wrong(line.to_owned())),
            None => Ok(flags),
        }
    }

    fn incoherent_stores(&self) -> Option<&'static str> {
        let (redis, memcached) = (self.redis.as_ref(), !self.memcached.is_empty());
        if redis.is_some() && memcached {
            return Some("--redis and --memcached do not go together: answers are in one of them");
        }
        if self.near == Near::Off && redis.is_none() && !memcached {
            return Some("--near off goes with --redis or --memcached: answers would be nowhere");
        }
        if self.redis_ca.is_some() && !redis.is_some_and(RedisUrl::is_tls) {
            return Some("--redis-ca goes with --redis rediss://…: nothing else has a certificate");
        }
        None
    }
}

/// An origin's address, and which HTTP it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OriginUrl {
    pub(crate) authority: Authority,
    pub(crate) protocol: Protocol,
}

/// How the origin is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    H2c,
}

impl FromStr for OriginUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "an origin is http://host:port or h2c://host:port";
        let uri = Uri::from_str(text).map_err(|error| format!("{shape} ({error})"))?;
        let protocol = match uri.scheme_str() {
            Some("http") => Protocol::Http1,
            Some("h2c") => Protocol::H2c,
            _ => return Err(shape.to_owned()),
        };
        let Some(authority) = uri.authority() else {
            return Err(shape.to_owned());
        };
        if authority.as_str().contains('@') {
            return Err("an origin has no user name".to_owned());
        }
        if uri.path_and_query().map_or("/", PathAndQuery::as_str) != "/" {
            return Err("an origin has no path: the client's is kept".to_owned());
        }
        let bare = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => true,
            Some(_) if authority.port_u16().is_some_and(|port| port > 0) => false,
            _ => return Err(shape.to_owned()),
        };
        if authority.host().is_empty() {
            return Err(shape.to_owned());
        }
        let full = if bare { format!("{authority}:80") } else { authority.to_string() };
        let authority = Authority::from_str(&full).map_err(|_| shape.to_owned())?;
        Ok(Self { authority, protocol })
    }
}

/// clap's message without its prefix, its usage and its hints.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or("the flags cannot be read");
    without_login(line.strip_prefix("error: ").unwrap_or(line))
}

/// clap repeats what it was given, in quotes: what stands in the wrong place may have a password in it.
fn without_login(line: &str) -> String {
    match (line.find('\''), line.rfind('@')) {
        (Some(quote), Some(end)) if quote < end => {
            format!("{}…{}", &line[..=quote], &line[end..])
        }
        _ => line.to_owned(),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (digits, unit) = number_and_unit(text);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("a duration is 500ms, 2s, 1m, 1h, 1d or 0".to_owned()),
    };
    let count: u64 = digits.parse().map_err(|_| "a duration is 500ms, 2s, 1m, 1h, 1d or 0")?;
    match count.checked_mul(millis) {
        Some(millis) if millis <= LONGEST => Ok(Duration::from_millis(millis)),
        _ => Err("longer than 100 years".to_owned()),
    }
}

/// So that adding one to the time of day never overflows, in milliseconds.
const LONGEST: u64 = 100 * 365 * 86_400_000;

fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("an origin needs some time to answer".to_owned()),
        some => Ok(some),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = number_and_unit(text);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err("a size is 64KiB, 1MiB, 1GiB or a number of bytes".to_owned()),
    };
    let count: u64 =
        digits.parse().map_err(|_| "a size is 64KiB, 1MiB, 1GiB or a number of bytes")?;
    count
        .checked_mul(1 << shift)
        .filter(|bytes| usize::try_from(*bytes).is_ok())
        .ok_or_else(|| "more than this machine can address".to_owned())
}

fn number_and_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn grpc_method(text: &str) -> Result<GrpcMethod, String> {
    let (path, lifetime) = text.rsplit_once('=').unwrap_or((text, ""));
    if !is_grpc_method(path) {
        return Err("a method is like /package.Service/Method=60s".to_owned());
    }
    Ok(GrpcMethod { path: path.to_owned(), lifetime: duration(lifetime)? })
}

fn limit(text: &str) -> Result<Limit, String> {
    match (text, text.parse()) {
        ("off", _) => Ok(Limit::Off),
        (_, Ok(calls @ 1..=2_097_151)) => Ok(Limit::Calls(calls)),
        _ => Err("a limit is 1 to 2097151 calls, or off".to_owned()),
    }
}

fn breaker(text: &str) -> Result<Breaker, String> {
    if text == "off" {
        return Ok(Breaker::Off);
    }
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    match percent {
        Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Breaker::Share(percent / 100.0)),
        _ => Err("a rate is above 0% and up to 100%, or off".to_owned()),
    }
}

fn quota(text: &str) -> Result<Quota, String> {
    let number = text.strip_suffix("/s").and_then(|number| number.parse().ok());
    match number {
        Some(calls @ 1..=1_000_000) => Ok(Quota(calls)),
        _ => Err("a quota is 1/s to 1000000/s".to_owned()),
    }
}

/// What is an address is known where it is connected to.
fn memcached(text: &str) -> Result<String, String> {
    match text.contains('@') || text.contains("://") {
        true => Err("a Memcached server is host:port, without a login".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn namespace(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match (1..=32).contains(&text.len()) && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("a namespace is 1 to 32 of A-Z a-z 0-9 _ . -".to_owned()),
    }
}

fn field(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| "a field's name is like Surrogate-Key".to_owned())
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| "a network is 10.0.0.0/8, fd00::/8 or one address".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn read(args: &[&str]) -> Result<Flags, Stop> {
        Flags::read(["gateway"].iter().chain(args))
    }

    fn wrong(args: &[&str]) -> String {
        match read(args) {
            Err(Stop::Wrong(line)) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let flags = read(&[]).unwrap();
        assert_eq!(flags.origin, None);
        assert_eq!(flags.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(flags.admin.to_string(), "127.0.0.1:8081");
        assert_eq!((flags.profile, flags.lenient), (Profile::Safe, false));
        assert_eq!((flags.memory, flags.max_body), (256 << 20, 1 << 20));
        assert_eq!(flags.stale_while_revalidate, Duration::ZERO);
        assert_eq!(flags.stale_if_error, Duration::ZERO);
        assert_eq!(flags.keep_stale, Duration::from_secs(86_400));
        assert_eq!(flags.tag_header, "surrogate-key");
        assert_eq!(flags.limit, Limit::Calls(1024));
        assert_eq!(flags.breaker, Breaker::Share(0.5));
        assert_eq!(flags.quota, None);
        assert_eq!(flags.timeout, Duration::from_secs(10));
        assert_eq!(flags.drain, Duration::from_secs(10));
    }

    #[test]
    fn leniency_is_asked_for() {
        assert!(read(&["--lenient"]).unwrap().lenient);
        assert!(wrong(&["--lenient=perhaps"]).contains("--lenient"));
    }

    #[test]
    fn every_flag_is_in_the_environment_too() {
        for flag in Flags::command().get_arguments() {
            let name = flag.get_long().unwrap().replace('-', "_").to_uppercase();
            assert_eq!(flag.get_env(), Some(format!("SEAWALL_{name}").as_ref()));
        }
    }

    #[test]
    fn a_grpc_method_has_a_full_path_and_a_time() {
        let flags = read(&["--grpc-cache", "/a.B/C=60s,/a.B/D=500ms"]).unwrap();
        let method = |path: &str, millis| GrpcMethod {
            path: path.to_owned(),
            lifetime: Duration::from_millis(millis),
        };
        assert_eq!(flags.grpc_cache, [method("/a.B/C", 60_000), method("/a.B/D", 500)]);
    }

    #[test]
    fn what_guards_the_origin_has_its_units_and_can_be_turned_off() {
        let flags = read(&["--limit", "30", "--breaker", "12.5%", "--quota", "5/s"]).unwrap();
        assert_eq!(flags.limit, Limit::Calls(30));
        assert_eq!(flags.breaker, Breaker::Share(0.125));
        assert_eq!(flags.quota, Some(Quota(5)));
        let flags = read(&["--limit", "off", "--breaker", "off"]).unwrap();
        assert_eq!((flags.limit, flags.breaker), (Limit::Off, Breaker::Off));
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in [("500ms", 500), ("2s", 2_000), ("1m", 60_000), ("0", 0), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "2", "s", "-1s", "1.5s", "2 s", "2sec", "99999999999999999999s", "9999999d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(timeout("0").is_err());
    }

    #[test]
    fn sizes_are_binary_or_bytes() {
        for (text, bytes) in [("64KiB", 64 << 10), ("1MiB", 1 << 20), ("1GiB", 1 << 30), ("7", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "1MB", "1 MiB", "-1", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_may_be_single_addresses() {
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(network("::1").unwrap().to_string(), "::1/128");
        assert!(network("10.0.0.0/33").is_err() && network("proxy").is_err());
        let flags = read(&["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "::1"]).unwrap();
        assert_eq!(flags.trusted_proxy.len(), 2);
    }

    #[test]
    fn an_origin_is_a_host_and_a_protocol() {
        let origin: OriginUrl = "http://example.com:3000".parse().unwrap();
        assert_eq!(
            (origin.authority.as_str(), origin.protocol),
            ("example.com:3000", Protocol::Http1)
        );
        let origin: OriginUrl = "h2c://[::1]:50051/".parse().unwrap();
        assert_eq!((origin.authority.as_str(), origin.protocol), ("[::1]:50051", Protocol::H2c));
        assert_eq!("http://a".parse::<OriginUrl>().unwrap().authority.as_str(), "a:80");
        for text in [
            "",
            "a:80",
            "https://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://u@a:80",
            "http://a:0",
            "http://a:99999",
            "http://a:x",
            "ftp://a",
            "http://a b",
        ] {
            assert!(text.parse::<OriginUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for args in [
            &["--nonsense"][..],
            &["--stale-if-error", "1"],
            &["--stale-while-revalidate", "1 s"],
            &["--keep-stale", "for ever"],
            &["--tag-header", "Tag:"],
            &["--tag-header", ""],
            &["--breaker", "0%"],
            &["--breaker", "101%"],
            &["--breaker", "NaN%"],
            &["--breaker", "half"],
            &["--grpc-cache", "/shop.Catalogue/Find"],
            &["--grpc-cache", "shop.Catalogue/Find=60s"],
            &["--grpc-cache", "/shop.Catalogue/*=60s"],
            &["--limit", "0"],
            &["--limit", "many"],
            &["--quota", "5"],
            &["--quota", "0/s"],
            &["--quota", "5/m"],
            &["--origin", "https://a"],
            &["--memory", "1MB"],
            &["--memcached", "memcached://a:1"],
            &["--near", "1MiB"],
            &["--namespace", ""],
            &["--namespace", "a b"],
            &["--namespace", "123456789012345678901234567890123"],
            &["--timeout", "soon"],
            &["--profile", "bold"],
            &["--listen", "8080"],
            &["extra"],
        ] {
            let line = wrong(args);
            assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
            assert!(line.contains(args[0]), "{line:?}");
        }
    }

    #[test]
    fn answers_are_shared_in_one_place_and_near_unless_that_is_turned_off() {
        let flags = read(&[]).unwrap();
        assert_eq!((flags.redis, flags.near, &*flags.namespace), (None, Near::On, "seawall"));
        let flags = read(&["--memcached", "a:1,b", "--memcached", "[::1]:3", "--near", "off"]);
        let flags = flags.unwrap();
        assert_eq!(
            (flags.memcached, flags.near),
            (["a:1", "b", "[::1]:3"].map(Into::into).into(), Near::Off)
        );
        let url = "rediss://:secret@a";
        let flags = read(&["--redis", url, "--redis-ca", "ca.pem", "--namespace", "Shop_1.a-b"]);
        let flags = flags.unwrap();
        assert_eq!(flags.redis.as_ref().map(RedisUrl::secret), Some(url));
        assert!(!format!("{flags:?}").contains("secret"));
        for (args, named) in [
            (&["--redis", "redis://a", "--memcached", "b"][..], "--memcached"),
            (&["--near", "off"], "--redis or --memcached"),
            (&["--redis-ca", "ca.pem"], "rediss://"),
            (&["--redis", "redis://a", "--redis-ca", "ca.pem"], "rediss://"),
            (&["--memcached", "b", "--redis-ca", "ca.pem"], "rediss://"),
        ] {
            let line = wrong(args);
            assert!(line.contains(named) && line.starts_with("--"), "{line:?}");
        }
    }

    #[test]
    fn a_password_that_stands_in_the_wrong_place_is_not_repeated() {
        for args in [
            &["redis://user:secret@a"][..],
            &["--redis", "redis://a", "redis://:p@secret@a"],
            &["--memcached", "redis://:secret@a:1"],
            &["--memcached", "user:secret@a:1"],
            &["--origin", "http://user:secret@a"],
            &["--near", "redis://:secret@a"],
        ] {
            let line = wrong(args);
            assert!(!line.contains("secret"), "{line:?}");
        }
    }

    #[test]
    fn a_public_admin_address_needs_a_token() {
        assert!(wrong(&["--admin", "0.0.0.0:8081"]).contains("--admin-token-file"));
        assert!(read(&["--admin", "0.0.0.0:8081", "--admin-token-file", "t"]).is_ok());
        assert!(read(&["--admin", "[::1]:8081"]).is_ok());
    }
}
