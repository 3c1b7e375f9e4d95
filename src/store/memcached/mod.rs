//! Entries in Memcached.
