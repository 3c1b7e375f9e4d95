//! Events as counters and histograms of the `metrics` facade.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_histogram, gauge,
    histogram,
};

use super::{Aside, Event, Observer, Operation, Pass};
use crate::circuit_breaker::{State, Transition};

/// Counts events with the [`metrics`](::metrics) facade.
///
/// | name | kind, unit | labels | counts |
/// |---|---|---|---|
/// | `seawall_hits_total` | counter, calls | – | answers from storage |
/// | `seawall_stale_hits_total` | counter, calls | `why`: `stale-while-revalidate`, `soft-timeout`, `stale-if-error` | stale answers given |
/// | `seawall_fallbacks_total` | counter, calls | – | calls answered by the fallback |
/// | `seawall_refused_total` | counter, calls | – | calls refused because their key failed a moment ago |
/// | `seawall_refreshes_total` | counter, fetches | – | fetches begun behind an answer |
/// | `seawall_refreshes_skipped_total` | counter, fetches | – | those that were too many at once |
/// | `seawall_back_offs_total` | counter, failures | – | failures after which a key is left alone for a while |
/// | `seawall_invalidations_total` | counter, records | `kind`: `hard`, `soft` | invalidations written |
/// | `seawall_circuits_open` | gauge, breakers | – | breakers that are open or half-open |
/// | `seawall_circuit_changes_total` | counter, changes | `to`: `closed`, `open`, `half-open` | changes of a breaker's state |
/// | `seawall_circuit_refused_total` | counter, calls | – | calls that a breaker refused |
/// | `seawall_shed_total` | counter, calls | `criticality`: `background`, `sheddable`, `normal`, `critical` | calls refused because too many were in flight |
/// | `seawall_over_quota_total` | counter, calls | – | calls refused because a quota was used up |
/// | `seawall_quota_table_full_total` | counter, calls | – | calls charged to no quota: too many keys |
/// | `seawall_misses_total` | counter, calls | – | calls that began a fetch |
/// | `seawall_followers_total` | counter, calls | – | calls that joined a fetch |
/// | `seawall_passes_total` | counter, calls | `why`: `request`, `key`, `remembered`, `not-shared`, `full`, `draining`, `switched-off` | calls sent to the origin alone |
/// | `seawall_origin_calls_total` | counter, calls | – | calls to the inner service |
/// | `seawall_origin_failures_total` | counter, calls | – | failures of the origin: without an answer, or within one |
/// | `seawall_origin_head_seconds` | histogram, seconds | – | from the call to the head of the answer |
/// | `seawall_stored_total` | counter, entries | – | answers stored |
/// | `seawall_stored_bytes_total` | counter, bytes | – | their bodies |
/// | `seawall_not_stored_total` | counter, answers | `why`: the refusals of [`Refusal`](crate::rfc9111::refusal::Refusal) | answers not stored, by rule |
/// | `seawall_freshened_total` | counter, entries | – | entries validated by a 304 |
/// | `seawall_outgrown_total` | counter, bodies | – | bodies too large to keep |
/// | `seawall_handed_over_total` | counter, bodies | – | bodies still under way at the fetch deadline |
/// | `seawall_orphans_cancelled_total` | counter, fetches | – | fetches cancelled when their last caller left |
/// | `seawall_remembered_total` | counter, keys | `as`: `uncacheable`, `outgrown` | keys that are not coalesced for a while |
/// | `seawall_store_failures_total` | counter, operations | `operation`: `get`, `put`, `remove` | operations of a store that failed or were late |
/// | `seawall_store_refused_total` | counter, operations | – | operations that were not tried: the breaker of the store is open |
/// | `seawall_store_writes_dropped_total` | counter, writes | – | writes to a store further away that were not done: too many waited |
/// | `seawall_unreadable_entries_total` | counter, entries | – | what came back from a store damaged, or in another layout |
/// | `seawall_foreign_entries_total` | counter, entries | – | entries found under another's key |
///
/// No label comes from a request. The handles that a call may need are registered once, when the
/// observer is made: make it after the recorder is installed.
///
/// ```
/// use seawall::{Cache, observe::Metrics, store::Memory};
///
/// let cache = Cache::builder(Memory::default()).observer(Metrics::new()).build();
/// # let _ = cache;
/// ```
pub struct Metrics {
    hits: Counter,
    fallbacks: Counter,
    refused: Counter,
    refreshes: Counter,
    refreshes_skipped: Counter,
    back_offs: Counter,
    misses: Counter,
    followers: Counter,
    passes: [Counter; PASSES.len()],
    origin_calls: Counter,
    origin_failures: Counter,
    origin_head: Histogram,
    stored: Counter,
    stored_bytes: Counter,
    freshened: Counter,
    outgrown: Counter,
    handed_over: Counter,
    orphans_cancelled: Counter,
    store_refused: Counter,
    foreign_entries: Counter,
    circuits_open: Gauge,
    circuit_refused: Counter,
    shed: [Counter; CLASSES.len()],
    over_quota: Counter,
}

const CLASSES: [&str; 4] = ["background", "sheddable", "normal", "critical"];

const PASSES: [&str; 7] =
    ["request", "key", "remembered", "not-shared", "full", "draining", "switched-off"];

