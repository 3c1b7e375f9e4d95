//! HEAD, ranges, variants and languages: the same answers over any store as over memory, whether one
//! process is asked or each time another.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Empty;
use seawall::{Cache, CacheLayer, Profile, UriKey, cache::Again, store::Memory};
use tower::{Layer, ServiceExt, util::BoxCloneService};

use crate::{
    any::Any,
    place::{Origin, Row, Service, alive, eventually},
    support::{Calls, Read, Req, Res, answer, answer_status, boxed, call, get, head, origin, with},
};

const DIGITS: &str = "0123456789";

/// The first and the last byte of the one range that is asked for.
fn bytes_of(range: &str) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = DIGITS.len() - 1;
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), last) => Some((first, last.unwrap_or(end).min(end))),
        (Err(_), Ok(length)) => Some((DIGITS.len().saturating_sub(length), end)),
        _ => None,
    }
}

fn digits(request: &Req) -> Res {
    let said = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
    let fields = [("cache-control", "max-age=600"), ("etag", "\"v1\""), ("accept-ranges", "bytes")];
    if request.method() == Method::HEAD {
        return answer(&[&fields[..], &[("content-length", "10"), ("x-head", "yes")]].concat(), "");
    }
    if said("if-none-match") == Some("\"v1\"") {
        return answer_status(304, &fields, "");
    }
    let holds = said("if-range").is_none_or(|tag| tag == "\"v1\"");
    match said("range").filter(|_| holds).and_then(bytes_of) {
        None => answer(&fields, DIGITS),
        Some((first, _)) if first >= DIGITS.len() => {
            answer_status(416, &[("content-range", "bytes */10")], "")
        }
        Some((first, last)) => {
            let range = format!("bytes {first}-{last}/10");
            let fields = [&fields[..], &[("content-range", &range)]].concat();
            answer_status(206, &fields, &DIGITS[first..=last])
        }
    }
}

/// Varies by the device, and for desktops by the encoding too; or by the language.
fn varied(request: &Req) -> Res {
    let said = |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
    let control = ("cache-control", "max-age=600");
    match (request.uri().path(), said("x-device")) {
        ("/language", _) => {
            let language = said("accept-language").split([',', ';']).next().unwrap();
            let fields = [control, ("vary", "accept-language"), ("content-language", language)];
            answer(&fields, language.to_owned())
        }
        (_, "desktop") => {
            let fields = [control, ("vary", "x-device, accept-encoding")];
            answer(&fields, format!("desktop {}", said("accept-encoding")))
        }
        (_, device) => answer(&[control, ("vary", "x-device")], device.to_owned()),
    }
}

fn world() -> (Calls, Origin) {
    origin(|_, request| async move {
        let response = match request.uri().path() {
            "/digits" => digits(&request),
            "/stale" => answer(&[("cache-control", "max-age=60"), ("age", "100")], "stale"),
            _ => varied(&request),
        };
        Ok(response.map(boxed))
    })
}

fn service(store: Any, origin: &Origin) -> Service {
    let key = Again::new(UriKey::new(), Empty::<Bytes>::new);
    let profile = Profile::reverse_proxy().language_by_quality(true);
    let layer = CacheLayer::new(Cache::new(store)).policy(profile).key(key);
    BoxCloneService::new(layer.layer(origin.clone()).map_response(|response| response.map(boxed)))
}

/// What a caller has of an answer, and how it was had; why it was forwarded has a rule of its own.
type Seen = (u16, Vec<(String, String)>, Bytes, String, usize);

fn seen(read: &Read, calls: &Calls) -> Seen {
    let mut fields: Vec<_> = read.parts.headers.iter().collect();
    fields.retain(|(name, _)| !["age", "date", "cache-status"].contains(&name.as_str()));
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let fields = fields.into_iter().map(|(name, value)| (name.to_string(), text(value)));
    let how = read.cache_status().split("; ").filter(|part| !part.starts_with("fwd="));
    let how = how.collect::<Vec<_>>().join("; ");
    (read.status(), fields.collect(), read.body.clone(), how, calls.count())
}

/// What comes of these requests over memory.
async fn over_memory(script: &[Req]) -> Vec<Seen> {
    let (calls, origin) = world();
    let mut service = service(Any::new(Memory::default()), &origin);
    let mut all = Vec::new();
    for request in script {
        all.push(seen(&call(&mut service, again(request)).await.unwrap(), &calls));
        eventually("it is stored", || alive() == 0).await;
    }
    all
}

fn again(request: &Req) -> Req {
    let mut again = Request::new(Empty::new());
    (*again.method_mut(), *again.uri_mut()) = (request.method().clone(), request.uri().clone());
    *again.headers_mut() = request.headers().clone();
    again
}

