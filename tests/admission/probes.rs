//! Probes whose answers are streams that last for hours: good before they end.

use std::time::Duration;

use http::Response;
use seawall::{CircuitBreakerLayer, Reason, circuit_breaker::State};
use tokio::time::sleep;
use tower::Layer;

use crate::{
    SECOND, half_open, millis, reason,
    support::{
        BoxedOrigin, Calls, asked,
        bodies::{Step, Steps},
        call, get, origin, streamed,
    },
};

const HOUR: Duration = Duration::from_secs(3_600);

/// Sends a first frame after `first`, and ends an hour later.
fn streams(kind: &'static str, first: Duration) -> (Calls, BoxedOrigin<Steps>) {
    origin(move |_, _| async move {
        sleep(first).await;
        let steps = [Step::Data("first".into()), Step::Wait(HOUR), Step::Data("last".into())];
        Ok::<Response<Steps>, _>(streamed(&[("content-type", kind)], Steps::new(steps)))
    })
}

#[tokio::test(start_paused = true)]
async fn probes_that_stream_for_an_hour_close_it_when_their_leases_end_and_admit_nobody_before() {
    for kind in ["application/json", "application/grpc", "text/csv"] {
        let layer = CircuitBreakerLayer::new();
        let (calls, inner) = streams(kind, millis(5));
        let mut service = layer.layer(inner);
        half_open(&layer.breaker());
        let streams: Vec<_> = (0..3).map(|_| asked(&service, get("/"))).collect();
        tokio::task::yield_now().await;
        for passed in [0, 1, 4, 4] {
            sleep(passed * SECOND).await;
            for _ in 0..100 {
                let answer = call(&mut service, get("/")).await;
                assert_eq!(reason(&answer), Some(Reason::CircuitOpen), "{kind}");
            }
        }
        assert_eq!((calls.count(), layer.breaker().probes()), (3, 3), "{kind}");
        sleep(SECOND).await;
        // As many as like are admitted from now on.
        let more: Vec<_> = (0..50).map(|_| asked(&service, get("/"))).collect();
        tokio::task::yield_now().await;
        assert_eq!((calls.count(), layer.breaker().state()), (53, State::Closed), "{kind}");
        for stream in streams.into_iter().chain(more) {
            assert_eq!(stream.await.unwrap().unwrap().text(), "firstlast", "{kind}");
        }
        assert!(layer.breaker().counts().calls <= 50, "{kind}: no probe counts twice");
    }
}

#[tokio::test(start_paused = true)]
async fn probes_without_a_head_by_the_end_of_their_leases_do_not_close_it() {
    let layer = CircuitBreakerLayer::new();
    let (calls, inner) = streams("text/csv", 11 * SECOND);
    let service = layer.layer(inner);
    half_open(&layer.breaker());
    let mut probes = Vec::new();
    for round in 1..=3 {
        // Ten callers at the end of each lease, and no more than three are let through.
        probes.extend((0..10).map(|_| asked(&service, get("/"))));
        tokio::task::yield_now().await;
        assert_eq!((calls.count(), layer.breaker().probes()), (3 * round, 3));
        assert_eq!(layer.breaker().state(), State::HalfOpen);
        sleep(10 * SECOND).await;
    }
    for probe in probes {
        probe.abort();
        _ = probe.await;
    }
}
