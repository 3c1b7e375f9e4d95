//! What another process has stored: one that is one, with a journal, a clock and seeds of its own.

use std::{env, process::Command, thread, time::Duration};

use seawall::Invalidation;
use tokio::runtime::Builder;

use crate::{
    place::{Origin, Place, Row},
    shelf::{Settings, opened},
    support::{Calls, answer, answer_status, boxed, get, origin},
};

const PATHS: [&str; 4] = ["/hard", "/soft", "/uri", "/left"];

/// Answers that are tagged with their path, and say who fetched them.
fn tagged(who: &'static str) -> (Calls, Origin) {
    origin(move |_, request| async move {
        let path = request.uri().path().to_owned();
        let fields = [("cache-control", "max-age=600"), ("cache-tag", &*path), ("etag", "\"v\"")];
        Ok(match request.headers().contains_key("if-none-match") {
            true => answer_status(304, &fields, ""),
            false => answer(&fields, who),
        }
        .map(boxed))
    })
}

/// What is run in the other process: it stores what is at all of the paths.
#[test]
#[ignore = "it is no test, but the process that another test starts"]
fn another_process() {
    let (address, namespace) = (env::var("ADDRESS").unwrap(), env::var("NAMESPACE").unwrap());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = Settings::of(namespace);
        let place = Place::nowhere(settings.clone());
        let process = place.process_at(opened(&address, &settings), &tagged("theirs").1).await;
        for path in PATHS {
            process.ask(get(path)).await;
        }
        place.settled().await;
    });
}

async fn another_process_stores_it(place: &Place) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "other::another_process", "--ignored"]);
    command.env("ADDRESS", place.shelf().address());
    command.env("NAMESPACE", &*place.settings.namespace);
    let run = thread::spawn(move || command.output().unwrap());
    while !run.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let output = run.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

pub(crate) async fn what_another_process_stored_is_served_until_it_is_invalidated_here(row: &Row) {
    let place = row.shared().await;
    let (calls, origin) = tagged("ours");
    another_process_stores_it(&place).await;
    let process = place.process(&origin).await;
    for path in PATHS {
        let read = process.ask(get(path)).await;
        assert_eq!((read.text(), read.cache_status()), ("theirs", "hit"), "{path}");
        assert_eq!(read.field("cache-tag"), Some(path));
    }
    assert_eq!(calls.count(), 0);
    let invalidator = process.cache.invalidator();
    invalidator.invalidate(&Invalidation::tag("/hard")).await;
    invalidator.invalidate(&Invalidation::tag("/soft").soft()).await;
    let uri = "http://example.com/uri".parse().unwrap();
    invalidator.invalidate(&Invalidation::uri(&uri).unwrap()).await;
    for (path, text, status) in [
        ("/hard", "ours", Some("fwd-status=200")),
        ("/soft", "theirs", Some("fwd-status=304")),
        ("/uri", "ours", Some("fwd-status=200")),
        ("/left", "theirs", None),
    ] {
        let read = process.ask(get(path)).await;
        let said = read.cache_status();
        assert_eq!(read.text(), text, "{path}");
        assert!(status.map_or(said == "hit", |status| said.contains(status)), "{path}: {said}");
        place.settled().await;
        assert_eq!(process.ask(get(path)).await.cache_status(), "hit", "{path}");
    }
    assert_eq!(calls.count(), 3);
}

pub(crate) async fn what_another_process_stores_after_an_invalidation_here_counts_as_older(
    row: &Row,
) {
    let place = row.shared().await;
    let (calls, origin) = tagged("ours");
    let process = place.process(&origin).await;
    process.cache.invalidator().invalidate(&Invalidation::tag("/hard")).await;
    another_process_stores_it(&place).await;
    // Which of the two came first is not known here.
    assert_eq!(process.ask(get("/hard")).await.text(), "ours");
    assert_eq!(process.ask(get("/left")).await.text(), "theirs");
    place.settled().await;
    let read = process.ask(get("/hard")).await;
    assert_eq!((read.text(), read.cache_status()), ("ours", "hit"));
    assert_eq!(calls.count(), 1);
}
