//! The live line: what happened in the last second, for whoever watches.

use std::{
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use seawall::{circuit_breaker::State, store::Status};
use tokio::time::{Instant, interval_at};

use crate::stats::{Guarded, Stats, word};

/// Prints the line until dropped: each second in place on a terminal, otherwise every ten.
pub(crate) async fn show(stats: Arc<Stats>) {
    let in_place = std::io::stdout().is_terminal();
    let every = Duration::from_secs(if in_place { 1 } else { 10 });
    let mut ticks = interval_at(Instant::now() + every, every);
    let mut before = Totals::default();
    loop {
        ticks.tick().await;
        let now = Totals::of(&stats);
        let line = line(&stats, &before, &now, every);
        before = now;
        let mut out = std::io::stdout().lock();
        // Nobody may be reading any more, which is no reason to stop serving.
        let _ = if in_place { write!(out, "\r\x1b[2K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }
}

#[derive(Default)]
struct Totals {
    requests: u64,
    hits: u64,
    stale_hits: u64,
    followers: u64,
    origin_calls: u64,
}

impl Totals {
    fn of(stats: &Stats) -> Self {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Self {
            requests: read(&stats.requests),
            hits: read(&stats.hits),
            stale_hits: read(&stats.stale_hits),
            followers: read(&stats.followers),
            origin_calls: read(&stats.origin_calls),
        }
    }
}

fn line(stats: &Stats, before: &Totals, now: &Totals, over: Duration) -> String {
    let rate = |now: u64, before: u64| now.saturating_sub(before) / over.as_secs().max(1);
    let kept = stats.kept();
    format!(
        "{:>6} requests/s · {} hits/s, {} stale · {} followers/s · \
         origin {}/s, {} in flight, {} failed, {} shed{} · {} entries, {} KiB · {} invalidations{}",
        rate(now.requests, before.requests),
        rate(now.hits, before.hits),
        rate(now.stale_hits, before.stale_hits),
        rate(now.followers, before.followers),
        rate(now.origin_calls, before.origin_calls),
        stats.origin_in_flight.load(Relaxed),
        stats.origin_failures.load(Relaxed),
        stats.shed.load(Relaxed),
        match stats.guarded() {
            Some(Guarded { circuit, .. }) if circuit != State::Closed => {
                format!(", circuit {}", word(circuit))
            }
            _ => String::new(),
        },
        kept.entries,
        kept.bytes >> 10,
        kept.position,
        stats.stores().iter().map(store).collect::<String>(),
    )
}

/// Only what is not well is worth its place.
fn store(status: &Status) -> String {
    match (status.state, status.writes) {
        (State::Closed, true) => String::new(),
        (State::Closed, false) => format!(" · {} takes no writes", status.name),
        (state, _) => format!(" · {} {}", status.name, word(state)),
    }
}
