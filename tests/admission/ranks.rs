//! How much a method matters, also one that somebody made up.

use http::Method;
use seawall::{
    LoadShedLayer,
    load_shed::{ByMethod, Criticality, Rank},
};
use tower::{Layer, Service};

use crate::support::{Req, answer, get, origin};

fn asks(method: &str) -> Req {
    let mut request = get("/");
    *request.method_mut() = method.parse::<Method>().unwrap();
    request
}

#[tokio::test]
async fn a_method_that_somebody_made_up_has_none_of_the_last_places() {
    for (methods, class, places) in [
        (&["FOO", "post", "PROPFIND", "CONNECT"][..], Criticality::Normal, 95),
        (&["POST", "PUT", "PATCH", "DELETE"], Criticality::Critical, 100),
    ] {
        for method in methods {
            assert_eq!(ByMethod.criticality(&asks(method)), class, "{method}");
            let (_, inner) = origin(|_, _| async { Ok(answer(&[], "body")) });
            let layer = LoadShedLayer::fixed(100);
            let mut service = layer.layer(inner);
            let mut held = Vec::new();
            while let Ok(answer) = service.call(asks(method)).await {
                held.push(answer);
            }
            assert_eq!((held.len(), layer.gauge().in_flight()), (places, places), "{method}");
        }
    }
}
