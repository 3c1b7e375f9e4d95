//! What forbids to give an answer stale, against every way in which one is.

use seawall::{CacheLayer, Profile, Reason, Rejected, cache::CacheService};
use tokio::time::{advance, sleep};
use tower::Layer;

use crate::{
    Mood, Moody, assert_nothing_is_left, millis, seconds,
    support::{BoxedOrigin, Read, asked, cache, call, get, with},
};

/// An answer that says so, and whether it may be given stale.
struct Row {
    control: &'static str,
    /// In the safe profile.
    safe: bool,
    /// In that of a reverse proxy.
    reverse_proxy: bool,
    /// It names a time for that itself, in which the case is.
    names: Names,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Names {
    Nothing,
    WhileRevalidate,
    IfError,
}

const fn row(control: &'static str, safe: bool, reverse_proxy: bool, names: Names) -> Row {
    Row { control, safe, reverse_proxy, names }
}

use Names::{IfError, Nothing, WhileRevalidate};

const ROWS: [Row; 18] = [
    row("max-age=10", true, true, Nothing),
    row("public, max-age=10", true, true, Nothing),
    row("max-age=10, stale-while-revalidate=60", true, true, WhileRevalidate),
    row("max-age=10, stale-if-error=60", true, true, IfError),
    row("max-age=10, must-revalidate", false, false, Nothing),
    row("max-age=10, proxy-revalidate", false, false, Nothing),
    row("max-age=10, no-cache", false, false, Nothing),
    row("max-age=10, must-revalidate, stale-while-revalidate=60", false, false, WhileRevalidate),
    row("max-age=10, proxy-revalidate, stale-while-revalidate=60", false, false, WhileRevalidate),
    row("max-age=10, no-cache, stale-if-error=60", false, false, IfError),
    row("max-age=10, must-revalidate, stale-if-error=60", false, false, IfError),
    row("s-maxage=10", false, false, Nothing),
    row("s-maxage=10, max-age=600", false, false, Nothing),
    row("s-maxage=10, stale-while-revalidate=60", true, false, WhileRevalidate),
    row("s-maxage=10, stale-if-error=60", true, false, IfError),
    row("s-maxage=10, must-revalidate, stale-if-error=60", false, false, IfError),
    row("private, max-age=10, stale-if-error=60", false, false, IfError),
    row("no-store, max-age=10, stale-while-revalidate=60", false, false, WhileRevalidate),
];

/// A way to a stale answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    WhileRevalidating,
    SoftTimeout,
    AfterError(u16),
    Unreachable,
    BackedOff(Mood),
    FollowersPatience,
    /// The caller itself takes it so.
    MaxStale,
}

const WAYS: [Way; 9] = [
    Way::WhileRevalidating,
    Way::SoftTimeout,
    Way::AfterError(500),
    Way::AfterError(504),
    Way::Unreachable,
    Way::BackedOff(Mood::Answering(503)),
    Way::BackedOff(Mood::Unreachable),
    Way::FollowersPatience,
    Way::MaxStale,
];

impl Way {
    /// A layer whose windows open this way, or one that has none.
    fn layer(self, profile: Profile, windows: bool) -> CacheLayer {
        let layer = CacheLayer::new(cache()).policy(profile).keep_stale(seconds(1_000));
        let layer = match self {
            Self::SoftTimeout => layer.soft_timeout(millis(100)),
            _ => layer,
        };
        match self {
            _ if !windows => layer,
            Self::WhileRevalidating => layer.stale_while_revalidate(seconds(60)),
            Self::MaxStale => layer,
            _ => layer.stale_if_error(seconds(60)),
        }
    }

    /// Whether what is stored is given stale on this way.
    async fn leads(self, origin: &Moody, service: &mut CacheService<BoxedOrigin>) -> bool {
        match self {
            Self::WhileRevalidating => is_stale(&call(service, get("/")).await.unwrap()),
            Self::MaxStale => {
                let request = with(get("/"), "cache-control", "max-stale=100");
                is_stale(&call(service, request).await.unwrap())
            }
            Self::SoftTimeout => {
                origin.is(Mood::Slow(seconds(4)));
                let caller = asked(service, get("/"));
                sleep(millis(200)).await;
                let early = caller.is_finished();
                let stale = is_stale(&caller.await.unwrap().unwrap());
                assert_eq!(early, stale, "{self:?}");
                stale
            }
            Self::FollowersPatience => {
                origin.is(Mood::Slow(seconds(9)));
                let leader = asked(service, get("/"));
                sleep(millis(1)).await;
                let follower = asked(service, get("/"));
                sleep(seconds(6)).await;
                let early = follower.is_finished();
                let stale = is_stale(&follower.await.unwrap().unwrap());
                assert_eq!(early, stale, "{self:?}");
                leader.await.unwrap().unwrap();
                stale
            }
            Self::AfterError(status) => {
                origin.is(Mood::Answering(status));
                let read = call(service, get("/")).await.unwrap();
                let failed = read.status() == status;
                let stale = is_stale(&read);
                assert_ne!(stale, failed, "{self:?}");
                stale
            }
            Self::Unreachable => {
                origin.is(Mood::Unreachable);
                call(service, get("/")).await.is_ok_and(|read| is_stale(&read))
            }
            Self::BackedOff(mood) => {
                origin.is(mood);
                let _ = call(service, get("/")).await;
                sleep(millis(1)).await;
                let before = origin.calls.count();
                let again = call(service, get("/")).await;
                let kept_away = origin.calls.count() == before;
                match again {
                    Ok(read) if read.status() == 200 => is_stale(&read) && kept_away,
                    Ok(_) => false,
                    Err(error) => {
                        let reason = Rejected::find(&*error).map(Rejected::reason);
                        assert_eq!(reason == Some(Reason::Failing), kept_away, "{self:?}: {error}");
                        false
                    }
                }
            }
        }
    }
}

