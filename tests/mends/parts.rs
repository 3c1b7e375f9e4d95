//! Parts of a response (RFC 9111 §3.3, §3.4): what is said of them, and what they make together.

use http::Response;
use seawall::{CacheLayer, Profile, RespondLayer};
use tower::Layer;

use crate::{
    scripted::{KEPT, WHOLE, as_asked, bytes_asked, kept_and, layer, part, range, slowly, stepped},
    support::{
        BoxedOrigin, Calls, Read, Req, answer, answer_status, asked, at_once,
        bodies::{Step, Steps},
        cache, call, get, origin, with,
    },
};

// ===== what is said of one range =====

/// Has nothing from byte 99 on, says so for a minute, and where `unstored`, has nothing to be stored
/// before that.
fn out_of_range(unstored: bool) -> (Calls, BoxedOrigin) {
    let no_bytes = [("cache-control", "max-age=60"), ("content-range", "bytes */10")];
    origin(move |call, request| async move {
        Ok(match bytes_asked(&request) {
            Some(_) => answer_status(416, &no_bytes, "no such bytes"),
            None if unstored && call == 0 => answer(&[("cache-control", "no-store")], WHOLE),
            None => answer(KEPT, WHOLE),
        })
    })
}

#[tokio::test(start_paused = true)]
async fn that_a_range_cannot_be_had_is_no_answer_to_a_get_of_the_whole() {
    let (reverse, safe) = (Profile::reverse_proxy(), Profile::safe().any_status(true));
    for (profile, unstored) in [(&reverse, false), (&reverse, true), (&safe, true)] {
        let (calls, inner) = out_of_range(unstored);
        let mut service = CacheLayer::new(cache()).policy(profile.clone()).layer(inner);
        if unstored {
            // From here on its callers go alone, and their ranges with them.
            call(&mut service, get("/")).await.unwrap();
        }
        assert_eq!(call(&mut service, range("99-")).await.unwrap().status(), 416);
        let before = calls.count();
        let whole = call(&mut service, get("/")).await.unwrap();
        assert_eq!((whole.status(), whole.text()), (200, WHOLE), "{profile:?} {unstored}");
        assert_eq!(calls.count() - before, 1, "{profile:?} {unstored}");
    }
}

// ===== the fields of what is put together =====

/// Sends all fields, digests of the content among them, but with a range under `If-Range` no more than
/// is required (RFC 9110 §15.3.7), and what is new.
fn sparing() -> (Calls, BoxedOrigin) {
    let all = [
        ("content-type", "text/html"),
        ("content-encoding", "gzip"),
        ("x-version", "1"),
        ("content-digest", "sha-256=:Zmlyc3Q=:"),
        ("content-md5", "Zmlyc3Q="),
        ("repr-digest", "sha-256=:d2hvbGU=:"),
    ];
    let new = [("x-version", "2"), ("content-digest", "sha-256=:c2Vjb25k:")];
    origin(move |_, request| async move {
        Ok(match bytes_asked(&request) {
            None => answer(&kept_and(&all), WHOLE),
            Some(bytes) if request.headers().contains_key("if-range") => {
                part(bytes, &kept_and(&new))
            }
            Some(bytes) => part(bytes, &kept_and(&all)),
        })
    })
}

/// It has the fields of the representation, and no digest of another content.
fn assert_described(read: &Read, version: &str) {
    for (field, expected) in [
        ("content-type", Some("text/html")),
        ("content-encoding", Some("gzip")),
        ("x-version", Some(version)),
        ("content-digest", None),
        ("content-md5", None),
        ("repr-digest", Some("sha-256=:d2hvbGU=:")),
    ] {
        assert_eq!(read.field(field), expected, "{field} of {}", read.cache_status());
    }
}

fn assert_whole(read: &Read) {
    assert_eq!((read.status(), read.text()), (200, WHOLE), "{}", read.cache_status());
    assert_eq!((read.field("content-length"), read.field("content-range")), (Some("10"), None));
}

