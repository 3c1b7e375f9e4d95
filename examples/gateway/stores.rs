//! Where answers are kept: in memory, and in the Redis or the Memcached that gateways share.
//!
//! The one place that depends on the features `redis`, `redis-tls` and `memcached`.

use seawall::{
    Cache,
    cache::CacheBuilder,
    store::{Memory, Status},
};

use crate::flags::{Flags, RedisUrl};

/// How those stores are that are not in this process.
pub(crate) type Watch = Box<dyn Fn() -> Vec<Status> + Send + Sync>;

/// A cache over what the flags name; or why there is none, in one line without a password.
pub(crate) fn open(flags: &Flags) -> Result<(CacheBuilder, Watch), String> {
    match &flags.redis {
        Some(url) => redis(url, flags),
        None if !flags.memcached.is_empty() => memcached(flags),
        None => Ok((Cache::builder(Memory::bytes(flags.memory)), Box::new(Vec::new))),
    }
}

/// What is said where the feature for a flag is not in this build.
#[cfg(not(all(feature = "redis-tls", feature = "memcached")))]
fn missing(flag: &str, feature: &str) -> String {
    let command = format!("cargo run --release --features {feature} --example gateway --");
    format!("{flag} is not in this build, but in: {command} {flag} …")
}

#[cfg(not(feature = "redis"))]
fn redis(url: &RedisUrl, _: &Flags) -> Result<(CacheBuilder, Watch), String> {
    Err(missing("--redis", if url.is_tls() { "redis-tls" } else { "redis" }))
}

#[cfg(feature = "redis")]
fn redis(url: &RedisUrl, flags: &Flags) -> Result<(CacheBuilder, Watch), String> {
    use seawall::store::Redis;

    #[cfg(not(feature = "redis-tls"))]
    if url.is_tls() {
        return Err(missing("--redis", "redis-tls"));
    }
    let mut builder = Redis::builder().namespace(&*flags.namespace);
    builder = match flags.near {
        crate::flags::Near::On => builder.near(Memory::bytes(flags.memory)),
        crate::flags::Near::Off => builder.near_off(),
    };
    if let Some(path) = &flags.redis_ca {
        let shown = path.display();
        let pem = std::fs::read(path).map_err(|error| format!("--redis-ca {shown}: {error}"))?;
        builder = builder.certificate_authority(pem);
    }
    let redis = builder.connect(url.secret()).map_err(|error| format!("--redis: {error}"))?;
    let watched = redis.clone();
    Ok((Cache::builder(redis), Box::new(move || vec![watched.status()])))
}

#[cfg(not(feature = "memcached"))]
fn memcached(_: &Flags) -> Result<(CacheBuilder, Watch), String> {
    Err(missing("--memcached", "memcached"))
}

#[cfg(feature = "memcached")]
fn memcached(flags: &Flags) -> Result<(CacheBuilder, Watch), String> {
    use seawall::store::Memcached;

    let mut builder = Memcached::builder().namespace(&*flags.namespace);
    builder = match flags.near {
        crate::flags::Near::On => builder.near(Memory::bytes(flags.memory)),
        crate::flags::Near::Off => builder.near_off(),
    };
    let memcached =
        builder.connect(&flags.memcached).map_err(|error| format!("--memcached: {error}"))?;
    let watched = memcached.clone();
    Ok((Cache::builder(memcached), Box::new(move || watched.status())))
}
