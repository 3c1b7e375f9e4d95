//! Who may go to the origin while there is room, and when the others should come back.
//!
//! The limit and what is in flight are one word, so that a call is admitted by one atomic exchange
//! that saw both: at no moment are more calls admitted than the limit then in force allows. Where
//! the limit has shrunk below what is in flight, nobody is admitted until that has drained.
//!
//! A counter that is raised first and put back on refusal would not do: meanwhile a call that is
//! refused holds the place of one that would have been admitted.

use std::time::Duration;

use tokio::time::Instant;

use super::criticality::{CLASSES, Criticality, Fills, Shares};
use crate::sync::{
    atomic::{AtomicU64, Ordering::Relaxed},
    guarded,
};

/// Admits calls up to a limit that may change at any time.
#[derive(Debug)]
pub(crate) struct Limiter {
    word: AtomicU64,
    fills: Fills,
    began: Instant,
    spells: [AtomicU64; CLASSES],
}

/// The most calls that can be counted.
const MOST: u64 = (1 << BITS) - 1;
const BITS: u32 = 21;

/// What a limiter knows, in one word.
#[derive(Clone, Copy, Debug)]
struct Word {
    limit: u64,
    /// Of those in flight, the calls of the class `Background`.
    background: u64,
    in_flight: u64,
}

impl Word {
    fn pack(self) -> u64 {
        self.limit << (2 * BITS) | self.background << BITS | self.in_flight
    }

    fn unpack(word: u64) -> Self {
        Self { limit: word >> (2 * BITS), background: word >> BITS & MOST, in_flight: word & MOST }
    }

    /// One call of `class`.
    fn one(class: Criticality) -> Self {
        Self { limit: 0, background: u64::from(class == Criticality::Background), in_flight: 1 }
    }
}

