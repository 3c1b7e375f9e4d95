//! Ranges and those who fetch at the same time: who joins whom, what one leaves to the others.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use seawall::{BoxError, Cache, CoalesceLayer, Invalidation};
use tokio::{task::JoinHandle, time::sleep};
use tower::{Layer, Service};

use crate::{
    millis,
    scripted::{
        Far, KEPT, WHOLE, as_asked, bytes_asked, kept_and, layer, part, range, slowly, stepped,
        with_ranges,
    },
    support::{
        BoxedOrigin, Calls, Req, answer, answer_status, asked, at_once, bodies::Steps, cache, call,
        get, origin, with,
    },
};

/// Knows ranges, and sends each byte after a while.
fn slow() -> (Calls, BoxedOrigin<Steps>) {
    origin(|_, request| async move {
        sleep(millis(100)).await;
        let (first, last) = bytes_asked(&request).unwrap_or((0, 9));
        let mut answer = as_asked(&request);
        answer.headers_mut().insert("content-length", (last + 1 - first).into());
        stepped(answer, slowly(&WHOLE[first..=last]))
    })
}

fn outdates_the_page() -> Invalidation {
    Invalidation::uri(&"http://example.com/".parse().unwrap()).unwrap().soft()
}

// ===== a range and a whole =====

