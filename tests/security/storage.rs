//! What of an answer is kept, and what never is.

use seawall::Profile;

use crate::{
    echo::{ask_as, made_for, origin},
    support::{
        cache, cache_builder,
        sockets::{
            Upstream,
            client::{ask, get},
            eventually,
            origin::{bytes, scripted},
            serve_before, serve_cached,
        },
    },
};

/// S13: these belong to the connection with the origin.
const OF_ONE_HOP: [(&str, &str); 9] = [
    ("connection", "keep-alive, X-Named, close-not"),
    ("x-named", "secret"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("proxy-authenticate", "Basic realm=\"secret\""),
    ("proxy-authentication-info", "nextnonce=\"secret\""),
    ("te", "gzip"),
    ("trailer", "x-later"),
    ("upgrade", "secret/1.0"),
];

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_one_hop_are_not_stored() {
    let fields: String =
        OF_ONE_HOP.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nx-end-to-end: kept\r\n";
    let whole = format!("{head}{fields}transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    for profile in [Profile::safe(), Profile::reverse_proxy()] {
        let whole = whole.clone();
        let origin = scripted(move |_, _| vec![bytes(&whole)]).await;
        let cache = cache();
        let addr = serve_cached(&cache, profile, Upstream::http1(origin.addr)).await;
        get(addr, "/").await;
        eventually("stored", || cache.figures().records == 1).await;
        let hit = get(addr, "/").await;
        assert!(hit.is_hit() && hit.text() == "ok", "{hit:?}");
        assert_eq!(hit.field("x-end-to-end"), Some("kept"));
        for (name, _) in OF_ONE_HOP {
            assert_eq!(hit.fields(name), [""; 0], "{name}");
        }
        assert_eq!(
            (hit.field("transfer-encoding"), hit.field("content-length")),
            (None, Some("2"))
        );
    }
}

/// S9: the answer to one user's validation must not hand that user's session to the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_a_304_sets_is_stored_only_by_a_reverse_proxy() {
    for (profile, expected) in
        [(Profile::safe(), None), (Profile::reverse_proxy(), Some("id=alice"))]
    {
        let origin = scripted(|call, head| {
            let validated = head.contains("if-none-match: \"v\"");
            assert_eq!(validated, call > 0, "{head}");
            vec![bytes(match validated {
                false => {
                    "HTTP/1.1 200 OK\r\netag: \"v\"\r\ncache-control: max-age=0\r\n\
                     content-length: 2\r\n\r\nok"
                }
                true => {
                    "HTTP/1.1 304 Not Modified\r\netag: \"v\"\r\ncache-control: max-age=60\r\n\
                     set-cookie: id=alice\r\nx-new: yes\r\n\r\n"
                }
            })]
        })
        .await;
        let cache = cache();
        let addr = serve_cached(&cache, profile, Upstream::http1(origin.addr)).await;
        get(addr, "/").await;
        eventually("landed", || cache.figures().flights == 0).await;
        let alice = get(addr, "/").await;
        assert_eq!((alice.status, alice.text(), alice.field("x-new")), (200, "ok", Some("yes")));
        eventually("landed", || cache.figures().flights == 0).await;
        let bob = get(addr, "/").await;
        assert!(bob.is_hit(), "{bob:?}");
        assert_eq!((bob.text(), bob.field("set-cookie")), ("ok", expected));
        assert_eq!(origin.calls(), 2);
    }
}

/// S11: an error, or what nobody knows, is kept only where the profile says so.
#[tokio::test(flavor = "multi_thread")]
async fn of_all_statuses_with_a_lifetime_the_profile_says_which_are_kept() {
    const SAFE: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
    let (origin, _) = origin("cache-control: max-age=60").await;
    for (profile, all) in [(Profile::safe(), false), (Profile::reverse_proxy(), true)] {
        let cache = cache();
        let addr = serve_cached(&cache, profile, Upstream::http1(origin)).await;
        let mut wrong = Vec::new();
        for status in 200..600 {
            let line = format!("GET /status/{status}");
            let alice = ask_as(addr, "alice", &line, "host: a\r\n").await;
            assert_eq!((made_for(&alice), alice.status), ("alice", status));
            eventually("landed", || cache.figures().flights == 0).await;
            let bob = ask_as(addr, "bob", &line, "host: a\r\n").await;
            let kept = made_for(&bob) == "alice";
            let expected =
                if all { !matches!(status, 206 | 304 | 412 | 416) } else { SAFE.contains(&status) };
            if kept != expected {
                wrong.push(status);
            }
        }
        assert!(wrong.is_empty(), "any status: {all}: {wrong:?}");
    }
}

