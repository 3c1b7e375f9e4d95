//! The locks and counters of what is modelled: std's, or loom's when a model runs.

use std::sync::TryLockError;

#[cfg(not(seawall_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(seawall_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};

/// Locks, ignoring poison: nothing that is locked here is left half changed by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The same, unless another has it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
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

/// Holds as it is; with the guard removed the same test, in a process of its own, must fail.
#[cfg(all(test, seawall_loom))]
pub(crate) fn holds_only_with(guard: &'static str, model: fn()) {
    loom::model(model);
    if removed().is_some() {
        return;
    }
    let test = std::thread::current().name().expect("a test has a name").to_owned();
    let mutant =
        std::process::Command::new(std::env::current_exe().expect("a test runs from a file"))
            .args([&*test, "--exact"])
            .env("SEAWALL_MUTANT", guard)
            .output()
            .expect("it can be started once more");
    let said = String::from_utf8_lossy(&mutant.stdout);
    assert!(said.contains("running 1 test"), "{said}");
    assert!(!mutant.status.success(), "the model does not notice: {guard}");
    println!("without \"{guard}\" it fails, as it must");
}