fn is_stale(read: &Read) -> bool {
    let age: u64 = read.field("age").unwrap_or("0").parse().unwrap();
    // What is validated is of age zero again.
    assert_eq!(age >= 10, read.text() == "answer 0" && age > 0, "{read:?}");
    age >= 10
}

/// Whether this row is given stale on this way, in the nth second after it was fresh.
async fn given(row: &Row, way: Way, profile: Profile, windows: bool, nth: u64) -> bool {
    let origin = Moody::says(&[("cache-control", row.control), ("etag", "\"a\"")]);
    let mut service = way.layer(profile, windows).layer(origin.service.clone());
    call(&mut service, get("/")).await.unwrap();
    advance(seconds(10 + nth) - millis(500)).await;
    way.leads(&origin, &mut service).await
}

fn profiles(row: &Row) -> [(&'static str, Profile, bool); 2] {
    [
        ("safe", Profile::safe(), row.safe),
        ("reverse proxy", Profile::reverse_proxy(), row.reverse_proxy),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_forbids_stale_forbids_it_on_every_way_and_whatever_the_layer_says() {
    for row in &ROWS {
        for way in WAYS {
            for (name, profile, expected) in profiles(row) {
                let given = given(row, way, profile, true, 5).await;
                assert_eq!(given, expected, "{}: {way:?}, {name}", row.control);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_window_is_open_only_a_reverse_proxy_gives_stale_and_only_for_want_of_an_answer() {
    for row in &ROWS {
        for way in WAYS {
            // An answer's own window while it is revalidated is one for everything else, too.
            let own = match way {
                Way::MaxStale => true,
                Way::WhileRevalidating => row.names == WhileRevalidate,
                _ => row.names != Nothing,
            };
            let unanswered = match way {
                Way::Unreachable | Way::BackedOff(Mood::Unreachable) => true,
                Way::SoftTimeout | Way::FollowersPatience => true,
                Way::WhileRevalidating | Way::AfterError(_) | Way::BackedOff(_) => false,
                Way::MaxStale => false,
            };
            for (name, profile, may) in profiles(row) {
                let given = given(row, way, profile, false, 5).await;
                let expected = may && (own || unanswered && name == "reverse proxy");
                assert_eq!(given, expected, "{}: {way:?}, {name}", row.control);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_cannot_be_reached_leaves_a_reverse_proxy_all_that_it_keeps() {
    let ways = [Way::Unreachable, Way::BackedOff(Mood::Unreachable)];
    for way in ways {
        // Kept for 1,000 s; `stale-if-error` of the layer is 60 s.
        for (stale_for, safe, reverse_proxy) in
            [(60, true, true), (61, false, true), (1_000, false, true), (1_001, false, false)]
        {
            let row = row("max-age=10", safe, reverse_proxy, Nothing);
            for (name, profile, expected) in profiles(&row) {
                let given = given(&row, way, profile, true, stale_for).await;
                assert_eq!(given, expected, "{way:?} after {stale_for} s, {name}");
            }
        }
    }
    for (stale_for, expected) in [(60, true), (61, false)] {
        let row = row("max-age=10", expected, expected, Nothing);
        let way = Way::AfterError(503);
        for (name, profile, expected) in profiles(&row) {
            let given = given(&row, way, profile, true, stale_for).await;
            assert_eq!(given, expected, "{way:?} after {stale_for} s, {name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_to_be_given_only_within_its_own_shorter_time_is_not_given_after_it() {
    for (control, way) in [
        ("max-age=10, stale-if-error=3", Way::AfterError(503)),
        ("max-age=10, stale-if-error=3", Way::BackedOff(Mood::Answering(503))),
        ("max-age=10, stale-while-revalidate=3", Way::WhileRevalidating),
        ("s-maxage=10, stale-if-error=3", Way::Unreachable),
        ("s-maxage=10, stale-while-revalidate=3", Way::WhileRevalidating),
    ] {
        let row = row(control, true, true, IfError);
        assert!(given(&row, way, Profile::safe(), true, 3).await, "{control}: {way:?}");
        assert!(!given(&row, way, Profile::safe(), true, 4).await, "{control}: {way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_nobody_waits_for_any_more_goes_on_and_is_stored() {
    let origin = Moody::says(&[("cache-control", "max-age=10")]);
    let cache = cache();
    let layer = CacheLayer::new(cache.clone()).stale_if_error(seconds(60));
    let mut service = layer.soft_timeout(millis(100)).layer(origin.service.clone());
    call(&mut service, get("/")).await.unwrap();
    advance(seconds(15)).await;
    origin.is(Mood::Slow(seconds(2)));
    let stale = call(&mut service, get("/")).await.unwrap();
    assert_eq!((stale.text(), stale.field("age")), ("answer 0", Some("15")));
    assert_eq!(stale.cache_status(), "fwd=stale; detail=soft-timeout");
    sleep(seconds(2)).await;
    let fresh = call(&mut service, get("/")).await.unwrap();
    assert_eq!((fresh.text(), fresh.cache_status()), ("answer 1", "hit"));
    assert_eq!(origin.calls.count(), 2);
    assert_nothing_is_left(&cache);
}