async fn assert_as_over_memory(row: &Row, script: &[Req]) {
    let expected = over_memory(script).await;
    for each_time_another in [false, true] {
        let place = row.shared().await;
        let (calls, origin) = world();
        let mut store = place.open().await;
        let mut asked = service(store.store.clone(), &origin);
        for (at, request) in script.iter().enumerate() {
            let read = call(&mut asked, again(request)).await.unwrap();
            place.settled().await;
            let others =
                if each_time_another { "another process each time" } else { "one process" };
            assert_eq!(seen(&read, &calls), expected[at], "step {at} of {others}: {request:?}");
            if each_time_another {
                drop(asked);
                drop(store);
                store = place.open().await;
                asked = service(store.store.clone(), &origin);
            }
        }
    }
}

fn ranged(range: &str) -> Req {
    with(get("/digits"), "range", &format!("bytes={range}"))
}

fn cached(request: Req) -> Req {
    with(request, "cache-control", "only-if-cached")
}

pub(crate) async fn a_head_is_answered_from_a_get_and_freshens_it(row: &Row) {
    let script = [
        head("/digits"),
        get("/digits"),
        head("/digits"),
        cached(head("/digits")),
        with(head("/digits"), "cache-control", "no-cache"),
        get("/digits"),
        with(get("/digits"), "if-none-match", "\"v1\""),
        head("/digits"),
    ];
    assert_as_over_memory(row, &script).await;
}

pub(crate) async fn a_range_is_cut_from_the_whole(row: &Row) {
    let script = [
        get("/digits"),
        ranged("2-5"),
        ranged("-3"),
        ranged("8-20"),
        ranged("20-"),
        with(ranged("0-0"), "if-range", "\"v1\""),
        with(ranged("0-0"), "if-range", "\"v2\""),
    ];
    assert_as_over_memory(row, &script).await;
}

pub(crate) async fn parts_are_kept_and_grow_into_the_whole(row: &Row) {
    let script = [
        ranged("2-5"),
        ranged("2-5"),
        ranged("3-4"),
        cached(ranged("3-4")),
        ranged("4-7"),
        ranged("2-7"),
        get("/digits"),
        get("/digits"),
        cached(get("/digits")),
    ];
    assert_as_over_memory(row, &script).await;
}

pub(crate) async fn variants_of_several_sets_of_fields_are_told_apart(row: &Row) {
    let of = |device: &str, encoding: &str| {
        with(with(get("/v"), "x-device", device), "accept-encoding", encoding)
    };
    let script = [
        of("phone", "gzip"),
        of("desktop", "gzip"),
        of("desktop", "br"),
        of("phone", "br"),
        of("desktop", "gzip"),
        of("tablet", ""),
        of("desktop", "br"),
        of("tablet", "gzip"),
        cached(of("phone", "")),
    ];
    assert_as_over_memory(row, &script).await;
}

pub(crate) async fn a_variant_in_the_language_liked_best_is_found(row: &Row) {
    let of = |languages: &str| with(get("/language"), "accept-language", languages);
    let script = [
        of("de"),
        of("en, de;q=0.5"),
        of("de"),
        of("DE"),
        of("en"),
        of("fr;q=0.5, en"),
        of("fr"),
        cached(of("fr;q=0.9, de;q=0.8")),
    ];
    assert_as_over_memory(row, &script).await;
}

pub(crate) async fn why_it_was_forwarded_is_said_of_what_is_far_as_of_what_is_near(row: &Row) {
    let device = |device: &str| with(get("/v"), "x-device", device);
    let mut wrong = Vec::new();
    for (stored, asked, says) in [
        (get("/stale"), get("/stale"), "fwd=stale; fwd-status=200; stored"),
        (
            get("/digits"),
            with(get("/digits"), "cache-control", "no-cache"),
            "fwd=request; fwd-status=304",
        ),
        (device("phone"), device("tablet"), "fwd=vary-miss; fwd-status=200; stored"),
        (ranged("2-5"), ranged("4-8"), "fwd=partial; fwd-status=206; stored"),
        (get("/digits"), get("/digits?other"), "fwd=uri-miss; fwd-status=200; stored"),
    ] {
        let place = row.shared().await;
        let (_, origin) = world();
        let mut said = Vec::new();
        for requests in [vec![&stored, &asked], vec![&stored], vec![&asked]] {
            // By whoever stored it, and by the next.
            let in_memory = requests.len() == 2;
            let opened = place.open().await;
            let store = if in_memory { Any::new(Memory::default()) } else { opened.store.clone() };
            let mut service = service(store, &origin);
            for request in requests {
                let read = call(&mut service, again(request)).await.unwrap();
                place.settled().await;
                said.push(read.cache_status().to_owned());
            }
        }
        assert_eq!(said[1], says, "over memory");
        if said[3] != says {
            wrong.push((said[3].clone(), says));
        }
    }
    assert!(wrong.is_empty(), "what was said, and what is right: {wrong:#?}");
}
