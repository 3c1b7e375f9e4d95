//! What caches get wrong: one test for each way that has been seen.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use seawall::{BoxError, Cache, CacheLayer, CoalesceLayer, FixedTtl, Profile, store::Memory};
use support::{
    BoxedOrigin, Calls, Req, Res, answer, answer_status, at_once,
    bodies::{Step, Steps},
    cache, call, get, origin, streamed, with,
};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// An origin that answers all with the same fields, and with the number of the call.
fn saying(fields: &'static [(&'static str, &'static str)]) -> (Calls, BoxedOrigin) {
    origin(move |call, _| async move {
        sleep(SECOND / 10).await;
        Ok(answer(fields, call.to_string()))
    })
}

fn field<'a>(read: &'a support::Read, name: &str) -> Vec<&'a str> {
    read.parts.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

// A variant is never served to a request that selects another, not even where the origin is down.
#[tokio::test(start_paused = true)]
async fn where_the_origin_is_down_nobody_gets_the_answer_in_another_language() {
    let (_, inner) = origin(|call, _| async move {
        let fields = [("cache-control", "max-age=10"), ("vary", "accept-language")];
        match call {
            0 => Ok(answer(&fields, "english")),
            1 => Err("connection refused".into()),
            _ => Ok(answer_status(500, &[], "out of order")),
        }
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    let asks = |language| with(get("/"), "accept-language", language);
    call(&mut service, asks("en")).await.unwrap();
    call(&mut service, asks("de")).await.unwrap_err();
    advance(SECOND).await; // the back-off has passed
    assert_eq!(call(&mut service, asks("de")).await.unwrap().status(), 500);
    advance(11 * SECOND).await;
    assert_eq!(call(&mut service, asks("de")).await.unwrap().status(), 500);
}

// What must be revalidated is not served stale when the origin fails.
#[tokio::test(start_paused = true)]
async fn what_must_be_revalidated_is_not_served_stale_by_an_origin_that_fails() {
    let (_, inner) = origin(|call, _| async move {
        let fields = [("cache-control", "max-age=10, must-revalidate"), ("etag", "\"v1\"")];
        Ok(if call == 0 { answer(&fields, "good") } else { answer_status(500, &[], "bad") })
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    advance(11 * SECOND).await;
    assert_eq!(call(&mut service, get("/")).await.unwrap().status(), 500);
}

// Directives have no letter case.
#[tokio::test(start_paused = true)]
async fn a_directive_in_any_letter_case_forbids_to_store() {
    for control in ["No-Store", "PRIVATE", "max-age=600, nO-sToRe", "Private, Max-Age=600"] {
        let (calls, inner) = origin(move |call, _| async move {
            Ok(answer(&[("Cache-Control", control)], call.to_string()))
        });
        let mut service = CacheLayer::new(cache()).layer(inner);
        call(&mut service, get("/")).await.unwrap();
        assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "1", "{control}");
        assert_eq!(calls.count(), 2);
    }
}

// Every line of a field is replayed, in its order.
#[tokio::test(start_paused = true)]
async fn a_field_with_several_lines_keeps_them_all_in_a_hit() {
    let (_, inner) = saying(&[
        ("cache-control", "max-age=600"),
        ("link", "</a>; rel=next"),
        ("set-cookie", "a=1"),
        ("link", "</b>; rel=prev"),
        ("set-cookie", "b=2"),
    ]);
    let layer = CacheLayer::new(cache()).policy(Profile::reverse_proxy());
    let mut service = layer.layer(inner);
    for status in ["fwd=uri-miss; fwd-status=200; stored", "hit"] {
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!(read.cache_status(), status);
        assert_eq!(field(&read, "link"), ["</a>; rel=next", "</b>; rel=prev"]);
        assert_eq!(field(&read, "set-cookie"), ["a=1", "b=2"]);
    }
}

// `Date` is the origin's; what passes in a cache is told by `Age`.
#[tokio::test(start_paused = true)]
async fn a_hit_has_the_date_of_the_origin_and_an_age() {
    let date: &str = String::leak(httpdate_now());
    let (_, inner) = origin(move |_, _| async move {
        Ok(answer(&[("cache-control", "max-age=600"), ("date", date)], "body"))
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    advance(42 * SECOND).await;
    let hit = call(&mut service, get("/")).await.unwrap();
    assert_eq!(field(&hit, "date"), [date]);
    let age: u64 = hit.field("age").unwrap().parse().unwrap();
    // The test's own clock may have turned a second since `date` was written.
    assert!((42..=44).contains(&age), "{age}");
}

/// The time as HTTP writes it.
fn httpdate_now() -> String {
    let now = std::time::SystemTime::now();
    String::from_utf8(seawall::rfc9111::date::format(now).to_vec()).unwrap()
}

// `Vary` compares every line of the field, however it is spread over lines.
#[tokio::test(start_paused = true)]
async fn a_variant_is_told_apart_by_all_lines_of_a_field() {
    let (calls, inner) = saying(&[("cache-control", "max-age=600"), ("vary", "accept-language")]);
    let mut service = CacheLayer::new(cache()).layer(inner);
    let both =
        |first, second| with(with(get("/"), "accept-language", first), "accept-language", second);
    assert_eq!(call(&mut service, both("de", "en")).await.unwrap().text(), "0");
    assert_eq!(call(&mut service, both("de", "fr")).await.unwrap().text(), "1");
    let joined = with(get("/"), "accept-language", "de, en");
    assert_eq!(call(&mut service, joined).await.unwrap().text(), "0");
    assert_eq!(calls.count(), 2);
}

// One user's cookie is handed to no other.
#[tokio::test(start_paused = true)]
async fn an_answer_that_sets_a_cookie_is_for_the_one_who_asked() {
    let ttl = || FixedTtl::new(600 * SECOND);
    for status in [200, 302, 404, 500] {
        for control in ["max-age=600", "public", "x"] {
            let (calls, inner) = origin(move |call, _| async move {
                sleep(SECOND / 10).await;
                let cookie = format!("session={call}");
                let fields = [("cache-control", control), ("set-cookie", &cookie)];
                Ok(answer_status(status, &fields, "body"))
            });
            for (name, service) in [
                ("cache", CacheLayer::new(cache()).layer(inner.clone())),
                ("fixed", CacheLayer::new(cache()).policy(ttl()).layer(inner.clone())),
                ("coalesce", CoalesceLayer::new().layer(inner.clone())),
            ] {
                let before = calls.count();
                let mut cookies = Vec::new();
                for _ in 0..2 {
                    for read in
                        at_once(&service, (0..3).map(|_| get("/"))).await.into_iter().flatten()
                    {
                        cookies.extend(read.field("set-cookie").map(str::to_owned));
                    }
                }
                let all = cookies.len();
                cookies.sort();
                cookies.dedup();
                assert_eq!(cookies.len(), all, "{name}, {status}, {control}: a cookie was shared");
                assert!(calls.count() - before >= 2, "{name}, {status}, {control}: it was stored");
            }
        }
    }
}

// What is for one client, by whatever directive, is for no other who asks at the same time.
#[tokio::test(start_paused = true)]
async fn what_may_not_be_reused_is_not_shared_in_flight_either() {
    for status in [200, 302, 307, 404] {
        for control in ["private", "no-store", "no-cache", "private, max-age=600"] {
            let (calls, inner) = origin(move |call, _| async move {
                sleep(SECOND / 10).await;
                Ok(answer_status(status, &[("cache-control", control)], call.to_string()))
            });
            for (name, service) in [
                ("cache", CacheLayer::new(cache()).layer(inner.clone())),
                ("coalesce", CoalesceLayer::new().layer(inner.clone())),
            ] {
                let before = calls.count();
                let answers = at_once(&service, (0..3).map(|_| get("/"))).await;
                let mut texts: Vec<_> =
                    answers.into_iter().map(|read| read.unwrap().text().to_owned()).collect();
                texts.sort();
                texts.dedup();
                assert_eq!(texts.len(), 3, "{name}, {status}, {control}: it was shared");
                assert_eq!(calls.count() - before, 3);
            }
        }
    }
}

// A part is never stored as the whole.
#[tokio::test(start_paused = true)]
async fn a_partial_answer_is_never_stored() {
    for policy in 0..3 {
        let (calls, inner) = origin(|call, _| async move {
            let fields =
                [("cache-control", "public, max-age=600"), ("content-range", "bytes 0-0/4")];
            Ok(if call == 0 {
                answer_status(206, &fields, "g")
            } else {
                answer(&fields[..1], "good")
            })
        });
        let layer = CacheLayer::new(cache());
        let layer = match policy {
            0 => layer,
            1 => layer.policy(FixedTtl::new(600 * SECOND)),
            _ => layer.policy(Profile::reverse_proxy()),
        };
        let mut service = layer.layer(inner);
        let part = call(&mut service, with(get("/"), "range", "bytes=0-0")).await.unwrap();
        assert_eq!((part.status(), part.text()), (206, "g"));
        let whole = call(&mut service, get("/")).await.unwrap();
        assert_eq!((whole.status(), whole.text(), calls.count()), (200, "good", 2));
    }
}

// A lifetime of one's own replaces neither `Vary` nor what forbids to store.
#[tokio::test(start_paused = true)]
async fn a_fixed_lifetime_tells_variants_apart_and_keeps_what_may_be_kept() {
    let (calls, inner) = saying(&[("cache-control", "public"), ("vary", "accept-language")]);
    let layer = CacheLayer::new(cache()).policy(FixedTtl::new(600 * SECOND));
    let mut service = layer.layer(inner);
    let asks = |language| with(get("/"), "accept-language", language);
    for (language, text) in [("en", "0"), ("de", "1"), ("en", "0"), ("de", "1")] {
        assert_eq!(call(&mut service, asks(language)).await.unwrap().text(), text);
    }
    assert_eq!(calls.count(), 2);
}

// The head and each frame of what is not kept are handed on as they come.
#[tokio::test(start_paused = true)]
async fn an_endless_stream_is_handed_on_as_it_comes() {
    for (method, control) in [
        (Method::GET, "no-store"),
        (Method::GET, "no-cache"),
        (Method::GET, "x"),
        (Method::POST, "max-age=600"),
    ] {
        let (_, inner) = origin(move |_, _| async move {
            let event = || [Step::Data("data: x\n\n".into()), Step::Wait(SECOND)];
            let steps = event().into_iter().chain(event()).chain([Step::Hang]);
            let fields = [("cache-control", control), ("content-type", "text/event-stream")];
            Ok(streamed(&fields, Steps::new(steps)))
        });
        for (name, service) in [
            ("cache", CacheLayer::new(cache()).layer(inner.clone())),
            ("coalesce", CoalesceLayer::new().layer(inner.clone())),
        ] {
            let began = Instant::now();
            let mut subscribers = Vec::new();
            for _ in 0..3 {
                let mut service = service.clone();
                let mut request = get("/events");
                *request.method_mut() = method.clone();
                subscribers.push(tokio::spawn(async move {
                    let mut body = service.call(request).await.unwrap().into_body();
                    for _ in 0..2 {
                        assert!(body.frame().await.unwrap().unwrap().is_data());
                    }
                    began.elapsed()
                }));
            }
            for subscriber in subscribers {
                let took = subscriber.await.unwrap();
                assert!(took < SECOND * 3 / 2, "{name}, {method} {control}: after {took:?}");
            }
        }
    }
}

// Users, hosts and schemes are told apart.
#[tokio::test(start_paused = true)]
async fn what_one_user_or_host_is_answered_reaches_no_other() {
    let (calls, inner) = origin(|call, _| async move {
        sleep(SECOND / 10).await;
        Ok(answer(&[("cache-control", "max-age=600")], call.to_string()))
    });
    let at = |uri: &str| -> Req {
        let (mut parts, body) = get("/").into_parts();
        parts.uri = uri.parse().unwrap();
        Request::from_parts(parts, body)
    };
    let requests = || {
        [
            get("/"),
            with(get("/"), "authorization", "Bearer alice"),
            with(get("/"), "authorization", "Bearer bob"),
            with(get("/"), "cookie", "user=alice"),
            with(get("/"), "cookie", "user=bob"),
            at("https://example.com/"),
            at("http://example.org/"),
            at("http://example.com:8080/"),
            with(at("/"), "host", "example.net"),
            get("/?"),
            get("//"),
        ]
    };
    for (name, service) in [
        ("cache", CacheLayer::new(cache()).layer(inner.clone())),
        ("coalesce", CoalesceLayer::new().layer(inner.clone())),
    ] {
        let (before, all) = (calls.count(), requests().len());
        let answers = at_once(&service, requests()).await;
        let mut texts: Vec<_> =
            answers.into_iter().map(|read| read.unwrap().text().to_owned()).collect();
        texts.sort();
        texts.dedup();
        assert_eq!((texts.len(), calls.count() - before), (all, all), "{name}");
    }
}

// A default port and the letter case of a host make no other key.
#[tokio::test(start_paused = true)]
async fn spellings_of_one_host_are_one_key() {
    let (calls, inner) = saying(&[("cache-control", "max-age=600")]);
    let mut service = CacheLayer::new(cache()).layer(inner);
    for uri in ["http://example.com/", "http://EXAMPLE.com/", "http://example.com:80/"] {
        let (mut parts, body) = get("/").into_parts();
        parts.uri = uri.parse().unwrap();
        call(&mut service, Request::from_parts(parts, body)).await.unwrap();
    }
    assert_eq!(calls.count(), 1);
}

// A hit does not call the inner service, and a request with a body is nobody else's.
#[tokio::test(start_paused = true)]
async fn a_hit_calls_nothing_and_what_has_a_body_passes() {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Full<bytes::Bytes>>| {
        counted.add();
        async move {
            let sent = request.into_body().collect().await?.to_bytes();
            Ok::<Res, BoxError>(answer(&[("cache-control", "max-age=600")], sent))
        }
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    let mut asks = async |method: Method, body: &'static str| {
        let request = Request::builder().method(method).uri("http://example.com/");
        let request = request.body(Full::from(body)).unwrap();
        support::read(service.call(request).await.unwrap()).await.unwrap().body
    };
    for _ in 0..6 {
        assert_eq!(asks(Method::GET, "").await, "");
    }
    assert_eq!(calls.count(), 1);
    for body in ["one", "two"] {
        assert_eq!(asks(Method::POST, body).await, body);
        assert_eq!(asks(Method::GET, body).await, body);
    }
    assert_eq!(calls.count(), 5);
}

// What is stored keeps its lifetime, however often it is asked for.
#[tokio::test(start_paused = true)]
async fn a_lifetime_is_not_begun_anew_by_being_asked_for() {
    let (calls, inner) = saying(&[("cache-control", "max-age=10")]);
    let mut service = CacheLayer::new(cache()).layer(inner);
    for _ in 0..9 {
        call(&mut service, get("/")).await.unwrap();
        advance(SECOND).await;
    }
    assert_eq!(calls.count(), 1);
    advance(2 * SECOND).await;
    assert_eq!((call(&mut service, get("/")).await.unwrap().text(), calls.count()), ("1", 2));
}

// A store of a size holds no more than that; one of no size holds nothing, and answers pass.
#[tokio::test(start_paused = true)]
async fn a_store_holds_no_more_than_its_size() {
    for bytes in [0, 1 << 10, 1 << 20] {
        let cache = Cache::new(Memory::bytes(bytes));
        let (calls, inner) = origin(|_, _| async {
            Ok(answer(&[("cache-control", "max-age=600")], vec![b'x'; 4096]))
        });
        let mut service = CacheLayer::new(cache.clone()).layer(inner);
        for key in 0..1_000 {
            let read = call(&mut service, get(&format!("/{key}"))).await.unwrap();
            assert_eq!(read.body.len(), 4096);
            assert!(cache.figures().bytes <= bytes, "{:?} of {bytes}", cache.figures());
        }
        assert_eq!(calls.count(), 1_000);
        assert_eq!(cache.figures().records > 0, bytes == 1 << 20);
    }
}

// What is stored again takes the place of what was there.
#[tokio::test(start_paused = true)]
async fn storing_a_key_again_takes_no_more_room() {
    let (_, inner) = saying(&[("cache-control", "max-age=600")]);
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    let once = (cache.figures().records, cache.figures().bytes);
    for _ in 0..5 {
        call(&mut service, with(get("/"), "cache-control", "no-cache")).await.unwrap();
    }
    assert_eq!((cache.figures().records, cache.figures().bytes), once);
}
