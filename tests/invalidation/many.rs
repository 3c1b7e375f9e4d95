//! A hundred thousand invalidations of other tags: what they cost those that were not named.

use seawall::{Cache, CacheLayer, Invalidation, store::Memory};
use tower::Layer;

use crate::support::{answer, call, get, origin};

const INVALIDATIONS: usize = 100_000;
const ENTRIES: usize = 10_000;

/// The share of entries with one tag that are fetched anew after other tags were invalidated.
async fn needless_misses(slots: usize) -> f64 {
    let (calls, inner) = origin(|call, request| async move {
        let tag = format!("entry{}", request.uri().path());
        let fields = [("cache-control", "max-age=600"), ("cache-tag", tag.as_str())];
        Ok(answer(&fields, call.to_string()))
    });
    let cache = Cache::builder(Memory::bytes(256 << 20)).invalidation_slots(slots).build();
    let mut service = CacheLayer::new(cache.clone()).layer(inner);
    for entry in 0..ENTRIES {
        call(&mut service, get(&format!("/{entry}"))).await.unwrap();
    }
    let invalidator = cache.invalidator();
    for other in 0..INVALIDATIONS {
        invalidator.invalidate(&Invalidation::tag(format!("other{other}"))).await;
    }
    assert_eq!(cache.figures().records, ENTRIES as u64);
    let before = calls.count();
    for entry in 0..ENTRIES {
        call(&mut service, get(&format!("/{entry}"))).await.unwrap();
    }
    let missed = calls.count() - before;
    // What was fetched after them is none of their business.
    for entry in 0..ENTRIES {
        let read = call(&mut service, get(&format!("/{entry}"))).await.unwrap();
        assert_eq!(read.cache_status(), "hit", "/{entry}");
    }
    // However full the table is, what is named is gone.
    for entry in (0..ENTRIES).step_by(100) {
        invalidator.invalidate(&Invalidation::tag(format!("entry/{entry}"))).await;
        let read = call(&mut service, get(&format!("/{entry}"))).await.unwrap();
        assert_ne!(read.cache_status(), "hit", "/{entry}");
    }
    missed as f64 / ENTRIES as f64
}

/// `(1 - e^(-n/m))²`: both slots of its tag have been named.
fn expected(slots: usize) -> f64 {
    let full = 1.0 - (-(INVALIDATIONS as f64) / slots as f64).exp();
    full * full
}

async fn costs_what_is_said(slots: usize, said: f64) {
    let expected = expected(slots);
    let measured = needless_misses(slots).await;
    println!(
        "{slots} slots, {INVALIDATIONS} invalidations of other tags: {:.2} % of entries missed \
         needlessly (the formula: {:.2} %)",
        measured * 100.0,
        expected * 100.0,
    );
    assert!((expected / said - 1.0).abs() < 0.05, "{expected} is not {said}");
    // Four deviations of what ten thousand entries scatter by.
    let scatter = (expected * (1.0 - expected) / ENTRIES as f64).sqrt();
    assert!((measured - expected).abs() < 4.0 * scatter, "{measured} for {expected}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_invalidations_cost_28_percent_of_others_with_2_to_the_17_slots() {
    costs_what_is_said(1 << 17, 0.285).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_invalidations_cost_others_less_than_1_percent_with_2_to_the_20_slots() {
    costs_what_is_said(1 << 20, 0.0083).await;
}