impl Limiter {
    /// A limiter with nothing in flight. Limits are taken to lie within 1 and 2,097,151.
    pub(crate) fn new(limit: usize, shares: &Shares, now: Instant) -> Self {
        Self {
            word: AtomicU64::new(
                Word { limit: countable(limit), background: 0, in_flight: 0 }.pack(),
            ),
            fills: Fills::new(shares),
            began: now,
            spells: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Admits a call of `class` if there is room for one; how many are in flight then, itself
    /// included. What is admitted is to be [released](Self::release) once.
    pub(crate) fn admit(&self, class: Criticality) -> Option<usize> {
        if !guarded("a limit is checked and filled at once") {
            let now = Word::unpack(self.word.load(Relaxed));
            let room = now.in_flight < self.fills.of(class, now.limit);
            return room.then(|| {
                let before = self.word.fetch_add(Word::one(class).pack(), Relaxed);
                Word::unpack(before).in_flight as usize + 1
            });
        }
        // Nothing else is read or written by the leave of this word: its own order is enough.
        let admitted = self.word.fetch_update(Relaxed, Relaxed, |word| {
            let now = Word::unpack(word);
            let room = now.in_flight < self.fills.of(class, now.limit)
                && (class != Criticality::Background
                    || now.background < self.fills.of_refreshes(now.limit));
            room.then(|| word + Word::one(class).pack())
        });
        admitted.ok().map(|before| Word::unpack(before).in_flight as usize + 1)
    }

    /// Gives back the place of a call that was admitted as one of `class`.
    pub(crate) fn release(&self, class: Criticality) {
        let before = self.word.fetch_sub(Word::one(class).pack(), Relaxed);
        debug_assert!(Word::unpack(before).in_flight > 0, "released what was never admitted");
    }

    /// Changes the limit, for all calls from now on.
    pub(crate) fn resize(&self, limit: usize) {
        let limit = countable(limit);
        let _ = self.word.fetch_update(Relaxed, Relaxed, |word| {
            let now = Word::unpack(word);
            (now.limit != limit).then(|| Word { limit, ..now }.pack())
        });
    }

    /// The limit in force.
    pub(crate) fn limit(&self) -> usize {
        Word::unpack(self.word.load(Relaxed)).limit as usize
    }

    /// How many calls are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        Word::unpack(self.word.load(Relaxed)).in_flight as usize
    }

    /// Notes that a call of `class` was refused; after how long it may try again.
    ///
    /// That is as long as calls of its class have been refused so far, since what has lasted for a
    /// while tends to last as long again, but at least a second and at most 30 s; and up to half of
    /// it more, so that not all come back at once. `random` is drawn from [0, 1). Five seconds
    /// without a refusal end the spell.
    pub(crate) fn refused(&self, class: Criticality, now: Instant, random: f64) -> Duration {
        // From one on: zero is the spell before the first.
        let second = now.duration_since(self.began).as_secs().min(MOST_SECONDS - 1) + 1;
        let mut since = second;
        let _ = self.spells[class as usize].fetch_update(Relaxed, Relaxed, |spell| {
            let (began, last) = (spell >> 32, spell & MOST_SECONDS);
            let goes_on = began > 0 && second <= last + SPELL_ENDS_AFTER;
            since = if goes_on { began } else { second };
            let next = since << 32 | second.max(if goes_on { last } else { 0 });
            (next != spell).then_some(next)
        });
        let lasted = Duration::from_secs(second.saturating_sub(since));
        lasted.clamp(SHORTEST_WAIT, LONGEST_WAIT).mul_f64(1.0 + SPREAD * random)
    }
}

const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const SPREAD: f64 = 0.5;
const SPELL_ENDS_AFTER: u64 = 5;
const MOST_SECONDS: u64 = u32::MAX as u64;

fn countable(limit: usize) -> u64 {
    (limit as u64).clamp(1, MOST)
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::{Criticality::*, *};

    fn limiter(limit: usize) -> Limiter {
        Limiter::new(limit, &Shares::default(), Instant::now())
    }

    fn fill(limiter: &Limiter, class: Criticality) -> usize {
        std::iter::from_fn(|| limiter.admit(class)).count()
    }

    #[test]
    fn the_lowest_classes_are_refused_first() {
        let limiter = limiter(100);
        // A fifth of the limit, although there is room to 60 %.
        assert_eq!(fill(&limiter, Background), 20);
        assert_eq!(fill(&limiter, Sheddable), 60);
        assert_eq!(limiter.admit(Background), None);
        assert_eq!(fill(&limiter, Normal), 15);
        assert_eq!(limiter.admit(Sheddable), None);
        assert_eq!(fill(&limiter, Critical), 5);
        assert_eq!((limiter.in_flight(), limiter.limit()), (100, 100));
        limiter.release(Background);
        assert_eq!(limiter.admit(Normal), None);
        assert_eq!(limiter.admit(Critical), Some(100));
    }

    #[test]
    fn a_limit_of_one_is_open_to_every_class() {
        for class in [Background, Sheddable, Normal, Critical] {
            let limiter = limiter(1);
            assert_eq!(fill(&limiter, class), 1, "{class:?}");
            limiter.release(class);
            assert_eq!(fill(&limiter, class), 1, "{class:?}");
        }
    }

    #[test]
    fn a_limit_that_shrinks_admits_nobody_until_it_has_drained() {
        let limiter = limiter(10);
        assert_eq!(fill(&limiter, Normal), 10);
        limiter.resize(4);
        for _ in 4..10 {
            assert_eq!(limiter.admit(Critical), None);
            limiter.release(Normal);
        }
        assert_eq!(limiter.admit(Critical), None);
        limiter.release(Normal);
        assert_eq!(limiter.admit(Critical), Some(4));
        assert_eq!(limiter.limit(), 4);
    }

    #[test]
    fn a_limit_out_of_bounds_is_the_nearest_within() {
        let limiter = limiter(0);
        assert_eq!(limiter.limit(), 1);
        limiter.resize(usize::MAX);
        assert_eq!(limiter.limit(), 2_097_151);
        assert_eq!(limiter.admit(Background), Some(1));
        limiter.resize(0);
        assert_eq!((limiter.limit(), limiter.in_flight()), (1, 1));
    }

    #[test]
    fn the_longer_a_class_is_refused_the_later_it_should_come_back() {
        let limiter = limiter(1);
        let start = limiter.began;
        let wait = |class, millis, random| {
            limiter.refused(class, start + Duration::from_millis(millis), random)
        };
        assert_eq!(wait(Normal, 0, 0.0), Duration::from_secs(1));
        assert_eq!(wait(Normal, 900, 0.5), Duration::from_millis(1250));
        for second in [4, 8, 12] {
            assert_eq!(wait(Normal, second * 1000, 0.0), Duration::from_secs(second));
        }
        // The other classes have spells of their own.
        assert_eq!(wait(Sheddable, 12_000, 0.0), Duration::from_secs(1));
        for second in 13..100 {
            assert!(wait(Normal, second * 1000, 0.999) < Duration::from_secs(45));
        }
        assert_eq!(wait(Normal, 104_000, 0.0), Duration::from_secs(30));
        assert_eq!(wait(Normal, 110_000, 0.0), Duration::from_secs(1));
        assert_eq!(wait(Normal, 0, 0.0), Duration::from_secs(1), "time that went back");
    }
}

#[cfg(all(test, seawall_loom))]
mod models {
    use loom::{sync::Arc, thread};

    use super::*;
    use crate::sync::holds_only_with;

    #[test]
    fn models_no_call_is_admitted_over_the_limit_then_in_force() {
        holds_only_with("a limit is checked and filled at once", || {
            let limiter = Arc::new(Limiter::new(2, &Shares::default(), Instant::now()));
            assert_eq!(limiter.admit(Criticality::Normal), Some(1));
            let caller = |class| {
                let limiter = Arc::clone(&limiter);
                move || {
                    let admitted = limiter.admit(class);
                    assert!(admitted.is_none_or(|in_flight| in_flight <= 2), "{admitted:?}");
                    admitted.inspect(|_| limiter.release(class));
                }
            };
            let other = thread::spawn(caller(Criticality::Critical));
            caller(Criticality::Normal)();
            other.join().unwrap();
            limiter.resize(1);
            assert_eq!(limiter.admit(Criticality::Critical), None);
            limiter.release(Criticality::Normal);
            assert_eq!((limiter.in_flight(), limiter.limit()), (0, 1));
            assert_eq!(limiter.admit(Criticality::Background), Some(1));
        });
    }
}
