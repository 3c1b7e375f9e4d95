//! Properties of the pure rules: what holds whatever a header field says.

#[path = "rfc9111/storing_and_freshness.rs"]
mod storing_and_freshness;
#[path = "rfc9111/vary_and_range.rs"]
mod vary_and_range;
