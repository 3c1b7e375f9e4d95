//! One client's fault, and one client's refusal: nobody else is refused for it.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use seawall::{BoxError, Cache, CacheLayer, Reason, Rejected, cache::CacheService};
use tokio::{
    task::JoinHandle,
    time::{advance, sleep, timeout},
};
use tower::{Layer, Service, ServiceExt};

use crate::{
    SECOND, Seen, get,
    support::{
        BoxedOrigin, Calls, Read, Req, Res, answer, answer_status, asked, at_once, cache_builder,
        call, origin, with,
    },
    timed,
};

/// How long each call takes.
const TIME: Duration = Duration::from_millis(50);

/// What makes a request one that the origin fails on, or a layer below refuses.
#[derive(Clone, Copy, Debug)]
struct Mark(&'static str, &'static str);

impl Mark {
    fn on(self, request: Req) -> Req {
        with(request, self.0, self.1)
    }

    fn is_on(self, fields: &HeaderMap) -> bool {
        fields.get(self.0).is_some_and(|value| value == self.1)
    }
}

struct Stack {
    calls: Calls,
    seen: Seen,
    cache: Cache,
    service: CacheService<BoxedOrigin>,
}

/// Calls with the mark end in `bad`; others are answered, for a minute, by anyone's request.
fn stack<F>(mark: Mark, bad: F) -> Stack
where
    F: Fn() -> Result<Res, BoxError> + Send + Sync + 'static,
{
    let bad = Arc::new(bad);
    let (calls, inner) = origin(move |_, request| {
        let bad = Arc::clone(&bad);
        async move {
            sleep(TIME).await;
            match mark.is_on(request.headers()) {
                true => bad(),
                false => Ok(answer(&[("cache-control", "public, max-age=60")], "good")),
            }
        }
    });
    let seen = Seen::default();
    let cache = cache_builder().observer(seen.clone()).build();
    let layer = CacheLayer::new(cache.clone()).stale_if_error(600 * SECOND);
    Stack { calls, seen, cache, service: layer.layer(inner) }
}

fn fails(mark: Mark) -> Stack {
    stack(mark, || Ok(answer_status(500, &[], "bad")))
}

fn refuses(mark: Mark) -> Stack {
    stack(mark, || Err(Rejected::new(Reason::OnlyIfCached).into()))
}

/// Marks that say who is asking, or how an origin may be fooled.
const PERSONAL: [Mark; 4] = [
    Mark("cookie", "a=bad"),
    Mark("authorization", "Basic YmFk"),
    Mark("x-forwarded-host", "bad"),
    Mark("x-original-url", "/bad"),
];

const REFUSED: [Mark; 2] = [Mark("x-client", "over-its-quota"), Mark("x-class", "low")];

/// One call with the mark, and twenty without that come while it is under way.
async fn one_and_twenty(
    stack: &Stack,
    mark: Mark,
) -> (Result<Read, BoxError>, Vec<Result<Read, BoxError>>) {
    let one = asked(&stack.service, mark.on(get("/")));
    sleep(TIME / 2).await;
    let others = at_once(&stack.service, (0..20).map(|_| get("/"))).await;
    (one.await.unwrap(), others)
}

#[track_caller]
fn assert_good(mark: Mark, answers: impl IntoIterator<Item = Result<Read, BoxError>>) {
    for answer in answers {
        let read = answer.unwrap_or_else(|error| panic!("{mark:?}: {error:?}"));
        assert_eq!((read.status(), read.text()), (200, "good"), "{mark:?}");
    }
}

