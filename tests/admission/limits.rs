//! Limits that learn: from the trailers where those tell, and after a panic of their own.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use http::Response;
use seawall::{
    LoadShedLayer,
    load_shed::limit::{Aimd, Limit, Outcome, Sample, Target},
};
use tokio::time::{Instant, sleep};
use tower::Layer;

use crate::{
    SECOND, millis,
    support::{
        BoxedOrigin, answer, asked,
        bodies::{Step, Steps},
        call, get, origin, streamed,
    },
};

/// Good heads after five milliseconds, and this status in the trailers, so much later.
fn in_trailers(status: &'static str, later: std::time::Duration) -> BoxedOrigin<Steps> {
    origin(move |_, _| async move {
        sleep(millis(5)).await;
        let trailers = [("grpc-status".parse().unwrap(), status.parse().unwrap())];
        let trailers = Step::Trailers(trailers.into_iter().collect());
        let steps = Steps::new([Step::Data("message".into()), Step::Wait(later), trailers]);
        Ok::<Response<Steps>, _>(streamed(&[("content-type", "application/grpc")], steps))
    })
    .1
}

/// The largest limit while forty callers ask for five seconds, one call after the other each.
async fn largest(layer: &LoadShedLayer, inner: BoxedOrigin<Steps>) -> usize {
    let (service, gauge) = (layer.layer(inner), layer.gauge());
    let (until, largest) = (Instant::now() + 5 * SECOND, Arc::new(AtomicUsize::new(0)));
    let asking = (0..40).map(|_| {
        let (service, gauge, largest) = (service.clone(), gauge.clone(), Arc::clone(&largest));
        async move {
            while Instant::now() < until {
                if asked(&service, get("/")).await.unwrap().is_err() {
                    sleep(millis(25)).await;
                }
                largest.fetch_max(gauge.limit(), SeqCst);
            }
        }
    });
    asking.collect::<tokio::task::JoinSet<_>>().join_all().await;
    assert_eq!(gauge.in_flight(), 0);
    largest.load(SeqCst)
}

#[tokio::test(start_paused = true)]
async fn good_heads_whose_trailers_say_no_never_raise_a_limit_and_those_that_say_yes_do() {
    for (status, raises) in [("8", false), ("14", false), ("4", false), ("0", true), ("5", true)] {
        for (name, layer) in [
            ("AIMD", LoadShedLayer::new(Aimd::default().smallest(1).initial(20))),
            ("target", LoadShedLayer::new(Target::default().initial(20))),
        ] {
            let largest = largest(&layer, in_trailers(status, millis(0))).await;
            println!("{name}, {status} in the trailers: from 20 to {largest}");
            assert_eq!(largest > 30, raises, "{name}, {status}: {largest}");
            assert!(raises || largest <= 20, "{name}, {status}: {largest}");
        }
    }
}

/// Keeps what it is told.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<Sample>>>);

impl Limit for Told {
    fn limit(&self) -> usize {
        100
    }

    fn sample(&mut self, sample: &Sample, _: Instant) {
        self.0.lock().unwrap().push(*sample);
    }
}

#[tokio::test(start_paused = true)]
async fn the_trailers_tell_how_a_call_went_and_the_head_how_long_it_took() {
    for (status, outcome) in
        [("0", Outcome::Success), ("14", Outcome::Failure), ("8", Outcome::Overload)]
    {
        let told = Told::default();
        let layer = LoadShedLayer::new(told.clone());
        let mut service = layer.layer(in_trailers(status, 10 * SECOND));
        call(&mut service, get("/")).await.unwrap();
        let sample = Sample { latency: millis(5), in_flight: 1, outcome };
        assert_eq!(*told.0.lock().unwrap(), [sample], "{status}");
    }
}

/// Panics at its first sample, and grows by one with each other.
#[derive(Debug)]
struct PanicsOnce {
    limit: usize,
    panicked: bool,
}

impl Limit for PanicsOnce {
    fn limit(&self) -> usize {
        self.limit
    }

    fn sample(&mut self, _: &Sample, _: Instant) {
        if !std::mem::replace(&mut self.panicked, true) {
            // Past the hook, which would print it.
            std::panic::resume_unwind(Box::new("as it was told"));
        }
        self.limit += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_panics_fails_that_call_and_goes_on_learning() {
    let layer = LoadShedLayer::new(PanicsOnce { limit: 5, panicked: false });
    let (calls, inner) = origin(|_, _| async { Ok(answer(&[], "body")) });
    let service = layer.layer(inner);
    assert!(asked(&service, get("/")).await.unwrap_err().is_panic());
    assert_eq!((layer.gauge().in_flight(), layer.gauge().limit()), (0, 5));
    for learned in 1..=10 {
        asked(&service, get("/")).await.unwrap().unwrap();
        assert_eq!((layer.gauge().in_flight(), layer.gauge().limit()), (0, 5 + learned));
    }
    assert_eq!(calls.count(), 11);
}

/// Panics at every sample.
#[derive(Debug)]
struct Panics;

impl Limit for Panics {
    fn limit(&self) -> usize {
        5
    }

    fn sample(&mut self, _: &Sample, _: Instant) {
        std::panic::resume_unwind(Box::new("as it was told"));
    }
}

#[test]
fn a_limit_that_panics_at_every_sample_fails_those_calls_and_not_the_process() {
    const NAME: &str = "limits::in_a_process_of_its_own";
    let own = std::env::current_exe().unwrap();
    let run = std::process::Command::new(own).args(["--exact", NAME, "--ignored"]).output();
    let run = run.unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[tokio::test(start_paused = true)]
#[ignore = "another test runs it"]
async fn in_a_process_of_its_own() {
    let layer = LoadShedLayer::new(Panics);
    let service = layer.layer(origin(|_, _| async { Ok(answer(&[], "body")) }).1);
    for _ in 0..10 {
        assert!(asked(&service, get("/")).await.unwrap_err().is_panic());
        assert_eq!(layer.gauge().in_flight(), 0);
    }
}