/// S11: an answer to a request that the origin cannot take is no answer for those it can.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_without_a_lifetime_is_for_its_caller_alone() {
    let (origin, _) = origin("").await;
    for profile in [Profile::safe(), Profile::reverse_proxy()] {
        let addr = serve_cached(&cache(), profile, Upstream::http1(origin)).await;
        for status in [400, 401, 403, 404, 405, 408, 413, 429, 431, 500] {
            for user in ["alice", "bob"] {
                let line = format!("GET /status/{status}");
                let answer = ask_as(addr, user, &line, "host: a\r\n").await;
                assert_eq!((made_for(&answer), answer.status), (user, status));
            }
        }
    }
}

/// S8 to S10 once more, for those who ask while the answer is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_on_its_way_is_shared_by_the_same_rules_as_one_in_storage() {
    let unshared = [
        ("authorization: alice\r\n", "cache-control: max-age=60\r\n"),
        ("cookie: alice\r\n", "cache-control: max-age=60\r\n"),
        ("", "cache-control: private, max-age=60\r\n"),
        ("", "cache-control: max-age=60\r\nset-cookie: a=alice\r\n"),
        ("", "cache-control: max-age=60\r\nvary: *\r\n"),
        ("", "cache-control: max-age=60\r\nvary: x-user\r\n"),
        ("", "cache-control: no-store\r\n"),
        ("", ""),
    ];
    for (credentials, fields) in unshared {
        let origin = scripted(move |_, head| {
            let user = head.lines().find_map(|line| line.strip_prefix("x-user: ")).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n", user.len());
            let wait = std::time::Duration::from_millis(30);
            vec![crate::support::sockets::origin::Play::Wait(wait), bytes(head + user)]
        })
        .await;
        let cache = cache();
        let addr = serve_before(&cache, origin.addr).await;
        let asking = (0..10).map(|user| async move {
            let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-user: u{user}\r\n{credentials}");
            (ask(addr, &head).await, format!("u{user}"))
        });
        let asking: tokio::task::JoinSet<_> = asking.collect();
        for (answer, user) in asking.join_all().await {
            assert_eq!(answer.text(), user, "{credentials:?} {fields:?}");
        }
    }
}

/// S16: whoever sends ever other fields makes ever other variants.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_variants_leaves_no_more_than_are_kept_of_one_key() {
    let (origin, _) = origin("cache-control: max-age=60\nvary: accept-language").await;
    let cache = cache_builder().variants(8).build();
    let addr = serve_cached(&cache, Profile::safe(), Upstream::http1(origin)).await;
    for number in 0..300 {
        let fields = format!("host: a\r\naccept-language: x-{number}\r\n");
        let user = format!("u{number}.");
        assert_eq!(made_for(&ask_as(addr, &user, "GET /", &fields).await), user);
    }
    eventually("landed", || cache.figures().flights == 0).await;
    let records = cache.figures().records;
    assert!((1..=8 + 1).contains(&records), "{records} records: eight, and their list");
}

/// S15, S16: what does not fit is passed on, not kept.
#[tokio::test(flavor = "multi_thread")]
async fn keys_and_heads_that_are_too_large_are_passed_on_and_not_kept() {
    let (origin, calls) = origin("cache-control: max-age=60").await;
    let cache = cache();
    let addr = serve_cached(&cache, Profile::safe(), Upstream::http1(origin)).await;
    let line = format!("GET /{}", "x".repeat(9 << 10));
    for user in ["alice", "bob"] {
        assert_eq!(made_for(&ask_as(addr, user, &line, "host: a\r\n").await), user);
    }
    let large = format!(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\
         x-large: {}\r\n\r\nok",
        "x".repeat(33 << 10)
    );
    let many: String = (0..70).map(|number| format!("x-{number}: 1\r\n")).collect();
    let many = format!(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n{many}\r\nok"
    );
    for whole in [large, many] {
        let origin = scripted(move |_, _| vec![bytes(&whole)]).await;
        let addr = serve_before(&cache, origin.addr).await;
        for calls in 1..=2 {
            assert_eq!(get(addr, &format!("/{}", origin.addr)).await.text(), "ok");
            assert_eq!(origin.calls(), calls);
        }
    }
    assert_eq!((calls.count(), cache.figures().records), (2, 0));
}
