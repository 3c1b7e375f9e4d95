//! A hundred thousand invalidations of other tags: what they cost those that were not named.

use seawall::{Cache, CacheLayer, Invalidation, store::Memory};
use tower::Layer;

use crate::support::{answer, call, get, origin};

const INVALIDATIONS: usize = 100_000;
const ENTRIES: usize = 10_000;

/// The share of entries with one tag that are fetched anew after others were invalidated: each has
/// three names (its key, its URI, its tag), and any of them may meet others.
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

/// `(1 - e^(-n/m))²` a name; an entry has three.
fn expected(slots: usize) -> (f64, f64) {
    let full = 1.0 - (-(INVALIDATIONS as f64) / slots as f64).exp();
    let a_name = full * full;
    (a_name, 1.0 - (1.0 - a_name).powi(3))
}

async fn costs_what_is_said(slots: usize, said: f64) {
    let (a_name, an_entry) = expected(slots);
    let measured = needless_misses(slots).await;
    let of_a_name = 1.0 - (1.0 - measured).powf(1.0 / 3.0);
    println!(
        "{slots} slots, {INVALIDATIONS} invalidations of other tags: {:.2} % of entries missed \
         needlessly, {:.2} % a name (the formula: {:.2} %, {:.2} %)",
        measured * 100.0,
        of_a_name * 100.0,
        an_entry * 100.0,
        a_name * 100.0,
    );
    assert!((a_name / said - 1.0).abs() < 0.05, "{a_name} is not {said}");
    assert!((measured / an_entry - 1.0).abs() < 0.25, "{measured} for {an_entry}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_invalidations_cost_a_name_28_percent_with_2_to_the_17_slots() {
    costs_what_is_said(1 << 17, 0.285).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_invalidations_cost_a_name_less_than_1_percent_with_2_to_the_20_slots() {
    costs_what_is_said(1 << 20, 0.0083).await;
}
