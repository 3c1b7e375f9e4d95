//! Who holds a place in the limit, or in one below: calls under way, and nobody else.

use std::{future::poll_fn, sync::Arc};

use http::Request;
use hyper::body::Incoming;
use seawall::{BoxError, LoadShedLayer, Reason, RespondLayer, load_shed::Gauge};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tower::{Layer, Service, ServiceBuilder, limit::GlobalConcurrencyLimitLayer, service_fn};

use crate::{
    SECOND, Watch, hold, millis, reason,
    support::{
        BoxedOrigin, Calls, answer, asked, call, get, origin,
        sockets::{client::Client, eventually, serve},
    },
};

/// An origin that takes a second.
fn a_second() -> (Calls, BoxedOrigin) {
    origin(|_, _| async {
        sleep(SECOND).await;
        Ok(answer(&[], "body"))
    })
}

/// A limit of so many calls below, and its places.
fn below(places: usize) -> (Arc<Semaphore>, GlobalConcurrencyLimitLayer) {
    let semaphore = Arc::new(Semaphore::new(places));
    (Arc::clone(&semaphore), GlobalConcurrencyLimitLayer::with_semaphore(semaphore))
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_was_refused_is_admitted_as_soon_as_the_place_is_free() {
    let (calls, inner) = a_second();
    let (free, limit) = below(1);
    let layer = LoadShedLayer::fixed(1);
    let service = layer.layer(limit.layer(inner));
    let (mut one, mut other) = (service.clone(), service);
    for round in 1..=5 {
        let first = one.call(get("/"));
        for _ in 0..3 {
            assert_eq!(reason(&call(&mut other, get("/")).await.unwrap_err()), Some(Reason::Shed));
        }
        drop(crate::support::read(first.await.unwrap()).await.unwrap());
        assert_eq!((layer.gauge().in_flight(), free.available_permits()), (0, 1));
        // At once, and by whichever of the two: nothing stands in line for the other.
        assert_eq!(call(&mut other, get("/")).await.unwrap().text(), "body");
        std::mem::swap(&mut one, &mut other);
        assert_eq!(calls.count(), 2 * round);
    }
}

#[tokio::test(start_paused = true)]
async fn clones_that_idle_or_were_polled_hold_no_place_here_or_below() {
    let (_, inner) = a_second();
    let (free, limit) = below(1);
    let layer = LoadShedLayer::fixed(1);
    let service = layer.layer(limit.layer(inner));
    let mut clones: Vec<_> = (0..10).map(|_| service.clone()).collect();
    for clone in &mut clones {
        poll_fn(|cx| clone.poll_ready(cx)).await.unwrap();
        assert_eq!((layer.gauge().in_flight(), free.available_permits()), (0, 1));
    }
    drop(clones.split_off(5));
    for clone in &mut clones {
        assert!(timeout(2 * SECOND, call(clone, get("/"))).await.expect("it waits").is_ok());
        // It has been called, and refused, and lies idle again.
        let busy = service.clone().call(get("/"));
        assert!(call(clone, get("/")).await.is_err());
        drop(busy);
        assert_eq!((layer.gauge().in_flight(), free.available_permits()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_below_counts_and_leaves_the_line_with_its_caller() {
    let (calls, inner) = a_second();
    let (free, limit) = below(1);
    let layer = LoadShedLayer::fixed(2);
    let mut service = layer.layer(limit.layer(inner));
    let first = asked(&service, get("/first"));
    sleep(millis(1)).await;
    let waiting = service.call(get("/waiting"));
    assert_eq!(layer.gauge().in_flight(), 2);
    assert_eq!(reason(&call(&mut service, get("/")).await.unwrap_err()), Some(Reason::Shed));
    drop(waiting);
    assert_eq!(layer.gauge().in_flight(), 1);
    first.await.unwrap().unwrap();
    // The instance that was told to wait is still there, and is not handed the place.
    assert_eq!((layer.gauge().in_flight(), free.available_permits(), calls.count()), (0, 1, 1));
    assert!(timeout(2 * SECOND, call(&mut service, get("/"))).await.expect("it waits").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_body_has_ended() {
    let (_, inner) = origin(|_, _| async { Ok(answer(&[], "body")) });
    let layer = LoadShedLayer::fixed(1);
    let mut service = layer.layer(inner);
    let unread = hold(&service, get("/")).await.unwrap();
    assert!(call(&mut service, get("/")).await.is_err());
    crate::support::read(unread).await.unwrap();
    drop(hold(&service, get("/")).await.unwrap());
    assert_eq!(layer.gauge().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn services_that_one_layer_makes_share_its_limit() {
    let (_, inner) = origin(|_, _| async { Ok(answer(&[], "body")) });
    let layer = LoadShedLayer::fixed(2);
    let (one, other) = (layer.layer(inner.clone()), layer.clone().layer(inner));
    let held = [hold(&one, get("/")).await.unwrap(), hold(&other, get("/")).await.unwrap()];
    for service in [&one, &other] {
        assert!(hold(service, get("/")).await.is_err());
    }
    drop(held);
}

/// A service for a server: a shedder of one call, over a limit below of one call.
async fn served(
    held: &Arc<Semaphore>,
    watch: &Watch,
) -> (std::net::SocketAddr, Gauge, Arc<Semaphore>) {
    let (free, limit) = below(1);
    let layer = LoadShedLayer::fixed(1);
    let gauge = layer.gauge();
    let (held, watch) = (Arc::clone(held), watch.clone());
    let origin = service_fn(move |request: Request<Incoming>| {
        let (held, watch) = (Arc::clone(&held), watch.clone());
        async move {
            let _inside = watch.enter();
            if request.uri().path() == "/slow" {
                held.acquire().await?.forget();
            }
            Ok::<_, BoxError>(answer(&[], "body"))
        }
    });
    let layers = ServiceBuilder::new().layer(RespondLayer::new()).layer(layer).layer(limit);
    (serve(layers.service(origin)).await, gauge, free)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_kept_alive_hold_no_place_while_they_idle() {
    const ROOT: &str = "GET / HTTP/1.1\r\nhost: a\r\n";
    let (held, watch) = (Arc::new(Semaphore::new(0)), Watch::default());
    let (addr, gauge, free) = served(&held, &watch).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Client::connect(addr).await;
        assert_eq!(client.ask(ROOT).await.status, 200);
        clients.push(client);
    }
    assert_eq!((gauge.in_flight(), free.available_permits()), (0, 1));
    for round in 0..3 {
        let mut slow = clients.remove(0);
        slow.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
        eventually("at the origin", || watch.now() == 1).await;
        for client in &mut clients {
            let refused = client.ask(ROOT).await;
            assert_eq!(refused.status, 503, "{round}");
            assert!(refused.field("retry-after").is_some(), "{refused:?}");
        }
        held.add_permits(1);
        assert_eq!(slow.answer(false).await.status, 200);
        assert_eq!((gauge.in_flight(), free.available_permits()), (0, 1));
        clients.push(slow);
        for client in &mut clients {
            assert_eq!(client.ask(ROOT).await.status, 200, "{round}: it was refused before");
        }
    }
    assert_eq!((gauge.in_flight(), free.available_permits(), watch.most()), (0, 1, 1));
}
