//! Exhaustive models of flights and recordings: every interleaving of a few callers.
//!
//! Run with `RUSTFLAGS="--cfg seawall_loom" cargo test --lib --release models`. Each model has a
//! mutant, the same model with one guard removed, that must fail.

use std::sync::{Arc, OnceLock};

use loom::{future::block_on, thread};
use tokio::time::{Duration, Instant};

use super::{
    budget::{Budget, Budgets},
    flights::{Flights, Join, Joined, Lead},
    recording::{Answer, End, Open, Read, Reader},
};
use crate::{
    error::SharedError,
    journal::{Fence, Journal},
    observe::Listener,
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering, guarded, holds_only_with, lock},
};

type Table = Arc<Flights<u8, u8>>;

const STALLED: Duration = Duration::from_secs(10);
const KEY: u8 = 7;

fn table(orphans: usize) -> (Table, Arc<Budgets>) {
    let budgets = Arc::new(Budgets {
        fill: Budget::new(1024),
        orphans: Budget::new(orphans),
        refreshes: Budget::new(1),
        followers: Budget::new(16),
        followers_a_flight: 16,
        listener: Listener::default(),
    });
    (Flights::new(16, STALLED, Arc::clone(&budgets)), budgets)
}

fn lead(table: &Table, now: Instant) -> (Lead<u8, u8>, Reader<u8>) {
    match table.join(&KEY, Join::default(), now) {
        Joined::Leader(lead, reader) => (lead, reader),
        other => panic!("nobody else is there: {other:?}"),
    }
}

fn head(reader: &mut Reader<u8>) -> Answer<u8> {
    block_on(std::future::poll_fn(|cx| reader.poll_head(cx)))
}

fn read(reader: &mut Reader<u8>) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match block_on(std::future::poll_fn(|cx| reader.poll_read(cx))) {
            Read::Data(data) => all.extend_from_slice(&data),
            Read::End => return all,
            other => panic!("the body is complete: {other:?}"),
        }
    }
}

