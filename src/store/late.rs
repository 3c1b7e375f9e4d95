//! An observer that is known only once a cache is made over the store.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::observe::{Event, Observer};

/// Tells the observer of the first cache that was made over a store; before that, nobody.
#[derive(Default)]
pub(super) struct Late(OnceLock<Arc<dyn Observer>>);

impl Late {
    pub(super) fn set(&self, observer: &Arc<dyn Observer>) {
        let _ = self.0.set(Arc::clone(observer));
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        if let Some(observer) = self.0.get() {
            observer.on_event(event);
        }
    }
}

impl Observer for Late {
    fn on_event(&self, event: &Event<'_>) {
        self.tell(event);
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "an observer" } else { "none" })
    }
}
