//! Who is refused first.

use http::{Method, Response};
use seawall::{
    BoxError, LoadShedLayer, Reason,
    load_shed::{Criticality, Shares},
    marks::Refresh,
};
use tower::{Layer, Service};

use crate::{
    fill, hold, of_class, reason,
    support::{BoxedOrigin, Req, answer, get, origin, with},
};
use Criticality::{Background, Critical, Normal, Sheddable};

/// An origin whose answers have a body, so that a call lasts until it is read.
fn inner() -> BoxedOrigin {
    origin(|_, _| async { Ok(answer(&[], "body")) }).1
}

fn asks(method: Method) -> Req {
    let mut request = get("/");
    *request.method_mut() = method;
    request
}

fn refresh() -> Req {
    let mut request = get("/");
    request.extensions_mut().insert(Refresh);
    request
}

#[tokio::test]
async fn as_the_limit_fills_the_lowest_classes_are_refused_first() {
    let layer = LoadShedLayer::fixed(100);
    let service = layer.layer(inner());
    let mut held = Vec::new();
    let mut refused = Vec::new();
    // Background takes a fifth for itself; the others go as far as their share of the whole.
    for (class, admitted, in_flight) in
        [(Background, 20, 20), (Sheddable, 60, 80), (Normal, 15, 95), (Critical, 5, 100)]
    {
        let calls = fill(&service, || of_class(class, get("/"))).await;
        assert_eq!((calls.len(), layer.gauge().in_flight()), (admitted, in_flight), "{class:?}");
        held.extend(calls);
        refused.push(class);
        for &lower in &refused {
            let error = hold(&service, of_class(lower, get("/"))).await.unwrap_err();
            assert_eq!(reason(&error), Some(Reason::Shed), "{lower:?}");
        }
    }
}

#[tokio::test]
async fn background_is_kept_from_the_last_two_fifths_even_where_it_has_none_of_its_share() {
    let layer = LoadShedLayer::fixed(100);
    let service = layer.layer(inner());
    let mut held = Vec::new();
    for _ in 0..59 {
        held.push(hold(&service, get("/")).await.unwrap());
    }
    held.extend(fill(&service, || of_class(Background, get("/"))).await);
    assert_eq!(held.len(), 60);
}

/// How many calls of this kind a layer admits.
async fn places<S, B>(
    layer: &impl Layer<BoxedOrigin, Service = S>,
    request: impl Fn() -> Req,
) -> usize
where
    S: Service<Req, Response = Response<B>, Error = BoxError> + Clone,
{
    fill(&layer.layer(inner()), request).await.len()
}

#[tokio::test]
async fn reads_are_refused_before_writes() {
    for (methods, admitted) in [
        // A HEAD gives its place back with its head.
        (&[Method::GET, Method::OPTIONS, Method::TRACE][..], 95),
        (&[Method::POST, Method::PUT, Method::PATCH, Method::DELETE], 100),
    ] {
        for method in methods {
            let layer = LoadShedLayer::fixed(100);
            assert_eq!(places(&layer, || asks(method.clone())).await, admitted, "{method}");
        }
    }
}

#[tokio::test]
async fn a_grpc_call_is_no_write_although_it_is_a_post() {
    for kind in ["application/grpc", "application/grpc+proto"] {
        let call = || with(asks(Method::POST), "content-type", kind);
        assert_eq!(places(&LoadShedLayer::fixed(100), call).await, 95, "{kind}");
    }
    let web = || with(asks(Method::POST), "content-type", "application/json");
    assert_eq!(places(&LoadShedLayer::fixed(100), web).await, 100);
}

#[tokio::test]
async fn a_refresh_is_background_and_has_a_fifth_of_the_limit_at_most() {
    assert_eq!(places(&LoadShedLayer::fixed(100), refresh).await, 20);
    assert_eq!(places(&LoadShedLayer::fixed(7), refresh).await, 2, "rounded up");
    assert_eq!(places(&LoadShedLayer::fixed(1), refresh).await, 1);
}

#[tokio::test]
async fn what_the_extension_says_goes_before_marks_and_methods() {
    let layer = || LoadShedLayer::fixed(100);
    assert_eq!(places(&layer(), || of_class(Critical, refresh())).await, 100);
    assert_eq!(places(&layer(), || of_class(Sheddable, asks(Method::POST))).await, 80);
    assert_eq!(places(&layer(), || of_class(Background, get("/"))).await, 20);
}

#[tokio::test]
async fn a_function_decides_alone() {
    let layer = || {
        LoadShedLayer::fixed(100).criticality(|request: &Req| match request.uri().path() {
            "/checkout" => Critical,
            "/recommendations" => Sheddable,
            _ => Normal,
        })
    };
    assert_eq!(places(&layer(), || get("/checkout")).await, 100);
    assert_eq!(places(&layer(), || get("/recommendations")).await, 80);
    assert_eq!(places(&layer(), || of_class(Background, asks(Method::POST))).await, 95);
}

#[tokio::test]
async fn shares_are_what_was_set() {
    let shares = Shares::default().normal(0.5).sheddable(0.4).background(0.3).refreshes(0.1);
    for (class, admitted) in [(Background, 10), (Sheddable, 40), (Normal, 50), (Critical, 100)] {
        let layer = LoadShedLayer::fixed(100).shares(shares);
        assert_eq!(places(&layer, || of_class(class, get("/"))).await, admitted, "{class:?}");
    }
}

#[tokio::test]
async fn a_limit_of_one_is_open_to_every_class() {
    for class in [Background, Sheddable, Normal, Critical] {
        assert_eq!(places(&LoadShedLayer::fixed(1), || of_class(class, get("/"))).await, 1);
    }
    assert_eq!(places(&LoadShedLayer::fixed(0), || get("/")).await, 1, "no limit is zero");
}
