//! What a cache holds of bodies that it does not keep, by the count of the allocator.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use peak_alloc::PeakAlloc;

#[path = "memory/fills.rs"]
mod fills;
#[path = "memory/invalidations.rs"]
mod invalidations;
#[path = "memory/outgrown.rs"]
mod outgrown;
#[cfg(feature = "remote")]
#[path = "memory/records.rs"]
mod records;

/// Counts what every thread of this process allocates.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;

/// Held by a test for as long as it runs: there is one heap.
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs `work` on a runtime of its own; what it returns, and by how much the heap grew at its peak.
pub(crate) fn peak_of<T>(work: impl Future<Output = T>) -> (T, usize) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let result = runtime.block_on(work);
    (result, HEAP.peak_usage().saturating_sub(before))
}

pub(crate) fn mib(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / MIB as f64)
}
