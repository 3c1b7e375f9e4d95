//! Whether a caller may make one more call by its own account.

use std::time::Duration;

/// Charges callers for their calls. Nobody does unless a quota is set. Sealed.
#[allow(unreachable_pub, reason = "it bounds what is public, and is nobody else's to implement")]
pub trait Charge<Req>: Clone {
    /// Charges whoever makes this call.
    fn charge(&self, request: &Req) -> Charged;
}

/// What became of a charge.
#[allow(unreachable_pub, reason = "a sealed trait speaks of it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// The call may go on.
    Paid,
    /// The call may go on uncharged: too many others are known.
    Unknown,
    /// The call is one too many, until so much time has passed.
    OverQuota(Duration),
}

/// Nobody has a quota.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoQuota;

impl<Req> Charge<Req> for NoQuota {
    fn charge(&self, _: &Req) -> Charged {
        Charged::Paid
    }
}
