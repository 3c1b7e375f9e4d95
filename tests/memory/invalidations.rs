//! A million invalidations, each of another tag.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use seawall::{BoxError, Cache, CacheLayer, Invalidation, store::Memory};
use tower::{Layer, Service, service_fn};

use crate::{HEAP, KIB, alone, mib, peak_of};

const INVALIDATIONS: usize = 1_000_000;
const ENTRIES: usize = 1_000;

#[test]
fn a_million_invalidations_of_distinct_tags_take_no_memory_and_none_is_forgotten() {
    let _alone = alone();
    for slots in [1 << 17, 1 << 20] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let origin = service_fn(move |request: Request<Empty<Bytes>>| {
            counted.fetch_add(1, Ordering::SeqCst);
            let tag = format!("tag{}", request.uri().path());
            let answer = Response::builder().header("cache-control", "max-age=600");
            let answer = answer.header("cache-tag", tag).body(Full::<Bytes>::from("an answer"));
            async { Ok::<_, BoxError>(answer?) }
        });
        let cache = Cache::builder(Memory::default()).invalidation_slots(slots).build();
        let mut service = CacheLayer::new(cache.clone()).layer(origin);
        let mut fill = async || {
            for entry in 0..ENTRIES {
                let request = Request::get(format!("http://a/{entry}")).body(Empty::new()).unwrap();
                service.call(request).await.unwrap().into_body().collect().await.unwrap();
            }
        };
        let invalidator = cache.invalidator();
        peak_of(fill());
        let before = HEAP.current_usage();
        peak_of(invalidator.invalidate(&Invalidation::tag("the first makes the table")));
        let table = HEAP.current_usage() - before;
        let (_, peak) = peak_of(async {
            for number in 0..INVALIDATIONS {
                // The entries are among the first that are named.
                invalidator.invalidate(&Invalidation::tag(format!("tag/{number}"))).await;
            }
        });
        let after = HEAP.current_usage().saturating_sub(before + table);
        println!(
            "{INVALIDATIONS} invalidations over {slots} slots: the table {}, {after} B more after \
             them, {peak} B at the peak",
            mib(table),
        );
        assert!(table <= 32 * slots + 64 * KIB, "{}", mib(table));
        assert!(peak < 64 * KIB, "{peak} B");
        let filled = calls.load(Ordering::SeqCst);
        peak_of(fill());
        assert_eq!(calls.load(Ordering::SeqCst) - filled, ENTRIES, "each was invalidated");
    }
}
