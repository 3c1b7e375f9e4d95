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

#[cfg(seawall_loom)]
pub(crate) use mutant::{guarded, without};

#[cfg(seawall_loom)]
mod mutant {
    use std::sync::Mutex;

    static REMOVED: Mutex<Option<&'static str>> = Mutex::new(None);
    /// Models take turns: the guard that is removed is one for the whole process.
    static TURN: Mutex<()> = Mutex::new(());

    pub(crate) fn guarded(name: &str) -> bool {
        *REMOVED.lock().expect("never poisoned") != Some(name)
    }

    /// Runs `model` with the guard `name` removed (`None`: all in force) and says whether it held.
    pub(crate) fn without(name: Option<&'static str>, model: impl FnOnce()) -> bool {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *REMOVED.lock().expect("never poisoned") = name;
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(model)).is_ok();
        *REMOVED.lock().expect("never poisoned") = None;
        drop(turn);
        held
    }
}
