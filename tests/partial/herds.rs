//! Many at once: one call for a range, and nobody gets what another asked for.

use std::collections::HashSet;

use tokio::time::sleep;

use crate::{
    origin::{DIGITS, SECOND, V2, World, assert_whole, part, ranged, scripted, settled},
    support::{asked, at_once, get, with},
};

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_one_range_are_one_call() {
    let mut world = World::new();
    let answers = at_once(&world.service, (0..1_000).map(|_| ranged("2-5"))).await;
    let mut stored = 0;
    for read in answers {
        let read = read.unwrap();
        assert_eq!(part(&read), (206, Some("bytes 2-5/10"), "2345"));
        match read.cache_status() {
            "fwd=uri-miss; fwd-status=206; stored" => stored += 1,
            status => assert_eq!(status, "fwd=uri-miss; fwd-status=206; collapsed"),
        }
    }
    assert_eq!((world.calls(), stored), (1, 1));
    settled().await;
    assert!(world.holds("2-5").await);
}

#[tokio::test(start_paused = true)]
async fn callers_of_two_ranges_and_of_the_whole_are_three_calls_and_each_gets_its_own() {
    let world = World::new();
    let requests = (0..999).map(|number| match number % 3 {
        0 => ranged("2-5"),
        1 => ranged("4-8"),
        _ => get("/"),
    });
    for (number, read) in at_once(&world.service, requests).await.into_iter().enumerate() {
        let read = read.unwrap();
        match number % 3 {
            0 => assert_eq!(part(&read), (206, Some("bytes 2-5/10"), "2345")),
            1 => assert_eq!(part(&read), (206, Some("bytes 4-8/10"), "45678")),
            _ => assert_whole(&read, DIGITS),
        }
    }
    assert_eq!(world.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn ranges_that_come_at_the_same_time_are_never_mixed() {
    let mut world = World::new();
    let requests = ["0-1", "6-7", "2-3", "8-9", "4-5"].map(ranged);
    for read in at_once(&world.service, requests).await {
        assert_eq!(read.unwrap().text().len(), 2);
    }
    settled().await;
    assert_eq!(world.calls(), 5);
    // Whatever order they came in, none was mixed with another.
    for read in at_once(&world.service, ["0-1", "8-9", "4-5", "3-4"].map(ranged)).await {
        let read = read.unwrap();
        let first: usize = read.text()[..1].parse().unwrap();
        assert_eq!(read.text(), &DIGITS[first..first + 2]);
    }
    world.get().await;
    assert!(world.holds_all().await);
}

#[tokio::test(start_paused = true)]
async fn who_asks_on_another_condition_has_a_flight_of_its_own() {
    let world = World::new();
    let requests = [
        ranged("2-5"),
        with(ranged("2-5"), "if-range", "\"v1\""),
        with(ranged("2-5"), "if-range", "\"v0\""),
        with(ranged("2-5"), "if-range", "\"v0\""),
        ranged("2-"),
    ];
    let answers: Vec<_> = at_once(&world.service, requests).await;
    let bodies: Vec<_> = answers.iter().map(|read| read.as_ref().unwrap().text()).collect();
    assert_eq!(bodies, ["2345", "2345", DIGITS, DIGITS, "23456789"]);
    assert_eq!(world.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_range_that_is_answered_with_the_whole_are_cut_their_own() {
    let world = World::new();
    world.origin.next(Ok(scripted(200, &[V2], "abcdefghij")));
    for read in at_once(&world.service, (0..10).map(|_| ranged("2-5"))).await {
        assert_eq!(part(&read.unwrap()), (206, Some("bytes 2-5/10"), "cdef"));
    }
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_range_that_finds_a_whole_stored_meanwhile_is_cut_from_it() {
    let mut world = World::new();
    let whole = asked(&world.service, get("/"));
    sleep(SECOND / 2).await;
    let ranges = at_once(&world.service, (0..10).map(|_| ranged("2-5"))).await;
    for read in ranges {
        assert_eq!(part(&read.unwrap()), (206, Some("bytes 2-5/10"), "2345"));
    }
    assert_whole(&whole.await.unwrap().unwrap(), DIGITS);
    assert_eq!(world.calls(), 2);
    assert!(world.holds_all().await);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_whole_that_is_completed_are_two_calls_in_all() {
    let mut world = World::new();
    world.range("0-3").await;
    let requests = (0..1_000).map(|number| if number % 2 == 0 { get("/") } else { ranged("1-2") });
    for (number, read) in at_once(&world.service, requests).await.into_iter().enumerate() {
        let read = read.unwrap();
        match number % 2 {
            0 => assert_whole(&read, DIGITS),
            _ => assert_eq!(
                (part(&read), read.cache_status()),
                ((206, Some("bytes 1-2/10"), "12"), "hit")
            ),
        }
    }
    assert_eq!(world.calls(), 2);
}

/// RFC 9111 §3.5.
#[tokio::test(start_paused = true)]
async fn what_was_cut_for_one_with_credentials_is_that_ones_alone() {
    for (control, calls) in
        [("max-age=600", 11), ("private, max-age=600", 11), ("public, max-age=600", 1)]
    {
        let world = World::new();
        world.origin.says(&[("cache-control", control), ("etag", "\"v1\"")]);
        let ask = |number: u32| with(ranged("2-5"), "authorization", &format!("Bearer {number}"));
        let requests = (0..10).map(ask).chain([ranged("2-5")]);
        for read in at_once(&world.service, requests).await {
            assert_eq!(part(&read.unwrap()), (206, Some("bytes 2-5/10"), "2345"));
        }
        let asked = world.origin.state().asked.clone();
        assert_eq!(asked.len(), calls, "{control}");
        let all: HashSet<_> =
            asked.iter().map(|one| one.field("authorization").map(str::to_owned)).collect();
        assert_eq!(all.len(), calls, "each asked for itself: {control}");
    }
}
