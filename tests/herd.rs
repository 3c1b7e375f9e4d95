//! Many callers, few keys: who asks the origin, and how often.

mod support;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use seawall::CacheLayer;
use support::{answer, cache, get, origin};
use tokio::task::JoinSet;
use tower::{Layer, Service};

/// Counts how often a future is polled.
struct Polled<F> {
    future: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for Polled<F> {
    type Output = (F::Output, usize);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.polls += 1;
        let polls = self.polls;
        self.future.as_mut().poll(cx).map(|output| (output, polls))
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_of_a_cold_key_are_one_call_in_each_of_a_hundred_rounds() {
    let (calls, inner) = origin(|call, _| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(answer(&[("cache-control", "max-age=600")], format!("round {call}")))
    });
    let service = CacheLayer::new(cache()).layer(inner);
    let most_polls = Arc::new(AtomicUsize::new(0));
    for round in 0..100 {
        let mut callers = JoinSet::new();
        for _ in 0..10_000 {
            let mut service = service.clone();
            let most_polls = Arc::clone(&most_polls);
            callers.spawn(async move {
                let request = get(&format!("/{round}"));
                let head = Polled { future: Box::pin(service.call(request)), polls: 0 };
                let (response, polls) = head.await;
                most_polls.fetch_max(polls, Ordering::Relaxed);
                support::read(response.unwrap()).await.unwrap().body
            });
        }
        while let Some(body) = callers.join_next().await {
            assert_eq!(body.unwrap(), format!("round {round}"));
        }
    }
    assert_eq!(calls.count(), 100);
    let most_polls = most_polls.load(Ordering::Relaxed);
    println!(
        "1,000,000 callers, {} calls, at most {most_polls} polls of one caller",
        calls.count()
    );
    assert!(most_polls <= 3, "{most_polls}");
}