impl Metrics {
    /// Registers the handles with the recorder that is installed.
    pub fn new() -> Self {
        describe_counter!("seawall_stored_bytes_total", Unit::Bytes, "Bytes of bodies stored");
        describe_histogram!(
            "seawall_origin_head_seconds",
            Unit::Seconds,
            "From a call of the origin to the head of its answer"
        );
        Self {
            hits: counter!("seawall_hits_total"),
            fallbacks: counter!("seawall_fallbacks_total"),
            refused: counter!("seawall_refused_total"),
            refreshes: counter!("seawall_refreshes_total"),
            refreshes_skipped: counter!("seawall_refreshes_skipped_total"),
            back_offs: counter!("seawall_back_offs_total"),
            misses: counter!("seawall_misses_total"),
            followers: counter!("seawall_followers_total"),
            passes: PASSES.map(|why| counter!("seawall_passes_total", "why" => why)),
            origin_calls: counter!("seawall_origin_calls_total"),
            origin_failures: counter!("seawall_origin_failures_total"),
            origin_head: histogram!("seawall_origin_head_seconds"),
            stored: counter!("seawall_stored_total"),
            stored_bytes: counter!("seawall_stored_bytes_total"),
            freshened: counter!("seawall_freshened_total"),
            outgrown: counter!("seawall_outgrown_total"),
            handed_over: counter!("seawall_handed_over_total"),
            orphans_cancelled: counter!("seawall_orphans_cancelled_total"),
            store_refused: counter!("seawall_store_refused_total"),
            foreign_entries: counter!("seawall_foreign_entries_total"),
            circuits_open: gauge!("seawall_circuits_open"),
            circuit_refused: counter!("seawall_circuit_refused_total"),
            shed: CLASSES.map(|class| counter!("seawall_shed_total", "criticality" => class)),
            over_quota: counter!("seawall_over_quota_total"),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Metrics {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Hit => self.hits.increment(1),
            Event::StaleHit(why) => {
                counter!("seawall_stale_hits_total", "why" => why.detail()).increment(1);
            }
            Event::FellBack => self.fallbacks.increment(1),
            Event::Refused => self.refused.increment(1),
            Event::Refreshing => self.refreshes.increment(1),
            Event::RefreshSkipped => self.refreshes_skipped.increment(1),
            Event::BackedOff { .. } => self.back_offs.increment(1),
            Event::Invalidated { hard } => {
                let kind = if *hard { "hard" } else { "soft" };
                counter!("seawall_invalidations_total", "kind" => kind).increment(1);
            }
            Event::Miss => self.misses.increment(1),
            Event::Followed => self.followers.increment(1),
            Event::Passed(why) => self.passes[place(*why)].increment(1),
            Event::OriginCalled => self.origin_calls.increment(1),
            Event::OriginAnswered { took, .. } => self.origin_head.record(took.as_secs_f64()),
            Event::OriginFailed(_) => self.origin_failures.increment(1),
            Event::Freshened => self.freshened.increment(1),
            Event::Stored { bytes } => {
                self.stored.increment(1);
                self.stored_bytes.increment(*bytes as u64);
            }
            Event::NotStored(why) => {
                counter!("seawall_not_stored_total", "why" => why.as_str()).increment(1);
            }
            Event::Outgrown => self.outgrown.increment(1),
            Event::HandedOver => self.handed_over.increment(1),
            Event::OrphanCancelled => self.orphans_cancelled.increment(1),
            Event::Remembered(aside) => {
                let aside = match aside {
                    Aside::Uncacheable => "uncacheable",
                    Aside::Outgrown => "outgrown",
                };
                counter!("seawall_remembered_total", "as" => aside).increment(1);
            }
            Event::StoreFailed { operation, .. } => {
                let operation = match operation {
                    Operation::Get => "get",
                    Operation::Put => "put",
                    Operation::Remove => "remove",
                };
                counter!("seawall_store_failures_total", "operation" => operation).increment(1);
            }
            Event::StoreRefused { .. } => self.store_refused.increment(1),
            Event::WriteDropped => counter!("seawall_store_writes_dropped_total").increment(1),
            Event::ForeignEntry => self.foreign_entries.increment(1),
            Event::UnreadableEntry(_) => {
                counter!("seawall_unreadable_entries_total").increment(1);
            }
            Event::CircuitChanged { change: Transition { from, to, .. }, .. } => {
                // Of all breakers together: none leaves a state of its own behind.
                match (from, to) {
                    (State::Closed, _) => self.circuits_open.increment(1.0),
                    (_, State::Closed) => self.circuits_open.decrement(1.0),
                    _ => {}
                }
                let to = match to {
                    State::Closed => "closed",
                    State::Open => "open",
                    State::HalfOpen => "half-open",
                };
                counter!("seawall_circuit_changes_total", "to" => to).increment(1);
            }
            Event::CircuitRefused { observed_only } => {
                self.circuit_refused.increment(u64::from(!observed_only));
            }
            Event::Shed(class) => self.shed[*class as usize].increment(1),
            Event::OverQuota => self.over_quota.increment(1),
            Event::QuotaTableFull => counter!("seawall_quota_table_full_total").increment(1),
        }
    }
}

fn place(why: Pass) -> usize {
    match why {
        Pass::Request => 0,
        Pass::Key => 1,
        Pass::Remembered => 2,
        Pass::NotShared => 3,
        Pass::Full => 4,
        Pass::Draining => 5,
        Pass::SwitchedOff => 6,
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}
