//! Time goes on in a store, and from process to process: on all stores at once, as it takes its time.

use std::{panic, thread, time::Duration};

use seawall::store::{Key, Store};
use tokio::{runtime::Builder, time::sleep};

use crate::{
    ROWS,
    contents::body,
    place::{Origin, Row, eventually},
    records::{record, record_with},
    support::{Calls, answer, answer_status, boxed, get, origin},
};

/// Runs `rule` on every store that `wanted` says yes to, each in a thread of its own.
fn on_all(wanted: fn(&Row) -> bool, rule: impl AsyncFn(&Row) + Copy + Send + Sync) {
    thread::scope(|scope| {
        let rows: Vec<_> = ROWS.iter().filter(|row| wanted(row)).collect();
        let runs = rows.into_iter().map(|row| {
            let run = move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(rule(row));
            };
            (row.name, scope.spawn(run))
        });
        let failed = runs.collect::<Vec<_>>().into_iter();
        let failed = failed.filter_map(|(name, run)| run.join().err().map(|panic| (name, panic)));
        if let Some((name, panic)) = failed.last() {
            eprintln!("this was {name}");
            panic::resume_unwind(panic);
        }
    });
}

/// Validates what it made, and counts that too.
fn validating(control: &'static str, age: &'static str) -> (Calls, Origin) {
    origin(move |call, request| async move {
        let fields = [("cache-control", control), ("etag", "\"v\"")];
        let response = match request.headers().get("if-none-match") {
            Some(_) => answer_status(304, &fields, ""),
            None => {
                let aged = [("cache-control", control), ("etag", "\"v\""), ("age", age)];
                answer(&aged, call.to_string())
            }
        };
        Ok(response.map(boxed))
    })
}

fn age(read: &crate::support::Read) -> u64 {
    read.field("age").unwrap().parse().unwrap()
}

#[test]
fn age_goes_on_counting_from_process_to_process() {
    on_all(Row::is_shared, async |row| {
        let place = row.shared().await;
        let (calls, origin) = validating("max-age=1000", "100");
        let first = place.process(&origin).await;
        first.ask(get("/")).await;
        let second = place.process(&origin).await;
        assert!((100..103).contains(&age(&second.ask(get("/")).await)));
        sleep(Duration::from_millis(1_100)).await;
        let third = place.process(&origin).await;
        for process in [first, second, third] {
            let read = process.ask(get("/")).await;
            assert_eq!(read.cache_status(), "hit");
            assert!((101..110).contains(&age(&read)), "{}", age(&read));
        }
        assert_eq!(calls.count(), 1);
    });
}

#[test]
fn what_expires_is_stale_for_those_who_have_it_near_and_for_those_who_find_it_far() {
    on_all(Row::is_shared, async |row| {
        let place = row.shared().await;
        let (calls, origin) = validating("max-age=60", "58");
        let first = place.process(&origin).await;
        first.ask(get("/")).await;
        // Whoever finds it has it near from then on, with what is left of its lifetime.
        let second = place.process(&origin).await;
        assert_eq!(second.ask(get("/")).await.cache_status(), "hit");
        sleep(Duration::from_millis(2_100)).await;
        let third = place.process(&origin).await;
        for process in [&second, &third] {
            let read = process.ask(get("/")).await;
            let said = read.cache_status().to_owned();
            // Who looks far once it was validated finds what came of that.
            let is_known = calls.count() == 2 && said == "hit";
            assert!(said.contains("fwd-status=304") || is_known, "{said}");
            assert_eq!(read.text(), "0");
            place.settled().await;
        }
        assert_eq!(calls.count(), 2);
        let says = row.near_is("fwd=stale; fwd-status=304", "hit");
        assert!(first.ask(get("/")).await.cache_status().starts_with(says));
    });
}

#[test]
fn what_is_of_no_use_any_more_is_not_stored_and_what_was_there_is_gone() {
    on_all(Row::is_shared, async |row| {
        let place = row.shared().await;
        let store = place.open().await;
        let key = Key::from(&b"key"[..]);
        let useless =
            record_with("max-age=1", "useless", |layer| layer.keep_stale(Duration::ZERO)).await;
        eventually("it is of no use", || useless.time_to_live().is_zero()).await;
        store.put(key.clone(), record("before").await).await.unwrap();
        place.settled().await;
        store.put(key.clone(), useless).await.unwrap();
        place.settled().await;
        let next = place.open().await;
        assert_eq!(body(next.get(&key).await.unwrap()), None);
    });
}

#[test]
fn a_server_forgets_what_is_of_no_use_any_more() {
    on_all(Row::is_on_a_server, async |row| {
        let place = row.shared().await;
        let store = place.open().await;
        let key = Key::from(&b"key"[..]);
        let brief =
            record_with("max-age=1", "brief", |layer| layer.keep_stale(Duration::ZERO)).await;
        store.put(key.clone(), brief).await.unwrap();
        let wire = place.wire(&key);
        eventually("it is there", || place.shelf().value(&wire).is_some()).await;
        eventually("it is gone", || place.shelf().value(&wire).is_none()).await;
    });
}
