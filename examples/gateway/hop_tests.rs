use http::{HeaderValue, StatusCode};

use super::*;

fn fields(name: &'static str, values: &[&'static str]) -> HeaderMap {
    let values = values.iter().map(|value| HeaderValue::from_static(value));
    let mut headers = HeaderMap::new();
    values.for_each(|value| {
        headers.append(name, value);
    });
    headers
}

#[test]
fn connection_takes_away_what_is_for_one_hop_and_nothing_else() {
    for (name, goes) in [
        ("x-hop", true),
        ("a", true),
        ("keep-alive", true),
        ("vary", false),
        ("set-cookie", false),
        ("cache-control", false),
        ("cdn-cache-control", false),
        ("expires", false),
        ("age", false),
        ("etag", false),
        ("last-modified", false),
        ("content-encoding", false),
        ("content-location", false),
        ("location", false),
        ("surrogate-key", false),
        ("cache-tag", false),
        ("cache-groups", false),
        ("x-tags", false),
    ] {
        let mut headers = fields("connection", &["close", name]);
        headers.insert(name, HeaderValue::from_static("1"));
        let named = drop_fields(&mut headers, Some(&HeaderName::from_static("x-tags")));
        assert_eq!(headers.contains_key(name), !goes, "{name}");
        assert_eq!(named.wrong, !goes, "{name}");
        assert!(!headers.contains_key("connection"), "{name}");
    }
}

#[test]
fn requests_are_in_chunks_once_or_in_no_coding() {
    for (values, status) in [
        (&[][..], 200),
        (&["chunked"], 200),
        (&[" Chunked"], 200),
        (&["gzip, chunked"], 501),
        (&["gzip;q=1", "chunked"], 501),
        (&["identity, chunked"], 501),
        (&["chunked, chunked"], 400),
        (&["chunked", "chunked"], 400),
        (&["chunked;a=b"], 400),
        (&[", chunked"], 400),
        (&["\"a\", chunked"], 400),
    ] {
        let refused = undone(&fields("transfer-encoding", values)).err();
        let found = refused.map_or(StatusCode::OK, |refusal| refusal.status);
        assert_eq!(found, status, "{values:?}");
    }
}

#[test]
fn an_answer_is_its_content_where_nothing_is_left_to_undo() {
    for (values, content) in [
        (&[][..], true),
        (&["chunked"], true),
        (&["CHUNKED"], true),
        (&["identity"], true),
        (&["identity, chunked"], true),
        (&[", chunked"], true),
        (&["unheard-of"], true),
        (&["unheard-of, chunked"], false),
        (&["gzip, chunked"], false),
        (&["gzip", "chunked"], false),
        (&["chunked, chunked"], false),
        (&["chunked", "chunked"], false),
        (&["Gzip"], false),
        (&["x-gzip;q=1"], false),
        (&["deflate, unheard-of"], false),
        (&["compress"], false),
        // hyper does not undo these chunks.
        (&["chunked, gzip"], false),
        (&["chunked, unheard-of"], false),
        (&["chunked,"], false),
        (&["chunked", ""], false),
        (&["chunked;a=b"], false),
    ] {
        assert_eq!(is_content(&fields("transfer-encoding", values)), content, "{values:?}");
    }
}

#[test]
fn trailers_keep_what_may_be_known_late() {
    let named = drop_fields(&mut fields("connection", &["x-hop"]), None);
    for (name, stays) in [
        ("grpc-status", true),
        ("grpc-message", true),
        ("etag", true),
        ("content-digest", true),
        ("server-timing", true),
        ("proxy-status", true),
        ("authentication-info", true),
        ("x-hop", false),
        ("connection", false),
        ("keep-alive", false),
        ("proxy-connection", false),
        ("proxy-authenticate", false),
        ("te", false),
        ("upgrade", false),
        ("transfer-encoding", false),
        ("content-length", false),
        ("content-type", false),
        ("trailer", false),
        ("host", false),
        ("forwarded", false),
        ("x-forwarded-for", false),
        ("authorization", false),
        ("cookie", false),
        ("set-cookie", false),
        ("cache-control", false),
        ("cdn-cache-control", false),
        ("vary", false),
        ("if-none-match", false),
    ] {
        let mut trailers = fields(name, &["1", "2"]);
        clean(&mut trailers, &named);
        assert_eq!(trailers.contains_key(name), stays, "{name}");
    }
}

#[test]
fn connection_names_no_more_than_a_hop_could_mean() {
    let names: String = (0..100).map(|number| format!("x-{number},")).collect();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, names.parse().unwrap());
    let named = drop_fields(&mut headers, None);
    assert!(named.wrong && named.names.len() == MOST_NAMES);

    // Those that never go on are not kept, nor is one kept twice.
    let mut headers = HeaderMap::new();
    let always = HeaderValue::from_static("keep-alive, close, upgrade, x-a, X-A");
    headers.insert(header::CONNECTION, always);
    let named = drop_fields(&mut headers, None);
    assert!(!named.wrong);
    assert_eq!(named.names, ["x-a"]);
}
