//! The switch that takes a cache out of the way at run time.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use http::{HeaderMap, Method, Uri};

use super::Shared;

const ON: u8 = 0;
const OFF: u8 = 1;
const IN_PART: u8 = 2;

/// Turns a [`Cache`](super::Cache) off and on while it runs: for all requests, or for some.
///
/// What is turned off passes to the inner service and back untouched: nothing is looked up, shared or
/// stored, and a fetch that is under way stores nothing. Unsafe requests still invalidate, so what is
/// stored is as good as before when it is turned on again. Cheap to clone.
///
/// ```
/// use seawall::{Cache, store::Memory};
///
/// let cache = Cache::new(Memory::default());
/// let switch = cache.switch();
/// switch.off_where(|asked| asked.uri.path().starts_with("/checkout"));
/// switch.off();
/// assert!(!switch.is_on());
/// switch.on();
/// assert!(switch.is_on());
/// ```
#[derive(Clone)]
pub struct Switch {
    cache: Arc<Shared>,
}

/// What a request asks for, as far as a [`Switch`] is told.
///
/// ```
/// use seawall::{Cache, store::Memory};
///
/// let switch = Cache::new(Memory::default()).switch();
/// switch.off_where(|asked| asked.headers.contains_key("x-debug"));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Asked<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its URI, as this layer sees it.
    pub uri: &'r Uri,
    /// Its fields.
    pub headers: &'r HeaderMap,
}

type Predicate = dyn Fn(&Asked<'_>) -> bool + Send + Sync;

/// How it stands: a load where it is on.
#[derive(Default)]
pub(crate) struct State {
    stands: AtomicU8,
    off_where: RwLock<Option<Arc<Predicate>>>,
}

impl Switch {
    pub(super) fn new(cache: Arc<Shared>) -> Self {
        Self { cache }
    }

    /// Lets every request pass, and stores nothing.
    pub fn off(&self) {
        self.cache.switch.turn(OFF, None);
    }

    /// Lets those requests pass for which `is_off` holds; the others are served as ever.
    ///
    /// It is asked on every call, and should be quick.
    ///
    /// # Panics
    /// Where `is_off` panics, that call does.
    pub fn off_where(&self, is_off: impl Fn(&Asked<'_>) -> bool + Send + Sync + 'static) {
        self.cache.switch.turn(IN_PART, Some(Arc::new(is_off)));
    }

    /// Serves every request.
    pub fn on(&self) {
        self.cache.switch.turn(ON, None);
    }

    /// Whether every request is served.
    pub fn is_on(&self) -> bool {
        self.cache.switch.stands.load(Relaxed) == ON
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("on", &self.is_on()).finish()
    }
}

impl State {
    /// Whether a request like this is to pass.
    #[inline]
    pub(super) fn is_off_for(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
        match self.stands.load(Relaxed) {
            ON => false,
            OFF => true,
            _ => {
                // Not asked under the lock: it may well turn the switch.
                let off_where =
                    self.off_where.read().unwrap_or_else(PoisonError::into_inner).clone();
                off_where.is_some_and(|is_off| is_off(&Asked { method, uri, headers }))
            }
        }
    }

    fn turn(&self, stands: u8, off_where: Option<Arc<Predicate>>) {
        let mut held = self.off_where.write().unwrap_or_else(PoisonError::into_inner);
        *held = off_where;
        // While it is held, or two that turn it at once could leave it half way.
        self.stands.store(stands, Relaxed);
    }
}
