//! `POST /invalidate`: what was named is gone, or stale, and nothing else.

use http::Request;
use http_body_util::BodyExt;

use super::support::*;

const DONE: &str = "{\"journal\":\"none\",\"local\":true}";

/// Whether it was answered from storage, without a word about being stale.
fn is_hit(answer: &str) -> bool {
    let said = field(answer, "cache-status");
    assert!(said.starts_with("seawall; "), "{answer}");
    said == "seawall; hit"
}

/// Which of these paths are still answered from storage; those that are not are so afterwards.
async fn hits(gateway: &Gateway, paths: &[&'static str]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for path in paths {
        if is_hit(&gateway.get(path).await) {
            found.push(*path);
        }
    }
    found
}

async fn invalidated(gateway: &Gateway, query: &str) {
    let answer = gateway.invalidate(query).await;
    assert_eq!(status(&answer), 200, "{query}: {answer}");
    assert_eq!(field(&answer, "content-type"), "application/json");
    assert_eq!(json(&answer), serde_json::from_str::<serde_json::Value>(DONE).unwrap(), "{query}");
}

// ===== what is named =====

#[tokio::test]
async fn a_key_is_what_a_client_asks_for() {
    const KEPT: [&str; 5] =
        ["/products/1", "/products/2", "/products/1?a=b&c=%20d", "/products/1/", "/reviews/1"];
    let gateway = Gateway::start(&[]);
    hits(&gateway, &KEPT).await;
    for (query, gone) in [
        ("key=GET%20http://a/products/1", KEPT[0]),
        ("key=HEAD%20http://a/products/1", KEPT[0]),
        ("key=GET+http%3A%2F%2FA%3A80%2Fproducts%2F1", KEPT[0]),
        ("key=GET%20https://a/products/1", KEPT[0]), // nobody is believed to have come by TLS
        ("key=GET%20http://a/products/1?a=b%26c=%2520d", KEPT[2]),
        ("key=GET%20http://a/products/1/", KEPT[3]),
    ] {
        invalidated(&gateway, query).await;
        let left: Vec<_> = KEPT.into_iter().filter(|path| *path != gone).collect();
        assert_eq!(hits(&gateway, &KEPT).await, left, "{query}");
    }
    for query in [
        "key=GET%20http://b/products/1",
        "key=GET%20http://a:81/products/1",
        "key=GET%20http://a/products/1?",
        "key=GET%20http://a/Products/1",
        "key=GET%20http://a/",
    ] {
        invalidated(&gateway, query).await;
        assert_eq!(hits(&gateway, &KEPT).await, KEPT, "{query}");
    }
    assert_eq!(gateway.status().await["journal"]["position"], 11);
}

#[tokio::test]
async fn a_key_is_the_same_for_every_way_to_ask_for_it() {
    let gateway = Gateway::start(&[]);
    for fields in [
        "GET /products/1 HTTP/1.1\r\nhost: shop.example:80\r\n",
        "GET /products/1 HTTP/1.1\r\nhost: SHOP.example\r\n",
        "GET http://Shop.example/products/1 HTTP/1.1\r\nhost: shop.example\r\n",
        "HEAD /products/1 HTTP/1.1\r\nhost: shop.example\r\n",
    ] {
        gateway.ask("GET /products/1 HTTP/1.1\r\nhost: shop.example\r\n").await;
        assert!(is_hit(&gateway.ask(fields).await), "{fields}");
        invalidated(&gateway, "key=GET%20http://shop.example/products/1").await;
        assert!(!is_hit(&gateway.ask(fields).await), "{fields}");
    }
    let over_h2 = async || {
        let request = Request::get("http://shop.example/products/2").body(nothing()).unwrap();
        let answer = ask_h2(gateway.addr, request).await;
        let said = answer.headers()["cache-status"].to_str().unwrap().to_owned();
        answer.into_body().collect().await.unwrap();
        gateway.until(|status| status["flights"] == 0).await;
        said
    };
    over_h2().await;
    assert_eq!(over_h2().await, "seawall; hit");
    invalidated(&gateway, "key=GET%20http://shop.example/products/2").await;
    assert_ne!(over_h2().await, "seawall; hit");
}

#[tokio::test]
async fn behind_a_trusted_proxy_a_key_has_the_scheme_that_it_names() {
    let gateway = Gateway::start(&["--trusted-proxy", "127.0.0.1"]);
    let by = async |scheme: &str| {
        let head = format!(
            "GET /products/1 HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: {scheme}\r\n\
             x-forwarded-host: shop.example\r\n"
        );
        is_hit(&gateway.ask(&head).await)
    };
    let refill = async || {
        by("http").await;
        by("https").await;
    };
    refill().await;
    for (query, http, https) in [
        ("key=GET%20https://shop.example/products/1", true, false),
        ("key=GET%20http://shop.example/products/1", false, true),
        ("key=GET%20http://a/products/1", true, true),
        // A URI is what it is, by whatever scheme.
        ("uri=https://shop.example/products/1", false, false),
    ] {
        invalidated(&gateway, query).await;
        assert_eq!((by("http").await, by("https").await), (http, https), "{query}");
        refill().await;
    }
}