#[tokio::test(start_paused = true)]
async fn a_whole_keeps_the_fields_of_its_part_that_the_tail_leaves_out() {
    let (calls, inner) = sparing();
    let mut service = layer(cache()).layer(inner);
    call(&mut service, range("0-4")).await.unwrap();
    // Its leader, and a hit.
    for _ in 0..2 {
        let whole = call(&mut service, get("/")).await.unwrap();
        assert_whole(&whole);
        assert_described(&whole, "2");
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn parts_that_clients_asked_for_keep_the_fields_that_the_later_leaves_out() {
    let (calls, inner) = sparing();
    let mut service = layer(cache()).layer(inner);
    call(&mut service, range("0-2")).await.unwrap();
    call(&mut service, with(range("3-5"), "if-range", "\"a\"")).await.unwrap();
    let longer = call(&mut service, range("1-4")).await.unwrap();
    assert_eq!((longer.status(), longer.text(), calls.count()), (206, "1234", 2));
    assert_described(&longer, "2");
    call(&mut service, with(range("6-9"), "if-range", "\"a\"")).await.unwrap();
    let whole = call(&mut service, get("/")).await.unwrap();
    assert_eq!(calls.count(), 3);
    assert_whole(&whole);
    assert_described(&whole, "2");
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_has_no_digest_of_what_it_was_cut_from() {
    for stored in [range("0-4"), get("/")] {
        let (calls, inner) = sparing();
        let mut service = layer(cache()).layer(inner);
        call(&mut service, stored).await.unwrap();
        let cut = call(&mut service, range("1-2")).await.unwrap();
        assert_eq!((cut.status(), cut.text(), calls.count()), (206, "12", 1));
        assert_described(&cut, "1");
    }
    let (_, inner) = sparing();
    let mut service = layer(cache()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    let beyond = call(&mut service, range("99-")).await.unwrap();
    assert_eq!((beyond.status(), beyond.field("content-digest")), (416, None));
}

#[tokio::test(start_paused = true)]
async fn a_whole_that_came_as_one_keeps_its_digest() {
    let (_, inner) = sparing();
    let mut service = layer(cache()).layer(inner);
    for _ in 0..2 {
        let whole = call(&mut service, get("/")).await.unwrap();
        assert_eq!(whole.field("content-digest"), Some("sha-256=:Zmlyc3Q=:"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_from_a_whole_on_its_way_has_no_digest_of_it() {
    let (calls, inner) = sparing();
    // This profile asks for the whole.
    let service = CacheLayer::new(cache()).policy(Profile::safe()).layer(inner);
    for cut in at_once(&service, (0..2).map(|_| range("1-2"))).await {
        let cut = cut.unwrap();
        assert_eq!((cut.status(), cut.text()), (206, "12"));
        assert_described(&cut, "1");
    }
    assert_eq!(calls.count(), 1);
}

// ===== tails that are of no use =====

/// Knows ranges, but from byte 5 on its answers are those of `tail`.
fn with_tail(tail: fn() -> Response<Steps>) -> (Calls, BoxedOrigin<Steps>) {
    origin(move |_, request: Req| async move {
        if bytes_asked(&request).is_some_and(|(first, _)| first == 5) {
            return Ok(tail());
        }
        let text = bytes_asked(&request).map_or(WHOLE, |(first, last)| &WHOLE[first..=last]);
        let (parts, _) = as_asked(&request).into_parts();
        let body = Steps::new([Step::Data(text.into())]).sized(text.len() as u64);
        Ok(Response::from_parts(parts, body))
    })
}

/// The rest, with one field more, in steps of which nothing says how long they are.
fn tail(field: (&str, &str), steps: impl IntoIterator<Item = Step>) -> Response<Steps> {
    let (parts, _) = part((5, 9), &kept_and(&[field])).into_parts();
    Response::from_parts(parts, Steps::new(steps))
}

fn data(text: &'static str) -> Step {
    Step::Data(text.into())
}

const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");

#[tokio::test(start_paused = true)]
async fn where_a_tail_is_shorter_than_its_range_all_is_fetched() {
    let tails: [fn() -> Response<Steps>; 2] = [
        || tail(("content-length", "4"), [data("5678")]),
        || tail(("x-length", "unsaid"), [data("5678")]).map(|body| body.sized(4)),
    ];
    for short in tails {
        let (calls, inner) = with_tail(short);
        let mut service = layer(cache()).layer(inner);
        call(&mut service, range("0-4")).await.unwrap();
        let whole = call(&mut service, get("/")).await.unwrap();
        assert_eq!((whole.status(), whole.text(), calls.count()), (200, WHOLE, 3));
        let hit = call(&mut service, get("/")).await.unwrap();
        assert_eq!((hit.text(), hit.cache_status()), (WHOLE, "hit"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tail_that_breaks_off_is_one_callers_error_and_no_more() {
    let tails: [fn() -> Response<Steps>; 3] = [
        || tail(CHUNKED, [data("56"), Step::Fail]),
        || tail(CHUNKED, [data("56")]),
        || tail(CHUNKED, [data("56789x")]),
    ];
    for broken in tails {
        let (calls, inner) = with_tail(broken);
        let mut service = layer(cache()).layer(inner);
        call(&mut service, range("0-4")).await.unwrap();
        call(&mut service, get("/")).await.unwrap_err();
        let whole = call(&mut service, get("/")).await.unwrap();
        assert_eq!((whole.status(), whole.text(), calls.count()), (200, WHOLE, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_that_a_chunked_tail_completes_has_a_length_and_is_not_chunked() {
    let (calls, inner) = with_tail(|| tail(CHUNKED, [data("567"), data("89")]));
    let mut service = layer(cache()).layer(inner);
    call(&mut service, range("0-4")).await.unwrap();
    for _ in 0..2 {
        let whole = call(&mut service, get("/")).await.unwrap();
        assert_whole(&whole);
        assert_eq!(whole.field("transfer-encoding"), None);
    }
    assert_eq!(calls.count(), 2);
}

// ===== second answers =====

/// A page that is stale after a second.
const SOON_STALE: &[(&str, &str)] = &[("cache-control", "max-age=1"), ("etag", "\"v1\"")];

#[tokio::test(start_paused = true)]
async fn a_second_answer_that_answers_nothing_is_a_failure_and_the_last() {
    const OTHER: &[(&str, &str)] =
        &[("cache-control", "max-age=60"), ("etag", "\"v2\""), ("content-range", "bytes 5-9/10")];
    for (stored, first, second) in [
        (get("/"), 304, 304),
        (get("/"), 304, 206),
        (range("0-4"), 206, 304),
        (range("0-4"), 206, 206),
    ] {
        let (calls, inner) = origin(move |call, request| async move {
            Ok(match call {
                0 if bytes_asked(&request).is_some() => part((0, 4), KEPT),
                0 => answer(SOON_STALE, WHOLE),
                1 => answer_status(first, OTHER, if first == 304 { "" } else { "56789" }),
                _ => answer_status(second, OTHER, if second == 304 { "" } else { "56789" }),
            })
        });
        let mut service = RespondLayer::new().layer(layer(cache()).layer(inner));
        call(&mut service, stored).await.unwrap();
        tokio::time::advance(crate::SECOND * 2).await;
        let read = call(&mut service, get("/")).await.unwrap();
        assert!(read.status() >= 500, "{first} and {second}: {}", read.status());
        assert_eq!(calls.count(), 3, "{first} and {second}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_ends_before_its_range_does_is_an_error_and_is_not_stored() {
    let (calls, inner) = origin(|_, _| async { stepped(part((0, 4), KEPT), slowly("012")) });
    let cache = cache();
    let service = layer(cache.clone()).layer(inner);
    for read in at_once(&service, (0..3).map(|_| range("0-4"))).await {
        read.unwrap_err();
    }
    assert_eq!((calls.count(), cache.figures().records), (1, 0));
    assert!(asked(&service, range("0-4")).await.unwrap().is_err());
    assert_eq!(calls.count(), 2);
}
