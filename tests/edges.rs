//! Cases at the edge that once went wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use seawall::{
    BoxError, Cache, CacheLayer, CoalesceLayer, FixedTtl, Profile,
    observe::Event,
    store::{Key, Memory, Record, Store},
};
use support::{
    Req, answer, answer_status, asked, at_once,
    bodies::{Step, Steps},
    cache, cache_builder, call, get, head, origin, streamed, with,
};
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service};

const SECOND: Duration = Duration::from_secs(1);

fn sent(request: &Req, name: &str) -> String {
    let value = request.headers().get(name);
    value.map_or_else(|| "nobody".to_owned(), |value| value.to_str().unwrap().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_of_our_own_makes_nobodys_answer_everybodys() {
    for name in ["authorization", "cookie", "x-forwarded-host"] {
        let (_, inner) =
            origin(move |_, request: Req| async move { Ok(answer(&[], sent(&request, name))) });
        let mut service = CacheLayer::new(cache()).policy(FixedTtl::new(60 * SECOND)).layer(inner);
        call(&mut service, with(get("/"), name, "alice")).await.unwrap();
        let anonymous = call(&mut service, get("/")).await.unwrap();
        assert_eq!(anonymous.text(), "nobody", "{name}");
        assert_eq!(call(&mut service, get("/")).await.unwrap().cache_status(), "hit");
    }
}

#[tokio::test(start_paused = true)]
async fn many_variants_of_many_keys_stay_within_the_weight_of_the_store() {
    let (_, inner) = origin(|_, _| async {
        Ok(answer(&[("cache-control", "max-age=600"), ("vary", "x-v")], "x"))
    });
    let cache = Cache::new(Memory::bytes(1 << 20));
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    let long = "v".repeat(3_000);
    for url in 0..60 {
        for variant in (0..16).chain(0..16) {
            let request = with(get(&format!("/{url}")), "x-v", &format!("{variant}{long}"));
            call(&mut service, request).await.unwrap();
        }
        assert!(cache.figures().bytes <= 1 << 20, "{:?}", cache.figures());
        // Each weighs more than its key of 3 KiB.
        assert!(cache.figures().records < 360, "{:?}", cache.figures());
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_stays_a_range_when_the_body_is_handed_over() {
    let (_, inner) = origin(|_, _| async {
        let steps =
            (0..100_u8).flat_map(|n| [Step::Data(Bytes::from(vec![n; 10])), Step::Wait(SECOND)]);
        let fields = [("cache-control", "max-age=600"), ("content-length", "1000")];
        Ok(streamed(&fields, Steps::new(steps)))
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    let part = call(&mut service, with(get("/"), "range", "bytes=500-519")).await.unwrap();
    assert_eq!((part.status(), part.field("content-length")), (206, Some("20")));
    assert_eq!(part.body, [[50_u8; 10], [51; 10]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_beyond_the_deadline_ends_for_those_who_read_along() {
    let (_, inner) = origin(|_, _| async {
        let fields = [("cache-control", "max-age=600"), ("content-length", "1000")];
        Ok(streamed(&fields, Steps::new([Step::Data(Bytes::from_static(b"abc")), Step::Hang])))
    });
    let cache = cache();
    let service = CacheLayer::new(cache.clone()).layer(inner);
    let leader = asked(&service, get("/"));
    sleep(SECOND).await;
    let follower = asked(&service, get("/"));
    for caller in [leader, follower] {
        let read = timeout(120 * SECOND, caller).await.expect("it hangs").unwrap();
        assert!(read.is_err(), "{read:?}");
    }
    let figures = cache.figures();
    assert_eq!(
        (figures.filling, figures.followers, figures.orphans, figures.flights),
        (0, 0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_a_key_is_not_forgotten_for_a_head_or_a_failure() {
    let (_, inner) = origin(|call, request: Req| async move {
        let chunked = [("cache-control", "max-age=600"), ("transfer-encoding", "chunked")];
        Ok(match (call, request.method().as_str()) {
            (_, "HEAD") => streamed(&chunked, Steps::new([]).sized(0)),
            (0, _) => streamed(&chunked, Steps::frames(40, 65_536)),
            _ => support::answer_status(500, &[], "").map(|_| Steps::new([])),
        })
    });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    assert_eq!(cache.figures().remembered, 1);
    call(&mut service, head("/")).await.unwrap();
    assert_eq!(cache.figures().remembered, 1);
    call(&mut service, get("/")).await.unwrap();
    assert_eq!(cache.figures().remembered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_condition_or_a_range_of_one_caller_says_nothing_of_the_key() {
    for (name, value) in [("if-none-match", "\"a\""), ("range", "bytes=0-0")] {
        let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        let (calls, inner) = origin(move |_, request: Req| async move {
            sleep(SECOND).await;
            Ok(if request.headers().contains_key("if-none-match") {
                answer_status(304, &fields, "")
            } else if request.headers().contains_key("range") {
                let mut part = answer_status(206, &fields, "h");
                part.headers_mut().insert("content-range", "bytes 0-0/5".parse().unwrap());
                part
            } else {
                answer(&fields, "hello")
            })
        });
        let mut service = CacheLayer::new(cache()).layer(inner);
        let cookie = || with(get("/"), "cookie", "a=b");
        call(&mut service, cookie()).await.unwrap();
        call(&mut service, with(cookie(), name, value)).await.unwrap();
        let before = calls.count();
        at_once(&service, (0..100).map(|_| get("/"))).await;
        assert_eq!(calls.count() - before, 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_with_fields_of_its_own_does_not_evict_what_it_validates() {
    let fields = [("cache-control", "max-age=600"), ("etag", "\"a\"")];
    let (_, inner) = origin(move |_, request: Req| async move {
        let validates = request.headers().contains_key("if-none-match");
        Ok(if validates { answer_status(304, &fields, "") } else { answer(&fields, "hello") })
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    let reload = with(with(get("/"), "x-forwarded-host", "x"), "cache-control", "no-cache");
    assert_eq!(call(&mut service, reload).await.unwrap().text(), "hello");
    assert_eq!(call(&mut service, get("/")).await.unwrap().cache_status(), "hit");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_begins_to_vary_with_its_validation_is_not_served_to_others() {
    let (_, inner) = origin(|_, request: Req| async move {
        let language = sent(&request, "accept-language");
        let tag = format!("\"{language}\"");
        if sent(&request, "if-none-match") == tag {
            let fields =
                [("cache-control", "max-age=60"), ("vary", "accept-language"), ("etag", &*tag)];
            return Ok(answer_status(304, &fields, ""));
        }
        Ok(answer(&[("cache-control", "max-age=1"), ("etag", &*tag)], language))
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    let in_language = |language| with(get("/"), "accept-language", language);
    call(&mut service, in_language("en")).await.unwrap();
    sleep(5 * SECOND).await;
    assert_eq!(call(&mut service, in_language("en")).await.unwrap().text(), "en");
    assert_eq!(call(&mut service, in_language("de")).await.unwrap().text(), "de");
}

#[tokio::test(start_paused = true)]
async fn fields_that_a_targeted_field_calls_private_are_not_kept() {
    let (_, inner) = origin(|call, _| async move {
        let user = format!("user{call}");
        let fields = [
            ("cdn-cache-control", "max-age=60, private=\"x-user\""),
            ("cache-control", "max-age=60"),
            ("x-user", &*user),
        ];
        Ok(answer(&fields, "hello"))
    });
    let mut service = CacheLayer::new(cache()).policy(Profile::reverse_proxy()).layer(inner);
    assert_eq!(call(&mut service, get("/")).await.unwrap().field("x-user"), Some("user0"));
    let hit = call(&mut service, get("/")).await.unwrap();
    assert_eq!((hit.cache_status(), hit.field("x-user")), ("hit", None));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_was_overtaken_by_a_validation_does_not_store_what_is_older() {
    let (_, inner) = origin(|call, _| async move {
        Ok(match call {
            0 => answer(&[("cache-control", "max-age=1"), ("etag", "\"1\"")], "one"),
            1 => {
                sleep(15 * SECOND).await;
                answer(&[("cache-control", "max-age=600"), ("etag", "\"0\"")], "old")
            }
            _ => answer_status(304, &[("cache-control", "max-age=600"), ("etag", "\"1\"")], ""),
        })
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    sleep(2 * SECOND).await;
    let slow = asked(&service, get("/"));
    sleep(11 * SECOND).await;
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "one");
    slow.await.unwrap().unwrap();
    sleep(SECOND).await;
    let later = call(&mut service, get("/")).await.unwrap();
    assert_eq!((later.text(), later.cache_status()), ("one", "hit"));
}

#[tokio::test(start_paused = true)]
async fn a_head_does_not_join_a_get_that_has_come_to_nothing_for_ten_seconds() {
    let (calls, inner) = origin(|call, _| async move {
        if call == 0 {
            pending::<()>().await;
        }
        Ok(answer(&[("cache-control", "max-age=600")], "x"))
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    let stuck = asked(&service, get("/"));
    sleep(12 * SECOND).await;
    let asked_at = Instant::now();
    assert_eq!(call(&mut service, head("/")).await.unwrap().status(), 200);
    assert!(asked_at.elapsed() < SECOND);
    assert_eq!(calls.count(), 2);
    stuck.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_only_shared_in_flight_is_not_shared_with_who_asked_otherwise() {
    // The origin reflects a field that no key has.
    let (_, inner) = origin(|_, request: Req| async move {
        sleep(SECOND).await;
        Ok(answer(&[], sent(&request, "x-forwarded-host")))
    });
    let service = CoalesceLayer::new().layer(inner);
    let attacker = asked(&service, with(get("/"), "x-forwarded-host", "evil.example"));
    tokio::task::yield_now().await;
    let other = asked(&service, get("/"));
    assert_eq!(other.await.unwrap().unwrap().text(), "nobody");
    attacker.await.unwrap().unwrap();
    // It refuses one client's request for something that is wrong with it.
    let (_, inner) = origin(|_, request: Req| async move {
        sleep(SECOND).await;
        let wrong = request.headers().contains_key("x-wrong");
        Ok(if wrong { answer_status(431, &[], "") } else { answer(&[], "fine") })
    });
    let service = CoalesceLayer::new().layer(inner);
    let wrong = asked(&service, with(get("/"), "x-wrong", "1"));
    tokio::task::yield_now().await;
    for read in at_once(&service, (0..10).map(|_| get("/"))).await {
        assert_eq!(read.unwrap().status(), 200);
    }
    assert_eq!(wrong.await.unwrap().unwrap().status(), 431);
}

/// A far store, whose writes may hang.
#[derive(Clone, Default)]
struct Far(Arc<(Mutex<HashMap<Key, Record>>, AtomicBool)>);

impl Far {
    async fn may_hang(&self) {
        if self.0.1.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
    }
}

impl Store for Far {
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        sleep(SECOND / 100).await;
        Ok(self.0.0.lock().unwrap().get(key).cloned())
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        self.may_hang().await;
        self.0.0.lock().unwrap().insert(key, record);
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.may_hang().await;
        self.0.0.lock().unwrap().remove(key);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_store_that_hangs_to_take_a_validated_answer() {
    let fields = [("cache-control", "max-age=1"), ("etag", "\"a\""), ("vary", "x-v")];
    let (_, inner) = origin(move |_, request: Req| async move {
        let validates = request.headers().contains_key("if-none-match");
        Ok(if validates { answer_status(304, &fields, "") } else { answer(&fields, "hello") })
    });
    let far = Far::default();
    let mut service = CacheLayer::new(Cache::new(far.clone())).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    sleep(5 * SECOND).await;
    far.0.1.store(true, Ordering::SeqCst);
    let asked_at = Instant::now();
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "hello");
    assert!(asked_at.elapsed() < SECOND / 10, "{:?}", asked_at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_is_answered_from_a_far_store_too() {
    let (calls, inner) =
        origin(|_, _| async { Ok(answer(&[("cache-control", "max-age=600")], "x")) });
    let mut service = CacheLayer::new(Cache::new(Far::default())).layer(inner);
    let only = || with(get("/"), "cache-control", "only-if-cached");
    assert!(call(&mut service, only()).await.is_err());
    call(&mut service, get("/")).await.unwrap();
    sleep(SECOND).await;
    assert_eq!(call(&mut service, only()).await.unwrap().text(), "x");
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_beside_a_plain_request_is_not_answered_from_a_far_store() {
    let (calls, inner) = origin(|call, _| async move {
        Ok(answer(&[("cache-control", "max-age=600")], format!("v{call}")))
    });
    let mut service = CacheLayer::new(Cache::new(Far::default())).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    sleep(100 * SECOND).await;
    let plain = asked(&service, get("/"));
    let reload = asked(&service, with(get("/"), "cache-control", "no-cache"));
    assert_eq!(plain.await.unwrap().unwrap().text(), "v0");
    assert_eq!(reload.await.unwrap().unwrap().text(), "v1");
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_variants_of_a_key_are_bounded_in_a_far_store_too() {
    let (_, inner) = origin(|_, _| async {
        Ok(answer(&[("cache-control", "max-age=600"), ("vary", "x-v")], "x"))
    });
    let far = Far::default();
    let cache = Cache::builder(far.clone()).variants(2).build();
    let mut service = CacheLayer::new(cache).layer(inner);
    for variant in 0..50 {
        call(&mut service, with(get("/"), "x-v", &variant.to_string())).await.unwrap();
        sleep(SECOND).await;
    }
    // Two variants, and the list of them.
    assert_eq!(far.0.0.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn while_it_drains_a_cache_hands_on_a_dripping_body_as_it_comes() {
    let (_, inner) = origin(|call, _| async move {
        if call == 0 {
            return Ok(streamed(&[("cache-control", "private")], Steps::new([]).sized(0)));
        }
        let fields = [("cache-control", "max-age=600"), ("transfer-encoding", "chunked")];
        let steps = [Step::Data(Bytes::from_static(b"abc")), Step::Wait(20 * SECOND)];
        Ok(streamed(&fields, Steps::new(steps)))
    });
    let cache = cache();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    cache.drain(SECOND).await;
    let asked_at = Instant::now();
    service.call(get("/")).await.unwrap();
    assert!(asked_at.elapsed() < SECOND, "{:?}", asked_at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_stays_is_no_orphan() {
    let (_, inner) = origin(|_, _| async { Ok(answer(&[("cache-control", "private")], "x")) });
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    let cache = cache_builder()
        .orphans(0)
        .observer(move |event: &Event<'_>| {
            if let Event::OrphanCancelled = event {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        })
        .build();
    let mut service = CacheLayer::new(cache).layer(inner);
    for _ in 0..10 {
        call(&mut service, get("/")).await.unwrap();
    }
    assert_eq!(told.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_variant_too_long_for_a_key_is_nobody_elses() {
    for status in [200, 503] {
        let (calls, inner) = origin(move |_, request: Req| async move {
            sleep(SECOND).await;
            let user = sent(&request, "x-session")[..3].to_owned();
            Ok(answer_status(status, &[("vary", "x-session")], user))
        });
        let service = CoalesceLayer::new().layer(inner);
        let session = |user: &str| with(get("/"), "x-session", &user.repeat(10_000));
        let (ann, bob) = (asked(&service, session("ann")), asked(&service, session("bob")));
        assert_eq!(ann.await.unwrap().unwrap().text(), "ann");
        // Of a failure he may learn that it is one.
        if let Ok(read) = bob.await.unwrap() {
            assert_eq!((read.text(), calls.count()), ("bob", 2), "{status}");
        } else {
            assert_eq!(status, 503);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_validation_for_one_persons_request_does_not_send_all_others_to_the_origin() {
    let (calls, inner) = origin(|_, request: Req| async move {
        sleep(SECOND).await;
        let fields = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
        let validates = request.headers().contains_key("if-none-match");
        Ok(if validates { answer_status(304, &fields, "") } else { answer(&fields, "hello") })
    });
    let mut service = CacheLayer::new(cache()).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    sleep(20 * SECOND).await;
    let personal = asked(&service, with(get("/"), "x-forwarded-host", "x"));
    tokio::task::yield_now().await;
    let before = calls.count();
    for read in at_once(&service, (0..100).map(|_| get("/"))).await {
        assert_eq!(read.unwrap().text(), "hello");
    }
    personal.await.unwrap().unwrap();
    assert!(calls.count() - before <= 2, "{}", calls.count() - before);
}

#[tokio::test(start_paused = true)]
async fn a_follower_who_was_there_at_the_deadline_and_left_takes_nobody_down() {
    let (_, inner) = origin(|_, _| async {
        let steps =
            (0..100_u8).flat_map(|n| [Step::Data(Bytes::from(vec![n; 10])), Step::Wait(SECOND)]);
        let fields = [("cache-control", "max-age=600"), ("content-length", "1000")];
        Ok(streamed(&fields, Steps::new(steps)))
    });
    let service = CacheLayer::new(cache()).layer(inner);
    let leader = asked(&service, get("/"));
    sleep(28 * SECOND).await;
    let follower = asked(&service, get("/"));
    sleep(4 * SECOND).await;
    follower.abort();
    assert_eq!(leader.await.unwrap().unwrap().body.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_answers_vary_now_and_then_keeps_few_records() {
    let (_, inner) = origin(|call, _| async move {
        let varies = [("cache-control", "max-age=600"), ("vary", "x-v")];
        let plain = [("cache-control", "max-age=1")];
        Ok(if call % 2 == 0 { answer(&varies, "x") } else { answer(&plain, "x") })
    });
    let cache = cache_builder().variants(2).build();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    for variant in 0..50 {
        call(&mut service, with(get("/"), "x-v", &variant.to_string())).await.unwrap();
        sleep(2 * SECOND).await;
    }
    let records = cache.figures().records;
    assert!(records <= 3, "{records}");
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_below_a_second_is_one() {
    let (calls, inner) = origin(|_, _| async { Ok(answer(&[], "x")) });
    let layer = CacheLayer::new(cache()).policy(FixedTtl::new(SECOND / 2));
    let mut service = layer.layer(inner);
    for _ in 0..3 {
        call(&mut service, get("/")).await.unwrap();
    }
    assert_eq!(calls.count(), 1);
    sleep(SECOND).await;
    call(&mut service, get("/")).await.unwrap();
    assert_eq!(calls.count(), 2);
}

/// A far store whose first write takes longer than its later ones.
#[derive(Clone, Default)]
struct Uneven(Far, Arc<AtomicUsize>);

impl Store for Uneven {
    async fn get(&self, key: &Key) -> Result<Option<Record>, BoxError> {
        self.0.get(key).await
    }

    async fn put(&self, key: Key, record: Record) -> Result<(), BoxError> {
        let late = self.1.fetch_add(1, Ordering::SeqCst) == 1;
        sleep(if late { SECOND / 5 } else { SECOND / 1_000 }).await;
        self.0.put(key, record).await
    }

    async fn remove(&self, key: &Key) -> Result<(), BoxError> {
        self.0.remove(key).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_write_of_a_validated_answer_does_not_outlive_a_newer_one() {
    let (_, inner) = origin(|call, _| async move {
        Ok(match call {
            0 => answer(&[("cache-control", "max-age=1"), ("etag", "\"1\"")], "v1"),
            1 => answer_status(304, &[("cache-control", "max-age=600"), ("etag", "\"1\"")], ""),
            _ => answer(&[("cache-control", "max-age=600"), ("etag", "\"2\"")], "v2"),
        })
    });
    let mut service = CacheLayer::new(Cache::new(Uneven::default())).layer(inner);
    call(&mut service, get("/")).await.unwrap();
    sleep(5 * SECOND).await;
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "v1");
    sleep(SECOND / 1_000).await;
    let reload = with(get("/"), "cache-control", "no-cache");
    assert_eq!(call(&mut service, reload).await.unwrap().text(), "v2");
    sleep(SECOND).await;
    assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "v2");
}
