//! Requests that change what is at the origin, through the cache (RFC 9111 §4.4).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Uri};
use http_body_util::Empty;
use seawall::{BoxError, Cache, CacheLayer, UriKey, cache::CacheService, observe::Event};
use tokio::time::sleep;
use tower::Layer;

use crate::support::{
    BoxedOrigin, Calls, Read, Req, answer, answer_status, asked, cache, cache_builder, call, get,
    origin, with,
};

const UNSAFE: [&str; 5] = ["POST", "PUT", "DELETE", "PATCH", "UNHEARD-OF"];

fn changing(method: &str, uri: &str) -> Req {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Request::builder().method(method).uri(uri).body(Empty::new()).unwrap()
}

/// Answers a GET with the number of the call; anything else with this status and these fields.
fn changed_with(
    status: u16,
    fields: &'static [(&'static str, &'static str)],
) -> (Calls, BoxedOrigin) {
    origin(move |call, request| async move {
        Ok(match *request.method() {
            Method::GET => answer(&[("cache-control", "max-age=600")], call.to_string()),
            _ => answer_status(status, fields, ""),
        })
    })
}

async fn is_hit(service: &mut CacheService<BoxedOrigin>, uri: &str) -> bool {
    let request = Request::get(uri).body(Empty::new()).unwrap();
    call(service, request).await.unwrap().cache_status() == "hit"
}

