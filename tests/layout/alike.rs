//! What comes back from bytes answers as what never left memory.

use std::time::SystemTime;

use http::{HeaderValue, Request};
use http_body_util::Empty;
use proptest::{collection::vec, option, prelude::*, sample::select};
use seawall::{Cache, rfc9111::date, store::Memory};

use crate::{
    Answer, Far, plain, service, settled,
    support::{Calls, Read, Req, call, get, with},
};

/// What `second` is answered with once `first` was: by a cache in memory, and by one that finds nothing but
/// the bytes of the first; and how often the origin was called.
async fn both(answer: &Answer, first: &Req, second: &Req) -> [(Read, usize); 2] {
    let copy = |request: &Req| {
        let mut copy = Request::new(Empty::new());
        *copy.uri_mut() = request.uri().clone();
        *copy.method_mut() = request.method().clone();
        *copy.headers_mut() = request.headers().clone();
        copy
    };
    let calls = Calls::default();
    let memory = Cache::new(Memory::default());
    call(&mut service(memory.clone(), answer, &calls), copy(first)).await.unwrap();
    settled().await;
    let near = call(&mut service(memory, answer, &calls), copy(second)).await.unwrap();
    let near = (near, calls.count());

    let (calls, far) = (Calls::default(), Far::default());
    call(&mut service(Cache::new(far.clone()), answer, &calls), copy(first)).await.unwrap();
    settled().await;
    let found = call(&mut service(Cache::new(far), answer, &calls), copy(second)).await.unwrap();
    [near, (found, calls.count())]
}

fn assert_alike([(near, near_calls), (far, far_calls)]: &[(Read, usize); 2]) {
    assert_eq!(near_calls, far_calls);
    assert_eq!(near.parts.status, far.parts.status);
    assert_eq!(near.parts.version, far.parts.version);
    assert_eq!(near.body, far.body);
    assert_eq!(near.trailers, far.trailers);
    let without_age = |read: &Read| {
        let mut fields = read.parts.headers.clone();
        fields.remove("age");
        if read.field("cache-status").is_some_and(|said| said.contains("fwd=")) {
            // Why it was forwarded is said by what was at hand.
            fields.remove("cache-status");
        }
        let secret = |value: &HeaderValue| (value.clone(), value.is_sensitive());
        let mut lines: Vec<_> =
            fields.iter().map(|(name, value)| (name.to_string(), secret(value))).collect();
        // The lines of one name in their order.
        lines.sort_by(|(one, _), (other, _)| one.cmp(other));
        lines
    };
    assert_eq!(without_age(near), without_age(far));
    // Not younger for having been far, and not by more than this took older.
    let age = |read: &Read| read.field("age").map(|age| age.parse::<u64>().unwrap());
    match (age(near), age(far)) {
        (Some(near), Some(far)) => assert!((near..near + 5).contains(&far), "{near} {far}"),
        (near, far) => assert_eq!(near, far),
    }
}

fn today() -> String {
    String::from_utf8(date::format(SystemTime::now()).to_vec()).unwrap()
}

