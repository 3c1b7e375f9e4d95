//! The locks and counters of what is modelled: std's, or loom's when a model runs.

#[cfg(not(seawall_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(seawall_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};

/// Locks, ignoring poison: nothing that is locked here is left half changed by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A guard that a model can take away, to show that it would notice.
///
/// Always in force outside of models.
#[cfg(not(seawall_loom))]
pub(crate) const fn guarded(_: &str) -> bool {
    true
}

/// The guard that the environment names is removed in this process.
#[cfg(seawall_loom)]
pub(crate) fn guarded(name: &str) -> bool {
    removed().is_none_or(|removed| removed != name)
}

/// Which guard is removed, if one is.
#[cfg(seawall_loom)]
pub(crate) fn removed() -> Option<&'static str> {
    static REMOVED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    REMOVED.get_or_init(|| std::env::var("SEAWALL_MUTANT").ok()).as_deref()
}
