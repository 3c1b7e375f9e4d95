//! The letter of RFC 9111 and of its companions, for what no public suite asks: a table a section,
//! with the outcome of each row in both profiles.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "law/coming.rs"]
mod coming;
#[path = "law/coming_parts.rs"]
mod coming_parts;
#[path = "law/coming_settings.rs"]
mod coming_settings;
#[path = "law/conditions.rs"]
mod conditions;
#[path = "law/freshness.rs"]
mod freshness;
#[path = "law/groups.rs"]
mod groups;
#[path = "law/invalidation.rs"]
mod invalidation;
#[path = "law/requests.rs"]
mod requests;
#[path = "law/script.rs"]
mod script;
#[path = "law/stale.rs"]
mod stale;
#[path = "law/status_field.rs"]
mod status_field;
#[path = "law/storing.rs"]
mod storing;
#[path = "law/targeted.rs"]
mod targeted;
#[path = "law/updates.rs"]
mod updates;
#[path = "law/validation.rs"]
mod validation;
#[path = "law/variants.rs"]
mod variants;