#[tokio::test]
async fn what_was_far_is_answered_with_as_if_it_had_been_near_all_the_time() {
    let date = today();
    let date = ("date", date.as_str());
    let (minute, tag) = (("cache-control", "max-age=60"), ("etag", "\"v1\""));
    let secret = {
        let mut secret = plain(200, &[minute, date, ("x-token", "a")], "secret");
        secret.fields[2].1.set_sensitive(true);
        secret
    };
    let trailers = Answer {
        trailers: Some(vec![
            ("x-checksum".to_owned(), HeaderValue::from_static("1")),
            ("x-checksum".to_owned(), HeaderValue::from_static("2")),
        ]),
        ..plain(200, &[minute, date, ("trailer", "x-checksum")], "with trailers")
    };
    let links = plain(200, &[minute, date, ("link", "<1>"), ("x-a", "1"), ("link", "<2>")], "");
    let below = [minute, date, ("cache-status", "a; hit"), ("cache-status", "b; fwd=miss")];
    let part = plain(206, &[minute, date, tag, ("content-range", "bytes 2-6/10")], "cdefg");
    let varies = plain(200, &[minute, date, ("vary", "accept, x-device")], "varies");
    let range = |range| with(get("/"), "range", range);
    for (name, answer, first, second, calls) in [
        ("plain", plain(200, &[minute, date, tag], "body"), get("/"), get("/"), 1),
        ("empty", plain(204, &[minute, date], ""), get("/"), get("/"), 1),
        ("an error", plain(404, &[minute, date], "none"), get("/"), get("/"), 1),
        ("an odd status", plain(599, &[minute, date], "odd"), get("/"), get("/"), 1),
        ("repeated", links, get("/"), get("/"), 1),
        ("sensitive", secret, get("/"), get("/"), 1),
        ("trailers", trailers, get("/"), get("/"), 1),
        ("below", plain(200, &below, "below"), get("/"), get("/"), 1),
        (
            "a range",
            plain(200, &[minute, date, tag], "0123456789"),
            get("/"),
            range("bytes=2-4"),
            1,
        ),
        (
            "validated",
            plain(200, &[minute, date, tag], "body"),
            get("/"),
            { with(get("/"), "if-none-match", "\"v1\"") },
            1,
        ),
        ("of a part", part.clone(), range("bytes=2-6"), range("bytes=3-4"), 1),
        ("beyond a part", part, range("bytes=2-6"), range("bytes=3-7"), 2),
        (
            "a variant",
            varies.clone(),
            with(get("/"), "accept", "a"),
            with(get("/"), "accept", "a"),
            1,
        ),
        (
            "another variant",
            varies,
            with(get("/"), "accept", "a"),
            with(get("/"), "accept", "b"),
            2,
        ),
        ("aged", plain(200, &[minute, date, ("age", "50")], "aged"), get("/"), get("/"), 1),
        ("stale", plain(200, &[minute, date, tag, ("age", "60")], "stale"), get("/"), get("/"), 2),
        (
            "once",
            plain(200, &[("cache-control", "no-cache"), date, tag], "v"),
            get("/"),
            get("/"),
            2,
        ),
    ] {
        let answers = both(&answer, &first, &second).await;
        println!("{name}: {:?}", answers[0].0.field("cache-status"));
        assert_alike(&answers);
        assert_eq!(answers[1].1, calls, "{name}");
    }
}

fn lines(most: usize) -> impl Strategy<Value = Vec<(String, HeaderValue)>> {
    let name = prop_oneof![
        select(&["content-type", "link", "server", "x-a", "cache-tag", "etag"][..])
            .prop_map(ToOwned::to_owned),
        "x-[a-z0-9_-]{1,70}",
    ];
    let value = vec(prop_oneof![Just(b'\t'), 32..127_u8, 128..=255_u8], 0..60);
    let value = (value, any::<bool>()).prop_map(|(bytes, sensitive)| {
        let mut value = HeaderValue::from_bytes(&bytes).unwrap();
        value.set_sensitive(sensitive);
        value
    });
    vec((name, value), 0..most)
}

prop_compose! {
    fn answers()(
        status in select(&[200_u16, 200, 204, 301, 404, 410, 501][..]),
        lifetime in 1_u32..100_000,
        age in option::of(0_u32..100_000),
        fields in lines(8),
        body in vec(any::<u8>(), 0..2_000),
        trailers in option::of(lines(3)),
    ) -> Answer {
        let mut all = vec![
            ("cache-control".to_owned(), HeaderValue::try_from(format!("max-age={lifetime}")).unwrap()),
            ("date".to_owned(), HeaderValue::try_from(today()).unwrap()),
        ];
        all.extend(age.map(|age| ("age".to_owned(), age.into())));
        all.extend(fields);
        let body = if status == 204 { Vec::new() } else { body };
        Answer { status, fields: all, body, trailers }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_answer_is_the_same_from_far(answer in answers()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_alike(&runtime.block_on(both(&answer, &get("/"), &get("/"))));
    }
}