#[test]
fn models_a_leader_that_is_dropped_answers_whoever_joined_and_frees_the_key() {
    holds_only_with("a dropped leader answers", || {
        let (table, _) = table(1);
        let now = Instant::now();
        let (lead, reader) = lead(&table, now);
        let other = Arc::clone(&table);
        let caller = thread::spawn(move || match other.join(&KEY, Join::default(), now) {
            Joined::Follower(mut reader) => {
                assert!(matches!(head(&mut reader), Answer::Failed(_)));
            }
            Joined::Leader(lead, _) => lead.end(End::Failed(SharedError::new("own".into()))),
            _ => panic!("there is room"),
        });
        drop(lead);
        drop(reader);
        caller.join().unwrap();
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn models_whoever_waits_is_woken_by_the_end() {
    holds_only_with("an end wakes those who wait", || {
        let (table, _) = table(1);
        let now = Instant::now();
        let (lead, mut leader) = lead(&table, now);
        let Joined::Follower(mut follower) = table.join(&KEY, Join::default(), now) else {
            panic!("a leader is there")
        };
        let waiting = thread::spawn(move || match head(&mut follower) {
            Answer::Head(head) => (head, read(&mut follower)),
            other => panic!("it is complete: {other:?}"),
        });
        lead.recording().head(1, Open::AtEnd, now);
        assert!(lead.recording().push(&bytes::Bytes::from_static(b"ab"), now));
        lead.complete(None);
        lead.leave(true);
        assert!(matches!(head(&mut leader), Answer::Head(1)));
        assert_eq!(read(&mut leader), b"ab");
        assert_eq!(waiting.join().unwrap(), (1, b"ab".to_vec()));
    });
}

#[test]
fn models_a_flight_that_was_overtaken_does_not_take_the_newer_one_with_it() {
    holds_only_with("only the own flight is removed", || {
        let (table, _) = table(4);
        let began = Instant::now();
        let (old, _reader) = lead(&table, began);
        let later = began + STALLED;
        let (new, _other) = lead(&table, later);
        let leaving = thread::spawn(move || old.end(End::Aside));
        // Whoever comes now finds the newer flight, whether or not the older one is gone.
        assert!(matches!(table.join(&KEY, Join::default(), later), Joined::Follower(_)));
        leaving.join().unwrap();
        assert!(matches!(table.join(&KEY, Join::default(), later), Joined::Follower(_)));
        assert!(new.may_store());
        new.end(End::Aside);
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn models_orphans_are_counted_out_and_in_again() {
    holds_only_with("orphans are bounded", || {
        let (table, budgets) = table(1);
        let now = Instant::now();
        let (lead, reader) = lead(&table, now);
        let other = Arc::clone(&table);
        let newcomer = thread::spawn(move || match other.join(&KEY, Join::default(), now) {
            Joined::Follower(mut reader) => match head(&mut reader) {
                Answer::Head(head) => head,
                other => panic!("the fetch goes on: {other:?}"),
            },
            Joined::Leader(lead, mut reader) => {
                lead.answer(2);
                match head(&mut reader) {
                    Answer::Head(head) => head,
                    other => panic!("it has been answered: {other:?}"),
                }
            }
            _ => panic!("there is room"),
        });
        drop(reader);
        lead.answer(1);
        assert!([1, 2].contains(&newcomer.join().unwrap()));
        assert_eq!(budgets.orphans.used(), 0);
        assert_eq!(budgets.followers.used(), 0);
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn models_a_fetch_without_a_budget_is_cancelled_and_the_next_caller_begins_anew() {
    holds_only_with("what was given up is not joined", || {
        let (table, budgets) = table(0);
        let now = Instant::now();
        let (lead, reader) = lead(&table, now);
        let other = Arc::clone(&table);
        let newcomer = thread::spawn(move || match other.join(&KEY, Join::default(), now) {
            // It came before the last reader left, or after the fetch had been given up.
            Joined::Follower(mut reader) => assert!(matches!(head(&mut reader), Answer::Head(1))),
            Joined::Leader(lead, _reader) => lead.answer(2),
            _ => panic!("there is room"),
        });
        drop(reader);
        lead.answer(1);
        newcomer.join().unwrap();
        assert_eq!(budgets.orphans.used(), 0);
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn models_a_hand_over_cuts_nobody_short_who_reads_along() {
    holds_only_with("a hand-over cuts nobody short", || {
        let (table, _) = table(1);
        let now = Instant::now();
        let (lead, leader) = lead(&table, now);
        let Joined::Follower(mut follower) = table.join(&KEY, Join::default(), now) else {
            panic!("a leader is there")
        };
        lead.recording().head(1, Open::AtHead, now);
        assert!(lead.recording().push(&bytes::Bytes::from_static(b"ab"), now));
        let reading = thread::spawn(move || match head(&mut follower) {
            // It reads along: all of it must come.
            Answer::Head(_) => assert_eq!(read(&mut follower), b"ab"),
            // It came too late, and has seen nothing.
            Answer::Aside => {}
            other => panic!("nothing failed: {other:?}"),
        });
        if !lead.recording().hand_over() {
            lead.complete(None);
        }
        lead.leave(true);
        reading.join().unwrap();
        drop(leader);
    });
}

/// A caller as the engine is one: looks, joins, looks once more, fetches, stores, leaves.
fn caller(table: &Table, store: &Mutex<Option<u8>>, calls: &AtomicUsize, now: Instant) -> u8 {
    if let Some(stored) = *lock(store) {
        return stored;
    }
    match table.join(&KEY, Join::default(), now) {
        Joined::Follower(mut reader) => match head(&mut reader) {
            Answer::Head(head) => head,
            other => panic!("nothing failed: {other:?}"),
        },
        Joined::Leader(lead, _reader) => {
            let stored = *lock(store);
            if let Some(stored) = stored.filter(|_| guarded("the leader looks once more")) {
                lead.answer(stored);
                return stored;
            }
            calls.fetch_add(1, Ordering::SeqCst);
            lead.recording().head(1, Open::AtHead, now);
            lead.complete(None);
            if guarded("the flight leaves once storage answers") {
                *lock(store) = Some(1);
                lead.leave(true);
            } else {
                lead.leave(true);
                *lock(store) = Some(1);
            }
            1
        }
        _ => panic!("there is room"),
    }
}

fn one_call() {
    let (table, _) = table(4);
    let now = Instant::now();
    let shared = Arc::new((Mutex::new(None), AtomicUsize::new(0)));
    let (other, both) = (Arc::clone(&table), Arc::clone(&shared));
    let second = thread::spawn(move || caller(&other, &both.0, &both.1, now));
    assert_eq!(caller(&table, &shared.0, &shared.1, now), 1);
    assert_eq!(second.join().expect("no panic"), 1);
    assert_eq!(shared.1.load(Ordering::SeqCst), 1);
    assert_eq!(table.len(), 0);
}

#[test]
fn models_a_caller_between_look_up_and_join_does_not_fetch_again() {
    holds_only_with("the leader looks once more", one_call);
}

#[test]
fn models_a_caller_between_the_end_and_the_store_does_not_fetch_again() {
    holds_only_with("the flight leaves once storage answers", one_call);
}

/// What is at the origin, what is stored of it, and the last that was invalidated of it.
struct World {
    content: Mutex<u8>,
    store: Mutex<Option<(Fence, u8)>>,
    last: Mutex<Fence>,
}

impl World {
    /// The content changes, and what is known of it is invalidated.
    ///
    /// The number of an invalidation is std's and not loom's: other threads come before it and
    /// after it, where the locks are.
    fn change(&self) {
        static JOURNAL: OnceLock<Journal> = OnceLock::new();
        *lock(&self.content) = 1;
        // Its slots are those of the first execution, and none is named.
        JOURNAL.get_or_init(|| Journal::new(1)).record(&[], true);
        *lock(&self.last) = Fence::now();
    }

    /// A caller as the engine is one, with what it checks: looks, joins, fetches, stores, leaves.
    fn ask(&self, table: &Table, now: Instant) -> u8 {
        let dead = *lock(&self.last);
        let stored = *lock(&self.store);
        if let Some((_, stored)) = stored.filter(|(fence, _)| *fence >= dead) {
            return stored;
        }
        match table.join(&KEY, Join { dead, ..Join::default() }, now) {
            Joined::Follower(mut reader) => match head(&mut reader) {
                Answer::Head(head) => head,
                other => panic!("nothing failed: {other:?}"),
            },
            Joined::Leader(lead, _reader) => {
                let before = lead.recording().fence();
                let found = *lock(&self.content);
                lead.recording().head(found, Open::AtHead, now);
                lead.complete(None);
                let noted_first = guarded("the fence is noted before the fetch");
                let fence = if noted_first { before } else { Fence::now() };
                if lead.may_store() {
                    *lock(&self.store) = Some((fence, found));
                }
                lead.leave(true);
                found
            }
            _ => panic!("there is room"),
        }
    }
}

/// One caller comes at any time, and another after the content was changed and invalidated.
fn nothing_from_before() {
    let (table, _) = table(4);
    let now = Instant::now();
    let last = Mutex::new(Fence::default());
    let world = World { content: Mutex::new(0), store: Mutex::new(None), last };
    let world = Arc::new(world);
    let (other, whole) = (Arc::clone(&table), Arc::clone(&world));
    let at_any_time = thread::spawn(move || whole.ask(&other, now));
    world.change();
    assert_eq!(world.ask(&table, now), 1);
    at_any_time.join().expect("no panic");
    assert_eq!(table.len(), 0);
}

/// Held by what compares fences: a process has one journal, and an execution is replayed.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn models_who_comes_after_an_invalidation_joins_no_flight_from_before_it() {
    let _alone = ALONE.lock();
    holds_only_with("a dead flight is replaced", nothing_from_before);
}

#[test]
fn models_what_a_fetch_from_before_an_invalidation_stores_after_it_is_dead() {
    let _alone = ALONE.lock();
    holds_only_with("the fence is noted before the fetch", nothing_from_before);
}
