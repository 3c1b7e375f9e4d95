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

#[path = "stores/contents.rs"]
mod contents;
#[path = "stores/invalidated.rs"]
mod invalidated;
#[path = "stores/keys.rs"]
mod keys;
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

/// Of one that is on a server, which has clients of its own.
macro_rules! server {
    ($row:ident) => {
        rules! { $row:
            keys {
                a_server_has_hashes_for_keys_and_what_is_not_ours_is_left_alone
                an_entry_of_another_key_is_not_served
            }
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
    memory MEMORY = Arc::new(InMemory) => any;
    tiered TIERED = Arc::new(Ours::Tiered(Map::default())) => any shared;
    guarded GUARDED near_off = Arc::new(Ours::Guarded(Map::default())) => any shared;
    tiered_over_guarded TIERED_OVER_GUARDED = Arc::new(Ours::TieredOverGuarded(Map::default())) => any shared;
    redis REDIS = Arc::new(Redis::start()) => any shared server;
    redis_near_off REDIS_NEAR_OFF near_off = Arc::new(Redis::start()) => any shared server;
    redis_by_unix_socket REDIS_BY_UNIX_SOCKET = Arc::new(Redis::unix()) => any shared server;
    redis_cluster REDIS_CLUSTER = Arc::new(Cluster::start(3)) => any shared server;
    memcached MEMCACHED = Memcacheds::start(1) => any shared server;
    memcached_of_three MEMCACHED_OF_THREE = Memcacheds::start(3) => any shared server;
    memcached_near_off MEMCACHED_NEAR_OFF near_off = Memcacheds::start(1) => any shared server;
}
