//! What tells calls apart, and what does not.

use std::time::Duration;

use http::{HeaderName, Method, Request};
use http_body_util::Full;
use seawall::{CacheLayer, GrpcKey, cache::is_grpc_method};
use tower::Layer;

use crate::{
    scripted::{Answers, Body, Key, Origin, ask, behind, call, call_of, framed, key, with},
    support::cache,
};

/// Whether the second call is answered with the answer to the first.
async fn are_one(key: &Key, calls: [Request<Body>; 2]) -> bool {
    let (origin, inner): (Origin, Answers) = Origin::good();
    let service = CacheLayer::new(cache()).key(key.clone()).layer(inner);
    for call in calls {
        ask(&service, call).await.unwrap();
    }
    origin.calls.count() == 1
}

#[tokio::test(start_paused = true)]
async fn encodings_tell_calls_apart_and_absent_is_not_empty() {
    let key = key();
    for name in ["grpc-encoding", "grpc-accept-encoding"] {
        let values = [None, Some(""), Some("gzip"), Some("gzip,identity"), Some("identity")];
        let of = |value: Option<&str>| match value {
            Some(value) => with(call(b"7"), name, value),
            None => call(b"7"),
        };
        for one in values {
            for other in values {
                let same = are_one(&key, [of(one), of(other)]).await;
                assert_eq!(same, one == other, "{name}: {one:?}, {other:?}");
            }
        }
    }
    // What is in one of them is not in the other, and two lines are not one.
    let (encoding, accepts) = ("grpc-encoding", "grpc-accept-encoding");
    let one = with(call(b"7"), encoding, "gzip");
    assert!(!are_one(&key, [one, with(call(b"7"), accepts, "gzip")]).await);
    let twice = with(with(call(b"7"), accepts, "gzip"), accepts, "zstd");
    assert!(!are_one(&key, [twice, with(call(b"7"), accepts, "gzip,zstd")]).await);
}

#[tokio::test(start_paused = true)]
async fn messages_codecs_and_compression_tell_calls_apart() {
    let key = key();
    assert!(!are_one(&key, [call(b"7"), call(b"8")]).await);
    assert!(!are_one(&key, [call(b""), call(b"\0")]).await);
    let mut flagged = framed(b"7").to_vec();
    flagged[0] = 1;
    assert!(!are_one(&key, [call(b"7"), call_of(Full::new(flagged.into()))]).await);
    let codec = |kind: &str| {
        let mut call = call(b"7");
        call.headers_mut().insert("content-type", kind.parse().unwrap());
        call
    };
    assert!(!are_one(&key, [codec("application/grpc+json"), codec("application/grpc")]).await);
    assert!(are_one(&key, [codec("application/grpc+json"), codec("application/grpc+json")]).await);
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_of_the_answer_tells_no_calls_apart() {
    let key = key();
    for (name, value) in [
        ("grpc-timeout", "1S"),
        ("user-agent", "grpc-go/1.70"),
        ("grpc-trace-bin", "AAAA"),
        ("x-request-id", "1"),
        ("accept-encoding", "identity"),
    ] {
        assert!(are_one(&key, [call(b"7"), with(call(b"7"), name, value)]).await, "{name}");
    }
    let key = key.field(HeaderName::from_static("x-tenant-bin"));
    let of = |tenant| with(call(b"7"), "x-tenant-bin", tenant);
    assert!(!are_one(&key, [of("AA"), of("BB")]).await);
    assert!(!are_one(&key, [of(""), call(b"7")]).await);
    assert!(are_one(&key, [of("AA"), of("AA")]).await);
}

#[tokio::test(start_paused = true)]
async fn only_posts_of_native_grpc_to_a_named_path_are_calls() {
    let others: [fn(&mut Request<Body>); 8] = [
        |call| *call.method_mut() = Method::PUT,
        |call| drop(call.headers_mut().remove("content-type")),
        |call| drop(call.headers_mut().insert("content-type", "text/plain".parse().unwrap())),
        |call| {
            let kind = "application/grpc-web+proto".parse().unwrap();
            call.headers_mut().insert("content-type", kind);
        },
        |call| *call.uri_mut() = "http://shop/shop.Catalogue/find".parse().unwrap(),
        |call| *call.uri_mut() = "http://shop/shop.Catalogue/Find/".parse().unwrap(),
        |call| drop(call.headers_mut().insert("expect", "100-continue".parse().unwrap())),
        // For two shops at once.
        |call| drop(call.headers_mut().insert("host", "other".parse().unwrap())),
    ];
    for (at, other) in others.into_iter().enumerate() {
        let of = || {
            let mut call = call(b"7");
            other(&mut call);
            call
        };
        assert!(!are_one(&key(), [of(), of()]).await, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_longest_message_may_be_set_and_never_exceeds_a_key() {
    let long = vec![b'x'; 100];
    for (bytes, one) in [(104, false), (105, true), (usize::MAX, true)] {
        let calls = [call(&long), call(&long)];
        assert_eq!(are_one(&key().message(bytes), calls).await, one, "{bytes}");
    }
    let longer = vec![b'x'; 10_000];
    assert!(!are_one(&key().message(usize::MAX), [call(&longer), call(&longer)]).await);
}

#[tokio::test(start_paused = true)]
async fn one_layer_in_another_is_one_cache() {
    let (origin, inner) = Origin::good();
    let cache = cache();
    let inside = behind(&cache, inner);
    let outside = CacheLayer::new(cache.clone()).key(key()).layer(inside);
    let apart = CacheLayer::new(crate::support::cache()).key(key()).layer(outside);
    for _ in 0..2 {
        let read = ask(&apart, call(b"7")).await.unwrap();
        assert_eq!(read.trailers.unwrap()["grpc-status"], "0");
    }
    assert_eq!((origin.calls.count(), cache.figures().records), (1, 1));
}

#[test]
fn a_path_that_is_no_methods_is_refused_at_once() {
    for path in ["", "/", "/a", "a/b", "/a/", "//b", "/a/b/c", "/a/b?c", "/a/*", "/a b/c", "/é/b"]
    {
        assert!(!is_grpc_method(path), "{path}");
        let named = std::panic::catch_unwind(|| {
            let key: GrpcKey<_> = key();
            key.method(path, Duration::from_secs(1))
        });
        assert!(named.is_err(), "{path}");
    }
    for path in ["/a/b", "/shop.v1.Catalogue/Find_2"] {
        assert!(is_grpc_method(path), "{path}");
    }
}