/// Whether what is stored under `uri` is still there after `request`.
async fn survives(uri: &str, request: Req, mut service: CacheService<BoxedOrigin>) -> bool {
    is_hit(&mut service, uri).await;
    assert!(is_hit(&mut service, uri).await);
    call(&mut service, request).await.unwrap();
    is_hit(&mut service, uri).await
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_request_that_succeeds_invalidates_its_target_and_one_that_fails_does_not() {
    for method in UNSAFE {
        for (status, invalidates) in [
            (200, true),
            (201, true),
            (204, true),
            (303, true),
            (304, true),
            (400, false),
            (404, false),
            (409, false),
            (500, false),
            (503, false),
        ] {
            let (_, inner) = changed_with(status, &[]);
            let service = CacheLayer::new(cache()).layer(inner);
            let uri = "http://example.com/a?b";
            let stays = survives(uri, changing(method, uri), service).await;
            assert_eq!(stays, !invalidates, "{method} {status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_safe_request_invalidates_nothing() {
    for method in ["HEAD", "OPTIONS", "TRACE"] {
        let (_, inner) = changed_with(200, &[("content-location", "/a")]);
        let service = CacheLayer::new(cache()).layer(inner);
        let uri = "http://example.com/a";
        assert!(survives(uri, changing(method, uri), service).await, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_request_that_gets_no_answer_invalidates_nothing() {
    let (_, inner) = origin(|call, request| async move {
        match *request.method() {
            Method::GET => Ok(answer(&[("cache-control", "max-age=600")], call.to_string())),
            _ => Err::<_, BoxError>("connection reset".into()),
        }
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    let error = call(&mut service, changing("POST", "http://example.com/")).await;
    assert_eq!(error.unwrap_err().to_string(), "connection reset");
    assert!(is_hit(&mut service, "http://example.com/").await);
}

#[tokio::test(start_paused = true)]
async fn what_location_and_content_location_name_goes_too_within_one_authority() {
    type Fields = &'static [(&'static str, &'static str)];
    let rows: [(Fields, bool); 9] = [
        (&[("location", "/x/b?c")], true),
        (&[("content-location", "/x/b?c")], true),
        (&[("content-location", "b?c"), ("location", "/elsewhere")], true),
        (&[("location", "HTTP://EXAMPLE.com:80/x/b?c#d")], true),
        (&[("location", "https://example.com/x/b?c")], false),
        (&[("location", "http://example.org/x/b?c")], false),
        (&[("content-location", "//evil.example.com/x/b?c")], false),
        (&[("location", "/x/b")], false),
        (&[("link", "</x/b?c>")], false),
    ];
    for (fields, invalidates) in rows {
        let (_, inner) = changed_with(201, fields);
        let service = CacheLayer::new(cache()).layer(inner);
        let post = changing("POST", "http://example.com/x/a");
        let stays = survives("http://example.com/x/b?c", post, service).await;
        assert_eq!(stays, !invalidates, "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_authority_has_stays() {
    let (_, inner) = changed_with(201, &[("location", "http://victim.example/a")]);
    let mut service = CacheLayer::new(cache()).layer(inner);
    is_hit(&mut service, "http://victim.example/a").await;
    call(&mut service, changing("POST", "http://attacker.example/a")).await.unwrap();
    assert!(is_hit(&mut service, "http://victim.example/a").await);
}

#[tokio::test(start_paused = true)]
async fn all_variants_of_the_target_go() {
    let (calls, inner) = origin(|_, request| async move {
        let fields = [("cache-control", "max-age=600"), ("vary", "accept-language")];
        let language = request.headers().get("accept-language").cloned();
        Ok(answer(&fields, language.map_or_else(String::new, |it| it.to_str().unwrap().into())))
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    let languages = ["de", "en", "fr"];
    let asks = |language: &str| with(get("/"), "accept-language", language);
    for language in languages.iter().chain(&languages) {
        call(&mut service, asks(language)).await.unwrap();
    }
    assert_eq!(calls.count(), 3);
    call(&mut service, changing("PUT", "http://example.com/")).await.unwrap();
    for language in languages {
        let read: Read = call(&mut service, asks(language)).await.unwrap();
        assert_eq!(read.text(), language);
    }
    assert_eq!(calls.count(), 3 + 1 + 3);
}

/// The URI that a client asked for, where a router has cut it.
#[derive(Clone)]
struct Original(Uri);

#[tokio::test(start_paused = true)]
async fn the_target_is_the_uri_that_the_key_is_made_of() {
    let (_, inner) = changed_with(201, &[("location", "new")]);
    let key = UriKey::new().uri(|extensions| Some(&extensions.get::<Original>()?.0));
    let mut service = CacheLayer::new(cache()).key(key).layer(inner);
    let cut = |method: &str, original: &'static str, seen: &str| {
        let mut request = changing(method, seen);
        request.extensions_mut().insert(Original(Uri::from_static(original)));
        request
    };
    let gets = [
        cut("GET", "http://example.com/one/x", "http://example.com/x"),
        cut("GET", "http://example.com/two/x", "http://example.com/x"),
        cut("GET", "http://example.com/one/new", "http://example.com/new"),
        cut("GET", "http://example.com/two/new", "http://example.com/new"),
    ];
    for request in &gets {
        call(&mut service, request.clone()).await.unwrap();
    }
    let post = cut("POST", "http://example.com/one/x", "http://example.com/x");
    call(&mut service, post).await.unwrap();
    let mut hits = Vec::new();
    for request in &gets {
        hits.push(call(&mut service, request.clone()).await.unwrap().cache_status() == "hit");
    }
    assert_eq!(hits, [false, true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn it_is_invalidated_before_the_client_is_told_and_not_before_the_origin_answered() {
    let (_, inner) = origin(|call, request| async move {
        sleep(Duration::from_millis(50)).await;
        let fields = [("cache-control", "max-age=600")];
        Ok(answer(if request.method() == Method::GET { &fields } else { &[] }, call.to_string()))
    });
    let invalidated = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&invalidated);
    let builder = cache_builder().observer(move |event: &Event<'_>| {
        if let Event::Invalidated { hard } = event {
            assert!(hard);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let cache: Cache = builder.build();
    let mut service = CacheLayer::new(cache).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    let post = asked(&service, changing("POST", "http://example.com/"));
    sleep(Duration::from_millis(20)).await;
    assert_eq!(call(&mut service, get("/")).await.unwrap().cache_status(), "hit");
    assert_eq!(invalidated.load(Ordering::SeqCst), 0);
    post.await.unwrap().unwrap();
    assert_eq!(invalidated.load(Ordering::SeqCst), 1);
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_under_way_during_a_change_is_for_those_who_came_before_it() {
    let (_, inner) = origin(|call, request| async move {
        let takes = if request.method() == Method::GET { 100 } else { 10 };
        sleep(Duration::from_millis(takes)).await;
        let fields = [("cache-control", "max-age=600")];
        Ok(answer(if request.method() == Method::GET { &fields } else { &[] }, call.to_string()))
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    let before = asked(&service, get("/"));
    sleep(Duration::from_millis(20)).await;
    call(&mut service, changing("DELETE", "http://example.com/")).await.unwrap();
    let after = asked(&service, get("/"));
    assert_eq!(before.await.unwrap().unwrap().text(), "0");
    assert_eq!(after.await.unwrap().unwrap().text(), "2");
    let hit = call(&mut service, get("/")).await.unwrap();
    assert_eq!((hit.text(), hit.cache_status()), ("2", "hit"));
}

#[tokio::test(start_paused = true)]
async fn a_change_while_the_cache_is_switched_off_is_not_forgotten() {
    let (_, inner) = changed_with(204, &[]);
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    is_hit(&mut service, "http://example.com/").await;
    let switch = cache.switch();
    switch.off();
    call(&mut service, changing("POST", "http://example.com/")).await.unwrap();
    switch.on();
    assert!(!is_hit(&mut service, "http://example.com/").await);
}