#[tokio::test(start_paused = true)]
async fn a_range_joins_the_get_of_the_whole_that_is_under_way() {
    // Before the head is there, and while the body comes.
    for after in [50, 450] {
        let (calls, inner) = slow();
        let service = layer(cache()).layer(inner);
        let whole = asked(&service, get("/"));
        sleep(millis(after)).await;
        let cut = call(&mut service.clone(), range("2-4")).await.unwrap();
        assert_eq!((cut.status(), cut.text()), (206, "234"), "after {after} ms");
        assert_eq!(cut.field("content-range"), Some("bytes 2-4/10"));
        assert_eq!(whole.await.unwrap().unwrap().text(), WHOLE);
        assert_eq!(calls.count(), 1, "after {after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_that_is_answered_late_with_a_whole_leaves_what_was_stored_since() {
    for is_far in [false, true] {
        let (_, inner) = origin(|call, _| async move {
            if call > 0 {
                return stepped(answer(&kept_and(&[("content-length", "2")]), ""), slowly("v2"));
            }
            sleep(millis(100)).await;
            stepped(answer(&kept_and(&[("content-length", "10")]), ""), slowly("v1v1v1v1v1"))
        });
        let cache = if is_far { Cache::new(Far::default()) } else { cache() };
        let mut service = layer(cache).layer(inner);
        let earlier = asked(&service, range("0-1"));
        sleep(millis(50)).await;
        assert_eq!(call(&mut service, get("/")).await.unwrap().text(), "v2");
        assert_eq!(earlier.await.unwrap().unwrap().text(), "v1");
        sleep(millis(3_000)).await;
        let read = call(&mut service, get("/")).await.unwrap();
        assert_eq!(read.text(), "v2", "far: {is_far}");
        // Where it is not known what is stored, a miss is better than what is older.
        assert!(is_far || read.cache_status() == "hit", "{}", read.cache_status());
    }
}

// ===== parts that are stale =====

#[tokio::test(start_paused = true)]
async fn the_tail_of_a_part_is_not_fetched_for_each() {
    for is_outdated in [false, true] {
        let (calls, inner) = slow();
        let cache = cache();
        let mut service = layer(cache.clone()).layer(inner);
        call(&mut service, range("0-4")).await.unwrap();
        if is_outdated {
            cache.invalidator().invalidate(&outdates_the_page()).await;
        }
        for read in at_once(&service, (0..100).map(|_| get("/"))).await {
            let read = read.unwrap();
            assert_eq!((read.status(), read.text()), (200, WHOLE));
        }
        let since = calls.count() - 1;
        assert!(since <= 2, "{since} calls, outdated: {is_outdated}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_was_outdated_is_fetched_once() {
    let (calls, inner) = with_ranges();
    let cache = cache();
    let mut service = layer(cache.clone()).layer(inner);
    call(&mut service, range("0-4")).await.unwrap();
    cache.invalidator().invalidate(&outdates_the_page()).await;
    call(&mut service, range("0-4")).await.unwrap();
    assert_eq!(calls.count(), 2);
    for _ in 0..4 {
        let hit = call(&mut service, range("0-4")).await.unwrap();
        assert_eq!((hit.text(), hit.cache_status()), ("01234", "hit"));
    }
}

// ===== parts in a far store =====

#[tokio::test(start_paused = true)]
async fn a_part_in_a_far_store_is_found_there() {
    let (calls, inner) = with_ranges();
    let mut service = layer(Cache::new(Far::default())).layer(inner);
    for _ in 0..3 {
        let read = call(&mut service, range("0-4")).await.unwrap();
        assert_eq!((read.status(), read.text()), (206, "01234"));
        // The store is written to when the caller has been answered.
        sleep(millis(50)).await;
    }
    for read in at_once(&service, (0..20).map(|_| range("0-4"))).await {
        let read = read.unwrap();
        assert_eq!((read.status(), read.text()), (206, "01234"));
        assert_eq!(read.field("content-range"), Some("bytes 0-4/10"));
    }
    assert_eq!(calls.count(), 1);
}

// ===== callers with credentials =====

/// Asks for a range ten times, one after the other and whatever comes, in a task of its own.
fn ten_times_with_credentials<S, B>(service: &S) -> JoinHandle<()>
where
    S: Service<Req, Response = Response<B>, Error: Into<BoxError> + Send, Future: Send>,
    S: Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    let mut service = service.clone();
    tokio::spawn(async move {
        for _ in 0..10 {
            let _ = call(&mut service, with(range("0-4"), "authorization", "a")).await;
        }
    })
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_some_with_credentials_is_not_joined_again_by_all_without() {
    let plain = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&plain);
    let (_, inner) = origin(move |_, request: Req| {
        let is_personal = request.headers().contains_key("authorization");
        counted.fetch_add(usize::from(!is_personal), Ordering::SeqCst);
        async move {
            sleep(millis(100)).await;
            Ok(if is_personal { answer_status(500, &[], "") } else { as_asked(&request) })
        }
    });
    let service = layer(cache()).layer(inner);
    // They ask again at once, and so are among the first to lead the next flight.
    let personal: Vec<_> = (0..5).map(|_| ten_times_with_credentials(&service)).collect();
    for read in at_once(&service, (0..20).map(|_| range("0-4"))).await {
        let read = read.unwrap();
        assert_eq!((read.status(), read.text()), (206, "01234"));
    }
    assert_eq!(plain.load(Ordering::SeqCst), 1);
    for caller in personal {
        caller.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_private_tail_leaves_the_part_to_all() {
    let (calls, inner) = origin(|_, request: Req| async move {
        let is_personal = request.headers().contains_key("authorization");
        let control = if is_personal { "private, max-age=60" } else { "max-age=60" };
        let fields = [("cache-control", control), KEPT[1]];
        Ok(match bytes_asked(&request) {
            Some(bytes) => part(bytes, &fields),
            None => answer(&fields, WHOLE),
        })
    });
    let mut service = layer(cache()).layer(inner);
    call(&mut service, range("0-4")).await.unwrap();
    let own = call(&mut service, with(get("/"), "authorization", "a")).await.unwrap();
    assert_eq!((own.status(), own.text()), (200, WHOLE));
    let before = calls.count();
    let hit = call(&mut service, range("0-4")).await.unwrap();
    assert_eq!((hit.text(), hit.cache_status(), calls.count()), ("01234", "hit", before));
}

// ===== transfer codings =====

/// Who follows has the head without its transfer coding, and would take the coded bytes for the content.
#[tokio::test(start_paused = true)]
async fn what_is_still_in_a_transfer_coding_is_nobody_elses() {
    for coding in ["gzip", "gzip, chunked", "chunked, GZIP", "x-compress"] {
        for cached in [true, false] {
            let (calls, inner) = origin(move |_, _| async move {
                sleep(millis(100)).await;
                stepped(answer(&kept_and(&[("transfer-encoding", coding)]), ""), slowly("coded"))
            });
            let reads = match cached {
                true => at_once(&layer(cache()).layer(inner), [get("/"), get("/")]).await,
                false => at_once(&CoalesceLayer::new().layer(inner), [get("/"), get("/")]).await,
            };
            for read in reads {
                let read = read.unwrap();
                assert_eq!((read.text(), read.field("transfer-encoding")), ("coded", Some(coding)));
            }
            assert_eq!(calls.count(), 2, "{coding}, cached: {cached}");
        }
    }
}