/// Calls with the mark, one after another and without a pause, until it is aborted.
fn again_and_again<S>(service: &S, mark: Mark) -> JoinHandle<()>
where
    S: Service<Req, Response: Send, Error: Send, Future: Send> + Clone + Send + 'static,
{
    let service = service.clone();
    tokio::spawn(async move {
        loop {
            let (_, took) = timed(service.clone().oneshot(mark.on(get("/")))).await;
            if took.is_zero() {
                // It had what is stored for all.
                sleep(Duration::from_millis(1)).await;
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_500_is_shared_by_those_present_and_held_against_nobody_who_comes_later() {
    let mark = Mark("x-page", "bad");
    let mut stack = fails(mark);
    let (one, others) = one_and_twenty(&stack, mark).await;
    assert_eq!(one.unwrap().status(), 500);
    for other in others {
        assert_eq!(other.unwrap().status(), 500);
    }
    assert_eq!((stack.calls.count(), stack.cache.figures().failing), (1, 0));
    assert_good(mark, [call(&mut stack.service, get("/")).await]);
    assert_eq!((stack.calls.count(), stack.seen.waits().len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_500_of_a_personal_request_is_its_own_and_the_others_ask_once_more() {
    for mark in PERSONAL {
        let stack = fails(mark);
        let (one, others) = one_and_twenty(&stack, mark).await;
        assert_eq!(one.unwrap().status(), 500, "{mark:?}");
        assert_good(mark, others);
        assert_eq!(stack.calls.count(), 2, "{mark:?}");
        assert_eq!((stack.cache.figures().failing, stack.seen.waits().len()), (0, 0), "{mark:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_one_500_after_another_keeps_nobody_from_an_answer() {
    for mark in PERSONAL {
        let mut stack = fails(mark);
        let attacker = again_and_again(&stack.service, mark);
        sleep(TIME / 2).await;
        for _ in 0..5 {
            let answer = timeout(SECOND, call(&mut stack.service, get("/"))).await;
            let answer = answer.unwrap_or_else(|_| panic!("{mark:?}: no answer"));
            assert_good(mark, [answer]);
            // Stored, it would answer the next one.
            stack
                .cache
                .invalidator()
                .invalidate(&seawall::journal::Invalidation::everything())
                .await;
        }
        attacker.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_500_of_a_personal_request_is_its_own_where_there_is_a_stale_answer_for_it_too() {
    for mark in PERSONAL {
        let mut stack = fails(mark);
        assert_good(mark, [call(&mut stack.service, get("/")).await]);
        advance(90 * SECOND).await;
        let one = asked(&stack.service, mark.on(get("/")));
        sleep(TIME / 2).await;
        // It takes nothing that is older than half a minute.
        let other = asked(&stack.service, with(get("/"), "cache-control", "max-age=30"));
        let one = one.await.unwrap().unwrap();
        assert_eq!(one.cache_status(), "fwd=stale; fwd-status=500; detail=stale-if-error");
        assert_good(mark, [other.await.unwrap()]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_for_the_one_who_was_refused_and_the_others_ask_once_more() {
    for mark in REFUSED {
        let mut stack = refuses(mark);
        let (one, others) = one_and_twenty(&stack, mark).await;
        assert!(Rejected::find(&*one.unwrap_err()).is_some(), "{mark:?}");
        assert_good(mark, others);
        assert_eq!(stack.calls.count(), 2, "{mark:?}");
        assert_eq!((stack.cache.figures().failing, stack.seen.waits().len()), (0, 0), "{mark:?}");
        advance(61 * SECOND).await;
        assert_good(mark, [call(&mut stack.service, get("/")).await]);
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_are_refused_at_once_with_others_among_them_are_the_only_ones() {
    for mark in REFUSED {
        let stack = refuses(mark);
        let requests = (0..60).map(|caller| match caller % 3 {
            0 => get("/"),
            _ => mark.on(get("/")),
        });
        let answers = at_once(&stack.service, requests).await;
        let others = answers.into_iter().step_by(3);
        assert_good(mark, others);
        assert_eq!(stack.cache.figures().failing, 0, "{mark:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_again_and_again_keeps_nobody_from_an_answer() {
    for mark in REFUSED {
        let mut stack = refuses(mark);
        let attacker = again_and_again(&stack.service, mark);
        sleep(TIME / 2).await;
        for _ in 0..5 {
            let answer = timeout(SECOND, call(&mut stack.service, get("/"))).await;
            assert_good(mark, [answer.unwrap_or_else(|_| panic!("{mark:?}: no answer"))]);
            stack
                .cache
                .invalidator()
                .invalidate(&seawall::journal::Invalidation::everything())
                .await;
        }
        attacker.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_a_refresh_is_held_against_nobody() {
    for mark in REFUSED {
        let mut stack = refuses(mark);
        assert_good(mark, [call(&mut stack.service, get("/")).await]);
        advance(61 * SECOND).await;
        let one = call(&mut stack.service, mark.on(get("/"))).await.unwrap();
        assert_eq!(one.cache_status(), "hit; detail=stale-if-error", "{mark:?}");
        let next = call(&mut stack.service, get("/")).await.unwrap();
        assert_eq!(next.cache_status(), "fwd=stale; fwd-status=200; stored", "{mark:?}");
        assert_eq!((stack.calls.count(), stack.seen.waits().len()), (3, 0), "{mark:?}");
    }
}