#[tokio::test]
async fn a_uri_is_gone_in_all_its_variants() {
    let (origin, _told) = scripted(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nvary: accept-language\r\n\
         content-length: 2\r\n\r\nok",
    )
    .await;
    let gateway = Gateway::before(origin, &[]);
    let hits = async |path: &str| {
        let mut hits = 0;
        for language in ["en", "de", "fr"] {
            let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\naccept-language: {language}\r\n");
            hits += usize::from(is_hit(&gateway.ask(&head).await));
        }
        hits
    };
    for (query, left) in [("uri=http://a/x", 0), ("uri=http://a/z", 3), ("key=GET%20http://a/x", 0)]
    {
        for path in ["/x", "/y"] {
            hits(path).await;
        }
        assert_eq!((hits("/x").await, hits("/y").await), (3, 3));
        invalidated(&gateway, query).await;
        assert_eq!((hits("/x").await, hits("/y").await), (left, 3), "{query}");
    }
}

#[tokio::test]
async fn a_tag_names_all_that_has_it_and_several_are_one_record() {
    const KEPT: [&str; 4] = ["/products/1", "/products/2", "/reviews/1", "/promotions/1"];
    let gateway = Gateway::start(&[]);
    hits(&gateway, &KEPT).await;
    for (query, left) in [
        ("tag=product-1", &KEPT[1..]),
        ("tag=products", &KEPT[2..]),
        ("tag=products&tag=review-1", &KEPT[3..]),
        ("tag=product", &KEPT[..]),
        ("tag=Products", &KEPT[..]),
        ("tag=%70roducts", &KEPT[2..]),
    ] {
        let before = gateway.status().await["journal"]["position"].as_u64().unwrap();
        invalidated(&gateway, query).await;
        assert_eq!(hits(&gateway, &KEPT).await, left, "{query}");
        assert_eq!(gateway.status().await["journal"]["position"], before + 1, "{query}");
    }
}

#[tokio::test]
async fn tags_are_read_where_the_flag_says_and_in_cache_tag() {
    const ORIGIN: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nsurrogate-key: one\r\n\
                          x-tags: two, three\r\ncache-tag: four five\r\ncontent-length: 2\r\n\r\nok";
    for (flags, known) in [
        (&[][..], &["one", "four", "five"][..]),
        (&["--tag-header", "X-Tags"], &["two", "three", "four", "five"]),
        (&["--tag-header", "cache-tag"], &["four", "five"]),
    ] {
        let (origin, _told) = scripted(ORIGIN).await;
        let gateway = Gateway::before(origin, flags);
        gateway.get("/").await;
        for tag in ["one", "two", "three", "four", "five", "six"] {
            assert!(is_hit(&gateway.get("/").await), "{flags:?}");
            invalidated(&gateway, &format!("tag={tag}")).await;
            assert_eq!(is_hit(&gateway.get("/").await), !known.contains(&tag), "{flags:?} {tag}");
        }
    }
}

#[tokio::test]
async fn all_is_all() {
    const KEPT: [&str; 3] = ["/products/1", "/reviews/1", "/promotions/1"];
    let gateway = Gateway::start(&[]);
    hits(&gateway, &KEPT).await;
    assert_eq!(hits(&gateway, &KEPT).await, KEPT);
    invalidated(&gateway, "all").await;
    assert!(hits(&gateway, &KEPT).await.is_empty());
    assert_eq!(hits(&gateway, &KEPT).await, KEPT);
}

// ===== hard and soft =====

#[tokio::test]
async fn what_is_invalidated_softly_is_stale_and_validated() {
    const ORIGIN: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\netag: \"1\"\r\n\
                          surrogate-key: one\r\ncontent-length: 2\r\n\r\nok";
    const UNCHANGED: &str = "HTTP/1.1 304 Not Modified\r\ncache-control: max-age=60\r\n\
                             etag: \"1\"\r\nsurrogate-key: one\r\n\r\n";
    let (origin, answers, mut told) = changing(ORIGIN).await;
    let gateway = Gateway::before(origin, &[]);
    gateway.get("/").await;
    told.recv().await.unwrap();
    answers.send_replace(UNCHANGED.to_owned());
    for what in ["key=GET%20http://a/", "uri=http://a/", "tag=one", "all"] {
        invalidated(&gateway, &format!("{what}&soft")).await;
        let answer = gateway.get("/").await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        let said = field(&answer, "cache-status");
        assert!(said.starts_with("seawall; fwd=stale; fwd-status=304"), "{what}: {said}");
        assert!(told.recv().await.unwrap().contains("if-none-match: \"1\"\r\n"), "{what}");
        assert!(is_hit(&gateway.get("/").await), "{what}");
    }
    invalidated(&gateway, "tag=one").await;
    invalidated(&gateway, "tag=one&soft").await;
    answers.send_replace(ORIGIN.to_owned());
    let said = gateway.get("/").await;
    assert!(field(&said, "cache-status").starts_with("seawall; fwd=uri-miss"), "{said}");
    assert!(!told.recv().await.unwrap().contains("if-none-match"), "hard is not validated");
}

