//! Limits that learn, as part of a service: what raises them, what lowers them, what does neither.

use std::time::Duration;

use http::Response;
use seawall::{
    BoxError, LoadShedLayer,
    load_shed::limit::{Aimd, Limit, Target},
};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, timeout::TimeoutLayer};

use crate::{
    SECOND, Watch, keep_asking, millis,
    support::{
        BoxedOrigin, Res, answer, answer_status, asked,
        bodies::{Step, Steps},
        get, origin, streamed,
    },
    workers,
};

/// Both algorithms, from this limit on, free to go down to one.
fn learning(initial: usize) -> [(&'static str, LoadShedLayer); 2] {
    [
        ("AIMD", LoadShedLayer::new(Aimd::default().smallest(1).initial(initial))),
        ("target", LoadShedLayer::new(Target::default().initial(initial))),
    ]
}

type Answers = fn() -> Result<Res, BoxError>;

/// An origin that answers so in five milliseconds.
fn fast(answers: Answers) -> BoxedOrigin {
    origin(move |_, _| async move {
        sleep(millis(5)).await;
        answers()
    })
    .1
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_fast_never_raises_a_limit() {
    let failures: [(&str, Answers); 5] = [
        ("an error", || Err("connection refused".into())),
        ("500", || Ok(answer_status(500, &[], ""))),
        ("502", || Ok(answer_status(502, &[], ""))),
        ("503", || Ok(answer_status(503, &[], ""))),
        ("gRPC 14", || {
            let fields = [("content-type", "application/grpc"), ("grpc-status", "14")];
            Ok(answer(&fields, ""))
        }),
    ];
    for (what, fails) in failures {
        for (name, layer) in learning(20) {
            let gauge = layer.gauge();
            let largest = keep_asking(&layer.layer(fast(fails)), &gauge, 40, 20 * SECOND).await;
            assert!(largest <= 20, "{name}, {what}: {largest}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_answers_fast_raises_a_limit_that_is_in_use() {
    for (name, layer) in learning(20) {
        let gauge = layer.gauge();
        let service = layer.layer(fast(|| Ok(answer(&[], ""))));
        let largest = keep_asking(&service, &gauge, 40, 20 * SECOND).await;
        println!("{name}: from 20 to {largest}");
        assert!(largest > 30, "{name}: {largest}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_says_it_has_too_much_to_do_lowers_a_limit_however_fast_it_says_so() {
    let refusals: [(&str, Answers); 4] = [
        ("429", || Ok(answer_status(429, &[], ""))),
        ("503", || Ok(answer_status(503, &[("retry-after", "1")], ""))),
        ("gRPC 8", || {
            Ok(answer(&[("content-type", "application/grpc"), ("grpc-status", "8")], ""))
        }),
        ("gRPC 14 with pushback", || {
            let pushback = ("grpc-retry-pushback-ms", "100");
            let kind = ("content-type", "application/grpc");
            Ok(answer(&[kind, ("grpc-status", "14"), pushback], ""))
        }),
    ];
    for (what, refuses) in refusals {
        for (name, layer) in learning(100) {
            let gauge = layer.gauge();
            keep_asking(&layer.layer(fast(refuses)), &gauge, 100, 2 * SECOND).await;
            assert!(gauge.limit() <= 50, "{name}, {what}: {}", gauge.limit());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_below_lowers_a_limit_although_it_is_shorter_than_what_is_too_long() {
    for (name, layer) in learning(100) {
        let (_, hangs) = origin(|_, _| std::future::pending::<Result<Res, BoxError>>());
        let gauge = layer.gauge();
        let service = layer.layer(TimeoutLayer::new(millis(50)).layer(hangs));
        keep_asking(&service, &gauge, 100, 2 * SECOND).await;
        assert!(gauge.limit() <= 50, "{name}: {}", gauge.limit());
        assert_eq!(gauge.in_flight(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_one_after_the_other_never_raise_a_limit() {
    for (name, layer) in learning(20) {
        let gauge = layer.gauge();
        let service = layer.layer(fast(|| Ok(answer(&[], ""))));
        for _ in 0..10_000 {
            service.clone().oneshot(get("/")).await.unwrap();
            assert_eq!(gauge.limit(), 20, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_never_goes_below_one_and_rises_again_when_the_origin_is_well() {
    let limits: [(&str, LoadShedLayer); 2] = [
        ("AIMD", LoadShedLayer::new(Aimd::default().smallest(0).initial(0))),
        ("target", LoadShedLayer::new(Target::default().smallest(0).floor(0.0).initial(0))),
    ];
    for (name, layer) in limits {
        let gauge = layer.gauge();
        assert_eq!(gauge.limit(), 1, "{name}");
        let overloaded = layer.layer(fast(|| Ok(answer_status(503, &[("retry-after", "1")], ""))));
        let largest = keep_asking(&overloaded, &gauge, 10, 30 * SECOND).await;
        assert_eq!((gauge.limit(), largest), (1, 1), "{name}");
        let well = layer.layer(fast(|| Ok(answer(&[], ""))));
        assert!(well.clone().oneshot(get("/")).await.is_ok(), "{name}: the one place is open");
        keep_asking(&well, &gauge, 40, 30 * SECOND).await;
        assert!(gauge.limit() >= 10, "{name}: {}", gauge.limit());
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_has_fallen_from_above_ends_at_one_too() {
    let limits: [(&str, LoadShedLayer); 2] = [
        ("AIMD", LoadShedLayer::new(Aimd::default().smallest(0).initial(50))),
        ("target", LoadShedLayer::new(Target::default().smallest(0).initial(50))),
    ];
    for (name, layer) in limits {
        let gauge = layer.gauge();
        let overloaded = layer.layer(fast(|| Ok(answer_status(429, &[], ""))));
        keep_asking(&overloaded, &gauge, 60, 60 * SECOND).await;
        assert_eq!(gauge.limit(), 1, "{name}");
    }
}

/// Two hundred callers that take ten seconds to read what is answered in ten milliseconds.
async fn slow_readers(layer: &LoadShedLayer, minutes: u32) -> (usize, Duration) {
    let slow =
        || Steps::new((0..100).flat_map(|_| [Step::Wait(millis(100)), Step::Data("x".into())]));
    let (_, inner) = origin(move |_, _| async move {
        sleep(millis(10)).await;
        Ok::<Response<Steps>, BoxError>(streamed(&[], slow()))
    });
    let service = layer.layer(inner);
    let began = tokio::time::Instant::now();
    let until = began + minutes * 60 * SECOND;
    let reading = (0..200).map(|_| {
        let service = service.clone();
        async move {
            let mut whole = 0;
            while tokio::time::Instant::now() < until {
                match asked(&service, get("/")).await.unwrap() {
                    Ok(_) => whole += 1,
                    Err(_) => sleep(SECOND).await,
                }
            }
            whole
        }
    });
    let reading = reading.collect::<tokio::task::JoinSet<_>>().join_all().await;
    (reading.iter().sum(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn slow_readers_of_large_bodies_do_not_shrink_a_limit() {
    for (name, layer) in learning(50) {
        let gauge = layer.gauge();
        let (whole, took) = slow_readers(&layer, 5).await;
        println!("{name}: {whole} bodies of 10 s in {took:?}, the limit is {}", gauge.limit());
        assert!(whole > 1_000, "{name}: {whole}");
        assert!(gauge.limit() >= 50, "{name}: {}", gauge.limit());
        assert_eq!(gauge.in_flight(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_whose_head_is_as_slow_does_shrink_it() {
    for (name, layer) in learning(50) {
        let gauge = layer.gauge();
        let slow = workers(1_000, 10 * SECOND, &Watch::default());
        keep_asking(&layer.layer(slow), &gauge, 100, 120 * SECOND).await;
        assert!(gauge.limit() < 50, "{name}: {}", gauge.limit());
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_with_a_queue_is_kept_near_what_it_can_take() {
    let limits =
        [("AIMD", LoadShedLayer::new(Aimd::default())), ("target", LoadShedLayer::adaptive())];
    for (name, layer) in limits {
        let watch = Watch::default();
        let gauge = layer.gauge();
        // 400 calls a second at most, 250 ms with 100 under way: by Little's law.
        let service = layer.layer(workers(20, millis(50), &watch));
        let largest = keep_asking(&service, &gauge, 300, 30 * SECOND).await;
        println!(
            "{name}: {} now, {largest} at most, {} at the origin",
            gauge.limit(),
            watch.most()
        );
        assert!((20..=150).contains(&gauge.limit()), "{name}: {}", gauge.limit());
        assert!(watch.most() <= largest, "{name}");
    }
}

#[test]
fn the_smallest_of_an_algorithm_is_never_zero() {
    assert_eq!(Aimd::default().smallest(0).largest(0).limit(), 1);
    assert_eq!(Target::default().smallest(0).largest(0).limit(), 1);
}
