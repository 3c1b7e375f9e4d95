//! How much it matters that a call is answered, and what part of a limit that is worth. Pure.
/// How much it matters that a call is answered, the least first: as the limit fills, those are
/// refused first.
///
/// | | fills the limit | in Google's *Site Reliability Engineering*, ch. 21 |
/// |---|---|---|
/// | `Background` | to 60 %, and takes a fifth of it at most | – |
/// | `Sheddable` | to 80 % | `SHEDDABLE_PLUS`, `SHEDDABLE` |
/// | `Normal` | to 95 % | `CRITICAL`, the default there too |
/// | `Critical` | to the last place | `CRITICAL_PLUS` |
///
/// ```
/// use seawall::load_shed::Criticality;
///
/// assert!(Criticality::Background < Criticality::default());
/// assert!(Criticality::default() < Criticality::Critical);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criticality {
    /// Nobody waits for it: a refresh of what is still being served.
    Background,
    /// Left out for a while, it does little harm: crawlers, prefetches, batches that try again.
    Sheddable,
    /// What nobody said otherwise of.
    #[default]
    Normal,
    /// What must work while everything else waits: a login, a payment, a health check.
    Critical,
}

pub(super) const CLASSES: usize = 4;

/// How far each class may fill the limit.
///
/// A class is admitted while fewer calls, of all classes together, are in flight than its share of
/// the limit. Shares are rounded up: a limit of one is open to all, and below 20 calls nothing is
/// kept from `Normal`. No class fills more than the one above it, whatever was set.
///
/// ```
/// use seawall::load_shed::Shares;
///
/// let shares = Shares::default().normal(1.0).sheddable(0.5);
/// # let _ = shares;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    fills: [f64; CLASSES],
    refreshes: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { fills: [0.6, 0.8, 0.95, 1.0], refreshes: 0.2 }
    }
}

impl Shares {
    /// How far `Normal` may fill the limit: 0.95. Within 0 and 1.
    #[must_use]
    pub fn normal(mut self, share: f64) -> Self {
        self.fills[Criticality::Normal as usize] = share;
        self
    }

    /// How far `Sheddable` may fill the limit: 0.8. Within 0 and 1.
    #[must_use]
    pub fn sheddable(mut self, share: f64) -> Self {
        self.fills[Criticality::Sheddable as usize] = share;
        self
    }

    /// How far `Background` may fill the limit: 0.6. Within 0 and 1.
    #[must_use]
    pub fn background(mut self, share: f64) -> Self {
        self.fills[Criticality::Background as usize] = share;
        self
    }

    /// How much of the limit `Background` may take for itself: 0.2. Within 0 and 1.
    #[must_use]
    pub fn refreshes(mut self, share: f64) -> Self {
        self.refreshes = share;
        self
    }
}

/// A share in thousandths, so that its part of a limit is exact.
#[derive(Clone, Copy, Debug)]
struct Share(u64);

impl Share {
    fn new(share: f64) -> Self {
        // A cast takes what is not a number for zero.
        Self((share.clamp(0.0, 1.0) * 1000.0).round() as u64)
    }

    /// Rounded up.
    fn of(self, limit: u64) -> u64 {
        (limit * self.0).div_ceil(1000)
    }
}

/// What the shares come to, each class within the one above it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fills {
    classes: [Share; CLASSES],
    refreshes: Share,
}

impl Fills {
    pub(super) fn new(shares: &Shares) -> Self {
        let mut classes = [Share::new(1.0); CLASSES];
        let mut above = 1.0_f64;
        for (class, share) in classes.iter_mut().zip(shares.fills).rev() {
            above = above.min(share);
            *class = Share::new(above);
        }
        Self { classes, refreshes: Share::new(shares.refreshes) }
    }

    /// How many calls may be in flight once one of `class` is admitted.
    pub(super) fn of(&self, class: Criticality, limit: u64) -> u64 {
        self.classes[class as usize].of(limit)
    }

    /// How many of them may be of the class `Background`.
    pub(super) fn of_refreshes(&self, limit: u64) -> u64 {
        self.refreshes.of(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::{Criticality::*, *};

    fn of(shares: Shares, limit: u64) -> [u64; 5] {
        let fills = Fills::new(&shares);
        let [background, sheddable, normal, critical] =
            [Background, Sheddable, Normal, Critical].map(|class| fills.of(class, limit));
        [fills.of_refreshes(limit), background, sheddable, normal, critical]
    }

    #[test]
    fn shares_are_rounded_up_so_that_a_small_limit_is_open_to_all() {
        assert_eq!(of(Shares::default(), 1), [1, 1, 1, 1, 1]);
        assert_eq!(of(Shares::default(), 19), [4, 12, 16, 19, 19]);
        assert_eq!(of(Shares::default(), 20), [4, 12, 16, 19, 20]);
        assert_eq!(
            of(Shares::default(), 1_000_000),
            [200_000, 600_000, 800_000, 950_000, 1_000_000]
        );
    }

    #[test]
    fn no_class_fills_more_than_the_one_above_it() {
        let shares = Shares::default().background(1.0).refreshes(1.0).normal(0.5);
        assert_eq!(of(shares, 10), [10, 5, 5, 5, 10]);
    }

    #[test]
    fn a_share_out_of_bounds_is_the_nearest_within() {
        assert_eq!(
            of(Shares::default().sheddable(-1.0).refreshes(f64::NAN), 10),
            [0, 0, 0, 10, 10]
        );
        assert_eq!(of(Shares::default().normal(2.0).sheddable(f64::NAN), 10), [2, 6, 10, 10, 10]);
    }
}