#[tokio::test]
async fn what_is_invalidated_hard_is_not_given_in_an_outage_either() {
    let gateway = Gateway::start(&["--stale-if-error", "1h"]);
    hits(&gateway, &["/products/1", "/products/2"]).await;
    gateway.get("/outage?seconds=60").await;
    invalidated(&gateway, "tag=product-1").await;
    invalidated(&gateway, "tag=product-2&soft").await;
    assert_eq!(status(&gateway.get("/products/1").await), 503);
    assert_eq!(status(&gateway.get("/products/2").await), 200);
}

// ===== what is refused =====

#[tokio::test]
async fn a_query_that_names_nothing_or_too_much_is_400_and_a_sentence() {
    let gateway = Gateway::start(&[]);
    gateway.get("/products/1").await;
    for query in [
        "",
        "soft",
        "all&tag=a",
        "key=GET%20http://a/products/1&uri=http://a/products/1",
        "uri=http://a/products/1&uri=http://a/x",
        "uri=/products/1",
        "uri=http://a/products/1&x=y",
        "key=http://a/products/1",
        "key=DELETE%20http://a/products/1",
        "key=GET%20https://",
        "tag=",
        "tag=%zz",
        "all=yes",
        "everything",
    ] {
        let answer = gateway.invalidate(query).await;
        assert_eq!(status(&answer), 400, "{query}");
        let text = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(text.len() > 20 && text.lines().count() == 1, "{query}: {text}");
    }
    let bare = "POST /invalidate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\
                connection: close\r\n\r\nall";
    assert_eq!(status(&talk(gateway.admin, bare.as_bytes()).await), 400, "the query counts");
    assert!(is_hit(&gateway.get("/products/1").await));
    assert_eq!(gateway.status().await["journal"]["position"], 0);
}

#[tokio::test]
async fn only_a_post_invalidates() {
    let gateway = Gateway::start(&[]);
    gateway.get("/products/1").await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "post"] {
        for query in ["?all", ""] {
            let head = format!("{method} /invalidate{query} HTTP/1.1\r\nhost: localhost\r\n");
            let answer = ask(gateway.admin, &head).await;
            assert_eq!((status(&answer), field(&answer, "allow")), (405, "POST"), "{method}");
        }
    }
    let wrong = ask(gateway.admin, "POST /status HTTP/1.1\r\nhost: localhost\r\n").await;
    assert_eq!(field(&wrong, "allow"), "GET, HEAD");
    assert!(is_hit(&gateway.get("/products/1").await));
}

#[tokio::test]
async fn who_may_not_ask_may_not_invalidate() {
    let gateway = Gateway::start(&[]);
    gateway.get("/products/1").await;
    for fields in [
        "host: localhost\r\norigin: http://localhost\r\n",
        "host: localhost\r\norigin: null\r\n",
        "host: rebound.example\r\n",
        "",
    ] {
        // Nor is anyone told what would have been wrong with it.
        for query in ["?all", ""] {
            let head = format!("POST /invalidate{query} HTTP/1.1\r\n{fields}");
            assert_eq!(status(&ask(gateway.admin, &head).await), 403, "{fields:?}");
        }
    }
    assert!(is_hit(&gateway.get("/products/1").await));

    let file = std::env::temp_dir().join(format!("gateway-invalidates-{}", std::process::id()));
    std::fs::write(&file, "s3cret").unwrap();
    let gateway = Gateway::start(&["--admin-token-file", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let get = "GET /products/1 HTTP/1.1\r\nhost: a\r\n";
    for (fields, expected) in [
        ("", 401),
        ("authorization: Bearer no\r\n", 401),
        ("authorization: Bearer s3cret\r\n", 200),
    ] {
        // Its status is not to be had without the token.
        let stored = async { while !is_hit(&ask(gateway.addr, get).await) {} };
        tokio::time::timeout(LONG, stored).await.expect("a hit");
        let head = format!("POST /invalidate?all HTTP/1.1\r\nhost: ops.example\r\n{fields}");
        assert_eq!(status(&ask(gateway.admin, &head).await), expected, "{fields:?}");
    }
    assert!(!is_hit(&ask(gateway.addr, get).await));
}

/// A path of the gateway's own would be one that the origin cannot have.
#[tokio::test]
async fn clients_cannot_invalidate() {
    let gateway = Gateway::start(&[]);
    gateway.get("/products/1").await;
    let head = "POST /invalidate?all HTTP/1.1\r\nhost: localhost\r\n";
    assert_eq!(status(&gateway.ask(head).await), 404);
    assert!(is_hit(&gateway.get("/products/1").await));
    assert_eq!(gateway.status().await["journal"]["position"], 0);
}
