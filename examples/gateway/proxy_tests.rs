use http::{HeaderMap, Request};

use super::*;

const CLIENT: [u8; 4] = [192, 0, 2, 9];
const PROXY: [u8; 4] = [10, 0, 0, 1];

fn head(method: &str, target: &str, version: Version, fields: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(target).version(version);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn received(head: &mut request::Parts, peer: [u8; 4]) -> Result<(), Refusal> {
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    receive(head, peer.into(), &trusted, &Authority::from_static("origin:3000"))
}

/// What becomes of a GET over HTTP/1.1.
fn get(target: &str, fields: &[(&str, &str)], peer: [u8; 4]) -> Result<request::Parts, StatusCode> {
    let mut head = head("GET", target, Version::HTTP_11, fields);
    received(&mut head, peer).map_err(|refusal| refusal.status)?;
    Ok(head)
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn the_target_becomes_absolute_and_is_written_in_one_way() {
    for (target, host, becomes) in [
        ("/a?b", "shop.example", "http://shop.example/a?b"),
        ("/", "SHOP.example:80", "http://shop.example/"),
        ("/", "shop.example:8080", "http://shop.example:8080/"),
        ("/", "shop.example:", "http://shop.example/"),
        ("/", "[2001:DB8::1]:80", "http://[2001:db8::1]/"),
        ("http://shop.example/a", "shop.example", "http://shop.example/a"),
        ("http://Shop.example:80?q", "shop.example", "http://shop.example/?q"),
        ("https://shop.example/", "shop.example", "http://shop.example/"),
        ("//x/../%2e?", "shop.example", "http://shop.example//x/../%2e?"),
    ] {
        let head = get(target, &[("host", host)], CLIENT).unwrap();
        assert_eq!(head.uri.to_string(), becomes, "{target} {host}");
        assert_eq!(field(&head.headers, "host"), host, "the client's Host is kept");
    }
}

#[test]
fn targets_and_hosts_that_mean_nothing_certain_are_refused() {
    for (target, fields) in [
        ("/", &[][..]),
        ("/", &[("host", "")]),
        ("/", &[("host", "a b")]),
        ("/", &[("host", "user@shop.example")]),
        ("/", &[("host", "shop.example:99999")]),
        ("/", &[("host", "shop.example/x")]),
        ("/", &[("host", "a"), ("host", "a")]),
        ("http://a/", &[("host", "b")]),
        ("http://a/", &[]),
        ("http://user@a/", &[("host", "a")]),
        ("ftp://a/", &[("host", "a")]),
        ("*", &[("host", "a")]),
        ("a", &[("host", "a")]),
        ("a:80", &[("host", "a")]),
    ] {
        let got = get(target, fields, CLIENT).map(|head| head.uri);
        assert_eq!(got, Err(StatusCode::BAD_REQUEST), "{target} {fields:?}");
    }
}

#[test]
fn older_and_newer_versions_may_do_without_host() {
    let mut old = head("GET", "/a", Version::HTTP_10, &[]);
    assert_eq!(received(&mut old, CLIENT), Ok(()));
    assert_eq!(old.uri.to_string(), "http://origin:3000/a");
    let mut new = head("GET", "http://shop.example/a", Version::HTTP_2, &[]);
    assert_eq!(received(&mut new, CLIENT), Ok(()));
    assert_eq!(field(&new.headers, "host"), "shop.example");
    let mut none = head("GET", "/a", Version::HTTP_2, &[]);
    assert!(received(&mut none, CLIENT).is_err());
}

#[test]
fn tunnels_are_not_supported() {
    let mut connect = head("CONNECT", "a:443", Version::HTTP_11, &[("host", "a:443")]);
    let upgrade = [("host", "a"), ("connection", "upgrade"), ("upgrade", "websocket")];
    let mut upgrade = head("GET", "/", Version::HTTP_11, &upgrade);
    for (head, word) in [(&mut connect, "CONNECT"), (&mut upgrade, "Upgrade")] {
        let refusal = received(head, CLIENT).unwrap_err();
        assert_eq!(refusal.status, StatusCode::NOT_IMPLEMENTED);
        assert!(refusal.text.contains(word));
    }
}

#[test]
fn fields_for_one_hop_stay_on_it() {
    let fields = [
        ("host", "a"),
        ("connection", "close, X-Secret"),
        ("connection", "keep-alive"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("proxy-authorization", "Basic x"),
        ("te", "trailers, gzip"),
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
        ("trailer", "x-sum"),
        ("x-kept", "1"),
    ];
    let head = get("/", &fields, CLIENT).unwrap();
    let mut left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["host", "trailer", "x-kept"]);
}

#[test]
fn connection_cannot_take_away_what_the_answer_depends_on() {
    for name in
        ["Host", "cookie", "AUTHORIZATION", "accept-language", "if-match", "x-forwarded-for"]
    {
        let got = get("/", &[("host", "a"), ("connection", name)], CLIENT).map(|head| head.uri);
        assert_eq!(got, Err(StatusCode::BAD_REQUEST), "{name}");
    }
}

#[test]
fn strangers_are_not_believed() {
    let fields = [
        ("host", "a"),
        ("forwarded", "host=evil"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-url", "/evil"),
        ("x-rewrite-url", "/evil"),
        ("x-http-method-override", "DELETE"),
    ];
    let mut head = get("/", &fields, CLIENT).unwrap();
    assert_eq!(head.uri.to_string(), "http://a/");
    assert_eq!(head.headers.len(), 1);
    send_on(&mut head, &Authority::from_static("origin:3000"), Version::HTTP_11);
    assert_eq!(field(&head.headers, "forwarded"), "for=192.0.2.9;host=\"a\";proto=http");
    assert_eq!(field(&head.headers, "x-forwarded-for"), "192.0.2.9");
    assert_eq!(field(&head.headers, "x-forwarded-host"), "a");
    assert_eq!(field(&head.headers, "x-forwarded-proto"), "http");
}

#[test]
fn trusted_proxies_are_believed() {
    let fields = [
        ("host", "inner:8080"),
        ("forwarded", "for=192.0.2.1;host=shop.example;proto=https"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-original-url", "/kept"),
    ];
    let mut head = get("/a", &fields, PROXY).unwrap();
    assert_eq!(head.uri.to_string(), "https://shop.example/a");
    assert_eq!(field(&head.headers, "host"), "shop.example");
    assert_eq!(field(&head.headers, "x-original-url"), "/kept");
    assert_eq!(field(&head.headers, "forwarded"), "", "the layers see it in the target only");
    send_on(&mut head, &Authority::from_static("origin:3000"), Version::HTTP_11);
    assert_eq!(
        field(&head.headers, "forwarded"),
        "for=192.0.2.1;host=shop.example;proto=https, \
         for=10.0.0.1;host=\"shop.example\";proto=https"
    );
    assert_eq!(field(&head.headers, "x-forwarded-for"), "192.0.2.1, 10.0.0.1");
    assert_eq!(field(&head.headers, "x-forwarded-proto"), "https");
}

#[test]
fn the_origin_is_asked_at_its_address_for_the_clients_host() {
    let origin = Authority::from_static("origin:3000");
    let mut head = get("/a?b", &[("host", "Shop.example"), ("via", "1.0 first")], CLIENT).unwrap();
    let mut again = head.clone();
    send_on(&mut head, &origin, Version::HTTP_11);
    assert_eq!(head.uri.to_string(), "http://origin:3000/a?b");
    assert_eq!(field(&head.headers, "host"), "Shop.example");
    assert_eq!(field(&head.headers, "connection"), "te");
    let via: Vec<_> = head.headers.get_all("via").iter().collect();
    assert_eq!(via, ["1.0 first", "1.1 seawall"]);

    send_on(&mut again, &origin, Version::HTTP_2);
    assert_eq!(again.uri.to_string(), "http://Shop.example/a?b");
    assert!(!again.headers.contains_key("host") && !again.headers.contains_key("connection"));
    assert_eq!(field(&again.headers, "te"), "trailers");
}

#[test]
fn a_request_made_by_the_layers_can_be_sent_too() {
    let mut bare = head("GET", "http://shop.example/a", Version::HTTP_11, &[]);
    send_on(&mut bare, &Authority::from_static("origin:3000"), Version::HTTP_11);
    assert_eq!(field(&bare.headers, "forwarded"), "host=\"shop.example\";proto=http");
    assert!(!bare.headers.contains_key("x-forwarded-for"));
    assert_eq!(field(&bare.headers, "host"), "shop.example");
}

#[test]
fn answers_lose_what_was_for_one_hop() {
    let response = http::Response::builder()
        .version(Version::HTTP_2)
        .header("connection", "close, x-private")
        .header("x-private", "1")
        .header("transfer-encoding", "chunked")
        .header("content-length", "3")
        .header("trailer", "x-sum")
        .header("etag", "\"1\"");
    let mut head = response.body(()).unwrap().into_parts().0;
    answered(&mut head, None);
    let mut left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    // The layers see how it was framed; a client does not.
    assert_eq!(left, ["etag", "trailer", "transfer-encoding", "via"]);
    assert_eq!(field(&head.headers, "via"), "2 seawall");
    let mut response = http::Response::from_parts(head, ());
    answer(&mut response);
    assert!(!response.headers().contains_key("transfer-encoding"));
    assert_eq!(response.version(), Version::HTTP_11);
}
