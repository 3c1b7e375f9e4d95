//! What was invalidated is not served by the process that was told, wherever it lies.

use http::Uri;
use seawall::{Invalidation, UriKey};

use crate::{
    place::{Origin, Place, Process, Row},
    support::{Calls, answer, answer_status, boxed, get, origin},
};

const URI: &str = "http://example.com/x";

/// All that names what is at [`URI`].
fn names() -> Vec<Invalidation> {
    vec![
        Invalidation::key(&UriKey::new(), &get("/x")).unwrap(),
        Invalidation::uri(&URI.parse::<Uri>().unwrap()).unwrap(),
        Invalidation::tag("shoes"),
        Invalidation::everything(),
    ]
}

fn tagged() -> (Calls, Origin) {
    origin(|call, request| async move {
        let fields =
            [("cache-control", "max-age=600"), ("surrogate-key", "boots shoes"), ("etag", "\"v\"")];
        let is_known = request.headers().contains_key("if-none-match");
        let response = match is_known {
            true => answer_status(304, &fields, ""),
            false => answer(&fields, call.to_string()),
        };
        Ok(response.map(boxed))
    })
}

/// Stored by one process, and maybe near for another.
async fn stored(place: &Place, origin: &Origin, near: bool) -> Process {
    let first = place.process(origin).await;
    first.ask(get("/x")).await;
    let second = place.process(origin).await;
    if near {
        assert_eq!(second.ask(get("/x")).await.cache_status(), "hit");
    }
    second
}

pub(crate) async fn what_is_invalidated_hard_is_fetched_anew(row: &Row) {
    for (at, invalidation) in names().into_iter().enumerate() {
        let place = row.shared().await;
        let (calls, origin) = tagged();
        let process = stored(&place, &origin, at % 2 == 0).await;
        process.cache.invalidator().invalidate(&invalidation).await;
        let read = process.ask(get("/x")).await;
        assert_eq!(read.cache_status(), "fwd=uri-miss; fwd-status=200; stored", "{invalidation:?}");
        assert_eq!(read.text(), "1", "{invalidation:?}");
        place.settled().await;
        assert_eq!(process.ask(get("/x")).await.cache_status(), "hit");
        // What took its place is what the next process finds.
        let next = place.process(&origin).await;
        let read = next.ask(get("/x")).await;
        assert_eq!((read.cache_status(), read.text()), ("hit", "1"), "{invalidation:?}");
        assert_eq!(calls.count(), 2);
    }
}

pub(crate) async fn what_is_invalidated_softly_is_validated(row: &Row) {
    for (at, invalidation) in names().into_iter().enumerate() {
        let place = row.shared().await;
        let (calls, origin) = tagged();
        let process = stored(&place, &origin, at % 2 == 0).await;
        process.cache.invalidator().invalidate(&invalidation.clone().soft()).await;
        let read = process.ask(get("/x")).await;
        assert!(
            read.cache_status().contains("fwd-status=304"),
            "{invalidation:?}: {}",
            read.cache_status()
        );
        assert_eq!(read.text(), "0");
        place.settled().await;
        assert_eq!(process.ask(get("/x")).await.cache_status(), "hit");
        assert_eq!(calls.count(), 2, "{invalidation:?}");
    }
}

pub(crate) async fn what_is_near_no_more_is_as_dead_as_what_is(row: &Row) {
    let place = row.shared().await;
    let mut settings = place.settings.clone();
    settings.near = settings.near.map(|_| 64 << 10);
    let (calls, origin) = tagged();
    let process = place.process_with(&settings, &origin, |layer| layer).await;
    process.ask(get("/x")).await;
    place.settled().await;
    process.cache.invalidator().invalidate(&Invalidation::tag("shoes")).await;
    // So much that the first of it is out.
    for other in 0..200 {
        process.ask(get(&format!("/{other}"))).await;
    }
    assert!(process.cache.figures().records < 100);
    place.settled().await;
    let before = calls.count();
    assert_eq!(process.ask(get("/x")).await.cache_status(), "fwd=uri-miss; fwd-status=200; stored");
    assert_eq!(calls.count(), before + 1);
}

pub(crate) async fn other_answers_are_left_alone(row: &Row) {
    let place = row.shared().await;
    let (calls, origin) = tagged();
    let process = stored(&place, &origin, false).await;
    let invalidator = process.cache.invalidator();
    invalidator.invalidate(&Invalidation::tag("socks")).await;
    invalidator.invalidate(&Invalidation::key(&UriKey::new(), &get("/y")).unwrap()).await;
    assert_eq!(process.ask(get("/x")).await.cache_status(), "hit");
    assert_eq!(calls.count(), 1);
}
