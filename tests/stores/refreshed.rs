//! Stale-while-revalidate, for what is stale and only far: given at once, and refreshed once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use seawall::{Cache, CacheLayer, observe::Event};
use tokio::{sync::Semaphore, time::sleep};
use tower::Layer;

use crate::{
    place::{Origin, Row, eventually},
    support::{Calls, answer, at_once, boxed, get, origin},
};

/// What it answers is stale from the start, and a refresh is answered when the test says so.
fn stale(gate: &Arc<Semaphore>) -> (Calls, Origin) {
    let gate = Arc::clone(gate);
    origin(move |call, _| {
        let gate = Arc::clone(&gate);
        async move {
            let control = "max-age=60, stale-while-revalidate=600";
            let age = if call == 0 { "100" } else { "0" };
            if call > 0 {
                gate.acquire().await.unwrap().forget();
            }
            let fields = [("cache-control", control), ("etag", "\"v\""), ("age", age)];
            Ok(answer(&fields, call.to_string()).map(boxed))
        }
    })
}

pub(crate) async fn what_is_stale_and_far_is_given_at_once_and_refreshed_once(row: &Row) {
    for callers in [1, 100] {
        let place = row.shared().await;
        let gate = Arc::new(Semaphore::new(0));
        let (calls, origin) = stale(&gate);
        place.process(&origin).await.ask(get("/")).await;
        let next = place.open().await;
        let passed = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&passed);
        let cache = Cache::builder(next.store.clone())
            .observer(move |event: &Event<'_>| {
                if let Event::Passed(_) = event {
                    seen.fetch_add(1, SeqCst);
                }
            })
            .build();
        let service = CacheLayer::new(cache).layer(origin.clone());
        // The origin does not answer: nobody waits for it.
        for read in at_once(&service, (0..callers).map(|_| get("/"))).await {
            let read = read.unwrap();
            assert_eq!(read.text(), "0");
            assert!(read.cache_status().starts_with("hit"), "{}", read.cache_status());
        }
        eventually("it is refreshed", || calls.count() == 2).await;
        sleep(Duration::from_millis(5)).await;
        assert_eq!((calls.count(), passed.load(SeqCst)), (2, 0), "{callers} callers");
        gate.add_permits(1);
        place.settled().await;
        let read = crate::support::call(&mut service.clone(), get("/")).await.unwrap();
        assert_eq!((read.text(), read.cache_status()), ("1", "hit"));
        // And for whoever comes next.
        let read = place.process(&origin).await.ask(get("/")).await;
        assert_eq!((read.text(), read.cache_status()), ("1", "hit"));
        assert_eq!(calls.count(), 2, "{callers} callers");
    }
}
