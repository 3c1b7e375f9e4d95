//! One set of rules for stores, run against each of them: on real servers, where it is for a server.
#![cfg(all(feature = "redis", feature = "memcached"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "stores/any.rs"]
mod any;
#[path = "stores/map.rs"]
mod map;
#[path = "stores/place.rs"]
mod place;
#[path = "stores/records.rs"]
mod records;
#[path = "stores/shelf.rs"]
mod shelf;

#[path = "stores/behind.rs"]
mod behind;
#[path = "stores/contents.rs"]
mod contents;
#[path = "stores/forms.rs"]
mod forms;
#[path = "stores/invalidated.rs"]
mod invalidated;
#[path = "stores/keys.rs"]
mod keys;
#[path = "stores/limits.rs"]
mod limits;
#[path = "stores/near.rs"]
mod near;
#[path = "stores/other.rs"]
mod other;
#[path = "stores/refreshed.rs"]
mod refreshed;
#[path = "stores/time.rs"]
mod time;

use std::sync::Arc;

use crate::{
    map::Map,
    place::Row,
    shelf::{InMemory, Memcacheds, Ours},
    support::servers::{Cluster, Redis},
};

macro_rules! rules {
    ($row:ident: $($module:ident { $($rule:ident)+ })+) => {
        $($(
            #[tokio::test]
            async fn $rule() {
                crate::$module::$rule(&super::$row).await;
            }
        )+)+
    };
}

/// Of any store.
macro_rules! any {
    ($row:ident) => {
        rules! { $row:
            contents {
                what_was_stored_is_served_again_byte_by_byte
                the_latest_of_what_is_put_is_there_and_nothing_that_was_removed
            }
            keys { a_key_is_any_bytes }
        }
    };
}

/// Of one that several processes share.
macro_rules! shared {
    ($row:ident) => {
        rules! { $row:
            contents {
                what_one_process_stored_the_next_serves_byte_by_byte
                each_variant_is_found_by_the_next_process
                the_latest_of_what_is_put_is_there_for_the_next_process
            }
            behind { nobody_waits_for_a_write a_call_that_is_given_up_harms_no_other }
            forms {
                a_head_is_answered_from_a_get_and_freshens_it
                a_range_is_cut_from_the_whole
                parts_are_kept_and_grow_into_the_whole
                variants_of_several_sets_of_fields_are_told_apart
                a_variant_in_the_language_liked_best_is_found
                why_it_was_forwarded_is_said_of_what_is_far_as_of_what_is_near
            }
            refreshed { what_is_stale_and_far_is_given_at_once_and_refreshed_once }
            near { of_many_callers_at_once_one_looks_far_and_nobody_calls_the_origin }
            invalidated {
                what_is_invalidated_hard_is_fetched_anew
                what_is_invalidated_softly_is_validated
                what_is_near_no_more_is_as_dead_as_what_is
                other_answers_are_left_alone
            }
            keys { a_request_has_a_key_of_any_bytes two_namespaces_do_not_see_each_other }
        }
    };
}

/// Of one that has something at hand.
macro_rules! hand {
    ($row:ident) => {
        rules! { $row: near { what_is_near_is_at_hand_at_once } }
    };
}

/// Of one that has it near, and more far.
macro_rules! near {
    ($row:ident) => {
        rules! { $row:
            near {
                what_is_found_far_is_near_from_then_on
                what_gains_little_by_being_validated_is_not_written_again
            }
            behind { what_is_near_is_served_while_what_is_far_does_nothing }
        }
    };
}

/// Of one that has nothing near.
macro_rules! far {
    ($row:ident) => {
        rules! { $row:
            near { where_nothing_is_near_nothing_is_at_hand }
        }
    };
}

/// Of one that looks far once for all who ask.
macro_rules! tiers {
    ($row:ident) => {
        rules! { $row:
            near {
                of_many_look_ups_at_once_one_goes_far
                what_is_validated_and_has_changed_is_written_again
            }
            behind { a_look_up_that_is_given_up_goes_on_for_the_others }
        }
    };
}

/// Of one that is in Memcached.
macro_rules! bounded {
    ($row:ident) => {
        rules! { $row:
            limits { what_is_too_large_is_passed_by_and_what_was_there_is_gone }
        }
    };
}

/// Of one that is on a server, which has clients of its own.
macro_rules! server {
    ($row:ident) => {
        rules! { $row:
            keys {
                a_server_has_hashes_for_keys_and_what_is_not_ours_is_left_alone
                an_entry_of_another_key_is_not_served
            }
            limits {
                a_server_keeps_a_record_for_as_long_as_it_is_of_use
                who_compresses_and_who_does_not_read_each_others
            }
            other {
                what_another_process_stored_is_served_until_it_is_invalidated_here
                what_another_process_stores_after_an_invalidation_here_counts_as_older
            }
            behind { a_store_that_is_dropped_leaves_neither_task_nor_connection }
        }
    };
}

/// Each store with what it is, which says what rules it has: another one is another line.
macro_rules! stores {
    ($($name:ident $row:ident $($set:ident)? = $start:expr => $($kind:ident)+;)+) => {
        $(
            static $row: Row = Row::new(stringify!($name), || $start)$(.$set())?;

            mod $name {
                $($kind!($row);)+
            }
        )+

        static ROWS: &[&Row] = &[$(&$row),+];
    };
}

stores! {
    memory MEMORY = Arc::new(InMemory) => any hand;
    tiered TIERED = Arc::new(Ours::Tiered(Map::default())) => any shared hand near tiers;
    guarded GUARDED near_off = Arc::new(Ours::Guarded(Map::default())) => any shared far;
    tiered_over_guarded TIERED_OVER_GUARDED = Arc::new(Ours::TieredOverGuarded(Map::default())) => any shared hand near tiers;
    redis REDIS = Arc::new(Redis::start()) => any shared hand near tiers server;
    redis_near_off REDIS_NEAR_OFF near_off = Arc::new(Redis::start()) => any shared far tiers server;
    redis_by_unix_socket REDIS_BY_UNIX_SOCKET = Arc::new(Redis::unix()) => any shared hand near tiers server;
    redis_cluster REDIS_CLUSTER = Arc::new(Cluster::start(3)) => any shared hand near tiers server;
    memcached MEMCACHED = Memcacheds::start(1) => any shared hand near tiers server bounded;
    memcached_of_three MEMCACHED_OF_THREE = Memcacheds::start(3) => any shared hand near tiers server bounded;
    memcached_near_off MEMCACHED_NEAR_OFF near_off = Memcacheds::start(1) => any shared far tiers server bounded;
}
