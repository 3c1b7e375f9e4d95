//! The limit that its owner knows.

use tokio::time::Instant;

use super::{Limit, Sample};

/// A limit that stays as it is: 1024 unless told otherwise.
///
/// The right number is what the origin works on at once when it is busy (its workers, its pool of
/// connections) and about half as many again that wait. It holds as long as the origin stays what it
/// was when the number was chosen.
///
/// ```
/// use seawall::load_shed::limit::{Fixed, Limit};
///
/// assert_eq!(Fixed::default().limit(), 1024);
/// assert_eq!(Fixed::new(30).limit(), 30);
/// // No call at all is no limit: it is taken for one.
/// assert_eq!(Fixed::new(0).limit(), 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Fixed(usize);

impl Fixed {
    /// So many calls; at least one.
    pub const fn new(limit: usize) -> Self {
        Self(if limit == 0 { 1 } else { limit })
    }
}

impl Default for Fixed {
    fn default() -> Self {
        Self::new(1024)
    }
}

impl Limit for Fixed {
    fn limit(&self) -> usize {
        self.0
    }

    fn sample(&mut self, _: &Sample, _: Instant) {}

    fn learns(&self) -> bool {
        false
    }
}
